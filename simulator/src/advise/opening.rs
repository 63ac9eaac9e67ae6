//! The hours in which the devices of a place have power, and when a device there can be updated, or is lost.
//!
//! Times count from a midnight in UTC. A silent device of a site that is offline is excused, and its time begins again when the site
//! is back; whether the server excuses it depends on who else is silent, so here it always does, which is the latest.

use std::time::Duration;

use ks_protocol::time::UnixMs;
use ks_server::clock::ms;

use crate::scenario::{Churn, ChurnTime};

const HOUR: Duration = Duration::from_hours(1);
const HOURS: usize = 24;

/// When devices of a model and a site have power, every day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Opening {
    is_closed: [bool; HOURS],
}

impl Opening {
    /// Where only these failures happen.
    pub(super) fn of<'a>(churn: impl Iterator<Item = &'a Churn>) -> Self {
        let mut is_closed = [false; HOURS];
        for churn in churn {
            let ChurnTime::Daily(hours) = churn.when else { continue };
            for (hour, is_closed) in (0_u32..).zip(&mut is_closed) {
                *is_closed |= hours.contain(UnixMs(ms(HOUR * hour)));
            }
        }
        Self { is_closed }
    }

    /// Whether it ever closes.
    pub(super) fn closes(&self) -> bool {
        self.is_closed.contains(&true)
    }

    fn is_open(&self, at: Duration) -> bool {
        let hour = usize::try_from(at.as_secs() / HOUR.as_secs()).unwrap_or(0) % HOURS;
        !self.is_closed.get(hour).copied().unwrap_or(false)
    }

    /// The first moment from this one on at which it is open or, if `open` is not wanted, closed; none if there is none.
    fn next(&self, at: Duration, open: bool) -> Option<Duration> {
        if self.is_open(at) == open {
            return Some(at);
        }
        let hour = at.as_secs() / HOUR.as_secs();
        let hours = (1..=24).map(|later| Duration::from_secs((hour + later) * HOUR.as_secs()));
        hours.into_iter().find(|at| self.is_open(*at) == open)
    }

    /// From when on it is open.
    pub(super) fn opens(&self, at: Duration) -> Option<Duration> {
        self.next(at, true)
    }

    /// When it has been open for this long in all.
    pub(super) fn open_for(&self, from: Duration, length: Duration) -> Option<Duration> {
        let (mut at, mut left) = (self.opens(from)?, length);
        while let Some(closes) = self.next(at, false) {
            let open = closes.saturating_sub(at);
            if open >= left {
                break;
            }
            left = left.saturating_sub(open);
            at = self.opens(closes)?;
        }
        Some(at + left)
    }

    /// When it has been open for this long at a stretch; none if it never is.
    pub(super) fn open_at_a_stretch(&self, from: Duration, length: Duration) -> Option<Duration> {
        self.stretch(from, Duration::ZERO, length)
    }

    /// When a device that is silent from this moment on is lost at the latest, if it may be silent for `lost_after` and a site
    /// that opens takes `back` to be heard; none if it closes every day before that.
    pub(super) fn lost(&self, silent_from: Duration, lost_after: Duration, back: Duration) -> Option<Duration> {
        self.stretch(silent_from, back, lost_after)
    }

    /// The end of the first stretch of so long in which it is open, which begins so long after each opening.
    fn stretch(&self, from: Duration, back: Duration, length: Duration) -> Option<Duration> {
        let mut at = from;
        for _ in 0..=HOURS {
            let opens = self.opens(at)?;
            let begins = if opens == at && at == from { at } else { opens + back };
            match self.next(opens, false) {
                Some(closes) if begins + length > closes => at = closes,
                _ => return Some(begins + length),
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{ChurnKind, Hours};

    const MINUTE: Duration = Duration::from_mins(1);

    fn opening(hours: &[&str]) -> Opening {
        let closed = |hours: &&str| Churn {
            kind: ChurnKind::SiteCloses,
            when: ChurnTime::Daily(Hours::parse(hours).unwrap()),
            loss_bp: 0,
            only_model: None,
            only_site: None,
        };
        Opening::of(hours.iter().map(closed).collect::<Vec<_>>().iter())
    }

    fn minutes(hours: u64, minutes: u64) -> Duration {
        Duration::from_mins(hours * 60 + minutes)
    }

    /// Goal: all times are those of a clock that goes on by a minute. Method: every 61 minutes of a day, with closings over
    /// midnight, of one hour, of two tables, and none.
    #[test]
    fn times_are_those_of_a_clock_that_is_watched() {
        for closed in [&["22-06"][..], &["03-04"], &["20-24", "00-05"], &["12-13", "22-08"], &["09-08"], &[]] {
            let opening = opening(closed);
            let all: Vec<Hours> = closed.iter().map(|hours| Hours::parse(hours).unwrap()).collect();
            let is_open = |minute: u64| !all.iter().any(|hours| hours.contain(UnixMs(minute * 60_000)));
            for from in (0..24 * 60).step_by(61) {
                for length in [1, 59, 60, 61, 240, 900, 1_200] {
                    // Minutes with power in all, and since the power last came back.
                    let (mut in_all, mut stretch) = (0, 0);
                    let (mut had_in_all, mut had_stretch, mut is_lost) = (None, None, None);
                    let mut silent_from = from;
                    for minute in from..from + 28 * 24 * 60 {
                        (in_all, stretch) = if is_open(minute) { (in_all + 1, stretch + 1) } else { (in_all, 0) };
                        if !is_open(minute) {
                            silent_from = minute + 1 + 10; // heard again ten minutes after it opens
                        }
                        let lost = if is_open(minute) { (minute + 1).saturating_sub(silent_from) } else { 0 };
                        had_in_all = had_in_all.or((in_all == length).then_some(minute + 1));
                        had_stretch = had_stretch.or((stretch == length).then_some(minute + 1));
                        is_lost = is_lost.or((lost == length).then_some(minute + 1));
                    }
                    let (at, length_min) = (minutes(0, from), minutes(0, length));
                    let of = |minute: Option<u64>| minute.map(|minute| minutes(0, minute));
                    let case = format!("{closed:?} from {from} for {length}");
                    assert_eq!(opening.open_for(at, length_min), of(had_in_all), "{case}");
                    assert_eq!(opening.open_at_a_stretch(at, length_min), of(had_stretch), "{case}");
                    assert_eq!(opening.lost(at, length_min, MINUTE * 10), of(is_lost), "{case}");
                }
            }
        }
    }
}
