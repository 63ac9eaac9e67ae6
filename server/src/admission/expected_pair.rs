//! Which requests are still admitted when failed requests have used up a budget: those that only the device itself is likely to
//! send.
//!
//! | sign | what faking it requires |
//! | --- | --- |
//! | the device was verified on this connection before | its key |
//! | the pair is one of the next after the stored one | its pair, which is never sent to a client that can't sign |
//!
//! The second is for first requests on a connection, and for proxies, on whose connections many devices take turns. An attacker
//! who reads a site's traffic knows its pairs; failures on them are limited for each device, and do not affect the first sign.

use ks_protocol::id::Sequence;

/// How far beyond the stored pair a device's next one is expected, in requests since a boot: 17 hours of lost beats, one each
/// minute.
const SEQ_AHEAD_MAX: u64 = 1_024;
/// The same in boots.
const BOOTS_AHEAD_MAX: u32 = 16;

/// Whether `pair` is one of the next from a device whose greatest stored pair is `stored`.
pub(super) fn is_expected(pair: Sequence, stored: Sequence) -> bool {
    let seq = pair.seq.get();
    match pair.boot_epoch.checked_sub(stored.boot_epoch) {
        Some(0) => seq.checked_sub(stored.seq.get()).is_some_and(|ahead| (1..=SEQ_AHEAD_MAX).contains(&ahead)),
        Some(boots) => boots <= BOOTS_AHEAD_MAX && seq <= SEQ_AHEAD_MAX,
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_next_pairs_are_expected() {
        let stored = Sequence::new(7, 5_000);
        for (boot_epoch, seq) in [(7, 5_001), (7, 6_024), (8, 0), (8, 1_024), (23, 1)] {
            assert!(is_expected(Sequence::new(boot_epoch, seq), stored), "{boot_epoch} {seq}");
        }
        for (boot_epoch, seq) in [(7, 5_000), (7, 6_025), (6, 5_001), (8, 1_025), (24, 1), (u32::MAX, 1)] {
            assert!(!is_expected(Sequence::new(boot_epoch, seq), stored), "{boot_epoch} {seq}");
        }
    }
}
