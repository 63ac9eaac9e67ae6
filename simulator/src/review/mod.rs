//! Reviews rollouts after a run: what the server knows of each target, beside what the release really did or would have done.
//!
//! Each target of a rollout is asked three questions: what does the server believe (its update, by the admin API), what happened
//! (the device's own notes), and what does the release do to it: what it did to a device that wrote it, by the device's notes,
//! and otherwise the ground truth for the device as it was when the run ended.

mod evidence;
mod stories;
mod what_if;

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::{id::DeviceId, time::UnixMs};
use ks_reports::review::{Cell, Review, RolloutReview, Stop, Truth};
use ks_server::rollout::words;

use crate::{
    device::fate::{Condition, FateEvent, FateNotes},
    ground_truth::{GroundTruth, InstallOutcome},
    operator::{ObservedDecision, ObservedRollout, ObservedUpdate},
    rollout_monitor::{ObservedRollouts, decided_by},
    scenario::Plan,
};

pub use evidence::Confirmations;

/// A device that missed as many heartbeats is silent.
const SILENT_BEATS: u32 = 3;

/// What devices noted of their releases, by device.
pub type Notes = BTreeMap<DeviceId, FateNotes>;

/// Reviews the rollouts of a run that devices took part in until `lasted`.
pub fn review(
    plan: &Plan,
    seen: &ObservedRollouts,
    notes: &Notes,
    confirmations: &Confirmations,
    lasted: Duration,
) -> Review {
    let silent_after = plan.interval() * SILENT_BEATS;
    let truth = &GroundTruth::of(plan);
    let with = With { plan, truth, epoch: seen.epoch, notes, confirmations, lasted, silent_after };
    let rollouts = seen.rollouts.iter().map(|(rollout, decisions)| {
        let updates = seen.updates.get(&rollout.rollout_id).map(Vec::as_slice).unwrap_or_default();
        of_rollout(&with, rollout, decisions, updates)
    });
    Review { silent_after_s: silent_after.as_secs_f64(), rollouts: rollouts.collect() }
}

/// What all rollouts of a run have in common.
struct With<'a> {
    plan: &'a Plan,
    truth: &'a GroundTruth,
    epoch: UnixMs,
    notes: &'a Notes,
    confirmations: &'a Confirmations,
    lasted: Duration,
    silent_after: Duration,
}

/// A target of a rollout: what the server believes, and what is true.
struct Target<'a> {
    update: &'a ObservedUpdate,
    truth: Truth,
    /// When the release was installed on it, since the start of the run.
    installed_at: Option<Duration>,
    /// When the release broke it.
    broke_at: Option<Duration>,
    is_silent: bool,
}

impl With<'_> {
    fn since_start(&self, at: UnixMs) -> Duration {
        Duration::from_millis(at.since_ms(self.epoch))
    }

    fn targets<'u>(
        &self,
        rollout: &ObservedRollout,
        decisions: &[ObservedDecision],
        updates: &'u [ObservedUpdate],
    ) -> Vec<Target<'u>> {
        let firmware = self.plan.firmware.iter().find(|firmware| firmware.version == rollout.version);
        let release_counter = firmware.map_or(0, |firmware| firmware.release_counter);
        let from = started_at(decisions).map_or(Duration::ZERO, |at| self.since_start(at));
        updates.iter().map(|update| self.target(update, release_counter, from)).collect()
    }

    fn target<'u>(&self, update: &'u ObservedUpdate, release_counter: u64, from: Duration) -> Target<'u> {
        let notes = self.notes.get(&update.device_id);
        let fates = notes.map(|notes| notes.fates.as_slice()).unwrap_or_default();
        let of_release = || fates.iter().filter(|fate| fate.release_counter == release_counter && fate.at >= from);
        let first =
            |is_such: fn(FateEvent) -> bool| of_release().filter(|fate| is_such(fate.what)).map(|fate| fate.at).min();
        let last_written = of_release().rev().find_map(|fate| match fate.what {
            FateEvent::Written(outcome) => Some(outcome),
            _ => None,
        });
        let outcome = last_written.unwrap_or_else(|| self.outcome_at_end(update, notes, release_counter));
        let installed_at = first(|what| what == FateEvent::Installed);
        let last_seen = update.last_seen_at.map_or(Duration::ZERO, |at| self.since_start(at));
        Target {
            update,
            truth: truth(outcome),
            installed_at,
            broke_at: first(|what| matches!(what, FateEvent::Bricked | FateEvent::Died)),
            is_silent: installed_at.is_some() && last_seen + self.silent_after < self.lasted,
        }
    }

    /// What the release would do to a device that never wrote it, if it got it when the run ended, in the condition it was in then.
    fn outcome_at_end(
        &self,
        update: &ObservedUpdate,
        notes: Option<&FateNotes>,
        release_counter: u64,
    ) -> InstallOutcome {
        // A device without notes is one whose account never came: the server's word has to do.
        let known_to_server = || Condition {
            model: update.model.as_str().into(),
            site: update.site.as_str().into(),
            version: self.plan.fleet.firmware_version.as_str().into(),
            uptime: self.lasted,
        };
        let condition = notes.map_or_else(known_to_server, |notes| notes.at_end.clone());
        let now = UnixMs(self.epoch.0 + ks_server::clock::ms(self.lasted));
        let subject = condition.subject(&update.device_id, now);
        self.truth.install_outcome(release_counter, self.plan.seed, &subject)
    }
}

fn truth(outcome: InstallOutcome) -> Truth {
    match outcome {
        InstallOutcome::Good => Truth::Good,
        InstallOutcome::InstallFails => Truth::InstallFails,
        InstallOutcome::BootFails => Truth::BootFails,
        InstallOutcome::Bricks => Truth::Bricks,
        InstallOutcome::Dies(_) => Truth::Dies,
        InstallOutcome::Lies => Truth::Lies,
    }
}

fn started_at(decisions: &[ObservedDecision]) -> Option<UnixMs> {
    decisions.iter().filter(|decision| decision.decision == "created").map(|decision| decision.at).min()
}

fn of_rollout(
    with: &With<'_>,
    rollout: &ObservedRollout,
    decisions: &[ObservedDecision],
    updates: &[ObservedUpdate],
) -> RolloutReview {
    let targets = &with.targets(rollout, decisions, updates);
    let window_s = rollout.policy.confirm_window_s;
    let (stories, stories_total) = stories::stories(with, targets, with.confirmations, window_s);
    let changes = evidence::changes(updates, with.confirmations, window_s);
    let started = started_at(decisions).map_or(Duration::ZERO, |at| with.since_start(at));
    let mut stage_devices = vec![0; rollout.policy.stages.len()];
    for target in targets {
        if let Some(devices) = stage_devices.get_mut(target.update.stage) {
            *devices += 1;
        }
    }
    RolloutReview {
        rollout_id: rollout.rollout_id.to_string(),
        release: rollout.version.clone(),
        state: rollout.status.clone(),
        started_at_s: started.as_secs_f64(),
        observed_until_s: with.lasted.as_secs_f64(),
        policy: words::sentences(&rollout.policy),
        stage_devices,
        stop: stop(with, decisions, targets),
        cells: cells(targets),
        stories,
        stories_total,
        thresholds: what_if::of_gates(with, rollout, decisions, &changes, targets),
    }
}

/// What stopped a rollout first.
fn stop(with: &With<'_>, decisions: &[ObservedDecision], targets: &[Target<'_>]) -> Option<Stop> {
    let is_stop = |decision: &&ObservedDecision| matches!(decision.decision.as_str(), "paused" | "aborted");
    let decision = decisions.iter().find(is_stop)?;
    let at = with.since_start(decision.at);
    let by_then = |of: fn(&Target<'_>) -> Option<Duration>| {
        let count = targets.iter().filter(|target| of(target).is_some_and(|then| then <= at)).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    };
    Some(Stop {
        at_s: at.as_secs_f64(),
        decision: decision.decision.clone(),
        stage: decision.stage,
        why: decision.why.clone(),
        is_engines: decision.is_engines(),
        gate: decided_by(decision),
        installed: by_then(|target| target.installed_at),
        broken: by_then(|target| target.broke_at),
    })
}

/// The targets, counted.
fn cells(targets: &[Target<'_>]) -> Vec<Cell> {
    let mut counts: BTreeMap<Cell, u64> = BTreeMap::new();
    for Target { update, truth, installed_at, broke_at, is_silent } in targets {
        let fate = Cell {
            model: update.model.clone(),
            site: update.site.clone(),
            believed: update.state.as_str().to_owned(),
            truth: *truth,
            is_installed: installed_at.is_some(),
            is_broken: broke_at.is_some(),
            is_silent: *is_silent,
            devices: 0,
        };
        *counts.entry(fate).or_default() += 1;
    }
    counts.into_iter().map(|(fate, devices)| Cell { devices, ..fate }).collect()
}
