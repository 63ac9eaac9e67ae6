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
pub(super) fn mean_difference(differences: &[f64]) -> (f64, Option<(f64, f64)>) {
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
