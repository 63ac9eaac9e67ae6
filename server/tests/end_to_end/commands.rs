//! Goal: a command is sent to its device with the next heartbeat, is delivered until the device acknowledges it, and the list
//! shows the state that the device reported.
//! Method: orders through the API, a device's heartbeats and ACKs, the list through the API.

use crate::support::{Count, Server, eventually, start_server};
use ks_protocol::message::{AckState, AcksRecorded, NextBeat};
use serde_json::json;

async fn state(server: &Server, command_id: &str) -> String {
    let listed = server.get("/api/commands").await.done();
    let commands = listed["items"].as_array().unwrap();
    let command = commands.iter().find(|command| command["command_id"] == command_id).unwrap();
    command["state"].as_str().unwrap().to_owned()
}

fn ids(beat: &NextBeat) -> Vec<&str> {
    beat.commands.as_slice().iter().map(|command| command.command_id.as_str()).collect()
}

fn states(recorded: &AcksRecorded) -> Vec<&str> {
    recorded.acks.as_slice().iter().map(|ack| ack.state.as_str()).collect()
}

/// Goal: the whole life of two commands.
/// Method: one is acknowledged with a heartbeat, the other in a separate request.
#[tokio::test]
async fn commands_are_sent_with_heartbeats_and_their_acks_are_listed() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    assert!(device.beat().await.answer().commands.is_empty());
    let reboot = server.enqueue(&device, "reboot", "").await;
    let fetch = server.enqueue(&device, "fetch_logs", "level: warn").await;
    assert_eq!((state(&server, &reboot).await, state(&server, &fetch).await), ("QUEUED".into(), "QUEUED".into()));

    let beat = device.beat().await.answer();
    assert_eq!(ids(&beat), [&reboot, &fetch], "oldest first");
    let delivered = &beat.commands.as_slice()[1];
    assert_eq!((delivered.kind.as_str(), delivered.argument.as_str()), ("fetch_logs", "level: warn"));
    assert!((590_000..=600_000).contains(&delivered.deadline_at.since_ms(beat.server_time)), "{beat:?}");
    assert_eq!(state(&server, &reboot).await, "DELIVERED");

    assert_eq!(ids(&device.beat().await.answer()), [&reboot, &fetch], "delivered again until an ACK");
    let beat = device.beat_with(&[(&reboot, AckState::Received), (&fetch, AckState::Succeeded)]).await.answer();
    assert!(beat.commands.is_empty(), "{beat:?}");
    assert_eq!((state(&server, &reboot).await, state(&server, &fetch).await), ("RECEIVED".into(), "SUCCEEDED".into()));

    let acks = [(reboot.as_str(), AckState::Failed), ("nobody-knows-me", AckState::Succeeded)];
    assert_eq!(states(&device.ack(&acks).await.answer()), ["FAILED", "UNKNOWN"]);
    assert_eq!(state(&server, &reboot).await, "FAILED");
    assert_eq!(server.detail_of(&reboot), "as the test says");
}

/// Goal: the last orders are found first, and the commands in one state alone.
/// Method: three commands of which one was acknowledged; a list of each kind, page by page.
#[tokio::test]
async fn commands_are_listed_in_reverse_and_by_state() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let mut ordered = Vec::new();
    for kind in ["reboot", "rotate_key", "fetch_logs"] {
        ordered.push(server.enqueue(&device, kind, "").await);
    }
    device.beat_with(&[(&ordered[1], AckState::Succeeded)]).await.answer();
    let list = async |query: &str| {
        let page = server.get(&format!("/api/commands?{query}")).await.done();
        let ids: Vec<String> = page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["command_id"].as_str().unwrap().to_owned())
            .collect();
        (ids, page["next_cursor"].as_str().map(str::to_owned))
    };
    let (newest, cursor) = list("newest_first=true&limit=2").await;
    assert_eq!(newest, [ordered[2].as_str(), &ordered[1]]);
    let (rest, end) = list(&format!("newest_first=true&limit=2&cursor={}", cursor.unwrap())).await;
    assert_eq!((rest, end), (vec![ordered[0].clone()], None));
    assert_eq!(list("state=SUCCEEDED").await.0, [ordered[1].as_str()]);
    server.get("/api/commands?state=DONE").await.problem(400);
}

/// Goal: a terminal state is final, whatever is reported later.
/// Method: every other ACK after SUCCEEDED, both ways.
#[tokio::test]
async fn a_late_ack_changes_nothing() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let command_id = server.enqueue(&device, "reboot", "").await;
    device.beat_with(&[(&command_id, AckState::Succeeded)]).await.answer();
    for late in [AckState::Received, AckState::Failed, AckState::Rejected] {
        assert_eq!(states(&device.ack(&[(&command_id, late)]).await.answer()), ["SUCCEEDED"]);
        device.beat_with(&[(&command_id, late)]).await.answer();
    }
    assert_eq!(state(&server, &command_id).await, "SUCCEEDED");
}

/// Goal: a device can't acknowledge another device's command.
/// Method: the ACK of a second device, which knows the command's id.
#[tokio::test]
async fn another_devices_command_is_unknown() {
    let server = start_server(&[]);
    let (mut device, mut other) = (server.registered("KS-1").await, server.registered("KS-2").await);
    let command_id = server.enqueue(&device, "reboot", "").await;
    assert_eq!(states(&other.ack(&[(&command_id, AckState::Succeeded)]).await.answer()), ["UNKNOWN"]);
    assert!(other.beat_with(&[(&command_id, AckState::Succeeded)]).await.answer().commands.is_empty());
    assert_eq!(ids(&device.beat().await.answer()), [&command_id]);
}

/// Goal: a command past its deadline is not delivered, and is listed as timed out.
/// Method: the deadline is moved into the past in the database; a start closes what is overdue.
#[tokio::test]
async fn a_command_past_its_deadline_times_out() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let command_id = server.enqueue(&device, "reboot", "").await;
    server.pass_deadlines();
    assert!(device.beat().await.answer().commands.is_empty());
    server.kill_9();
    server.start_again();
    device.moves_to(&server, crate::support::HOME);
    eventually("the command is closed", async || state(&server, &command_id).await == "TIMED_OUT").await;
    assert_eq!(states(&device.ack(&[(&command_id, AckState::Succeeded)]).await.answer()), ["TIMED_OUT"]);
}

/// Goal: commands that a device is working on do not block the ones behind them.
/// Method: as many commands as one answer holds are acknowledged as received; one more is queued.
#[tokio::test]
async fn commands_in_progress_do_not_block_later_ones() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let mut first = Vec::new();
    for _ in 0..16 {
        first.push(server.enqueue(&device, "fetch_logs", "").await);
    }
    let later = server.enqueue(&device, "reboot", "").await;
    assert_eq!(ids(&device.beat().await.answer()), first);
    let received: Vec<_> = first.iter().map(|command_id| (command_id.as_str(), AckState::Received)).collect();
    assert_eq!(ids(&device.beat_with(&received).await.answer()), [&later]);
}

/// Goal: commands survive a crash of the server.
/// Method: one queued, one delivered; SIGKILL; both are sent with the next heartbeat.
#[tokio::test]
async fn open_commands_are_delivered_after_kill_9() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let delivered = server.enqueue(&device, "reboot", "").await;
    device.beat().await.answer();
    let queued = server.enqueue(&device, "reboot", "").await;
    server.kill_9();
    server.start_again();
    device.moves_to(&server, crate::support::HOME);
    assert_eq!(ids(&device.beat().await.answer()), [&delivered, &queued]);
}

/// Goal: an order names the devices for which nothing was queued, and is bounded.
/// Method: an unknown and a revoked device among valid ones; orders beyond each bound.
#[tokio::test]
async fn an_order_names_the_refused_devices() {
    let server = start_server(&[]);
    let fleet = server.fleet("KS", 2).await;
    server.revoke(&fleet[1]).await.done();
    let order = |device_ids: &[&str], kind: &str, argument: &str, ttl_s: u64| json!({ "which": { "device_ids": device_ids }, "command": { "kind": "custom", "argument": { "kind": kind, "argument": argument } }, "ttl_s": ttl_s });
    let done = server.post("/api/commands", &order(&["KS-0", "KS-1", "KS-nobody"], "dance", "", 60)).await.done();
    assert_eq!((&done["queued"], &done["refused"]), (&1.into(), &json!(["KS-nobody", "KS-1"])));
    let queued = server.get("/api/commands").await.done();
    assert_eq!(queued["items"].as_array().unwrap().len(), 1);
    assert_eq!(queued["items"][0]["device_id"], "KS-0");
    for (invalid, named) in [
        (order(&[], "dance", "", 60), "device_ids"),
        (order(&["KS-0"], "Reboot!", "", 60), "kind"),
        (order(&["KS-0"], &"x".repeat(33), "", 60), "command"),
        (order(&["KS-0"], "reboot", "", 60), "kind"),
        (order(&["KS-0"], "dance", &"x".repeat(1_025), 60), "command"),
        (order(&["KS-0"], "dance", "a\tb", 60), "argument"),
        (order(&["KS-0"], "dance", "", 0), "ttl_s"),
    ] {
        let problem = server.post("/api/commands", &invalid).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
    }
}

/// Goal: an order for a whole fleet of unknown devices is refused device by device, quickly.
/// Method: as many unknown devices as one order may name.
#[tokio::test]
async fn an_order_for_100_000_unknown_devices_is_answered() {
    let server = start_server(&[]);
    let device_ids: Vec<String> = (0..100_000).map(|number| format!("KS-{number}")).collect();
    let order = json!({ "which": { "device_ids": device_ids }, "command": { "kind": "reboot" }, "ttl_s": 60 });
    let done = server.post("/api/commands", &order).await.done();
    assert_eq!((done["queued"].as_u64(), done["refused"].as_array().unwrap().len()), (Some(0), 1_000));
}

/// Goal: an order that a crash interrupted is finished by the next server, on the same terms and in the name of the user who gave
/// it.
/// Method: the database is brought into the state that a kill between two parts leaves.
#[tokio::test]
async fn an_order_interrupted_by_a_crash_is_finished_at_the_start() {
    let mut server = start_server(&[]);
    server.fleet("KS", 3).await;
    let order =
        json!({ "which": { "all": true }, "command": { "kind": "reboot" }, "ttl_s": 600, "client_token": "spring" });
    let given = server.post("/api/commands", &order).await.done();
    assert_eq!(given["queued"], 3);
    server.kill_9();
    server.cut_off_order();
    server.start_again();
    let progress = format!("/api/commands/orders/{}", given["order_id"].as_str().unwrap());
    eventually("the order is complete", async || {
        server.get(&progress).await.done()["counts"] == json!([{ "state": "QUEUED", "commands": 3 }])
    })
    .await;
    let line = server.get("/api/audit?action=command.order&actor=user:anna").await.done();
    assert_eq!((server.count(Count::Deadlines), &line["items"][0]["subject"]), (1, &json!("2 devices")));
    assert_eq!(server.count(Count::OpenCommands), 3);
    let again = server.post("/api/commands", &order).await.done();
    assert_eq!(
        (&again["queued"], &again["repeated"], &again["order_id"]),
        (&json!(3), &json!(true), &given["order_id"])
    );
}
