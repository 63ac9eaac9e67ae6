//! The page's answers to a release manager's questions about each rollout, in their order.

use super::{section, text};
use crate::answers;
use crate::moments::Moments;
use crate::number::grouped;
use crate::review::RolloutReview;
use crate::run::Run;

/// Limit of rollouts on the page.
const ROLLOUTS_MAX: usize = 10;

/// The sections of all rollouts, that of the verdict first; empty if nothing was reviewed.
pub(super) fn sections(run: &Run) -> String {
    let moments = Moments::since(&run.summary.started_at);
    let worst = run.summary.rollout.as_ref().map(|rollout| rollout.rollout_id.as_str());
    let mut rollouts: Vec<&RolloutReview> = run.review.iter().flat_map(|review| &review.rollouts).collect();
    rollouts.sort_by_key(|rollout| Some(rollout.rollout_id.as_str()) != worst); // stable: the others keep their order
    let is_one = rollouts.len() == 1;
    let each = rollouts.iter().take(ROLLOUTS_MAX).map(|rollout| of_rollout(rollout, moments, is_one));
    let more = rollouts.len().saturating_sub(ROLLOUTS_MAX);
    let note = if more > 0 {
        section("", "More rollouts", &format!("<p>{} more are in review.json.</p>\n", grouped(more as u64)))
    } else {
        String::new()
    };
    each.collect::<String>() + &note
}

fn of_rollout(of: &RolloutReview, moments: Moments, is_one: bool) -> String {
    let whose = |question: &str| {
        if is_one { question.to_owned() } else { format!("{}: {question}", of.rollout_id) }
    };
    let answer = |sentences: &str| format!("<p>{}</p>\n", text(sentences));
    let sections = [
        section("", &whose("What was rolled out"), &(answer(&answers::what(of, moments)) + &policy(of))),
        section("", &whose("Was the bug found?"), &answer(&answers::found(of, moments))),
        section("", &whose("Without the gate"), &answer(&answers::without_gate(of))),
    ];
    sections.concat()
}

/// The policy in sentences, with the devices that each stage adds.
fn policy(of: &RolloutReview) -> String {
    let adds: Vec<String> = of.stage_devices.iter().map(|devices| grouped(*devices)).collect();
    let items: String = of.policy.iter().map(|sentence| format!("<li>{}</li>\n", text(sentence))).collect();
    format!(
        "<h3>Policy</h3>\n<ul>\n{items}</ul>\n<p class=\"muted\">Devices that the stages add: {}.</p>\n",
        adds.join(", ")
    )
}
