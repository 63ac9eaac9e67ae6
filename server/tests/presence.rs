//! Goal: whoever runs the fleet sees who is there, and why somebody is not; our own downtime is nobody's silence.
//! Method: devices beat; the time they were last heard is moved back in the database; API and command line are asked.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failure here is a failed test"
)]

mod support;

use ks_protocol::message::{LogLevel, LogLine};
use serde_json::json;
use support::{Server, start_server};

const MINUTE_MS: i64 = 60_000;

/// Makes a device's last word so many minutes older.
fn silence(server: &Server, device_id: &str, minutes: i64) {
    let sql = "UPDATE device_states SET last_seen_at = last_seen_at - ?2
               WHERE device = (SELECT id FROM devices WHERE device_id = ?1)";
    assert_eq!(server.sqlite().execute(sql, (device_id, minutes * MINUTE_MS)).unwrap(), 1);
}

fn counts(online: u64, late: u64, offline: u64, lost: u64, whitelisted: u64, revoked: u64) -> serde_json::Value {
    json!({
        "online": online, "unknown": 0, "late": late, "offline": offline, "lost": lost, "never": 0,
        "whitelisted": whitelisted, "revoked": revoked,
    })
}

/// Goal: each device counts as what it is, by model and by site.
/// Method: one device in each presence; one at another site.
#[tokio::test]
async fn devices_are_counted_by_presence_model_and_site() {
    let server = start_server(&[]);
    let fleet = server.fleet("KS", 5).await;
    server.whitelisted("KS-new").await;
    for (device_id, minutes) in [("KS-1", 5), ("KS-2", 30), ("KS-3", 8 * 24 * 60)] {
        silence(&server, device_id, minutes);
    }
    server.revoke(&fleet[4]).await.done();
    server.admin("PATCH", "/api/devices/KS-2", r#"{"site": "south"}"#).await.done();
    let presence = server.get("/api/presence").await.done();
    assert_eq!(presence["total"], counts(1, 1, 1, 1, 1, 1));
    assert_eq!(presence["models"]["KS-100"], presence["total"]);
    assert_eq!(presence["sites"]["south"], counts(0, 0, 1, 0, 0, 0));
    assert_eq!(presence["sites"]["north"], counts(1, 1, 0, 1, 1, 1));
}

/// Counts of registered devices alone.
fn there(server: &serde_json::Value) -> [u64; 6] {
    ["online", "unknown", "late", "offline", "lost", "never"]
        .map(|presence| server["total"][presence].as_u64().unwrap())
}

/// Goal: a restart, and a downtime of an hour, page nobody, and claim of nobody that it is there.
/// Method: the server is killed; its own last word and the devices' are moved back by an hour; it starts again; one device beats.
#[tokio::test]
async fn our_own_downtime_is_nobodys_silence() {
    let mut server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    server.until_settled().await;
    server.kill_9();
    silence(&server, "KS-0", 60);
    silence(&server, "KS-1", 90); // half an hour before the server went, it had fallen silent
    let sql = "UPDATE server_alive SET at = at - 3600000";
    assert_eq!(server.sqlite().execute(sql, []).unwrap(), 1);
    server.start_again();
    support::eventually("the gap is noted", async || {
        server.value::<i64>("SELECT count(*) FROM observation_gaps WHERE to_at - from_at >= 3600000") == 1
    })
    .await;
    let presence = server.get("/api/presence").await.done();
    assert_eq!(there(&presence), [0, 1, 0, 1, 0, 0], "{presence}");
    assert_eq!(presence["observation_gaps"].as_array().unwrap().len(), 1, "{presence}");
    let about = server.get("/api/devices/KS-0/investigate").await.done();
    assert_eq!(about["presence"], "UNKNOWN");
    assert!(about["findings"].to_string().contains("no heartbeat since a server is listening again"), "{about}");
    fleet[0].moves_to(&server, support::HOME);
    fleet[0].beat().await.answer();
    assert_eq!(there(&server.get("/api/presence").await.done()), [1, 0, 0, 1, 0, 0]);
}

/// Goal: of a backup that was put back nobody is ONLINE until heard by this server.
/// Method: a backup is taken; an hour passes (all its times are moved back); it is put back, and a server starts on it.
#[tokio::test]
async fn nobody_is_online_after_a_backup_was_put_back() {
    let mut server = start_server(&[]);
    server.fleet("KS", 3).await;
    server.until_settled().await;
    server.sqlite().execute("VACUUM INTO ?1", [server.path("backup.sqlite").to_str().unwrap()]).unwrap();
    server.kill_9();
    for file in ["ks.sqlite", "ks.sqlite-wal", "ks.sqlite-shm"] {
        std::fs::remove_file(server.path(file)).unwrap();
    }
    std::fs::rename(server.path("backup.sqlite"), server.database()).unwrap();
    let hour_ago = "UPDATE device_states SET last_seen_at = last_seen_at - 3600000;
        UPDATE server_alive SET at = at - 3600000; DELETE FROM observation_gaps";
    server.sqlite().execute_batch(hour_ago).unwrap();
    server.start_again();
    support::eventually("nobody is taken for silent", async || {
        there(&server.get("/api/presence").await.done()) == [0, 3, 0, 0, 0, 0]
    })
    .await;
}

/// Goal: times from a clock that was ahead are no evidence of life, neither while the server runs nor after a restart.
/// Method: everything in the database is moved ten days ahead, as if it had been written under such a clock.
#[tokio::test]
async fn who_was_heard_ahead_of_the_clock_is_not_online() {
    let mut server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    server.until_settled().await;
    silence(&server, "KS-0", -10 * 24 * 60);
    assert_eq!(there(&server.get("/api/presence").await.done()), [1, 1, 0, 0, 0, 0]);
    let about = server.get("/api/devices/KS-0/investigate").await.done();
    assert_eq!((&about["presence"], about["silence_s"].as_u64()), (&"UNKNOWN".into(), None));
    assert!(server.run(&["device", "investigate", "KS-0"]).stdout.contains("ahead of the server's clock"));
    let ahead = "UPDATE server_alive SET at = at + 864000000;
        INSERT INTO observation_gaps (from_at, to_at) SELECT at - 864000000 - 7200000, at FROM server_alive";
    server.sqlite().execute_batch(ahead).unwrap();
    server.start_again();
    let heard = "SELECT count(*) FROM device_states WHERE last_seen_at > (SELECT at FROM server_alive)";
    support::eventually("the times are set right", async || server.value::<i64>(heard) == 0).await;
    assert_eq!(there(&server.get("/api/presence").await.done()), [1, 1, 0, 0, 0, 0], "heard, and nobody knows when");
    fleet[0].moves_to(&server, support::HOME);
    fleet[0].beat().await.answer();
    assert_eq!(there(&server.get("/api/presence").await.done()), [2, 0, 0, 0, 0, 0]);
}

/// Goal: one call, and one command, tell all that is known of a silent device.
/// Method: a device with logs, a command, two firmwares, and a silent site.
#[tokio::test]
async fn an_offline_device_is_investigated_in_one_call() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 3).await;
    fleet[0].beat().await.answer();
    let line = LogLine {
        at: ks_protocol::time::UnixMs(1_795_458_000_000),
        level: LogLevel::Error,
        message: ks_protocol::text::Text::truncated("reader is gone"),
    };
    fleet[0].send_logs(1, vec![line]).await.answer();
    let command_id = server.enqueue(&fleet[0], "reboot", "").await;
    for device_id in ["KS-0", "KS-1", "KS-2"] {
        silence(&server, device_id, 45);
    }
    let about = server.get("/api/devices/KS-0/investigate").await.done();
    assert_eq!(
        (&about["presence"], &about["site_offline"], &about["site_devices"]),
        (&"OFFLINE".into(), &3.into(), &3.into())
    );
    assert!((2_690..=2_760).contains(&about["silence_s"].as_u64().unwrap()), "{about}");
    assert_eq!(about["pending_commands"][0]["command_id"], command_id);
    assert_eq!(about["recent_logs"][0]["message"], "reader is gone");
    assert_eq!(about["firmware_history"][0]["firmware_version"], "1.4.2");
    assert_eq!(about["last_heartbeat"]["network"], "wifi");
    let findings = about["findings"].to_string();
    assert!(findings.contains("3 of 3 devices at its site are silent"), "{findings}");
    server.get("/api/devices/KS-nobody/investigate").await.problem(404);

    let ran = server.run(&["device", "investigate", "KS-0"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for told in ["Offline", "reader is gone", "reboot", "1.4.2", "check the site's network first"] {
        assert!(ran.stdout.contains(told), "{told}: {}", ran.stdout);
    }
    let as_json = server.run(&["device", "investigate", "KS-0", "--json"]);
    let as_json: serde_json::Value = serde_json::from_str(&as_json.stdout).unwrap();
    assert_eq!(as_json["device"]["device_id"], "KS-0");
    assert_eq!(server.run(&["device", "investigate", "KS-nobody"]).code, Some(2));
}
