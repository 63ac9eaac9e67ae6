//! When a device could be reached, in the run and after it: it has power and a link, and its site is not cut off.

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::{id::DeviceId, time::UnixMs};
use ks_server::{
    clock::ms,
    pace::{Phase, next_beat_ms},
    rollout::policy::WHOLE_BP,
};

use crate::{
    fleet::{
        self,
        churn::{Episode, Schedule},
    },
    scenario::{ChurnKind, HeartbeatInterval, Plan, TimedStep},
    timeline::{OutageScope, Step},
};

/// When a device could not be reached: in order, without overlaps.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reach {
    cut: Vec<(Duration, Duration)>,
    /// When its heartbeats come within their interval, if that is known.
    phase: Option<Duration>,
}

impl Reach {
    /// Never cut off.
    pub(super) const ALWAYS: Self = Self { cut: Vec::new(), phase: None };

    /// Cut off in these times.
    pub(super) fn without(mut cut: Vec<(Duration, Duration)>) -> Self {
        cut.sort_unstable();
        let mut whole: Vec<(Duration, Duration)> = Vec::new();
        for (from, to) in cut {
            match whole.last_mut() {
                Some((_, ends)) if from <= *ends => *ends = to.max(*ends),
                _ => whole.push((from, to)),
            }
        }
        Self { cut: whole, phase: None }
    }

    /// When its next heartbeat is due from a moment on; if its phase is not known, as it is on average.
    pub(super) fn next_beat(&self, at: Duration, interval: Duration) -> Duration {
        let Some(phase) = self.phase else { return at + interval / 2 };
        let into = Duration::from_millis(ms(at) % ms(interval).max(1));
        let due = if into <= phase { phase } else { interval + phase };
        at + due.saturating_sub(into)
    }

    /// The first moment from this one on at which it can be reached; none if it is gone.
    pub(super) fn from(&self, at: Duration) -> Option<Duration> {
        let before = self.cut.partition_point(|(from, _)| *from <= at);
        let last = before.checked_sub(1).and_then(|last| self.cut.get(last));
        let back = last.map_or(at, |(_, to)| at.max(*to));
        (back < Duration::MAX).then_some(back)
    }

    /// Whether it can be reached.
    pub(super) fn is_on(&self, at: Duration) -> bool {
        self.from(at) == Some(at)
    }

    /// Whether it could be reached at any time between two moments.
    pub(super) fn was_on(&self, from: Duration, to: Duration) -> bool {
        self.from(from).is_some_and(|on| on <= to)
    }

    /// Whether it can be reached all the time between two moments.
    pub(super) fn stays_on(&self, from: Duration, to: Duration) -> bool {
        self.is_on(from) && self.cut.iter().all(|(begins, _)| *begins <= from || *begins > to)
    }

    /// When it can be reached again, within these times.
    pub(super) fn returns(&self) -> impl Iterator<Item = Duration> {
        self.cut.iter().map(|(_, to)| *to)
    }
}

/// When each device can be reached, of those that can't be always.
pub(super) fn of_fleet(plan: &Plan, epoch: UnixMs, until: Duration) -> BTreeMap<DeviceId, Reach> {
    let outages: Vec<_> = plan.timeline.iter().filter_map(outage).collect();
    // What happens to a device on a day does not depend on how long the run is.
    let longer = Plan { duration: until.max(plan.duration), ..plan.clone() };
    let schedule = Schedule::of(&longer, epoch);
    if schedule.is_empty() && outages.is_empty() {
        return BTreeMap::new();
    }
    let of_device = |device: fleet::DeviceSpec| {
        let episodes = schedule.episodes(&device);
        let mut cut: Vec<_> = episodes.iter().filter_map(without).collect();
        let site = schedule.site(device.site);
        let is_there = |scope: &OutageScope| match scope {
            OutageScope::EverySite => true,
            OutageScope::Site(name) => name == site,
        };
        cut.extend(outages.iter().filter(|(scope, _)| is_there(scope)).map(|(_, cut)| *cut));
        let phase = Some(phase(plan, epoch, &device));
        (!cut.is_empty()).then(|| (device.device_id, Reach { phase, ..Reach::without(cut) }))
    };
    fleet::with_replacements(plan).unwrap_or_default().into_iter().filter_map(of_device).collect() // the run has reported what is wrong
}

/// When a device's heartbeats come within their interval, since the start of the run.
fn phase(plan: &Plan, epoch: UnixMs, device: &fleet::DeviceSpec) -> Duration {
    let interval = plan.interval();
    let at = match plan.fleet.heartbeat_interval {
        HeartbeatInterval::Fixed(_) => ms(device.starts_after),
        HeartbeatInterval::Server => next_beat_ms(Phase::of(&device.device_id), epoch, interval),
    };
    Duration::from_millis(at % ms(interval).max(1))
}

fn without(episode: &Episode) -> Option<(Duration, Duration)> {
    let Episode { kind, from, to, loss_bp, .. } = episode;
    match kind {
        ChurnKind::Removed | ChurnKind::Swapped => Some((*from, Duration::MAX)),
        ChurnKind::FlakyLink => (*loss_bp >= WHOLE_BP).then_some((*from, *to)),
        ChurnKind::Unplugged | ChurnKind::Moved | ChurnKind::SiteCloses => Some((*from, *to)),
    }
}

fn outage(TimedStep { at, step, .. }: &TimedStep) -> Option<(&OutageScope, (Duration, Duration))> {
    let Step::Outage(outage) = step else { return None };
    Some((&outage.scope, (*at, *at + outage.length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_reached_between_its_cuts_and_no_more_once_it_is_gone() {
        let hour = Duration::from_hours;
        let reach = Reach::without(vec![(hour(20), Duration::MAX), (hour(4), hour(6)), (hour(5), hour(8))]);
        let from: Vec<_> =
            [0, 4, 5, 7, 8, 19, 20, 30].map(|at| reach.from(hour(at)).map(|on| on.as_secs() / 3_600)).into();
        assert_eq!(from, [Some(0), Some(8), Some(8), Some(8), Some(8), Some(19), None, None]);
        assert!(reach.is_on(hour(8)) && !reach.is_on(hour(7)) && reach.was_on(hour(7), hour(8)));
        assert!(
            !reach.was_on(hour(5), hour(7)) && reach.stays_on(hour(8), hour(19)) && !reach.stays_on(hour(9), hour(20))
        );
        assert!(!reach.stays_on(hour(3), hour(9)));
        let quarter = Duration::from_mins(15);
        let due = |reach: &Reach, minutes| reach.next_beat(Duration::from_mins(minutes), quarter).as_secs() / 60;
        let phased = Reach { phase: Some(Duration::from_mins(4)), ..reach.clone() };
        assert_eq!([0, 4, 5, 59].map(|minutes| due(&phased, minutes)), [4, 4, 19, 64]);
        assert_eq!(due(&reach, 8), 15, "in the middle of an interval");
    }
}
