//! Rollouts: what is promoted, offered or decided that must not be.

use std::collections::BTreeMap;

use ks_protocol::{
    id::Sequence,
    message::{FirmwareStatus, UpdateStep},
    signature::sign_request,
    text::Text,
    time::UnixMs,
};

use super::{End, Invariant, at_times, beat, beat_that_arrived, exchange, key, pass, stored};
use crate::operator::{ObservedDecision, ObservedRollout, rollout_monitor};

/// An offer of the release fw-2, in an answer to a heartbeat.
const OFFER: &str = "firmware:\n  manifest: \"type: firmware_manifest\\nrelease_id: fw-2\\nversion: \\\"2\\\"\"";

fn decision(minute: u64, what: &str, stage: u32) -> ObservedDecision {
    ObservedDecision {
        gates: Vec::new(),
        at: UnixMs(minute * 60_000),
        actor: "rollout-engine".to_owned(),
        decision: what.to_owned(),
        stage,
        why: String::new(),
        silent: 0,
    }
}

fn rollout(status: &str, decisions: Vec<ObservedDecision>) -> End {
    let seen = ObservedRollout {
        rollout_id: "rollout-2".parse().unwrap(),
        version: "2".to_owned(),
        status: status.to_owned(),
        stage: 0,
        stages: 2,
        share_bp: 5_000,
        targets: 3,
        updates: BTreeMap::new(),
        versions: BTreeMap::new(),
        gates: Vec::new(),
        policy: serde_json::from_str(r#"{"stages": [], "gates": []}"#).unwrap(),
    };
    let rollouts = rollout_monitor::ObservedRollouts {
        rollouts: vec![(seen, decisions)],
        ..rollout_monitor::ObservedRollouts::default()
    };
    End { rollouts, ..End::default() }
}

#[test]
fn an_aborted_rollout_decides_and_offers_nothing_further() {
    at_times(async |witness| {
        let end = rollout("ABORTED", vec![decision(20, "aborted", 0), decision(30, "resumed", 0)]);
        end.breaks(&witness, Invariant::TerminalStays, "the rollout rollout-2 was aborted and then resumed");
        let end = rollout("RUNNING", vec![decision(20, "aborted", 0), decision(21, "alert", 0)]);
        end.breaks(&witness, Invariant::TerminalStays, "the rollout rollout-2 was aborted and is now RUNNING");
        let end = rollout("ABORTED", vec![decision(20, "aborted", 0)]);
        pass(15).await;
        beat(&witness, "A", 1, "1", OFFER);
        stored(&witness, "A", 1);
        assert_eq!(end.judged(&witness), [], "it was offered before");
        pass(10).await;
        beat(&witness, "A", 2, "1", OFFER);
        stored(&witness, "A", 2);
        end.breaks(&witness, Invariant::NothingAfterAbort, "fw-2 was offered 5m after it was aborted");
    });
}

#[test]
fn a_request_that_arrived_before_the_abort_may_be_offered_its_release() {
    // The disk is slow: the heartbeat waits in the queue, and the abort behind it.
    for (arrives_min, is_right) in [(20, true), (21, false)] {
        at_times(async |witness| {
            pass(arrives_min).await;
            let arrived_at = witness.now();
            pass(5).await;
            beat_that_arrived(arrived_at, &witness, "A", 1, "1", OFFER);
            stored(&witness, "A", 1);
            let end = rollout("ABORTED", vec![decision(20, "aborted", 0)]);
            assert_eq!(end.judged(&witness).is_empty(), is_right, "arrived in minute {arrives_min}");
        });
    }
}

#[test]
fn a_promotion_needs_outcomes_the_time_and_the_approval() {
    at_times(async |witness| {
        let promoted = |minute| {
            let decisions =
                vec![decision(29, "waiting", 0), decision(30, "approved", 0), decision(minute, "promoted", 0)];
            rollout("RUNNING", decisions)
        };
        pass(11).await;
        beat(&witness, "A", 1, "1", "manifest: \"release_id: fw-2\\nx\"");
        stored(&witness, "A", 1);
        promoted(40).breaks(&witness, Invariant::EvidenceFirst, "at most 0 devices can have had an outcome");
        pass(10).await;
        beat(&witness, "A", 2, "2", "");
        stored(&witness, "A", 2);
        // Seen at 21 min, confirmed a minute later, baked for ten.
        promoted(31).breaks(&witness, Invariant::EvidenceFirst, "the policy requires 1");
        assert_eq!(promoted(32).judged(&witness), []);
        let end = rollout("RUNNING", vec![decision(40, "promoted", 0)]);
        end.breaks(&witness, Invariant::EvidenceFirst, "without an operator's approval");
        let decisions = vec![decision(30, "approved", 0), decision(39, "waiting", 0), decision(40, "promoted", 0)];
        rollout("RUNNING", decisions).breaks(&witness, Invariant::EvidenceFirst, "without an operator's approval");
    });
}

#[test]
fn a_reported_failure_is_an_outcome_and_a_success_claim_is_not() {
    at_times(async |witness| {
        let says = |seq, step| {
            let status = FirmwareStatus {
                kind: Default::default(),
                device_id: "A".parse().unwrap(),
                boot_epoch: 1,
                seq: Sequence::new(1, seq).seq,
                sent_at: UnixMs(0),
                release_id: "fw-2".parse().unwrap(),
                step,
                received_bytes: 0,
                class: None,
                detail: Text::default(),
            };
            let wire = sign_request(&key(), &status).unwrap().wire;
            exchange(&witness, "/firmware/status", wire.as_bytes(), b"");
        };
        let end = rollout(
            "RUNNING",
            vec![decision(10, "waiting", 0), decision(11, "approved", 0), decision(12, "promoted", 0)],
        );
        says(1, UpdateStep::Rebooting);
        end.breaks(&witness, Invariant::EvidenceFirst, "at most 0 devices");
        says(2, UpdateStep::Failed);
        assert_eq!(end.judged(&witness), []);
    });
}
