//! Goal: an operator orders a command for selected devices, once, sees its progress, and can cancel it.
//! Method: the admin API on a running server, with devices that execute their commands.

use crate::support::start_server;
use ks_protocol::message::AckState;
use serde_json::{Value, json};

fn order(which: &Value, command: &Value) -> Value {
    json!({ "which": which, "command": command, "ttl_s": 600 })
}

/// Goal: a selector selects the devices for which all of its conditions hold, and the whole fleet only when that is explicit.
/// Method: devices of two sites, labels and firmwares; one order for each kind of selector.
#[tokio::test]
async fn an_order_is_sent_to_the_selected_devices() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 4).await;
    server.admin("PATCH", "/api/devices/KS-1", r#"{"site": "south", "labels": ["lobby"]}"#).await.done();
    server.admin("PATCH", "/api/devices/KS-2", r#"{"labels": ["lobby"]}"#).await.done();
    fleet[3].beat().await.answer(); // reports that it runs 1.4.2
    let reboot = json!({ "kind": "reboot" });
    for (which, queued) in [
        (json!({ "site": "south" }), 1),
        (json!({ "label": "lobby" }), 2),
        (json!({ "label": "lobby", "site": "north" }), 1),
        (json!({ "firmware_version": "1.4.2" }), 1),
        (json!({ "model": "KS-900" }), 0),
        (json!({ "all": true }), 4),
    ] {
        let done = server.post("/api/commands", &order(&which, &reboot)).await.done();
        assert_eq!(done["queued"], queued, "{which}");
    }
    for wrong in [json!({}), json!({ "all": true, "site": "south" }), json!({ "device_ids": [] })] {
        let problem = server.post("/api/commands", &order(&wrong, &reboot)).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains("which"), "{problem}");
    }
}

/// Goal: arguments are typed, and urgent commands are delivered first.
/// Method: each known kind; a wrong argument; the order in which a device gets them.
#[tokio::test]
async fn arguments_are_typed_and_urgent_commands_come_first() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let which = json!({ "device_ids": ["KS-1"] });
    for command in [
        json!({ "kind": "reboot" }),
        json!({ "kind": "fetch_logs", "argument": { "level": "warn", "lines_max": 50 } }),
        json!({ "kind": "set_config", "argument": { "name": "volume", "value": "3" } }),
        json!({ "kind": "halt_updates", "argument": {} }),
        json!({ "kind": "add_key", "argument": { "keyset_version": 2 } }),
    ] {
        server.post("/api/commands", &order(&which, &command)).await.done();
    }
    let beat = device.beat().await.answer();
    let got: Vec<(&str, &str)> =
        beat.commands.as_slice().iter().map(|command| (command.kind.as_str(), command.argument.as_str())).collect();
    let expected = [
        ("halt_updates", ""),
        ("add_key", "keyset_version: 2"),
        ("reboot", ""),
        ("fetch_logs", "level: warn\nlines_max: 50"),
        ("set_config", "name: volume\nvalue: \"3\""),
    ];
    assert_eq!(got, expected);
    for (wrong, named) in [
        (json!({ "kind": "set_config", "argument": { "name": "volume" } }), "value"),
        (json!({ "kind": "add_key" }), "argument"),
        (json!({ "kind": "fetch_logs", "argument": { "level": "fatal" } }), "fatal"),
        (json!({ "kind": "dance" }), "dance"),
    ] {
        let problem = server.post("/api/commands", &order(&which, &wrong)).await.problem(400);
        assert!(problem["detail"].as_str().unwrap().contains(named), "{problem}");
    }
}

/// Goal: an order that is resent after a lost answer is carried out once; its progress is visible.
/// Method: the same order twice under one client token, another one under it; ACKs; a kill -9 in between.
#[tokio::test]
async fn an_order_under_a_client_token_is_carried_out_once() {
    let mut server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    let mut request = order(&json!({ "all": true }), &json!({ "kind": "reboot" }));
    request["client_token"] = "night-reboot-1".into();
    let first = server.post("/api/commands", &request).await.done();
    server.kill_9();
    server.start_again();
    let again = server.post("/api/commands", &request).await.done();
    assert_eq!(
        (&again["order_id"], &again["queued"], &again["repeated"]),
        (&first["order_id"], &2.into(), &true.into())
    );
    request["ttl_s"] = 60.into();
    server.post("/api/commands", &request).await.problem(409);
    let progress = async || {
        let path = format!("/api/commands/orders/{}", first["order_id"].as_str().unwrap());
        let progress = server.get(&path).await.done();
        (progress["counts"].to_string(), progress["finished"] == true)
    };
    assert_eq!(progress().await, (r#"[{"commands":2,"state":"QUEUED"}]"#.to_owned(), false));
    for device in &mut fleet {
        device.moves_to(&server, crate::support::HOME);
        let command_id = device.beat().await.answer().commands.as_slice()[0].command_id.to_string();
        device.ack(&[(&command_id, AckState::Succeeded)]).await.answer();
        assert!(device.beat().await.answer().commands.is_empty());
    }
    assert_eq!(progress().await, (r#"[{"commands":2,"state":"SUCCEEDED"}]"#.to_owned(), true));
    server.get("/api/commands/orders/o0").await.problem(404);
}

/// Goal: a command can be cancelled before it is delivered; afterwards only by force.
/// Method: one that is queued, one that was delivered, one that ended.
#[tokio::test]
async fn a_command_is_cancelled() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let cancel = async |command_id: &str, force: bool| {
        server.post(&format!("/api/commands/{command_id}/cancel"), &json!({ "force": force })).await
    };
    let waiting = server.enqueue(&device, "reboot", "").await;
    assert_eq!(cancel(&waiting, false).await.done()["state"], "CANCELED");
    assert!(device.beat().await.answer().commands.is_empty());
    let delivered = server.enqueue(&device, "reboot", "").await;
    device.beat().await.answer();
    let problem = cancel(&delivered, false).await.problem(409);
    assert!(problem["detail"].as_str().unwrap().contains("DELIVERED"), "{problem}");
    assert_eq!(cancel(&delivered, true).await.done()["state"], "CANCELED");
    cancel(&delivered, true).await.problem(409);
    cancel("c0", false).await.problem(404);
    assert!(device.beat().await.answer().commands.is_empty());
}
