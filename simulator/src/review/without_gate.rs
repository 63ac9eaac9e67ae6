//! What a release would have done to the targets that never wrote it, had nothing stopped its rollout.
//!
//! A fault may look at the hour, and at where a device is, what it runs and how long it has been up. So each device is judged as it
//! was when it would have got the release. That moment is not known exactly: it is expected as the policy's stages follow one
//! another ([`super::continuation`]), and every moment at which the device may have got it, with power and a link, gives the range.

use std::{collections::BTreeSet, time::Duration};

use ks_protocol::{id::DeviceId, time::UnixMs};
use ks_reports::review::{AssumedWithoutGate, Fate, Range, Truth};

use super::{Target, With, continuation::Window, reach::Reach, truth};
use crate::{
    device::fate::{Condition, FateNotes},
    fleet::ground_truth::InstallOutcome,
    operator::ObservedUpdate,
    scenario::{Plan, Scope},
};

const HOUR: Duration = Duration::from_hours(1);

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
    for at in moments(with, release_counter, update, notes, window) {
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
    update: &ObservedUpdate,
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
    let reach = with.reaches.get(&update.device_id);
    moments.extend(reach.into_iter().flat_map(Reach::returns));
    moments.retain(|at| (earliest..=latest).contains(at) && reach.is_none_or(|reach| reach.is_on(*at)));
    std::iter::once(expected).chain(moments).collect()
}

/// Whether any release of a run has a fault for which it matters when it is installed.
pub(super) fn may_depend_on_time(plan: &Plan) -> bool {
    plan.firmware.iter().flat_map(|firmware| &firmware.faults).any(|fault| depends_on_time(&fault.scope))
}

/// Whether it matters for a fault when the release is installed.
fn depends_on_time(scope: &Scope) -> bool {
    let Scope { only_model: _, only_site, from_version, uptime_min, uptime_max, hours } = scope;
    let looks_at_stay = only_site.is_some() || from_version.is_some() || !uptime_min.is_zero() || uptime_max.is_some();
    looks_at_stay || hours.is_some()
}

/// What was assumed of targets that did not write the release; none if it does not matter when they would have got it.
pub(super) fn assumed(with: &With<'_>, targets: &[Target<'_>]) -> Option<AssumedWithoutGate> {
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
    Some(AssumedWithoutGate {
        devices: u64::try_from(windows().count()).unwrap_or(u64::MAX),
        from_s: windows().map(|window| window.earliest).min()?.as_secs_f64(),
        until_s: windows().map(|window| window.latest).max()?.as_secs_f64(),
        breaks: range(|_| true, Truth::breaks),
        goes_wrong: range(|_| true, Truth::is_bad),
        spared_breaks: range(is_spared, Truth::breaks),
    })
}
