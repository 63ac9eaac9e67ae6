//! Which devices the first rollout of a scenario would reach, in which order, and how its firmware fails.

use std::time::Duration;

use ks_protocol::{duration, id::RolloutId};
use ks_server::{
    rollout::{
        gate::Test,
        plan::{Plan as Planned, RolloutRequest},
        policy::{Action, Approval, Gate, Policy, Scope, Stage, WHOLE_BP, every_failure},
    },
    store::rollouts::Target,
};

use super::{Group, NoAdvice};
use crate::{
    fleet::{self, DeviceSpec},
    scenario::{Fault, Firmware, Plan, planned_rollout},
    timeline::{StartRollout, Step},
};

/// How long a device may be silent until it counts as lost, unless its heartbeats are rarer: the server's default.
const LOST_AFTER_S: u64 = 3_600;
/// Silence counts after this many heartbeat intervals at the least: the server refuses less.
const SILENT_BEATS: u64 = 3;
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

/// The devices that the first rollout of a scenario would reach.
pub(super) struct Population<'a> {
    plan: &'a Plan,
    devices: Vec<DeviceSpec>,
    firmware: &'a Firmware,
    rollout_id: RolloutId,
    pub(super) starts_at: Duration,
    /// At which share each device that can have the bug enters, ascending.
    enters_bp: Vec<u16>,
    targets: u32,
    /// The share at which the last device of all enters.
    last_enters_bp: u16,
}

impl<'a> Population<'a> {
    pub(super) fn of(plan: &'a Plan, group: &Group) -> Result<Self, NoAdvice> {
        let refused = |why: &str| NoAdvice::Impossible(why.to_owned());
        let start = plan.timeline.iter().find_map(|timed| match &timed.step {
            Step::StartRollout(start) => Some((timed.at, start)),
            _ => None,
        });
        let (starts_at, StartRollout { firmware, rollout_id, .. }) = start
            .ok_or_else(|| refused("the scenario rolls nothing out: add a `start_rollout` step to its timeline"))?;
        let firmware = plan.firmware.iter().find(|of| of.version == *firmware);
        let firmware = firmware.ok_or_else(|| refused("the scenario's rollout has no firmware"))?;
        let devices = fleet::devices(plan).map_err(|error| NoAdvice::Impossible(error.to_string()))?;
        let mut population = Self {
            plan,
            devices,
            firmware,
            rollout_id: rollout_id.clone(),
            starts_at,
            enters_bp: Vec::new(),
            targets: 0,
            last_enters_bp: WHOLE_BP,
        };
        let whole = population.draft(&[(WHOLE_BP, 1, 0)], None, LOST_AFTER_S);
        let (planned, targets) = population.planned(&whole)?;
        let is_own = |target: &&Target| match group {
            Group::Fleet => true,
            Group::Model(name) => *name == target.model,
            Group::Site(name) => *name == target.site,
        };
        let own = targets.iter().filter(is_own);
        let mut enters_bp: Vec<u16> = own.map(|target| target.place.enters_bp).collect();
        if enters_bp.is_empty() {
            return Err(NoAdvice::Impossible(format!("the rollout reaches no device of {group}")));
        }
        enters_bp.sort_unstable();
        let last_enters_bp = targets.iter().map(|target| target.place.enters_bp).max();
        population.last_enters_bp = last_enters_bp.unwrap_or(WHOLE_BP);
        (population.enters_bp, population.targets) = (enters_bp, planned.targets);
        Ok(population)
    }

    /// The devices that can have the bug.
    pub(super) fn devices(&self) -> u32 {
        u32::try_from(self.enters_bp.len()).unwrap_or(u32::MAX)
    }

    /// All that the rollout reaches.
    pub(super) fn targets(&self) -> u32 {
        self.targets
    }

    /// The devices that can have the bug, and enter with this share.
    pub(super) fn devices_at(&self, share_bp: u16) -> u32 {
        u32::try_from(self.enters_bp.partition_point(|enters_bp| *enters_bp <= share_bp)).unwrap_or(u32::MAX)
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

    /// How long devices may be silent: as usual, or as short as possible.
    pub(super) fn lost_after_s(&self) -> [u64; 2] {
        let least = SILENT_BEATS * self.plan.interval().as_secs().max(20);
        [LOST_AFTER_S.max(least), least]
    }

    /// How often devices are heard.
    pub(super) fn interval(&self) -> Duration {
        self.plan.interval()
    }

    /// How long after its installation a device shows the bug at the latest.
    pub(super) fn shows_after(&self, lost_after_s: u64) -> Duration {
        let silence = Duration::from_secs(lost_after_s);
        match Symptom::of(self.firmware) {
            Symptom::Dies(after) => after * LATEST_TENTHS / 10 + silence,
            Symptom::Silent => silence,
            Symptom::Reported => Duration::ZERO,
        }
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

    /// A policy of these steps (share, least number of outcomes, bake time in seconds), with a gate that fails above a share in
    /// basis points of at least so many devices.
    pub(super) fn draft(
        &self,
        steps: &[(u16, u32, u64)],
        gate: Option<(Scope, u16, u32)>,
        lost_after_s: u64,
    ) -> Policy {
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
        let lost_after_s = lost_after_s.max(self.lost_after_s()[1]);
        Policy { lost_after_s, ..Policy::new(stages.collect(), vec![gate]) }
    }

    /// What the server plans for a policy, and for each device.
    pub(super) fn planned(&self, policy: &Policy) -> Result<(Planned, Vec<Target>), NoAdvice> {
        let request = RolloutRequest { rollout_id: self.rollout_id.clone(), policy: policy.clone() };
        let planned = planned_rollout(self.plan, &self.devices, self.firmware, &request, self.starts_at);
        planned
            .unwrap_or_else(|| Err("the scenario's firmware can't be a release".to_owned()))
            .map_err(|why| NoAdvice::Impossible(format!("the server would refuse such a rollout: {why}")))
    }
}
