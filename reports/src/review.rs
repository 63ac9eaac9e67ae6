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
    /// When it was completed; none if it was not.
    pub completed_at_s: Option<f64>,
    /// What answers whether the bug was found: the engine's first decision for which a gate failed, which paused or ended it or,
    /// after it was completed, alerted people.
    pub found: Option<Action>,
    /// The other decisions that held it back or let it go on, by people and by the engine, in order; not more than the first 10.
    pub others: Vec<Action>,
    /// When the release broke the first of the devices that this rollout installed it on.
    #[serde(default)]
    pub first_broke_at_s: Option<f64>,
    /// How many rollouts of the run had this release: each is counted by the devices that it installed the release on itself.
    #[serde(default)]
    pub rollouts_of_release: u64,
    /// What is assumed of targets that it did not get to, if it matters when they would have got it.
    #[serde(default)]
    pub assumed: Option<AssumedWithoutGate>,
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

/// When targets would have got a release that did not reach them, and between what numbers it would have harmed then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AssumedWithoutGate {
    /// The targets that did not get it.
    pub devices: u64,
    /// Not before: the policy did not allow it.
    pub from_s: f64,
    /// Until half as long after the stop as the policy's stages are expected to take, and half an hour.
    pub until_s: f64,
    /// Of all targets, those that it would have broken.
    pub breaks: Range,
    /// Of all targets, those on which it would have gone wrong.
    pub goes_wrong: Range,
    /// Of the spared devices, those that it would have broken.
    pub spared_breaks: Range,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    pub least: u64,
    pub most: u64,
}

impl Range {
    /// Whether both are the same.
    pub fn is_exact(&self) -> bool {
        self.least == self.most
    }
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
    /// `offered`, `confirmed`, `died`, `removed`, `LOST`; capital letters are what the server decided.
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
    /// The decision that ended the evidence: `aborted`, `paused`, `completed`, `watched`.
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
    pub trip: Option<GateTrip>,
    /// The threshold might have changed when a stage was promoted before that, and with it the evidence.
    pub is_uncertain: bool,
}

/// A gate that trips: the server acts on it within a second.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GateTrip {
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

/// A decision that held a rollout back or let it go on, or that alerted people.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Action {
    pub at_s: f64,
    /// `paused`, `resumed`, `aborted`, `alert`; `late` if failures were reported and no gate failed.
    pub decision: String,
    /// In which stage, from 0.
    pub stage: u32,
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
    /// What the release does to them once it is installed; if it was not, what it would have done when it is expected to have been.
    pub truth: Truth,
    /// It was installed on them.
    pub is_installed: bool,
    /// What had become of them when the run ended.
    pub fate: Fate,
    /// They are broken by it, or still have it, and the server had not heard from them for a while when the run ended.
    pub is_silent: bool,
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

/// What had become of a target of a release when the run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// The release was never installed on it.
    #[default]
    Without,
    /// The release was installed on it, and nothing else since.
    HasIt,
    /// It had the release, and runs other firmware now: it was rolled back, or took a later release.
    Rescued,
    /// The release broke it.
    Broken,
    /// It is gone for another reason: it was removed or revoked, or another release broke it.
    Gone,
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
    /// It had the release, and runs other firmware now.
    Rescued,
    /// It is gone for a reason other than the release.
    Gone,
    /// The release broke it.
    Broken,
}

impl TrueState {
    pub const ALL: [Self; 8] = [
        Self::Without,
        Self::Works,
        Self::OldFirmware,
        Self::Lies,
        Self::NotBrokenYet,
        Self::Rescued,
        Self::Gone,
        Self::Broken,
    ];

    /// In words, as the heading of a column.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Without => "Never had it",
            Self::Works => "Works",
            Self::OldFirmware => "Old firmware again",
            Self::Lies => "Lies",
            Self::NotBrokenYet => "Not broken yet",
            Self::Rescued => "Other firmware since",
            Self::Gone => "Gone otherwise",
            Self::Broken => "Broken",
        }
    }
}

/// States of an update that are failures.
const FAILURES: [&str; 6] = ["FAILED", "REJECTED", "TIMED_OUT", "LOST", "ROLLED_BACK", "FALSE_SUCCESS"];

impl Cell {
    /// What is true of these targets.
    pub fn true_state(&self) -> TrueState {
        match (self.fate, self.truth) {
            (Fate::Broken, _) => TrueState::Broken,
            (Fate::Gone, _) => TrueState::Gone,
            (Fate::Rescued, _) => TrueState::Rescued,
            (Fate::Without, _) => TrueState::Without,
            (Fate::HasIt, Truth::Good | Truth::InstallFails) => TrueState::Works,
            (Fate::HasIt, Truth::BootFails) => TrueState::OldFirmware,
            (Fate::HasIt, Truth::Lies) => TrueState::Lies,
            (Fate::HasIt, Truth::Bricks | Truth::Dies) => TrueState::NotBrokenYet,
        }
    }

    /// Its devices in the columns that they belong to.
    fn counts(&self) -> Counts {
        let is_gone = self.fate == Fate::Gone;
        [true, self.is_installed, self.is_confirmed(), self.is_failed(), self.is_broken(), self.is_silent, is_gone]
            .map(|is_in| if is_in { self.devices } else { 0 })
    }

    /// The release has broken them.
    pub fn is_broken(&self) -> bool {
        self.fate == Fate::Broken
    }

    /// They never got it, though they could have, and it did not fail on them.
    pub fn is_spared(&self) -> bool {
        self.fate == Fate::Without && !self.is_failed()
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
            TrueState::Rescued => self.is_failed() && !self.truth.is_bad(),
            TrueState::Without | TrueState::Gone => false,
        }
    }
}

/// Targets of a place by their outcome, in the order of [`COLUMNS`].
pub type Counts = [u64; 7];

/// What is counted of each place. The last one is shown only if there are any.
const COLUMNS: [&str; 7] = ["targets", "had it", "confirmed", "failed", "broken in truth", "silent", "gone otherwise"];

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
        rows.sort_by_key(|(_, [.., failed, broken, silent, _])| Reverse((*broken, *failed, *silent))); // stable
        rows
    }

    /// All of them together.
    pub fn sum(&self) -> Counts {
        self.cells.iter().map(Cell::counts).fold(Counts::default(), |sum, more| added(sum, &more))
    }

    /// The columns of a table of places.
    pub fn columns(&self) -> &'static [&'static str] {
        let [most @ .., _] = &COLUMNS;
        if self.count(|cell| cell.fate == Fate::Gone) == 0 { most } else { &COLUMNS }
    }

    /// Whether this moment is after it was completed.
    pub fn is_after_completion(&self, at_s: f64) -> bool {
        self.completed_at_s.is_some_and(|completed_at_s| at_s >= completed_at_s)
    }

    pub fn targets(&self) -> u64 {
        self.count(|_| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// What the server believes is wrong only where the release is to blame or to praise.
    #[test]
    fn a_device_that_is_gone_or_has_other_firmware_is_judged_by_what_the_release_did() {
        let cell =
            |believed: &str, truth: Truth, fate: Fate| Cell { fate, ..sample::cell("M", "s", believed, truth, 1) };
        let wrong = |believed, truth, fate| cell(believed, truth, fate).is_believed_wrongly();
        assert!(wrong("CONFIRMED", Truth::Dies, Fate::HasIt), "it will die");
        assert!(!wrong("CONFIRMED", Truth::Dies, Fate::Rescued), "it can no longer die of it");
        assert!(!wrong("LOST", Truth::Good, Fate::Gone), "it is lost, and the release is not to blame");
        assert!(wrong("LOST", Truth::Good, Fate::Rescued) && !wrong("FAILED", Truth::BootFails, Fate::Rescued));
        assert!(cell("HALTED", Truth::Bricks, Fate::Without).is_spared());
        assert!(!cell("HALTED", Truth::Bricks, Fate::Gone).is_spared(), "nothing spares what is gone");
    }

    #[test]
    fn devices_that_are_gone_have_a_column_if_there_are_any() {
        let mut of = sample::review();
        assert_eq!(of.columns().last(), Some(&"silent"));
        of.cells[0].fate = Fate::Gone;
        assert_eq!((of.columns().last(), of.sum()[6]), (Some(&"gone otherwise"), 100));
    }
}
