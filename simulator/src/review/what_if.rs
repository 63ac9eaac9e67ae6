//! What other thresholds would have done, from the same evidence and with the server's own gates.
//!
//! Until a rollout is stopped, its evidence is the same for every threshold that did not stop it earlier. So it can be said when a
//! stricter threshold would have stopped it. A looser one would have let more devices have the release, and about those there is
//! no evidence: of it can only be said that it would not have stopped it by then. Where a threshold might have promoted a stage at
//! another time ([`super::promotions`]), what follows is uncertain, and marked so.

use std::collections::BTreeSet;

use ks_protocol::time::UnixMs;
use ks_reports::review::{GateThresholds, GateTrip, ThresholdOutcome};
use ks_server::rollout::{
    gate::{Test, Verdict, judge},
    policy::{Gate, WHOLE_BP},
    words,
};

use super::{
    Target, With,
    evidence::{Change, EVALUATED_WITHIN_MS, Point, points},
    promotions::{Promotion, promotions},
};
use crate::operator::{ObservedDecision, ObservedGate, ObservedRollout, rollout_monitor::is_by_a_gate};

/// What other thresholds of each gate would have done.
pub(super) fn of_gates(
    with: &With<'_>,
    rollout: &ObservedRollout,
    decisions: &[ObservedDecision],
    changes: &[Change<'_>],
    targets: &[Target<'_>],
) -> Vec<GateThresholds> {
    let ends = EvidenceEnd::of(rollout, decisions);
    let promotions = promotions(with, rollout, decisions, targets);
    let gates = rollout.policy.gates.iter().enumerate();
    let of_gate = |(number, gate): (usize, &Gate)| {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let mut points = points(gate, changes, decisions);
        points.retain(|point| ends.at.is_none_or(|end| point.at <= end));
        let rows = if is_consistent(gate, number, &points, decisions) {
            let outcome = |threshold_bp: u16| {
                let tripped = first_trip(gate, threshold_bp, &points);
                let until = tripped.map(|trip| trip.at);
                let is_other = |of: &Promotion<'_>| of.depends_on(gate, number, threshold_bp, until);
                ThresholdOutcome {
                    threshold_bp,
                    is_actual: threshold_bp == gate.threshold_bp,
                    is_uncertain: promotions.iter().any(is_other),
                    trip: tripped.map(|point| trip(with, point, targets)),
                }
            };
            thresholds(gate, &points).into_iter().map(outcome).collect()
        } else {
            Vec::new()
        };
        GateThresholds {
            gate: number,
            judges: words::judged(gate.scope).to_owned(),
            test: test_name(gate.test).to_owned(),
            threshold_bp: gate.threshold_bp,
            evidence_until_s: ends.at.map(|at| with.since_start(at).as_secs_f64()),
            evidence_ends_with: ends.what.clone(),
            rows,
        }
    };
    gates.map(of_gate).collect()
}

/// Until when the evidence is that of every threshold which had not tripped.
struct EvidenceEnd {
    at: Option<UnixMs>,
    /// The decision: `aborted`, `paused`, `completed`, `watched`.
    what: Option<String>,
}

impl EvidenceEnd {
    /// The first decision that another threshold would have changed, or after which nothing is judged. Gates go on judging while a
    /// rollout is paused and while its devices are watched after completion; a pause by a person would have come anyway.
    fn of(rollout: &ObservedRollout, decisions: &[ObservedDecision]) -> Self {
        let is_end = |decision: &&ObservedDecision| match decision.decision.as_str() {
            "aborted" | "watched" => true,
            "paused" => is_by_a_gate(decision),
            "completed" => rollout.policy.watch_s() == 0,
            _ => false,
        };
        let end = decisions.iter().find(is_end);
        Self { at: end.map(|end| end.at), what: end.map(|end| end.decision.clone()) }
    }
}

fn test_name(test: Test) -> &'static str {
    match test {
        Test::Raw => "raw",
        Test::ClopperPearson { .. } => "clopper_pearson",
        Test::Sprt { .. } => "sprt",
    }
}

/// Whether a gate with this threshold fails in whichever evaluation sees this moment.
fn fails(gate: &Gate, threshold_bp: u16, point: &Point) -> bool {
    [point.executed, point.executed_max].into_iter().all(|executed| {
        judge(gate.test, threshold_bp, gate.min_executed, point.failed, executed)
            .is_ok_and(|judged| judged.verdict == Verdict::Fail)
    })
}

/// The first moment at which the gate fails with this threshold.
fn first_trip<'p>(gate: &Gate, threshold_bp: u16, points: &'p [Point]) -> Option<&'p Point> {
    points.iter().find(|point| fails(gate, threshold_bp, point))
}

/// Whether the recovered evidence gives what the server did with the actual threshold: it trips within a second before the
/// decision of this gate, or not at all.
fn is_consistent(gate: &Gate, number: u32, points: &[Point], decisions: &[ObservedDecision]) -> bool {
    let is_its = |decision: &&ObservedDecision| {
        let is_failed = |reading: &ObservedGate| reading.gate == number && reading.verdict == "FAIL";
        is_by_a_gate(decision) && decision.gates.iter().any(is_failed)
    };
    match (first_trip(gate, gate.threshold_bp, points), decisions.iter().find(is_its)) {
        (None, None) => true,
        (Some(trip), Some(decision)) => trip.at <= decision.at && decision.at.since_ms(trip.at) <= EVALUATED_WITHIN_MS,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The thresholds to look at: half, the same, twice, the strictest that would not have tripped, and the one below that.
fn thresholds(gate: &Gate, points: &[Point]) -> BTreeSet<u16> {
    let least = match gate.test {
        Test::Raw => 0,
        Test::ClopperPearson { .. } => 1,
        Test::Sprt { .. } => return BTreeSet::new(), // it does not use the threshold
    };
    let most = WHOLE_BP - 1;
    let actual = gate.threshold_bp;
    // A looser threshold never trips earlier: the strictest that does not trip is found by halving.
    let (mut low, mut high) = (least, most + 1);
    while low < high {
        let middle = low.midpoint(high);
        if first_trip(gate, middle, points).is_some() { low = middle + 1 } else { high = middle }
    }
    let nearest = [low.checked_sub(1), Some(low)].into_iter().flatten();
    let around = [actual / 2, actual, actual.saturating_mul(2)];
    nearest.chain(around).map(|threshold| threshold.clamp(least, most)).collect()
}

/// A trip, with the devices that had the release by then.
fn trip(with: &With<'_>, point: &Point, targets: &[Target<'_>]) -> GateTrip {
    let at = with.since_start(point.at);
    let had_it = || targets.iter().filter(|target| target.installed_at.is_some_and(|then| then <= at));
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    GateTrip {
        at_s: at.as_secs_f64(),
        of: point.of.clone(),
        failed: point.failed.into(),
        executed: point.executed.into(),
        installed: count(had_it().count()),
        broken: count(had_it().filter(|target| target.broke_at.is_some_and(|then| then <= at)).count()),
        breaks: count(had_it().filter(|target| target.truth.breaks()).count()),
    }
}
