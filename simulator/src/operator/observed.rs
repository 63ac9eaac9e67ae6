//! What an operator sees of rollouts: what the admin API shows, with the fields that a report needs.

use std::collections::BTreeMap;

use ks_protocol::{
    id::{DeviceId, RolloutId},
    time::UnixMs,
};
use ks_server::rollout::{policy::Policy, update::UpdateState};
use serde::Deserialize;

/// A rollout, with the fields that a report needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ObservedRollout {
    pub rollout_id: RolloutId,
    /// The version that it rolls out.
    pub version: String,
    /// Whether it goes on.
    pub status: String,
    /// The stage, from 0.
    pub stage: u32,
    /// How many there are.
    pub stages: u32,
    /// The share of devices that it is offered to.
    pub share_bp: u32,
    /// Number of targeted devices.
    pub targets: u64,
    /// Devices by update state.
    pub updates: BTreeMap<String, u64>,
    /// Devices by the version that they report.
    pub versions: BTreeMap<String, u64>,
    /// What each gate says.
    pub gates: Vec<ObservedGate>,
    pub policy: Policy,
}

/// A device's update, with the fields that a report needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ObservedUpdate {
    pub device_id: DeviceId,
    pub model: String,
    pub site: String,
    /// The device's stage, from 0.
    pub stage: usize,
    pub state: UpdateState,
    pub offered_at: Option<UnixMs>,
    /// When its heartbeats began to show the new firmware.
    pub confirming_since: Option<UnixMs>,
    /// When it reached its state, if that is an end.
    pub ended_at: Option<UnixMs>,
    pub last_seen_at: Option<UnixMs>,
}

/// A gate's reading, with the fields that a report needs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ObservedGate {
    /// Number of the gate in the policy, from 0.
    pub gate: u32,
    pub of: String,
    pub threshold_bp: u64,
    pub verdict: String,
    pub failed: u64,
    /// Devices with an outcome.
    pub executed: u64,
    /// The share of failures.
    pub share_ppm: u64,
    pub lower_ppm: u64,
    pub upper_ppm: u64,
}

/// A decision of the engine or an operator.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct ObservedDecision {
    pub at: UnixMs,
    pub actor: String,
    pub decision: String,
    /// In which stage, from 0.
    pub stage: u32,
    pub why: String,
    /// Silent devices, in a promotion or completion: every gate passed even if all of them were lost.
    pub silent: u32,
    /// What every gate said.
    pub gates: Vec<ObservedGate>,
}

impl ObservedDecision {
    /// The engine made it, and not a person.
    pub fn is_engines(&self) -> bool {
        self.actor == "rollout-engine"
    }
}
