//! When refused devices may come back: each a little later than it must, by its name and the moment, so that a refused fleet does not
//! return in step. The same device and moment always give the same time: a rehearsal repeats.

use ks_protocol::id::DeviceId;

/// The longest jitter, in seconds.
const JITTER_MAX_S: u64 = 60;

/// Seconds that a device is sent as `retry_after_s`: at least `least_s`, at most a quarter or a second more, and never more than a
/// minute more.
pub fn retry_after_s(device_id: &DeviceId, now_us: u64, least_s: u64) -> u64 {
    let spread_s = (least_s / 4).clamp(1, JITTER_MAX_S);
    // FNV-1a, then the end of MurmurHash3: devices with names that differ in one digit are spread too.
    let bytes = device_id.as_str().bytes().chain((now_us / 1_000_000).to_le_bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    least_s.saturating_add((hash ^ hash >> 33) % (spread_s + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::{Gcra, Rate};
    use proptest::prelude::*;

    fn device(number: u32) -> DeviceId {
        format!("KS-{number:06}").parse().unwrap()
    }

    #[test]
    fn a_refused_fleet_is_spread_over_the_quarter_of_its_wait() {
        let waits: Vec<u64> = (0..2_100).map(|number| retry_after_s(&device(number), 7_000_000, 80)).collect();
        for second in 80..=100 {
            let count = waits.iter().filter(|wait| **wait == second).count();
            assert!((50..=150).contains(&count), "{count} of 100 expected come back after {second} s");
        }
        assert!(waits.iter().all(|wait| (80..=100).contains(wait)));
        let again: Vec<u64> = (0..2_100).map(|number| retry_after_s(&device(number), 7_999_999, 80)).collect();
        assert_eq!(waits, again, "the same within a second");
        assert!((0..50).any(|number| retry_after_s(&device(number), 0, 1) == 1));
        assert!((0..50).any(|number| retry_after_s(&device(number), 0, 1) == 2));
        assert!((0..500).all(|number| retry_after_s(&device(number), 0, 86_400) <= 86_460));
    }

    proptest! {
        /// A device that waits exactly as long as the answer says is admitted, whatever it sent before.
        #[test]
        fn a_device_that_waits_so_long_is_admitted(
            per_min in 1_u32..100_000, burst in 1_u32..1_000, number in 0_u32..100_000,
            gaps in prop::collection::vec(0_u64..3_000_000, 1..100), already in 0_u32..10_000,
        ) {
            let rate = Rate { per_min, burst };
            let (mut budget, mut now_us) = (Gcra::default(), 0);
            budget.charge(rate.meter(now_us), already);
            for gap in gaps {
                now_us += gap;
                if let Err(wait_us) = budget.spend(rate.meter(now_us)) {
                    let least_s = wait_us.div_ceil(1_000_000).max(1);
                    let wait_s = retry_after_s(&device(number), now_us, least_s);
                    prop_assert!(wait_s >= least_s);
                    let mut later = budget;
                    prop_assert_eq!(later.spend(rate.meter(now_us + wait_s * 1_000_000)), Ok(()));
                }
            }
        }
    }
}
