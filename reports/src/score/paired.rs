//! Two policies on the same seeds: the difference of two paired shares and of two paired counts, with 95 % limits, for a
//! number of trials that was fixed in advance.
//!
//! Shares: the score interval of Tango (Statistics in Medicine 17, 1998, 891-908). It leaves zero out exactly if the
//! asymptotic test of McNemar is significant at 5 %; Fagerland, Lydersen and Laake (Statistics in Medicine 33, 2014,
//! 2850-2875) recommend it. Counts: the interval of the paired t test (Student, Biometrika 6, 1908, 1-25).

use super::interval::bisect;

/// The 97.5 % point of the standard normal distribution.
const Z: f64 = 1.959_963_984_540_054;
/// Most degrees of freedom that are computed with: beyond them the limits differ by less than one in ten thousand.
const FREEDOM_MAX: usize = 10_000;

/// The limits of the difference of two shares, when of `pairs` pairs `first` hit only in the first member, and `second`
/// only in the second. From -1 to 1 without pairs.
pub(super) fn difference_of_shares(first: usize, second: usize, pairs: usize) -> (f64, f64) {
    if pairs == 0 {
        return (-1.0, 1.0);
    }
    let (b, c, n) = (first as f64, second as f64, pairs as f64);
    // The score of a difference falls as the difference grows; at the observed one it is zero.
    let score = |difference: f64| {
        let variance = n * (2.0 * only_second(first, second, pairs, difference) + difference * (1.0 - difference));
        (b - c - n * difference) / variance.max(f64::MIN_POSITIVE).sqrt()
    };
    let observed = (b - c) / n;
    (bisect(-1.0, observed, |at| score(at) > Z), bisect(observed, 1.0, |at| score(at) > -Z))
}

/// The most likely share of pairs that hit only in the second member, if the shares differ by `difference`; the share of
/// those that hit only in the first is greater by it.
pub(super) fn only_second(first: usize, second: usize, pairs: usize, difference: f64) -> f64 {
    let (b, c, n) = (first as f64, second as f64, pairs as f64);
    let (quadratic, linear) = (2.0 * n, (2.0 * n - b + c) * difference - b - c);
    let constant = -c * difference * (1.0 - difference);
    let root = (linear * linear - 4.0 * quadratic * constant).max(0.0).sqrt();
    ((root - linear) / (2.0 * quadratic)).clamp((-difference).max(0.0), ((1.0 - difference) / 2.0).max(0.0))
}

/// The mean of differences and its limits; no limits of fewer than two, nor if all are equal and not zero: that they
/// never vary is then chance, and would claim certainty.
pub(crate) fn mean_difference(differences: &[f64]) -> (f64, Option<(f64, f64)>) {
    let n = differences.len() as f64;
    let mean = differences.iter().sum::<f64>() / n.max(1.0);
    if differences.len() < 2 {
        return (mean, None);
    }
    let squares: f64 = differences.iter().map(|difference| (difference - mean).powi(2)).sum();
    if squares == 0.0 {
        return (mean, (mean == 0.0).then_some((0.0, 0.0)));
    }
    let error = (squares / (n - 1.0) / n).sqrt();
    let reach = error * student(differences.len() - 1);
    (mean, Some((mean - reach, mean + reach)))
}

/// The 97.5 % point of Student's distribution.
fn student(freedom: usize) -> f64 {
    let freedom = freedom.min(FREEDOM_MAX);
    bisect(0.0, 20.0, |t| within(t, freedom) < 0.95)
}

/// The chance that Student's distribution is between `-t` and `t`: the finite series for whole degrees of freedom.
fn within(t: f64, freedom: usize) -> f64 {
    let angle = (t / (freedom as f64).sqrt()).atan();
    let (sine, cosine) = angle.sin_cos();
    let is_odd = freedom % 2 == 1;
    let (mut term, mut sum) = if is_odd { (cosine, if freedom > 1 { cosine } else { 0.0 }) } else { (1.0, 1.0) };
    let mut power = if is_odd { 3 } else { 2 };
    while power < freedom {
        term *= cosine * cosine * (power - 1) as f64 / power as f64;
        sum += term;
        power += 2;
    }
    if is_odd { std::f64::consts::FRAC_2_PI * (angle + sine * sum) } else { sine * sum }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::method::Method;

    fn assert_close((low, high): (f64, f64), expected: (f64, f64), within: f64) {
        assert!(
            (low - expected.0).abs() < within && (high - expected.1).abs() < within,
            "{low} {high}, not {expected:?}"
        );
    }

    /// The log likelihood of pairs, maximised over the share that hits only in the second member by trying a hundred thousand.
    fn by_trying(first: usize, second: usize, pairs: usize, difference: f64) -> f64 {
        let log = |count: usize, share: f64| if count == 0 { 0.0 } else { count as f64 * share.ln() };
        let (least, most) = ((-difference).max(0.0), (1.0 - difference) / 2.0);
        let likelihood = |share: f64| {
            let equal = 1.0 - difference - 2.0 * share;
            log(first, share + difference) + log(second, share) + log(pairs - first - second, equal)
        };
        let shares = (1..100_000).map(|nth| least + (most - least) * f64::from(nth) / 100_000.0);
        shares.max_by(|one, other| likelihood(*one).total_cmp(&likelihood(*other))).unwrap()
    }

    #[test]
    fn the_constrained_share_is_the_most_likely_one() {
        for (first, second, pairs) in [(1, 7, 21), (4, 0, 30), (0, 5, 30), (9, 11, 40), (3, 2, 5)] {
            for difference in [-0.6, -0.21, 0.0, 0.13, 0.5] {
                let (own, tried) =
                    (only_second(first, second, pairs, difference), by_trying(first, second, pairs, difference));
                assert!((own - tried).abs() < 2e-5, "{first} {second} {pairs} {difference}: {own}, not {tried}");
            }
        }
    }

    /// Zero is left out exactly if McNemar's statistic, (b - c)^2 / (b + c), is above the 95 % point of chi-square.
    #[test]
    fn the_interval_agrees_with_mcnemars_test() {
        for pairs in [20, 45] {
            for first in 0..=20_usize {
                for second in 0..=20 - first {
                    let (low, high) = difference_of_shares(first, second, pairs);
                    let (b, c) = (first as f64, second as f64);
                    let is_significant = first + second > 0 && (b - c).powi(2) / (b + c) > 3.841_458_820_694_124;
                    assert_eq!(low > 0.0 || high < 0.0, is_significant, "{first} {second} {pairs}: {low} {high}");
                    let turned = difference_of_shares(second, first, pairs);
                    assert_close((-turned.1, -turned.0), (low, high), 1e-9);
                }
            }
        }
    }

    /// Where no pair differs, the limits are z^2 / (n + z^2), which follows from the score by hand.
    #[test]
    fn equal_pairs_have_limits_of_their_number() {
        let reach = Z * Z / (30.0 + Z * Z);
        assert_close(difference_of_shares(0, 0, 30), (-reach, reach), 1e-9);
        assert_eq!(difference_of_shares(0, 0, 0), (-1.0, 1.0));
    }

    /// How often the limits contain the true difference, computed over every possible result of thirty pairs.
    #[test]
    fn the_limits_contain_the_truth_about_as_often_as_they_say() {
        let pairs = 30_usize;
        let log_factorial: Vec<f64> = (0..=pairs)
            .scan(0.0, |sum, n| {
                *sum += (n.max(1) as f64).ln();
                Some(*sum)
            })
            .collect();
        let mut coverages = Vec::new();
        for (only_first, only_second) in [(0.05, 0.05), (0.1, 0.02), (0.2, 0.1), (0.3, 0.3), (0.4, 0.05), (0.5, 0.2)] {
            let mut inside = 0.0;
            for first in 0..=pairs {
                for second in 0..=pairs - first {
                    let equal = pairs - first - second;
                    let ways =
                        log_factorial[pairs] - log_factorial[first] - log_factorial[second] - log_factorial[equal];
                    let log = first as f64 * f64::ln(only_first)
                        + second as f64 * f64::ln(only_second)
                        + equal as f64 * (1.0 - only_first - only_second).ln();
                    let (low, high) = Method::Fixed.difference(first, second, pairs);
                    let truth = only_first - only_second;
                    inside += if low <= truth && truth <= high { (ways + log).exp() } else { 0.0 };
                }
            }
            assert!((0.93..0.99).contains(&inside), "{only_first} {only_second}: {inside}");
            coverages.push(inside);
        }
        let mean = coverages.iter().sum::<f64>() / coverages.len() as f64;
        assert!((0.94..0.97).contains(&mean), "{coverages:?}");
    }

    /// Student's own example of 1908: hours of sleep gained with one drug and with another, ten patients. The mean is 1.58, and t
    /// is 4.0621 with nine degrees of freedom.
    #[test]
    fn students_sleep_data_have_their_published_interval() {
        let one = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0];
        let other = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4];
        let differences: Vec<f64> = one.iter().zip(other).map(|(one, other)| other - one).collect();
        let (mean, limits) = mean_difference(&differences);
        let limits = limits.unwrap();
        assert!((mean - 1.58).abs() < 1e-9, "{mean}");
        assert_close(limits, (0.700_114_2, 2.459_885_8), 1e-6);
        let t = mean / ((limits.1 - limits.0) / 2.0) * student(9);
        assert!((t - 4.0621).abs() < 5e-5, "{t}");
    }

    #[test]
    fn students_points_are_those_of_the_tables() {
        for (freedom, point) in [
            (1, 12.7062),
            (2, 4.3027),
            (3, 3.1824),
            (9, 2.2622),
            (10, 2.2281),
            (29, 2.0452),
            (120, 1.9799),
            (99_999, 1.9602),
        ] {
            assert!((student(freedom) - point).abs() < 5e-5, "{freedom}: {}", student(freedom));
        }
    }

    #[test]
    fn what_does_not_vary_claims_nothing() {
        assert_eq!(mean_difference(&[1.0, 1.0, 1.0]), (1.0, None));
        assert_eq!(mean_difference(&[0.0, 0.0]), (0.0, Some((0.0, 0.0))));
        assert_eq!(mean_difference(&[3.0]), (3.0, None));
        assert_eq!(mean_difference(&[]), (0.0, None));
    }
}
