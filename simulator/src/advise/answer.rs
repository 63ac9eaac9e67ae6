//! The advice: policies with their numbers, as a table and in words.

use std::time::Duration;

use ks_protocol::duration;
use ks_server::rollout::{
    plan::percent,
    policy::{Policy, WHOLE_BP},
};
use serde::Serialize;

use super::{
    Question,
    rehearsed::{Rehearsed, RehearsedPolicy},
};
use crate::number::{counted, grouped};

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advice {
    pub question: Question,
    /// The devices that can have the bug.
    pub devices: u32,
    /// All that the rollout reaches.
    pub targets: u32,
    /// The fewest devices that can show the bug with the chance that is wanted.
    pub smallest: u32,
    /// When the scenario starts its rollout.
    #[serde(skip)]
    pub starts_at: Duration,
    /// How the scenario's firmware fails.
    pub fails: String,
    /// Whether good devices fail by themselves as in the scenario.
    pub is_background_known: bool,
    /// The smallest canary for each number of failures that a gate may wait for.
    pub canaries: Vec<Canary>,
    /// At least one.
    pub policies: Vec<Advised>,
    /// Their rehearsals, with the bug and without it; none yet, or none was wanted.
    pub rehearsed: Option<Rehearsed>,
}

/// The smallest canary for a gate that waits for so many failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Canary {
    /// The gate stops the rollout at this number.
    pub failures: u32,
    /// Devices of those that can have the bug that must have an outcome.
    pub needed: u32,
    /// Share of all devices that contains enough of them, in basis points.
    pub share_bp: u16,
}

/// A policy that finds the bug. Chances are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Advised {
    pub name: String,
    pub canary: Canary,
    /// All devices of the canary.
    pub canary_devices: u32,
    /// Those of them that can have the bug.
    pub canary_of_group: u32,
    /// The chance to find the bug in the canary, if only 90 % of its devices have an outcome.
    pub found: f64,
    /// The same if all have one.
    pub found_if_all_run: f64,
    /// How long after the start it is found at the latest, in seconds.
    pub found_after_s: u64,
    /// Devices that the bug hits until the canary ends, or the rollout is stopped before: expected.
    pub hit: f64,
    /// In 95 % of all cases at most.
    pub hit_at_most: u32,
    /// Expected if the bug is not found.
    pub hit_if_missed: f64,
    /// Devices of the first step that can have the bug: all are hit if the release breaks every device.
    pub first_step: u32,
    /// The number of failures in the first step at which the gate stops.
    pub first_step_stops_at: u32,
    /// How long the rollout of a good release takes at best, in seconds.
    pub duration_s: u64,
    /// The chance of a device to fail by itself within a rollout of a good release.
    pub background: f64,
    /// The chance to stop a good release by mistake because of them.
    pub false_alarms: f64,
    /// The highest chance of a device to fail by itself at which false alarms are as rare as wanted.
    pub tolerates: f64,
    pub policy: Policy,
}

/// Per cent with so many decimals.
pub(crate) fn per_cent(chance: f64, decimals: usize) -> String {
    format!("{:.decimals$} %", chance * 100.0)
}

fn time(seconds: u64) -> String {
    duration::format(Duration::from_secs(seconds.div_ceil(60) * 60))
}

impl Advice {
    /// The answer in lines of text.
    pub fn text(&self) -> String {
        let Question { detect_bp, group, with_bp, within, .. } = &self.question;
        let mut lines = vec![
            format!(
                "To find a bug that breaks {} of {group} ({} of {}), with {}, within {}:",
                percent(*detect_bp),
                counted(self.devices, "device"),
                grouped(self.targets),
                percent(*with_bp),
                duration::format(*within)
            ),
            format!(
                "- Of fewer than {} no policy can: 1 - (1 - {})^{} is the first that reaches {}.",
                counted(self.smallest, "device"),
                f64::from(*detect_bp) / 10_000.0,
                self.smallest,
                percent(*with_bp)
            ),
            format!("- The bake times follow from the scenario: {}.", self.fails),
            self.background_line(),
            self.false_alarms_line(),
        ];
        lines.retain(|line| !line.is_empty());
        lines.push(String::new());
        lines.extend(self.table());
        lines.push(String::new());
        lines.extend(self.rehearsed.as_ref().map(|of| {
            format!(
                "Rehearsed: {}.
",
                of.state
            )
        }));
        lines.extend(self.policies.iter().map(|of| format!("{}: {}", of.name, of.sentence())));
        lines.join("\n")
    }

    /// Whether a policy has as few false alarms as wanted.
    fn false_alarms_line(&self) -> String {
        let wanted_bp = self.question.false_alarms_bp;
        let wanted = f64::from(wanted_bp) / 10_000.0;
        if self.policies.iter().any(|of| of.false_alarms <= wanted) {
            return String::new();
        }
        format!(
            "- No policy has false alarms below {}: there are too few devices, or too little time.",
            percent(wanted_bp)
        )
    }

    fn background_line(&self) -> String {
        let chances = self.policies.iter().map(|of| of.background);
        let (least, most) = chances.fold((1.0_f64, 0.0_f64), |(least, most), of| (least.min(of), most.max(of)));
        let (least, most) = (per_cent(least, 2), per_cent(most, 2));
        let at = if least == most { most } else { format!("{least} to {most}") };
        if self.is_background_known {
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
    fn table(&self) -> Vec<String> {
        let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
        for (name, value) in CALCULATED {
            rows.push((name, self.policies.iter().map(value).collect()));
        }
        if let Some(rehearsed) = &self.rehearsed {
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
}

/// What a row of the table shows.
type Value<T> = fn(&T) -> String;

/// The calculated rows of the table.
const CALCULATED: [(&str, Value<Advised>); 9] = [
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
fn stops_at(of: &Advised) -> String {
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

impl Advised {
    /// Its steps, and what it is good for.
    pub fn sentence(&self) -> String {
        let steps: Vec<String> = self
            .policy
            .stages
            .iter()
            .map(|stage| format!("{} for {}", percent(stage.share_bp), time(stage.bake_s)))
            .collect();
        let most = self.canary.share_bp > WHOLE_BP / 2;
        let most = if most {
            " Its canary is most of the fleet: a larger bug, or a smaller chance, needs fewer devices."
        } else {
            ""
        };
        format!(
            "{}; missed, the bug would hit about {:.0}. It tolerates {} of good devices failing by themselves.{most}",
            steps.join(", then "),
            self.hit_if_missed,
            per_cent(self.tolerates, 2)
        )
    }
}
