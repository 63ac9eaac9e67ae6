//! How long a device waits before it tries again: protocol section 10.2.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;

use crate::seed;

/// Ceiling of the wait after a first failure.
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

    /// The server answered, if only to say when to come again.
    pub fn answered(&mut self) {
        self.failures = 0;
    }

    /// The interval between heartbeats, as the server says: nobody waits longer.
    pub fn heard_interval(&mut self, interval: Duration) {
        self.longest = interval;
    }

    /// One more failure in a row: the ceiling doubles, and the wait is drawn from its upper half, so that those whom an
    /// outage stopped together don't come back together.
    pub fn failed(&mut self) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        ceiling / 2 + self.up_to(ceiling / 2)
    }

    /// Told to come again after `told`: up to half of it more, so that those who were told the same come one by one.
    pub fn told(&mut self, told: Duration) -> Duration {
        told.saturating_add(self.up_to(told / 2))
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
    fn the_ceiling_doubles_up_to_the_interval_and_half_of_it_is_left_to_chance() {
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
    fn who_is_told_to_wait_does_and_up_to_half_more() {
        let mut backoff = backoff(None);
        let told = Duration::from_secs(10);
        let waits: Vec<_> = (0..200).map(|_| backoff.told(told)).collect();
        assert!(waits.iter().all(|wait| (told..=told * 3 / 2).contains(wait)));
        assert!(waits.iter().max() > waits.iter().min());
    }
}
