//! The binomial distribution: how many of a number of devices fail if each fails with the same chance.

/// Smaller weights, relative to that of the most likely number, are ignored.
const NEGLIGIBLE: f64 = 1e-18;

/// How many of `devices` fail, each with a chance of `failing`.
#[derive(Debug)]
pub struct Binomial {
    /// The number of failures of the first chance.
    fewest: u32,
    /// The chance of each number of failures.
    chances: Vec<f64>,
}

impl Binomial {
    /// `failing` is limited to 0 to 1.
    pub fn new(devices: u32, failing: f64) -> Self {
        let failing = failing.clamp(0.0, 1.0);
        if failing <= 0.0 || failing >= 1.0 {
            return Self { fewest: if failing <= 0.0 { 0 } else { devices }, chances: vec![1.0] };
        }
        // Relative to the most likely number, so that nothing underflows: each neighbor follows from the one before.
        let odds = failing / (1.0 - failing);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is from 0 to `devices`")]
        let mode = (((f64::from(devices) + 1.0) * failing) as u32).min(devices);
        let (mut below, mut weight) = (Vec::new(), 1.0);
        for failed in (1..=mode).rev() {
            weight *= f64::from(failed) / (f64::from(devices - failed + 1) * odds);
            if weight < NEGLIGIBLE {
                break;
            }
            below.push(weight);
        }
        let fewest = mode - u32::try_from(below.len()).unwrap_or(mode);
        let mut chances: Vec<f64> = below.into_iter().rev().collect();
        chances.push(1.0);
        weight = 1.0;
        for failed in mode..devices {
            weight *= f64::from(devices - failed) * odds / f64::from(failed + 1);
            if weight < NEGLIGIBLE {
                break;
            }
            chances.push(weight);
        }
        let sum: f64 = chances.iter().sum();
        for chance in &mut chances {
            *chance /= sum;
        }
        Self { fewest, chances }
    }

    /// The chance of this many failures or more.
    pub fn at_least(&self, failed: u32) -> f64 {
        let skipped = usize::try_from(failed.saturating_sub(self.fewest)).unwrap_or(usize::MAX);
        self.chances.iter().skip(skipped).sum::<f64>().clamp(0.0, 1.0)
    }

    /// The least number that is not exceeded with this chance.
    pub fn quantile(&self, chance: f64) -> u32 {
        let (mut sum, mut number) = (0.0, self.fewest);
        for own in &self.chances {
            sum += own;
            if sum >= chance {
                break;
            }
            number += 1;
        }
        number
    }
}

/// The fewest devices of which `failed` or more fail with a chance of `wanted`, if each fails with a chance of `failing`; none if
/// `most` devices do not suffice.
pub fn devices_needed(failed: u32, failing: f64, wanted: f64, most: u32) -> Option<u32> {
    let suffices = |devices: u32| Binomial::new(devices, failing).at_least(failed) >= wanted;
    if !suffices(most) {
        return None;
    }
    let (mut low, mut high) = (0, most);
    while low < high {
        let middle = low.midpoint(high);
        if suffices(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn about(value: f64, expected: f64) {
        assert!((value - expected).abs() < 1e-9, "{value} is not {expected}");
    }

    #[test]
    fn chances_are_those_of_the_formula() {
        about(Binomial::new(10, 0.3).at_least(1), 1.0 - 0.7_f64.powi(10));
        about(Binomial::new(3, 0.5).at_least(2), 0.5);
        about(Binomial::new(5, 0.1).at_least(5), 0.1_f64.powi(5));
        about(Binomial::new(597, 0.0).at_least(0), 1.0);
        about(Binomial::new(597, 0.0).at_least(1), 0.0);
        about(Binomial::new(7, 1.0).at_least(7), 1.0);
        about(Binomial::new(0, 0.5).at_least(1), 0.0);
    }

    /// Computed independently in Python, with logarithms of factorials.
    #[test]
    fn large_numbers_neither_underflow_nor_lose_the_tail() {
        let large = Binomial::new(1_000_000, 0.5);
        assert!((large.at_least(500_000) - 0.500_398_942).abs() < 1e-8, "{}", large.at_least(500_000));
        assert_eq!(large.quantile(0.95), 500_822);
        let rare = Binomial::new(100_000, 0.000_01);
        assert!((rare.at_least(1) - 0.632_122_398).abs() < 1e-8, "{}", rare.at_least(1));
        assert_eq!(rare.quantile(0.95), 3);
    }

    #[test]
    fn the_devices_that_are_needed_are_the_fewest_that_suffice() {
        // ln(0.05) / ln(1 - rate), rounded up.
        for (failing, expected) in [(0.015, 199), (0.01, 299), (0.02, 149), (0.5, 5)] {
            assert_eq!(devices_needed(1, failing, 0.95, 10_000), Some(expected), "{failing}");
        }
        assert_eq!(devices_needed(1, 0.01, 0.95, 298), None);
        for failed in 1..6 {
            let brute_force =
                (0..2_000).find(|devices| Binomial::new(*devices, 0.015).at_least(failed) >= 0.95).unwrap();
            assert_eq!(devices_needed(failed, 0.015, 0.95, 2_000), Some(brute_force), "{failed}");
        }
    }
}
