//! The review of a rollout, `review.json`: what a release manager asks once it is over, with what the server believed beside
//! what was true.
//!
//! The simulator writes it, because it alone knows the ground truth. Devices are counted in [`Cell`]s, from which every table of
//! the report is a sum; only devices with a story worth telling are named.

use serde::{Deserialize, Serialize};

use crate::run_folder::GateSample;

/// File name of the [`Review`]; only of a run that rolls firmware out.
pub const REVIEW: &str = "review.json";

/// The rollouts of a run, reviewed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Review {
    /// A device that was not heard from for this long at the end of the run is silent, in seconds.
    pub silent_after_s: f64,
    /// In the order of their start.
    pub rollouts: Vec<RolloutReview>,
}

/// One rollout. All times are seconds into the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutReview {
    pub rollout_id: String,
    /// The release's version.
    pub release: String,
    /// Its state when the run ended.
    pub state: String,
    pub started_at_s: f64,
    /// Until when it was observed: the end of the run.
    pub observed_until_s: f64,
    /// The policy, a sentence each.
    pub policy: Vec<String>,
    /// Devices that each stage adds.
    pub stage_devices: Vec<u64>,
    /// What stopped it first; none if nothing did.
    pub stop: Option<Stop>,
    /// Its targets, counted; each device is in one cell.
    pub cells: Vec<Cell>,
}

/// The first decision that paused or ended a rollout.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    pub at_s: f64,
    /// `paused`, `aborted`.
    pub decision: String,
    /// In which stage, from 0.
    pub stage: u32,
    /// Why, in words.
    pub why: String,
    /// The engine decided it, and not a person.
    pub is_engines: bool,
    /// The gate that decided it; none if a person or no gate did.
    pub gate: Option<GateSample>,
    /// Targets that it was installed on by then.
    pub installed: u64,
    /// Targets that it had really broken by then.
    pub broken: u64,
}

/// Targets that have the same model, site and fate.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    pub model: String,
    pub site: String,
    /// What the server believes: the state of the update, `CONFIRMED`, `LOST`, `PENDING`.
    pub believed: String,
    /// What the release does to them once it is installed, whether or not it was.
    pub truth: Truth,
    /// It was installed on them.
    pub is_installed: bool,
    /// It has broken them.
    pub is_broken: bool,
    /// It was installed on them, and the server had not heard from them for a while when the run ended.
    pub is_silent: bool,
    /// How many.
    pub devices: u64,
}

/// What a release does to a device: ground truth, which the server does not know.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Truth {
    /// It runs the new firmware.
    #[default]
    Good,
    /// Writing it into the slot fails; the old firmware goes on.
    InstallFails,
    /// It does not boot; the old firmware runs again.
    BootFails,
    /// It never comes back.
    Bricks,
    /// It runs the new firmware and dies later.
    Dies,
    /// It reports the new firmware and runs the old one.
    Lies,
}

impl Truth {
    /// Every one.
    pub const ALL: [Self; 6] = [Self::Good, Self::InstallFails, Self::BootFails, Self::Bricks, Self::Dies, Self::Lies];

    /// Whether the device is lost to its owner: it bricks, or dies later.
    pub fn breaks(self) -> bool {
        matches!(self, Self::Bricks | Self::Dies)
    }

    /// Whether anything is wrong.
    pub fn is_bad(self) -> bool {
        self != Self::Good
    }
}

impl RolloutReview {
    /// Number of targets in cells that match.
    pub fn count(&self, matches: impl Fn(&Cell) -> bool) -> u64 {
        self.cells.iter().filter(|cell| matches(cell)).map(|cell| cell.devices).sum()
    }

    /// Number of targets.
    pub fn targets(&self) -> u64 {
        self.count(|_| true)
    }
}
