//! Goal: `doctor` finds in advance whatever keeps `serve` from starting, every command reports it in the same words, and doctor
//! changes nothing.
//! Method: a database that is missing, not a file, not writable or locked; each command's output and exit code, and the bytes on
//! disk.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt as _, path::Path};

use crate::support::{CommandOutput, World, start_server, world};

/// Commands that open a database, and their exit codes when they can't.
const COMMANDS: [(&[&str], i32); 6] = [
    (&["serve", "--stop-with-stdin"], 3),
    (&["migrate"], 3),
    (&["audit", "verify"], 3),
    (&["factory", "export"], 3),
    (&["factory", "make-otrt"], 3),
    (&["doctor"], 1),
];

/// Each command refuses, and says in these words what is wrong and what to do.
#[track_caller]
fn all_refuse(world: &World, words: &[&str]) {
    for (command, code) in COMMANDS {
        let ran = world.run(command);
        assert_eq!(ran.code, Some(code), "{command:?}: {ran:?}");
        let reported = format!("{}{}", ran.stdout, ran.stderr);
        for word in words {
            assert!(reported.contains(word), "{word}: {command:?}: {reported}");
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

/// Every file in a folder, with its length and modification time. Opens nothing: closing a file would release the process's locks.
fn file_times(folder: &Path) -> BTreeMap<std::path::PathBuf, (u64, std::time::SystemTime)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let about = entries.map(|entry| (entry.path(), entry.metadata().unwrap()));
    about.map(|(path, about)| (path, (about.len(), about.modified().unwrap()))).collect()
}

/// The lines of doctor about the database.
fn database_lines(doctor: &CommandOutput) -> Vec<&str> {
    doctor.stdout.lines().filter(|line| line.contains("  database ")).collect()
}

/// Goal: an empty file in the place of a fleet's database does not start a new fleet.
/// Method: a server that ran; its database is emptied, after a graceful stop. Then the same with each remnant of a fleet by
/// itself.
#[tokio::test]
async fn an_empty_file_next_to_a_fleets_remnants_is_a_lost_database() {
    let mut server = start_server(&[]);
    server.terminate();
    server.ended().await;
    let path = server.database();
    let log_bytes = std::fs::metadata(server.path("ks.sqlite-wal")).map_or(0, |log| log.len());
    assert_eq!(log_bytes, 0, "the file exists or not, depending on which process closed last");
    std::fs::write(&path, "").unwrap();
    let words = ["it is empty, but a fleet's server has left", "restore the database from a backup"];
    all_refuse(&server, &words);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0, "the file is unchanged");
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
        assert!(
            ran.code == Some(0) && ran.stderr.contains("a NEW fleet is created"),
            "the new fleet is announced: {ran:?}"
        );
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
        world.set("SERVER_PRIVATE_KEY", &crate::support::server_key().to_pem().unwrap()); // another key changes nothing
        all_refuse(&world, &words);
    }
}

/// Goal: an empty file with nothing else next to it, as `mktemp` or a mount makes it, starts a new fleet, and doctor says so.
#[test]
fn an_empty_file_alone_starts_a_new_fleet() {
    let world = world(&[("ARTIFACTS_DIR", "images")]);
    world.write("ks.sqlite", "");
    std::fs::create_dir(world.path("images")).unwrap(); // made for a setting, and nothing is in it
    let doctor = world.run(&["doctor"]);
    assert_eq!(doctor.code, Some(0), "{doctor:?}");
    assert!(
        database_lines(&doctor)[0].starts_with("WARN") && doctor.stdout.contains("the file is empty"),
        "{doctor:?}"
    );
    assert!(doctor.stdout.contains("creates a new fleet in it"), "{doctor:?}");
    assert_eq!(world.run(&["serve", "--stop-with-stdin"]).code, Some(0));
    assert_eq!(world.run(&["audit", "verify"]).code, Some(0));
}

/// Goal: every command says that the path of the database is not a file.
#[test]
fn a_database_path_that_is_not_a_file_is_reported() {
    let mut world = world(&[]);
    std::fs::create_dir(world.database()).unwrap();
    all_refuse(&world, &["ks.sqlite can't be used: it is a folder", "set DATABASE_URL to the database file"]);
    world.set("DATABASE_URL", &format!("file:{}", world.path("other.sqlite").display()));
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    for while_running in ["other.sqlite-wal", "other.sqlite-shm"] {
        std::fs::create_dir(world.path(while_running)).unwrap();
        all_refuse(&world, &[while_running, "is a folder, and SQLite needs a file there", "put ", "aside"]);
        std::fs::remove_dir(world.path(while_running)).unwrap();
    }
    world.set("DATABASE_URL", "file:/dev/null");
    all_refuse(&world, &["/dev/null can't be used: it is a device"]);
    let pipe = world.path("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    world.set("DATABASE_URL", &format!("file:{}", pipe.display()));
    all_refuse(&world, &["pipe can't be used: it is a pipe"]);
}

/// Goal: doctor, which writes nothing itself, finds what this user may not write, and its help names the missing right.
/// Method: a database, its folder, and the folder where one would be made, each without the right; a user who is not root.
#[tokio::test]
async fn missing_rights_are_found() {
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
        let reported = database_lines(&doctor);
        assert!(
            reported[0].starts_with("BAD") && reported[0].contains(&format!("may not write {}", place.display())),
            "{reported:?}"
        );
        assert!(reported[1].starts_with("ok"), "it is still readable: {reported:?}");
        assert!(content(&folder) == before);
        let served = server.run_without_rights(&["serve", "--stop-with-stdin", "--database-url", &url]).unwrap();
        assert_eq!(served.code, Some(3), "{served:?}");
        for reported in [&served.stderr, &doctor.stdout] {
            assert!(
                reported.contains("give this user read and write access") && !reported.contains("mount the disk"),
                "{reported}"
            );
        }
        set_mode(&folder, 0o755);
    }
    let empty = server.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let url = format!("file:{}", empty.join("below/ks.sqlite").display());
    let doctor = server.run_without_rights(&["doctor", "--database-url", &url]).unwrap();
    let reported = database_lines(&doctor);
    assert!(
        reported[0].starts_with("BAD") && reported[0].contains(&format!("may not write {}", empty.display())),
        "{doctor:?}"
    );
}

/// Goal: files in place of folders that the server has to write are found, and each command says the same.
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

/// Goal: doctor finds a database that another program holds for as long as it is held, and does not mistake a running server for
/// such a program.
#[tokio::test]
async fn a_database_held_by_another_program_is_found() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    let while_running = server.run(&["doctor"]);
    assert!(!while_running.stdout.contains("holds it"), "{while_running:?}");
    server.terminate();
    server.ended().await;
    for mode in ["WAL", "DELETE"] {
        let other = server.sqlite();
        other.execute_batch(&format!("PRAGMA journal_mode={mode}; BEGIN EXCLUSIVE")).unwrap();
        let before = file_times(&server.path(""));
        let doctor = server.run(&["doctor"]);
        assert_eq!(doctor.code, Some(1), "{doctor:?}");
        let reported = database_lines(&doctor);
        let holder = format!("(process {}) for longer than the timeout", std::process::id());
        assert!(
            reported.len() == 1 && reported[0].starts_with("BAD") && reported[0].contains(&holder),
            "{mode}: {doctor:?}"
        );
        assert_eq!(file_times(&server.path("")), before, "{mode}");
        let served = server.run(&["serve", "--stop-with-stdin"]);
        assert_eq!(served.code, Some(3), "{mode}: {served:?}");
        other.execute_batch("ROLLBACK").unwrap();
    }
    assert_eq!(server.run(&["doctor"]).code, Some(0));
}
