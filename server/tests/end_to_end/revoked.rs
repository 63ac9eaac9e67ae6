//! Goal: revocation takes effect immediately, and nothing of a revoked device is stored.
//! Method: requests just after, and while, the revocation is made; the database is read.

use crate::support::{AuditLine, Count, Device, start_server};
use ks_protocol::{message::AckState, refusal::RefusalCode as Code};
use serde_json::json;

/// Goal: the very next request after the revocation's answer is refused, on every endpoint, and nothing of it is stored.
/// Method: a device that has just beaten and has an open command; every kind of request, on its existing connection.
#[tokio::test]
async fn the_first_request_after_the_revocation_is_refused_and_not_stored() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let command_id = server.enqueue(&device, "reboot", "").await;
    assert_eq!(device.beat().await.answer().commands.as_slice().len(), 1);

    assert_eq!(server.revoke(&device).await.done()["revoked"], 1);
    let before = server.trace_of_devices();
    device.beat_with(&[(&command_id, AckState::Succeeded)]).await.refusal(Code::Revoked);
    device.ack(&[(&command_id, AckState::Succeeded)]).await.refusal(Code::Revoked);
    device.register(None).await.refusal(Code::Revoked);
    assert_eq!(server.trace_of_devices(), before);

    server.kill_9();
    server.start_again();
    device.moves_to(&server, crate::support::HOME);
    device.beat().await.refusal(Code::Revoked);
    assert_eq!(server.trace_of_devices(), before);
}

/// Goal: a device that was only whitelisted can be revoked, and never registers.
/// Method: revoke, then register, also with a token.
#[tokio::test]
async fn a_device_revoked_before_it_registered_never_registers() {
    let server = start_server(&[]);
    let mut device = server.whitelisted("KS-1").await;
    let token = server.otrt(json!({})).await;
    server.revoke(&device).await.done();
    device.register(Some(&token)).await.refusal(Code::Revoked);
    device.register(None).await.refusal(Code::Revoked);
    assert_eq!(server.users_of_otrts(), [""; 0]);
}

/// Goal: the store decides finally: a heartbeat that memory let in while the revocation waited for its commit is refused.
/// Method: commits are held; the revocation is queued, the heartbeat after it; then commits continue.
#[tokio::test]
async fn a_heartbeat_queued_behind_the_revocation_is_refused_by_the_store() {
    let server = std::sync::Arc::new(start_server(&[("COMMIT_GROUP_MAX", "1")]));
    server.wait_until_idle().await;
    let mut device = server.registered("KS-1").await;
    let others = server.fleet("KS-other", 2).await;
    let before = server.trace_of_devices();

    let held = server.hold_commits();
    let beat = |mut device: Device| tokio::spawn(async move { device.beat().await });
    let others: Vec<_> = others.into_iter().map(beat).collect();
    server.wait_for_queued_writes(1).await; // one is in the held commit
    let revoking = tokio::spawn({
        let (server, order) = (server.clone(), json!({ "which": { "device_ids": ["KS-1"] }, "reason": "stolen" }));
        async move { server.post("/api/devices/revoke", &order).await }
    });
    server.wait_for_queued_writes(2).await;
    let message = device.next_heartbeat();
    let beating = tokio::spawn(async move { device.send_message::<_, ks_protocol::message::NextBeat>(&message).await });
    server.wait_for_queued_writes(3).await;
    assert_eq!(server.trace_of_devices(), before);
    drop(held);

    assert_eq!(revoking.await.unwrap().done()["revoked"], 1);
    beating.await.unwrap().refusal(Code::Revoked);
    for other in others {
        other.await.unwrap().answer();
    }
    assert!(server.beats().iter().all(|(device_id, ..)| device_id != "KS-1"), "{:?}", server.beats());
}

/// Goal: one request revokes many devices; the answer has the result for each, and the audit has the reason.
/// Method: two registered devices, one of them twice, and an unknown one.
#[tokio::test]
async fn revoking_many_returns_a_result_for_each() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 3).await;
    let order = json!({ "which": { "device_ids": ["KS-0", "KS-1", "KS-nobody"] }, "reason": "sold" });
    let done = server.post("/api/devices/revoke", &order).await.done();
    assert_eq!(done, json!({ "revoked": 2, "already_revoked": 0, "unknown": ["KS-nobody"] }));
    let done = server.post("/api/devices/revoke", &order).await.done();
    assert_eq!(done, json!({ "revoked": 0, "already_revoked": 2, "unknown": ["KS-nobody"] }));
    fleet[0].beat().await.refusal(Code::Revoked);
    fleet[1].beat().await.refusal(Code::Revoked);
    fleet[2].beat().await.answer();
    let audited = server.audit_of("device.revoke");
    let audited: Vec<_> = audited.iter().map(|line| [&*line.actor, &*line.subject, &*line.detail]).collect();
    assert_eq!(audited, [["admin-token", "KS-0", "sold"], ["admin-token", "KS-1", "sold"]]);
    server.post("/api/devices/KS-nobody/revoke", &json!({ "reason": "sold" })).await.problem(404);
    server.post("/api/devices/KS-2/revoke", &json!({ "reason": " " })).await.problem(400);
    fleet[2].beat().await.answer();
}

/// Goal: the audit records that a revoked device continues to send, and this can't be used to fill the audit.
/// Method: several attempts of the device; attempts of an attacker in the name of another revoked device.
#[tokio::test]
async fn the_attempts_of_a_revoked_device_leave_one_line_in_the_audit() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    for device in &fleet {
        server.revoke(device).await.done();
    }
    for _ in 0..5 {
        fleet[0].beat().await.refusal(Code::Revoked);
    }
    fleet[1].key = ks_protocol::key::PrivateKey::from_seed(&[8; 32]);
    fleet[1].beat().await.refusal(Code::Revoked);
    let [line] = <[AuditLine; 1]>::try_from(server.audit_of("device.refused")).unwrap();
    let AuditLine { actor, address, subject, detail, .. } = &line;
    assert_eq!([actor, address, subject, detail], ["KS-0", "127.0.0.1", "KS-0", "/heartbeat"]);
}

/// Goal: a revocation of more devices than fit into one transaction is still complete, and each has a line in the audit.
/// Method: names of which some are unknown, then the rest of a whole fleet, then the same again.
#[tokio::test]
async fn a_large_revocation_is_complete() {
    let server = start_server(&[]);
    let devices: Vec<Device> = (0..1_205).map(|number| server.device(&format!("KS-{number}"))).collect();
    server.whitelist(&devices.iter().collect::<Vec<_>>()).await;
    let revoke = async |which: serde_json::Value| {
        server.post("/api/devices/revoke", &json!({ "which": which, "reason": "a test says so" })).await.done()
    };
    let named: Vec<String> = (600..1_800).map(|number| format!("KS-{number}")).collect();
    let done = revoke(json!({ "device_ids": named })).await;
    assert_eq!((&done["revoked"], &done["already_revoked"]), (&605.into(), &0.into()));
    assert_eq!(done["unknown"].as_array().unwrap().len(), 595);
    let done = revoke(json!({ "all": true })).await;
    assert_eq!((&done["revoked"], &done["already_revoked"]), (&600.into(), &605.into()));
    assert_eq!(revoke(json!({ "model": "KS-100" })).await["already_revoked"], 1_205);
    assert_eq!(server.audit_of("device.revoke").len(), 1_205);
    assert_eq!(server.count(Count::RevokedDevices), 1_205);
}
