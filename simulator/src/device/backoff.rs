//! How long a device waits before it tries again: protocol section 10.2.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::seed;

/// Ceiling of the wait after the first failure.
const FIRST: Duration = Duration::from_secs(2);
/// Ceiling of all waits, until an interval is known.
const LONGEST: Duration = Duration::from_mins(1);

/// Counts failures in a row, and draws the wait after each.
#[derive(Debug)]
pub struct Backoff {
    failures: u32,
    longest: Duration,
    jitter: ChaCha8Rng,
}

impl Backoff {
    /// No failure yet; `interval` between heartbeats, if it is known.
    pub fn new(interval: Option<Duration>, jitter: ChaCha8Rng) -> Self {
        Self { failures: 0, longest: interval.unwrap_or(LONGEST), jitter }
    }

    /// The server answered, even if only to say when to retry.
    pub fn answered(&mut self) {
        self.failures = 0;
    }

    /// Sets the interval between heartbeats that the server asked for; no wait is longer.
    pub fn set_interval(&mut self, interval: Duration) {
        self.longest = interval;
    }

    /// One more failure in a row: the ceiling doubles, and the wait is drawn from its upper half, so that devices
    /// stopped by the same outage don't all return at the same moment.
    pub fn failed(&mut self) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        ceiling / 2 + self.up_to(ceiling / 2)
    }

    /// The server asked for a retry after `wait`: adds up to half of it, so that devices given the same wait don't retry together.
    pub fn retry_after(&mut self, wait: Duration) -> Duration {
        wait.saturating_add(self.up_to(wait / 2))
    }

    /// A duration up to and with `longest`, to the millisecond.
    pub fn up_to(&mut self, longest: Duration) -> Duration {
        let bound = u64::try_from(longest.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        Duration::from_millis(seed::below(&mut self.jitter, bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(interval: Option<Duration>) -> Backoff {
        Backoff::new(interval, seed::stream(1, "SIM-1", "jitter"))
    }

    #[test]
    fn the_ceiling_doubles_up_to_the_interval_and_the_upper_half_is_random() {
        let mut backoff = backoff(Some(Duration::from_secs(15)));
        for ceiling_s in [2, 4, 8, 15, 15, 15] {
            let ceiling = Duration::from_secs(ceiling_s);
            let wait = backoff.failed();
            assert!((ceiling / 2..=ceiling).contains(&wait), "{wait:?} of {ceiling:?}");
        }
        backoff.answered();
        assert!(backoff.failed() <= FIRST);
    }

    #[test]
    fn failures_without_end_keep_the_last_ceiling() {
        let mut backoff = backoff(None);
        assert!((0..1_000).map(|_| backoff.failed()).all(|wait| wait <= LONGEST));
        assert!(backoff.failed() >= LONGEST / 2);
    }

    #[test]
    fn a_requested_wait_is_kept_and_extended_by_up_to_half() {
        let mut backoff = backoff(None);
        let requested = Duration::from_secs(10);
        let waits: Vec<_> = (0..200).map(|_| backoff.retry_after(requested)).collect();
        assert!(waits.iter().all(|wait| (requested..=requested * 3 / 2).contains(wait)));
        assert!(waits.iter().max() > waits.iter().min());
    }
}
