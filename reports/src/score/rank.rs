//! Ranks policies, and says what the trials can show of the ranking.

use std::cmp::Ordering;

use super::{Cell, Comparison, PolicyScore, method::Method};

/// A policy is reliable for a bug that it finds in this share of the trials.
pub(super) const RELIABLE: f64 = 0.9;
/// Share of good releases that a policy may stop. One false alarm in a few trials does not prove more than this; two do.
const FALSE_ALARMS_ALLOWED: f64 = 0.01;
/// Limit of the number of trials per policy and rate that is recommended.
pub(super) const TRIALS_MAX: usize = 10_000;
/// Round numbers of trials, to say how many are needed.
const TRIALS: [usize; 13] = [10, 20, 30, 50, 100, 200, 300, 500, 1_000, 2_000, 3_000, 5_000, TRIALS_MAX];

/// Policies from the best to the worst.
pub(super) struct Ranking<'a> {
    pub(super) order: Vec<&'a PolicyScore>,
    /// The smallest bug that a policy finds reliably, and every larger one too, in basis points, among those that let good
    /// releases through.
    pub(super) yardstick_bp: Option<u32>,
}

/// Puts policies in order. First those that let good releases through; of them those that reliably find the smallest bug that
/// any of them finds reliably, and every larger one; then the one with the fewest broken devices, then the one that is fastest with a
/// good release. If none finds anything reliably, the one that finds the most comes first. Of those that hinder good releases,
/// the one that lets more through. Of equals, the one given first.
pub(super) fn ranked(policies: &[PolicyScore]) -> Ranking<'_> {
    let all_hinder = policies.iter().all(hinders);
    let yardstick_bp = policies.iter().filter(|policy| all_hinder || !hinders(policy)).filter_map(smallest_found).min();
    let mut order: Vec<&PolicyScore> = policies.iter().collect();
    order.sort_by(|one, other| compare(one, other, yardstick_bp));
    Ranking { order, yardstick_bp }
}

fn compare(one: &PolicyScore, other: &PolicyScore, yardstick_bp: Option<u32>) -> Ordering {
    let by_find = match yardstick_bp {
        None => found_of_all(other).total_cmp(&found_of_all(one)),
        Some(bp) => {
            let cell = |policy| at(policy, bp);
            let is_blind = |policy| !finds_from(policy, bp);
            let broken = |policy| cell(policy).map_or((u64::MAX, u64::MAX), |of| (of.broken_median, of.broken_p95));
            is_blind(one).cmp(&is_blind(other)).then_with(|| broken(one).cmp(&broken(other)))
        }
    };
    let takes = |policy| good(policy).and_then(|cell: &Cell| cell.completion_median_s).unwrap_or(f64::MAX);
    let by_hindrance = match (hinders(one), hinders(other)) {
        (true, true) => let_through(other).total_cmp(&let_through(one)),
        (one, other) => one.cmp(&other),
    };
    by_hindrance.then(by_find).then_with(|| takes(one).total_cmp(&takes(other)))
}

/// Share of good releases that reached every target.
fn let_through(policy: &PolicyScore) -> f64 {
    good(policy).map_or(0.0, |cell| cell.completed as f64 / cell.trials.max(1) as f64)
}

/// The cell of a rate.
pub(super) fn at(policy: &PolicyScore, bug_rate_bp: u32) -> Option<&Cell> {
    policy.cells.iter().find(|cell| cell.bug_rate_bp == bug_rate_bp)
}

/// The cell of releases without a bug.
pub(super) fn good(policy: &PolicyScore) -> Option<&Cell> {
    at(policy, 0)
}

/// The cells of releases with a bug.
pub(super) fn bugs(policy: &PolicyScore) -> impl Iterator<Item = &Cell> {
    policy.cells.iter().filter(|cell| cell.bug_rate_bp > 0)
}

/// Whether enough trials found the bug to rely on the policy.
pub(super) fn is_reliable(cell: &Cell) -> bool {
    cell.trials > 0 && cell.detected_share() >= RELIABLE
}

fn smallest_found(policy: &PolicyScore) -> Option<u32> {
    bugs(policy).map(|cell| cell.bug_rate_bp).filter(|bp| finds_from(policy, *bp)).min()
}

/// Whether a policy reliably finds this bug, and every larger one that was tried.
fn finds_from(policy: &PolicyScore, bug_rate_bp: u32) -> bool {
    at(policy, bug_rate_bp).is_some() && bugs(policy).filter(|cell| cell.bug_rate_bp >= bug_rate_bp).all(is_reliable)
}

/// Share of all trials with a bug in which it was found.
fn found_of_all(policy: &PolicyScore) -> f64 {
    let (found, trials) = bugs(policy).fold((0, 0), |sum, cell| (sum.0 + cell.detected, sum.1 + cell.trials));
    if trials == 0 { 0.0 } else { found as f64 / trials as f64 }
}

/// Whether a policy hinders good releases.
pub(super) fn hinders(policy: &PolicyScore) -> bool {
    stops_good_releases(policy) || leaves_good_releases_open(policy)
}

/// Whether the trials prove that it stops more good releases than is allowed: chance is not counted against it.
pub(super) fn stops_good_releases(policy: &PolicyScore) -> bool {
    good(policy).is_some_and(|cell| cell.detected_limits.0 > FALSE_ALARMS_ALLOWED)
}

/// Whether the scenario is over before one in ten good releases was completed or stopped.
fn leaves_good_releases_open(policy: &PolicyScore) -> bool {
    good(policy).is_some_and(|cell| cell.trials.saturating_sub(cell.completed + cell.detected) * 10 > cell.trials)
}

/// Seeds that would distinguish two policies by what they find if their shares stayed the same; none within the limit.
pub(super) fn trials_needed(of: &Comparison, method: Method) -> Option<usize> {
    let expected = |count: usize, seeds: usize| (count * seeds + of.seeds / 2) / of.seeds.max(1);
    let distinguishes = |seeds: &usize| {
        let (policy, other) = (expected(of.found.only_policy, *seeds), expected(of.found.only_other, *seeds));
        let (low, high) = method.difference(policy, other, *seeds);
        low > 0.0 || high < 0.0
    };
    TRIALS.into_iter().filter(|seeds| *seeds > of.seeds).find(distinguishes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{
        limits,
        recommend::sample::{cell, compared, policy},
    };

    fn names(policies: &[PolicyScore]) -> Vec<&str> {
        ranked(policies).order.into_iter().map(|policy| policy.policy.as_str()).collect()
    }

    #[test]
    fn finding_comes_before_breaking_few_and_breaking_few_before_being_quick() {
        let quick = |mut of: PolicyScore| {
            of.cells[0].completion_median_s = Some(3_600.0);
            of
        };
        let policies = [
            policy("blind", vec![cell(0, 0, 0), cell(100, 89, 1)]),
            policy("dear", vec![cell(0, 0, 0), cell(100, 99, 9)]),
            policy("slow", vec![cell(0, 0, 0), cell(100, 90, 4)]),
            quick(policy("quick", vec![cell(0, 0, 0), cell(100, 90, 4)])),
        ];
        assert_eq!(names(&policies), ["quick", "slow", "dear", "blind"]);
    }

    #[test]
    fn only_false_alarms_beyond_chance_set_a_policy_back() {
        for (alarms, trials, is_set_back) in [(1, 10, false), (2, 10, true), (1, 100, false), (90, 1_000, true)] {
            let good = Cell { trials, detected_limits: limits(alarms, trials), ..cell(0, alarms, 0) };
            assert_eq!(stops_good_releases(&policy("p", vec![good])), is_set_back, "{alarms} of {trials}");
        }
    }

    #[test]
    fn the_smallest_bug_is_measured_by_those_who_let_good_releases_through() {
        let policies = [
            policy("nervous", vec![cell(0, 100, 0), cell(10, 100, 1), cell(100, 100, 1)]),
            policy("calm", vec![cell(0, 0, 0), cell(10, 20, 1), cell(100, 95, 9)]),
        ];
        assert_eq!((names(&policies), ranked(&policies).yardstick_bp), (vec!["calm", "nervous"], Some(100)));
        assert_eq!(ranked(&policies[..1]).yardstick_bp, Some(10), "unless none does");
    }

    #[test]
    fn who_misses_a_larger_bug_comes_after_who_misses_none() {
        let policies = [
            policy("odd", vec![cell(0, 0, 0), cell(100, 97, 3), cell(500, 30, 40)]),
            policy("even", vec![cell(0, 0, 0), cell(100, 93, 4), cell(500, 100, 9)]),
        ];
        assert_eq!((names(&policies), ranked(&policies).yardstick_bp), (vec!["even", "odd"], Some(100)));
        assert_eq!(ranked(&policies[..1]).yardstick_bp, None);
    }

    #[test]
    fn of_those_that_hinder_who_lets_more_good_releases_through_comes_first() {
        let policies = [
            policy("shut", vec![cell(0, 100, 0), cell(100, 100, 1)]),
            policy("nervous", vec![cell(0, 30, 0), cell(100, 95, 3)]),
        ];
        assert_eq!(names(&policies), ["nervous", "shut"]);
    }

    #[test]
    fn without_a_reliable_policy_the_one_that_finds_most_comes_first() {
        let policies = [
            policy("a", vec![cell(0, 0, 0), cell(50, 15, 5), cell(100, 40, 9)]),
            policy("b", vec![cell(0, 0, 0), cell(50, 20, 4), cell(100, 60, 8)]),
        ];
        assert_eq!((names(&policies), ranked(&policies).yardstick_bp), (vec!["b", "a"], None));
    }

    #[test]
    fn the_trials_that_are_needed_distinguish_and_the_next_fewer_do_not() {
        let policies = [policy("a", vec![cell(100, 97, 1)]), policy("b", vec![cell(100, 94, 1)])];
        let of = &compared(&policies)[0];
        assert_eq!(trials_needed(of, Method::Fixed), Some(200));
        let is_shown = |hits, seeds| Method::Fixed.difference(hits, 0, seeds).0 > 0.0;
        assert!(is_shown(6, 200) && !is_shown(3, 100));
        let later = trials_needed(of, Method::Sequential { outside: 0.05 });
        assert_eq!(later, Some(500), "looking at every trial costs more of them");
        let equal = [policy("a", vec![cell(100, 97, 1)]), policy("b", vec![cell(100, 97, 1)])];
        assert_eq!(trials_needed(&compared(&equal)[0], Method::Fixed), None);
    }
}
