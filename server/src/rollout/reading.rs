//! What the gates of a policy say of a tally: a verdict for each group of devices that they judge, and what follows from all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ks_protocol::text::counted;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    gate::{GateResult, Verdict, judge},
    policy::{Action, Gate, Policy, Scope},
    tally::Tally,
};

/// The verdict of a gate on one group of devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GateReading {
    /// Number of the gate in the policy, from 0.
    pub gate: usize,
    /// The group: `all`, `stage 1`, a model, a site, or both.
    pub of: String,
    /// The threshold, in basis points.
    pub threshold_bp: u16,
    /// The verdict, and its numbers.
    #[serde(flatten)]
    pub judged: GateResult,
}

/// The verdicts of all gates on a tally, in the order of the policy.
pub fn read_gates(policy: &Policy, stage: usize, tally: &Tally) -> Result<Vec<GateReading>, String> {
    let mut readings = Vec::new();
    for (number, gate) in policy.gates.iter().enumerate() {
        for (of, (failed, executed, _)) in groups(gate, stage, tally) {
            let judged = judge(gate.test, gate.threshold_bp, gate.min_executed, failed, executed);
            let judged = judged.map_err(|error| format!("gate {number} of {of}: {error}"))?;
            readings.push(GateReading { gate: number, of, threshold_bp: gate.threshold_bp, judged });
        }
    }
    Ok(readings)
}

/// The group in which a gate of this scope judges a device of a stage, model and site, while the rollout is in `stage`; none if it
/// does not judge the device.
pub fn group_of(scope: Scope, stage: usize, (of_stage, model, site): (usize, &str, &str)) -> Option<String> {
    if of_stage > stage {
        return None;
    }
    Some(match scope {
        Scope::Cumulative => "all".to_owned(),
        Scope::Stage if of_stage != stage => return None,
        Scope::Stage => format!("stage {}", stage + 1),
        Scope::Model => model.to_owned(),
        Scope::Site => site.to_owned(),
        Scope::Stratum => format!("{model} at {site}"),
    })
}

/// The groups that a gate judges: failed devices, executed devices, and devices of the group by this stage.
fn groups(gate: &Gate, stage: usize, tally: &Tally) -> BTreeMap<String, (u32, u32, u32)> {
    let mut groups: BTreeMap<String, (u32, u32, u32)> = BTreeMap::new();
    for cell in &tally.cells {
        let Some(of) = group_of(gate.scope, stage, cell.place()) else { continue };
        let (failed, executed, devices) = groups.entry(of).or_default();
        *devices += cell.count; // withdrawn devices too: they must not make a group too small to hold up the stage
        if let Some(outcome) = cell.state.outcome() {
            *executed += cell.count;
            *failed += if gate.outcomes.contains(&outcome) { cell.count } else { 0 };
        }
    }
    groups
}

/// The groups that are large enough to hold a stage up.
pub(super) fn large_groups(gate: &Gate, stage: usize, tally: &Tally) -> BTreeSet<String> {
    let groups = groups(gate, stage, tally).into_iter();
    groups.filter(|(_, (_, _, devices))| *devices >= gate.min_executed).map(|(of, _)| of).collect()
}

/// Whether all gates let the stage pass: no group fails, and each group that is large enough to be judged passes. A smaller group
/// can only fail; but at least one group must pass.
pub(super) fn passes(policy: &Policy, stage: usize, tally: &Tally, readings: &[GateReading]) -> bool {
    policy.gates.iter().enumerate().all(|(number, gate)| {
        let large = large_groups(gate, stage, tally);
        let of_gate = || readings.iter().filter(|reading| reading.gate == number);
        let is_large = |reading: &GateReading| large.contains(&reading.of);
        of_gate().any(|reading| reading.judged.verdict == Verdict::Pass)
            && of_gate().filter(|reading| is_large(reading)).all(|reading| reading.judged.verdict == Verdict::Pass)
    })
}

/// Of several failed gates, the one with the strongest action: a pause must not keep another gate from aborting.
pub(super) fn strongest_failure<'a>(policy: &Policy, readings: &'a [GateReading]) -> Option<(Action, &'a GateReading)> {
    let action_of = |reading: &GateReading| policy.gates.get(reading.gate).map_or(Action::Pause, |gate| gate.action);
    let failed = readings.iter().filter(|reading| reading.judged.verdict == Verdict::Fail);
    let strongest = failed.max_by_key(|reading| (action_of(reading), std::cmp::Reverse(reading.gate)));
    strongest.map(|reading| (action_of(reading), reading))
}

/// Whether the gates pass as well if every suspect is lost: an outcome that may still change is no evidence.
pub(super) fn passes_without_suspects(policy: &Policy, stage: usize, tally: &Tally) -> bool {
    if tally.suspects.is_empty() {
        return true;
    }
    let lost = tally.with_suspects_lost();
    let readings = read_gates(policy, stage, &lost).unwrap_or_default();
    let is_failed = readings.iter().any(|reading| reading.judged.verdict == Verdict::Fail);
    !is_failed && passes(policy, stage, &lost, &readings)
}

impl fmt::Display for GateReading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GateResult { failed, executed, .. } = self.judged;
        let (whole, hundredths) = (self.threshold_bp / 100, self.threshold_bp % 100);
        write!(
            f,
            "gate {} of {}: {failed} of {} failed, the threshold is {whole}.{hundredths:02} %",
            self.gate + 1,
            self.of,
            counted(executed, "executed device")
        )
    }
}
