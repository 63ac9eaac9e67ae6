//! Limits that hold however often the trials are looked at, and whenever they are ended because of what they show: time-uniform
//! confidence sequences.
//!
//! The mixture of Robbins (Annals of Mathematical Statistics 41, 1970, 1397-1409) over the shares of a trial's results,
//! with Jeffreys' prior as its weight (Krichevsky and Trofimov, IEEE Transactions on Information Theory 27, 1981,
//! 199-207). If the shares are really p, the mixture's likelihood over that of p is a martingale that starts at one; by
//! Ville's inequality it ever reaches 1/a with a chance of a at most. Each set of shares for which it has not is inside.

use super::{interval::bisect, paired::only_second};

/// The weight of each result before the first trial.
const PRIOR: f64 = 0.5;

/// The limits of a share after `hits` of `trials`; they are all inside, together and at every time, but for `outside`.
pub(super) fn share(hits: usize, trials: usize, outside: f64) -> (f64, f64) {
    let misses = trials.saturating_sub(hits);
    if trials == 0 {
        return (0.0, 1.0);
    }
    let least = least_likelihood(&[hits, misses], outside);
    let is_inside = |share: f64| log_likelihood(&[(hits, share), (misses, 1.0 - share)]) >= least;
    let observed = hits as f64 / trials as f64;
    (bisect(0.0, observed, |at| !is_inside(at)), bisect(observed, 1.0, is_inside))
}

/// The limits of the difference of two paired shares: of `pairs` pairs, `first` hit only in the first member and `second` only in
/// the second. It is inside if any shares with that difference are.
pub(super) fn difference_of_shares(first: usize, second: usize, pairs: usize, outside: f64) -> (f64, f64) {
    if pairs == 0 {
        return (-1.0, 1.0);
    }
    let equal = pairs.saturating_sub(first + second);
    let least = least_likelihood(&[first, second, equal], outside);
    let is_inside = |difference: f64| {
        let only_second = only_second(first, second, pairs, difference);
        let only_first = only_second + difference;
        log_likelihood(&[(first, only_first), (second, only_second), (equal, 1.0 - only_first - only_second)]) >= least
    };
    let observed = (first as f64 - second as f64) / pairs as f64;
    (bisect(-1.0, observed, |at| !is_inside(at)), bisect(observed, 1.0, is_inside))
}

/// The smallest log likelihood that shares may have and be inside: that of the mixture, less the logarithm of 1/outside.
fn least_likelihood(counts: &[usize], outside: f64) -> f64 {
    let total: usize = counts.iter().sum();
    // Each result has the chance that those before it and the prior give it; their order does not matter.
    let own = |count: &usize| (0..*count).map(|before| (before as f64 + PRIOR).ln()).sum::<f64>();
    let all: f64 = (0..total).map(|before| (before as f64 + PRIOR * counts.len() as f64).ln()).sum();
    counts.iter().map(own).sum::<f64>() - all + outside.ln()
}

/// The log likelihood of counts under shares; what has not happened may have the share zero.
fn log_likelihood(results: &[(usize, f64)]) -> f64 {
    let of = |&(count, share): &(usize, f64)| if count == 0 { 0.0 } else { count as f64 * share.max(0.0).ln() };
    results.iter().map(of).sum()
}
