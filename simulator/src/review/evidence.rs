//! The evidence that gates had over time, recovered from each device's update: when it had an outcome, and which.
//!
//! The server keeps an update's last state only. A device that was confirmed and failed later had two outcomes; when it was
//! confirmed follows from its stored heartbeats: the first one after the policy's window ([`Confirmations`]).

use std::collections::BTreeMap;

use ks_protocol::{id::DeviceId, time::UnixMs};
use ks_server::rollout::{outcome::Outcome, policy::Gate, reading::group_of, update::UpdateState};

use crate::operator::{ObservedDecision, ObservedUpdate, rollout_monitor::ObservedRollouts};

/// Finds when devices were confirmed that failed later, while the stored heartbeats are read.
#[derive(Debug, Default)]
pub struct Confirmations {
    /// By device: for each of its updates when the window ended, when the update ended, and the first heartbeat in between.
    wanted: BTreeMap<DeviceId, Vec<ConfirmationWindow>>,
}

#[derive(Debug)]
struct ConfirmationWindow {
    window_ends: UnixMs,
    update_ends: UnixMs,
    first: Option<UnixMs>,
}

impl Confirmations {
    /// For the updates of these rollouts.
    pub fn of(seen: &ObservedRollouts) -> Self {
        let mut wanted: BTreeMap<DeviceId, Vec<ConfirmationWindow>> = BTreeMap::new();
        for (rollout, _) in &seen.rollouts {
            let window_ms = rollout.policy.confirm_window_s.saturating_mul(1_000);
            for update in seen.updates.get(&rollout.rollout_id).into_iter().flatten() {
                if let Some((window_ends, update_ends)) = window(update, window_ms) {
                    let of_device = wanted.entry(update.device_id.clone()).or_default();
                    of_device.push(ConfirmationWindow { window_ends, update_ends, first: None });
                }
            }
        }
        Self { wanted }
    }

    /// Whether it wants to hear of heartbeats at all.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty()
    }

    /// Takes a stored heartbeat.
    pub fn heard(&mut self, device_id: &DeviceId, received_at: UnixMs) {
        let Some(of_device) = self.wanted.get_mut(device_id) else { return };
        for wanted in of_device {
            if (wanted.window_ends..wanted.update_ends).contains(&received_at) {
                wanted.first = Some(wanted.first.map_or(received_at, |first| first.min(received_at)));
            }
        }
    }

    /// When an update was first confirmed; none if it never was.
    pub(super) fn of_update(&self, update: &ObservedUpdate, window_s: u64) -> Option<UnixMs> {
        if update.state == UpdateState::Confirmed {
            return update.ended_at;
        }
        let (window_ends, update_ends) = window(update, window_s.saturating_mul(1_000))?;
        let is_it =
            |wanted: &&ConfirmationWindow| wanted.window_ends == window_ends && wanted.update_ends == update_ends;
        self.wanted.get(&update.device_id)?.iter().find(is_it)?.first
    }
}

/// From when until when an update may have been CONFIRMED before it ended otherwise.
fn window(update: &ObservedUpdate, window_ms: u64) -> Option<(UnixMs, UnixMs)> {
    let may_have_been = update.state.is_failure() || update.state == UpdateState::Withdrawn;
    let window_ends = UnixMs(update.confirming_since?.0.saturating_add(window_ms));
    let update_ends = update.ended_at.filter(|ended| may_have_been && *ended > window_ends)?;
    Some((window_ends, update_ends))
}

/// A device's outcome changed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change<'a> {
    pub(super) at: UnixMs,
    device: &'a ObservedUpdate,
    from: Option<Outcome>,
    to: Option<Outcome>,
}

/// Every change of an outcome, in order of time.
pub(super) fn changes<'a>(
    updates: &'a [ObservedUpdate],
    confirmations: &Confirmations,
    window_s: u64,
) -> Vec<Change<'a>> {
    let mut changes = Vec::new();
    for device in updates {
        let confirmed_at = confirmations.of_update(device, window_s);
        if let Some(at) = confirmed_at {
            changes.push(Change { at, device, from: None, to: Some(Outcome::Confirmed) });
        }
        let from = confirmed_at.map(|_| Outcome::Confirmed);
        let to = device.state.outcome();
        if let Some(at) = device.ended_at.filter(|_| from != to) {
            changes.push(Change { at, device, from, to });
        }
    }
    changes.sort_by_key(|change| change.at); // stable: of one device its first outcome comes first
    changes
}

/// A group's counts at a moment at which a gate may begin to fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    pub(super) at: UnixMs,
    /// The group: `all`, a model, a site.
    pub(super) of: String,
    pub(super) failed: u32,
    pub(super) executed: u32,
    /// The greatest number of executed devices that an evaluation of this moment can have seen.
    pub(super) executed_max: u32,
}

/// The longest time until an outcome is evaluated, in milliseconds: the shortest time between two evaluations.
pub(super) const EVALUATED_WITHIN_MS: u64 = 1_000;

/// The moments at which this gate may begin to fail: wherever failures of a group increased, or its other devices decreased.
/// Devices that add neither can only lower the share.
pub(super) fn points(gate: &Gate, changes: &[Change<'_>], decisions: &[ObservedDecision]) -> Vec<Point> {
    let promoted: Vec<UnixMs> =
        decisions.iter().filter(|decision| decision.decision == "promoted").map(|decision| decision.at).collect();
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    let mut points: Vec<Point> = Vec::new();
    let mut rest = changes;
    while let Some(first) = rest.first() {
        let at = first.at;
        let (now, later) = rest.split_at(rest.iter().take_while(|change| change.at == at).count());
        rest = later;
        let stage = promoted.iter().filter(|promoted| **promoted < at).count();
        let mut worse: BTreeMap<String, bool> = BTreeMap::new();
        for change in now {
            let Some(of) =
                group_of(gate.scope, stage, (change.device.stage, &change.device.model, &change.device.site))
            else {
                continue;
            };
            let (failed, executed) = counts.entry(of.clone()).or_default();
            let is_failure = |outcome: Option<Outcome>| outcome.is_some_and(|outcome| gate.outcomes.contains(&outcome));
            *failed = (*failed + u32::from(is_failure(change.to))).saturating_sub(u32::from(is_failure(change.from)));
            *executed = (*executed + u32::from(change.to.is_some())).saturating_sub(u32::from(change.from.is_some()));
            *worse.entry(of).or_default() |= is_failure(change.to) || change.to.is_none();
        }
        // Time-outs are judged in the evaluation that finds them, in which all of this moment's outcomes are seen.
        let is_evaluation = now.iter().any(|change| {
            matches!(change.device.state, UpdateState::Lost | UpdateState::TimedOut)
                && change.device.ended_at == Some(at)
        });
        let soon = |change: &&Change<'_>| change.at.since_ms(at) <= EVALUATED_WITHIN_MS;
        for (of, _) in worse.into_iter().filter(|(_, worse)| *worse) {
            let (failed, executed) = counts.get(&of).copied().unwrap_or_default();
            let is_of_it = |change: &&Change<'_>| {
                change.from.is_none()
                    && group_of(gate.scope, stage, (change.device.stage, &change.device.model, &change.device.site))
                        .as_deref()
                        == Some(&*of)
            };
            let more = if is_evaluation { 0 } else { later.iter().take_while(soon).filter(is_of_it).count() };
            let executed_max = executed.saturating_add(u32::try_from(more).unwrap_or(u32::MAX));
            points.push(Point { at, of, failed, executed, executed_max });
        }
    }
    points
}
