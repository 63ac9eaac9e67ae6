//! Goal: nothing is acknowledged that nobody would find, because the database was moved, deleted or replaced under the server.
//! Method: the real server; its files are moved, deleted and replaced while a device beats and while nobody does.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod support;

use ks_protocol::refusal::RefusalCode;
use support::{Server, eventually, start_server};

/// The server says that it stores nothing, in every place where somebody looks, and why.
async fn says_so(server: &Server, why: &str) {
    let health = server.get("/health").await;
    assert_eq!((health.status, health.body["status"].as_str()), (503, Some("unavailable")));
    let said = health.body["store"].as_str().unwrap();
    assert!(said.contains(why) && said.contains("put back the very file"), "{said}");
    eventually("it is counted", async || server.metric("ks_store_misplaced").await == Some(1.0)).await;
    let log = server.log();
    let page = log.lines().filter(|line| line.contains("ERROR") && line.contains("the database files are missing"));
    assert_eq!(page.count(), 1, "once, and not each second: {log}");
}

/// Goal: a punch, a heartbeat, an admin's order are refused as long as the file is away, and taken when it is back.
/// Method: the database is moved; a device beats; the file is put back; after a restart all that was acknowledged is there.
#[tokio::test]
async fn a_database_that_was_moved_takes_nothing_until_it_is_back() {
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
    says_so(&server, "ks.sqlite was moved or deleted").await;
    assert!(!server.database().exists(), "nothing made another one in its place");

    std::fs::rename(&aside, server.database()).unwrap();
    device.beat().await.answer();
    server.is_well().await;
    eventually("it is counted", async || server.metric("ks_store_misplaced").await == Some(0.0)).await;
    assert!(server.log().contains("the database files are back"));
    let before = server.beats();
    server.start_again();
    assert_eq!(server.beats(), before);
}

/// Goal: it is noticed also when nobody sends anything, whichever file it is, and whatever stands in its place.
/// Method: the database deleted, the log deleted, its index deleted, the database replaced by its own copy; nobody beats until it is noticed.
#[tokio::test]
async fn a_file_that_was_deleted_or_replaced_is_noticed_while_nobody_writes() {
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
        says_so(&server, why).await;
        device.beat().await.refusal(RefusalCode::Overloaded);
    }
}

/// Goal: an orderly stop destroys nothing that was acknowledged: the write-ahead log may be all that is left of it.
/// Method: another file stands in the database's place; the server is told to stop; the files that were left are put together.
#[tokio::test]
async fn a_stop_after_the_database_was_lost_leaves_the_log_as_it_is() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    std::fs::copy(server.database(), server.path("copy")).unwrap();
    std::fs::rename(server.path("copy"), server.database()).unwrap();
    says_so(&server, "ks.sqlite was replaced by another file").await;
    let log = std::fs::read(server.path("ks.sqlite-wal")).unwrap();
    server.terminate();
    assert_eq!(server.ended().await.code(), Some(3));
    assert!(!server.log().contains("everything that was answered is on disk"), "{}", server.log());
    assert_eq!(std::fs::read(server.path("ks.sqlite-wal")).unwrap().len(), log.len());
    server.start_again(); // on the copy, with the log that was left beside it
    device.moves_to(&server, support::HOME);
    device.beat().await.answer();
    assert_eq!(server.beats().len(), 2);
}
