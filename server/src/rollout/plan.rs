//! All that can be said of a rollout before anything happens: who is in which stage, who is left out and why, how long it takes
//! at best, and what its gates can prove.

use std::collections::BTreeMap;

use ks_protocol::{
    document,
    id::{DeviceId, RolloutId},
    manifest::{FW_SIG, Manifest},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    policy::{Policy, Scope, WHOLE_BP},
    power::{Power, power},
    share::places,
};
use crate::store::{
    releases::ReleaseRecord,
    rollouts::{Candidate, QUARANTINE_FAILURES, Target},
};

/// Devices of the first stage that are named at most.
const NAMED_MAX: usize = 1_000;

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Plan {
    /// Devices that would get the release.
    pub targets: u32,
    /// Devices that the selector means and that would not, by the reason.
    pub left_out: BTreeMap<&'static str, u32>,
    /// The stages, in order.
    pub stages: Vec<PlannedStage>,
    /// How long it takes at best, in seconds.
    pub at_best_s: u64,
    /// What each gate can prove.
    pub power: Vec<GatePower>,
    /// Names of the devices of the first stage, in the order of their turn; a thousand at most.
    pub first_devices: Vec<DeviceId>,
}

/// One stage of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedStage {
    /// Share of the population that has been offered the release by then, in basis points.
    pub share_bp: u16,
    /// Devices that the stage adds.
    pub adds: u32,
    /// Devices that have it by then.
    pub devices: u32,
    /// Those that it adds, by model.
    pub by_model: BTreeMap<String, u32>,
    /// Those that it adds, by site.
    pub by_site: BTreeMap<String, u32>,
    /// How long the stage takes at best, in seconds.
    pub at_best_s: u64,
}

/// What a gate can prove in the first stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct GatePower {
    /// Number of the gate, from 0.
    pub gate: usize,
    /// In numbers and in a sentence.
    #[serde(flatten)]
    pub power: Power,
}

/// A request for a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// What it shall be called. Its name is its salt: who comes when follows from it.
    pub rollout_id: RolloutId,
    /// How.
    pub policy: Policy,
}

/// Why there can be no such rollout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Nonsense {
    /// The policy makes no sense, or not in this fleet.
    #[error("policy: {}", .0.join("; "))]
    Policy(Vec<String>),
    /// Nobody would get it.
    #[error("no device would get the release: {0}")]
    Nobody(String),
    /// The release can't be read.
    #[error("release: {0}")]
    Release(String),
}

/// The plan, and the targets as the store takes them.
///
/// # Errors
/// It makes no sense.
pub fn plan(
    wish: &Wish,
    release: &ReleaseRecord,
    candidates: Vec<Candidate>,
    heartbeat_interval_s: u64,
) -> Result<(Plan, Vec<Target>), Nonsense> {
    let policy = &wish.policy;
    let wrong = policy.nonsense();
    if !wrong.is_empty() {
        return Err(Nonsense::Policy(wrong));
    }
    let manifest = read(&release.manifest).map_err(Nonsense::Release)?;
    let mut left_out: BTreeMap<&'static str, u32> = BTreeMap::new();
    let mut wanted = Vec::new();
    for candidate in candidates {
        match why_not(&candidate, &manifest) {
            Some(why) => *left_out.entry(why).or_default() += 1,
            None => wanted.push(candidate),
        }
    }
    let salt: [u8; 32] = Sha256::digest(format!("ks rollout\n{}", wish.rollout_id)).into();
    let places = places(&salt, &wanted, |device| (&device.device_id, (&device.model, &device.site)));
    let mut targets = Vec::new();
    let mut first = Vec::new();
    for (device, place) in wanted.into_iter().zip(places) {
        let Some(stage) = policy.stage_of(place.enters_bp) else {
            *left_out.entry("beyond the share of the last stage").or_default() += 1;
            continue;
        };
        if stage == 0 {
            first.push((place.enters_bp, place.bucket, device.device_id.clone()));
        }
        targets.push(Target { row: device.row, stage, place, model: device.model, site: device.site });
    }
    if targets.is_empty() {
        let reasons: Vec<String> = left_out.iter().map(|(why, count)| format!("{count} {why}")).collect();
        let reasons = if reasons.is_empty() { "the selector means none".to_owned() } else { reasons.join(", ") };
        return Err(Nonsense::Nobody(reasons));
    }
    let stages = stages(policy, &targets);
    let wrong = policy.misfit(&stages.iter().map(|stage| stage.adds).collect::<Vec<_>>(), heartbeat_interval_s);
    if !wrong.is_empty() {
        return Err(Nonsense::Policy(wrong));
    }
    first.sort_unstable();
    let plan = Plan {
        targets: count(targets.len()),
        left_out,
        at_best_s: stages.iter().map(|stage| stage.at_best_s).sum(),
        power: powers(policy, &stages),
        stages,
        first_devices: first.into_iter().take(NAMED_MAX).map(|(_, _, device_id)| device_id).collect(),
    };
    Ok((plan, targets))
}

/// A manifest's fields, whether it is signed or not.
///
/// # Errors
/// It is no manifest.
pub fn read(manifest: &str) -> Result<Manifest, String> {
    let body = manifest.find(&format!("\n{FW_SIG}: ")).map_or(manifest, |at| manifest.get(..at).unwrap_or(manifest));
    document::decode(body).map_err(|error| error.to_string())
}

fn why_not(device: &Candidate, manifest: &Manifest) -> Option<&'static str> {
    let is_for_model = manifest.models.as_slice().iter().any(|model| model.as_str() == device.model);
    let reasons = [
        (!is_for_model, "of another model"),
        (device.release_counter >= manifest.release_counter, "run it, or a later release, already"),
        (manifest.min_counter.is_some_and(|least| device.release_counter < least), "need an earlier release first"),
        (device.is_in_a_rollout, "in another open rollout"),
        (device.has_failed_this, "failed with this release before"),
        (device.failures >= QUARANTINE_FAILURES, "in quarantine after three failed updates"),
    ];
    reasons.into_iter().find_map(|(is_so, why)| is_so.then_some(why))
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

fn stages(policy: &Policy, targets: &[Target]) -> Vec<PlannedStage> {
    let last = policy.stages.len().saturating_sub(1);
    let mut devices = 0;
    let planned = policy.stages.iter().enumerate().map(|(number, stage)| {
        let added: Vec<&Target> = targets.iter().filter(|target| target.stage == number).collect();
        let adds = count(added.len());
        devices += adds;
        let (mut by_model, mut by_site): (BTreeMap<String, u32>, BTreeMap<String, u32>) = Default::default();
        for target in added {
            *by_model.entry(target.model.clone()).or_default() += 1;
            *by_site.entry(target.site.clone()).or_default() += 1;
        }
        let evidence_s = started_s(policy, stage.min_executed) + policy.confirm_window_s + stage.bake_s;
        let all_s = if number == last { started_s(policy, adds) + policy.confirm_window_s } else { 0 };
        PlannedStage { share_bp: stage.share_bp, adds, devices, by_model, by_site, at_best_s: evidence_s.max(all_s) }
    });
    planned.collect()
}

/// How long it takes at least until so many devices have been started, in seconds.
fn started_s(policy: &Policy, devices: u32) -> u64 {
    let before_last = u64::from(devices.saturating_sub(1));
    let by_pace = before_last / u64::from(policy.starts_per_min) * 60;
    let by_room = before_last / u64::from(policy.in_flight_max) * policy.confirm_window_s;
    by_pace.max(by_room)
}

fn powers(policy: &Policy, stages: &[PlannedStage]) -> Vec<GatePower> {
    let Some(first) = stages.first() else { return Vec::new() };
    let of = |scope| match scope {
        Scope::Stage | Scope::Cumulative => first.adds,
        Scope::Model => first.by_model.values().copied().max().unwrap_or(0),
        Scope::Site => first.by_site.values().copied().max().unwrap_or(0),
        Scope::Stratum => first.adds / count(first.by_model.len().max(1) * first.by_site.len().max(1)).max(1),
    };
    let gates = policy.gates.iter().enumerate();
    gates
        .map(|(number, gate)| {
            let power = power(gate.test, gate.threshold_bp, gate.min_executed, of(gate.scope));
            GatePower { gate: number, power }
        })
        .collect()
}

/// A share in percent, for people.
pub fn percent(share_bp: u16) -> String {
    let (whole, hundredths) = (share_bp / 100, share_bp % 100);
    if share_bp > WHOLE_BP || hundredths == 0 { format!("{whole} %") } else { format!("{whole}.{hundredths:02} %") }
}
