//! The decisions that answer whether the bug was found: the engine's first for which a gate failed, and what else was done.

use ks_reports::review::Action;

use super::{Target, With};
use crate::operator::{
    ObservedDecision,
    rollout_monitor::{decided_by, is_by_a_gate},
};

/// Most other decisions that are kept.
const OTHERS_MAX: usize = 10;

/// The decision that found the bug, if one did, and the others that held the rollout back or let it go on.
pub(super) fn actions(
    with: &With<'_>,
    decisions: &[ObservedDecision],
    targets: &[Target<'_>],
) -> (Option<Action>, Vec<Action>) {
    let found = decisions.iter().position(is_by_a_gate);
    let first_late = decisions.iter().position(|decision| decision.decision == "late").filter(|_| found.is_none());
    let is_other = |(index, decision): &(usize, &ObservedDecision)| {
        let holds_back = matches!(decision.decision.as_str(), "paused" | "resumed" | "aborted");
        let is_unjudged = decision.decision == "alert" && !is_by_a_gate(decision);
        Some(*index) != found && (holds_back || is_unjudged || Some(*index) == first_late)
    };
    let others = decisions.iter().enumerate().filter(is_other).take(OTHERS_MAX);
    let found = found.and_then(|index| decisions.get(index)).map(|decision| action(with, decision, targets));
    (found, others.map(|(_, decision)| action(with, decision, targets)).collect())
}

fn action(with: &With<'_>, decision: &ObservedDecision, targets: &[Target<'_>]) -> Action {
    let at = with.since_start(decision.at);
    let by_then = |of: fn(&Target<'_>) -> Option<std::time::Duration>| {
        let count = targets.iter().filter(|target| of(target).is_some_and(|then| then <= at)).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    };
    Action {
        at_s: at.as_secs_f64(),
        decision: decision.decision.clone(),
        stage: decision.stage,
        why: decision.why.clone(),
        is_engines: decision.is_engines(),
        gate: if is_by_a_gate(decision) { decided_by(decision) } else { None },
        installed: by_then(|target| target.installed_at),
        broken: by_then(|target| target.broke_at),
    }
}

/// When the rollout was completed, in seconds into the run.
pub(super) fn completed_at_s(with: &With<'_>, decisions: &[ObservedDecision]) -> Option<f64> {
    let completed = decisions.iter().find(|decision| decision.decision == "completed")?;
    Some(with.since_start(completed.at).as_secs_f64())
}
