//! The page's section on a rollout of firmware: its blast radius in numbers, its plots, and each decision with its reason.

use super::{labelled_cell, name_cell, pictures, table, text};
use crate::number::{grouped, share, span};
use crate::plot::Figure;
use crate::run::Run;
use crate::run_folder::{RolloutDecision, RolloutSummary};

/// Limit of decisions on the page; a flapping rollout can make thousands.
const DECISIONS_MAX: usize = 200;

/// The section; empty if the run had no rollout.
pub(super) fn section(run: &Run, figures: &[&Figure]) -> String {
    let (summary, devices) = (run.summary.rollout.as_ref(), run.summary.devices);
    let decisions = &run.rollouts.decisions;
    let mut drawn = figures.iter().copied().filter(|figure| figure.is_of_rollout).peekable();
    if summary.is_none() && decisions.is_empty() && drawn.peek().is_none() {
        return String::new();
    }
    let mut body = summary.map(|of| numbers(of, devices)).unwrap_or_default();
    if drawn.peek().is_some() {
        body += &pictures(drawn);
    }
    body += &trace(decisions);
    super::section("plots", "Rollout", &body)
}

/// The blast radius in numbers, in a fleet of `devices`.
fn numbers(of: &RolloutSummary, devices: u64) -> String {
    let into_the_run = |at_s: Option<f64>| at_s.map_or("–".to_owned(), span);
    let [of_those, of_all] = [of.installed_devices, devices].map(|whole| share(of.broken_devices, whole));
    let broken = format!("{of_those} of those that installed it, {of_all} of the fleet of {}", grouped(devices));
    let first_at_s = of.first_action.as_ref().map_or(of.detected_at_s, |first| Some(first.at_s));
    let when =
        first_at_s.and_then(|at_s| of.since_the_first_broke(at_s)).map_or_else(String::new, |when| format!(",{when}"));
    let what = of.first_action.as_ref().map_or_else(String::new, |first| {
        format!(": {} by {}", if first.decision == "alert" { "people alerted" } else { &first.decision }, first.by)
    });
    let act = format!("into the run{when}{what}");
    let figures = [
        ("Release", of.release.clone(), format!("rollout {}", of.rollout_id)),
        ("State", of.state.replace('_', " ").to_lowercase(), "in the end".into()),
        (
            "Devices that installed it",
            grouped(of.installed_devices),
            format!("{} of {} targets", share(of.installed_devices, of.targets), grouped(of.targets)),
        ),
        ("Devices really broken", grouped(of.broken_devices), broken),
        ("First device broke", into_the_run(of.first_broken_at_s), "into the run".into()),
        ("First action against it", into_the_run(first_at_s), act),
    ];
    let figures = figures.map(|(name, value, more)| {
        format!("<div><dt>{name}</dt><dd>{}<small>{}</small></dd></div>\n", text(&value), text(&more))
    });
    format!("<dl class=\"figures\">\n{}</dl>\n", figures.concat())
}

/// Each decision with its reason.
fn trace(decisions: &[RolloutDecision]) -> String {
    if decisions.is_empty() {
        return String::new();
    }
    let is_one =
        decisions.iter().all(|decision| decisions.first().is_some_and(|of| of.rollout_id == decision.rollout_id));
    let row = |decision: &RolloutDecision| {
        let whose = if is_one { String::new() } else { format!(" · {}", decision.rollout_id) };
        format!(
            "{}{}{}<td>{}</td>",
            name_cell(&(decision.decision.replace('_', " ") + &whose)),
            labelled_cell("after", &span(decision.at_s)),
            labelled_cell("stage", &(u64::from(decision.stage) + 1).to_string()),
            text(&decision.why),
        )
    };
    let rows: Vec<String> = decisions.iter().take(DECISIONS_MAX).map(row).collect();
    let body = table("cards", "Decisions", &["Decision", "#After", "#Stage", "Why"], &rows);
    let more = decisions.len().saturating_sub(DECISIONS_MAX);
    let note = if more > 0 {
        format!("<p class=\"muted\">{} more are in decisions.ndjson.</p>\n", grouped(more as u64))
    } else {
        String::new()
    };
    format!("<h3>Decisions</h3>\n{body}{note}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_run_without_a_rollout_has_no_such_section() {
        assert_eq!(section(&Run::new(sample::summary(), &[], None), &[]), "");
    }

    #[test]
    fn decisions_are_escaped_and_bounded() {
        let decision = RolloutDecision {
            at_s: 60.0,
            rollout_id: "rol-1".into(),
            decision: "<b>".into(),
            stage: 0,
            why: "<script>".into(),
            gate: None,
        };
        let mut summary = sample::summary();
        summary.rollout = Some(sample::rollout());
        let run = Run::new(summary, &[], None).with_rollouts(&[], vec![decision; 250]);
        let page = section(&run, &[]).replace('\u{a0}', " ");
        assert!(!page.contains("<script") && !page.contains("<b>") && page.contains("&lt;script&gt;"));
        assert!(
            page.contains("50 more are in decisions.ndjson")
                && page.contains("4.67 % of those that installed it, 0.70 % of the fleet of 1 000"),
            "{page}"
        );
    }
}
