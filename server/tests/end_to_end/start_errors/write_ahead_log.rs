//! Write-ahead logs that are damaged, cut short, or without their database.

use super::check_refused;
use crate::support::{start_server, world};

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
