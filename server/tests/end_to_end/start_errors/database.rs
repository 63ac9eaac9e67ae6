//! Databases that are refused, and left alone.

use super::check_refused;
use crate::support::{World, cut_in_half, start_server, world};

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
