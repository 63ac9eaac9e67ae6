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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::method::Method;

    const OUTSIDE: f64 = 0.05;
    const ALL: Method = Method::Sequential { outside: OUTSIDE };

    /// The exact chance that, of so many trials with this share, the limits leave it out after any of them: the chance of each
    /// count of hits, trial by trial, without the counts at which the share was left out.
    fn ever_wrong(method: Method, share: f64, trials: usize) -> f64 {
        let mut chances = vec![1.0];
        let mut wrong = 0.0;
        for made in 1..=trials {
            let mut next = vec![0.0; made + 1];
            for (hits, chance) in chances.iter().enumerate() {
                next[hits] += chance * (1.0 - share);
                next[hits + 1] += chance * share;
            }
            for (hits, chance) in next.iter_mut().enumerate().filter(|(_, chance)| **chance > 0.0) {
                let (low, high) = method.share(hits, made);
                if share < low || share > high {
                    wrong += std::mem::take(chance);
                }
            }
            chances = next;
        }
        wrong
    }

    #[test]
    fn a_share_is_inside_at_every_time_and_naive_limits_lose_it() {
        for share in [0.02, 0.3, 0.9] {
            let wrong = ever_wrong(ALL, share, 150);
            assert!(wrong <= OUTSIDE, "{share}: {wrong}");
        }
        let naive = ever_wrong(Method::Fixed, 0.3, 150);
        assert!(naive > 0.1, "looking at Clopper-Pearson limits after each trial: {naive}");
    }

    #[test]
    fn the_mixture_is_that_of_the_arcsine_distribution() {
        // B(k + 1/2, n - k + 1/2) / B(1/2, 1/2) for three hits of four, by hand: 15/384.
        assert!((least_likelihood(&[3, 1], 1.0).exp() - 15.0 / 384.0).abs() < 1e-12);
        let (low, high) = share(3, 4, OUTSIDE);
        for limit in [low, high] {
            let ratio = 15.0 / 384.0 / (limit.powi(3) * (1.0 - limit));
            assert!((ratio - 20.0).abs() < 1e-6, "a limit is where the mixture is twenty times as likely: {ratio}");
        }
        assert_eq!((share(0, 0, OUTSIDE), share(0, 9, OUTSIDE).0 < 1e-9), ((0.0, 1.0), true));
    }

    /// The chance that two equal policies are distinguished at any look, with a goal that is considered after every pair.
    fn ever_distinguished(method: Method, only_one: f64, experiments: u64) -> f64 {
        let mut wrong = 0;
        for experiment in 0..experiments {
            let (mut state, mut first, mut second) = (experiment, 0, 0);
            let is_wrong = (1..=150).any(|pairs| {
                let drawn = uniform(&mut state);
                first += usize::from(drawn < only_one);
                second += usize::from((only_one..2.0 * only_one).contains(&drawn));
                let (low, high) = method.difference(first, second, pairs);
                low > 0.0 || high < 0.0
            });
            wrong += u64::from(is_wrong);
        }
        wrong as f64 / experiments as f64
    }

    /// The next of a sequence of numbers from 0 to 1 (`SplitMix64`); the first state is the seed.
    fn uniform(state: &mut u64) -> f64 {
        *state = state.wrapping_mul(0xd134_2543_de82_ef95).wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn equal_policies_are_rarely_distinguished_however_often_one_looks_and_naively_often() {
        for only_one in [0.05, 0.25] {
            let wrong = ever_distinguished(ALL, only_one, 400);
            assert!(wrong <= OUTSIDE, "{only_one}: {wrong}");
        }
        let naive = ever_distinguished(Method::Fixed, 0.25, 200);
        assert!(naive > 3.0 * OUTSIDE, "looking at Tango's interval after each pair: {naive}");
    }

    #[test]
    fn what_differs_is_distinguished_in_time() {
        assert!(ALL.difference(10, 0, 30).0 > 0.0, "ten of thirty, all for one policy");
        assert!(ALL.difference(11, 0, 11).0 > 0.0 && ALL.difference(8, 0, 8).0 < 0.0);
        assert!(ALL.difference(4, 0, 30).0 < 0.0, "four would do for a number fixed in advance");
        assert!(Method::Fixed.difference(4, 0, 30).0 > 0.0);
        let (low, high) = ALL.difference(12, 3, 60);
        assert!(low < 0.15 && 0.15 < high, "{low} {high}");
        assert_eq!(ALL.difference(0, 0, 0), (-1.0, 1.0));
    }
}
