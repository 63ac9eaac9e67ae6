//! The rehearsals of policies that are advised, beside what was calculated.

use serde::{Deserialize, Serialize};

use super::Advice;
use crate::score::{self, Cell, Score, Trial, limits};

/// The rehearsals of all policies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rehearsed {
    /// How many trials were made, and how they ended.
    pub state: String,
    /// In the order of the policies.
    pub policies: Vec<RehearsedPolicy>,
}

/// The rehearsals of one policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RehearsedPolicy {
    pub name: String,
    /// Of the trials with the bug: those that found it as soon as predicted, while only the canary had it.
    pub found_in_canary: Share,
    /// Those that found it before every device had it.
    pub found: Share,
    /// Median of the time until it was found, in seconds.
    pub found_after_s: Option<f64>,
    /// Devices broken: median, and 95th percentile.
    pub broken: (u64, u64),
    /// Of the trials without the bug: those that were stopped.
    pub false_alarms: Share,
    /// Median of the time that a good release took, in seconds.
    pub duration_s: Option<f64>,
}

/// A share of trials, with the limits of the true one with 95 % confidence, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Share {
    pub count: usize,
    pub of: usize,
    pub limits: (f64, f64),
}

impl Share {
    fn of(count: usize, of: usize) -> Self {
        Self { count, of, limits: limits(count, of) }
    }
}

/// `19 of 20, 75 to 100 %`, the limits rounded outwards.
impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (low, high) = self.limits;
        write!(f, "{} of {}, {:.0} to {:.0} %", self.count, self.of, (low * 100.0).floor(), (high * 100.0).ceil())
    }
}

impl Rehearsed {
    /// What the trials of the advised policies showed.
    pub fn of<P>(advice: &Advice<P>, score: &Score, trials: &[Trial]) -> Self {
        let bug_bp = u32::from(advice.question.detect_bp);
        let policies = advice.policies.iter().map(|advised| {
            let name = &advised.name;
            let [with, without] = [bug_bp, 0].map(|bug_bp| cell(score, name, bug_bp));
            let is_in_time = |trial: &&Trial| {
                let found_after = trial.rollout.as_ref().and_then(|of| Some(of.detected_at_s? - of.started_at_s));
                found_after.is_some_and(|after_s| after_s <= advised.found_after_s as f64)
            };
            let own = trials.iter().filter(|trial| trial.policy == *name && trial.bug_rate_bp == bug_bp);
            let share = |cell: Option<&Cell>| cell.map_or(Share::of(0, 0), |of| Share::of(of.detected, of.trials));
            RehearsedPolicy {
                name: name.clone(),
                found_in_canary: Share::of(own.filter(is_in_time).count(), with.map_or(0, |of| of.trials)),
                found: share(with),
                found_after_s: with.and_then(|of| of.detection_median_s),
                broken: with.map_or((0, 0), |of| (of.broken_median, of.broken_p95)),
                false_alarms: share(without),
                duration_s: without.and_then(|of| of.completion_median_s),
            }
        });
        Self { state: score::state(score).replace('\u{a0}', ","), policies: policies.collect() }
    }
}

/// A policy's trials with a rate of bugs.
fn cell<'a>(score: &'a Score, policy: &str, bug_rate_bp: u32) -> Option<&'a Cell> {
    let of = score.policies.iter().find(|of| of.policy == policy)?;
    of.cells.iter().find(|cell| cell.bug_rate_bp == bug_rate_bp)
}
