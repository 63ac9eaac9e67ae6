//! Injected time: the only source of wall-clock time in the server. Waiting is `tokio::time::sleep` and nothing else.

use std::time::Duration;

use ks_protocol::time::UnixMs;
use tokio::time::Instant;

/// A length of time in milliseconds.
pub fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How far a stored time may be ahead of the clock and still count: clocks are often adjusted by small steps.
pub const AHEAD_MAX: Duration = Duration::from_mins(1);

/// Whether a stored time is so far ahead of the clock that one of them is wrong. It is then no evidence of anything.
pub fn is_ahead(at: UnixMs, now: UnixMs) -> bool {
    at.since_ms(now) > ms(AHEAD_MAX)
}

/// Wall-clock time.
pub trait Clock: Send + Sync {
    fn now(&self) -> UnixMs;
}

/// Whole microseconds; the greatest number if they are more.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The machine's clock, for production.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> UnixMs {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixMs(0) + since_epoch
    }
}

/// Wall time of a rehearsal: a fixed epoch plus tokio's timer, which stands still while it is paused.
#[derive(Debug, Clone, Copy)]
pub struct TimerClock {
    epoch: UnixMs,
    started: Instant,
}

impl TimerClock {
    /// A clock that reads `epoch` now. Must be made on the runtime whose timer it follows.
    pub fn starting_at(epoch: UnixMs) -> Self {
        Self { epoch, started: Instant::now() }
    }
}

impl Clock for TimerClock {
    fn now(&self) -> UnixMs {
        self.epoch + self.started.elapsed()
    }
}
