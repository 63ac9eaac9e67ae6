//! Goal: operators see which devices are present, and why a device is not; the server's own downtime does not count as a device's
//! silence.
//! Method: devices beat; the times at which they were last seen are moved back in the database; API and command line are queried.

use crate::support::{Count, start_server};
use ks_protocol::message::{LogLevel, LogLine};
use serde_json::json;

fn counts(online: u64, late: u64, offline: u64, lost: u64, whitelisted: u64, revoked: u64) -> serde_json::Value {
    json!({
        "online": online, "unknown": 0, "late": late, "offline": offline, "lost": lost, "never": 0,
        "whitelisted": whitelisted, "revoked": revoked,
    })
}

/// Goal: each device is counted under its presence, by model and by site.
/// Method: one device in each presence; one at another site.
#[tokio::test]
async fn devices_are_counted_by_presence_model_and_site() {
    let server = start_server(&[]);
    let fleet = server.fleet("KS", 5).await;
    server.whitelisted("KS-new").await;
    for (device_id, minutes) in [("KS-1", 5), ("KS-2", 30), ("KS-3", 8 * 24 * 60)] {
        server.age_last_seen(device_id, minutes);
    }
    server.revoke(&fleet[4]).await.done();
    server.admin("PATCH", "/api/devices/KS-2", r#"{"site": "south"}"#).await.done();
    let presence = server.get("/api/presence").await.done();
    assert_eq!(presence["total"], counts(1, 1, 1, 1, 1, 1));
    assert_eq!(presence["models"]["KS-100"], presence["total"]);
    assert_eq!(presence["sites"]["south"], counts(0, 0, 1, 0, 0, 0));
    assert_eq!(presence["sites"]["north"], counts(1, 1, 0, 1, 1, 1));
}

/// Goal: before an order, its caller learns which devices it would reach; nothing is changed by asking.
/// Method: devices at two sites, one of them revoked, are counted by site, by label and by name; then without a condition.
#[tokio::test]
async fn the_devices_of_a_selector_are_counted() {
    let server = start_server(&[]);
    let fleet = server.fleet("KS", 4).await;
    server.whitelisted("KS-new").await;
    server.revoke(&fleet[3]).await.done();
    server.admin("PATCH", "/api/devices/KS-2", r#"{"site": "south", "labels": ["door"]}"#).await.done();
    let count = async |which: serde_json::Value| server.post("/api/presence", &json!({ "which": which })).await.done();
    assert_eq!(count(json!({ "all": true })).await["total"], counts(3, 0, 0, 0, 1, 1));
    assert_eq!(count(json!({ "site": "north" })).await["total"], counts(2, 0, 0, 0, 1, 1));
    let labelled = count(json!({ "label": "door" })).await;
    assert_eq!(labelled["sites"], json!({ "south": counts(1, 0, 0, 0, 0, 0) }));
    assert_eq!(labelled["models"], json!({ "KS-100": counts(1, 0, 0, 0, 0, 0) }));
    let named = count(json!({ "device_ids": ["KS-0", "KS-2", "KS-nobody"], "site": "north" })).await;
    assert_eq!(named["total"], counts(1, 0, 0, 0, 0, 0));
    assert_eq!((&named["not_selected"], &named["not_selected_count"]), (&json!(["KS-2", "KS-nobody"]), &2.into()));
    server.post("/api/presence", &json!({ "which": {} })).await.problem(400);
}

/// Counts of registered devices alone.
fn registered_counts(server: &serde_json::Value) -> [u64; 6] {
    ["online", "unknown", "late", "offline", "lost", "never"]
        .map(|presence| server["total"][presence].as_u64().unwrap())
}

/// Goal: a restart, and a downtime of an hour, raise no alarm, and report no device as online.
/// Method: the server is killed; its own last heartbeat and the devices' are moved back by an hour; it starts again; one device
/// beats.
#[tokio::test]
async fn server_downtime_does_not_count_as_device_silence() {
    let mut server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    server.wait_until_idle().await;
    server.kill_9();
    server.age_last_seen("KS-0", 60);
    server.age_last_seen("KS-1", 90); // silent since half an hour before the server ended
    server.age_server_by_an_hour();
    server.start_again();
    crate::support::eventually("the downtime is recorded", async || server.count(Count::LongGaps) == 1).await;
    let presence = server.get("/api/presence").await.done();
    assert_eq!(registered_counts(&presence), [0, 1, 0, 1, 0, 0], "{presence}");
    assert_eq!(presence["observation_gaps"].as_array().unwrap().len(), 1, "{presence}");
    let about = server.get("/api/devices/KS-0/investigate").await.done();
    assert_eq!(about["presence"], "UNKNOWN");
    assert!(about["findings"].to_string().contains("no heartbeat since a server is listening again"), "{about}");
    fleet[0].moves_to(&server, crate::support::HOME);
    fleet[0].beat().await.answer();
    assert_eq!(registered_counts(&server.get("/api/presence").await.done()), [1, 0, 0, 1, 0, 0]);
}

/// Goal: after a backup was restored, no device is ONLINE until this server has received its heartbeat.
/// Method: a backup is taken; an hour passes (all its times are moved back); it is restored, and a server starts on it.
#[tokio::test]
async fn no_device_is_online_after_a_backup_was_restored() {
    let mut server = start_server(&[]);
    server.fleet("KS", 3).await;
    server.wait_until_idle().await;
    server.sqlite().execute("VACUUM INTO ?1", [server.path("backup.sqlite").to_str().unwrap()]).unwrap();
    server.kill_9();
    for file in ["ks.sqlite", "ks.sqlite-wal", "ks.sqlite-shm"] {
        std::fs::remove_file(server.path(file)).unwrap();
    }
    std::fs::rename(server.path("backup.sqlite"), server.database()).unwrap();
    server.pass_an_hour();
    server.start_again();
    crate::support::eventually("no device counts as silent", async || {
        registered_counts(&server.get("/api/presence").await.done()) == [0, 3, 0, 0, 0, 0]
    })
    .await;
}

/// Goal: times from a clock that was ahead are no evidence of presence, neither while the server runs nor after a restart.
/// Method: everything in the database is moved ten days ahead, as if it had been written under such a clock.
#[tokio::test]
async fn a_device_last_seen_in_the_future_is_not_online() {
    let mut server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    server.wait_until_idle().await;
    server.age_last_seen("KS-0", -10 * 24 * 60);
    assert_eq!(registered_counts(&server.get("/api/presence").await.done()), [1, 1, 0, 0, 0, 0]);
    let about = server.get("/api/devices/KS-0/investigate").await.done();
    assert_eq!((&about["presence"], about["silence_s"].as_u64()), (&"UNKNOWN".into(), None));
    assert!(server.run(&["device", "investigate", "KS-0"]).stdout.contains("ahead of the server's clock"));
    server.put_server_ten_days_ahead();
    server.start_again();
    let are_corrected = async || server.count(Count::SeenInTheFuture) == 0;
    crate::support::eventually("the times are corrected", are_corrected).await;
    assert_eq!(
        registered_counts(&server.get("/api/presence").await.done()),
        [1, 1, 0, 0, 0, 0],
        "seen at an unknown time"
    );
    fleet[0].moves_to(&server, crate::support::HOME);
    fleet[0].beat().await.answer();
    assert_eq!(registered_counts(&server.get("/api/presence").await.done()), [2, 0, 0, 0, 0, 0]);
}

/// Goal: one call, and one command, return all that is known of a silent device.
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
        server.age_last_seen(device_id, 45);
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
    for expected in ["REGISTERED, OFFLINE;", "reader is gone", "reboot", "1.4.2", "check the site's network first"] {
        assert!(ran.stdout.contains(expected), "{expected}: {}", ran.stdout);
    }
    let as_json = server.run(&["device", "investigate", "KS-0", "--json"]);
    let as_json: serde_json::Value = serde_json::from_str(&as_json.stdout).unwrap();
    assert_eq!(as_json["device"]["device_id"], "KS-0");
    assert_eq!(server.run(&["device", "investigate", "KS-nobody"]).code, Some(2));
}
