//! Goal: nothing is acknowledged that would be lost because the database was moved, deleted or replaced under the server.
//! Method: the real server; its files are moved, deleted and replaced while a device beats and while no client does anything.

use crate::support::{Server, eventually, start_server};
use ks_protocol::refusal::RefusalCode;

/// Health, metrics and the log all report that the server stores nothing, and why.
async fn assert_reported(server: &Server, why: &str) {
    let health = server.get("/health").await;
    assert_eq!((health.status, health.body["status"].as_str()), (503, Some("unavailable")));
    let reported = health.body["store"].as_str().unwrap();
    assert!(reported.contains(why) && reported.contains("put back the original file"), "{reported}");
    eventually("the metric is set", async || server.metric("ks_store_misplaced").await == Some(1.0)).await;
    let log = server.log();
    let page = log.lines().filter(|line| line.contains("ERROR") && line.contains("the database files are missing"));
    assert_eq!(page.count(), 1, "logged once, and not each second: {log}");
}

/// Goal: a punch, a heartbeat and an admin's order are refused while the file is away, and accepted when it is back.
/// Method: the database is moved; a device beats; the file is put back; after a restart everything acknowledged is there.
#[tokio::test]
async fn a_moved_database_refuses_writes_until_it_is_back() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    let aside = server.path("aside.sqlite");
    std::fs::rename(server.database(), &aside).unwrap();
    for _ in 0..3 {
        device.beat().await.refusal(RefusalCode::Overloaded);
    }
    let refused = server.revoke(&device).await.problem(503);
    assert!(refused["detail"].as_str().unwrap().contains("ks.sqlite was moved or deleted"), "{refused}");
    assert_reported(&server, "ks.sqlite was moved or deleted").await;
    assert!(!server.database().exists(), "no new file was made in its place");

    std::fs::rename(&aside, server.database()).unwrap();
    device.beat().await.answer();
    server.assert_healthy().await;
    eventually("the metric is set", async || server.metric("ks_store_misplaced").await == Some(0.0)).await;
    assert!(server.log().contains("the database files are back"));
    let before = server.beats();
    server.start_again();
    assert_eq!(server.beats(), before);
}

/// Goal: a missing file is noticed also when no client sends anything, whichever file it is, and whatever takes its place.
/// Method: the database deleted, the log deleted, its index deleted, the database replaced by its own copy; no device beats until
/// it is noticed.
#[tokio::test]
async fn a_deleted_or_replaced_file_is_noticed_while_idle() {
    for (file, is_copied, why) in [
        ("ks.sqlite", false, "ks.sqlite was moved or deleted"),
        ("ks.sqlite-wal", false, "ks.sqlite-wal was moved or deleted"),
        ("ks.sqlite-shm", false, "ks.sqlite-shm was moved or deleted"),
        ("ks.sqlite", true, "ks.sqlite was replaced by another file"),
    ] {
        let server = start_server(&[]);
        let mut device = server.registered("KS-1").await;
        if is_copied {
            std::fs::copy(server.path(file), server.path("copy")).unwrap();
            std::fs::rename(server.path("copy"), server.path(file)).unwrap();
        } else {
            std::fs::remove_file(server.path(file)).unwrap();
        }
        assert_reported(&server, why).await;
        device.beat().await.refusal(RefusalCode::Overloaded);
    }
}

/// Goal: a graceful stop destroys nothing that was acknowledged: the write-ahead log may be all that is left of it.
/// Method: another file is in the database's place; the server is stopped; the remaining files are put together.
#[tokio::test]
async fn a_stop_after_the_database_was_lost_keeps_the_log() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    std::fs::copy(server.database(), server.path("copy")).unwrap();
    std::fs::rename(server.path("copy"), server.database()).unwrap();
    assert_reported(&server, "ks.sqlite was replaced by another file").await;
    let log = std::fs::read(server.path("ks.sqlite-wal")).unwrap();
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(3));
    assert!(!server.log().contains("everything that was answered is on disk"), "{}", server.log());
    assert_eq!(std::fs::read(server.path("ks.sqlite-wal")).unwrap().len(), log.len());
    server.start_again(); // on the copy, with the log that was left next to it
    device.moves_to(&server, crate::support::HOME);
    device.beat().await.answer();
    assert_eq!(server.beats().len(), 2);
}
