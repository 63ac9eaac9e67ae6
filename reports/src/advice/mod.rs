//! Advice on rollout policies: what `advice.json` has, the rehearsals of what is advised, and the page.

mod folder;
mod page;
mod rehearsed;
#[cfg(test)]
mod sample;
pub(crate) mod words;

use serde::{Deserialize, Serialize};

pub use folder::{draw_advice, read_advice, write_advice};
pub use rehearsed::{Rehearsed, RehearsedPolicy, Share};

/// File name of the advice.
pub const ADVICE: &str = "advice.json";
/// File name of its page.
pub const ADVICE_PAGE: &str = "advice.html";

/// The answer to a question; `P` is what is read of a policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Advice<P = Stages> {
    pub scenario: String,
    pub question: BugToFind,
    /// The devices that can have the bug.
    pub devices: u32,
    /// All that the rollout reaches.
    pub targets: u32,
    /// The fewest devices that can show the bug with the chance that is wanted.
    pub smallest: u32,
    /// How the scenario's firmware fails.
    pub fails: String,
    /// Pace and limits of the policies, which are those of the scenario's policy.
    #[serde(default)]
    pub limits: String,
    /// Whether good devices fail by themselves as in the scenario.
    pub is_background_known: bool,
    /// The share of a canary's devices that has an outcome at the least, in basis points.
    pub executed_bp: u32,
    /// The smallest canary for each number of failures that a gate may wait for.
    pub canaries: Vec<Canary>,
    /// The chance to find the bug in canaries of other sizes.
    pub chances: Chances,
    /// At least one.
    pub policies: Vec<AdvisedPolicy<P>>,
    /// Their rehearsals, with the bug and without it; none yet, or none was wanted.
    pub rehearsed: Option<Rehearsed>,
    pub commands: Commands,
}

/// What a policy must find.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BugToFind {
    /// Share of the devices that the bug breaks, in basis points.
    pub detect_bp: u16,
    /// The devices that can have the bug.
    pub group: Group,
    /// The chance to find it, in basis points.
    pub with_bp: u16,
    /// How long after the rollout's start it must be found, in seconds.
    pub within_s: u64,
    /// The most false alarms, in basis points of good releases.
    pub false_alarms_bp: u16,
}

/// The devices that can have a bug.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    #[default]
    Fleet,
    Model(String),
    Site(String),
}

impl Group {
    /// The model, or the site, that it is.
    pub fn names(&self) -> (Option<&str>, Option<&str>) {
        match self {
            Self::Fleet => (None, None),
            Self::Model(model) => (Some(model), None),
            Self::Site(site) => (None, Some(site)),
        }
    }
}

impl std::fmt::Display for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Fleet => f.write_str("the fleet"),
            Self::Model(name) => write!(f, "model {name}"),
            Self::Site(name) => write!(f, "site {name}"),
        }
    }
}

/// The smallest canary for a gate that waits for so many failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Canary {
    /// The gate stops the rollout at this number.
    pub failures: u32,
    /// Devices of those that can have the bug that must have an outcome.
    pub needed: u32,
    /// Share of all devices that contains enough of them, in basis points.
    pub share_bp: u16,
}

/// Chances to find the bug by the size of the canary, from 0 to 1.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Chances {
    /// Devices of the canary that can have the bug, ascending.
    pub devices: Vec<u32>,
    /// The chance that the bug breaks any of so many: no policy can find it more often.
    pub at_most: Vec<f64>,
    /// For each number of failures at which an advised policy stops, if only `executed_bp` of the canary have an outcome.
    pub found: Vec<FoundAt>,
}

/// The chance that a gate which waits for so many failures finds the bug, for each size of a canary.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FoundAt {
    pub failures: u32,
    pub chances: Vec<f64>,
}

/// A policy that finds the bug. Chances are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AdvisedPolicy<P = Stages> {
    pub name: String,
    pub canary: Canary,
    /// All devices of the canary.
    pub canary_devices: u32,
    /// Those of them that can have the bug.
    pub canary_of_group: u32,
    /// The chance to find the bug in the canary, if only `executed_bp` of its devices have an outcome.
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
    pub policy: P,
}

/// What the page shows of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stages {
    pub stages: Vec<Stage>,
}

/// One stage of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stage {
    /// Share of all devices, in basis points.
    pub share_bp: u16,
    /// How long it is watched, in seconds.
    pub bake_s: u64,
}

/// Commands that repeat the advice, or go on from it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commands {
    pub advise: String,
    /// Rehearses one policy once, in the order of the policies.
    pub rehearse: Vec<String>,
    /// Scores all of them by trials.
    pub score: String,
}
