//! What a release would have done to the targets that never wrote it, had nothing stopped its rollout.
//!
//! A fault may look at the hour, and at where a device is, what it runs and how long it has been up. So each device is judged as it
//! was when it would have got the release. That moment is not known exactly: it is expected as the policy's stages follow one
//! another, and every moment at which the device may have got it gives the range.

use std::{collections::BTreeSet, time::Duration};

use ks_protocol::{id::DeviceId, time::UnixMs};
use ks_reports::review::{Assumed, Fate, Range, Truth};
use ks_server::rollout::{duration::INSTALL_S, policy::Policy, update::UpdateState};

use super::{Target, With, started_at, truth};
use crate::{
    device::fate::{Condition, FateNotes},
    ground_truth::InstallOutcome,
    operator::{ObservedDecision, ObservedRollout, ObservedUpdate},
    scenario::Scope,
};

/// Between the heartbeat that brings an offer and the image in its slot, about.
const WRITTEN_AFTER: Duration = Duration::from_secs(20);
/// A device may have got it later than expected by half of the time from the stop on, and by this.
const LATER: Duration = Duration::from_mins(30);
const HOUR: Duration = Duration::from_hours(1);

/// When a device would have got the release, since the start of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Not before: the policy does not allow it.
    pub(super) earliest: Duration,
    pub(super) expected: Duration,
    pub(super) latest: Duration,
}

impl Window {
    fn at(moment: Duration) -> Self {
        Self { earliest: moment, expected: moment, latest: moment }
    }
}

/// How a rollout would have gone on after the moment at which nothing more was offered.
#[derive(Debug)]
pub(super) struct Continuation {
    stopped: Duration,
    /// Since when each stage could have been offered the release, at the earliest and as expected.
    stages: Vec<(Duration, Duration)>,
    /// Devices of each stage that have got their moment.
    placed: Vec<u32>,
    /// Between two offers.
    pace: Duration,
    /// From an offer until the image is written.
    written_after: Duration,
}

impl Continuation {
    /// Of a rollout with these decisions and updates.
    pub(super) fn of(
        with: &With<'_>,
        rollout: &ObservedRollout,
        decisions: &[ObservedDecision],
        updates: &[ObservedUpdate],
    ) -> Self {
        let policy = &rollout.policy;
        let stopped_at = stopped_at(&rollout.status, decisions);
        let stopped = stopped_at.map_or(with.lasted, |at| with.since_start(at));
        let promoted = decisions.iter().filter(|decision| decision.decision == "promoted");
        let promoted: Vec<UnixMs> = promoted.map(|decision| decision.at).collect();
        let current = promoted.len();
        let began = promoted.last().copied().or_else(|| started_at(decisions));
        let began = began.map_or(Duration::ZERO, |at| with.since_start(at));
        let pace = Duration::from_mins(1) / policy.starts_per_min.max(1);
        let update = with.plan.interval() / 2 + Duration::from_secs(INSTALL_S + policy.confirm_window_s);
        let evidence = evidence_at(with, policy, current, updates.iter());
        let mut stages = vec![(stopped, stopped); current + 1];
        for (number, stage) in policy.stages.iter().enumerate().skip(current) {
            let bake = Duration::from_secs(stage.bake_s);
            let needed = pace * stage.min_executed + update;
            let (earliest, expected) = stages.last().copied().unwrap_or_default();
            let next = if number == current {
                let soonest = evidence.unwrap_or(stopped);
                let expected = evidence.unwrap_or_else(|| stopped.max(began + needed));
                (stopped.max(soonest + bake), stopped.max(expected + bake))
            } else {
                (earliest + bake, expected + needed + bake)
            };
            stages.push(next);
        }
        let placed = vec![0; stages.len()];
        Self { stopped, stages, placed, pace, written_after: with.plan.interval() / 2 + WRITTEN_AFTER }
    }

    /// When a device that did not write the release would have got it.
    pub(super) fn window(&mut self, with: &With<'_>, update: &ObservedUpdate) -> Window {
        let ended = update.ended_at.map(|at| with.since_start(at));
        if let Some(failed) = ended.filter(|_| update.state.is_failure()) {
            return Window::at(failed);
        }
        let (mut earliest, began) = self.stages.get(update.stage).copied().unwrap_or((self.stopped, self.stopped));
        let before = self.placed.get(update.stage).copied().unwrap_or(0);
        if let Some(placed) = self.placed.get_mut(update.stage) {
            *placed += 1;
        }
        let mut expected = began + self.pace * before + self.written_after;
        if let Some(withdrawn) = ended.filter(|at| update.state == UpdateState::Withdrawn && *at < earliest) {
            // Revoked, or taken over by another rollout: until then it was like the others.
            (earliest, expected) = (withdrawn, withdrawn);
        }
        let latest = expected + expected.saturating_sub(self.stopped) / 2 + LATER;
        Window { earliest, expected: expected.max(earliest), latest }
    }
}

/// When a rollout offered the release to no more devices, for good; none if it still did when the run ended.
fn stopped_at(status: &str, decisions: &[ObservedDecision]) -> Option<UnixMs> {
    let is_end = |decision: &&ObservedDecision| matches!(decision.decision.as_str(), "aborted" | "completed");
    let ended = decisions.iter().find(is_end);
    let paused = || decisions.iter().rfind(|decision| status == "PAUSED" && decision.decision == "paused");
    ended.or_else(paused).map(|decision| decision.at)
}

/// When enough devices of a stage had an outcome.
pub(super) fn evidence_at<'u>(
    with: &With<'_>,
    policy: &Policy,
    stage: usize,
    updates: impl Iterator<Item = &'u ObservedUpdate>,
) -> Option<Duration> {
    let first_outcome = |update: &ObservedUpdate| {
        let confirmed = with.confirmations.of_update(update, policy.confirm_window_s);
        confirmed.or(update.ended_at.filter(|_| update.state.outcome().is_some()))
    };
    let mut outcomes: Vec<UnixMs> = updates.filter(|update| update.stage == stage).filter_map(first_outcome).collect();
    outcomes.sort_unstable();
    let needed = usize::try_from(policy.stages.get(stage)?.min_executed.max(1)).ok()?;
    outcomes.get(needed - 1).map(|at| with.since_start(*at))
}

/// What a release does to a device that gets it within this time: as expected first, and then whatever else it may do.
pub(super) fn outcomes(
    with: &With<'_>,
    release_counter: u64,
    update: &ObservedUpdate,
    notes: Option<&FateNotes>,
    window: Window,
) -> Vec<Truth> {
    let condition_at = |at: Duration, now: UnixMs| match notes {
        Some(notes) => notes.condition(at, now),
        // A device without notes is one whose account never came: the server's word has to do.
        None => Condition {
            model: update.model.as_str().into(),
            site: update.site.as_str().into(),
            version: with.plan.fleet.firmware_version.as_str().into(),
            uptime: at,
        },
    };
    let mut seen: Vec<(Vec<usize>, Truth)> = Vec::new();
    for at in moments(with, release_counter, notes, window) {
        let now = with.wall_clock(at);
        let condition = condition_at(at, now);
        let faults = with.truth.faults_around(release_counter, &condition.subject(&update.device_id, now));
        if seen.iter().all(|(others, _)| *others != faults) {
            let outcome = outcome(with, release_counter, &update.device_id, &faults);
            seen.push((faults, truth(outcome)));
        }
    }
    let mut outcomes: Vec<Truth> = Vec::new();
    for (_, truth) in seen {
        if !outcomes.contains(&truth) {
            outcomes.push(truth);
        }
    }
    outcomes
}

fn outcome(with: &With<'_>, release_counter: u64, device_id: &DeviceId, faults: &[usize]) -> InstallOutcome {
    with.truth.outcome_of_faults(release_counter, with.plan.seed, device_id, faults)
}

/// The moments of a window at which a device may be in the scope of other faults than before; the expected one first.
fn moments(
    with: &With<'_>,
    release_counter: u64,
    notes: Option<&FateNotes>,
    Window { earliest, expected, latest }: Window,
) -> Vec<Duration> {
    let faults = with.truth.faults(release_counter);
    if !faults.iter().any(|fault| depends_on_time(&fault.scope)) {
        return vec![expected];
    }
    let mut moments = BTreeSet::from([earliest, latest]);
    if faults.iter().any(|fault| fault.scope.hours.is_some()) {
        let into_hour = Duration::from_millis(with.wall_clock(earliest).0 % 3_600_000);
        let mut hour = (earliest + HOUR).saturating_sub(into_hour);
        while hour < latest {
            moments.insert(hour);
            hour += HOUR;
        }
    }
    let uptimes = || {
        let of = |scope: &Scope| [Some(scope.uptime_min), scope.uptime_max];
        faults.iter().flat_map(move |fault| of(&fault.scope)).flatten()
    };
    for stay in notes.map(|notes| notes.stays.as_slice()).unwrap_or_default() {
        moments.insert(stay.from);
        moments.extend(uptimes().filter_map(|uptime| with.since_start_of(stay.booted_at, uptime)));
    }
    moments.retain(|at| (earliest..=latest).contains(at));
    std::iter::once(expected).chain(moments).collect()
}

/// Whether it matters for a fault when the release is installed.
fn depends_on_time(scope: &Scope) -> bool {
    let Scope { only_model: _, only_site, from_version, uptime_min, uptime_max, hours } = scope;
    let looks_at_stay = only_site.is_some() || from_version.is_some() || !uptime_min.is_zero() || uptime_max.is_some();
    looks_at_stay || hours.is_some()
}

/// What was assumed of targets that did not write the release; none if it does not matter when they would have got it.
pub(super) fn assumed(with: &With<'_>, targets: &[Target<'_>]) -> Option<Assumed> {
    let release_counter = targets.first()?.release_counter;
    let faults = with.truth.faults(release_counter);
    let windows = || targets.iter().filter_map(|target| target.window);
    if windows().next().is_none() || !faults.iter().any(|fault| depends_on_time(&fault.scope)) {
        return None;
    }
    let range = |of: fn(&Target<'_>) -> bool, is_such: fn(Truth) -> bool| {
        let count = |is_counted: &dyn Fn(&Target<'_>) -> bool| {
            u64::try_from(targets.iter().filter(|target| of(target) && is_counted(target)).count()).unwrap_or(u64::MAX)
        };
        Range {
            least: count(&|target| target.outcomes.iter().all(|truth| is_such(*truth))),
            most: count(&|target| target.outcomes.iter().any(|truth| is_such(*truth))),
        }
    };
    let is_spared = |target: &Target<'_>| target.fate == Fate::Without && !target.update.state.is_failure();
    Some(Assumed {
        devices: u64::try_from(windows().count()).unwrap_or(u64::MAX),
        from_s: windows().map(|window| window.earliest).min()?.as_secs_f64(),
        until_s: windows().map(|window| window.latest).max()?.as_secs_f64(),
        breaks: range(|_| true, Truth::breaks),
        goes_wrong: range(|_| true, Truth::is_bad),
        spared_breaks: range(is_spared, Truth::breaks),
    })
}
