//! TLS handshakes, counted and timed.

use std::time::Duration;

use hdrhistogram::Histogram;

use super::{histogram, record};

/// TLS handshakes, counted and timed.
#[derive(Debug, Clone)]
pub struct Handshakes {
    /// With a certificate and its check.
    pub full: u64,
    /// That continued an earlier session.
    pub resumed: u64,
    pub failed: u64,
    /// Why the first of these failed.
    pub first_failure: Option<String>,
    /// Of those that succeeded, in microseconds, from the accepted connection.
    pub times_us: Histogram<u64>,
}

impl Default for Handshakes {
    fn default() -> Self {
        Self { full: 0, resumed: 0, failed: 0, first_failure: None, times_us: histogram() }
    }
}

impl Handshakes {
    /// One more that succeeded.
    pub fn ended(&mut self, is_resumed: bool, took: Duration) {
        *(if is_resumed { &mut self.resumed } else { &mut self.full }) += 1;
        record(&mut self.times_us, u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds those of another thread or tick.
    pub fn add(&mut self, other: &Self) {
        self.full += other.full;
        self.resumed += other.resumed;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or_else(|| other.first_failure.clone());
        let _ = self.times_us.add(&other.times_us); // histograms that grow always add up
    }

    /// Those that succeeded.
    pub fn succeeded(&self) -> u64 {
        self.full + self.resumed
    }
}
