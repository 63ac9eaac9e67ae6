//! When stages were promoted, and whether another threshold would have promoted them at another time.
//!
//! A stage is promoted if its gates pass even if every silent device is lost. So a stricter threshold may hold a stage for
//! which the actual one did not wait, and a looser one need not wait as long. From then on its evidence would be another.

use std::time::Duration;

use ks_protocol::time::UnixMs;
use ks_server::rollout::{
    gate::{Test, Verdict, judge},
    policy::Gate,
};

use super::{Target, With, continuation::evidence_at};
use crate::operator::{ObservedDecision, ObservedRollout};

/// A promotion later than this after its bake time waited for something else. Evaluations are half a minute apart at most.
const IN_TIME: Duration = Duration::from_secs(90);

/// A moment at which a stage was promoted, or the rollout completed, or at which another threshold could have done so.
#[derive(Debug)]
pub(super) struct Promotion<'a> {
    /// None if it did not happen.
    decision: Option<&'a ObservedDecision>,
    at: UnixMs,
    /// When the evidence was there and its bake time over, if the stage waited for longer than that.
    waited_since: Option<UnixMs>,
}

/// Those of a rollout, in order.
pub(super) fn promotions<'a>(
    with: &With<'_>,
    rollout: &ObservedRollout,
    decisions: &'a [ObservedDecision],
    targets: &[Target<'_>],
) -> Vec<Promotion<'a>> {
    let policy = &rollout.policy;
    let due = |stage: usize| {
        let updates = targets.iter().map(|target| target.update);
        let evidence = evidence_at(with, policy, stage, updates)?;
        Some(evidence + Duration::from_secs(policy.stages.get(stage)?.bake_s))
    };
    let waited_since = |stage: usize, until: UnixMs| match due(stage) {
        None => None, // it had no evidence
        Some(due) if with.since_start(until) <= due + IN_TIME => None,
        Some(due) => Some(with.wall_clock(due)),
    };
    let (mut found, mut stage, mut asked_at) = (Vec::new(), 0, None);
    for decision in decisions {
        match decision.decision.as_str() {
            // A person approves later than the gates would let the stage pass.
            "waiting" => asked_at = asked_at.or(Some(decision.at)),
            "promoted" => {
                let waited_since = waited_since(stage, asked_at.take().unwrap_or(decision.at));
                found.push(Promotion { decision: Some(decision), at: decision.at, waited_since });
                stage += 1;
            }
            "completed" => {
                found.push(Promotion { decision: Some(decision), at: decision.at, waited_since: None });
                return found;
            }
            "aborted" => {
                let waited_since = waited_since(stage, asked_at.take().unwrap_or(decision.at));
                found.extend(waited_since.map(|_| Promotion { decision: None, at: decision.at, waited_since }));
                return found;
            }
            _ => {}
        }
    }
    let end = with.wall_clock(with.lasted);
    let waited_since = waited_since(stage, asked_at.unwrap_or(end));
    found.extend(waited_since.map(|_| Promotion { decision: None, at: end, waited_since }));
    found
}

impl Promotion<'_> {
    /// Whether it might have come at another time if the gate of this number had this threshold, and the rollout had gone on up to
    /// `until`.
    pub(super) fn depends_on(&self, gate: &Gate, number: u32, threshold_bp: u16, until: Option<UnixMs>) -> bool {
        let is_before = |at: UnixMs| until.is_none_or(|until| at < until);
        match gate.test {
            Test::Raw if threshold_bp == gate.threshold_bp => false,
            Test::Raw if threshold_bp > gate.threshold_bp => self.waited_since.is_some_and(is_before),
            Test::Raw => is_before(self.at) && self.would_be_held(gate, number, threshold_bp),
            _ => threshold_bp != gate.threshold_bp && is_before(self.at),
        }
    }

    /// Whether the gate would not have passed with this threshold, had the silent devices been lost.
    fn would_be_held(&self, gate: &Gate, number: u32, threshold_bp: u16) -> bool {
        let Some(decision) = self.decision else { return false };
        let mut of_gate = decision.gates.iter().filter(|reading| reading.gate == number);
        of_gate.any(|reading| {
            let count = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
            let (failed, executed) =
                (count(reading.failed.saturating_add(u64::from(decision.silent))), count(reading.executed));
            let judged = judge(gate.test, threshold_bp, gate.min_executed, failed.min(executed), executed);
            judged.is_ok_and(|judged| judged.verdict == Verdict::Fail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operator::ObservedGate;

    /// Of 100 devices one failed, and up to 2 % pass: with one silent device it still passes, with three it would not.
    #[test]
    fn silent_devices_count_as_lost_however_the_reason_is_worded() {
        let gate: Gate = serde_json::from_value(serde_json::json!({
            "threshold_bp": 500, "min_executed": 10, "test": { "kind": "raw" }
        }))
        .unwrap();
        let reading = ObservedGate {
            gate: 0,
            of: "all".to_owned(),
            threshold_bp: 500,
            verdict: "PASS".to_owned(),
            failed: 1,
            executed: 100,
            share_ppm: 10_000,
            lower_ppm: 0,
            upper_ppm: 0,
        };
        let promoted = |silent| ObservedDecision {
            at: UnixMs(0),
            actor: "rollout-engine".to_owned(),
            decision: "promoted".to_owned(),
            stage: 0,
            why: "in words that nobody parses".to_owned(),
            silent,
            gates: vec![reading.clone()],
        };
        for (silent, is_held) in [(0, false), (1, false), (3, true)] {
            let decision = promoted(silent);
            let promotion = Promotion { decision: Some(&decision), at: UnixMs(0), waited_since: None };
            assert_eq!(promotion.would_be_held(&gate, 0, 200), is_held, "{silent}");
        }
    }
}
