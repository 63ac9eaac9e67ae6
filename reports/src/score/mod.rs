//! Scores rollout policies by trials: how often each finds a bug, how many devices that costs, and how long a good release
//! takes.

mod compare;
mod folder;
mod interval;
mod markdown;
mod method;
mod page;
mod paired;
mod rank;
mod recommend;
mod sequential;
mod tally;
mod trial;
mod words;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use compare::{Comparison, Difference};
pub use folder::{draw_score, read_score, read_trials, write_lines, write_request, write_score};
pub use interval::limits;
pub(crate) use paired::mean_difference;
pub use trial::{Trial, TrialOutcome, TrialRollout};
pub use words::{comparisons, passes, state, table};
pub(crate) use words::{population, rate};

/// File name of the score.
pub const SCORE: &str = "score.json";
/// File name of the trials it is computed from, one a line.
pub const TRIALS: &str = "trials.ndjson";
/// File name of what the trials were begun with.
pub const TRIALS_REQUEST: &str = "trials.json";
/// File name of the page.
pub const SCORE_PAGE: &str = "score.html";
/// File name of the short form for a CI job's summary.
pub const SCORE_MARKDOWN: &str = "score.md";

/// What all trials of a score have in common.
#[derive(Debug, Clone, Default)]
pub struct ScoreSetup {
    pub scenario: String,
    /// The first seed; each trial of a cell takes the next.
    pub first_seed: u64,
    /// How documents are signed: `real` or `modelled`.
    pub signatures: String,
    pub policies: usize,
    /// Pairs of a policy and a rate of bugs.
    pub cells: usize,
    /// Trials of each pair.
    pub trials_per_cell: usize,
    /// The devices that the release can fail on, if not all.
    pub fails_only_on: Option<FailsOnlyOn>,
    /// Whether the scenario's own expectations are judged: neither policies nor bug rates were given.
    pub is_judged: bool,
    /// When they end early.
    pub until: Option<Goal>,
    pub state: State,
    /// When the page was drawn, RFC 3339; only while they run.
    pub drawn_at: Option<String>,
    /// The command that makes the trials that are missing, unless they are final.
    pub resume: Option<String>,
}

/// The devices that a release can fail on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailsOnlyOn {
    /// `model KS-200` or `site north`.
    pub which: String,
    /// About how much of the fleet they are, in basis points.
    pub share_of_fleet_bp: u32,
}

/// When trials end before all that were requested are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// Every policy is distinguished from every other one, at one bug rate at least.
    Distinguished,
    /// The limits of no share are further apart than this, in basis points.
    WidthBp(u16),
}

/// Whether trials still run, or how they ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Running,
    /// A person ended them.
    Interrupted,
    /// Their budget of real time was used up.
    OutOfTime,
    /// They ended early because the goal was reached.
    GoalReached,
    /// All that were requested were made.
    #[default]
    Finished,
}

impl State {
    /// Whether nothing remains to be done.
    pub fn is_final(self) -> bool {
        matches!(self, Self::GoalReached | Self::Finished)
    }
}

/// The trials of one policy with one rate of bugs, summed up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cell {
    /// Devices that the release fails on, of those that it can fail on, in basis points.
    pub bug_rate_bp: u32,
    pub trials: usize,
    /// Trials in which the engine acted against the release before it had reached every target; for a good release, false alarms.
    pub detected: usize,
    /// Limits of the true share of those, with 95 % confidence.
    pub detected_limits: (f64, f64),
    /// Trials in which the release reached every target.
    pub completed: usize,
    pub broken_median: u64,
    /// Devices broken, 95th percentile.
    pub broken_p95: u64,
    /// Time until the engine acted, median of the trials in which it did, seconds.
    pub detection_median_s: Option<f64>,
    /// The same, 95th percentile; none in scores from before this field existed.
    #[serde(default)]
    pub detection_p95_s: Option<f64>,
    /// Time until the release had reached every target, median of the trials in which it did, seconds.
    pub completion_median_s: Option<f64>,
}

impl Cell {
    /// Share of the trials in which the engine acted, from 0 to 1; zero without trials.
    pub fn detected_share(&self) -> f64 {
        if self.trials == 0 { 0.0 } else { self.detected as f64 / self.trials as f64 }
    }
}

/// A policy's cells, by rising rate of bugs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PolicyScore {
    pub policy: String,
    /// One for each rate.
    pub cells: Vec<Cell>,
}

/// The results of all trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    pub scenario: String,
    /// Devices of the fleet.
    pub devices: u64,
    /// The first seed; each trial of a cell takes the next.
    pub first_seed: u64,
    /// How documents were signed: `real` or `modelled`.
    pub signatures: String,
    /// Trials requested for each policy and rate; fewer were made if the user ended them early. Zero in scores from before this
    /// field existed.
    #[serde(default)]
    pub trials_per_cell: usize,
    /// Pairs of a policy and a rate requested; likewise.
    #[serde(default)]
    pub cells: usize,
    /// The devices that the release can fail on, if not all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails_only_on: Option<FailsOnlyOn>,
    /// By policy, in the order they were given.
    pub policies: Vec<PolicyScore>,
    /// Violations of the server's invariants in all trials.
    pub invariant_violations: u64,
    pub recommendation: String,
    /// Whether trials still run, or how they ended.
    #[serde(default)]
    pub state: State,
    /// Trials made of all policies and rates.
    #[serde(default)]
    pub trials_made: usize,
    /// When they end early.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Goal>,
    /// How many met the scenario's own expectations; none if policies or bug rates were given, since a score does not judge those.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passes: Option<Passes>,
    /// Each two policies with each rate, on the seeds that both were tried with.
    #[serde(default)]
    pub comparisons: Vec<Comparison>,
    /// When the page was drawn, RFC 3339; only while trials run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn_at: Option<String>,
    /// The command that makes the trials that are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
}

/// Most failed trials that a score lists.
pub const FAILED_MAX: usize = 10;

/// How many trials passed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Passes {
    pub passed: usize,
    pub trials: usize,
    /// Limits of the true share of those that pass, with 95 % confidence.
    pub limits: (f64, f64),
    /// The first [`FAILED_MAX`] that did not pass.
    pub failed: Vec<FailedTrial>,
}

/// A trial that did not pass.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedTrial {
    pub seed: u64,
    pub reasons: Vec<String>,
    /// A command that repeats it.
    pub replay: String,
}

impl Score {
    /// Every rate of bugs that was tried, in basis points, the smallest first.
    pub(crate) fn rates(&self) -> Vec<u32> {
        let rates: BTreeSet<u32> = self.policies.iter().flat_map(|of| &of.cells).map(|cell| cell.bug_rate_bp).collect();
        rates.into_iter().collect()
    }
}
