//! Each invariant, violated once: the exchanges are made up, their judgement is real.

mod rollouts;
mod starvation;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hyper::{HeaderMap, header};
use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PrivateKey,
    message::{AckRecorded, AcksRecorded, FirmwareArtifact, REQUEST_HEADER, Register, header_of_document},
    signature::{seal_response, sign_request},
    text::{Rows, Sha256, Text},
    time::UnixMs,
};
use ks_reports::run_folder::Ledger;
use sha2::Digest as _;

use super::{Invariant, RunEnd, Violation, Witness, judge};
use crate::{
    device::pending::PendingPeriod,
    limits::oracle::{OrderEnd, SitePrefixes},
    operator::{ObservedLimits, rollout_monitor},
    run::{ledger::StoredCommand, measure::Score},
    scenario::{self, Plan},
    scenario_settings::ScenarioSettings,
};

const SCENARIO: &str = r#"
name = "made-up"
goal = "Something to judge."
mode = "rehearse"
duration = "2h"
[fleet]
devices = 3
heartbeat_interval = "1m"
[[firmware]]
version = "2"
counter = 2
[[policy]]
name = "p"
confirm_window_s = 60
stages = [{ share_bp = 5000, min_executed = 1, bake_s = 600, approval = "manual" }, { share_bp = 10000, min_executed = 1, bake_s = 0 }]
gates = [{ threshold_bp = 500, min_executed = 1, test = { kind = "raw" } }]
[[timeline]]
at = "10m"
do = "start_rollout"
firmware = "2"
policy = "p"
[[expect]]
metric = "ledger.lost"
equals = 0
"#;

fn plan() -> Plan {
    scenario::check("made-up", SCENARIO.as_bytes(), &ScenarioSettings).unwrap()
}

fn key() -> PrivateKey {
    PrivateKey::from_seed(&[7; 32])
}

/// The end of a run, by default without violations.
struct End {
    plan: Plan,
    alive: BTreeSet<DeviceId>,
    pending_periods: Vec<(DeviceId, PendingPeriod)>,
    commands: Vec<StoredCommand>,
    rollouts: rollout_monitor::ObservedRollouts,
    attacks: BTreeMap<&'static str, Score>,
    memory_bytes: Option<(u64, u64)>,
}

impl Default for End {
    fn default() -> Self {
        Self {
            plan: plan(),
            alive: BTreeSet::new(),
            pending_periods: Vec::new(),
            commands: Vec::new(),
            rollouts: rollout_monitor::ObservedRollouts::default(),
            attacks: BTreeMap::new(),
            memory_bytes: None,
        }
    }
}

impl End {
    fn judged(&self, witness: &Witness) -> Vec<Violation> {
        let ending = RunEnd {
            plan: &self.plan,
            epoch: UnixMs(0),
            lasted: Duration::from_hours(2),
            alive: &self.alive,
            pending_periods: &self.pending_periods,
            commands: &self.commands,
            ledger: &Ledger { reconciled: true, ..Ledger::default() },
            rollouts: &self.rollouts,
            attacks: &self.attacks,
            memory_bytes: self.memory_bytes,
        };
        judge(witness, &ending)
    }

    #[track_caller]
    fn breaks(&self, witness: &Witness, invariant: Invariant, what: &str) {
        let violations = self.judged(witness);
        assert!(
            violations.iter().any(|violation| violation.invariant == invariant && violation.what.contains(what)),
            "expected {what:?} of {invariant:?}: {violations:?}"
        );
        assert!(
            violations.iter().all(|violation| violation.invariant == invariant),
            "and nothing else: {violations:?}"
        );
    }
}

fn exchange(witness: &Witness, path: &str, request: &[u8], answer: &[u8]) {
    witness.exchange(witness.now(), path, request, answer);
}

fn beat(witness: &Witness, device: &str, seq: u64, version: &str, answer: &str) {
    beat_that_arrived(witness.now(), witness, device, seq, version, answer);
}

/// A heartbeat that arrived at `at` and is answered now.
fn beat_that_arrived(at: Duration, witness: &Witness, device: &str, seq: u64, version: &str, answer: &str) {
    let request = format!(
        "type: heartbeat\ndevice_id: {device}\nboot_epoch: 1\nseq: {seq}\nfirmware:\n  version: {version}\n  release_counter: 1\nSIG_DEV: x"
    );
    witness.exchange(at, "/heartbeat", request.as_bytes(), answer.as_bytes());
}

fn stored(witness: &Witness, device: &str, seq: u64) {
    witness.stored(&device.parse().unwrap(), Sequence::new(1, seq));
}

/// A run under a paused clock, so that times are the test's own.
fn at_times(test: impl AsyncFnOnce(Witness)) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { test(Witness::at_the_start(SitePrefixes { ipv4: 24, ipv6: 56 })).await });
}

async fn pass(minutes: u64) {
    tokio::time::advance(Duration::from_mins(minutes)).await;
}

#[test]
fn a_correct_run_has_no_violations() {
    at_times(async |witness| {
        beat(&witness, "A", 1, "1", "type: next_beat");
        stored(&witness, "A", 1);
        assert_eq!(End::default().judged(&witness), []);
    });
}

#[test]
fn an_answered_heartbeat_must_be_stored_and_no_pair_is_accepted_twice() {
    at_times(async |witness| {
        beat(&witness, "A", 1, "1", "");
        End::default().breaks(&witness, Invariant::StoredOnce, "A: 1 heartbeat acknowledged and not stored");
        stored(&witness, "A", 1);
        beat(&witness, "A", 1, "1", "");
        End::default().breaks(&witness, Invariant::StoredOnce, "/heartbeat with the pair (1, 1) was accepted twice");
    });
}

fn register(witness: &Witness, device: &str) {
    let request = Register {
        kind: Default::default(),
        device_id: device.parse().unwrap(),
        boot_epoch: 1,
        seq: Sequence::new(1, 1).seq,
        sent_at: UnixMs(0),
        public_key: key().public_key(),
        firmware_version: Text::truncated("1"),
        otrt: Some(Text::truncated("token")),
    };
    exchange(witness, "/register", sign_request(&key(), &request).unwrap().wire.as_bytes(), b"");
}

#[test]
fn a_token_registers_one_device() {
    at_times(async |witness| {
        register(&witness, "A");
        register(&witness, "B");
        End::default().breaks(&witness, Invariant::TokenOnce, "B registered with the one-time token that A had used");
    });
}

#[test]
fn no_request_of_a_revoked_device_is_accepted_later() {
    at_times(async |witness| {
        exchange(&witness, "/api/devices/revoke", br#"{"which":{"device_ids":["A"]}}"#, b"{}");
        pass(1).await;
        beat(&witness, "A", 1, "1", "");
        stored(&witness, "A", 1);
        End::default().breaks(
            &witness,
            Invariant::TerminalStays,
            "A: /heartbeat was accepted after the device was revoked",
        );
    });
}

/// A download by this device, of the whole or from a byte on, that the server ended with these bytes.
fn download(witness: &Witness, device: &str, from: Option<usize>, body: &[u8]) {
    let message = FirmwareArtifact {
        kind: Default::default(),
        device_id: device.parse().unwrap(),
        boot_epoch: 1,
        seq: Sequence::new(1, 2).seq,
        sent_at: UnixMs(0),
    };
    let path = FirmwareArtifact::path_of(Sha256(sha2::Sha256::digest(IMAGE).into()));
    let signed = header_of_document(&sign_request(&key(), &message).unwrap().wire);
    let mut headers = HeaderMap::new();
    headers.insert(REQUEST_HEADER, signed.parse().unwrap());
    if let Some(from) = from {
        headers.insert(header::RANGE, format!("bytes={from}-99").parse().unwrap());
    }
    let asked = witness.download_request(&path, &headers).unwrap();
    witness.download(&asked, from.is_some(), body);
}

const IMAGE: &[u8] = b"the bytes of an image";

#[test]
fn an_image_goes_to_registered_devices_byte_for_byte() {
    at_times(async |witness| {
        exchange(&witness, "/api/artifacts", IMAGE, b"{}");
        register(&witness, "A");
        download(&witness, "A", None, IMAGE);
        download(&witness, "A", Some(4), &IMAGE[4..9]);
        assert_eq!(End::default().judged(&witness), []);
    });
    for (from, body) in [
        (None, &IMAGE[1..]),
        (None, b"the bytes of an imagE".as_slice()),
        (None, b""),
        (Some(4), &IMAGE[5..9]),
        (Some(4), b""),
        (Some(40), b"x"),
    ] {
        at_times(async |witness| {
            exchange(&witness, "/api/artifacts", IMAGE, b"{}");
            register(&witness, "A");
            download(&witness, "A", from, body);
            End::default().breaks(&witness, Invariant::ImagesToDevices, "not those of the image");
        });
    }
    at_times(async |witness| {
        exchange(&witness, "/api/artifacts", IMAGE, b"{}");
        download(&witness, "A", None, IMAGE);
        End::default().breaks(&witness, Invariant::ImagesToDevices, "A never registered and was sent bytes");
    });
}

#[test]
fn a_revoked_device_gets_no_image() {
    at_times(async |witness| {
        exchange(&witness, "/api/artifacts", IMAGE, b"{}");
        register(&witness, "A");
        exchange(&witness, "/api/devices/revoke", br#"{"which":{"device_ids":["A"]}}"#, b"{}");
        pass(1).await;
        download(&witness, "A", None, IMAGE);
        End::default().breaks(&witness, Invariant::TerminalStays, "after it was revoked");
    });
}

fn command(state: &str) -> StoredCommand {
    let (command_id, device_id) = ("c1".parse().unwrap(), "A".parse().unwrap());
    StoredCommand { command_id, device_id, state: state.to_owned(), created_at: UnixMs(0) }
}

#[test]
fn a_closed_command_keeps_its_state() {
    at_times(async |witness| {
        let row = AckRecorded { command_id: "c1".parse().unwrap(), state: Text::truncated("SUCCEEDED") };
        let answer =
            AcksRecorded { kind: Default::default(), acks: Rows::truncated(vec![row]), server_time: UnixMs(0) };
        let answer = seal_response(&key(), &key().public_key().key_id(), 200, "-", &answer).unwrap();
        let request = "type: command_ack\ndevice_id: A\nboot_epoch: 1\nseq: 1\nSIG_DEV: x";
        exchange(&witness, "/commands/ack", request.as_bytes(), answer.as_bytes());
        let end = End { commands: vec![command("FAILED")], ..End::default() };
        end.breaks(&witness, Invariant::TerminalStays, "the command c1 was SUCCEEDED and is now FAILED");
    });
}

#[test]
fn successful_attacks_and_unbounded_memory_are_violations() {
    at_times(async |witness| {
        let score = Score { attempts: 5, successes: 1, unjudged: 0 };
        let end = End { attacks: BTreeMap::from([("forger", score)]), ..End::default() };
        end.breaks(&witness, Invariant::NoAttackSucceeds, "accepted 1 of 5 attacks by `forger`");
        let end = End { memory_bytes: Some((1 << 30, 1)), ..End::default() };
        end.breaks(&witness, Invariant::MemoryBounded, "the process uses 1024 MiB");
        let end = End { memory_bytes: Some((200 << 20, 1)), ..End::default() };
        assert_eq!(end.judged(&witness), []);
    });
}

/// What the server says is in force, of one limit.
fn in_force(per_min: u32, burst: u32) -> Vec<u8> {
    let fired = serde_json::json!({ "total": 0 });
    let limit = serde_json::json!({
        "name": "device_requests", "per_min": per_min, "per_day": null, "burst": burst, "mode": "enforce",
        "source": "settings", "checked": 0, "refused": fired, "would_refuse": fired,
    });
    let all = serde_json::json!({ "limits": [limit], "overload": { "in_progress_max": 0 }, "memory_bytes": 0 });
    all.to_string().into_bytes()
}

/// Goal: a server that reads its settings or a limits file wrongly, and says what it made of them, is found.
/// Method: it says another burst than the settings and the file ask for, or the right one.
#[test]
fn limits_that_were_read_wrongly_are_found() {
    let settings = || [("RATE_LIMIT_DEVICE_BURST".to_owned(), "30".to_owned())].into();
    let file = b"[device_requests]\nper_min = 60\nburst = 5\n";
    let said = |by_settings: u32, by_file: u32| {
        let mut wrong = Vec::new();
        at_times(async |witness| {
            let witness = witness.with_settings(settings());
            let started = ObservedLimits::read(&in_force(120, by_settings)).unwrap();
            witness.server_started(tokio::time::Instant::now(), &started);
            let order = witness.ordered("limits", file);
            witness.order_ended(order, ("limits", file), OrderEnd::Done, &in_force(60, by_file));
            wrong = witness.oracle().wrong().iter().map(|wrong| wrong.what.clone()).collect();
        });
        wrong
    };
    assert_eq!(said(30, 5), [""; 0]);
    assert_eq!(
        said(30, 10),
        [
            "device_requests has to be 60 a minute, 5 at once, enforced by the operator's limits file; the server says that it is 60 a minute, 10 at once, enforced"
        ]
    );
    assert_eq!(
        said(31, 5),
        [
            "device_requests has to be 120 a minute, 30 at once, enforced by the settings; the server says that it is 120 a minute, 31 at once, enforced"
        ]
    );
}
