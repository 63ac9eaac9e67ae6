//! Chances to find the bug in canaries of many sizes, for the picture of how large a canary must be.

use ks_reports::advice::{Chances, FoundAt};

use super::{Advised, binomial::Binomial, executed};

/// Sizes for which chances are computed, more of them at the small ones, where chances change most.
const SIZES: u32 = 80;
/// The largest size, as a part of the largest canary that is advised, in tenths.
const LARGEST_TENTHS: u32 = 14;

/// Chances of a bug that breaks each of so many devices with this chance, around the canaries of these policies.
pub(super) fn of(failing: f64, all: u32, policies: &[Advised]) -> Chances {
    let largest = policies.iter().map(|of| of.canary_of_group).max().unwrap_or(0);
    let largest = (u64::from(largest) * u64::from(LARGEST_TENTHS) / 10).clamp(1, u64::from(all).max(1));
    let size = |nth: u32| {
        let share = u64::from(nth).pow(2);
        u32::try_from((largest * share).div_ceil(u64::from(SIZES).pow(2))).unwrap_or(u32::MAX)
    };
    let mut devices: Vec<u32> = (0..=SIZES).map(size).collect();
    devices.dedup();
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
