//! Dates of a run's moments: the run's start plus seconds.

use jiff::{SignedDuration, Timestamp};

/// When a run started on its own clock; unknown if its folder has no valid time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moments(Option<Timestamp>);

impl Moments {
    /// Of a run that started at this RFC 3339 time.
    pub(crate) fn since(started_at: &str) -> Self {
        Self(started_at.parse().ok())
    }

    /// The date of a moment, seconds into the run: `Thu 2026-01-01 02:08 UTC`; none if it is unknown.
    pub(crate) fn date(self, at_s: f64) -> Option<String> {
        let since = SignedDuration::try_from_secs_f64(at_s).ok()?;
        let at = self.0?.checked_add(since).ok()?;
        Some(at.strftime("%a\u{a0}%Y-%m-%d %H:%M\u{a0}UTC").to_string())
    }

    /// The day of a moment, from 1 for that of the run's start, and the time of day: `(2, "01:20")`.
    pub(crate) fn time_of_day(self, at_s: f64) -> Option<(i64, String)> {
        let started = self.0?;
        let at = started.checked_add(SignedDuration::try_from_secs_f64(at_s).ok()?).ok()?;
        let day = |at: Timestamp| at.as_second().div_euclid(86_400);
        Some((day(at) - day(started) + 1, at.strftime("%H:%M").to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_count_from_the_start_of_the_run() {
        let moments = Moments::since("2026-01-01T00:00:00.000Z");
        let date = |at_s| moments.date(at_s).unwrap().replace('\u{a0}', " ");
        assert_eq!(date(7_684.0), "Thu 2026-01-01 02:08 UTC");
        assert_eq!(date(59.0 * 86_400.0), "Sun 2026-03-01 00:00 UTC");
        let time = |at_s| moments.time_of_day(at_s).unwrap();
        assert_eq!([time(7_684.0), time(91_200.0)], [(1, "02:08".to_owned()), (2, "01:20".to_owned())]);
    }

    #[test]
    fn without_a_valid_start_there_are_no_dates() {
        for (started_at, at_s) in [("", 0.0), ("yesterday", 0.0), ("2026-01-01T00:00:00Z", f64::NAN)] {
            assert_eq!(Moments::since(started_at).date(at_s), None, "{started_at}");
        }
        assert_eq!(Moments::since("2026-01-01T00:00:00Z").date(1e300), None);
    }
}
