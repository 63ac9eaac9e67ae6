//! The review of a rollout, `review.json`: what a release manager asks once it is over, with what the server believed beside
//! what was true.
//!
//! The simulator writes it, because it alone knows the ground truth. Devices are counted in [`Cell`]s, from which every table of
//! the report is a sum; only devices with a story worth telling are named.

use std::cmp::Reverse;
use std::collections::BTreeMap;

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
    /// Devices that it harmed, or that the server believes harmed, in the order in which that happened; not more than the first
    /// 1,000.
    pub stories: Vec<DeviceStory>,
    /// How many such devices there are.
    pub stories_total: u64,
    /// What other thresholds of each gate would have done.
    pub thresholds: Vec<GateThresholds>,
}

/// What happened to a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DeviceStory {
    pub device_id: String,
    pub model: String,
    pub site: String,
    /// When it broke, or when the server noticed a failure, whichever came first.
    pub went_wrong_at_s: f64,
    /// In order of time.
    pub events: Vec<StoryEvent>,
    /// The state of its update in the end.
    pub believed: String,
    /// What the release does to it.
    pub truth: Truth,
    /// When the server last heard from it.
    pub last_seen_s: Option<f64>,
    /// The server had not heard from it for a while when the run ended.
    pub is_silent: bool,
}

/// Something that happened to a device.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StoryEvent {
    pub at_s: f64,
    /// `offered`, `confirmed`, `died`, `LOST`; capital letters are what the server decided.
    pub what: String,
}

/// What other thresholds of a gate would have done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GateThresholds {
    /// Number of the gate in the policy, from 0.
    pub gate: u32,
    /// Which devices it judges, in words.
    pub judges: String,
    /// Its test: `raw`, `clopper_pearson`, `sprt`.
    pub test: String,
    /// Its threshold, in basis points.
    pub threshold_bp: u16,
    /// Until when the evidence would have been the same; none if nothing ended the rollout.
    pub evidence_until_s: Option<f64>,
    /// The decision that ended the evidence: `aborted`, `paused`, `completed`.
    pub evidence_ends_with: Option<String>,
    /// Thresholds, the strictest first; none if the test does not use one, or if the server's decision does not follow from
    /// what was recovered of its evidence.
    pub rows: Vec<ThresholdOutcome>,
}

/// What a threshold would have done.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ThresholdOutcome {
    pub threshold_bp: u16,
    /// It is the gate's own.
    pub is_actual: bool,
    /// When it would have tripped; none if it would not have while the evidence lasts.
    pub trip: Option<Trip>,
    /// The threshold might have changed when a stage was promoted before that, and with it the evidence.
    pub is_uncertain: bool,
}

/// A gate that trips: the server acts on it within a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Trip {
    pub at_s: f64,
    /// The group that fails: `all`, `stage 1`, a model, a site, or both.
    pub of: String,
    pub failed: u64,
    /// Devices with an outcome.
    pub executed: u64,
    /// Targets that the release was installed on by then.
    pub installed: u64,
    /// Targets that it had broken by then.
    pub broken: u64,
    /// Targets that it was installed on by then and that it breaks, sooner or later.
    pub breaks: u64,
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

/// What is true of a target when the run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrueState {
    /// The release was never installed on it.
    Without,
    /// It runs the release, which works on it.
    Works,
    /// It booted the old firmware again.
    OldFirmware,
    /// It runs the old firmware and reports the new one.
    Lies,
    /// The release breaks it, and has not yet.
    NotBrokenYet,
    /// The release broke it.
    Broken,
}

impl TrueState {
    /// Every one.
    pub const ALL: [Self; 6] =
        [Self::Without, Self::Works, Self::OldFirmware, Self::Lies, Self::NotBrokenYet, Self::Broken];

    /// In words, as the heading of a column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Without => "Never had it",
            Self::Works => "Works",
            Self::OldFirmware => "Old firmware again",
            Self::Lies => "Lies",
            Self::NotBrokenYet => "Not broken yet",
            Self::Broken => "Broken",
        }
    }
}

/// States of an update that are failures.
const FAILURES: [&str; 6] = ["FAILED", "REJECTED", "TIMED_OUT", "LOST", "ROLLED_BACK", "FALSE_SUCCESS"];

impl Cell {
    /// What is true of these targets.
    pub fn true_state(&self) -> TrueState {
        match self.truth {
            _ if self.is_broken => TrueState::Broken,
            _ if !self.is_installed => TrueState::Without,
            Truth::Good | Truth::InstallFails => TrueState::Works,
            Truth::BootFails => TrueState::OldFirmware,
            Truth::Lies => TrueState::Lies,
            Truth::Bricks | Truth::Dies => TrueState::NotBrokenYet,
        }
    }

    /// Its devices in the columns that they belong to.
    fn counts(&self) -> Counts {
        [true, self.is_installed, self.is_confirmed(), self.is_failed(), self.is_broken, self.is_silent]
            .map(|is_in| if is_in { self.devices } else { 0 })
    }

    /// The server believes that the update was confirmed.
    pub fn is_confirmed(&self) -> bool {
        self.believed == "CONFIRMED"
    }

    /// The server believes that the update failed.
    pub fn is_failed(&self) -> bool {
        FAILURES.contains(&self.believed.as_str())
    }

    /// The server believes the contrary of what is true: that the release works where it does not, or fails where it works.
    pub fn is_believed_wrongly(&self) -> bool {
        match self.true_state() {
            TrueState::Broken | TrueState::Lies | TrueState::OldFirmware | TrueState::NotBrokenYet => {
                self.is_confirmed()
            }
            TrueState::Works => self.is_failed(),
            TrueState::Without => false,
        }
    }
}

/// Targets of a place by their outcome: all, that had it, confirmed, failed, broken in truth, silent.
pub type Counts = [u64; 6];

/// The sum of some places.
pub fn sum(places: &[(String, Counts)]) -> Counts {
    places.iter().fold(Counts::default(), |sum, (_, more)| added(sum, more))
}

fn added(mut sum: Counts, more: &Counts) -> Counts {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
    sum
}

impl RolloutReview {
    /// Number of targets in cells that match.
    pub fn count(&self, matches: impl Fn(&Cell) -> bool) -> u64 {
        self.cells.iter().filter(|cell| matches(cell)).map(|cell| cell.devices).sum()
    }

    /// The targets of each place by their outcome, the worst place first.
    pub fn counted(&self, place: impl Fn(&Cell) -> String) -> Vec<(String, Counts)> {
        let mut counts: BTreeMap<String, Counts> = BTreeMap::new();
        for cell in &self.cells {
            let sum = counts.entry(place(cell)).or_default();
            *sum = added(*sum, &cell.counts());
        }
        let mut rows: Vec<(String, Counts)> = counts.into_iter().collect();
        rows.sort_by_key(|(_, [.., failed, broken, silent])| Reverse((*broken, *failed, *silent))); // stable
        rows
    }

    /// All of them together.
    pub fn sum(&self) -> Counts {
        self.cells.iter().map(Cell::counts).fold(Counts::default(), |sum, more| added(sum, &more))
    }

    /// Number of targets.
    pub fn targets(&self) -> u64 {
        self.count(|_| true)
    }
}
