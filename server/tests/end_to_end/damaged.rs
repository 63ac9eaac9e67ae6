//! Goal: nothing is acknowledged once the database is found damaged, whichever query or commit finds it and whatever succeeds
//! later.
//! Method: the real server; pages of its live database are overwritten: pages that it reads each second, and pages that only
//! queries or writes read.

use std::os::unix::fs::FileExt as _;

use crate::support::{Server, eventually, start_server};
use ks_protocol::refusal::RefusalCode;

/// Overwrites the first page of a table in the live file with `byte`; returns its offset and its former content. The log is empty
/// before.
fn overwrite(server: &Server, table: &str, byte: u8) -> (u64, Vec<u8>) {
    let sql = format!("SELECT rootpage FROM sqlite_schema WHERE name = '{table}'");
    let page: i64 = server.value(&sql);
    let page_bytes: i64 = server.value("PRAGMA page_size");
    let busy: i64 = server.value("PRAGMA wal_checkpoint(TRUNCATE)");
    assert_eq!(busy, 0);
    let (at, bytes) = (u64::try_from((page - 1) * page_bytes).unwrap(), usize::try_from(page_bytes).unwrap());
    let file = std::fs::File::options().read(true).write(true).open(server.database()).unwrap();
    let mut before = vec![0; bytes];
    file.read_exact_at(&mut before, at).unwrap();
    file.write_all_at(&vec![byte; bytes], at).unwrap();
    (at, before)
}

/// Health, metrics and the log all report that the server stores nothing, and what to do.
async fn assert_damage_reported(server: &Server) {
    let health = server.get("/health").await;
    assert_eq!((health.status, health.body["status"].as_str()), (503, Some("unavailable")));
    let reported = health.body["store"].as_str().unwrap();
    assert!(reported.starts_with("the database is damaged (") && reported.contains("restore a backup"), "{reported}");
    eventually("the metric is set", async || server.metric("ks_store_damaged").await == Some(1.0)).await;
    let log = server.log();
    let page = log.lines().filter(|line| line.contains("ERROR") && line.contains("the database is damaged ("));
    assert_eq!(page.count(), 1, "logged once, and not each second: {log}");
}

/// Goal: damage is noticed also when no client sends anything, and is remembered when it can no longer be seen.
/// Method: the page of the table that the server polls each second is overwritten, and restored once the damage is noticed.
#[tokio::test]
async fn damage_found_while_idle_stops_every_write_until_a_restart() {
    for byte in [0, 0xff] {
        let mut server = start_server(&[]);
        let mut device = server.registered("KS-1").await;
        device.beat().await.answer();
        let (at, before) = overwrite(&server, "keysets", byte);
        // Another program's commit makes the server read the page again.
        server.sqlite().execute_batch("CREATE TABLE other (x); DROP TABLE other").unwrap();
        eventually("the damage is noticed", async || server.log().contains("the database is damaged")).await;
        device.beat().await.refusal(RefusalCode::Overloaded);
        let refused = server.revoke(&device).await.problem(503);
        assert!(refused["detail"].as_str().unwrap().contains("the database is damaged"), "{refused}");
        assert_damage_reported(&server).await;

        let file = std::fs::File::options().write(true).open(server.database()).unwrap();
        file.write_all_at(&before, at).unwrap();
        let written = server.beats();
        for _ in 0..3 {
            device.beat().await.refusal(RefusalCode::Overloaded);
        }
        assert_damage_reported(&server).await;
        assert_eq!(server.beats(), written);

        server.start_again();
        device.moves_to(&server, crate::support::HOME);
        device.beat().await.answer();
        server.assert_healthy().await;
    }
}

/// Goal: any query or commit that finds the damage stops the writes.
/// Method: a page that only an admin's query reads, and a page that only a device's write reads.
#[tokio::test]
async fn damage_found_by_a_query_or_a_commit_stops_every_write() {
    for (table, is_asked) in [("users", true), ("device_heartbeats", false)] {
        let server = start_server(&[]);
        let mut device = server.registered("KS-1").await;
        server.wait_until_idle().await;
        overwrite(&server, table, 0);
        server.sqlite().execute_batch("CREATE TABLE other (x); DROP TABLE other").unwrap();
        if is_asked {
            server.get("/api/users").await.problem(503);
        }
        device.beat().await.refusal(RefusalCode::Overloaded);
        assert_damage_reported(&server).await;
    }
}
