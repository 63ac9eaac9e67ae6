//! Goal: keys are rotated without losing a device or admitting an attacker: a device's key, signed by its old one; the server's
//! key, along a chain of keysets that a device can follow from any version it holds.
//! Method: devices and admins on a running server, with restarts in between.

use crate::support::{Device, Line, Sent, Server, read_answer_of, server_key, start_server, world};
use ks_protocol::{
    document::split,
    id::{KeyId, Sequence},
    key::{PrivateKey, Verifier},
    message::{Heartbeat, Keyset, KeysetError, NextBeat, Trust},
    refusal::RefusalCode as Code,
    signature::{NO_SIG_DEV, SIG_SERV, open_response},
    time::UnixMs,
};
use serde_json::{Value, json};

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

/// Goal: a device gets a new key with its old one alone, effective immediately, also after a lost answer and a restart.
/// Method: a rotation, the same again signed with the new key, heartbeats by both keys.
#[tokio::test]
async fn a_device_rotates_its_key() {
    let mut server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    let (old, new) = (device.key.clone(), key(7));
    assert_eq!(device.rotate_to(&new).await.answer().public_key, new.public_key());
    device.beat().await.refusal(Code::BadSignature);
    device.key = new.clone();
    device.beat().await.answer();
    assert_eq!(device.rotate_to(&new).await.answer().public_key, new.public_key(), "the answer was lost");
    server.kill_9();
    server.start_again();
    device.moves_to(&server, crate::support::HOME);
    device.beat().await.answer();
    let refused = device.rotate_to(&old).await.refusal(Code::KeyInUse);
    assert!(!refused.message.contains("nother device"), "the key is this device's own: {refused:?}");
    let audited = server.audit_lines(|line| line.action.ends_with("key"));
    let audited: Vec<_> = audited.iter().map(|line| [&*line.actor, &*line.action]).collect();
    assert_eq!(audited, [["KS-1", "device.rotate_key"]]);
}

/// Goal: a key rotation does not reset a device's budget, and rotations have their own limit.
/// Method: as many rotations as the burst allows, one more, and heartbeats until the budget is spent.
#[tokio::test]
async fn key_rotation_does_not_reset_the_budget() {
    let server = start_server(&[("RATE_LIMIT_DEVICE_PER_MIN", "1"), ("RATE_LIMIT_DEVICE_BURST", "10")]);
    let mut device = server.registered("KS-1").await;
    for seed in 7..10 {
        device.rotate_to(&key(seed)).await.answer();
        device.key = key(seed);
    }
    let refusal = device.rotate_to(&key(10)).await.refusal(Code::RateLimited);
    assert!(refusal.message.contains("key") && refusal.retry_after_s.unwrap() > 30, "{refusal:?}");
    for _ in 0..5 {
        device.beat().await.answer();
    }
    let refusal = device.beat().await.refusal(Code::RateLimited);
    assert!(refusal.message.contains("requests"), "{refusal:?}");
    assert_eq!(server.audit_of("device.rotate_key").len(), 3);
}

/// Goal: rotating a key requires both the old and the new key.
/// Method: a proof by another key; a key that another device has; a signature by an unknown key.
#[tokio::test]
async fn a_rotation_without_both_keys_is_refused() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    let other = fleet[1].key.clone();
    fleet[0].rotate_to(&other).await.refusal(Code::KeyInUse);
    let mut thief = server.device("KS-0");
    thief.at = Sequence::new(9, 0);
    thief.key = key(8);
    thief.rotate_to(&key(8)).await.refusal(Code::BadSignature);
    let mut message =
        ks_protocol::message::RotateKey::new(fleet[0].id.clone(), Sequence::new(5, 1), UnixMs(0), &key(8));
    message.new_public_key = key(9).public_key();
    let refusal = fleet[0].send_message::<_, ks_protocol::message::KeyRotated>(&message).await.refusal(Code::Malformed);
    assert!(refusal.message.starts_with("proof"), "{refusal:?}");
    fleet[0].at = Sequence::new(5, 1);
    fleet[0].beat().await.answer();
}

/// Goal: a revoked device can return only by re-provisioning, with a key that was never used.
/// Method: its old key, another device's, a new one.
#[tokio::test]
async fn a_revoked_device_comes_back_with_a_new_key() {
    let server = start_server(&[]);
    let mut device = server.registered("KS-1").await;
    server.revoke(&device).await.done();
    let reprovision = async |key: &PrivateKey| {
        let what = json!({ "public_key": key.public_key(), "reason": "found in a drawer" });
        server.post("/api/devices/KS-1/reprovision", &what).await
    };
    reprovision(&device.key).await.problem(409);
    server.import(crate::support::inventory(&[&device])).await.done();
    device.beat().await.refusal(Code::Revoked);
    assert_eq!(reprovision(&key(7)).await.done()["status"], "WHITELISTED");
    device.beat().await.refusal(Code::BadSignature);
    device.key = key(7);
    device.at = Sequence::new(1, 0);
    device.beat().await.refusal(Code::NotRegistered);
    device.register(None).await.answer();
    device.beat().await.answer();
}

async fn change(server: &Server, what: &str, force: bool) -> crate::support::Json {
    let change = json!({ "reason": "a test says so", "force": force });
    server.post(&format!("/api/keys/{what}"), &change).await
}

/// The keyset of that version, as a device gets it: verified against what it trusts, if possible.
async fn fetch(server: &Server, version: Option<u64>, trusted: &Trust) -> Result<Trust, KeysetError> {
    let path = version.map_or_else(|| "/keys".to_owned(), |version| format!("/keys?version={version}"));
    let answer = Line::new(server.address(), crate::support::HOME).exchange(Sent::get(&path)).await.unwrap();
    let signed = split(&answer.body, SIG_SERV).unwrap();
    let opened = Keyset::step(signed.body, trusted).map(|(_, next)| next);
    if opened.is_ok() {
        open_response::<Keyset>(&newest(server).await, answer.status, NO_SIG_DEV, &answer.body).unwrap();
    }
    opened
}

/// The keys of the newest keyset, which sign the answers; trusted here without verification.
async fn newest(server: &Server) -> Vec<(KeyId, Verifier)> {
    let answer = Line::new(server.address(), crate::support::HOME).exchange(Sent::get("/keys")).await.unwrap();
    let body = split(&answer.body, SIG_SERV).unwrap().body.to_owned();
    Trust::of(&ks_protocol::document::decode(&body).unwrap()).unwrap().keys
}

fn pinned() -> Trust {
    let public = server_key().public_key();
    Trust {
        version: 0,
        threshold: 1,
        keys: vec![(public.key_id(), public.verifier().unwrap())],
        firmware_keys: Vec::new(),
    }
}

/// Goal: a version has one canonical form, so that a cache never holds one keyset under two names.
/// Method: the current version, written in every other way.
#[tokio::test]
async fn a_keyset_version_has_one_canonical_form() {
    let server = start_server(&[]);
    let mut line = Line::new(server.address(), crate::support::HOME);
    assert_eq!(line.exchange(Sent::get("/keys?version=1")).await.unwrap().status, 200);
    for version in ["%2B1", "+1", "01", "1.0", "-1", "", "0x1", "one", "1&version=1"] {
        let answer = line.exchange(Sent::get(&format!("/keys?version={version}"))).await.unwrap();
        assert_eq!(answer.status, 400, "{version}");
        assert!(answer.text().starts_with("ERR1: MALFORMED"), "{version}");
    }
}

async fn beat_with_keyset(device: &mut Device, version: u64) {
    let message = Heartbeat { keyset_version: version, ..device.next_heartbeat() };
    device.send_message::<_, NextBeat>(&message).await.answer();
}

/// Goal: a whole rotation of the server's key; every stranded device is visible; a device that was away follows the chain
/// afterwards.
/// Method: announce, activate and retire with two devices, one of which never fetches; then the chain is followed from the pinned
/// key.
#[tokio::test]
async fn a_device_that_missed_a_server_key_rotation_follows_the_chain() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    change(&server, "activate", false).await.problem(409);
    let announced = change(&server, "announce", false).await.done();
    assert_eq!((&announced["keyset_version"], &announced["stranded_devices"]), (&2.into(), &2.into()));
    change(&server, "announce", false).await.problem(409);
    let refused = change(&server, "activate", false).await.problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("is not confirmed by 2 of 2 active devices"), "{refused}");
    beat_with_keyset(&mut fleet[0], 2).await;
    let refused = change(&server, "activate", false).await.problem(409);
    assert!(refused["detail"].as_str().unwrap().contains("is not confirmed by 1 of 2 active devices"), "{refused}");
    let flipped = change(&server, "activate", true).await.done();
    let state = |keys: &Value, nth: usize| keys["keys"][nth]["status"].as_str().unwrap().to_owned();
    assert_eq!([state(&flipped, 0), state(&flipped, 1)], ["RETIRED", "SIGNING"]);

    // Answers are signed with the new key from the very next one on.
    let signing = newest(&server).await;
    let new = signing.iter().find(|(key_id, _)| *key_id != server_key().public_key().key_id()).unwrap().clone();
    let beat = fleet[0].next_heartbeat();
    let signed = fleet[0].sign(&beat);
    let raw = fleet[0].line.exchange(Sent::toon("/heartbeat", signed.wire.as_str())).await.unwrap();
    read_answer_of::<NextBeat>(std::array::from_ref(&new), raw, &signed.sig_dev.to_string()).answer();

    change(&server, "retire", true).await.done();
    let mut trusted = pinned();
    assert_eq!(
        fetch(&server, None, &trusted).await.unwrap_err(),
        KeysetError::TooFewSignatures { valid: 0, threshold: 1 }
    );
    for version in 1..=4 {
        trusted = fetch(&server, Some(version), &trusted).await.unwrap();
        assert_eq!(trusted.version, version);
    }
    assert_eq!(trusted.keys, [new]);
    let audited = server.audit_lines(|line| line.action.starts_with("key."));
    let audited: Vec<_> = audited.iter().map(|line| &*line.action).collect();
    assert_eq!(audited, ["key.announce", "key.announce", "key.activate", "key.retire"]);
}

/// Goal: a device with a keyset that the server never published does not count as confirmed, and is named.
/// Method: one of two devices reports keyset 7, where 2 is the newest; then every place that shows confirmations is queried.
#[tokio::test]
async fn a_device_with_an_unpublished_keyset_is_stranded_and_named() {
    let server = start_server(&[]);
    let mut fleet = server.fleet("KS", 2).await;
    change(&server, "announce", false).await.done();
    beat_with_keyset(&mut fleet[0], 2).await;
    beat_with_keyset(&mut fleet[1], 7).await;
    let status = server.get("/api/keys").await.done();
    assert_eq!((&status["confirmed_devices"], &status["stranded_devices"]), (&1.into(), &1.into()), "{status}");
    assert_eq!((&status["stranded_first"], &status["stranded_max_bp"]), (&json!(["KS-1"]), &100.into()), "{status}");
    assert_eq!(status["unknown_keyset_devices"], json!(["KS-1"]));
    let refused = change(&server, "activate", false).await.problem(409)["detail"].to_string();
    assert!(refused.contains("1 of 2 active") && refused.contains("published here: KS-1"), "{refused}");

    let findings = server.get("/api/devices/KS-1/investigate").await.done()["findings"].to_string();
    assert!(findings.contains("it holds keyset 7, but 2 is the newest here"), "{findings}");
    let findings = server.get("/api/devices/KS-0/investigate").await.done()["findings"].to_string();
    assert!(!findings.contains("keyset"), "{findings}");
    for (command, reported) in [(&["keys", "status"][..], "never published"), (&["doctor"], "KS-1 and possibly others")]
    {
        let ran = server.run(command);
        assert!(ran.stdout.contains(reported) && ran.stdout.contains("KS-1"), "{ran:?}");
    }
    beat_with_keyset(&mut fleet[1], 1).await;
    let findings = server.get("/api/devices/KS-1/investigate").await.done()["findings"].to_string();
    assert!(findings.contains("it has not confirmed keyset 2: it holds keyset 1"), "{findings}");
}

/// Goal: a compromised key is revoked immediately: it no longer signs answers, and devices that fetch the keyset reject it.
/// Method: an announced key takes over; without one the order is refused.
#[tokio::test]
async fn a_compromised_server_key_is_revoked_immediately() {
    let server = start_server(&[]);
    server.fleet("KS", 1).await;
    let old = server_key().public_key().key_id();
    let cut_off = json!({ "key_id": old, "reason": "leaked" });
    server.post("/api/keys/revoke", &cut_off).await.problem(409);
    change(&server, "announce", false).await.done();
    server.post("/api/keys/revoke", &cut_off).await.done();
    let keys = newest(&server).await;
    assert!(keys.len() == 1 && keys[0].0 != old, "{keys:?}");
    server.post("/api/keys/revoke", &json!({ "key_id": "k0000000000000000", "reason": "leaked" })).await.problem(409);
}

/// Goal: settings that name a revoked key are reported at the start and by doctor, and the factory does not export that key.
/// Method: a rotation by revocation; what is reported before and after the settings name the key that signs.
#[tokio::test]
async fn settings_that_name_a_revoked_key_are_reported_and_not_exported() {
    let mut server = start_server(&[]);
    let old = server_key().public_key().key_id();
    let export = ["keys", "export-pubkey", "--format", "key-id"];
    assert_eq!(server.run(&export).stdout.trim(), old.to_string());
    assert!(!server.run(&["doctor"]).stdout.contains("WARN  keys"));
    change(&server, "announce", false).await.done();
    let revoke = json!({ "key_id": old, "reason": "leaked" });
    server.post("/api/keys/revoke", &revoke).await.done();
    let signing = newest(&server).await[0].0.clone();
    server.terminate();
    server.ended().await;
    let past = format!("the settings name the key {old}, which is REMOVED");
    let refused = server.run(&export);
    assert!(refused.code == Some(2) && refused.stdout.is_empty() && refused.stderr.contains(&past), "{refused:?}");
    let doctor = server.run(&["doctor"]);
    assert!(doctor.stdout.contains(&format!("WARN  keys      {past}")), "{doctor:?}");
    let served = server.run(&["serve", "--stop-with-stdin"]);
    assert!(served.code == Some(0) && served.stderr.contains(&past), "{served:?}");
    let file = server.path(&format!("server-keys/{signing}.pem")).display().to_string();
    let mut fixed = world(&[("SERVER_PRIVATE_KEY", ""), ("SERVER_PRIVATE_KEY_FILE", &file)]);
    fixed.set("DATABASE_URL", &format!("file:{}", server.database().display()));
    assert_eq!(fixed.run(&export).stdout.trim(), signing.to_string());
    assert!(!fixed.run(&["doctor"]).stdout.contains("which is REMOVED"));
}

/// Goal: the new key survives the process; a server that lacks it does not start, and says which file is missing.
/// Method: an activation, a restart; the same without the folder of keys.
#[tokio::test]
async fn a_rotated_key_survives_a_restart() {
    let mut server = start_server(&[]);
    change(&server, "announce", false).await.done();
    change(&server, "activate", false).await.done();
    server.kill_9();
    server.start_again();
    let keys = newest(&server).await;
    assert_eq!(keys.len(), 2);
    server.terminate();
    server.ended().await;
    std::fs::rename(server.path("server-keys"), server.path("elsewhere")).unwrap();
    let ran = server.serve_expecting_error();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("is not in") && ran.stderr.contains("SERVER_KEYS_DIR"), "{ran:?}");
}

/// Goal: a server whose settings name a key that the fleet does not know does not sign with it.
/// Method: the database of one key, started with another.
#[tokio::test]
async fn an_unknown_key_is_refused_at_the_start() {
    let mut server = start_server(&[]);
    server.terminate();
    server.ended().await;
    let mut other = world(&[("SERVER_PRIVATE_KEY", &key(1).to_pem().unwrap())]);
    other.set("DATABASE_URL", &format!("file:{}", server.database().display()));
    let ran = other.serve_expecting_error();
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.stderr.contains("the fleet does not know the key") && ran.stderr.contains("keys announce"), "{ran:?}");
}

/// Goal: the same by the command line next to a running server, which applies it within a second or two.
/// Method: announce and activate by `ks-server keys`; the server's own answers.
#[tokio::test]
async fn the_command_line_rotates_keys_of_a_running_server() {
    let server = start_server(&[]);
    for (command, version) in [("announce", "2"), ("activate", "3"), ("retire", "4")] {
        let ran = server.run(&["keys", command, "--json"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        assert!(ran.stdout.contains(&format!("\"keyset_version\": {version}")), "{ran:?}");
    }
    assert!(
        server.run(&["keys", "status"]).stderr.contains("still in the settings' key"),
        "that file is not the server's to delete"
    );
    crate::support::eventually("the server signs with the new key", async || {
        let keys = newest(&server).await;
        let answer = Line::new(server.address(), crate::support::HOME).exchange(Sent::get("/keys")).await.unwrap();
        keys.len() == 1 && answer.text().contains(&format!("\nkey_id: {}\n", keys[0].0))
    })
    .await;
    server.run(&["keys", "announce"]);
    std::fs::rename(server.path("server-keys"), server.path("elsewhere")).unwrap();
    let without = server.run(&["keys", "activate", "--force"]);
    assert_eq!(without.code, Some(2), "{without:?}");
    assert!(without.stderr.contains("is not in"), "without the key nothing can be signed: {without:?}");
    std::fs::rename(server.path("elsewhere"), server.path("server-keys")).unwrap();
    let revoked = server.announced_key();
    let kept = server.path(&format!("server-keys/{revoked}.pem"));
    assert!(kept.exists());
    assert_eq!(server.run(&["keys", "revoke", &revoked]).code, Some(0));
    assert!(!kept.exists(), "the private half of a removed key is deleted");
    let again = server.run(&["keys", "activate"]);
    assert_eq!(again.code, Some(2), "{again:?}");
    assert!(again.stderr.contains("no key is announced"), "{again:?}");
    // A firmware key's file is readable by its owner only, wherever it is stored.
    let firmware = key(9);
    let (key_id, public_key) = (firmware.public_key().key_id(), firmware.public_key());
    let file = format!("server-keys/{key_id}.pem");
    server.write(&file, firmware.to_pem().unwrap().as_bytes());
    server.post("/api/keys/firmware", &json!({ "public_key": public_key, "reason": "a test" })).await.done();
    server.post("/api/keys/revoke", &json!({ "key_id": key_id, "reason": "a test" })).await.done();
    server.run(&["keys", "announce"]);
    assert!(server.path(&file).exists());
}
