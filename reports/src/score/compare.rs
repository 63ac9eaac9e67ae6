//! Two policies compared on the same seeds: in each pair of trials the same devices break by the same bug, so only what the
//! policies do differs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Goal, PolicyScore, Trial, TrialRollout, method::Method, paired};

/// Two policies with one rate of bugs, on the seeds that both were tried with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub policy: String,
    /// The policy it is compared with.
    pub other: String,
    /// Devices that the release fails on, of those that it can fail on, in basis points.
    pub bug_rate_bp: u32,
    /// Seeds that both were tried with.
    pub seeds: usize,
    /// On how many seeds only one of them found the bug; with no bug, raised a false alarm.
    pub found: Difference,
    /// On how many seeds one of them broke fewer devices.
    pub broke_fewer: Difference,
    /// Broken devices of the policy less those of the other, mean.
    pub broken_mean: f64,
    /// Its limits; none for trials with a goal, nor where the differences don't vary.
    pub broken_limits: Option<(f64, f64)>,
}

/// On how many seeds something is true of only one policy.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    pub only_policy: usize,
    pub only_other: usize,
    /// Limits of the policy's share less the other's.
    pub limits: (f64, f64),
}

impl Difference {
    /// The sign of the difference, if the limits leave zero out.
    fn sign(&self) -> Option<Sign> {
        sign(self.limits)
    }

    /// The policy's share less the other's.
    pub(super) fn share(&self, seeds: usize) -> f64 {
        (self.only_policy as f64 - self.only_other as f64) / seeds.max(1) as f64
    }
}

/// Which of two policies has more of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Policy,
    Other,
}

fn sign((low, high): (f64, f64)) -> Option<Sign> {
    if low > 0.0 {
        Some(Sign::Policy)
    } else if high < 0.0 {
        Some(Sign::Other)
    } else {
        None
    }
}

impl Comparison {
    /// Which policy finds the bug more often, or raises more false alarms; none if that is not shown.
    pub(super) fn finds_more(&self) -> Option<Sign> {
        self.found.sign()
    }

    /// Which policy breaks fewer devices; none if that is not shown. Judged by the mean, or by the seeds if there is a goal.
    pub(super) fn breaks_fewer(&self, until: Option<Goal>) -> Option<Sign> {
        match (until, self.broken_limits) {
            (Some(_), _) => self.broke_fewer.sign(),
            (None, Some((low, high))) => sign((-high, -low)),
            (None, None) => None,
        }
    }

    /// Whether anything distinguishes the two.
    fn distinguishes(&self, until: Option<Goal>) -> bool {
        self.finds_more().is_some() || self.breaks_fewer(until).is_some()
    }

    /// The same from the other policy's side.
    pub(super) fn reversed(&self) -> Self {
        let turned = |(low, high): (f64, f64)| (0.0 - high, 0.0 - low);
        let reversed = |of: Difference| Difference {
            only_policy: of.only_other,
            only_other: of.only_policy,
            limits: turned(of.limits),
        };
        Self {
            policy: self.other.clone(),
            other: self.policy.clone(),
            found: reversed(self.found),
            broke_fewer: reversed(self.broke_fewer),
            broken_mean: 0.0 - self.broken_mean,
            broken_limits: self.broken_limits.map(turned),
            ..*self
        }
    }
}

/// How many intervals the comparisons of so many policies and rates have: two for each.
pub(super) fn intervals(policies: usize, rates: usize) -> usize {
    policies * policies.saturating_sub(1) * rates
}

/// Compares each two policies with each rate.
pub(super) fn compared(
    policies: &[PolicyScore],
    trials: &[Trial],
    until: Option<Goal>,
    method: Method,
) -> Vec<Comparison> {
    let mut rollouts: BTreeMap<(&str, u32), BTreeMap<u64, &TrialRollout>> = BTreeMap::new();
    for trial in trials {
        if let Some(rollout) = &trial.rollout {
            rollouts.entry((&trial.policy, trial.bug_rate_bp)).or_default().insert(trial.seed, rollout);
        }
    }
    let mut comparisons = Vec::new();
    for (nth, policy) in policies.iter().enumerate() {
        for other in policies.iter().skip(nth + 1) {
            for bug_rate_bp in policy.cells.iter().map(|cell| cell.bug_rate_bp) {
                let own = rollouts.get(&(policy.policy.as_str(), bug_rate_bp));
                let (Some(own), Some(others)) = (own, rollouts.get(&(other.policy.as_str(), bug_rate_bp))) else {
                    continue;
                };
                let pairs: Vec<_> = own.iter().filter_map(|(seed, own)| Some((*own, *others.get(seed)?))).collect();
                if !pairs.is_empty() {
                    let names = (policy.policy.clone(), other.policy.clone());
                    comparisons.push(comparison(names, bug_rate_bp, &pairs, (until, method)));
                }
            }
        }
    }
    comparisons
}

/// The comparisons of two policies, from the first one's side.
pub(super) fn with<'a>(
    policy: &'a PolicyScore,
    other: &'a PolicyScore,
    comparisons: &'a [Comparison],
) -> Vec<Comparison> {
    let of_both = comparisons.iter().filter_map(|of| match (of.policy == policy.policy, of.other == policy.policy) {
        (true, _) if of.other == other.policy => Some(of.clone()),
        (_, true) if of.policy == other.policy => Some(of.reversed()),
        _ => None,
    });
    of_both.collect()
}

fn comparison(
    (policy, other): (String, String),
    bug_rate_bp: u32,
    pairs: &[(&TrialRollout, &TrialRollout)],
    (until, method): (Option<Goal>, Method),
) -> Comparison {
    let count = |which: &dyn Fn(&TrialRollout, &TrialRollout) -> bool| {
        let only_policy = pairs.iter().filter(|(own, other)| which(own, other)).count();
        let only_other = pairs.iter().filter(|(own, other)| which(other, own)).count();
        Difference { only_policy, only_other, limits: method.difference(only_policy, only_other, pairs.len()) }
    };
    let differences: Vec<f64> =
        pairs.iter().map(|(own, other)| own.broken_devices as f64 - other.broken_devices as f64).collect();
    let (broken_mean, broken_limits) = paired::mean_difference(&differences);
    Comparison {
        policy,
        other,
        bug_rate_bp,
        seeds: pairs.len(),
        found: count(&|own, other| own.is_found() && !other.is_found()),
        broke_fewer: count(&|own, other| own.broken_devices < other.broken_devices),
        broken_mean,
        broken_limits: broken_limits.filter(|_| until.is_none()),
    }
}

/// Whether each policy is distinguished from every other one, by one rate at least.
pub(super) fn are_distinguished(policies: &[PolicyScore], comparisons: &[Comparison], until: Option<Goal>) -> bool {
    policies.iter().enumerate().all(|(nth, policy)| {
        policies.iter().skip(nth + 1).all(|other| {
            let mut of_both = comparisons.iter().filter(|of| of.policy == policy.policy && of.other == other.policy);
            of_both.any(|of| of.distinguishes(until))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::score::{
        Score, ScoreSetup, State,
        TrialOutcome::{Aborted, Completed},
        tally::sample::{setup, trial},
        words,
    };

    /// Policy `a` finds the bug on every seed; `b` on every third, and breaks three devices more where it does not.
    fn trials(seeds: u64) -> Vec<Trial> {
        let of = |seed: u64| {
            let b = if seed.is_multiple_of(3) {
                trial("b", 100, seed, Aborted, 4)
            } else {
                trial("b", 100, seed, Completed, 7 + seed % 2)
            };
            [trial("a", 100, seed, Aborted, 4), b]
        };
        (0..seeds).flat_map(of).collect()
    }

    #[test]
    fn policies_are_compared_on_the_seeds_that_both_were_tried_with() {
        let mut all = trials(12);
        all.push(trial("a", 100, 12, Aborted, 90)); // interrupted before `b`
        let score = Score::of(setup("s", "real"), &all);
        let [of] = score.comparisons.as_slice() else { panic!("{:?}", score.comparisons) };
        assert_eq!((of.policy.as_str(), of.other.as_str(), of.seeds), ("a", "b", 12));
        assert_eq!((of.found.only_policy, of.found.only_other), (8, 0));
        assert_eq!((of.broke_fewer.only_policy, of.broke_fewer.only_other), (8, 0));
        assert!((of.broken_mean + 28.0 / 12.0).abs() < 1e-12, "{}", of.broken_mean);
        assert_eq!((of.finds_more(), of.breaks_fewer(None)), (Some(Sign::Policy), Some(Sign::Policy)));
        let turned = of.reversed();
        assert_eq!((turned.finds_more(), turned.breaks_fewer(None)), (Some(Sign::Other), Some(Sign::Other)));
        assert_eq!(turned.reversed(), *of);
        let table = words::comparisons(&score);
        assert!(table.contains("a / b") && table.contains("finds more, breaks fewer"), "{table}");
    }

    #[test]
    fn a_goal_is_reached_once_something_is_shown_and_not_before() {
        let until = |goal, seeds| {
            let asked = ScoreSetup { until: Some(goal), state: State::Running, cells: 2, ..setup("s", "real") };
            Score::of(asked, &trials(seeds)).is_goal_reached()
        };
        assert!(!until(Goal::Distinguished, 6) && until(Goal::Distinguished, 40));
        assert!(!until(Goal::WidthBp(3_000), 20) && until(Goal::WidthBp(3_000), 120));
        assert!(!Score::of(setup("s", "real"), &trials(40)).is_goal_reached(), "there is none");
    }

    #[test]
    fn equal_policies_show_nothing() {
        let both: Vec<Trial> =
            (0..30).flat_map(|seed| [trial("a", 100, seed, Aborted, 4), trial("b", 100, seed, Aborted, 4)]).collect();
        let score = Score::of(setup("s", "real"), &both);
        assert!(words::comparisons(&score).contains("no difference"), "{}", words::comparisons(&score));
    }
}
