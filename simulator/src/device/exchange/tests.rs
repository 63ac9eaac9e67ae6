//! A machine's exchanges with made-up answers.

use std::{rc::Rc, time::Duration};

use ks_protocol::{
    document,
    id::Sequence,
    key::{PrivateKey, PublicKey},
    message::{
        AckState, Command, Heartbeat, KeyRotated, Keyset, KeysetEntry, NextBeat, PunchesStored, ServerKeyState, Trust,
    },
    refusal::{RefusalCode, RefusalDocument},
    signature::{NO_SIG_DEV, OpenError, seal_response},
    text::{Rows, Text},
    time::UnixMs,
};

use super::{ActionCounts, AnswerEffect, Incoming, MessageType, Outgoing, due, heartbeat};
use crate::device::machine::{DeviceInit, DeviceState, Machine};

fn next_request(device: &mut Machine, kind: MessageType, at_ms: u64) -> Outgoing {
    kind.exchange().request(device, UnixMs(at_ms)).unwrap()
}

fn receive(
    device: &mut Machine,
    kind: MessageType,
    status: u16,
    sig_dev: &str,
    body: impl AsRef<[u8]>,
) -> Result<AnswerEffect, OpenError> {
    kind.exchange().answer(device, &Incoming { status, sig_dev, body: body.as_ref(), took: Duration::ZERO })
}

fn server() -> PrivateKey {
    PrivateKey::from_seed(&[9; 32])
}

fn machine() -> Machine {
    machine_that_verifies(100)
}

fn machine_that_verifies(percent: u8) -> Machine {
    let key: PublicKey = server().public_key();
    Machine::new(DeviceInit {
        device_id: "SIM-1".parse().unwrap(),
        root_seed: 1,
        server_keys: Rc::new(Trust {
            version: 1,
            threshold: 1,
            keys: vec![(key.key_id(), key.verifier().unwrap())],
            firmware_keys: Vec::new(),
        }),
        model: "KS-100".into(),
        firmware_version: "1.0.0".into(),
        release_counter: 1,
        otrt: None,
        booted_at: UnixMs(0),
        verify_percent: percent,
    })
}

fn sealed(status: u16, sig_dev: &str, answer: &impl serde::Serialize) -> String {
    seal_response(&server(), &server().public_key().key_id(), status, sig_dev, answer).unwrap()
}

fn command(id: &str, kind: &str) -> Command {
    Command {
        command_id: id.parse().unwrap(),
        kind: Text::truncated(kind),
        argument: Text::default(),
        deadline_at: UnixMs(9_000_000),
    }
}

fn next_beat(commands: Vec<Command>) -> NextBeat {
    NextBeat {
        kind: Default::default(),
        server_time: UnixMs(5),
        next_beat_ms: 60_000,
        keyset_version: 1,
        commands: Rows::truncated(commands),
        firmware: None,
    }
}

#[test]
fn a_command_delivered_twice_is_executed_once_and_acked_twice() {
    let mut device = machine();
    let answer = next_beat(vec![command("c1", "reboot"), command("c2", "dance")]);
    for expected in [1, 0] {
        let sig = next_request(&mut device, MessageType::Heartbeat, 1).sig_dev;
        let taken = receive(&mut device, MessageType::Heartbeat, 200, &sig, sealed(200, &sig, &answer)).unwrap();
        assert_eq!(taken.done, ActionCounts { commands_succeeded: expected, ..ActionCounts::default() });
        let states: Vec<_> = device.commands.acks().iter().map(|ack| ack.state).collect();
        assert_eq!(states, [AckState::Succeeded, AckState::Rejected]);
    }
}

#[test]
fn a_stale_device_continues_from_the_servers_pair() {
    let mut device = machine();
    let sig = next_request(&mut device, MessageType::Heartbeat, 1).sig_dev;
    let kept = Sequence::new(4, 7);
    let refusal = RefusalDocument {
        code: RefusalCode::StaleSequence,
        message: String::new(),
        retry_after_s: None,
        server_boot_epoch: Some(kept.boot_epoch),
        server_seq: Some(kept.seq),
        server_time: None,
    };
    receive(&mut device, MessageType::Heartbeat, 409, &sig, sealed(409, &sig, &refusal)).unwrap();
    next_request(&mut device, MessageType::Heartbeat, 2);
    assert_eq!(device.sequence(), Sequence::new(4, 8));
}

#[test]
fn an_answer_to_another_request_is_rejected() {
    let mut device = machine();
    let sig = next_request(&mut device, MessageType::Heartbeat, 1).sig_dev;
    let other = next_request(&mut device, MessageType::Heartbeat, 2).sig_dev;
    let answer = sealed(200, &other, &next_beat(Vec::new()));
    assert_eq!(receive(&mut device, MessageType::Heartbeat, 200, &sig, answer).unwrap_err(), OpenError::BadSignature);
}

#[test]
fn a_reboot_raises_the_epoch_before_the_first_send() {
    let mut device = machine();
    next_request(&mut device, MessageType::Heartbeat, 1);
    device.reboot(UnixMs(10_000));
    let wire = next_request(&mut device, MessageType::Heartbeat, 70_000).wire;
    let body = document::split(wire.as_bytes(), "SIG_DEV").unwrap().body;
    let beat: Heartbeat = document::decode(body).unwrap();
    assert_eq!((beat.boot_epoch, beat.seq.get(), beat.uptime_s), (2, 1, 60));
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

/// The answer to GET /keys: a keyset of `keys`, signed by `signers`, the answer by `answered_by`.
fn keyset(version: u64, keys: &[u8], signers: &[u8], answered_by: u8) -> String {
    let entry = |seed: &u8| KeysetEntry {
        key_id: key(*seed).public_key().key_id(),
        state: ServerKeyState::Signing,
        public_key: key(*seed).public_key(),
    };
    let keyset = Keyset {
        kind: Default::default(),
        version,
        threshold: 1,
        expires_at: UnixMs(1), // long ago: those on the way may have expired
        keys: Rows::truncated(keys.iter().map(entry).collect()),
        signatures: Rows::default(),
    };
    let signers: Vec<_> = signers.iter().map(|seed| (key(*seed).public_key().key_id(), key(*seed))).collect();
    let named: Vec<_> = signers.iter().map(|(key_id, key)| (key_id, key)).collect();
    let keyset = keyset.signed_by(&named).unwrap();
    let by = key(answered_by);
    seal_response(&by, &by.public_key().key_id(), 200, NO_SIG_DEV, &keyset).unwrap()
}

#[test]
fn a_device_that_was_offline_follows_the_chain_to_the_signing_key() {
    let mut device = machine(); // trusts key 9, of keyset 1
    device.state = DeviceState::Registered;
    let sig = next_request(&mut device, MessageType::Heartbeat, 1).sig_dev;
    let by_newest = seal_response(&key(7), &key(7).public_key().key_id(), 200, &sig, &next_beat(Vec::new())).unwrap();
    assert!(matches!(
        receive(&mut device, MessageType::Heartbeat, 200, &sig, by_newest),
        Err(OpenError::UnknownKey(_))
    ));
    assert_eq!((due(&device), device.wanted_keyset), (Some(MessageType::Keyset), Some(2)));
    // 9 -> 9 and 8 -> 8 -> 8 and 7: each is signed by a key of the one before.
    let walk = [keyset(2, &[9, 8], &[9, 8], 7), keyset(3, &[8], &[8], 7), keyset(4, &[8, 7], &[8, 7], 7)];
    for answer in &walk {
        assert_eq!(receive(&mut device, MessageType::Keyset, 200, NO_SIG_DEV, answer), Ok(AnswerEffect::default()));
    }
    assert_eq!((device.server_keys().version, device.wanted_keyset), (4, None));
    let sig = next_request(&mut device, MessageType::Heartbeat, 2).sig_dev;
    let by_newest = seal_response(&key(7), &key(7).public_key().key_id(), 200, &sig, &next_beat(Vec::new())).unwrap();
    assert!(receive(&mut device, MessageType::Heartbeat, 200, &sig, by_newest).is_ok());
}

#[test]
fn a_keyset_without_a_trusted_signature_is_rejected() {
    let mut device = machine();
    for forged in [keyset(2, &[6], &[6], 6), keyset(2, &[9, 6], &[6], 9), keyset(0, &[9], &[9], 9)] {
        assert_eq!(receive(&mut device, MessageType::Keyset, 200, NO_SIG_DEV, forged), Err(OpenError::BadSignature));
    }
    assert_eq!(device.server_keys().version, 1);
}

#[test]
fn a_keyset_that_is_not_the_next_one_is_no_answer() {
    let mut device = machine(); // trusts key 9, of keyset 1
    device.newer_keyset_announced(2);
    for answered_by in [9, 7] {
        let taken = receive(&mut device, MessageType::Keyset, 200, NO_SIG_DEV, keyset(1, &[9], &[9], answered_by));
        assert!(matches!(taken, Err(OpenError::Document(_))), "{taken:?}");
        assert_eq!(device.wanted_keyset, Some(2), "it is requested again later");
    }
}

#[test]
fn punches_are_kept_until_the_server_confirms_them() {
    let mut device = machine();
    device.state = DeviceState::Registered;
    device.punch(300, UnixMs(5));
    assert_eq!(due(&device), Some(MessageType::Attendance));
    let stored = PunchesStored {
        kind: Default::default(),
        stored: 256,
        known: 0,
        conflicts: Rows::default(),
        server_time: UnixMs(5),
    };
    let first = next_request(&mut device, MessageType::Attendance, 6); // its answer is lost
    let again = next_request(&mut device, MessageType::Attendance, 7);
    let numbers =
        |wire: &str| wire.lines().filter(|line| line.starts_with("  ")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(numbers(&first.wire), numbers(&again.wire), "the same punches under the same numbers");
    let sig = again.sig_dev;
    receive(&mut device, MessageType::Attendance, 200, &sig, sealed(200, &sig, &stored)).unwrap();
    assert_eq!((device.punches.waiting(), device.punches.confirmed.len()), (44, 256));
    device.punch(1, UnixMs(8));
    let last = next_request(&mut device, MessageType::Attendance, 9);
    device.punch(7, UnixMs(10)); // while it is on its way
    let sig = last.sig_dev;
    let stored = PunchesStored { stored: 45, ..stored };
    receive(&mut device, MessageType::Attendance, 200, &sig, sealed(200, &sig, &stored)).unwrap();
    assert_eq!((device.punches.waiting(), device.punches.confirmed.len()), (7, 301), "they need their own answer");
    assert_eq!(device.take_punches().0, 308);
}

#[test]
fn a_rotation_whose_answer_was_lost_is_ended_by_the_new_key() {
    let mut device = machine();
    device.state = DeviceState::Registered;
    let old = device.key.public_key();
    let mut done = ActionCounts::default();
    heartbeat::execute(&mut device, &command("c1", "rotate_key"), &mut done, UnixMs(1));
    assert_eq!((due(&device), done.commands_succeeded), (Some(MessageType::RotateKey), 1));
    let sig = next_request(&mut device, MessageType::RotateKey, 2).sig_dev;
    let refusal = RefusalDocument {
        code: RefusalCode::BadSignature,
        message: String::new(),
        retry_after_s: None,
        server_boot_epoch: None,
        server_seq: None,
        server_time: None,
    };
    let refused = sealed(401, &sig, &refusal); // the first answer was lost: the server knows the new key already
    assert_eq!(receive(&mut device, MessageType::RotateKey, 401, &sig, refused).unwrap().done.keys_rotated, 0);
    assert_ne!(device.key.public_key(), old);
    let sig = next_request(&mut device, MessageType::RotateKey, 2).sig_dev;
    receive(&mut device, MessageType::RotateKey, 401, &sig, sealed(401, &sig, &refusal)).unwrap();
    assert_eq!(device.key.public_key(), old, "it was not lost after all: the old key signs again");
    let sig = next_request(&mut device, MessageType::RotateKey, 2).sig_dev;
    receive(&mut device, MessageType::RotateKey, 401, &sig, sealed(401, &sig, &refusal)).unwrap();
    let sig = next_request(&mut device, MessageType::RotateKey, 3).sig_dev;
    let public_key = device.key.public_key();
    let rotated = KeyRotated { kind: Default::default(), public_key, server_time: UnixMs(3) };
    let taken = receive(&mut device, MessageType::RotateKey, 200, &sig, sealed(200, &sig, &rotated)).unwrap();
    assert_eq!(taken.done.keys_rotated, 1);
    assert_eq!(due(&device), Some(MessageType::CommandAck), "it is acknowledged once it is done");
}

/// Goal: a device that verifies a sample finds the same share of bad signatures, believes no answer by a key that it does not trust, and no
/// refusal without its signature.
#[test]
fn a_sample_of_the_answers_is_verified_and_every_refusal() {
    let mut device = machine_that_verifies(30);
    let (mut found, mut believed) = (0, 0);
    for _ in 0..2_000 {
        let sig = next_request(&mut device, MessageType::Heartbeat, 1).sig_dev;
        let forged = sealed(200, &sig, &next_beat(Vec::new())).replace("next_beat_ms: 60000", "next_beat_ms: 60001");
        match receive(&mut device, MessageType::Heartbeat, 200, &sig, forged) {
            Ok(_) => believed += 1,
            Err(OpenError::BadSignature) => found += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert!((500..=700).contains(&found), "{found} of 2000 at 30 %");
    assert_eq!(device.take_unverified(), believed);
    let refusal = RefusalDocument {
        code: RefusalCode::Revoked,
        message: String::new(),
        retry_after_s: None,
        server_boot_epoch: None,
        server_seq: None,
        server_time: None,
    };
    for _ in 0..50 {
        let sig = next_request(&mut device, MessageType::Heartbeat, 1).sig_dev;
        let forged = sealed(403, "another request's", &refusal);
        assert!(matches!(
            receive(&mut device, MessageType::Heartbeat, 403, &sig, forged),
            Err(OpenError::BadSignature)
        ));
        let stranger = PrivateKey::from_seed(&[8; 32]);
        let answer =
            seal_response(&stranger, &stranger.public_key().key_id(), 200, &sig, &next_beat(Vec::new())).unwrap();
        let received = receive(&mut device, MessageType::Heartbeat, 200, &sig, answer);
        assert!(matches!(received, Err(OpenError::UnknownKey(_))));
        device.wanted_keyset = None;
    }
    assert_eq!((device.state(), device.take_unverified()), (DeviceState::New, 0));
}
