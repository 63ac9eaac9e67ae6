//! How the limits of shares and differences are computed: for a number of trials fixed in advance, or for trials that end once they
//! show something.

use super::{Goal, limits, paired, sequential};

/// The probability that any limits of trials with a goal are wrong at any time.
const OUTSIDE_OF_ALL: f64 = 0.05;

/// How limits are computed: it depends on when the trials end.
#[derive(Debug, Clone, Copy)]
pub(super) enum Method {
    /// After a number that was given in advance: each 95 % interval by itself.
    Fixed,
    /// Once they show something: all intervals together, at every time, are right but for this probability.
    Sequential { outside: f64 },
}

impl Method {
    /// The method for trials with a goal, which share the probability among this many intervals (Bonferroni), or without one.
    pub(super) fn of(until: Option<Goal>, intervals: usize) -> Self {
        match until {
            None => Self::Fixed,
            Some(_) => Self::Sequential { outside: OUTSIDE_OF_ALL / intervals.max(1) as f64 },
        }
    }

    /// The limits of a share.
    pub(super) fn share(self, hits: usize, trials: usize) -> (f64, f64) {
        match self {
            Self::Fixed => limits(hits, trials),
            Self::Sequential { outside } => sequential::share(hits, trials, outside),
        }
    }

    /// The limits of the difference of two paired shares.
    pub(super) fn difference(self, first: usize, second: usize, pairs: usize) -> (f64, f64) {
        match self {
            Self::Fixed => paired::difference_of_shares(first, second, pairs),
            Self::Sequential { outside } => sequential::difference_of_shares(first, second, pairs, outside),
        }
    }
}
