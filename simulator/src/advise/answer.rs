//! The advice: policies with their numbers, as a table and in words.

use std::time::Duration;

use ks_protocol::duration;
use ks_reports::advice::RehearsedPolicy;
use ks_server::rollout::{plan::percent, policy::WHOLE_BP};

use super::{Advice, AdvisedPolicy, BugToFind, SLOW_START};
use crate::number::{counted, grouped};

/// Per cent with so many decimals.
pub(crate) fn per_cent(chance: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", chance * 100.0)
}

fn time(seconds: u64) -> String {
    duration::format(Duration::from_secs(seconds.div_ceil(60) * 60))
}

/// The answer in lines of text.
pub fn text(of: &Advice) -> String {
    let BugToFind { detect_bp, group, with_bp, within_s, .. } = &of.question;
    let mut lines = vec![
        format!(
            "To find a bug that breaks {} of {group} ({} of {}), with {}, within {}:",
            percent(*detect_bp),
            counted(of.devices, "device"),
            grouped(of.targets),
            percent(*with_bp),
            duration::format(Duration::from_secs(*within_s))
        ),
        format!(
            "- Of fewer than {} no policy can: 1 - (1 - {})^{} is the first that reaches {}.",
            counted(of.smallest, "device"),
            f64::from(*detect_bp) / 10_000.0,
            of.smallest,
            percent(*with_bp)
        ),
        format!("- The bake times follow from the scenario: {}.", of.fails),
        limits_line(of),
        background_line(of),
        false_alarms_line(of),
    ];
    lines.retain(|line| !line.is_empty());
    lines.push(String::new());
    lines.extend(table(of));
    lines.push(String::new());
    lines.extend(of.rehearsed.as_ref().map(|tried| format!("Rehearsed: {}.\n", tried.state)));
    lines.extend(of.policies.iter().map(|own| format!("{}: {}", own.name, sentence(own))));
    lines.join("\n")
}

/// The pace and the limits of the policies.
fn limits_line(of: &Advice) -> String {
    let slow = of.policies.iter().find(|own| own.name == SLOW_START);
    let slow = slow.map(|own| format!("; {SLOW_START}: {}", counted(own.policy.starts_per_min, "start") + " a minute"));
    format!("- Pace and limits are those of the scenario's policy: {}{}.", of.limits, slow.unwrap_or_default())
}

/// Whether a policy has as few false alarms as wanted.
fn false_alarms_line(of: &Advice) -> String {
    let wanted_bp = of.question.false_alarms_bp;
    let wanted = f64::from(wanted_bp) / 10_000.0;
    if of.policies.iter().any(|own| own.false_alarms <= wanted) {
        return String::new();
    }
    format!("- No policy has false alarms below {}: there are too few devices, or too little time.", percent(wanted_bp))
}

fn background_line(of: &Advice) -> String {
    let chances = of.policies.iter().map(|own| own.background);
    let (least, most) = chances.fold((1.0_f64, 0.0_f64), |(least, most), own| (least.min(own), most.max(own)));
    let (least, most) = (per_cent(least, 2), per_cent(most, 2));
    let at = if least == most { most } else { format!("{least} to {most}") };
    if of.is_background_known {
        format!(
            "- False alarms are counted with the scenario's background failures: {at} of good devices are lost within a rollout."
        )
    } else {
        format!(
            "- The scenario has no background failures: false alarms are counted with {at} of good devices failing by themselves, a tenth of the bug."
        )
    }
}

/// One row for each number, one column for each policy.
fn table(of: &Advice) -> Vec<String> {
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for (name, value) in CALCULATED {
        rows.push((name, of.policies.iter().map(value).collect()));
    }
    if let Some(rehearsed) = &of.rehearsed {
        for (name, value) in REHEARSED {
            rows.push((name, rehearsed.policies.iter().map(value).collect()));
        }
    }
    let width = rows.iter().flat_map(|(_, row)| row).map(String::len).max().unwrap_or(0);
    let line = |(name, row): (&str, Vec<String>)| {
        let row: Vec<String> = row.iter().map(|cell| format!("{cell:>width$}")).collect();
        format!("{name:<20}  {}", row.join("  "))
    };
    rows.into_iter().map(line).collect()
}

/// What a row of the table shows.
type Value<T> = fn(&T) -> String;

/// The calculated rows of the table.
const CALCULATED: [(&str, Value<AdvisedPolicy>); 9] = [
    ("", |of| of.name.clone()),
    ("canary", |of| format!("{} devices, {}", grouped(of.canary_devices), percent(of.canary.share_bp))),
    ("stops at", stops_at),
    ("finds it", |of| format!("{} or more", per_cent((of.found * 1_000.0).floor() / 1_000.0, 1))),
    ("found after at most", |of| time(of.found_after_s)),
    ("hit by then", |of| format!("{:.1}, 95 %: at most {}", of.hit, of.hit_at_most)),
    ("hit if all are", |of| grouped(of.first_step)),
    ("false alarms", |of| per_cent(of.false_alarms, 1)),
    ("good release takes", |of| format!("{} or more", time(of.duration_s))),
];

/// The rehearsed rows.
const REHEARSED: [(&str, Value<RehearsedPolicy>); 6] = [
    ("rehearsed: finds it", |of| of.found_in_canary.to_string()),
    ("  or later", |of| of.found.to_string()),
    ("  after", |of| median(of.found_after_s)),
    ("  broken", |of| format!("{}, 95 %: at most {}", of.broken.0, of.broken.1)),
    ("  false alarms", |of| of.false_alarms.to_string()),
    ("  good release takes", |of| median(of.duration_s)),
];

/// `1 failure of 113, then 4 of 573`: in the first step, and in the canary.
fn stops_at(of: &AdvisedPolicy) -> String {
    let canary = format!("{} of {}", of.canary.failures, grouped(of.canary_of_group));
    if of.policy.stages.len() > 2 {
        return format!("{} of {}, then {canary}", of.first_step_stops_at, grouped(of.first_step));
    }
    canary
}

fn median(seconds: Option<f64>) -> String {
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.map_or_else(|| "-".to_owned(), |of| self::time(of.as_secs()))
}

/// Its steps, and what it is good for.
pub fn sentence(of: &AdvisedPolicy) -> String {
    let steps: Vec<String> = of
        .policy
        .stages
        .iter()
        .map(|stage| format!("{} for {}", percent(stage.share_bp), time(stage.bake_s)))
        .collect();
    let most = of.canary.share_bp > WHOLE_BP / 2;
    let most = if most {
        " Its canary is most of the fleet: a larger bug, or a smaller chance, needs fewer devices."
    } else {
        ""
    };
    format!(
        "{}; missed, the bug would hit about {:.0}. It tolerates {} of good devices failing by themselves.{most}",
        steps.join(", then "),
        of.hit_if_missed,
        per_cent(of.tolerates, 2)
    )
}
