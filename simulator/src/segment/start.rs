//! The common start of segments on machines whose clocks differ: it is by the target's clock, and each generator measures how far its own
//! is ahead of that.

use std::time::Duration;

use ks_protocol::{number::canonical, time::UnixMs};
use ks_reports::run_folder::ClockOffset;
use ks_server::clock::{Clock, SystemClock};

use crate::{
    failure::Failure,
    host::stopwatch::Stopwatch,
    operator::{Operator, OperatorError},
};

/// How often the target is asked for its time; the quickest answer counts.
const QUESTIONS: usize = 8;
/// Longest wait for a start.
const WAIT_MAX: Duration = Duration::from_hours(24);
/// The remedy for a start that is over.
const LATER: &str =
    "give all segments the same later --start-at; devices are whitelisted before it, which takes some seconds";

/// Parses `--start-at`: RFC 3339, or whole seconds since 1970.
///
/// # Errors
/// It is neither.
pub fn parse(text: &str) -> Result<UnixMs, String> {
    let epoch = canonical::<u32>(text).map(|seconds| UnixMs(u64::from(seconds) * 1_000));
    let at = epoch.or_else(|| UnixMs::from_rfc3339(text));
    at.ok_or_else(|| {
        "expected RFC 3339 such as 2026-11-30T12:00:00Z, or seconds since 1970 such as 1796040000".to_owned()
    })
}

/// Measures how far this machine's clock is ahead of the target's.
///
/// # Errors
/// The target does not say its time.
pub async fn clock_offset(operator: &Operator) -> Result<ClockOffset, OperatorError> {
    let mut quickest: Option<(Duration, ClockOffset)> = None;
    for _ in 0..QUESTIONS {
        let (asked_at, stopwatch) = (SystemClock.now(), Stopwatch::started());
        let server_time = operator.server_time().await?;
        let took = stopwatch.elapsed();
        if quickest.is_none_or(|(before, _)| took < before) {
            quickest = Some((took, offset(asked_at, took, server_time)));
        }
    }
    Ok(quickest.map(|(_, offset)| offset).unwrap_or_default())
}

/// The offset by one question: the target read its clock some time between the question and the answer, halfway on average. Both
/// clocks are read in whole milliseconds.
fn offset(asked_at: UnixMs, took: Duration, server_time: UnixMs) -> ClockOffset {
    let signed = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
    let half_us = u64::try_from(took.as_micros() / 2).unwrap_or(u64::MAX);
    let ahead_ms = signed(asked_at.0).saturating_add(signed(half_us / 1_000)).saturating_sub(signed(server_time.0));
    ClockOffset { ahead_ms, within_ms: half_us.div_ceil(1_000) + 1 }
}

/// The start by this machine's clock.
pub fn by_own_clock(start_at: UnixMs, clock: ClockOffset) -> UnixMs {
    let by = Duration::from_millis(clock.ahead_ms.unsigned_abs());
    if clock.ahead_ms < 0 { start_at.minus_ms(clock.ahead_ms.unsigned_abs()) } else { start_at + by }
}

/// A moment of this machine's clock by the target's.
pub fn by_target_clock(at: UnixMs, clock: ClockOffset) -> UnixMs {
    by_own_clock(at, ClockOffset { ahead_ms: clock.ahead_ms.saturating_neg(), ..clock })
}

/// How long to wait for a start; `now` is by this machine's clock, and `meanwhile` what was done before.
///
/// # Errors
/// It is over, or too far away.
pub fn wait_for(start_at: UnixMs, clock: ClockOffset, now: UnixMs, meanwhile: &str) -> Result<Duration, Failure> {
    let at = by_own_clock(start_at, clock);
    if at < now {
        let late_s = Duration::from_millis(now.since_ms(at)).as_secs_f64();
        let why = format!("the start at {start_at} was over {late_s:.1} s ago, by the target's clock, {meanwhile}");
        return Err(Failure::Impossible { why, help: LATER });
    }
    let wait = Duration::from_millis(at.since_ms(now));
    if wait > WAIT_MAX {
        let why = format!("--start-at is {start_at}, more than a day away by the target's clock");
        return Err(Failure::Impossible { why, help: "give a start within the next 24 hours" });
    }
    Ok(wait)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_rfc_3339_or_seconds() {
        let noon = UnixMs(1_796_040_000_000);
        for text in ["1796040000", "2026-11-30T12:00:00Z", "2026-11-30T12:00:00.000Z", "2026-11-30T13:00:00+01:00"] {
            assert_eq!(parse(text), Ok(noon), "{text}");
        }
        for wrong in ["", "now", "12:00", "2026-11-30", "2026-11-30T12:00:00", "-1", "1796040000000"] {
            assert!(parse(wrong).unwrap_err().contains("expected RFC 3339"), "{wrong}");
        }
    }

    /// By hand: asked at 10,000 ms and answered 30 ms later, the target's clock was read at about 10,015 ms.
    #[test]
    fn an_offset_counts_from_the_middle_of_the_question() {
        let offset = |server_time| offset(UnixMs(10_000), Duration::from_millis(30), UnixMs(server_time));
        assert_eq!(offset(10_015), ClockOffset { ahead_ms: 0, within_ms: 16 });
        assert_eq!(offset(9_000).ahead_ms, 1_015);
        assert_eq!(offset(12_015).ahead_ms, -2_000);
    }

    #[test]
    fn the_start_is_by_the_targets_clock() {
        let ahead = |ahead_ms| ClockOffset { ahead_ms, within_ms: 1 };
        let wait = |ahead_ms, now| wait_for(UnixMs(100_000), ahead(ahead_ms), UnixMs(now), "before anything began");
        let noon = UnixMs(43_200_000);
        let back = [-3_000, 0, 3_000].map(|ms| by_target_clock(by_own_clock(noon, ahead(ms)), ahead(ms)));
        assert_eq!(back, [noon; 3]);
        assert_eq!(by_target_clock(noon, ahead(3_000)), UnixMs(43_197_000));
        assert_eq!(wait(0, 99_000).unwrap(), Duration::from_secs(1));
        assert_eq!(wait(5_000, 99_000).unwrap(), Duration::from_secs(6), "its own clock is fast");
        assert_eq!(wait(-500, 99_000).unwrap(), Duration::from_millis(500));
        let late = wait(-1_500, 99_000).unwrap_err().to_string();
        assert!(late.contains("was over 0.5 s ago") && late.contains("before anything began"), "{late}");
        assert!(wait(0, 0).is_ok() && wait_for(UnixMs(90_000_000), ahead(0), UnixMs(0), "").is_err());
    }
}
