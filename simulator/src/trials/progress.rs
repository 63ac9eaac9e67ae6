//! When the results of trials are considered, and how much time is left.

use std::{collections::BTreeMap, time::Duration};

use crate::host::parallel;

/// Whether the goal is considered after this many rounds: each up to a hundred, then each tenth up to a thousand, and so on.
pub(super) fn is_look(rounds: u64) -> bool {
    let mut step = 1;
    while rounds / step >= 100 {
        step *= 10;
    }
    rounds.is_multiple_of(step)
}

/// What trials of each case have cost, in real time.
pub(super) struct Costs(Vec<(Duration, u32)>);

impl Costs {
    pub(super) fn new(cases: usize) -> Self {
        Self(vec![(Duration::ZERO, 0); cases])
    }

    pub(super) fn add(&mut self, case: usize, took: Duration) {
        if let Some((sum, count)) = self.0.get_mut(case) {
            *sum += took;
            *count += 1;
        }
    }

    /// How long the trials that are left take on all cores, given the case of each; none before any has ended. A case that has
    /// none yet is assumed to cost as much as the others.
    pub(super) fn left(&self, cases: impl Iterator<Item = usize>) -> Option<Duration> {
        let (spent, made) = self.0.iter().fold((Duration::ZERO, 0), |sum, of| (sum.0 + of.0, sum.1 + of.1));
        let overall = spent.checked_div(made)?;
        let mut left: BTreeMap<usize, u32> = BTreeMap::new();
        for case in cases {
            *left.entry(case).or_default() += 1;
        }
        let count = left.values().copied().fold(0, u32::saturating_add);
        let of_case = |(case, count): (&usize, &u32)| {
            let own = self.0.get(*case).and_then(|(sum, made)| sum.checked_div(*made));
            own.unwrap_or(overall).saturating_mul(*count)
        };
        let sum: Duration = left.iter().map(of_case).sum();
        let at_once = u32::try_from(parallel::threads()).unwrap_or(u32::MAX).min(count);
        Some(sum.checked_div(at_once).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_considered_less_often_the_more_there_are() {
        let looks: Vec<u64> = (1..=1_300).filter(|rounds| is_look(*rounds)).collect();
        assert_eq!(looks.len(), 99 + 90 + 4);
        assert_eq!(looks.last_chunk(), Some(&[990, 1_000, 1_100, 1_200, 1_300]));
    }

    #[test]
    fn what_is_left_is_estimated_from_the_cost_of_each_case() {
        let mut costs = Costs::new(3);
        assert_eq!(costs.left([0].into_iter()), None, "nothing is known yet");
        for (case, seconds) in [(0, 2), (0, 4), (1, 12)] {
            costs.add(case, Duration::from_secs(seconds));
        }
        // 3 s and 12 s as before; 6 s, the mean of all, of the case that has not ended.
        let expected = Duration::from_secs(3 + 3 + 12 + 6) / u32::try_from(parallel::threads().min(4)).unwrap();
        assert_eq!(costs.left([0, 0, 1, 2].into_iter()), Some(expected));
        assert_eq!(costs.left([].into_iter()), Some(Duration::ZERO));
    }
}
