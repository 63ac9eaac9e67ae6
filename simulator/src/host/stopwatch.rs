//! Real time, measured outside the runtime's clock.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Real time since it was started, also when the runtime's clock is virtual: for progress and reports, never for a decision of the run.
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Duration);

impl Stopwatch {
    pub fn started() -> Self {
        Self(monotonic())
    }

    pub fn elapsed(&self) -> Duration {
        monotonic().saturating_sub(self.0)
    }
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    Duration::new(u64::try_from(now.tv_sec).unwrap_or(0), u32::try_from(now.tv_nsec).unwrap_or(0))
}
