//! When a whole site was silent, and in which hours of the day it always is.

use std::fmt;

use ks_protocol::time::UnixMs;

use crate::{clock::ms, service::presence::silence_ms, store::presence::ObservationGap};
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;
const DAY_HOURS: u64 = 24;
/// Least days on which an hour was observed before a site can be known to be closed in it: a week has each hour six times or seven in
/// full. With fewer, outages look the same, and weekends may be missing.
const DAYS_MIN: u32 = 6;

/// A part of every day, in whole hours of UTC; over midnight if it ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hours {
    /// 0 to 23.
    pub from: u8,
    /// The first hour that is not in it: 1 to 24.
    pub until: u8,
}

impl Hours {
    /// Whether the hour of the day is in it.
    pub fn contain(self, hour: u8) -> bool {
        if self.from < self.until {
            (self.from..self.until).contains(&hour)
        } else {
            hour >= self.from || hour < self.until
        }
    }
}

/// `22-06`
impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-{:02}", self.from, self.until)
    }
}

/// A time in which more than half of a site's devices were silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SilentPeriod {
    from: UnixMs,
    to: UnixMs,
    /// Most of it is in hours in which the site is closed.
    pub(super) is_closing: bool,
}

/// The silence of a site.
pub(super) struct Site {
    dark: Vec<SilentPeriod>,
    pub(super) closed: Vec<Hours>,
}

impl Site {
    /// Of the silences of its devices, and how many there are.
    pub(super) fn of(
        silences: impl Iterator<Item = (UnixMs, UnixMs)>,
        devices: usize,
        window: (UnixMs, UnixMs),
        gaps: &[ObservationGap],
    ) -> Self {
        let mut dark = dark_times(silences, devices);
        let closed = closed_hours(&dark, window, gaps);
        for dark in &mut dark {
            let (mut inside, mut all) = (0, 0);
            for (hour, within_ms) in hours_of(dark.from, dark.to) {
                all += within_ms;
                inside += if is_in(&closed, hour) { within_ms } else { 0 };
            }
            dark.is_closing = 2 * inside > all;
        }
        Self { dark, closed: runs(&closed) }
    }

    /// How many times the site was silent, without those when it closes.
    pub(super) fn outages(&self) -> u32 {
        u32::try_from(self.dark.iter().filter(|dark| !dark.is_closing).count()).unwrap_or(u32::MAX)
    }

    /// Whether a silence that begins at this time is that of the site. Its devices were last heard at most `before` earlier.
    pub(super) fn dark_at(&self, at: UnixMs, before: Duration) -> Option<SilentPeriod> {
        let next = self.dark.partition_point(|dark| dark.to <= at);
        self.dark.get(next).copied().filter(|dark| dark.from.minus_ms(ms(before)) <= at)
    }
}

/// Times in which more than half of these devices are silent.
fn dark_times(silences: impl Iterator<Item = (UnixMs, UnixMs)>, devices: usize) -> Vec<SilentPeriod> {
    // Of one moment, ends come first.
    let mut moments: Vec<(UnixMs, bool)> = silences.flat_map(|(from, to)| [(from, true), (to, false)]).collect();
    moments.sort_unstable();
    let (mut silent, mut since, mut dark) = (0_usize, None, Vec::new());
    for (at, begins) in moments {
        silent = if begins { silent + 1 } else { silent.saturating_sub(1) };
        match since {
            None if 2 * silent > devices => since = Some(at),
            Some(from) if 2 * silent <= devices => {
                dark.push(SilentPeriod { from, to: at, is_closing: false });
                since = None;
            }
            _ => {}
        }
    }
    dark
}

/// The hours, counted from the epoch, that a time touches, each with how much of it.
fn hours_of(from: UnixMs, to: UnixMs) -> impl Iterator<Item = (u64, u64)> {
    (from.0 / HOUR_MS..to.0.div_ceil(HOUR_MS)).map(move |hour| {
        let (begins, ends) = (hour * HOUR_MS, (hour + 1) * HOUR_MS);
        (hour, to.0.min(ends).saturating_sub(from.0.max(begins)))
    })
}

fn is_in(closed: &[bool; 24], hour: u64) -> bool {
    usize::try_from(hour % DAY_HOURS).ok().and_then(|hour| closed.get(hour).copied()).unwrap_or(false)
}

/// The hours of the day in which the site was silent for at least half an hour, on at least 8 of 10 days.
fn closed_hours(dark: &[SilentPeriod], (from, to): (UnixMs, UnixMs), gaps: &[ObservationGap]) -> [bool; 24] {
    let (mut observed, mut silent) = ([0_u32; 24], [0_u32; 24]);
    let add = |counts: &mut [u32; 24], hour: u64| {
        let index = usize::try_from(hour % DAY_HOURS).unwrap_or(0);
        if let Some(count) = counts.get_mut(index) {
            *count += 1;
        }
    };
    let is_observed = |hour: u64| {
        let (begins, ends) = (UnixMs(hour * HOUR_MS), UnixMs((hour + 1) * HOUR_MS));
        begins >= from && ends <= to && silence_ms(begins, ends, gaps).is_some_and(|open_ms| 2 * open_ms > HOUR_MS)
    };
    let all = from.0 / HOUR_MS..to.0.div_ceil(HOUR_MS);
    all.filter(|hour| is_observed(*hour)).for_each(|hour| add(&mut observed, hour));
    let mut within: std::collections::BTreeMap<u64, u64> = std::collections::BTreeMap::new();
    for (hour, within_ms) in dark.iter().flat_map(|dark| hours_of(dark.from, dark.to)) {
        *within.entry(hour).or_default() += within_ms;
    }
    let dark_hours = within.into_iter().filter(|(hour, within_ms)| 2 * within_ms >= HOUR_MS && is_observed(*hour));
    dark_hours.for_each(|(hour, _)| add(&mut silent, hour));
    let mut closed = [false; 24];
    for ((closed, silent), observed) in closed.iter_mut().zip(silent).zip(observed) {
        *closed = observed >= DAYS_MIN && 10 * silent >= 8 * observed;
    }
    closed
}

/// Hours that follow one another, over midnight too. A site that is always closed has none: it is no site that closes.
fn runs(closed: &[bool; 24]) -> Vec<Hours> {
    let begins = |hour: u8| is_in(closed, hour.into()) && !is_in(closed, u64::from(hour) + 23);
    let until = |from: u8| (from + 1..from + 24).find(|hour| !is_in(closed, (*hour).into()));
    let run = |from: u8| until(from).map(|until| Hours { from, until: if until > 24 { until - 24 } else { until } });
    (0..24).filter(|hour| begins(*hour)).filter_map(run).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Midnight in UTC.
    const START: u64 = 20_000 * 24 * HOUR_MS;

    fn at(day: u64, hour: u64, minute: u64) -> UnixMs {
        UnixMs(START + (day * 24 + hour) * HOUR_MS + minute * 60_000)
    }

    #[test]
    fn a_site_is_dark_while_more_than_half_of_its_devices_are_silent() {
        let silences = [(at(0, 1, 0), at(0, 5, 0)), (at(0, 2, 0), at(0, 4, 0)), (at(0, 3, 0), at(0, 3, 30))];
        let dark = |devices| -> Vec<(UnixMs, UnixMs)> {
            dark_times(silences.into_iter(), devices).iter().map(|dark| (dark.from, dark.to)).collect()
        };
        assert_eq!(dark(3), [(at(0, 2, 0), at(0, 4, 0))]);
        assert_eq!(dark(4), [(at(0, 3, 0), at(0, 3, 30))]);
        assert_eq!(dark(6), []);
        assert_eq!(dark(1), [(at(0, 1, 0), at(0, 5, 0))]);
    }

    /// Each night from 21:50 to 06:10 on ten days, except one: 9 of 10 nights. One outage at noon.
    #[test]
    fn hours_that_are_dark_on_most_days_are_closed() {
        let nights = (0..10).filter(|day| *day != 4).map(|day| (at(day, 21, 50), at(day + 1, 6, 10)));
        let all = || nights.clone().chain([(at(3, 12, 0), at(3, 13, 0))]).flat_map(|night| [night; 2]);
        let window = (at(0, 8, 0), at(10, 8, 0));
        let site = Site::of(all(), 3, window, &[]);
        assert_eq!(site.closed, [Hours { from: 22, until: 6 }]);
        assert_eq!(site.outages(), 1);
        let is_closing = |at| site.dark_at(at, Duration::from_mins(3)).map(|dark| dark.is_closing);
        assert_eq!(is_closing(at(2, 21, 48)), Some(true));
        assert_eq!(is_closing(at(2, 21, 46)), None);
        assert_eq!(is_closing(at(3, 12, 30)), Some(false));
        assert_eq!(is_closing(at(3, 13, 0)), None);
        let short = Site::of(all(), 3, (at(0, 8, 0), at(5, 8, 0)), &[]);
        assert_eq!(short.closed, [], "less than a week");
    }

    #[test]
    fn hours_in_which_no_server_listened_prove_nothing() {
        // Open all day, but every night nobody listened: the silences are as long as the gaps and a little more.
        let nights: Vec<_> = (0..9).map(|day| (at(day, 22, 0), at(day + 1, 6, 0))).collect();
        let gaps: Vec<_> = nights.iter().map(|(from, to)| ObservationGap { from: *from, to: *to }).collect();
        let site = Site::of(nights.into_iter(), 1, (at(0, 8, 0), at(9, 8, 0)), &gaps);
        assert_eq!(site.closed, []);
    }

    #[test]
    fn closed_hours_are_written_as_runs() {
        let written = |hours: &[usize]| -> Vec<String> {
            let mut closed = [false; 24];
            for hour in hours {
                closed[*hour] = true;
            }
            runs(&closed).iter().map(Hours::to_string).collect()
        };
        assert_eq!(written(&[22, 23, 0, 1]), ["22-02"]);
        assert_eq!(written(&[22, 23]), ["22-24"]);
        assert_eq!(written(&[0, 1, 12]), ["00-02", "12-13"]);
        assert_eq!(written(&(0..24).collect::<Vec<_>>()), [""; 0]);
        let all_but_five: Vec<usize> = (0..24).filter(|hour| *hour != 5).collect();
        assert_eq!(written(&all_but_five), ["06-05"]);
    }
}
