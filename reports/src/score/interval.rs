//! How far a share counted in trials can be off: the exact limits of Clopper and Pearson (Biometrika 26, 1934,
//! 404-413).

/// The probability outside on either side: the interval holds 95 %.
const OUTSIDE: f64 = 0.025;
/// Halvings of the interval in which a limit is searched: enough for a double.
const HALVINGS: u32 = 60;

/// The limits of the true share when `hits` of `trials` were counted, with 95 % confidence; from zero to one without trials.
pub fn limits(hits: usize, trials: usize) -> (f64, f64) {
    let lower = if hits == 0 { 0.0 } else { solve(|p| 1.0 - at_most(hits - 1, trials, p), true) };
    let upper = if hits >= trials { 1.0 } else { solve(|p| at_most(hits, trials, p), false) };
    (lower, upper)
}

/// The share at which a tail has [`OUTSIDE`] in it; the tail grows with the share, or shrinks.
fn solve(tail: impl Fn(f64) -> f64, grows: bool) -> f64 {
    bisect(0.0, 1.0, |share| (tail(share) < OUTSIDE) == grows)
}

/// Where `is_below` changes from true to false between `low` and `high`.
pub(super) fn bisect(mut low: f64, mut high: f64, is_below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(low, high);
        if is_below(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The chance of at most `hits` hits in `trials` trials that each hit with chance `p`.
fn at_most(hits: usize, trials: usize, p: f64) -> f64 {
    if p <= 0.0 {
        return 1.0;
    }
    if p >= 1.0 {
        return if hits >= trials { 1.0 } else { 0.0 };
    }
    let odds = (p / (1.0 - p)).ln();
    let mut log_term = trials as f64 * (1.0 - p).ln();
    let mut sum = log_term.exp();
    for hit in 1..=hits.min(trials) {
        log_term += ((trials - hit + 1) as f64 / hit as f64).ln() + odds;
        sum += log_term.exp();
    }
    sum.min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_those_of_the_tables() {
        // Of 10 trials: 0, 8 and 10 hits; of 598: none, which shows less than 0.62 %.
        for (hits, trials, lower, upper) in
            [(0, 10, 0.0, 0.3085), (8, 10, 0.4439, 0.9748), (10, 10, 0.6915, 1.0), (0, 598, 0.0, 0.006_15)]
        {
            let (low, high) = limits(hits, trials);
            assert!((low - lower).abs() < 5e-5 && (high - upper).abs() < 5e-5, "{hits} of {trials}: {low} {high}");
        }
        assert_eq!(limits(0, 0), (0.0, 1.0));
    }

    #[test]
    fn the_share_that_was_counted_is_inside() {
        for trials in 1..60 {
            for hits in 0..=trials {
                let (low, high) = limits(hits, trials);
                let share = hits as f64 / trials as f64;
                assert!(low <= share && share <= high, "{hits} of {trials}");
            }
        }
    }
}
