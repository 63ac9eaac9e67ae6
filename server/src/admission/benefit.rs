//! Who is still heard when failing requests have used up a budget: requests that only the device itself can be expected to send.
//!
//! | sign | what it takes to fake it |
//! | --- | --- |
//! | the device was verified on this very connection before | its key |
//! | the pair is one of the next after the one that is kept | its pair: answers to whoever can't sign never say it |
//!
//! The second is for first requests on a connection, and for proxies, on whose connections many devices take turns. Whoever reads
//! a site's traffic knows its pairs; what fails on them is bounded for each device, and leaves the first sign alone.

use std::sync::{Mutex, PoisonError};

use ks_protocol::id::{DeviceId, Sequence};

use crate::limit::Rate;

/// How far beyond the kept pair a device's next one is expected, in requests since a boot: 17 hours of beats each minute that
/// nobody heard.
const SEQ_AHEAD_MAX: u64 = 1_024;
/// And in boots.
const BOOTS_AHEAD_MAX: u32 = 16;

/// What may fail on expected pairs of one device.
pub(super) const ON_EXPECTED_PAIRS: Rate = Rate { per_min: 60, burst: 60 };

/// Which device was last verified on a connection.
#[derive(Debug, Default)]
pub struct Proven(Mutex<Option<DeviceId>>);

impl Proven {
    /// Whether it was this one.
    pub fn is(&self, device_id: &DeviceId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref() == Some(device_id)
    }

    /// A request of this device was verified.
    pub fn verified(&self, device_id: &DeviceId) {
        let mut proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proven.as_ref() != Some(device_id) {
            *proven = Some(device_id.clone());
        }
    }

    /// A request in the name of this device failed: somebody else speaks here too.
    pub fn failed(&self, device_id: &DeviceId) {
        let mut proven = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if proven.as_ref() == Some(device_id) {
            *proven = None;
        }
    }
}

/// Whether `pair` is one of the next that a device sends whose greatest stored one is `kept`.
pub(super) fn is_expected(pair: Sequence, kept: Sequence) -> bool {
    let seq = pair.seq.get();
    match pair.boot_epoch.checked_sub(kept.boot_epoch) {
        Some(0) => seq.checked_sub(kept.seq.get()).is_some_and(|ahead| (1..=SEQ_AHEAD_MAX).contains(&ahead)),
        Some(boots) => boots <= BOOTS_AHEAD_MAX && seq <= SEQ_AHEAD_MAX,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_pairs_are_expected_and_no_others() {
        let kept = Sequence::new(7, 5_000);
        for (boot_epoch, seq) in [(7, 5_001), (7, 6_024), (8, 0), (8, 1_024), (23, 1)] {
            assert!(is_expected(Sequence::new(boot_epoch, seq), kept), "{boot_epoch} {seq}");
        }
        for (boot_epoch, seq) in [(7, 5_000), (7, 6_025), (6, 5_001), (8, 1_025), (24, 1), (u32::MAX, 1)] {
            assert!(!is_expected(Sequence::new(boot_epoch, seq), kept), "{boot_epoch} {seq}");
        }
    }

    #[test]
    fn a_connection_is_of_whoever_was_verified_on_it_last_until_that_fails() {
        let [a, b] = ["KS-a", "KS-b"].map(|name| name.parse::<DeviceId>().unwrap());
        let proven = Proven::default();
        assert!(!proven.is(&a));
        proven.verified(&a);
        proven.failed(&b);
        assert!(proven.is(&a), "what fails in another's name says nothing of this one");
        proven.verified(&b);
        assert!(proven.is(&b) && !proven.is(&a));
        proven.failed(&b);
        assert!(!proven.is(&b));
    }
}
