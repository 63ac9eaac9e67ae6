//! Hours of the day, in UTC: `22-06` is from 22:00 on, and no longer at 06:00.

use std::{fmt, time::Duration};

use ks_protocol::time::UnixMs;

/// Milliseconds of an hour and of a day.
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// A part of every day, in whole hours of UTC; over midnight if it ends before it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hours {
    /// 0 to 23.
    from: u8,
    /// The first hour that is not in it: 1 to 24.
    until: u8,
}

impl Hours {
    /// Two hours of two digits, such as `22-06`; none if they are anything else, or include nothing or the whole day.
    pub fn parse(text: &str) -> Option<Self> {
        let (from, until) = text.split_once('-')?;
        let hour = |text: &str| {
            let is_hour = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse::<u8>().ok().filter(|_| is_hour)
        };
        let (from, until) = (hour(from)?, hour(until)?);
        let until = if until == 0 { 24 } else { until };
        (from < 24 && until <= 24 && from != until % 24).then_some(Self { from, until })
    }

    /// Whether that moment is in it.
    pub fn contain(self, at: UnixMs) -> bool {
        let hour = at.0 % DAY_MS / HOUR_MS;
        let (from, until) = (u64::from(self.from), u64::from(self.until));
        if from < until { (from..until).contains(&hour) } else { hour >= from || hour < until }
    }

    /// Whether all of `other` is in it.
    pub fn cover(self, other: Self) -> bool {
        (0..24).map(|hour| UnixMs(hour * HOUR_MS)).all(|at| !other.contain(at) || self.contain(at))
    }

    /// Every time in which it is these hours, from a moment on for `length`: start and end since that moment.
    pub fn within(self, start: UnixMs, length: Duration) -> impl Iterator<Item = (Duration, Duration)> {
        let into_day = Duration::from_millis(start.0 % DAY_MS);
        let from = Duration::from_hours(self.from.into());
        let hours = if self.from < self.until { self.until - self.from } else { 24 - self.from + self.until };
        // The first may have begun on the day before.
        let days = length.as_millis() / u128::from(DAY_MS) + 3;
        (0..u32::try_from(days).unwrap_or(u32::MAX)).filter_map(move |day| {
            // On a clock that was zero a day before the midnight before `start`.
            let begins = from + Duration::from_hours(24) * day;
            let (ends, zero) = (begins + Duration::from_hours(hours.into()), into_day + Duration::from_hours(24));
            let ends = ends.checked_sub(zero)?.min(length);
            let begins = begins.saturating_sub(zero);
            (begins < ends).then_some((begins, ends))
        })
    }
}

/// `22-06`
impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}-{:02}", self.from, self.until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64, minute: u64) -> UnixMs {
        UnixMs(20_000 * DAY_MS + hour * HOUR_MS + minute * 60_000)
    }

    fn in_hours(hours: &str, start: UnixMs, length: u64) -> Vec<(u64, u64)> {
        let within = Hours::parse(hours).unwrap().within(start, Duration::from_hours(length));
        within.map(|(from, to)| (from.as_secs() / 60, to.as_secs() / 60)).collect()
    }

    #[test]
    fn hours_begin_at_the_first_and_end_before_the_second() {
        let night = Hours::parse("22-06").unwrap();
        let inside = [at(22, 0), at(23, 59), at(0, 0), at(5, 59)];
        assert!(inside.into_iter().all(|at| night.contain(at)));
        assert!([at(6, 0), at(12, 0), at(21, 59)].into_iter().all(|at| !night.contain(at)));
        let evening = Hours::parse("18-24").unwrap();
        assert!(evening.contain(at(23, 59)) && !evening.contain(at(0, 0)) && !evening.contain(at(17, 59)));
        assert_eq!((night.to_string(), evening, Hours::parse("18-00")), ("22-06".to_owned(), evening, Some(evening)));
    }

    #[test]
    fn what_is_not_two_different_hours_is_refused() {
        for wrong in
            ["", "-", "22", "22-6", "22-25", "24-06", "06-06", "00-24", "00-00", "22:00-06:00", "-1-03", "+1-03"]
        {
            assert_eq!(Hours::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn hours_cover_those_that_are_part_of_them() {
        let cover = |one: &str, other: &str| Hours::parse(one).unwrap().cover(Hours::parse(other).unwrap());
        assert!(cover("22-06", "23-02") && cover("22-06", "00-06") && cover("08-18", "08-18"));
        assert!(!cover("22-06", "05-07") && !cover("08-18", "22-06"));
    }

    #[test]
    fn every_night_of_a_run_is_found_also_the_one_that_it_begins_in() {
        // Minutes since the start; the run begins at midnight, then at 23:30.
        assert_eq!(in_hours("22-06", at(0, 0), 48), [(0, 360), (1_320, 1_800), (2_760, 2_880)]);
        assert_eq!(in_hours("22-06", at(23, 30), 24), [(0, 390), (1_350, 1_440)]);
        assert_eq!(in_hours("08-18", at(12, 0), 24), [(0, 360), (1_200, 1_440)]);
        assert_eq!(in_hours("08-18", at(19, 0), 10), []);
    }
}
