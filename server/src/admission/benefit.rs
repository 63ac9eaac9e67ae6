//! Who is still heard when failing requests have used up a budget: requests that only the device itself can be expected to send.
//!
//! | sign | what it takes to fake it |
//! | --- | --- |
//! | the device was verified on this very connection before | its key |
//! | the pair is one of the next after the one that is kept | its pair: answers to whoever can't sign never say it |
//!
//! The second is for first requests on a connection, and for proxies, on whose connections many devices take turns. Whoever reads
//! a site's traffic knows its pairs; what fails on them is bounded for each device, and leaves the first sign alone.

use ks_protocol::id::Sequence;

use crate::limit::Rate;

/// How far beyond the kept pair a device's next one is expected, in requests since a boot: 17 hours of beats each minute that
/// nobody heard.
const SEQ_AHEAD_MAX: u64 = 1_024;
/// And in boots.
const BOOTS_AHEAD_MAX: u32 = 16;

/// What may fail on expected pairs of one device.
pub(super) const ON_EXPECTED_PAIRS: Rate = Rate { per_min: 60, burst: 60 };

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
}
