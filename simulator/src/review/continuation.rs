//! How a rollout would have gone on after the moment at which nothing more was offered: when each device would have got the release.
//!
//! The release is offered as the server does it: to the devices of the stage in the order of their turns, at the policy's pace, and
//! only to those that are heard. A device that has no power by then gets it when it has power again, and may lose its turn.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ks_protocol::time::UnixMs;
use ks_server::{
    pace::SUSPECT_INTERVALS,
    rollout::{policy::Policy, share::places, update::UpdateState},
};
use sha2::{Digest, Sha256};

use super::{With, reach::Reach};
use crate::{
    device::actor::BOOT_TIME,
    operator::{ObservedDecision, ObservedRollout, ObservedUpdate},
};

/// Between the heartbeat that brings an offer and the image in its slot, about.
const WRITTEN_AFTER: Duration = Duration::from_secs(20);
/// Of a device that nothing cuts off.
static ALWAYS: Reach = Reach::ALWAYS;
/// A device may have got it later than expected by half of the time from the stop on, and by this.
const LATER: Duration = Duration::from_mins(30);

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

/// How a rollout would have gone on.
#[derive(Debug)]
pub(super) struct Continuation {
    stopped: Duration,
    /// Since when each stage could have been offered the release, at the earliest.
    earliest: Vec<Duration>,
    /// When each device would have written it, by the number of its update.
    written: BTreeMap<usize, Duration>,
}

impl Continuation {
    /// Of a rollout with these decisions and updates. `has_written` says of each update whether its device wrote the release.
    pub(super) fn of(
        with: &With<'_>,
        rollout: &ObservedRollout,
        decisions: &[ObservedDecision],
        updates: &[ObservedUpdate],
        has_written: &[bool],
    ) -> Self {
        let policy = &rollout.policy;
        let stopped_at = stopped_at(&rollout.status, decisions);
        let stopped = stopped_at.map_or(with.lasted, |at| with.since_start(at));
        let current = decisions.iter().filter(|decision| decision.decision == "promoted").count();
        let evidence = evidence_at(with, policy, current, updates.iter());
        let mut earliest = vec![stopped; current + 1];
        for (number, stage) in policy.stages.iter().enumerate().skip(current) {
            let bake = Duration::from_secs(stage.bake_s);
            let before = earliest.last().copied().unwrap_or(stopped);
            let soonest = evidence.filter(|_| number == current).unwrap_or(before);
            earliest.push(before.max(soonest + bake));
        }
        let mut offers = Offers::of(with, rollout, updates, stopped);
        let mut begins = stopped;
        for (number, stage) in policy.stages.iter().enumerate().skip(current) {
            let is_new = |of: usize| of == number || (number == current && of < number);
            offers.add(is_new, has_written, begins);
            let known = evidence.filter(|_| number == current);
            let needed = usize::try_from(stage.min_executed.max(1)).unwrap_or(usize::MAX);
            begins = begins.max(offers.until_promoted(number, known, needed, Duration::from_secs(stage.bake_s)));
        }
        Self { stopped, earliest, written: offers.written }
    }

    /// When a device that did not write the release would have got it.
    pub(super) fn window(&self, with: &With<'_>, number: usize, update: &ObservedUpdate) -> Window {
        let ended = update.ended_at.map(|at| with.since_start(at));
        if let Some(failed) = ended.filter(|_| update.state.is_failure()) {
            return Window::at(failed);
        }
        let earliest = self.earliest.get(update.stage).copied().unwrap_or(self.stopped);
        if let Some(withdrawn) = ended.filter(|at| update.state == UpdateState::Withdrawn && *at < earliest) {
            // Revoked, or taken over by another rollout: until then it was like the others.
            return Window { earliest: withdrawn, expected: withdrawn, latest: latest(withdrawn, self.stopped) };
        }
        let expected = self.written.get(&number).map_or(earliest, |at| earliest.max(*at));
        let latest = latest(expected, self.stopped);
        // If it may have been too late before it was cut off, it got it once it was back.
        let back = with.reaches.get(&update.device_id).and_then(|reach| reach.from(latest));
        let back = back.filter(|back| *back > latest).map(|back| back + BOOT_TIME + with.plan.interval());
        Window { earliest, expected, latest: back.unwrap_or(latest) }
    }
}

fn latest(expected: Duration, stopped: Duration) -> Duration {
    expected + expected.saturating_sub(stopped) / 2 + LATER
}

/// When a rollout offered the release to no more devices, for good; none if it still did when the run ended.
fn stopped_at(status: &str, decisions: &[ObservedDecision]) -> Option<UnixMs> {
    let is_end = |decision: &&ObservedDecision| matches!(decision.decision.as_str(), "aborted" | "completed");
    let ended = decisions.iter().find(is_end);
    let paused = || decisions.iter().rfind(|decision| status == "PAUSED" && decision.decision == "paused");
    ended.or_else(paused).map(|decision| decision.at)
}

/// When a device had its first outcome.
fn first_outcome(with: &With<'_>, policy: &Policy, update: &ObservedUpdate) -> Option<UnixMs> {
    let confirmed = with.confirmations.of_update(update, policy.confirm_window_s);
    confirmed.or(update.ended_at.filter(|_| update.state.outcome().is_some()))
}

/// When enough devices of a stage had an outcome.
pub(super) fn evidence_at<'u>(
    with: &With<'_>,
    policy: &Policy,
    stage: usize,
    updates: impl Iterator<Item = &'u ObservedUpdate>,
) -> Option<Duration> {
    let of_stage = updates.filter(|update| update.stage == stage);
    let mut outcomes: Vec<UnixMs> = of_stage.filter_map(|update| first_outcome(with, policy, update)).collect();
    outcomes.sort_unstable();
    let needed = usize::try_from(policy.stages.get(stage)?.min_executed.max(1)).ok()?;
    outcomes.get(needed - 1).map(|at| with.since_start(*at))
}

/// The order in which devices get their turns.
type Turn = (u16, u64, usize);

/// Offers of a release, one after another.
struct Offers<'w> {
    updates: &'w [ObservedUpdate],
    reaches: Vec<&'w Reach>,
    turns: Vec<Turn>,
    policy: &'w Policy,
    interval: Duration,
    /// When the next offer may be made.
    at: Duration,
    /// Devices whose turn it is, and those that can't get it now, each with when that may be over.
    ready: BTreeSet<Turn>,
    later: BTreeSet<(Duration, Turn)>,
    /// Updates under way, by their end, in all and at each site.
    in_flight: BTreeSet<(Duration, usize)>,
    at_site: BTreeMap<&'w str, Vec<Duration>>,
    /// The rollout's devices at each site.
    targets: BTreeMap<&'w str, u32>,
    /// When each device would have written it.
    written: BTreeMap<usize, Duration>,
    /// When each device had an outcome, or would have had it.
    outcomes: Vec<Option<Duration>>,
}

impl<'w> Offers<'w> {
    fn of(with: &With<'w>, rollout: &'w ObservedRollout, updates: &'w [ObservedUpdate], from: Duration) -> Self {
        let salt: [u8; 32] = Sha256::digest(format!("ks rollout\n{}", rollout.rollout_id)).into();
        let places = places(&salt, updates, |update| (&update.device_id, (&update.model, &update.site)));
        let policy = &rollout.policy;
        let mut targets: BTreeMap<&str, u32> = BTreeMap::new();
        for update in updates {
            *targets.entry(&update.site).or_default() += 1;
        }
        let outcome = |update| first_outcome(with, policy, update).map(|at| with.since_start(at));
        Self {
            updates,
            reaches: updates.iter().map(|update| with.reaches.get(&update.device_id).unwrap_or(&ALWAYS)).collect(),
            turns: (0..).zip(places).map(|(number, place)| (place.enters_bp, place.bucket, number)).collect(),
            policy,
            interval: with.plan.interval(),
            at: from,
            ready: BTreeSet::new(),
            later: BTreeSet::new(),
            in_flight: BTreeSet::new(),
            at_site: BTreeMap::new(),
            targets,
            written: BTreeMap::new(),
            outcomes: updates.iter().map(outcome).collect(),
        }
    }

    /// From now on it is the turn of these devices, unless they have written it or left the rollout.
    fn add(&mut self, is_new: impl Fn(usize) -> bool, has_written: &[bool], begins: Duration) {
        self.at = self.at.max(begins);
        for (turn, update) in self.turns.iter().zip(self.updates) {
            let is_out = update.state.is_failure() || update.state == UpdateState::Withdrawn;
            let has_written = has_written.get(turn.2).copied().unwrap_or(false);
            if is_new(update.stage) && !is_out && !has_written {
                self.ready.insert(*turn);
            }
        }
    }

    /// Makes offers until the next stage begins, and says when that is. `known` is when this one had its evidence, if it had it
    /// in the run.
    fn until_promoted(&mut self, stage: usize, known: Option<Duration>, needed: usize, bake: Duration) -> Duration {
        let is_of_stage =
            |updates: &[ObservedUpdate], number: usize| updates.get(number).is_some_and(|update| update.stage == stage);
        let own = self.outcomes.iter().enumerate().filter(|(number, _)| is_of_stage(self.updates, *number));
        let mut outcomes: Vec<Duration> = own.filter_map(|(_, outcome)| *outcome).collect();
        outcomes.sort_unstable();
        let is_last = stage + 1 >= self.policy.stages.len();
        loop {
            let evidence = known.or_else(|| outcomes.get(needed.saturating_sub(1)).copied());
            let next_at = self.next_at();
            // Offers that are still to be made have later outcomes than this.
            let promoted = evidence.map(|at| at + bake).filter(|at| next_at.is_none_or(|next_at| *at <= next_at));
            let offered = match (promoted, next_at) {
                (Some(promoted), _) if !is_last => return promoted,
                (_, Some(at)) => self.offer(at),
                // Those that are left are never heard again.
                (_, None) => return outcomes.last().copied().unwrap_or(self.at).max(self.at) + bake,
            };
            if let Some((_, outcome)) = offered.filter(|(number, _)| is_of_stage(self.updates, *number)) {
                let place = outcomes.partition_point(|other| *other <= outcome);
                outcomes.insert(place, outcome);
            }
        }
    }

    /// When the next offer can be made; none if nobody is left.
    fn next_at(&mut self) -> Option<Duration> {
        let mut at = self.at;
        if self.ready.is_empty() {
            at = at.max(self.later.first()?.0);
        }
        while self.in_flight.first().is_some_and(|(ends, _)| *ends <= at) {
            self.in_flight.pop_first();
        }
        let is_full = self.in_flight.len() >= usize::try_from(self.policy.in_flight_max).unwrap_or(usize::MAX).max(1);
        Some(self.in_flight.first().filter(|_| is_full).map_or(at, |(ends, _)| *ends))
    }

    /// Offers it to the device whose turn it is now, if it is heard, and there is room at its site; its new outcome, if it gets one.
    fn offer(&mut self, at: Duration) -> Option<(usize, Duration)> {
        self.at = at;
        while let Some((_, turn)) = self.later.first().copied().filter(|(since, _)| *since <= at) {
            self.later.pop_first();
            self.ready.insert(turn);
        }
        let turn = self.ready.pop_first()?;
        let number = turn.2;
        let (reach, update) = (self.reaches.get(number).copied()?, self.updates.get(number)?);
        let at_site = self.at_site.entry(&update.site).or_default();
        at_site.retain(|ends| *ends > at);
        let most = self.policy.site_max(self.targets.get(update.site.as_str()).copied().unwrap_or(0));
        let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX);
        if at_site.len() >= most.max(1) {
            self.later.extend(at_site.iter().min().map(|ends| (*ends, turn)));
            return None;
        }
        if !reach.was_on(at.saturating_sub(self.interval * SUSPECT_INTERVALS), at) {
            self.later.extend(reach.from(at).map(|on| (on + BOOT_TIME, turn)));
            return None;
        }
        self.at += Duration::from_mins(1) / self.policy.starts_per_min.max(1);
        let progress = Duration::from_secs(self.policy.progress_timeout_s);
        let written = written(reach, at, self.interval)?;
        if written > at + progress {
            // Its offer is withdrawn meanwhile, and it gets another.
            self.later.insert((written.saturating_sub(WRITTEN_AFTER).max(at + progress), turn));
            return None;
        }
        let confirmed = written + BOOT_TIME + Duration::from_secs(self.policy.confirm_window_s) + self.interval / 2;
        let ends = reach.from(confirmed).unwrap_or(confirmed);
        at_site.push(ends);
        self.in_flight.insert((ends, number));
        self.written.insert(number, written);
        let outcome = self.outcomes.get_mut(number).filter(|outcome| outcome.is_none())?;
        *outcome = Some(ends);
        Some((number, ends))
    }
}

/// When a device has written what is offered now; none if it is gone.
fn written(reach: &Reach, offered: Duration, interval: Duration) -> Option<Duration> {
    let mut heard = reach.next_beat(offered, interval);
    loop {
        let on = reach.from(heard)?;
        if on != heard {
            heard = reach.next_beat(on + BOOT_TIME, interval);
        }
        if reach.stays_on(heard, heard + WRITTEN_AFTER) {
            return Some(heard + WRITTEN_AFTER);
        }
        heard = reach.next_beat(heard + WRITTEN_AFTER, interval); // it is cut off before
    }
}
