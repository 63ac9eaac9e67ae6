//! When a bug shows at the latest, whatever the time of day at which the rollout begins.
//!
//! Where no site closes the time of day does not matter. Otherwise every minute of a day is tried as the start: a stage waits for devices
//! of a closed site until it opens, a silent one there is lost only once it is open for long enough, and nothing is promoted while
//! devices are silent.

use std::time::Duration;

use ks_server::rollout::{duration::INSTALL_S, policy::Policy};

use super::opening::Opening;

/// The engine evaluates a rollout at least this often, twice: one finds a loss, the next may act on it.
pub(super) const EVALUATED_WITHIN: Duration = Duration::from_mins(1);
/// A site that opens is heard after a heartbeat interval and this: devices boot, and the engine looks once a minute.
const BACK_AFTER: Duration = Duration::from_mins(5);
const MINUTE: Duration = Duration::from_mins(1);
/// Sites of which one or another is always closed are never all heard: so many closings show it.
const CLOSINGS_TRIED: u32 = 100;
const MINUTES_OF_A_DAY: u32 = 24 * 60;

/// Devices of a stage with the same opening hours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) opening: Opening,
    pub(super) devices: u32,
    /// Some of them can have the bug.
    pub(super) can_fail: bool,
    /// How often as many of a site's devices as may be out of service at a time must end, before its last one begins.
    pub(super) site_rounds: u32,
    /// Some are at sites that have devices with other hours too.
    pub(super) is_mixed: bool,
}

/// A stage of a policy, as far as its times depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Steps {
    pub(super) parts: Vec<Part>,
    /// Devices that must have an outcome.
    pub(super) needed: u32,
    /// The time in which all can have theirs at best, by the server's plan.
    pub(super) all_run: Duration,
}

/// The offers of a stage, as far as a device has to wait for those of others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Offers {
    /// It is the first.
    None,
    AtBest,
    AtMost,
}

/// What takes how long, whatever the stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lengths {
    /// Between two heartbeats.
    pub(super) interval: Duration,
    pub(super) confirm_window: Duration,
    pub(super) in_flight_max: u32,
    /// From the update until a device that has the bug dies, or reports it, at the latest.
    pub(super) dies_after: Duration,
    /// How long it is then silent; none if it reports the bug.
    pub(super) lost_after: Option<Duration>,
}

impl Lengths {
    pub(super) fn of(policy: &Policy, interval: Duration, dies_after: Duration, is_silent: bool) -> Self {
        Self {
            interval,
            confirm_window: Duration::from_secs(policy.confirm_window_s),
            in_flight_max: policy.in_flight_max.max(1),
            dies_after,
            lost_after: is_silent.then(|| Duration::from_secs(policy.lost_after_s)),
        }
    }

    fn back_after(&self) -> Duration {
        self.interval + BACK_AFTER
    }

    /// From an offer, which the next heartbeat brings, until the firmware runs and is heard.
    fn update(&self) -> Duration {
        self.interval * 2 + self.confirm_window.max(Duration::from_secs(INSTALL_S))
    }

    /// How long the last device of a part waits because of all devices of the stage, and then because of those of its site.
    ///
    /// At best the pace is that of the server's plan, and a site whose devices take longer makes up the difference. At most there is more:
    /// the plan counts nothing but the window for those that must be confirmed before, and a site's devices may have to wait for
    /// both.
    fn waits(&self, stage: &Steps, part: &Part, offers: Offers) -> (Duration, Duration) {
        let by_pace = stage.all_run.saturating_sub(self.confirm_window);
        let longer = self.interval * 2 + Duration::from_secs(INSTALL_S);
        let at_site = self.site_takes(part);
        match offers {
            Offers::None => (Duration::ZERO, Duration::ZERO),
            Offers::AtBest => (by_pace, at_site.saturating_sub(by_pace)),
            Offers::AtMost => (by_pace + longer * self.rounds(stage), at_site),
        }
    }

    /// How long the devices of a site wait for each other.
    fn site_takes(&self, part: &Part) -> Duration {
        let each = self.interval * 3 + Duration::from_secs(INSTALL_S) + self.confirm_window + EVALUATED_WITHIN;
        each * part.site_rounds
    }

    /// How often all that may be updated at a time must end, before the last device begins.
    fn rounds(&self, stage: &Steps) -> u32 {
        stage.parts.iter().map(|part| part.devices).sum::<u32>().saturating_sub(1) / self.in_flight_max
    }

    /// How long after its offer a device that has the bug is known to have failed, at the latest.
    pub(super) fn shown_after_offer(&self, stage: &Steps) -> Option<Duration> {
        let each = starts([stage]).map(|begins| Some(self.shown(stage, begins, Offers::None)?.saturating_sub(begins)));
        each.collect::<Option<Vec<Duration>>>()?.into_iter().max()
    }

    /// When the devices of a part have the firmware that a stage brings which begins now.
    fn updated(&self, stage: &Steps, part: &Part, begins: Duration, offers: Offers) -> Option<Duration> {
        let (by_all, at_site) = self.waits(stage, part, offers);
        // Devices that lose their power while they are updated are in the way of others until it is back: of those of their own site, and,
        // once all that may be updated at a time are, of all.
        let has_others = stage.parts.iter().any(|other| other.opening != part.opening);
        let waits = |from: Duration, length: Duration, for_others: bool| {
            if !for_others {
                return part.opening.open_for(from, length);
            }
            let each = stage.parts.iter().map(|other| other.opening.open_for(from, length));
            each.collect::<Option<Vec<Duration>>>()?.into_iter().max()
        };
        let for_all = has_others && self.rounds(stage) > 0;
        let for_site = has_others && part.is_mixed && part.site_rounds > 0;
        let mut offered = waits(waits(begins, by_all, for_all)?, at_site, for_site)?;
        if for_all || for_site {
            offered = part.opening.open_for(offered, self.update() + self.confirm_window)?;
        }
        part.opening.open_at_a_stretch(offered, self.update())
    }

    /// When the bug has shown on all devices of a stage that begins now.
    fn shown(&self, stage: &Steps, begins: Duration, offers: Offers) -> Option<Duration> {
        let mut last = begins;
        for part in stage.parts.iter().filter(|part| part.can_fail) {
            let fails = self.updated(stage, part, begins, offers)? + self.dies_after;
            let shows = match self.lost_after {
                Some(lost_after) => part.opening.lost(fails, lost_after, self.back_after())?,
                None => fails,
            };
            last = last.max(shows);
        }
        Some(last + EVALUATED_WITHIN)
    }

    /// When the bake time of a stage that begins now may begin, at the earliest.
    fn evidence_at_best(&self, stage: &Steps, begins: Duration) -> Option<Duration> {
        let mut opens = Vec::new();
        for part in &stage.parts {
            opens.push((part.opening.opens(begins)?, part.devices));
        }
        opens.sort_unstable();
        let mut counted = 0;
        let enough = opens.iter().find(|(_, devices)| {
            counted += devices;
            counted >= stage.needed
        });
        let opened = enough.map_or(begins, |(opens, _)| *opens);
        // A device that fails may have its outcome at once.
        let offered = stage.all_run.saturating_sub(stage.all_run / 10 + self.confirm_window);
        Some(opened.max(begins + offered))
    }

    /// When a stage that begins now is promoted at the latest, if no device fails.
    fn promoted(&self, stage: &Steps, bake: Duration, begins: Duration) -> Option<Duration> {
        let mut at = begins;
        for part in &stage.parts {
            let updated = self.updated(stage, part, begins, Offers::AtMost)?;
            at = at.max(part.opening.open_for(updated, self.confirm_window + self.interval)?);
        }
        at += bake;
        // Nobody is silent, or has been until a moment ago.
        let back_after = self.back_after();
        for _ in 0..CLOSINGS_TRIED {
            let before = at;
            for part in stage.parts.iter().filter(|part| part.opening.closes()) {
                at = at.max(part.opening.open_at_a_stretch(at.saturating_sub(back_after), back_after)?);
            }
            if at == before {
                return Some(at + EVALUATED_WITHIN);
            }
        }
        None
    }

    /// The bake time after which the bug has shown on every device that has got the release by then.
    pub(super) fn bake(&self, stage: &Steps) -> Option<Duration> {
        let each = starts([stage]).map(|begins| {
            let shown = self.shown(stage, begins, Offers::AtBest)?;
            Some(shown.saturating_sub(self.evidence_at_best(stage, begins)?))
        });
        each.collect::<Option<Vec<Duration>>>()?.into_iter().max()
    }

    /// How long after the start the bug has shown in the last of these stages at the latest, each with its bake time.
    pub(super) fn found_after(&self, stages: &[(&Steps, Duration)]) -> Option<Duration> {
        let (last, before) = stages.split_last()?;
        let each = starts(stages.iter().map(|(stage, _)| *stage)).map(|start| {
            let begins = before.iter().try_fold(start, |begins, (stage, bake)| self.promoted(stage, *bake, begins))?;
            Some(self.shown(last.0, begins, Offers::AtMost)?.saturating_sub(start))
        });
        each.collect::<Option<Vec<Duration>>>()?.into_iter().max()
    }
}

/// The times of day at which these stages may begin, as far as it matters; never just after a site closes, which a minute more covers.
fn starts<'s>(stages: impl IntoIterator<Item = &'s Steps>) -> impl Iterator<Item = Duration> {
    let does_close = stages.into_iter().flat_map(|stage| &stage.parts).any(|part| part.opening.closes());
    (0..if does_close { MINUTES_OF_A_DAY } else { 1 }).map(|minute| MINUTE * minute)
}

#[cfg(test)]
mod tests;
