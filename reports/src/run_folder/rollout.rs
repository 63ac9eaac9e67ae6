//! What a run keeps of its rollouts: samples of their state, their decisions, and their totals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A rollout at one moment: a line of `rollouts.ndjson`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RolloutSample {
    /// Seconds into the run.
    pub at_s: f64,
    pub rollout_id: String,
    /// Its state: `RUNNING`, `WAITING`, `PAUSED`, `ABORTED`, `ROLLING_BACK`, `COMPLETED`.
    pub state: String,
    /// The stage it is in, from 0.
    pub stage: u32,
    /// Number of its stages.
    pub stages: u32,
    /// Share of the targets that the stage offers the release to, in basis points.
    pub share_bp: u32,
    /// Devices that the rollout targets.
    pub targets: u64,
    /// Devices by the state of their update: `pending`, `offered`, `downloading`, `installing`, `confirming`, `confirmed`, `failed`,
    /// `rejected`, `timed_out`, `lost`, `rolled_back`, `false_success`.
    pub counts: BTreeMap<String, u64>,
    /// Devices by the firmware version that they report.
    pub versions: BTreeMap<String, u64>,
    /// Devices that the rollout's release has really broken so far: ground truth, which the server does not know.
    pub broken: u64,
    /// Readings of gates with at least one outcome; the one nearest to stopping the release first.
    #[serde(default)]
    pub gates: Vec<GateSample>,
}

/// A gate at one moment: the observation, its confidence band, and the verdict. Shares are in parts per million.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GateSample {
    /// Number of the gate in the policy, from 0.
    pub gate: u32,
    /// Which devices it judges: `all`, `stage 1`, a model, a site, or both.
    pub of: String,
    pub failed: u64,
    /// Devices with an outcome.
    pub executed: u64,
    /// Failures among the devices with an outcome.
    pub share_ppm: u64,
    /// Lower end of the confidence band of the true share; the share itself for a test without a band.
    pub lower_ppm: u64,
    /// Upper end of that band; likewise.
    pub upper_ppm: u64,
    /// The allowed share.
    pub threshold_ppm: u64,
    /// The smallest share at which it would have failed with as many executed devices: failures are whole devices, and before
    /// `min_executed` more of them are tolerated. None for a test that judges its band, and in folders from before this field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails_from_ppm: Option<u64>,
    /// `PASS`, `FAIL` or `INCONCLUSIVE`.
    pub verdict: String,
}

/// A decision about a rollout: a line of `decisions.ndjson`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutDecision {
    /// Seconds into the run.
    pub at_s: f64,
    pub rollout_id: String,
    /// The decision: `created`, `promoted`, `waiting`, `approved`, `paused`, `resumed`, `aborted`, `completed`, `withdrawn`.
    pub decision: String,
    /// The stage it was in, from 0.
    pub stage: u32,
    /// Why, in words, with the numbers.
    pub why: String,
    /// The gate that made it; none if an operator or no gate did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<GateSample>,
}

/// A decision against a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ActionTime {
    /// Seconds into the run.
    pub at_s: f64,
    /// `paused`, `aborted`, `alert`.
    pub decision: String,
    /// `gate 1 of all`, `the engine`, `a person`.
    pub by: String,
}

/// How a rollout ended, as it really was: the server knows only a part of this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RolloutSummary {
    pub rollout_id: String,
    /// The release's version (`1.1.0`).
    pub release: String,
    /// Its state when the run ended.
    pub state: String,
    /// Devices that the rollout targeted.
    pub targets: u64,
    /// Its release had other rollouts in the run, and the devices counted here are those that this one installed it on.
    #[serde(default)]
    pub is_one_of_several: bool,
    /// Devices that the release was installed on, including those that it broke: ground truth.
    #[serde(alias = "updated_devices")]
    pub installed_devices: u64,
    /// Devices that the release really bricked or killed: ground truth.
    pub broken_devices: u64,
    /// When the rollout was started, seconds into the run; none in summaries from before this field existed.
    #[serde(default)]
    pub started_at_s: Option<f64>,
    /// When the engine first acted against the release, seconds into the run.
    pub detected_at_s: Option<f64>,
    /// The first decision against it by anybody: it was paused, aborted, or people were alerted. None in older summaries.
    #[serde(default)]
    pub first_action: Option<ActionTime>,
    /// The decision that brought it to the state that it ended in, if that is aborted or paused. None in older summaries.
    #[serde(default)]
    pub last_action: Option<ActionTime>,
    /// When the first device broke, seconds into the run.
    pub first_broken_at_s: Option<f64>,
    /// When it was completed, seconds into the run.
    #[serde(default)]
    pub completed_at_s: Option<f64>,
}
