//! Goal: one device's path from the inventory to stored heartbeats works from outside, as an operator and a device see it.
//! Method: the real executable, its command line and its API; stored rows are read from the database itself.

use std::collections::BTreeMap;

use crate::support::{Count, Line, Sent, eventually, inventory, read_answer, start_server, world};
use ks_protocol::{
    key::PublicKey,
    message::{Firmware, Heartbeat, Keyset, Network, ServerKeyState, Trust},
    refusal::RefusalCode,
    signature::NO_SIG_DEV,
    text::{Rows, Text},
    time::UnixMs,
};

/// Goal: the table holds exactly what a device reports in a heartbeat.
/// Method: two heartbeats that differ in every field; every column is compared.
#[tokio::test]
async fn an_imported_device_registers_and_its_heartbeats_are_stored_exactly() {
    let server = start_server(&[]);
    let mut device = server.whitelisted("KS-000042").await;
    let registered = device.register(None).await.answer();
    assert_eq!((registered.device_id.as_str(), registered.keyset_version), ("KS-000042", 1));
    assert_eq!(registered.registered_at, registered.server_time);
    assert!((30_000..90_000).contains(&registered.next_beat_ms), "{registered:?}");

    let first = device.beat().await.answer();
    let second = Heartbeat {
        sent_at: UnixMs(5),
        keyset_version: 3,
        firmware: Firmware { version: Text::truncated("2.0.0-rc.1"), release_counter: 18 },
        uptime_s: 987_654,
        cpu_temp_c: -12.25,
        free_mem_kib: 0,
        network: Network::Ethernet,
        rssi_dbm: None,
        acks: Rows::default(),
        ..device.next_heartbeat()
    };
    let second = device.send_message::<_, ks_protocol::message::NextBeat>(&second).await.answer();
    assert!((30_000..90_000).contains(&first.next_beat_ms) && first.commands.is_empty(), "{first:?}");

    let expected =
        format!(r#"["KS-000042",{},1,2,120,41.5,118204,"wifi",-61,"1.4.2",17,1,1795458011482]"#, first.server_time.0);
    assert_eq!(server.whole_beat(0), expected);
    let expected =
        format!(r#"["KS-000042",{},1,3,987654,-12.25,0,"ethernet",null,"2.0.0-rc.1",18,3,5]"#, second.server_time.0);
    assert_eq!(server.whole_beat(1), expected);
    assert_eq!(server.beats().len(), 2);

    let listed = &server.get("/api/devices").await.done()["items"][0];
    assert_eq!(
        (&listed["status"], &listed["boot_epoch"], &listed["seq"]),
        (&"REGISTERED".into(), &1.into(), &3.into())
    );
    assert_eq!(listed["last_seen_at"], second.server_time.to_string());
    assert_eq!(listed["registered_at"], registered.registered_at.to_string());
}

/// Goal: `ks-server factory import` can run next to a server, on the same file.
/// Method: a running server refuses a device, the command imports it, the same server then accepts it.
#[tokio::test]
async fn a_device_imported_by_the_command_line_is_found_by_the_running_server() {
    let server = start_server(&[]);
    let mut device = server.device("KS-factory");
    device.register(None).await.refusal(RefusalCode::UnknownDevice);
    server.write("inventory.csv", inventory(&[&device]));

    let imported = server.run(&["factory", "import", "inventory.csv"]);
    assert_eq!((imported.code, imported.stdout.trim()), (Some(0), "1 device whitelisted, 0 already whitelisted"));
    device.register(None).await.answer();
    device.beat().await.answer();

    let again = server.run(&["factory", "import", "inventory.csv"]);
    assert_eq!((again.code, again.stdout.trim()), (Some(0), "0 devices whitelisted, 1 already whitelisted"));
    device.beat().await.answer();
}

/// Goal: the command line refuses an invalid inventory and names the line, and nothing is imported.
/// Method: one valid and one invalid row.
#[test]
fn factory_import_names_invalid_lines_and_imports_nothing() {
    let world = world(&[]);
    assert_eq!(world.run(&["migrate"]).code, Some(0));
    let device = crate::support::Device::new("KS-1", Line::new(([127, 0, 0, 1], 1).into(), crate::support::HOME));
    world.write("inventory.csv", inventory(&[&device]) + "S2,KS-2,not-a-key,Acme,KS-100,north\n");
    let ran = world.run(&["factory", "import", "inventory.csv"]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("line 3, public_key: "), "{ran:?}");
    assert!(ran.stderr.contains("help: ") && ran.stderr.contains("nothing was imported"), "{ran:?}");
    assert_eq!(world.count(Count::Devices), 0);
}

/// Goal: GET /keys can be verified with nothing but the key that the factory exported.
/// Method: SIG_SERV and the keyset's own signature are verified with the key that the command line prints.
#[tokio::test]
async fn the_keyset_opens_with_the_exported_public_key() {
    let server = start_server(&[]);
    let export = |format| server.run(&["keys", "export-pubkey", "--format", format]).stdout.trim().to_owned();
    let public_key = PublicKey::from_base64(&export("base64")).unwrap();
    assert_eq!(export("key-id"), public_key.key_id().as_str());
    assert_eq!(export("pem"), crate::support::server_key().public_pem().unwrap().trim());

    let raw = Line::new(server.address(), crate::support::HOME).exchange(Sent::get("/keys")).await.unwrap();
    let text = raw.text();
    let answer = read_answer::<Keyset>(raw, NO_SIG_DEV).answer();
    assert_eq!((answer.version, answer.threshold), (1, 1));
    let entry = &answer.keys.as_slice()[0];
    assert_eq!((entry.public_key, entry.state), (public_key, ServerKeyState::Signing));

    let pinned = vec![(public_key.key_id(), public_key.verifier().unwrap())];
    let trusted = Trust { version: 0, threshold: 1, keys: pinned.clone(), firmware_keys: Vec::new() };
    let document = text.rsplit_once("SIG_SERV: ").unwrap().0;
    let (opened, next) = Keyset::open(document, &trusted, UnixMs(0)).unwrap();
    assert_eq!((opened, next), (answer, Trust { version: 1, threshold: 1, keys: pinned, firmware_keys: Vec::new() }));
}

/// Goal: /health and /metrics report correct values, without a token.
/// Method: known traffic, then every number that follows from it.
#[tokio::test]
async fn health_and_metrics_count_what_happened() {
    let server = start_server(&[("ADMIN_TOKEN", "")]);
    server.write("inventory.csv", inventory(&[&server.device("KS-1"), &server.device("KS-2")]));
    assert_eq!(server.run(&["factory", "import", "inventory.csv"]).code, Some(0));
    let mut device = server.device("KS-1");
    device.register(None).await.answer();
    let server_time = device.beat().await.answer().server_time;
    device.beat().await.answer();
    server.device("KS-3").beat().await.refusal(RefusalCode::UnknownDevice);

    let health = server.get("/health").await.done();
    assert_eq!((&health["status"], &health["store"]), (&"ok".into(), &"ok".into()), "{health}");
    assert_eq!(
        (&health["devices_in_memory"], &health["writes_waiting"]),
        (&1.into(), &0.into()),
        "those seen so far: {health}"
    );
    assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
    let now: UnixMs = health["server_time"].as_str().unwrap().parse().unwrap();
    assert!(now.since_ms(server_time) < 60_000, "{health}");

    let answers = BTreeMap::from([
        (("/heartbeat", "OK"), 2.0),
        (("/register", "OK"), 1.0),
        (("/heartbeat", "UNKNOWN_DEVICE"), 1.0),
    ]);
    for ((path, code), count) in answers {
        let name = format!(r#"ks_answers_total{{path="{path}",code="{code}"}}"#);
        assert_eq!(server.metric(&name).await, Some(count), "{name}");
    }
    assert_eq!(server.metric("ks_answer_seconds_count").await, Some(4.0));
    assert_eq!(server.metric("ks_store_commit_failures_total").await, Some(0.0));
    assert!(server.metric("ks_store_commits_total").await.unwrap() >= 3.0);
    assert!(server.metric("ks_connections").await.unwrap() >= 2.0, "the device's and this one");
    let text = Line::new(server.address(), crate::support::HOME).exchange(Sent::get("/metrics")).await.unwrap();
    assert!(text.header("content-type").unwrap().starts_with("application/openmetrics-text"));
    assert!(text.text().ends_with("# EOF\n"), "{}", text.text());
    let answer = server.call("GET", "/metrics", &[("accept", "text/plain; version=0.0.4")], "").await;
    assert_eq!(answer.content_type, "text/plain; version=0.0.4; charset=utf-8");
    assert!(answer.body.as_str().unwrap().contains("# TYPE ks_store_commits_total counter\n"), "{}", answer.body);
}

/// Goal: a store that no longer answers is visible in /health, so that traffic can be sent elsewhere.
/// Method: another program drops a table under the running server.
#[tokio::test]
async fn health_is_503_when_the_store_does_not_answer() {
    let server = start_server(&[]);
    server.sqlite().execute_batch("DROP TABLE device_states").unwrap();
    let health = server.get("/health").await;
    assert_eq!((health.status, &health.body["status"]), (503, &"unavailable".into()), "{}", health.body);
}

/// Goal: a store that accepts no writes is visible in /health too, and recovers by itself soon after the repair, also when no
/// client writes.
/// Method: triggers that refuse every heartbeat and what an idle server writes, then they are dropped.
#[tokio::test]
async fn health_is_503_only_while_commits_fail() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    server.wait_until_idle().await;
    let refuse = |table, change| {
        let sql =
            format!("CREATE TRIGGER no_{table} BEFORE {change} ON {table} BEGIN SELECT raise(ABORT, 'full'); END");
        server.sqlite().execute_batch(&sql).unwrap();
    };
    refuse("server_alive", "UPDATE");
    refuse("device_heartbeats", "INSERT");
    device.beat().await.refusal(ks_protocol::refusal::RefusalCode::Internal);
    for _ in 0..3 {
        let health = server.get("/health").await;
        assert_eq!((health.status, &health.body["store"]), (503, &"the last commit failed; see the log".into()));
    }
    let failures = "ks_store_commit_failures_total";
    // An idle server writes each minute; only its retries write more often within two minutes.
    eventually("the write is retried", async || server.metric(failures).await >= Some(6.0)).await;
    assert_eq!(server.log().matches("commits fail").count(), 1, "{}", server.log());
    server.sqlite().execute_batch("DROP TRIGGER no_server_alive; DROP TRIGGER no_device_heartbeats").unwrap();
    eventually("the server has recovered", async || server.get("/health").await.status == 200).await;
}

/// Goal: a server that must not outlive its parent does not.
/// Method: its standard input ends.
#[tokio::test]
async fn the_server_stops_when_its_standard_input_ends() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    device.beat().await.answer();
    server.close_stdin();
    assert_eq!(server.ended().await.code(), Some(0));
    assert_eq!(server.beats().len(), 1);
}

/// Goal: a newer device may send more than this server knows.
/// Method: a heartbeat with an unknown field and an unknown table.
#[tokio::test]
async fn unknown_fields_are_ignored() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let beat = device.next_heartbeat();
    let known = ks_protocol::document::encode(&beat).unwrap();
    let signed =
        device.sign_text("/heartbeat", &format!("{known}\nmoon_phase: full\nsensors[1]{{name,value}}:\n  a,1\n"));
    device.send::<ks_protocol::message::NextBeat>("/heartbeat", &signed).await.answer();
    assert_eq!(server.beats().len(), 1);
}
