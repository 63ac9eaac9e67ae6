//! How far a gate is from its bounds: how many more failures make it FAIL, and how many more devices without one make it PASS.

use schemars::JsonSchema;
use serde::Serialize;

use super::is_undecided;
use crate::rollout::{
    gate::{EXECUTED_MAX, Verdict, verdict},
    outcome::Outcome,
    policy::{Gate, Policy, Scope},
    reading::{GateReading, group_of, large_groups, read_gates},
    tally::{Cell, Tally},
    update::UpdateState,
    walk::first,
};

/// Most groups of each gate that are shown.
const GROUPS_MAX: usize = 10;

/// A gate on one group of devices, and how far it is from its bounds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GateProgress {
    #[serde(flatten)]
    pub reading: GateReading,
    /// Further failures, without a confirmation in between, that make it FAIL; 0 if it fails. They are of devices without an outcome,
    /// then of confirmed ones, which count already. None if not even all of them do.
    pub failures_to_fail: Option<u32>,
    /// Further devices without a failure that make it PASS; 0 if it passes. None if so many are not left.
    pub clean_to_pass: Option<u32>,
    /// Whether the stage waits for this group: smaller ones can only fail.
    pub is_required: bool,
}

/// Each gate on the groups that it judges at this stage, with what they lack.
pub(super) fn gates(policy: &Policy, stage: usize, tally: &Tally) -> Vec<GateProgress> {
    let readings = read_gates(policy, stage, tally).unwrap_or_default();
    let mut shown = Vec::new();
    for (number, gate) in policy.gates.iter().enumerate() {
        let large = large_groups(gate, stage, tally);
        let mut of_gate: Vec<&GateReading> = readings.iter().filter(|reading| reading.gate == number).collect();
        let badness = |reading: &&GateReading| {
            let rank = match reading.judged.verdict {
                Verdict::Fail => 2,
                Verdict::Inconclusive => 1,
                Verdict::Pass => 0,
            };
            std::cmp::Reverse((rank, reading.judged.share_ppm, reading.judged.failed))
        };
        of_gate.sort_by_key(badness);
        shown.extend(of_gate.into_iter().take(GROUPS_MAX).map(|reading| {
            let left = left(gate, &reading.of, stage, tally);
            GateProgress {
                failures_to_fail: to_fail(gate, reading, left),
                clean_to_pass: to_pass(gate, reading, left.undecided),
                is_required: large.contains(&reading.of),
                reading: reading.clone(),
            }
        }));
    }
    shown
}

/// The devices of a group whose outcome may still change what its gate reads, those of later stages included.
fn left(gate: &Gate, of: &str, stage: usize, tally: &Tally) -> OpenDevices {
    let is_of_group = |cell: &Cell| {
        let (of_stage, model, site) = cell.place();
        // A gate of one stage never judges the devices of the next ones.
        let as_of = if gate.scope == Scope::Stage { of_stage } else { of_stage.min(stage) };
        group_of(gate.scope, stage, (as_of, model, site)).as_deref() == Some(of)
    };
    let may_be_lost = gate.outcomes.contains(&Outcome::Lost);
    OpenDevices {
        undecided: tally.count(|cell| is_undecided(cell.state) && is_of_group(cell)),
        confirmed: tally.count(|cell| {
            may_be_lost && cell.state == UpdateState::Confirmed && cell.stage <= stage && is_of_group(cell)
        }),
    }
}

/// Devices of a group whose outcome may still change what its gate reads.
#[derive(Debug, Clone, Copy)]
struct OpenDevices {
    /// Without an outcome.
    undecided: u32,
    /// Confirmed, and LOST if they fall silent.
    confirmed: u32,
}

/// Further failures that make a gate FAIL.
fn to_fail(gate: &Gate, reading: &GateReading, left: OpenDevices) -> Option<u32> {
    let (failed, executed) = (reading.judged.failed, reading.judged.executed);
    let fails = |more: u32| {
        let executed = executed + more.min(left.undecided);
        verdict(gate.test, gate.threshold_bp, gate.min_executed, failed + more, executed) == Verdict::Fail
    };
    smallest((left.undecided + left.confirmed).min(EXECUTED_MAX.saturating_sub(executed)), fails)
}

/// Further devices without a failure that make a gate PASS.
fn to_pass(gate: &Gate, reading: &GateReading, undecided: u32) -> Option<u32> {
    let (failed, executed) = (reading.judged.failed, reading.judged.executed);
    let passes =
        |more: u32| verdict(gate.test, gate.threshold_bp, gate.min_executed, failed, executed + more) == Verdict::Pass;
    smallest(undecided.min(EXECUTED_MAX.saturating_sub(executed)), passes)
}

/// The smallest number up to `most` for which this holds, if it holds for all above.
fn smallest(most: u32, holds: impl Fn(u32) -> bool) -> Option<u32> {
    if holds(0) {
        return Some(0);
    }
    let found = first(most, holds);
    (found <= most).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{
        gate::Test,
        policy::Action,
        tests::{cell, gate, small},
        update::UpdateState as S,
    };

    fn tally(counts: &[(usize, S, u32)]) -> Tally {
        let cell = |(stage, state, count): &(usize, S, u32)| cell(*stage, ("KS-100", "north"), *state, *count);
        Tally { cells: counts.iter().map(cell).collect(), ..Tally::default() }
    }

    /// What a gate of 10 % that needs 10 devices lacks: (failed, executed), further failures to FAIL, devices to PASS.
    #[test]
    fn the_distance_to_a_gates_bounds_is_as_calculated_by_hand() {
        let mut policy = small();
        let shown = |policy: &Policy, failed, executed| {
            let seen = tally(&[(0, S::Failed, failed), (0, S::Confirmed, executed - failed), (0, S::Pending, 1_000)]);
            let shown = gates(policy, 0, &seen).remove(0);
            (shown.failures_to_fail, shown.clean_to_pass)
        };
        for (failed, executed, distance) in [
            (0, 4, (Some(2), Some(6))),   // of the first 10, one may fail
            (0, 11, (Some(2), Some(0))),  // 1 of 12 is 8.3 %, 2 of 13 are 15.4 %
            (1, 10, (Some(1), Some(0))),  // 10 % is not above 10 %
            (1, 19, (Some(2), Some(0))),  // 2 of 20 are 10 %, 3 of 21 are 14.3 %
            (2, 10, (Some(0), Some(10))), // it fails; 2 of 20 would pass
        ] {
            assert_eq!(shown(&policy, failed, executed), distance, "{failed} of {executed}");
        }
        policy.gates[0].test = Test::ClopperPearson { confidence_bp: 9_500 };
        policy.gates[0].threshold_bp = 50;
        assert_eq!(shown(&policy, 0, 100).1, Some(498), "598 clean devices show less than 0.5 % at 95 %");
    }

    /// Once every device has an outcome, a failure is a confirmed device that is lost: it counts already.
    #[test]
    fn the_distance_counts_the_devices_that_are_left() {
        let mut policy = small();
        policy.gates[0].threshold_bp = 3_000;
        let shown = |policy: &Policy, counts: &[(usize, S, u32)]| {
            let shown = gates(policy, 0, &tally(counts)).remove(0);
            (shown.failures_to_fail, shown.clean_to_pass)
        };
        // 60 of 200 are 30 %, and 61 are more.
        assert_eq!(shown(&policy, &[(0, S::Confirmed, 200)]), (Some(61), Some(0)));
        // 10 new failures make 10 of 210, 53 more 63 of 210 (30 %), and one more fails.
        assert_eq!(shown(&policy, &[(0, S::Confirmed, 200), (0, S::Pending, 10)]), (Some(64), Some(0)));
        policy.gates[0].outcomes.retain(|outcome| *outcome != Outcome::Lost);
        assert_eq!(
            shown(&policy, &[(0, S::Confirmed, 200), (0, S::Pending, 10)]),
            (None, Some(0)),
            "10 of 210 at most"
        );
        policy.gates[0].threshold_bp = 500;
        let after = |pending| shown(&policy, &[(0, S::Failed, 11), (0, S::Confirmed, 189), (1, S::Pending, pending)]);
        assert_eq!(after(19), (Some(0), None), "11 of 219 are 5.02 %");
        assert_eq!(after(20), (Some(0), Some(20)), "11 of 220 are 5 %");
    }

    #[test]
    fn of_many_groups_the_worst_are_shown() {
        let policy = Policy { gates: vec![gate(Scope::Site, Action::Abort)], ..small() };
        let mut seen = tally(&[]);
        for site in 0..30 {
            let name = format!("s{site:02}");
            seen.cells.push(cell(0, ("KS-100", &name), S::Confirmed, 50));
            seen.cells.push(cell(0, ("KS-100", &name), S::Failed, site % 5));
        }
        let shown = gates(&policy, 0, &seen);
        assert_eq!(shown.len(), GROUPS_MAX);
        assert!(shown.iter().take(6).all(|gate| gate.reading.judged.failed == 4 && gate.is_required), "{shown:?}");
    }
}
