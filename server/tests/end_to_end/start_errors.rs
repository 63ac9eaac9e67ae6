//! Goal: a server that can't start says in one sentence what is wrong, names the setting or file, says what to do, and exits with
//! the documented code: 2 if the input is wrong, 3 if the machine refuses. No secret is ever shown.
//! Method: the executable with each wrong thing; its output and its exit code.

use std::os::unix::fs::PermissionsExt;

use crate::support::{ADMIN_TOKEN, CommandOutput, World, cut_in_half, server_key, start_server, world};
use ks_protocol::{key::PrivateKey, message::NextBeat, refusal::RefusalCode};
use serde_json::json;

/// Checks that there is one error, in the form that every error has, with this exit code, and that it names each of `named`.
#[track_caller]
fn check_refused(ran: &CommandOutput, code: i32, named: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("\n  help: ").count(), 1, "{}", ran.stderr);
    for name in named {
        assert!(errors[0].contains(name), "{name} is not named: {}", ran.stderr);
    }
    check_plain(&ran.stderr);
}

/// Checks that the text has nothing that only a programmer understands.
#[track_caller]
fn check_plain(text: &str) {
    for word in ["panicked", "backtrace", ".rs:", "unwrap", "Error {", "Some(", "Err("] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

fn refused_with(settings: &[(&str, &str)], code: i32, named: &[&str]) {
    check_refused(&world(settings).serve_expecting_error(), code, named);
}

#[test]
fn a_taken_port_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let ran = world(&[("PORT", &address.port().to_string())]).serve_expecting_error();
    check_refused(&ran, 3, &["cannot listen on", &address.to_string()]);
    assert!(ran.stderr.contains("set PORT to a free port"), "{ran:?}");
}

#[test]
fn an_invalid_port_is_named_with_what_was_expected() {
    for wrong in ["eighty", "70000", "-1", "80 81", "0x50"] {
        refused_with(&[("PORT", wrong)], 2, &["PORT", wrong, "from 0 to 65535"]);
    }
}

/// Goal: numbers have one form on the whole command line, and an invalid one is reported in plain words.
#[test]
fn numbers_on_the_command_line_have_one_form() {
    for wrong in ["05", "+5", "05 ", "٥"] {
        refused_with(&[("PORT", wrong)], 2, &["PORT", "from 0 to 65535"]);
        refused_with(&[("TRUSTED_PROXIES", &format!("10.0.0.0/{wrong}"))], 2, &["TRUSTED_PROXIES"]);
    }
    let head = format!("049:{}", "0".repeat(64));
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    for (arguments, reported) in [
        (
            &["factory", "make-otrt", "--count", "05"][..],
            "'05' for '--count <count>': expected a whole number from 1 to",
        ),
        (&["factory", "make-otrt", "--ttl", "+5h"], "expected a duration from 1s to 3650d"),
        (&["factory", "make-otrt", "--count", "many"], "expected a whole number from 1 to 100000"),
        (&["factory", "make-otrt", "--count", "99999999999999"], "expected a whole number from 1 to 100000"),
        (&["admin", "token", "create", "--role", "viewer", "--ttl", "+5h"], "expected a duration from 1s to 365d"),
        (&["admin", "token", "revoke", "+1"], "expected a whole number from 1 to"),
        (&["audit", "verify", "--head", &head], "expected a number, a colon and 64 hex digits"),
        (&["rollout", "pause", "r", "--stage", "1", "--revision", "+1"], "expected a whole number from 1 to"),
        (&["firmware", "sign", "--counter", "007"], "expected a whole number from 0 to"),
    ] {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(ran.stderr.contains(reported) && !ran.stderr.contains("digit found"), "{arguments:?}: {ran:?}");
    }
    assert_eq!(world.run(&["factory", "make-otrt", "--count", "2", "--ttl", "5h"]).code, Some(0));
}

#[test]
fn an_address_of_another_machine_can_not_be_listened_on() {
    refused_with(&[("HOST", "192.0.2.1")], 3, &["cannot listen on 192.0.2.1"]); // TEST-NET-1, RFC 5737
    refused_with(&[("HOST", "localhost")], 2, &["HOST", "localhost", "an IP address"]);
}

#[test]
fn every_wrong_setting_is_reported_at_once() {
    let ran = world(&[
        ("PORT", "x"),
        ("OTRT_REQUIRED", "maybe"),
        ("LOG_LEVEL", "loud"),
        ("DATABASE_URL", "postgres://db/ks"),
    ]);
    let ran = ran.serve_expecting_error();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for name in ["PORT", "OTRT_REQUIRED", "LOG_LEVEL", "DATABASE_URL"] {
        assert!(ran.stderr.contains(&format!("error: {name} is `")), "{name}: {ran:?}");
        assert!(ran.stderr.contains(&format!("help: set {name}=")), "{name}: {ran:?}");
    }
    check_plain(&ran.stderr);
}

#[test]
fn a_wrong_command_line_is_refused_with_help() {
    let world = world(&[]);
    for arguments in
        [&[][..], &["fly"], &["serve", "--port"], &["serve", "--no-such-flag"], &["keys"], &["factory", "import"]]
    {
        let ran = world.run(arguments);
        assert_eq!(ran.code, Some(2), "{arguments:?}: {ran:?}");
        assert!(
            ran.stderr.contains("Usage: ks-server") || ran.stderr.contains("try '--help'"),
            "{arguments:?}: {ran:?}"
        );
        check_plain(&ran.stderr);
    }
    check_refused(&world.run(&["serve", "--stop-with-stdin", "--port", "x"]), 2, &["PORT", "`x`"]);
    assert_eq!(world.run(&["--help"]).code, Some(0));
    assert_eq!(world.run(&["--version"]).stdout, format!("ks-server {}\n", env!("CARGO_PKG_VERSION")));
}

/// A private key that is damaged, and a part of it that must not be shown.
fn damaged_pem() -> (String, String) {
    let pem = server_key().to_pem().unwrap();
    let body = pem.lines().nth(1).unwrap().to_owned();
    (pem.replace(&body, &body[..body.len() - 4]), body[20..40].to_owned())
}

#[test]
fn a_malformed_key_in_the_environment_is_named_and_not_shown() {
    let (pem, part) = damaged_pem();
    for (wrong, named) in [
        (pem.as_str(), "its PEM is damaged"),
        ("hunter2-is-no-key", "not a PEM"),
        (&server_key().public_pem().unwrap(), "a public key, expected the private one"),
        ("-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----", "an OpenSSH private key"),
    ] {
        let ran = world(&[("SERVER_PRIVATE_KEY", wrong)]).serve_expecting_error();
        check_refused(&ran, 2, &["SERVER_PRIVATE_KEY", named]);
        assert!(!ran.stderr.contains(&part) && !ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

#[test]
fn a_malformed_key_file_is_named_and_not_shown() {
    let (pem, part) = damaged_pem();
    let mut world = world(&[("SERVER_PRIVATE_KEY", "")]);
    let path = world.write("broken.pem", pem).display().to_string();
    world.set("SERVER_PRIVATE_KEY_FILE", &path);
    let ran = world.serve_expecting_error();
    check_refused(&ran, 2, &["SERVER_PRIVATE_KEY_FILE", &path, "is not PKCS#8"]);
    assert!(ran.stderr.contains("ks-server keys generate") && !ran.stderr.contains(&part), "{ran:?}");

    world.write("broken.pem", [0xff, 0xfe, 0x00]);
    check_refused(&world.serve_expecting_error(), 2, &["SERVER_PRIVATE_KEY_FILE", &path, "not text"]);
    world.set("SERVER_PRIVATE_KEY_FILE", "/dev/zero");
    check_refused(&world.serve_expecting_error(), 2, &["SERVER_PRIVATE_KEY_FILE", "/dev/zero", "not a regular file"]);
    world.set("SERVER_PRIVATE_KEY_FILE", "/nowhere/key.pem");
    check_refused(&world.serve_expecting_error(), 3, &["SERVER_PRIVATE_KEY_FILE", "cannot read /nowhere/key.pem"]);
    world.set("SERVER_PRIVATE_KEY_FILE", "");
    world.set("SERVER_PRIVATE_KEY", &server_key().to_pem().unwrap());
    world.set("FIRMWARE_PRIVATE_KEY_FILE", "/nowhere/key.pem");
    check_refused(&world.serve_expecting_error(), 3, &["FIRMWARE_PRIVATE_KEY_FILE", "cannot read /nowhere/key.pem"]);
}

#[test]
fn a_key_given_twice_is_refused() {
    refused_with(
        &[("SERVER_PRIVATE_KEY_FILE", "key.pem")],
        2,
        &["SERVER_PRIVATE_KEY and SERVER_PRIVATE_KEY_FILE are both set"],
    );
}

#[test]
fn a_short_admin_token_is_named_and_not_shown() {
    for wrong in ["hunter2", "hunter2 with spaces in it"] {
        let ran = world(&[("ADMIN_TOKEN", wrong)]).serve_expecting_error();
        check_refused(&ran, 2, &["ADMIN_TOKEN", "not shown", "at least 16 characters"]);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

#[test]
fn an_invalid_sentry_dsn_is_named_and_its_key_is_not_shown() {
    for given in ["ftp://hunter2@sentry.example.com/42", "https://hunter2@sentry.example.com/", "hunter2"] {
        let ran = world(&[("SENTRY_DSN", given)]).serve_expecting_error();
        check_refused(&ran, 2, &["SENTRY_DSN"]);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

/// Goal: a folder in which no file can be made is named. Root may write anywhere, so a file blocks the path.
#[test]
fn a_folder_that_can_not_be_made_is_named() {
    let mut world = world(&[]);
    let file = world.write("a-file", "").display().to_string();
    world.set("DATABASE_URL", &format!("file:{file}/below/ks.sqlite"));
    for arguments in [&["serve", "--stop-with-stdin"][..], &["migrate"]] {
        check_refused(&world.run(arguments), 3, &["cannot create", &file]);
    }
    world.set("DATABASE_URL", &format!("file:{file}/ks.sqlite"));
    check_refused(&world.serve_expecting_error(), 3, &[&file]);
    world.set("DATABASE_URL", &format!("file:{}", world.path("").display()));
    check_refused(&world.serve_expecting_error(), 2, &["DATABASE_URL", &world.path("").display().to_string()]);
}

fn refused_database(world: &World, named: &[&str], help: &str) {
    let path = world.database().display().to_string();
    let before = std::fs::read(world.database()).unwrap();
    for arguments in [&["serve", "--stop-with-stdin"][..], &["migrate"], &["factory", "make-otrt"]] {
        let ran = world.run(arguments);
        check_refused(&ran, 3, &[&[path.as_str()], named].concat());
        assert!(!ran.stderr.contains("new.sqlite"), "the help must not suggest an empty fleet: {ran:?}");
        assert!(ran.stderr.contains(help), "{ran:?}");
    }
    assert!(std::fs::read(world.database()).unwrap() == before, "a refused database must stay unchanged");
}

#[test]
fn a_truncated_database_is_refused_and_left_alone() {
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    cut_in_half(&world.database());
    refused_database(&world, &[], "stop every program that has it open");
}

#[test]
fn a_file_that_is_not_a_database_is_refused_and_left_alone() {
    let world = world(&[]);
    world.write("ks.sqlite", "this is no database, but it is long enough to look like one ".repeat(100));
    refused_database(&world, &["not a database"], "set DATABASE_URL to the fleet's database");
}

#[test]
fn a_database_with_a_newer_schema_is_refused_and_left_alone() {
    let world = world(&[]);
    let migrated = world.run(&["migrate"]);
    assert!(migrated.stdout.contains(&format!("schema version {}", ks_server::store::SCHEMA_VERSION)), "{migrated:?}");
    let newer = "INSERT INTO schema_migrations VALUES (999, 'later', x'00', 0)";
    world.sqlite().execute_batch(newer).unwrap();
    refused_database(&world, &["has schema version 999"], "use the newer version of the program");
}

#[test]
fn a_database_with_a_changed_migration_history_is_refused() {
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    world.sqlite().execute_batch("UPDATE schema_migrations SET sha256 = x'00' WHERE version = 1").unwrap();
    refused_database(&world, &["migration 1"], "use the build of this program that created it");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let world = world(&[]);
    world.sqlite().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    refused_database(
        &world,
        &["belongs to another program", "`songs`"],
        "set DATABASE_URL to the fleet's own database",
    );
}

/// Goal: damage to acknowledged writes in a write-ahead log is never ignored silently.
/// Method: kill -9 leaves a log with a registration and heartbeats; a byte in the middle of it is changed.
#[tokio::test]
async fn a_damaged_write_ahead_log_is_refused_and_left_alone() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    for _ in 0..20 {
        device.beat().await.answer();
    }
    server.kill_9();
    let log = server.path("ks.sqlite-wal");
    let whole = std::fs::read(&log).unwrap();
    let mut damaged = whole.clone();
    damaged[whole.len() / 4] ^= 1;
    std::fs::write(&log, &damaged).unwrap();
    let commands: [&[&str]; 5] = [
        &["serve", "--stop-with-stdin"],
        &["migrate"],
        &["admin", "token", "create", "--role", "viewer", "--ttl", "1h"],
        &["audit", "verify"],
        &["factory", "export"],
    ];
    for command in commands {
        check_refused(&server.run(command), 3, &["write-ahead log is damaged"]);
        assert!(std::fs::read(&log).unwrap() == damaged, "{command:?}: it is left as it is");
    }
    std::fs::write(&log, &whole).unwrap();
    server.start_again();
    assert_eq!(server.beats().len(), 20);
}

/// Goal: the log of a busy server is not reported as torn, neither to readers next to it nor by doctor.
/// Method: a transaction larger than its cache, whose frames are in the log before its commit; it continues, then it is rolled
/// back, which leaves them there. A copy of the same files is reported.
#[test]
fn the_log_of_a_busy_server_is_not_reported_as_torn() {
    let (live, copy) = (world(&[]), world(&[]));
    assert_eq!(live.run(&["migrate"]).code, Some(0));
    let server = live.sqlite();
    server.execute_batch("PRAGMA cache_size=2; BEGIN IMMEDIATE; CREATE TABLE filler (x TEXT);").unwrap();
    for number in 0..200 {
        server.execute("INSERT INTO filler VALUES (?1)", [format!("{number:0>3000}")]).unwrap();
    }
    let remark = "that do not count: a crash in the middle";
    let commands: [&[&str]; 2] = [&["audit", "verify"], &["doctor"]];
    let is_silent = |when: &str| {
        for command in commands {
            let ran = live.run(command);
            assert!(!ran.stdout.contains(remark) && !ran.stderr.contains(remark), "{when}: {ran:?}");
        }
    };
    is_silent("while it is written");
    server.execute_batch("ROLLBACK").unwrap();
    is_silent("after it was rolled back");
    for file in ["ks.sqlite", "ks.sqlite-wal"] {
        std::fs::copy(live.path(file), copy.path(file)).unwrap();
    }
    let ran = copy.run(&["audit", "verify"]);
    assert!(ran.stderr.contains(remark), "{ran:?}");
}

/// Goal: a log that lost its end is accepted, as after a crash, but always reported: it may be a truncated copy.
/// Method: kill -9 leaves a log with heartbeats; its last frame is cut. A whole log, and a restarted one, are not reported.
#[tokio::test]
async fn a_truncated_write_ahead_log_is_reported_once_and_accepted() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    for _ in 0..5 {
        device.beat().await.answer();
    }
    server.kill_9();
    let remark = "that do not count: a crash in the middle";
    assert!(!server.run(&["doctor"]).stdout.contains(remark), "a whole log");
    let log = server.path("ks.sqlite-wal");
    let bytes = std::fs::metadata(&log).unwrap().len();
    std::fs::File::options().write(true).open(&log).unwrap().set_len(bytes - 1_000).unwrap();
    let doctor = server.run(&["doctor"]);
    let reported: Vec<&str> = doctor.stdout.lines().filter(|line| line.contains(remark)).collect();
    assert!(reported.len() == 1 && reported[0].starts_with("WARN  database"), "{doctor:?}");
    let tail: u64 = reported[0]
        .split_once("is followed by ")
        .and_then(|(_, rest)| rest.split(' ').next()?.replace(',', "").parse().ok())
        .unwrap_or_else(|| panic!("{doctor:?}"));
    assert_eq!(tail % 4_120, 3_120, "the last commit's frames, one of them cut: {doctor:?}");
    assert!(doctor.stdout.contains("a copy or a backup"), "{doctor:?}");
    let copy = tempfile::tempdir().unwrap();
    for name in ["ks.sqlite", "ks.sqlite-wal"] {
        std::fs::copy(server.path(name), copy.path().join(name)).unwrap();
    }
    let url = format!("file:{}", copy.path().join("ks.sqlite").display());
    for command in [&["audit", "verify"][..], &["factory", "export"], &["admin", "user", "list"], &["keys", "status"]] {
        let read = server.run(&[command, &["--database-url", &url]].concat());
        let reported =
            read.stderr.lines().filter(|line| line.starts_with("warning: ") && line.contains(remark)).count();
        assert_eq!((read.code, reported), (Some(0), 1), "{command:?}: {read:?}");
    }
    let written = server.run(&["migrate", "--database-url", &url]);
    assert!(written.code == Some(0) && written.stderr.contains(remark), "{written:?}");

    server.start_again();
    let warnings = |log: &str| log.lines().filter(|line| line.contains("WARN") && line.contains(remark)).count();
    assert_eq!(warnings(&server.log()), 1, "{}", server.log());
    let beats = server.beats().len();
    assert!(beats == 4 || beats == 5, "only the last commit is lost, whatever it was: {beats}");
    device.moves_to(&server, crate::support::HOME);
    device.beat().await.answer();
    let busy: i64 = server.value("PRAGMA wal_checkpoint(RESTART)");
    assert_eq!(busy, 0);
    server.wait_until_idle().await;
    server.kill_9();
    server.start_again();
    assert_eq!(warnings(&server.log()), 1, "an old log behind a new one is no loss: {}", server.log());
}

/// Goal: a log is not deleted because its database is missing: it holds the last writes.
/// Method: kill -9 leaves a log; the database is moved aside, then an empty file is in its place; then it is put back.
#[tokio::test]
async fn a_log_whose_database_is_missing_is_left_alone() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    server.kill_9();
    let (path, log) = (server.path("ks.sqlite"), server.path("ks.sqlite-wal"));
    let bytes = std::fs::read(&log).unwrap();
    std::fs::rename(&path, server.path("aside")).unwrap();
    for put_there in [None, Some("")] {
        if let Some(text) = put_there {
            std::fs::write(&path, text).unwrap();
        }
        for (command, code) in [(&["serve"][..], 3), (&["migrate"], 3), (&["audit", "verify"], 3), (&["doctor"], 1)] {
            let refused = server.run(command);
            assert_eq!(refused.code, Some(code), "{command:?}: {refused:?}");
            let reported = format!("{}{}", refused.stdout, refused.stderr);
            assert!(
                reported.contains("missing or empty") && reported.contains("put the database back"),
                "{command:?}: {reported}"
            );
            assert_eq!(std::fs::read(&log).unwrap(), bytes, "{command:?}");
        }
    }
    std::fs::rename(server.path("aside"), &path).unwrap();
    server.start_again();
    assert_eq!(server.beats().len(), 1);
}

/// Goal: no empty database is made behind a link to a volume that is not mounted.
/// Method: the database's name is a link to a missing file, in an existing folder and in a missing one.
#[test]
fn a_link_to_a_missing_database_is_an_error_that_names_both() {
    let world = world(&[]);
    std::fs::create_dir(world.path("volume")).unwrap();
    let help = "mount the volume, or put the database back there";
    for away in ["volume/ks.sqlite", "not-mounted/ks.sqlite"] {
        let _ = std::fs::remove_file(world.database());
        std::os::unix::fs::symlink(world.path(away), world.database()).unwrap();
        for command in
            [&["serve", "--stop-with-stdin"][..], &["migrate"], &["admin", "user", "list"], &["audit", "export"]]
        {
            let ran = world.run(command);
            check_refused(&ran, 3, &["ks.sqlite can't be read: it is a link to", away, "does not exist"]);
            assert!(ran.stderr.contains(help) && !world.path(away).exists(), "{command:?}: {ran:?}");
        }
    }
    std::fs::remove_file(world.database()).unwrap();
    std::os::unix::fs::symlink("volume/ks.sqlite", world.database()).unwrap();
    std::fs::write(world.path("volume/ks.sqlite"), "").unwrap();
    assert_eq!(world.run(&["migrate"]).code, Some(0), "a link to an existing folder is followed");
}

/// Goal: a server whose devices know its key never continues with a new one.
/// Method: the development key is lost, or a setting misspelled; the database has a device.
#[tokio::test]
async fn a_fleet_is_not_given_a_new_key() {
    let mut server = start_server(&[("SERVER_PRIVATE_KEY", "")]);
    server.whitelisted("KS-1").await;
    server.kill_9();
    let key = server.path("development-server-key.pem");
    std::fs::remove_file(&key).unwrap();
    check_refused(&server.serve_expecting_error(), 2, &["has devices"]);
    assert!(!key.exists());
}

/// Goal: a tool of a newer version does not change the schema under a running server.
/// Method: a database of an older schema; the factory's tools refuse it, `migrate` upgrades it.
#[test]
fn factory_tools_leave_an_older_schema_to_the_server() {
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    world.sqlite().execute_batch("UPDATE schema_migrations SET version = version - 1").unwrap();
    let refused = world.run(&["factory", "make-otrt"]);
    check_refused(&refused, 3, &["schema version"]);
    assert!(refused.stderr.contains("run `ks-server migrate`"), "{refused:?}");
}

/// Goal: with exclusive locking the server works, and no tool opens its database meanwhile.
#[tokio::test]
async fn a_server_with_exclusive_locking_works_and_blocks_tools() {
    let mut server = start_server(&[("STORE_LOCKING", "exclusive")]);
    server.registered("KS-1").await;
    let refused = server.run(&["audit", "verify"]);
    check_refused(&refused, 3, &["ks.sqlite", "locked by another program", "STORE_LOCKING=exclusive"]);
    assert!(refused.stderr.contains("help: wait until the other program has finished"), "{refused:?}");
    server.kill_9();
    server.start_again();
    assert_eq!(server.get("/api/devices/KS-1").await.done()["status"], "REGISTERED");
    server.terminate();
    server.ended().await;
    assert_eq!(server.run(&["audit", "verify"]).code, Some(0), "tools can open it after the server has stopped");
}

/// Goal: migrating is idempotent: deploying twice is no error.
#[test]
fn migrate_twice_is_fine() {
    let world = world(&[]);
    let (first, again) = (world.run(&["migrate"]), world.run(&["migrate"]));
    assert_eq!((first.code, &first.stdout), (Some(0), &again.stdout));
}

/// Goal: without a key the server makes one for development, which only its owner may read, says so, and keeps it.
/// Method: start twice; `keys generate` never overwrites.
#[tokio::test]
async fn the_development_key_is_private_and_reused() {
    let mut server = start_server(&[("SERVER_PRIVATE_KEY", "")]);
    let key_file = server.path("development-server-key.pem");
    let pem = std::fs::read_to_string(&key_file).unwrap();
    assert_eq!(std::fs::metadata(&key_file).unwrap().permissions().mode() & 0o777, 0o600);
    let public_key = PrivateKey::from_pem(&pem).unwrap().public_key();
    assert!(server.log().contains("DEVELOPMENT key"), "{}", server.log());
    server.kill_9();
    server.start_again();
    assert_eq!(std::fs::read_to_string(&key_file).unwrap(), pem);
    assert_eq!(server.run(&["keys", "export-pubkey", "--format", "base64"]).stdout.trim(), public_key.to_string());
    assert!(!server.log().contains(pem.lines().nth(1).unwrap()));
    let path = key_file.display().to_string();
    check_refused(&server.run(&["keys", "generate", "--out", &path]), 3, &["cannot write", &path]);
    assert_eq!(std::fs::read_to_string(&key_file).unwrap(), pem);
}

/// Goal: a key made by `keys generate` is private from the first moment, and works.
#[tokio::test]
async fn a_generated_key_file_is_private_and_works() {
    let mut world = world(&[("SERVER_PRIVATE_KEY", "")]);
    let path = world.path("keys/server.pem");
    let made = world.run(&["keys", "generate", "--out", &path.display().to_string()]);
    assert_eq!(made.code, Some(0), "{made:?}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let pem = std::fs::read_to_string(&path).unwrap();
    assert!(!made.stdout.contains(pem.lines().nth(1).unwrap()), "{made:?}");
    world.set("SERVER_PRIVATE_KEY_FILE", &path.display().to_string());
    let server = world.start();
    let key_id = PrivateKey::from_pem(&pem).unwrap().public_key().key_id();
    let keys = crate::support::Line::new(server.address(), crate::support::HOME)
        .exchange(crate::support::Sent::get("/keys"))
        .await
        .unwrap();
    assert!(keys.text().contains(&format!("\nkey_id: {key_id}\n")), "{}", keys.text());
}

/// Goal: no secret is in the log, even at its most verbose.
/// Method: everything that carries a secret, at level trace: key, admin token (right and wrong), one-time token.
#[tokio::test]
async fn secrets_are_never_in_the_log() {
    let server = start_server(&[("LOG_LEVEL", "trace"), ("OTRT_REQUIRED", "true")]);
    let mut device = server.whitelisted("KS-1").await;
    let token = server.otrt(json!({})).await;
    device.register(Some("a-token-that-is-wrong")).await.refusal(RefusalCode::OtrtInvalid);
    device.register(Some(&token)).await.answer();
    device.beat().await.answer();
    server.admin_as("Bearer another-admin-token", "GET", "/api/devices", "").await.problem(401);
    let broken = device.sign_text("/register", &format!("type: register\notrt: {token}\n"));
    device.send::<NextBeat>("/register", &broken).await.refusal(RefusalCode::Malformed);
    let log = server.log();
    assert!(log.contains("refused"), "the log is verbose: {log}");
    let pem = server_key().to_pem().unwrap();
    for secret in
        [ADMIN_TOKEN, "another-admin-token", &token, "a-token-that-is-wrong", &pem.lines().nth(1).unwrap()[20..]]
    {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}

/// Goal: a misspelled setting is never ignored silently.
/// Method: a name that only this program could use, one that may be another program's, and names that a machine sets.
#[test]
fn a_misspelled_setting_is_refused_with_the_nearest_name() {
    refused_with(&[("OTRT_REQUIERED", "true")], 2, &["OTRT_REQUIERED", "no such setting"]);
    let ran = world(&[("OTRT_REQUIERED", "true")]).run(&["doctor"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(
        ran.stdout.contains("BAD   settings") && ran.stdout.contains("did you mean OTRT_REQUIRED?"),
        "{}",
        ran.stdout
    );
    let empty = world(&[("OTRT_REQUIERED", ""), ("STORE_SYNC", " "), ("SERVER_PORT", "")]);
    let ran = empty.run(&["doctor"]);
    assert_eq!(ran.code, Some(0), "an empty value counts as unset: {ran:?}");
    assert!(!ran.stdout.contains("no such setting"), "{}", ran.stdout);
    assert_eq!(empty.serve_expecting_error().code, Some(0));
    let doubtful =
        world(&[("S3_BUCKET", "x"), ("STORE_SERVICE_HOST", "10.0.0.1"), ("RUST_LOG", "info"), ("SERVER_PORT", "1")]);
    let doctor = doubtful.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(doctor.stdout.contains("WARN  settings  S3_BUCKET is ignored"), "{}", doctor.stdout);
    assert!(
        doctor.stdout.contains("SERVER_PORT is ignored: this program has no such setting, but it has PORT"),
        "{}",
        doctor.stdout
    );
    let ran = doubtful.serve_expecting_error();
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stderr.contains("S3_BUCKET is ignored") && !ran.stderr.contains("STORE_SERVICE_HOST"), "{ran:?}");
}

/// Goal: settings that are each in range but contradict each other are reported at the start and by doctor.
/// Method: one request a minute for devices that beat every 5 s, and trusted proxies that include every address.
#[test]
fn contradictory_settings_are_reported() {
    let world = world(&[
        ("HEARTBEAT_INTERVAL_MS", "5000"),
        ("RATE_LIMIT_DEVICE_PER_MIN", "1"),
        ("TRUSTED_PROXIES", "0.0.0.0/0"),
    ]);
    let doctor = world.run(&["doctor"]);
    for reported in [
        "every 5 s, which requires 24 requests a minute in total, but may make only 1",
        "the prefix /0",
        "a power failure loses",
    ] {
        assert!(doctor.stdout.contains(reported), "{reported}: {}", doctor.stdout);
        assert!(world.serve_expecting_error().stderr.contains(reported), "{reported}");
    }
}

/// Commands that read a database, or change an existing one.
const OF_A_DATABASE: [&[&str]; 21] = [
    &["admin", "token", "create", "--name", "a", "--role", "admin", "--ttl", "1h"],
    &["admin", "token", "list"],
    &["admin", "token", "revoke", "1"],
    &["admin", "user", "disable", "anna"],
    &["admin", "user", "list"],
    &["audit", "export"],
    &["audit", "verify"],
    &["device", "investigate", "KS-1"],
    &["factory", "export"],
    &["factory", "export", "out.csv"],
    &["factory", "import", "inventory.csv"],
    &["factory", "make-otrt"],
    &["firmware", "list"],
    &["firmware", "revoke", "fw-1"],
    &["keys", "announce"],
    &["keys", "status"],
    &["rollout", "abort", "spring"],
    &["rollout", "list"],
    &["rollout", "pause", "spring"],
    &["rollout", "trace", "spring"],
    &["rollout", "watch", "spring"],
];

/// Goal: every command reports a misspelled path of the database, and makes no database there.
/// Method: each command without a file, in a missing folder, and with an empty file.
#[test]
fn only_serve_and_migrate_make_a_database() {
    let mut world = world(&[]);
    let device = crate::support::Device::new(
        "KS-1",
        crate::support::Line::new(([127, 0, 0, 1], 1).into(), crate::support::HOME),
    );
    world.write("inventory.csv", crate::support::inventory(&[&device]));
    for missing in ["no-such.sqlite", "no/such/folder.sqlite", "empty.sqlite"] {
        let path = world.path(missing);
        world.set("DATABASE_URL", &format!("file:{}", path.display()));
        let is_empty = missing.starts_with("empty");
        if is_empty {
            world.write(missing, "");
        }
        for arguments in OF_A_DATABASE {
            let ran = world.run(arguments);
            check_refused(&ran, 3, &["there is no database at", path.to_str().unwrap()]);
            assert!(ran.stderr.contains("run `ks-server migrate` first"), "{ran:?}");
            assert_eq!(ran.stderr.contains("the file is empty"), is_empty, "{ran:?}");
        }
        assert_eq!(path.metadata().map(|about| about.len()).ok(), is_empty.then_some(0));
    }
    assert!(!world.path("no").exists() && !world.path("out.csv").exists());
    let doctor = world.run(&["doctor"]);
    assert!(doctor.stdout.contains("empty.sqlite: the file is empty"), "{doctor:?}");
}

/// Everything in a folder, with its content.
fn content(folder: &std::path::Path) -> std::collections::BTreeMap<std::path::PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

/// Goal: reading commands can read a backup that is write-protected, and change none that is not.
/// Method: backups as SQLite makes them (a file alone, and one with its log), read-only in a folder that is read-only; each
/// reading command; not a byte differs after. (A tester who is root may write there all the same: then the comparison of the bytes
/// shows it.)
#[tokio::test]
async fn a_backup_is_read_in_place() {
    let mut server = start_server(&[]);
    server.registered("KS-1").await;
    let backup = server.path("back up");
    std::fs::create_dir(&backup).unwrap();
    server.sqlite().execute("VACUUM INTO ?1", [backup.join("ks 100%.sqlite").to_str().unwrap()]).unwrap();
    let whole = server.path("whole");
    std::fs::create_dir(&whole).unwrap();
    server.terminate();
    server.ended().await;
    std::fs::copy(server.database(), whole.join("ks.sqlite")).unwrap();
    let set_mode = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let world = &server;
    for file in [backup.join("ks 100%.sqlite"), whole.join("ks.sqlite")] {
        let folder = file.parent().unwrap();
        set_mode(&file, 0o444);
        set_mode(folder, 0o555);
        let before = content(folder);
        let url = format!("file:{}", file.display());
        let reading: [&[&str]; 6] = [
            &["audit", "verify"],
            &["audit", "export"],
            &["device", "investigate", "KS-1"],
            &["factory", "export"],
            &["admin", "token", "list"],
            &["rollout", "list"],
        ];
        for command in reading {
            let ran = world.run(&[command, &["--database-url", &url]].concat());
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{command:?} of {url}");
        }
        assert!(content(folder) == before, "{url}");
        set_mode(folder, 0o755);
    }
}

/// Goal: reading commands also read what a crash left in the log.
/// Method: a server that is killed; its files copied; the line of the audit that only the log has is there.
#[tokio::test]
async fn a_backup_is_read_with_its_log() {
    let mut server = start_server(&[]);
    server.registered("KS-1").await;
    server.kill_9();
    let lines = |ran: crate::support::CommandOutput| (ran.code, ran.stdout.lines().count());
    let copy = server.path("copy.sqlite");
    std::fs::copy(server.database(), &copy).unwrap();
    let url = format!("file:{}", copy.display());
    std::fs::copy(server.path("ks.sqlite-wal"), server.path("copy.sqlite-wal")).unwrap();
    let with_log = lines(server.run(&["audit", "export", "--database-url", &url]));
    assert_eq!(with_log, (Some(0), 3), "the first keyset, the import, the registration");
}

/// Goal: whatever is in the database's place is named as what it is: a link to itself, a log too short to hold anything.
#[test]
fn a_link_to_itself_and_a_log_too_short_are_named() {
    let looped = world(&[]);
    std::os::unix::fs::symlink("ks.sqlite", looped.path("ks.sqlite")).unwrap();
    let short = world(&[]);
    short.write("ks.sqlite-wal", "a few bytes");
    for command in [&["migrate"][..], &["audit", "verify"]] {
        check_refused(&looped.run(command), 3, &["a link that leads back to itself"]);
        check_refused(&short.run(command), 3, &["ks.sqlite-wal", "too short to hold anything"]);
    }
}
