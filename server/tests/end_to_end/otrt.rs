//! Goal: a one-time registration token registers one device, once, however many devices race for it.
//! Method: tokens made by the API and by the command line, used correctly and in every wrong way.

use crate::support::{Count, NO_LIMITS, start_server};
use ks_protocol::{
    message::{Registered, Request},
    refusal::RefusalCode as Code,
    signature::Reply,
};
use serde_json::json;
use tokio::task::JoinSet;

/// Goal: of all devices that race for one unbound token exactly one registers; the others get the answer that it is used.
/// Method: 200 connections, opened before, each with its own device.
#[tokio::test]
async fn of_200_devices_that_race_for_one_token_exactly_one_registers() {
    const RACERS: usize = 200;
    let server = start_server(&[&NO_LIMITS[..], &[("OTRT_REQUIRED", "true")]].concat());
    let mut devices: Vec<_> = (0..RACERS).map(|number| server.device(&format!("KS-{number}"))).collect();
    server.whitelist(&devices.iter().collect::<Vec<_>>()).await;
    let token = server.otrt(json!({})).await;
    let mut racing = JoinSet::new();
    for mut device in devices.drain(..) {
        device.line.connect().await.unwrap();
        let message = device.next_register(Some(&token));
        racing.spawn(async move { (device.send_message::<_, Registered>(&message).await, device) });
    }
    let mut winners = Vec::new();
    while let Some(run) = racing.join_next().await {
        let (answer, device) = run.unwrap();
        match answer.reply {
            Reply::Answer(_) => winners.push(device),
            Reply::Refused(_) => {
                answer.refusal(Code::OtrtUsed);
            }
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(server.count(Count::EverRegistered), 1);
    assert_eq!(server.users_of_otrts(), [winners[0].id.as_str()]);
}

/// Goal: a lost answer does not strand a device: the same token with the same key returns the first answer again.
/// Method: the device registers twice with one token, before and after a crash of the server.
#[tokio::test]
async fn the_same_device_with_the_same_token_gets_the_same_registered_at() {
    let mut server = start_server(&[("OTRT_REQUIRED", "true")]);
    let mut device = server.whitelisted("KS-1").await;
    let token = server.otrt(json!({})).await;
    let first = device.register(Some(&token)).await.answer();
    let again = device.register(Some(&token)).await.answer();
    assert_eq!(again.registered_at, first.registered_at);
    server.kill_9();
    server.start_again();
    device.moves_to(&server, crate::support::HOME);
    let again = device.register(Some(&token)).await.answer();
    assert_eq!(again.registered_at, first.registered_at);

    let mut other = server.whitelisted("KS-2").await;
    other.register(Some(&token)).await.refusal(Code::OtrtUsed);
}

/// Goal: where tokens are required, no device registers without one; a registered device may repeat its registration without one.
/// Method: a device without, with, and without a token.
#[tokio::test]
async fn a_token_is_required_only_of_unregistered_devices() {
    let server = start_server(&[("OTRT_REQUIRED", "true")]);
    let mut device = server.whitelisted("KS-1").await;
    device.register(None).await.refusal(Code::OtrtRequired);
    device.beat().await.refusal(Code::NotRegistered);
    let token = server.otrt(json!({})).await;
    let first = device.register(Some(&token)).await.answer();
    assert_eq!(device.register(None).await.answer().registered_at, first.registered_at);
    device.beat().await.answer();
}

/// Goal: an unknown or expired token, or one bound to another device, registers nothing, and remains usable for the device that it
/// is bound to.
/// Method: each of them once, then the right device.
#[tokio::test]
async fn an_unknown_expired_or_differently_bound_token_is_invalid() {
    let server = start_server(&[("OTRT_REQUIRED", "true")]);
    let mut device = server.whitelisted("KS-1").await;
    let to_another_device = server.otrt(json!({ "device_id": "KS-2" })).await;
    let to_another_model = server.otrt(json!({ "model": "KS-900" })).await;
    let expired = server.otrt(json!({})).await;
    server.expire_unbound_otrts();
    for token in [&to_another_device, &to_another_model, &expired, "", "A-token-that-nobody-ever-made"] {
        device.register(Some(token)).await.refusal(Code::OtrtInvalid);
    }
    assert_eq!(server.users_of_otrts(), [""; 0]);
    server.whitelisted("KS-2").await.register(Some(&to_another_device)).await.answer();

    let to_this_model = server.otrt(json!({ "model": "KS-100" })).await;
    device.register(Some(&to_this_model)).await.answer();
}

/// Goal: tokens made by the factory's command line work on the running server, and only their hash is stored.
/// Method: two tokens bound to a device; the database files are searched for their text.
#[tokio::test]
async fn a_token_from_the_command_line_works_and_is_stored_as_a_hash_only() {
    let server = start_server(&[("OTRT_REQUIRED", "true")]);
    let mut device = server.whitelisted("KS-1").await;
    let made = server.run(&["factory", "make-otrt", "--count", "2", "--device", "KS-1"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let tokens: Vec<&str> = made.stdout.lines().collect();
    assert!(tokens.len() == 2 && tokens.iter().all(|token| token.len() == 43), "{made:?}");
    device.register(Some(tokens[1])).await.answer();
    for file in ["ks.sqlite", "ks.sqlite-wal", "server.log"] {
        let bytes = std::fs::read(server.path(file)).unwrap();
        assert!(
            !bytes.windows(43).any(|window| window == tokens[0].as_bytes() || window == tokens[1].as_bytes()),
            "{file}"
        );
    }
}

/// Goal: a refused registration leaves no trace: neither the token nor the pair is used up.
/// Method: the same signed bytes are refused while the token is bound to another model, then accepted.
#[tokio::test]
async fn a_refused_registration_uses_up_nothing() {
    let server = start_server(&[("OTRT_REQUIRED", "true")]);
    let mut device = server.whitelisted("KS-1").await;
    let token = server.otrt(json!({ "model": "KS-900" })).await;
    let message = device.next_register(Some(&token));
    let signed = device.sign(&message);
    device.send::<Registered>(ks_protocol::message::Register::PATH, &signed).await.refusal(Code::OtrtInvalid);
    server.unbind_otrts_from_models();
    device.send::<Registered>(ks_protocol::message::Register::PATH, &signed).await.answer();
}
