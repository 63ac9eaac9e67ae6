//! Plans a scenario's rollouts with the server's own code and the scenario's devices, to find refusals before the run.

use std::{collections::BTreeSet, time::Duration};

use ks_protocol::{
    document,
    id::RolloutId,
    manifest::{MODELS_MAX, Manifest},
    text::{Rows, Sha256, Text},
    time::UnixMs,
};
use ks_server::{
    config::Config,
    rollout::plan::{self, RolloutRequest},
    store::{
        releases::{ReleaseRecord, ReleaseState},
        rollouts::{Candidate, Target},
    },
};

use super::{
    churn::ChurnKind,
    plan::{Firmware, Mode, Plan},
};
use crate::{
    fleet::{self, DeviceSpec, FACTORY_COUNTER, churn::Schedule},
    timeline::{StartRollout, Step},
};

/// The server's heartbeat interval, if its settings can't be read.
const HEARTBEAT_INTERVAL: Duration = Duration::from_mins(1);

/// A rollout that the server would refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedRollout {
    pub rollout_id: RolloutId,
    /// When the scenario starts it.
    pub at: Duration,
    /// The server's reason.
    pub why: String,
}

/// The rollouts of a plan that the server would refuse even if each device that has had power by then were registered and
/// free for it; steps that may fail are not checked. Whatever else the server knows by then can only exclude devices.
pub fn refused(plan: &Plan) -> Vec<RefusedRollout> {
    if !plan.has_rollouts() {
        return Vec::new();
    }
    let Ok(devices) = fleet::with_replacements(plan) else { return Vec::new() }; // the run reports it
    let mut names = BTreeSet::new();
    let mut refused = Vec::new();
    for timed in &plan.timeline {
        let Step::StartRollout(StartRollout { firmware, policy, rollout_id }) = &timed.step else { continue };
        let is_first = names.insert(rollout_id);
        let firmware = plan.firmware.iter().find(|release| release.version == *firmware);
        let (Some(firmware), Some(policy), false) = (firmware, plan.policies.get(policy), timed.may_fail) else {
            continue;
        };
        let request = RolloutRequest { rollout_id: rollout_id.clone(), policy: policy.clone() };
        let planned = if is_first {
            planned(plan, &devices, firmware, &request, timed.at)
        } else {
            Some(Err("a rollout of this name was started before".to_owned()))
        };
        let Some(planned) = planned else { continue }; // the step's own check reports the missing firmware
        if let Err(why) = planned {
            refused.push(RefusedRollout { rollout_id: rollout_id.clone(), at: timed.at, why });
        }
    }
    refused
}

/// What the server would plan for a rollout that starts at this time, with the devices of the scenario: its stages, and the
/// place of each device; or why it would refuse. None if there can be no such release.
pub fn planned(
    plan: &Plan,
    devices: &[DeviceSpec],
    firmware: &Firmware,
    request: &RolloutRequest,
    at: Duration,
) -> Option<Result<(plan::Plan, Vec<Target>), String>> {
    let schedule = match plan.mode {
        Mode::Rehearse => Schedule::of(plan, plan.starts_at),
        Mode::Load => Schedule::default(), // it begins whenever it is started
    };
    let is_on = |device: &&DeviceSpec| device.starts_after <= at && may_be_registered(&schedule, device, at);
    let candidates = devices.iter().filter(is_on).map(|device| candidate(plan, device)).collect();
    let release = release(plan, firmware)?;
    Some(plan::plan(request, &release, candidates, server_interval_s(plan), Vec::new()).map_err(|no| no.to_string()))
}

/// Whether a device has had power before this time, at least for a moment: it is no target before it has registered, nor once
/// another one has its place.
fn may_be_registered(schedule: &Schedule, device: &DeviceSpec, at: Duration) -> bool {
    if schedule.is_empty() {
        return true;
    }
    let mut off_until = device.starts_after;
    for episode in schedule.episodes(device) {
        if episode.kind == ChurnKind::Swapped && episode.to > device.starts_after && episode.to <= at {
            return false;
        }
        if episode.from > off_until {
            continue;
        }
        if episode.is_without_power() || episode.kind.is_for_good() {
            off_until = off_until.max(episode.to);
        }
    }
    off_until <= at
}

/// How often the scenario's server expects heartbeats, in seconds.
pub fn server_interval_s(plan: &Plan) -> u64 {
    let settings = plan.server_settings("");
    Config::from_map(&settings).map_or(HEARTBEAT_INTERVAL, |config| config.heartbeat_interval).as_secs()
}

fn candidate(plan: &Plan, device: &DeviceSpec) -> Candidate {
    let name = |shares: &[super::Share], index: usize| shares.get(index).map_or_else(String::new, |it| it.name.clone());
    Candidate {
        row: device.number.into(),
        device_id: device.device_id.clone(),
        model: name(&plan.fleet.models, device.model),
        site: name(&plan.fleet.sites, device.site),
        release_counter: FACTORY_COUNTER,
        open_rollout: None,
        failures: 0,
        has_failed_this: false,
    }
}

/// The release of a firmware, with the fields that a plan needs.
fn release(plan: &Plan, firmware: &Firmware) -> Option<ReleaseRecord> {
    let (release_id, sha256) = (firmware.release_id().parse::<ks_protocol::id::ReleaseId>().ok()?, Sha256([0; 32]));
    if plan.fleet.models.len() > MODELS_MAX {
        return None;
    }
    let product = "simulated";
    let models = plan.fleet.models.iter().map(|model| Text::truncated(&model.name)).collect();
    let manifest = Manifest {
        kind: Default::default(),
        release_id: release_id.clone(),
        product: Text::truncated(product),
        models: Rows::truncated(models),
        version: Text::truncated(&firmware.version),
        release_counter: firmware.release_counter,
        sha256,
        size_bytes: firmware.size_bytes,
        min_counter: None,
        not_before: UnixMs(0),
        expires_at: UnixMs(0),
        key_id: "key".parse().ok()?,
    };
    Some(ReleaseRecord {
        row: 0,
        release_id,
        product: product.to_owned(),
        version: firmware.version.clone(),
        release_counter: firmware.release_counter,
        sha256,
        manifest: document::encode(&manifest).ok()?,
        state: ReleaseState::Active,
        created_at: UnixMs(0),
        changed_at: UnixMs(0),
        reason: String::new(),
    })
}
