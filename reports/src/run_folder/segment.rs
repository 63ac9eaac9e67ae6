//! A part of a run's fleet, simulated by a process of its own, and the clock of its machine.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A segment of a run: which part of the fleet it was, and how its generator fared.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// From 1 to `of`.
    pub number: u32,
    /// Into how many segments the fleet was divided.
    pub of: u32,
    /// Number of honest virtual devices in it.
    pub devices: u64,
    /// The target as this segment was given it.
    pub target: String,
    /// Start of the segment by its generator's own clock, RFC 3339 in UTC.
    pub started_at: String,
    /// The clock of its generator against the target's.
    pub clock: ClockOffset,
    /// CPU seconds of its process.
    pub cpu_s: f64,
    /// Resident memory of its process at its peak, bytes.
    pub rss_bytes: u64,
    /// Heartbeats that left more than the tolerated lag after their intended time.
    pub late_sends: u64,
    /// 99th percentile of send lag, milliseconds.
    pub send_lag_p99_ms: f64,
}

/// How far a generator's clock is ahead of its target's, measured by the target's `server_time`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockOffset {
    /// Below 0 if it is behind, milliseconds.
    pub ahead_ms: i64,
    /// Largest error of that, milliseconds: half the round trip of the question, and the resolution of the answer.
    pub within_ms: u64,
}

/// `12 ms ahead of the target's (± 2 ms)`
impl fmt::Display for ClockOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (by, side) = (self.ahead_ms.unsigned_abs(), if self.ahead_ms < 0 { "behind" } else { "ahead of" });
        write!(f, "{by} ms {side} the target's (± {} ms)", self.within_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_has_a_side_and_an_error() {
        let words = |ahead_ms| ClockOffset { ahead_ms, within_ms: 2 }.to_string();
        assert_eq!(words(12), "12 ms ahead of the target's (± 2 ms)");
        assert_eq!(words(-3_000), "3000 ms behind the target's (± 2 ms)");
    }
}
