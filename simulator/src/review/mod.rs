//! Reviews rollouts after a run: what the server knows of each target, beside what the release really did or would have done.
//!
//! Each target of a rollout is asked three questions: what does the server believe (its update, by the admin API), what happened
//! (the device's own notes), and what does the release do to it: what it did to a device that wrote it, by the device's notes,
//! and otherwise the ground truth for the device as it was when it would have got the release ([`without_gate`]).

mod actions;
mod continuation;
mod evidence;
mod owners;
mod promotions;
mod reach;
mod stories;
mod what_if;
mod without_gate;

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::{id::DeviceId, time::UnixMs};
use ks_reports::review::{Cell, Fate, Review, RolloutReview, Truth};
use ks_server::{pace::SUSPECT_INTERVALS, rollout::words};

use crate::{
    device::fate::{Fate as Did, FateEvent, FateNotes},
    fleet::{
        self,
        churn::{Episode, Schedule},
        ground_truth::{GroundTruth, InstallOutcome},
    },
    operator::{ObservedDecision, ObservedRollout, ObservedUpdate, rollout_monitor::ObservedRollouts},
    scenario::Plan,
};

pub use evidence::Confirmations;

use continuation::{Continuation, Window};
use owners::Owners;
use reach::Reach;

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
    let silent_after = plan.interval() * SUSPECT_INTERVALS;
    let truth = &GroundTruth::of(plan);
    let churn = &churn(plan, seen.epoch, lasted);
    let owners = &Owners::of(seen);
    let reaches = &reaches(plan, seen, lasted);
    let with =
        With { plan, truth, epoch: seen.epoch, notes, confirmations, lasted, silent_after, churn, owners, reaches };
    let rollouts = seen.rollouts.iter().enumerate().map(|(number, (rollout, decisions))| {
        let updates = seen.updates.get(&rollout.rollout_id).map(Vec::as_slice).unwrap_or_default();
        of_rollout(&with, number, rollout, decisions, updates)
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
    churn: &'a Churn,
    owners: &'a Owners,
    /// When devices could be reached that can't be always; only of a run in which it may matter.
    reaches: &'a BTreeMap<DeviceId, Reach>,
}

/// When devices could be reached in a run, and in the time that its rollouts would have taken beyond it.
fn reaches(plan: &Plan, seen: &ObservedRollouts, lasted: Duration) -> BTreeMap<DeviceId, Reach> {
    if !without_gate::may_depend_on_time(plan) {
        return BTreeMap::new();
    }
    let baked_s = |rollout: &ObservedRollout| rollout.policy.stages.iter().map(|stage| stage.bake_s).sum::<u64>();
    let longest_s = seen.rollouts.iter().map(|(rollout, _)| baked_s(rollout)).max().unwrap_or(0);
    reach::of_fleet(plan, seen.epoch, (lasted + Duration::from_secs(longest_s) + BEYOND) * 2)
}

/// How long a rollout may take beyond its bake times, if it would have gone on after the run.
const BEYOND: Duration = Duration::from_hours(7 * 24);

/// The background failures of devices that have any, up to the end of the run.
type Churn = BTreeMap<DeviceId, Vec<Episode>>;

fn churn(plan: &Plan, epoch: UnixMs, lasted: Duration) -> Churn {
    let schedule = Schedule::of(plan, epoch);
    let devices = if schedule.is_empty() { Ok(Vec::new()) } else { fleet::with_replacements(plan) };
    let of_device = |device: fleet::DeviceSpec| {
        let mut episodes = schedule.episodes(&device);
        episodes.retain(|episode| episode.to > device.starts_after && episode.from < lasted);
        (!episodes.is_empty()).then_some((device.device_id, episodes))
    };
    devices.unwrap_or_default().into_iter().filter_map(of_device).collect() // the run has reported what is wrong with an ID
}

/// A target of a rollout: what the server believes, and what is true.
struct Target<'a> {
    update: &'a ObservedUpdate,
    truth: Truth,
    /// What the release may do to it: more than one thing only if that depends on when a device gets it that never did.
    outcomes: Vec<Truth>,
    /// When it would have got the release, if it did not write it.
    window: Option<Window>,
    /// When the release was installed on it, since the start of the run.
    installed_at: Option<Duration>,
    /// When the release broke it.
    broke_at: Option<Duration>,
    /// What had become of it when the run ended.
    fate: Fate,
    is_silent: bool,
    release_counter: u64,
}

impl With<'_> {
    fn since_start(&self, at: UnixMs) -> Duration {
        Duration::from_millis(at.since_ms(self.epoch))
    }

    fn wall_clock(&self, at: Duration) -> UnixMs {
        UnixMs(self.epoch.0.saturating_add(ks_server::clock::ms(at)))
    }

    /// So long after some moment, since the start of the run; none if that is before it.
    fn since_start_of(&self, moment: UnixMs, later: Duration) -> Option<Duration> {
        let ms = moment.0.saturating_add(ks_server::clock::ms(later)).checked_sub(self.epoch.0)?;
        Some(Duration::from_millis(ms))
    }

    /// The targets of the rollout with this number.
    fn targets<'u>(
        &self,
        number: usize,
        rollout: &ObservedRollout,
        decisions: &[ObservedDecision],
        updates: &'u [ObservedUpdate],
    ) -> Vec<Target<'u>> {
        let firmware = self.plan.firmware.iter().find(|firmware| firmware.version == rollout.version);
        let release = (rollout.version.as_str(), firmware.map_or(0, |firmware| firmware.release_counter));
        let own = |update: &ObservedUpdate| {
            let fates = self.notes.get(&update.device_id).map(|notes| notes.fates.as_slice()).unwrap_or_default();
            self.owners.fates(release, number, &update.device_id, fates, |at| self.wall_clock(at))
        };
        let fates: Vec<Vec<&Did>> = updates.iter().map(own).collect();
        let is_write = |fate: &&Did| matches!(fate.what, FateEvent::Written(_));
        let has_written: Vec<bool> = fates.iter().map(|own| own.iter().any(is_write)).collect();
        let continuation = Continuation::of(self, rollout, decisions, updates, &has_written);
        let window = |number: usize, update: &ObservedUpdate| {
            let has_written = has_written.get(number).copied().unwrap_or(false);
            (!has_written).then(|| continuation.window(self, number, update))
        };
        let targets = updates.iter().zip(fates).enumerate();
        targets.map(|(number, (update, own))| self.target(update, release.1, &own, window(number, update))).collect()
    }

    /// A target with what the release did to it, and when it would have got it, if it did not.
    fn target<'u>(
        &self,
        update: &'u ObservedUpdate,
        release_counter: u64,
        own: &[&Did],
        window: Option<Window>,
    ) -> Target<'u> {
        let notes = self.notes.get(&update.device_id);
        let first = |is_such: fn(FateEvent) -> bool| own.iter().find(|fate| is_such(fate.what)).map(|fate| fate.at);
        let last_written = own.iter().rev().find_map(|fate| match fate.what {
            FateEvent::Written(outcome) => Some(outcome),
            _ => None,
        });
        let outcomes = match (last_written, window) {
            (Some(outcome), _) => vec![truth(outcome)],
            (None, window) => window
                .map_or_else(Vec::new, |window| without_gate::outcomes(self, release_counter, update, notes, window)),
        };
        let installed_at = first(|what| what == FateEvent::Installed);
        let broke_at = first(FateEvent::breaks);
        let fate = match installed_at {
            _ if broke_at.is_some() => Fate::Broken,
            _ if notes.is_some_and(is_out_of_service) => Fate::Gone,
            None => Fate::Without,
            Some(_) if notes.is_some_and(|notes| runs_another(notes, release_counter)) => Fate::Rescued,
            Some(_) => Fate::HasIt,
        };
        let last_seen = update.last_seen_at.map_or(Duration::ZERO, |at| self.since_start(at));
        // What became silent once it was gone or had other firmware is not silent because of this release.
        let may_be_silent = matches!(fate, Fate::Broken | Fate::HasIt);
        Target {
            update,
            truth: outcomes.first().copied().unwrap_or_default(),
            outcomes,
            window,
            installed_at,
            broke_at,
            fate,
            is_silent: may_be_silent && last_seen + self.silent_after < self.lasted,
            release_counter,
        }
    }
}

/// Whether a device was no longer in service when the run ended.
fn is_out_of_service(notes: &FateNotes) -> bool {
    notes.gone.is_some() || notes.broken_by().is_some()
}

/// Whether a device has booted another release after this one, and runs it.
fn runs_another(notes: &FateNotes, release_counter: u64) -> bool {
    let mut boots = notes.fates.iter().filter(|fate| fate.what == FateEvent::Installed).rev();
    let runs = |counter: u64| {
        let written = notes.fates.iter().rev().filter(|fate| fate.release_counter == counter);
        let outcome = written.into_iter().find_map(|fate| match fate.what {
            FateEvent::Written(outcome) => Some(outcome),
            _ => None,
        });
        matches!(outcome, Some(InstallOutcome::Good | InstallOutcome::Dies(_)))
    };
    boots.by_ref().take_while(|fate| fate.release_counter != release_counter).any(|fate| runs(fate.release_counter))
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
    number: usize,
    rollout: &ObservedRollout,
    decisions: &[ObservedDecision],
    updates: &[ObservedUpdate],
) -> RolloutReview {
    let targets = &with.targets(number, rollout, decisions, updates);
    let window_s = rollout.policy.confirm_window_s;
    let (stories, stories_total) = stories::stories(with, targets, with.confirmations, window_s);
    let (found, others) = actions::actions(with, decisions, targets);
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
        completed_at_s: actions::completed_at_s(with, decisions),
        found,
        others,
        first_broke_at_s: targets.iter().filter_map(|target| target.broke_at).min().map(|at| at.as_secs_f64()),
        rollouts_of_release: u64::try_from(with.owners.rollouts(&rollout.version)).unwrap_or(u64::MAX),
        assumed: without_gate::assumed(with, targets),
        cells: cells(targets),
        stories,
        stories_total,
        thresholds: what_if::of_gates(with, rollout, decisions, &changes, targets),
    }
}

/// The targets, counted.
fn cells(targets: &[Target<'_>]) -> Vec<Cell> {
    let mut counts: BTreeMap<Cell, u64> = BTreeMap::new();
    for Target { update, truth, installed_at, fate, is_silent, .. } in targets {
        let cell = Cell {
            model: update.model.clone(),
            site: update.site.clone(),
            believed: update.state.as_str().to_owned(),
            truth: *truth,
            is_installed: installed_at.is_some(),
            fate: *fate,
            is_silent: *is_silent,
            devices: 0,
        };
        *counts.entry(cell).or_default() += 1;
    }
    counts.into_iter().map(|(cell, devices)| Cell { devices, ..cell }).collect()
}
