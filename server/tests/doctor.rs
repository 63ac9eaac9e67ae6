//! Goal: what keeps `serve` from starting is found by `doctor` before, and every command says the same of it; doctor changes nothing.
//! Method: a database that is lost, is no file, may not be written or is held; each command's words and exit code, and the bytes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod support;

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path};

use support::{Ran, World, start_server, world};

/// Commands that open a database, and their exit codes when they can't.
const COMMANDS: [(&[&str], i32); 6] = [
    (&["serve", "--stop-with-stdin"], 3),
    (&["migrate"], 3),
    (&["audit", "verify"], 3),
    (&["factory", "export"], 3),
    (&["factory", "make-otrt"], 3),
    (&["doctor"], 1),
];

/// Each command refuses, with these words about what is wrong and what to do.
#[track_caller]
fn all_refuse(world: &World, words: &[&str]) {
    for (command, code) in COMMANDS {
        let ran = world.run(command);
        assert_eq!(ran.code, Some(code), "{command:?}: {ran:?}");
        let said = format!("{}{}", ran.stdout, ran.stderr);
        for word in words {
            assert!(said.contains(word), "{word}: {command:?}: {said}");
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

/// Every file in a folder, with its content.
fn content(folder: &Path) -> BTreeMap<std::path::PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(&path).unwrap())).collect()
}

/// Every file in a folder, with its length and when it was changed. Nothing is opened: a process that closes a file lets go of its locks.
fn times(folder: &Path) -> BTreeMap<std::path::PathBuf, (u64, std::time::SystemTime)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let about = entries.map(|entry| (entry.path(), entry.metadata().unwrap()));
    about.map(|(path, about)| (path, (about.len(), about.modified().unwrap()))).collect()
}

/// The lines of doctor about the database.
fn about_database(doctor: &Ran) -> Vec<&str> {
    doctor.stdout.lines().filter(|line| line.contains("  database ")).collect()
}

/// Goal: an empty file in the place of a fleet's database is no place for a new fleet.
/// Method: a server that ran; its database is emptied, after a graceful stop. Then the same with each thing that a fleet leaves alone.
#[tokio::test]
async fn an_empty_file_beside_what_a_fleet_left_is_a_lost_database() {
    let mut server = start_server(&[]);
    server.terminate();
    server.ended().await;
    let path = server.database();
    let log_bytes = std::fs::metadata(server.path("ks.sqlite-wal")).map_or(0, |log| log.len());
    assert_eq!(log_bytes, 0, "whether it is there depends on who closed last");
    std::fs::write(&path, "").unwrap();
    let words = ["it is empty, but a fleet's server has left", "restore the database from a backup"];
    all_refuse(&server, &words);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "it is left as it is");
    std::fs::remove_file(&path).unwrap();
    let doctor = server.run(&["doctor"]);
    assert!(doctor.stdout.contains("there is no database at") && doctor.stdout.contains("has left"), "{doctor:?}");
    for reading in [&["audit", "verify"][..], &["admin", "token", "create", "--role", "viewer", "--ttl", "1h"]] {
        let ran = server.run(reading);
        let is_said = ran.stderr.contains("it is missing, but a fleet's server has left");
        assert!(ran.code == Some(3) && is_said, "{ran:?}");
    }
    for making in [&["migrate"][..], &["serve", "--stop-with-stdin"]] {
        let _ = std::fs::remove_file(&path);
        let ran = server.run(making);
        assert!(ran.code == Some(0) && ran.stderr.contains("a NEW fleet begins"), "it is said: {ran:?}");
    }

    for left in ["development-server-key.pem", "server-keys/key.pem", "images/1", "artifacts"] {
        let mut world =
            world(&[("SERVER_PRIVATE_KEY", ""), ("ARTIFACTS_DIR", if left == "images/1" { "images" } else { "" })]);
        world.write("ks.sqlite", "");
        let _ = std::fs::create_dir_all(world.path(left).parent().unwrap());
        if left == "artifacts" {
            std::fs::create_dir(world.path(left)).unwrap();
        } else {
            world.write(left, "x");
        }
        all_refuse(&world, &words);
        world.set("SERVER_PRIVATE_KEY", &support::server_key().to_pem().unwrap()); // another key takes nothing back
        all_refuse(&world, &words);
    }
}

/// Goal: an empty file that stands alone, as `mktemp` or a mount makes it, is where a new fleet begins, and doctor says so.
#[test]
fn an_empty_file_that_stands_alone_is_where_a_fleet_begins() {
    let world = world(&[("ARTIFACTS_DIR", "images")]);
    world.write("ks.sqlite", "");
    std::fs::create_dir(world.path("images")).unwrap(); // made for a setting, and nothing is in it
    let doctor = world.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(
        about_database(&doctor)[0].starts_with("WARN") && doctor.stdout.contains("the file is empty"),
        "{doctor:?}"
    );
    assert!(doctor.stdout.contains("begins a new fleet in it"), "{doctor:?}");
    assert_eq!(world.run(&["serve", "--stop-with-stdin"]).code, Some(0));
    assert_eq!(world.run(&["audit", "verify"]).code, Some(0));
}

/// Goal: a path of the database that names no file is said to be that, by every command.
#[test]
fn a_database_that_is_no_file_is_said_to_be_none() {
    let mut world = world(&[]);
    std::fs::create_dir(world.database()).unwrap();
    all_refuse(&world, &["ks.sqlite can't be used: it is a folder", "set DATABASE_URL to the database itself"]);
    world.set("DATABASE_URL", &format!("file:{}", world.path("other.sqlite").display()));
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    for beside in ["other.sqlite-wal", "other.sqlite-shm"] {
        std::fs::create_dir(world.path(beside)).unwrap();
        all_refuse(&world, &[beside, "is a folder, and SQLite needs a file there", "put ", "aside"]);
        std::fs::remove_dir(world.path(beside)).unwrap();
    }
    world.set("DATABASE_URL", "file:/dev/null");
    all_refuse(&world, &["/dev/null can't be used: it is a device"]);
    let pipe = world.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    world.set("DATABASE_URL", &format!("file:{}", pipe.display()));
    all_refuse(&world, &["pipe can't be used: it is a pipe"]);
}

/// Goal: what this user may not write is found by doctor, which writes nothing itself, and the remedy is the right that is missing.
/// Method: a database, its folder, and the folder where one would be made, each without the right; a user who is not root.
#[tokio::test]
async fn rights_that_are_missing_are_found() {
    let mut server = start_server(&[]);
    server.registered("KS-1").await;
    server.terminate();
    server.ended().await;
    let folder = server.path("data");
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("ks.sqlite");
    std::fs::rename(server.database(), &file).unwrap();
    let url = format!("file:{}", file.display());
    for (file_mode, folder_mode, place) in [(0o444, 0o777, &file), (0o666, 0o555, &folder)] {
        set_mode(&file, file_mode);
        set_mode(&folder, folder_mode);
        let before = content(&folder);
        let Some(doctor) = server.run_without_rights(&["doctor", "--database-url", &url]) else { return };
        assert_eq!(doctor.code, Some(1), "{doctor:?}");
        let said = about_database(&doctor);
        assert!(
            said[0].starts_with("BAD") && said[0].contains(&format!("may not write {}", place.display())),
            "{said:?}"
        );
        assert!(said[1].starts_with("ok"), "it is read all the same: {said:?}");
        assert!(content(&folder) == before);
        let served = server.run_without_rights(&["serve", "--stop-with-stdin", "--database-url", &url]).unwrap();
        assert_eq!(served.code, Some(3), "{served:?}");
        for said in [&served.stderr, &doctor.stdout] {
            assert!(
                said.contains("give the user that runs this the right") && !said.contains("mount the disk"),
                "{said}"
            );
        }
        set_mode(&folder, 0o755);
    }
    let empty = server.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let url = format!("file:{}", empty.join("below/ks.sqlite").display());
    let doctor = server.run_without_rights(&["doctor", "--database-url", &url]).unwrap();
    let said = about_database(&doctor);
    assert!(
        said[0].starts_with("BAD") && said[0].contains(&format!("may not write {}", empty.display())),
        "{doctor:?}"
    );
}

/// Goal: folders that the server has to write, and that are files, are found, and each command says the same.
#[test]
fn folders_that_are_files_are_found() {
    let world = world(&[("ARTIFACTS_DIR", "a-file"), ("SERVER_KEYS_DIR", "a-file/below")]);
    world.write("a-file", "");
    let doctor = world.run(&["doctor"]);
    assert_eq!(doctor.code, Some(1), "{doctor:?}");
    for what in ["BAD   firmware  cannot create a-file: ", "BAD   keys      cannot create a-file/below: "] {
        assert!(doctor.stdout.contains(what), "{doctor:?}");
    }
    let served = world.run(&["serve", "--stop-with-stdin"]);
    assert!(served.code == Some(3) && served.stderr.contains("cannot create a-file"), "{served:?}");
    let announced = world.run(&["keys", "announce"]);
    assert!(announced.stderr.contains("a part of a-file/below is a file, not a folder"), "{announced:?}");
}

/// Goal: a database that another program holds is found by doctor as long as it is held, and a server that writes is not taken for one.
#[tokio::test]
async fn a_database_that_is_held_is_found() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    let beside = server.run(&["doctor"]);
    assert!(!beside.stdout.contains("holds it"), "{beside:?}");
    server.terminate();
    server.ended().await;
    for mode in ["WAL", "DELETE"] {
        let other = server.sqlite();
        other.execute_batch(&format!("PRAGMA journal_mode={mode}; BEGIN EXCLUSIVE")).unwrap();
        let before = times(&server.path(""));
        let doctor = server.run(&["doctor"]);
        assert_eq!(doctor.code, Some(1), "{doctor:?}");
        let said = about_database(&doctor);
        let holder = format!("(process {}) holds it", std::process::id());
        assert!(said.len() == 1 && said[0].starts_with("BAD") && said[0].contains(&holder), "{mode}: {doctor:?}");
        assert_eq!(times(&server.path("")), before, "{mode}");
        let served = server.run(&["serve", "--stop-with-stdin"]);
        assert_eq!(served.code, Some(3), "{mode}: {served:?}");
        other.execute_batch("ROLLBACK").unwrap();
    }
    assert_eq!(server.run(&["doctor"]).code, Some(0));
}
