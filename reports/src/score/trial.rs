//! One trial: a line of `trials.ndjson`, from which everything else is computed.

use serde::{Deserialize, Serialize};

use crate::run_folder::Verdict;

/// How a trial's rollout ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TrialOutcome {
    /// Stopped for good.
    Aborted,
    /// Stopped until an operator decides.
    Paused,
    /// The release reached every target.
    Completed,
    /// The scenario was over before the rollout was.
    Running,
}

/// One rehearsal of one policy with one rate of bugs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// The policy's name; `none` if the scenario rolls nothing out.
    pub policy: String,
    /// Devices that the release fails on, of those that it can fail on, in basis points.
    pub bug_rate_bp: u32,
    pub seed: u64,
    /// The verdict of the scenario's own expectations.
    pub verdict: Verdict,
    /// Why it did not pass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// Devices of the fleet.
    pub devices: u64,
    /// Its first rollout; none if the scenario rolls nothing out.
    #[serde(flatten)]
    pub rollout: Option<TrialRollout>,
    /// Violations of the server's invariants.
    pub invariant_violations: u64,
    /// How long it took in real time, in seconds: the only number that differs if it is made again.
    #[serde(default)]
    pub wall_s: f64,
    /// A command that repeats the trial.
    pub replay: String,
}

/// A trial's rollout. Times are seconds into the run, as in its `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrialRollout {
    pub outcome: TrialOutcome,
    /// Devices that it really broke.
    pub broken_devices: u64,
    /// Devices that the release was installed on.
    pub installed_devices: u64,
    /// When it was started.
    pub started_at_s: f64,
    /// When the first device broke.
    pub first_broken_at_s: Option<f64>,
    /// When the engine first acted against the release.
    pub detected_at_s: Option<f64>,
    /// When the release had reached every target.
    pub completed_at_s: Option<f64>,
}

/// The longest rehearsal lasts 90 days.
const SECONDS_MAX: f64 = 91.0 * 86_400.0;

impl Trial {
    /// Whether its times are those that a rehearsal can have.
    pub fn has_possible_times(&self) -> bool {
        if !(self.wall_s.is_finite() && self.wall_s >= 0.0) {
            return false;
        }
        let Some(rollout) = &self.rollout else { return true };
        let times =
            [rollout.first_broken_at_s, rollout.detected_at_s, rollout.completed_at_s, Some(rollout.started_at_s)];
        times.into_iter().flatten().all(|at_s| (0.0..=SECONDS_MAX).contains(&at_s))
    }
}

impl TrialRollout {
    /// Whether the engine acted against the release before it had reached every target.
    pub(super) fn is_found(&self) -> bool {
        self.detected_at_s.is_some() && self.outcome != TrialOutcome::Completed
    }
}
