//! Which devices the first rollout of a scenario would reach, in which order, and how its firmware fails.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ks_protocol::duration;
use ks_server::{
    pace::SUSPECT_INTERVALS,
    rollout::{
        gate::Test,
        plan::{RolloutRequest, add_least_times, percent, unsuitable},
        policy::{Action, Approval, Gate, Policy, Scope, Stage, WHOLE_BP, every_failure},
        stage::PlannedStage,
    },
    store::rollouts::Target,
};

use super::{
    Group, NoAdvice,
    background::{longest_closing, opening},
    ceil,
    opening::Opening,
    times::{Lengths, Part, Steps},
};
use crate::{
    fleet,
    number::counted,
    scenario::{Fault, Firmware, Plan, planned_rollout, server_interval_s},
    timeline::StartRollout,
    trials::first_rollout,
};

/// How long a device may be silent until it counts as lost, unless its heartbeats are rarer: the server's default.
const LOST_AFTER_S: u64 = 3_600;
/// Time for booting when a site opens, and the unit of times that are longer than it is closed.
const BOOTING: Duration = Duration::from_mins(15);
/// Firmware that dies later does so at up to this many tenths of its time.
const LATEST_TENTHS: u32 = 11;

/// How a bug shows: the slowest of its ways.
enum Symptom {
    Dies(Duration),
    Silent,
    Reported,
}

impl Symptom {
    fn of(firmware: &Firmware) -> Self {
        let has = |share_bp: fn(&Fault) -> u16| firmware.faults.iter().any(|fault| share_bp(fault) > 0);
        let dies_after = firmware.faults.iter().filter(|fault| fault.dies_bp > 0).map(|fault| fault.dies_after).max();
        match dies_after {
            Some(after) => Self::Dies(after),
            None if has(|fault| fault.bricks_bp) => Self::Silent,
            None if has(|fault| fault.install_fails_bp.max(fault.boot_fails_bp).max(fault.lies_bp)) => Self::Reported,
            None => Self::Silent, // a rate of bugs without a fault bricks devices
        }
    }
}

/// A model and a site.
type Stratum = (String, String);

/// The devices that the first rollout of a scenario would reach.
pub(super) struct Population<'a> {
    plan: &'a Plan,
    firmware: &'a Firmware,
    /// The policy that the scenario's rollout has: pace and limits are taken from it.
    usual: Policy,
    /// How long devices may be silent, in seconds: see [`lost_after_s`].
    lost_after_s: [u64; 3],
    /// How often the server expects heartbeats, in seconds.
    heartbeat_interval_s: u64,
    /// At which share each device enters, ascending.
    strata: BTreeMap<Stratum, Vec<u16>>,
    group: Group,
    /// The same of those that can have the bug.
    enters_bp: Vec<u16>,
    targets: u32,
    targets_by_site: BTreeMap<String, u32>,
    /// The share at which the last device of all enters.
    last_enters_bp: u16,
}

impl<'a> Population<'a> {
    pub(super) fn of(plan: &'a Plan, group: &Group) -> Result<Self, NoAdvice> {
        let refused = |why: &str| NoAdvice::Impossible(why.to_owned());
        let (starts_at, start) = first_rollout(plan)
            .ok_or_else(|| refused("the scenario rolls nothing out: add a `start_rollout` step to its timeline"))?;
        let firmware = plan.firmware.iter().find(|of| of.version == start.firmware);
        let firmware = firmware.ok_or_else(|| refused("the scenario's rollout has no firmware"))?;
        let usual = plan.policies.get(&start.policy).cloned();
        let usual = usual.ok_or_else(|| refused("the scenario's rollout has no policy"))?;
        let targets = targets(plan, firmware, start, starts_at)?;
        let mut strata: BTreeMap<Stratum, Vec<u16>> = BTreeMap::new();
        for Target { place, model, site, .. } in targets {
            strata.entry((model, site)).or_default().push(place.enters_bp);
        }
        for enters_bp in strata.values_mut() {
            enters_bp.sort_unstable();
        }
        let mut targets_by_site: BTreeMap<String, u32> = BTreeMap::new();
        for ((_, site), enters_bp) in &strata {
            *targets_by_site.entry(site.clone()).or_default() += count(enters_bp.len());
        }
        let targets = targets_by_site.values().sum();
        let own = strata.iter().filter(|(stratum, _)| is_of(group, stratum));
        let mut enters_bp: Vec<u16> = own.flat_map(|(_, enters_bp)| enters_bp).copied().collect();
        if enters_bp.is_empty() {
            return Err(NoAdvice::Impossible(format!("the rollout reaches no device of {group}")));
        }
        enters_bp.sort_unstable();
        Ok(Self {
            plan,
            firmware,
            usual: usual.paced(targets),
            lost_after_s: lost_after_s(plan),
            heartbeat_interval_s: server_interval_s(plan),
            enters_bp,
            targets,
            targets_by_site,
            last_enters_bp: strata.values().filter_map(|enters_bp| enters_bp.last()).max().copied().unwrap_or(WHOLE_BP),
            strata,
            group: group.clone(),
        })
    }

    /// The devices that can have the bug.
    pub(super) fn devices(&self) -> u32 {
        count(self.enters_bp.len())
    }

    /// All that the rollout reaches.
    pub(super) fn targets(&self) -> u32 {
        self.targets
    }

    /// All devices that enter with this share.
    pub(super) fn targets_at(&self, share_bp: u16) -> u32 {
        self.strata.values().map(|enters_bp| entered(enters_bp, share_bp)).sum()
    }

    /// The devices that can have the bug, and enter with this share.
    pub(super) fn devices_at(&self, share_bp: u16) -> u32 {
        entered(&self.enters_bp, share_bp)
    }

    /// The smallest share with enough of them; the whole, if it contains every device of the fleet.
    pub(super) fn share_with(&self, is_enough: impl Fn(u32) -> bool) -> Option<u16> {
        let (mut low, mut high) = (1, WHOLE_BP);
        if !is_enough(self.devices_at(high)) {
            return None;
        }
        while low < high {
            let middle = low.midpoint(high);
            if is_enough(self.devices_at(middle)) { high = middle } else { low = middle + 1 }
        }
        Some(if low >= self.last_enters_bp { WHOLE_BP } else { low })
    }

    /// How long devices may be silent: longer than any site closes, as usual, or as short as possible.
    pub(super) fn lost_after_s(&self) -> [u64; 3] {
        self.lost_after_s
    }

    /// What takes how long in a rollout with this policy.
    pub(super) fn lengths(&self, policy: &Policy) -> Lengths {
        let (dies_after, is_silent) = match Symptom::of(self.firmware) {
            Symptom::Dies(after) => (after * LATEST_TENTHS / 10, true),
            Symptom::Silent => (Duration::ZERO, true),
            Symptom::Reported => (Duration::ZERO, false),
        };
        Lengths::of(policy, self.plan.interval(), dies_after, is_silent)
    }

    /// The stage of those that enter above one share and up to another, as far as its times depend on it.
    pub(super) fn steps(&self, (above_bp, share_bp): (u16, u16), needed: u32, all_run: Duration) -> Steps {
        let (mut strata, mut sites) = (Vec::new(), BTreeMap::<&str, (u32, BTreeSet<Opening>)>::new());
        for (stratum, enters_bp) in &self.strata {
            let devices = entered(enters_bp, share_bp).saturating_sub(entered(enters_bp, above_bp));
            if devices > 0 {
                let opening = opening(self.plan, (&stratum.0, &stratum.1));
                strata.push((opening, stratum, devices));
                let (of_site, openings) = sites.entry(&stratum.1).or_default();
                *of_site += devices;
                openings.insert(opening);
            }
        }
        let mut parts: BTreeMap<(Opening, bool), Part> = BTreeMap::new();
        for (opening, stratum, devices) in strata {
            let can_fail = is_of(&self.group, stratum);
            let part = Part { opening, devices: 0, can_fail, site_rounds: 0, is_mixed: false };
            let part = parts.entry((opening, can_fail)).or_insert(part);
            part.devices += devices;
            if let Some((of_site, openings)) = sites.get(stratum.1.as_str()) {
                let most = self.usual.site_max(self.targets_by_site.get(&stratum.1).copied().unwrap_or(0));
                let rounds = most.map_or(0, |most| of_site.saturating_sub(1) / most.max(1));
                part.site_rounds = part.site_rounds.max(rounds);
                part.is_mixed |= openings.len() > 1;
            }
        }
        Steps { parts: parts.into_values().collect(), needed, all_run }
    }

    /// How the bug shows, as the start of a sentence.
    pub(super) fn fails_how(&self) -> String {
        let how = match Symptom::of(self.firmware) {
            Symptom::Dies(after) => format!("devices die about {} after the update", duration::format(after)),
            Symptom::Silent => "devices are silent from the update on".to_owned(),
            Symptom::Reported => "devices report the failure".to_owned(),
        };
        format!("with firmware {} of the scenario, {how}", self.firmware.version)
    }

    /// The policy of the scenario's rollout.
    pub(super) fn usual(&self) -> &Policy {
        &self.usual
    }

    /// Pace and limits of all policies that are advised, in words.
    pub(super) fn limits(&self) -> String {
        let Policy { in_flight_max, starts_per_min, confirm_window_s, .. } = &self.usual;
        let site = match (self.usual.site_unavailable_max, self.usual.site_unavailable_max_bp) {
            (Some(most), _) => format!("{} of a site out of service at a time", counted(most, "device")),
            (None, Some(share_bp)) => format!("{} of each site out of service at a time", percent(share_bp)),
            (None, None) => "no limit by site".to_owned(),
        };
        format!(
            "at most {} in flight, {} a minute, {site}, CONFIRMED after {}",
            counted(*in_flight_max, "update"),
            counted(*starts_per_min, "start"),
            duration::format(Duration::from_secs(*confirm_window_s))
        )
    }

    /// A policy of these steps (share, least number of outcomes, bake time in seconds), with a gate that fails above a share in
    /// basis points of at least so many devices. Pace, limits and the watch after completion are those of the
    /// scenario's policy.
    pub(super) fn draft(
        &self,
        steps: &[(u16, u32, u64)],
        gate: Option<(Scope, u16, u32)>,
        lost_after_s: u64,
        starts_per_min: u32,
    ) -> Policy {
        let Policy { in_flight_max, site_unavailable_max, site_unavailable_max_bp, .. } = self.usual;
        let Policy { confirm_window_s, watch_s, .. } = self.usual;
        let draft = draft(steps, gate, lost_after_s.max(self.lost_after_s[2]));
        // Rehearsed policies are not watched unless they say so; those that are advised are for fleets too.
        let watch_s = watch_s.filter(|watch_s| *watch_s > 0);
        let draft = Policy { in_flight_max, starts_per_min, confirm_window_s, watch_s, ..draft };
        Policy { site_unavailable_max, site_unavailable_max_bp, ..draft }
    }

    /// The stages that the server would plan for a policy, from the places of the devices: how many each adds, and how long it takes
    /// at best.
    pub(super) fn planned(&self, policy: &Policy) -> Result<Vec<PlannedStage>, NoAdvice> {
        let mut before_bp = 0;
        let stage = |stage: &Stage| {
            let planned = self.stage(before_bp, stage.share_bp);
            before_bp = stage.share_bp;
            planned
        };
        let mut stages: Vec<PlannedStage> = policy.stages.iter().map(stage).collect();
        add_least_times(&mut stages, policy);
        let mut wrong = policy.validate();
        wrong.extend(unsuitable(policy, &stages, self.heartbeat_interval_s));
        if wrong.is_empty() { Ok(stages) } else { Err(would_refuse(&wrong.join("; "))) }
    }

    /// The stage of those that enter above one share, and up to another.
    fn stage(&self, above_bp: u16, share_bp: u16) -> PlannedStage {
        let mut planned = PlannedStage { share_bp, ..PlannedStage::default() };
        for ((model, site), enters_bp) in &self.strata {
            let devices = entered(enters_bp, share_bp);
            let adds = devices - entered(enters_bp, above_bp).min(devices);
            planned.devices += devices;
            if adds > 0 {
                planned.adds += adds;
                *planned.by_model.entry(model.clone()).or_default() += adds;
                *planned.by_site.entry(site.clone()).or_default() += adds;
                *planned.by_stratum.entry((model.clone(), site.clone())).or_default() += adds;
            }
        }
        planned
    }
}

/// Whether devices of this model and site can have the bug of a group.
fn is_of(group: &Group, (model, site): &Stratum) -> bool {
    match group {
        Group::Fleet => true,
        Group::Model(name) => name == model,
        Group::Site(name) => name == site,
    }
}

/// The devices that the server would offer the release to, each with its place.
fn targets(
    plan: &Plan,
    firmware: &Firmware,
    start: &StartRollout,
    starts_at: Duration,
) -> Result<Vec<Target>, NoAdvice> {
    let devices = fleet::with_replacements(plan).map_err(|error| NoAdvice::Impossible(error.to_string()))?;
    // Their places are the same under any policy.
    let policy = draft(&[(WHOLE_BP, 1, 0)], None, lost_after_s(plan)[0]);
    let request = RolloutRequest { rollout_id: start.rollout_id.clone(), policy };
    let planned = planned_rollout(plan, &devices, firmware, &request, starts_at);
    let planned = planned.unwrap_or_else(|| Err("the scenario's firmware can't be a release".to_owned()));
    planned.map(|(_, targets)| targets).map_err(|why| would_refuse(&why))
}

fn would_refuse(why: &str) -> NoAdvice {
    NoAdvice::Impossible(format!("the server would refuse such a rollout: {why}"))
}

/// How long devices may be silent: longer than any site closes, as usual, or as short as possible.
fn lost_after_s(plan: &Plan) -> [u64; 3] {
    // The server refuses less.
    let least = u64::from(SUSPECT_INTERVALS) * plan.interval().as_secs().max(20);
    let usual = LOST_AFTER_S.max(least);
    let closed = longest_closing(plan);
    // Unheard before it closes and after it opens, and booting.
    let longer = if closed.is_zero() { 0 } else { ceil(closed + plan.interval() * 2 + BOOTING, BOOTING).as_secs() };
    [usual.max(longer), usual, least]
}

/// A policy of these steps, as for [`Population::draft`].
fn draft(steps: &[(u16, u32, u64)], gate: Option<(Scope, u16, u32)>, lost_after_s: u64) -> Policy {
    let (scope, threshold_bp, min_executed) = gate.unwrap_or((Scope::Cumulative, WHOLE_BP - 1, 1));
    let stages = steps.iter().map(|(share_bp, min_executed, bake_s)| Stage {
        share_bp: *share_bp,
        min_executed: *min_executed,
        min_executed_bp: None,
        bake_s: *bake_s,
        approval: Approval::Auto,
    });
    let gate = Gate {
        outcomes: every_failure(),
        threshold_bp,
        min_executed,
        min_executed_bp: None,
        test: Test::Raw,
        scope,
        action: Action::Abort,
    };
    let usual = Policy::new(stages.collect(), vec![gate]);
    // A device that is cut off in its update needs as long.
    let progress_timeout_s = if lost_after_s > LOST_AFTER_S { lost_after_s } else { 0 }.max(usual.progress_timeout_s);
    Policy { lost_after_s, progress_timeout_s, ..usual }
}

/// How many have entered with this share.
fn entered(enters_bp: &[u16], share_bp: u16) -> u32 {
    count(enters_bp.partition_point(|own_bp| *own_bp <= share_bp))
}

fn count(devices: usize) -> u32 {
    u32::try_from(devices).unwrap_or(u32::MAX)
}
