//! Goal: a server that can't start says in one sentence what is wrong, names the setting or file, says what to do, and exits
//! with the documented code: 2 what was written is wrong, 3 the machine refuses. No secret is ever shown.
//! Method: the executable with each wrong thing; what it writes and its exit code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod support;

use std::os::unix::fs::PermissionsExt;

use ks_protocol::{key::PrivateKey, message::NextBeat, refusal::RefusalCode};
use serde_json::json;
use support::{ADMIN_TOKEN, Ran, World, cut_in_half, server_key, start_server, world};

/// The one error, of the form that every error has, with this exit code; it names each of `named`.
#[track_caller]
fn check_refused(ran: &Ran, code: i32, named: &[&str]) {
    assert_eq!(ran.code, Some(code), "{ran:?}");
    assert_eq!(ran.stdout, "", "{ran:?}");
    let errors: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("\n  what to do: ").count(), 1, "{}", ran.stderr);
    for name in named {
        assert!(errors[0].contains(name), "{name} is not named: {}", ran.stderr);
    }
    check_plain(&ran.stderr);
}

/// Nothing that only a programmer understands.
#[track_caller]
fn check_plain(text: &str) {
    for word in ["panicked", "backtrace", ".rs:", "unwrap", "Error {", "Some(", "Err("] {
        assert!(!text.contains(word), "{word}: {text}");
    }
}

fn refused_with(settings: &[(&str, &str)], code: i32, named: &[&str]) {
    check_refused(&world(settings).serve_in_vain(), code, named);
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let ran = world(&[("PORT", &address.port().to_string())]).serve_in_vain();
    check_refused(&ran, 3, &["cannot listen on", &address.to_string()]);
    assert!(ran.stderr.contains("set PORT to a free port"), "{ran:?}");
}

#[test]
fn a_port_that_is_none_is_named_with_what_was_expected() {
    for wrong in ["eighty", "70000", "-1", "80 81", "0x50"] {
        refused_with(&[("PORT", wrong)], 2, &["PORT", wrong, "from 0 to 65535"]);
    }
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
    let ran = ran.serve_in_vain();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    for name in ["PORT", "OTRT_REQUIRED", "LOG_LEVEL", "DATABASE_URL"] {
        assert!(ran.stderr.contains(&format!("error: {name} is `")), "{name}: {ran:?}");
        assert!(ran.stderr.contains(&format!("what to do: set {name}=")), "{name}: {ran:?}");
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
    for wrong in [pem.as_str(), "hunter2-is-no-key", &server_key().public_pem().unwrap()] {
        let ran = world(&[("SERVER_PRIVATE_KEY", wrong)]).serve_in_vain();
        check_refused(&ran, 2, &["SERVER_PRIVATE_KEY", "not shown", "PKCS#8 PEM"]);
        assert!(!ran.stderr.contains(&part) && !ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

#[test]
fn a_malformed_key_file_is_named_and_not_shown() {
    let (pem, part) = damaged_pem();
    let mut world = world(&[("SERVER_PRIVATE_KEY", "")]);
    let path = world.write("broken.pem", pem).display().to_string();
    world.set("SERVER_PRIVATE_KEY_FILE", &path);
    let ran = world.serve_in_vain();
    check_refused(&ran, 2, &[&path, "PKCS#8 PEM"]);
    assert!(ran.stderr.contains("ks-server keys generate") && !ran.stderr.contains(&part), "{ran:?}");

    world.write("broken.pem", [0xff, 0xfe, 0x00]);
    check_refused(&world.serve_in_vain(), 2, &[&path, "not text"]);
    world.set("SERVER_PRIVATE_KEY_FILE", "/dev/zero");
    check_refused(&world.serve_in_vain(), 2, &["/dev/zero", "no file"]);
    world.set("SERVER_PRIVATE_KEY_FILE", "/nowhere/key.pem");
    check_refused(&world.serve_in_vain(), 3, &["cannot read /nowhere/key.pem"]);
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
        let ran = world(&[("ADMIN_TOKEN", wrong)]).serve_in_vain();
        check_refused(&ran, 2, &["ADMIN_TOKEN", "not shown", "at least 16 characters"]);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

#[test]
fn a_wrong_address_for_error_reports_is_named_and_its_key_is_not_shown() {
    for given in ["ftp://hunter2@sentry.example.com/42", "https://hunter2@sentry.example.com/", "hunter2"] {
        let ran = world(&[("SENTRY_DSN", given)]).serve_in_vain();
        check_refused(&ran, 2, &["SENTRY_DSN"]);
        assert!(!ran.stderr.contains("hunter2"), "{ran:?}");
    }
}

/// Goal: a folder in which nothing can be made is named. Root may write anywhere, so the way to it is barred by a file.
#[test]
fn a_folder_that_can_not_be_made_is_named() {
    let mut world = world(&[]);
    let file = world.write("a-file", "").display().to_string();
    world.set("DATABASE_URL", &format!("file:{file}/below/ks.sqlite"));
    for arguments in [&["serve", "--stop-with-stdin"][..], &["migrate"]] {
        check_refused(&world.run(arguments), 3, &["cannot create", &file]);
    }
    world.set("DATABASE_URL", &format!("file:{file}/ks.sqlite"));
    check_refused(&world.serve_in_vain(), 3, &[&file]);
    world.set("DATABASE_URL", &format!("file:{}", world.path("").display()));
    check_refused(&world.serve_in_vain(), 2, &["DATABASE_URL", &world.path("").display().to_string()]);
}

fn refused_database(world: &World, named: &[&str], remedy: &str) {
    let path = world.database().display().to_string();
    let before = std::fs::read(world.database()).unwrap();
    for arguments in [&["serve", "--stop-with-stdin"][..], &["migrate"], &["factory", "make-otrt"]] {
        let ran = world.run(arguments);
        check_refused(&ran, 3, &[&[path.as_str()], named].concat());
        assert!(ran.stderr.contains(remedy), "{ran:?}");
    }
    assert!(std::fs::read(world.database()).unwrap() == before, "what is refused must be left as it is");
}

#[test]
fn a_truncated_database_is_refused_and_left_alone() {
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    cut_in_half(&world.database());
    refused_database(&world, &[], "restore it from a backup");
}

#[test]
fn a_file_that_is_no_database_is_refused_and_left_alone() {
    let world = world(&[]);
    world.write("ks.sqlite", "this is no database, but it is long enough to look like one ".repeat(100));
    refused_database(&world, &["not a database"], "restore it from a backup");
}

#[test]
fn a_database_with_a_newer_schema_is_refused_and_left_alone() {
    let world = world(&[]);
    let migrated = world.run(&["migrate"]);
    assert!(migrated.stdout.contains(&format!("schema version {}", ks_server::store::SCHEMA_VERSION)), "{migrated:?}");
    let newer = "INSERT INTO schema_migrations VALUES (999, 'later', x'00', 0)";
    world.sqlite().execute_batch(newer).unwrap();
    refused_database(&world, &["has schema version 999"], "use the newer program");
}

#[test]
fn a_database_that_another_program_changed_the_history_of_is_refused() {
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    world.sqlite().execute_batch("UPDATE schema_migrations SET sha256 = x'00' WHERE version = 1").unwrap();
    refused_database(&world, &["migration 1"], "restore it from a backup");
}

#[test]
fn a_database_of_another_program_is_refused_and_left_alone() {
    let world = world(&[]);
    world.sqlite().execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
    refused_database(&world, &["not this program's", "`songs`"], "set DATABASE_URL to another file");
}

/// Goal: acknowledged writes in a damaged write-ahead log are not passed over in silence.
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
    check_refused(&server.serve_in_vain(), 3, &["write-ahead log is damaged"]);
    assert!(std::fs::read(&log).unwrap() == damaged, "it is left as it is");
    std::fs::write(&log, &whole).unwrap();
    server.start_again();
    assert_eq!(server.beats().len(), 20);
}

/// Goal: a server whose devices know its key never goes on with a new one.
/// Method: the development key is lost, or a setting misspelt; the database has a device.
#[tokio::test]
async fn a_fleet_is_not_given_a_new_key() {
    let mut server = start_server(&[("SERVER_PRIVATE_KEY", "")]);
    server.whitelisted("KS-1").await;
    server.kill_9();
    let key = server.path("development-server-key.pem");
    std::fs::remove_file(&key).unwrap();
    check_refused(&server.serve_in_vain(), 2, &["has devices"]);
    assert!(!key.exists());
}

/// Goal: a tool of a newer version does not change the schema under a server that runs.
/// Method: a database of an older schema; the factory's tools refuse it, `migrate` mends it.
#[test]
fn factory_tools_leave_an_older_schema_to_the_server() {
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    world.sqlite().execute_batch("UPDATE schema_migrations SET version = version - 1").unwrap();
    let refused = world.run(&["factory", "make-otrt"]);
    check_refused(&refused, 3, &["schema version"]);
    assert!(refused.stderr.contains("run `ks-server migrate`"), "{refused:?}");
}

/// Goal: migrating is idempotent: deploying twice is no error.
#[tokio::test]
async fn a_server_that_has_its_database_to_itself_lets_no_tool_in_and_works() {
    let mut server = start_server(&[("STORE_LOCKING", "exclusive")]);
    server.registered("KS-1").await;
    let refused = server.run(&["audit", "verify"]);
    check_refused(&refused, 3, &["ks.sqlite", "another program holds it", "STORE_LOCKING=exclusive"]);
    server.kill_9();
    server.start_again();
    assert_eq!(server.get("/api/devices/KS-1").await.done()["status"], "REGISTERED");
    server.terminate();
    server.ended().await;
    assert_eq!(server.run(&["audit", "verify"]).code, Some(0), "and when it has ended, tools are let in");
}

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
    let keys = support::Line::new(server.address(), support::HOME).exchange(support::Sent::get("/keys")).await.unwrap();
    assert!(keys.text().contains(&format!("\nkey_id: {key_id}\n")), "{}", keys.text());
}

/// Goal: no secret is in the log, even at its most talkative.
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
    assert!(log.contains("refused"), "the log is talkative: {log}");
    let pem = server_key().to_pem().unwrap();
    for secret in
        [ADMIN_TOKEN, "another-admin-token", &token, "a-token-that-is-wrong", &pem.lines().nth(1).unwrap()[20..]]
    {
        assert!(!log.contains(secret), "{secret} is in the log: {log}");
    }
}
