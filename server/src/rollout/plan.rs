//! The plan of a rollout: which devices are in which stage, which are left out and why, how long it takes at best, and what its
//! gates can prove.

use std::collections::{BTreeMap, BTreeSet};

use ks_protocol::{
    document,
    id::{DeviceId, RolloutId},
    manifest::{FW_SIG, Manifest},
    text::counted,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    counts,
    duration::{UpdateTime, expected_s},
    gate::EXECUTED_MAX,
    policy::{Gate, Policy, Scope, Stage, WHOLE_BP},
    power::{self, GatePower, TogetherRow, clean_needed},
    share::places,
    stage::{PlannedStage, cumulative},
};
use crate::store::{
    releases::ReleaseRecord,
    rollouts::{Candidate, QUARANTINE_FAILURES, Target},
};

/// The most devices of the first stage that a plan names.
const NAMED_MAX: usize = 1_000;

/// What a rollout would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Plan {
    /// Devices that would get the release.
    pub targets: u32,
    /// Devices that the selector matches and that would not get it, by reason.
    pub left_out: BTreeMap<String, u32>,
    /// The stages, in order.
    pub stages: Vec<PlannedStage>,
    /// How long it takes at best, in seconds.
    pub at_best_s: u64,
    /// How long it is expected to take, in seconds, if nothing fails and no person is waited for.
    pub expected_s: u64,
    /// How long the update of one device takes, which this follows from.
    pub update_time: UpdateTime,
    /// The policy as it would be stored: with counts in place of shares of devices, and the defaults that it left out.
    pub policy: Policy,
    /// What each gate can prove.
    pub power: Vec<GatePower>,
    /// What all gates together let through, of firmware that breaks all devices alike.
    pub together: Vec<TogetherRow>,
    /// Names of the devices of the first stage, in the order of their turn; at most a thousand.
    pub first_devices: Vec<DeviceId>,
}

/// A request for a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutRequest {
    /// Its name, which is also its salt: the order of devices follows from it.
    pub rollout_id: RolloutId,
    pub policy: Policy,
}

/// Why a rollout can't be planned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The policy is invalid, or does not suit this fleet.
    #[error("policy: {}", .0.join("; "))]
    Policy(Vec<String>),
    /// No device would get the release.
    #[error("no device would get the release: {0}")]
    NoTargets(String),
    /// The release can't be read.
    #[error("release: {0}")]
    Release(String),
}

/// The plan without what gates can prove, which [`power::powers`] computes and which takes longer; and the targets as the store
/// needs them. `past_updates_ms` are times from offer to confirming of the fleet's last updates, if there are any.
///
/// # Errors
/// The request is invalid.
pub fn plan(
    request: &RolloutRequest,
    release: &ReleaseRecord,
    candidates: Vec<Candidate>,
    heartbeat_interval_s: u64,
    past_updates_ms: Vec<u64>,
) -> Result<(Plan, Vec<Target>), PlanError> {
    let policy = &request.policy;
    let wrong = policy.validate();
    if !wrong.is_empty() {
        return Err(PlanError::Policy(wrong));
    }
    let manifest = read(&release.manifest).map_err(PlanError::Release)?;
    let mut left_out: BTreeMap<String, u32> = BTreeMap::new();
    let mut wanted = Vec::new();
    for candidate in candidates {
        match exclusion_reason(&candidate, &manifest) {
            Some(why) => *left_out.entry(why).or_default() += 1,
            None => wanted.push(candidate),
        }
    }
    let salt: [u8; 32] = Sha256::digest(format!("ks rollout\n{}", request.rollout_id)).into();
    let places = places(&salt, &wanted, |device| (&device.device_id, (&device.model, &device.site)));
    let mut targets = Vec::new();
    let mut first = Vec::new();
    for (device, place) in wanted.into_iter().zip(places) {
        let Some(stage) = policy.stage_of(place.enters_bp) else {
            *left_out.entry("beyond the share of the last stage".to_owned()).or_default() += 1;
            continue;
        };
        if stage == 0 {
            first.push((place.enters_bp, place.bucket, device.device_id.clone()));
        }
        targets.push(Target { row: device.row, stage, place, model: device.model, site: device.site });
    }
    if targets.is_empty() {
        let reasons = if left_out.is_empty() {
            "the selector matches no registered device".to_owned()
        } else {
            summary(&left_out)
        };
        return Err(PlanError::NoTargets(reasons));
    }
    let mut stages = stages(policy, &targets);
    let policy = &counts::resolved(policy, &stages);
    let update_time = UpdateTime::of(policy, heartbeat_interval_s, past_updates_ms);
    add_least_times(&mut stages, policy);
    for (stage, expected_s) in stages.iter_mut().zip(expected_s(policy, &turns(&targets), update_time)) {
        stage.expected_s = expected_s;
    }
    let mut wrong = unsuitable(policy, &stages, heartbeat_interval_s);
    if !wrong.is_empty() {
        // The policy might suit all devices and be too much for the rest, so the error names those that are left out.
        if !left_out.is_empty() {
            let (rest, left) = (counted(targets.len(), "device"), summary(&left_out));
            wrong.push(format!("the release would go to {rest}; left out of the selected devices: {left}"));
        }
        return Err(PlanError::Policy(wrong));
    }
    first.sort_unstable();
    let plan = Plan {
        targets: count(targets.len()),
        left_out,
        at_best_s: stages.iter().map(|stage| stage.at_best_s).sum(),
        expected_s: stages.iter().map(|stage| stage.expected_s).sum(),
        update_time,
        policy: policy.clone(),
        power: Vec::new(),
        together: Vec::new(),
        stages,
        first_devices: first.into_iter().take(NAMED_MAX).map(|(_, _, device_id)| device_id).collect(),
    };
    Ok((plan, targets))
}

/// Reads a manifest, signed or not.
///
/// # Errors
/// The text is not a manifest.
pub fn read(manifest: &str) -> Result<Manifest, String> {
    let body = manifest.find(&format!("\n{FW_SIG}: ")).map_or(manifest, |at| manifest.get(..at).unwrap_or(manifest));
    document::decode(body).map_err(|error| error.to_string())
}

fn exclusion_reason(device: &Candidate, manifest: &Manifest) -> Option<String> {
    let is_for_model = manifest.models.as_slice().iter().any(|model| model.as_str() == device.model);
    let needs = manifest.min_counter.is_some_and(|least| device.release_counter < least);
    if let Some(rollout_id) = &device.open_rollout
        && is_for_model
        && device.release_counter < manifest.release_counter
        && !needs
    {
        return Some(format!("in the open rollout {rollout_id}"));
    }
    let reasons = [
        (!is_for_model, "of another model"),
        (device.release_counter >= manifest.release_counter, "already run it or a later release"),
        (needs, "need an earlier release first"),
        (device.has_failed_this, "failed with this release before"),
        (device.failures >= QUARANTINE_FAILURES, "in quarantine after three failed updates"),
    ];
    reasons.into_iter().find_map(|(is_so, why)| is_so.then(|| why.to_owned()))
}

/// How many devices are left out, by reason.
fn summary(left_out: &BTreeMap<String, u32>) -> String {
    left_out.iter().map(|(why, count)| format!("{count} {why}")).collect::<Vec<_>>().join(", ")
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// The stages, as far as the devices alone decide them.
fn stages(policy: &Policy, targets: &[Target]) -> Vec<PlannedStage> {
    let mut devices = 0;
    let planned = policy.stages.iter().enumerate().map(|(number, stage)| {
        let added: Vec<&Target> = targets.iter().filter(|target| target.stage == number).collect();
        let adds = count(added.len());
        devices += adds;
        let (by_model, by_site) =
            (count_by(&added, |target| target.model.clone()), count_by(&added, |target| target.site.clone()));
        let by_stratum = count_by(&added, |target| (target.model.clone(), target.site.clone()));
        PlannedStage {
            share_bp: stage.share_bp,
            adds,
            devices,
            by_model,
            by_site,
            by_stratum,
            min_executed: 0,
            at_best_s: 0,
            expected_s: 0,
        }
    });
    planned.collect()
}

fn count_by<K: Ord>(targets: &[&Target], key: impl Fn(&Target) -> K) -> BTreeMap<K, u32> {
    let mut counts = BTreeMap::new();
    for target in targets {
        *counts.entry(key(target)).or_default() += 1;
    }
    counts
}

/// Adds what a policy, with counts in place of shares, requires of each stage, and how long that takes at best: both follow from
/// the number of devices alone, not from which they are.
pub fn add_least_times(stages: &mut [PlannedStage], policy: &Policy) {
    let last = stages.len().saturating_sub(1);
    for (number, (stage, planned)) in policy.stages.iter().zip(stages).enumerate() {
        planned.min_executed = stage.min_executed;
        planned.at_best_s = at_best_s(policy, stage, planned.adds, number == last);
    }
}

/// Why a policy, with counts in place of shares, does not suit a fleet with these stages; nothing if it does.
pub fn unsuitable(policy: &Policy, stages: &[PlannedStage], heartbeat_interval_s: u64) -> Vec<String> {
    let adds: Vec<u32> = stages.iter().map(|stage| stage.adds).collect();
    let mut wrong = policy.validate_for_fleet(&adds, heartbeat_interval_s);
    wrong.extend(gates_that_never_pass(policy, stages));
    wrong
}

/// The stage and the number of the site of each target, in the order of their turns.
fn turns(targets: &[Target]) -> Vec<(usize, usize)> {
    let names: BTreeSet<&str> = targets.iter().map(|target| target.site.as_str()).collect();
    let numbers: BTreeMap<&str, usize> = names.into_iter().zip(0..).collect();
    let mut turns: Vec<_> = targets
        .iter()
        .map(|target| {
            let site = numbers.get(target.site.as_str()).copied().unwrap_or(0); // every site has a number
            (target.place.enters_bp, target.place.bucket, target.stage, site)
        })
        .collect();
    turns.sort_unstable();
    turns.into_iter().map(|(_, _, stage, site)| (stage, site)).collect()
}

/// How long a stage takes at best, in seconds.
fn at_best_s(policy: &Policy, stage: &Stage, adds: u32, is_last: bool) -> u64 {
    let evidence_s = started_s(policy, stage.min_executed) + policy.confirm_window_s + stage.bake_s;
    let all_s = if is_last { started_s(policy, adds) + policy.confirm_window_s } else { 0 };
    evidence_s.max(all_s)
}

/// The least time until this many devices have started, in seconds.
pub(super) fn started_s(policy: &Policy, devices: u32) -> u64 {
    let before_last = u64::from(devices.saturating_sub(1));
    let by_pace = before_last / u64::from(policy.starts_per_min) * 60;
    let by_in_flight_max = before_last / u64::from(policy.in_flight_max) * policy.confirm_window_s;
    by_pace.max(by_in_flight_max)
}

/// Gates that could not pass in some stage even if no device failed: the rollout would wait there in vain.
fn gates_that_never_pass(policy: &Policy, stages: &[PlannedStage]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, gate) in policy.gates.iter().enumerate() {
        let groups = power::groups(gate.scope, stages);
        let needed = clean_needed(gate.test, gate.threshold_bp, gate.min_executed, EXECUTED_MAX);
        let stuck = (0..stages.len()).find_map(|stage| stuck(gate, needed, &groups, stage).map(|why| (stage + 1, why)));
        wrong.extend(stuck.map(|(stage, why)| format!("gates[{number}]: it can't pass in stage {stage}: {why}")));
    }
    wrong
}

/// Why a gate can't pass in a stage; `needed` is how many clean devices it requires to pass. A group below the gate's minimum holds
/// nothing up, unless all groups are.
fn stuck(gate: &Gate, needed: Option<u32>, groups: &BTreeMap<String, Vec<u32>>, stage: usize) -> Option<String> {
    let devices_by_then = |added: &Vec<u32>| match gate.scope {
        Scope::Stage => added.get(stage).copied().unwrap_or(0),
        _ => cumulative(added).get(stage).copied().unwrap_or(0),
    };
    let devices = || groups.iter().map(|(of, added)| (of, devices_by_then(added)));
    let passes = |devices| needed.is_some_and(|needed| needed <= devices);
    let largest = devices().map(|(_, devices)| devices).max().unwrap_or(0);
    if !passes(largest) {
        return Some(format!(
            "it judges {} there, too few to prove anything; expected a larger share, a smaller min_executed or a less strict test",
            counted(largest, "device")
        ));
    }
    let (of, devices) = devices().find(|(_, devices)| *devices >= gate.min_executed.max(1) && !passes(*devices))?;
    Some(format!(
        "of {of} it judges {} there, enough for its min_executed but too few to prove anything; expected a larger share, a min_executed above {devices} (a smaller group can only fail) or a less strict test",
        counted(devices, "device")
    ))
}

/// A share in percent, for display.
pub fn percent(share_bp: u16) -> String {
    let (whole, hundredths) = (share_bp / 100, share_bp % 100);
    if share_bp > WHOLE_BP || hundredths == 0 { format!("{whole} %") } else { format!("{whole}.{hundredths:02} %") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        rollout::{gate::Test, policy::tests::playbook},
        store::releases::ReleaseState,
    };
    use ks_protocol::{
        text::{Rows, Sha256, Text},
        time::UnixMs,
    };

    fn release(models: &[&str]) -> ReleaseRecord {
        let manifest = Manifest {
            kind: Default::default(),
            release_id: "fw-2".parse().unwrap(),
            product: Text::truncated("ks-terminal"),
            models: Rows::truncated(models.iter().map(|model| Text::truncated(model)).collect()),
            version: Text::truncated("2"),
            release_counter: 2,
            sha256: Sha256([0; 32]),
            size_bytes: 1,
            min_counter: None,
            not_before: UnixMs(0),
            expires_at: UnixMs(1),
            key_id: "k1".parse().unwrap(),
        };
        ReleaseRecord {
            row: 1,
            release_id: "fw-2".parse().unwrap(),
            product: "ks-terminal".to_owned(),
            version: "2".to_owned(),
            release_counter: 2,
            sha256: Sha256([0; 32]),
            manifest: document::encode(&manifest).unwrap(),
            state: ReleaseState::Active,
            created_at: UnixMs(0),
            changed_at: UnixMs(0),
            reason: String::new(),
        }
    }

    fn devices(count: i64) -> Vec<Candidate> {
        let device = |row: i64| Candidate {
            row,
            device_id: format!("KS-{row}").parse().unwrap(),
            model: if row % 4 == 0 { "KS-200" } else { "KS-100" }.to_owned(),
            site: format!("s{}", row % 3),
            release_counter: 1,
            open_rollout: None,
            failures: 0,
            has_failed_this: false,
        };
        (0..count).map(device).collect()
    }

    fn request(change: impl Fn(&mut Policy)) -> RolloutRequest {
        let mut policy = playbook();
        change(&mut policy);
        RolloutRequest { rollout_id: "spring".parse().unwrap(), policy }
    }

    #[test]
    fn a_plan_orders_devices_and_the_same_name_gives_the_same_order() {
        let planned =
            || plan(&request(|_| {}), &release(&["KS-100", "KS-200"]), devices(1_000), 60, Vec::new()).unwrap();
        let (first, targets) = planned();
        assert_eq!((first.targets, first.stages[0].adds + first.stages[1].adds), (1_000, 1_000));
        assert!((45..=55).contains(&first.stages[0].adds), "5 % of 1,000: {}", first.stages[0].adds);
        assert_eq!(first.first_devices.len(), usize::try_from(first.stages[0].adds).unwrap());
        assert!(first.at_best_s >= 86_400 + 3_600);
        assert_eq!(planned(), (first, targets));
    }

    #[test]
    fn shares_in_place_of_counts_scale_with_the_fleet() {
        let shares = request(|policy| {
            (policy.stages[0].min_executed, policy.stages[0].min_executed_bp) = (0, Some(9_000));
            (policy.gates[0].min_executed, policy.gates[0].min_executed_bp) = (0, Some(5_000));
        });
        for fleet in [200, 1_000, 4_000] {
            let (planned, _) = plan(&shares, &release(&["KS-100", "KS-200"]), devices(fleet), 60, Vec::new()).unwrap();
            let (stage, gate) = (&planned.policy.stages[0], &planned.policy.gates[0]);
            let adds = planned.stages[0].adds;
            assert!((9 * adds..9 * adds + 10).contains(&(10 * stage.min_executed)), "{adds}: {stage:?}");
            assert!((adds..=adds + 1).contains(&(2 * gate.min_executed)), "{adds}: {gate:?}");
            assert_eq!(planned.stages[0].min_executed, stage.min_executed);
        }
    }

    #[test]
    fn devices_left_out_are_counted_by_reason() {
        let mut fleet = devices(400);
        fleet[0].release_counter = 2;
        fleet[1].open_rollout = Some("winter".parse().unwrap());
        fleet[2].failures = 3;
        fleet[3].has_failed_this = true;
        let small = request(|policy| {
            policy.stages[0].min_executed = 5;
            policy.gates[0].min_executed = 5;
        });
        let (planned, _) = plan(&small, &release(&["KS-100"]), fleet, 60, Vec::new()).unwrap();
        let reasons: Vec<_> = planned.left_out.iter().map(|(why, count)| format!("{count} {why}")).collect();
        assert_eq!(
            reasons,
            [
                "1 failed with this release before",
                "1 in quarantine after three failed updates",
                "1 in the open rollout winter",
                "100 of another model"
            ],
            "the one that already runs it is of the other model too"
        );
    }

    #[test]
    fn a_gate_that_could_never_pass_is_refused() {
        let exact = request(|policy| policy.gates[0].test = Test::ClopperPearson { confidence_bp: 9_500 });
        let refused =
            plan(&exact, &release(&["KS-100", "KS-200"]), devices(1_000), 60, Vec::new()).unwrap_err().to_string();
        assert!(refused.contains("gates[0]: it can't pass in stage 1"), "50 devices don't show 0.5 %: {refused}");
        assert!(plan(&exact, &release(&["KS-100", "KS-200"]), devices(13_000), 60, Vec::new()).is_ok(), "650 do");
    }

    /// A model of 50 devices is enough for a minimum of one and too few to prove anything: it would hold up the rollout for good.
    #[test]
    fn a_gate_that_a_medium_group_could_never_pass_is_refused_naming_the_group() {
        let by_model = |min_executed| {
            request(|policy| {
                policy.gates[0].test = Test::ClopperPearson { confidence_bp: 9_500 };
                policy.gates[0].scope = Scope::Model;
                policy.gates[0].min_executed = min_executed;
            })
        };
        let of = |min_executed| {
            plan(&by_model(min_executed), &release(&["KS-100", "KS-200"]), devices(17_000), 60, Vec::new())
        };
        let refused = of(1).unwrap_err().to_string();
        assert!(refused.contains("gates[0]: it can't pass in stage 1: of KS-200 it judges 213 devices"), "{refused}");
        assert!(of(300).is_ok(), "then it is too small to hold anything up, and the large model suffices");
    }

    #[test]
    fn a_policy_too_strict_for_the_rest_names_the_devices_left_out() {
        let mut fleet = devices(1_000);
        for device in &mut fleet[..970] {
            device.open_rollout = Some("spring".parse().unwrap());
        }
        let refused =
            plan(&request(|_| {}), &release(&["KS-100", "KS-200"]), fleet, 60, Vec::new()).unwrap_err().to_string();
        let expected =
            "the release would go to 30 devices; left out of the selected devices: 970 in the open rollout spring";
        assert!(refused.contains("min_executed") && refused.ends_with(expected), "{refused}");
    }

    #[test]
    fn a_rollout_without_targets_is_refused() {
        let refused = plan(&request(|_| {}), &release(&["KS-900"]), devices(10), 60, Vec::new()).unwrap_err();
        assert_eq!(refused.to_string(), "no device would get the release: 10 of another model");
    }
}
