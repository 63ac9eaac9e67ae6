//! Chances to find the bug in canaries of many sizes, for the picture of how large a canary must be.

use ks_reports::advice::{Chances, FoundAt};

use super::{AdvisedPolicy, binomial::Binomial, executed};

/// Sizes for which chances are computed, more of them at the small ones, where chances change most.
const SIZES: u32 = 80;
/// The largest size, as a part of the largest canary that is advised, in tenths.
const LARGEST_TENTHS: u32 = 14;

/// From this size of the largest on, sizes are multiples of ten.
const UNEVEN: u64 = 400;

/// Chances of a bug that breaks each of so many devices with this chance, around the canaries of these policies.
pub(super) fn of(failing: f64, all: u32, policies: &[AdvisedPolicy]) -> Chances {
    let largest = policies.iter().map(|of| of.canary_of_group).max().unwrap_or(0);
    let largest = (u64::from(largest) * u64::from(LARGEST_TENTHS) / 10).clamp(1, u64::from(all).max(1));
    // The share of those that have an outcome is a whole number of each ten: other sizes would make a curve uneven.
    let unit = if largest >= UNEVEN { 10 } else { 1 };
    let size = |nth: u32| {
        let share = u64::from(nth).pow(2);
        let size = (largest * share).div_ceil(u64::from(SIZES).pow(2)).next_multiple_of(unit);
        u32::try_from(size.min(u64::from(all))).unwrap_or(u32::MAX)
    };
    let mut devices: Vec<u32> = (0..=SIZES).map(size).collect();
    devices.dedup_by_key(|size| executed(*size));
    let mut failures: Vec<u32> = policies.iter().map(|of| of.canary.failures).collect();
    failures.sort_unstable();
    failures.dedup();
    let of_sizes = |chance: &dyn Fn(u32) -> f64| devices.iter().map(|size| chance(*size)).collect::<Vec<f64>>();
    let found = |failures: u32| FoundAt {
        failures,
        chances: of_sizes(&|size| Binomial::new(executed(size), failing).at_least(failures)),
    };
    Chances {
        at_most: of_sizes(&|size| Binomial::new(size, failing).at_least(1)),
        found: failures.into_iter().map(found).collect(),
        devices,
    }
}
