//! Trials summed up: a cell for each policy and rate of bugs.

use std::cmp::Ordering;

use super::{
    Cell, FAILED_MAX, FailedTrial, Goal, Passes, PolicyScore, Score, ScoreSetup, Trial, TrialOutcome, TrialRollout,
    compare::{are_distinguished, compared, intervals},
    method::Method,
    recommend::recommendation,
};
use crate::run_folder::Verdict;

impl Score {
    pub fn of(asked: ScoreSetup, trials: &[Trial]) -> Self {
        let mut names: Vec<&str> = Vec::new();
        let mut rates: Vec<u32> = Vec::new();
        for trial in trials.iter().filter(|trial| trial.rollout.is_some()) {
            if !names.contains(&trial.policy.as_str()) {
                names.push(&trial.policy);
            }
            if !rates.contains(&trial.bug_rate_bp) {
                rates.push(trial.bug_rate_bp);
            }
        }
        rates.sort_unstable();
        let until = asked.until;
        let of_cells = Method::of(until, asked.cells);
        let score = |name: &&str| PolicyScore {
            policy: (*name).to_owned(),
            cells: rates
                .iter()
                .filter_map(|rate| cell(*rate, trials.iter().filter(|of| of.policy == *name), of_cells))
                .collect(),
        };
        let policies: Vec<PolicyScore> = names.iter().map(score).collect();
        let of_comparisons = Method::of(until, intervals(asked.policies, asked.cells / asked.policies.max(1)));
        let comparisons = compared(&policies, trials, until, of_comparisons);
        let recommendation = recommendation(&policies, &comparisons, of_comparisons);
        Self {
            scenario: asked.scenario,
            devices: trials.first().map_or(0, |trial| trial.devices),
            first_seed: asked.first_seed,
            signatures: asked.signatures,
            trials_per_cell: asked.trials_per_cell,
            cells: asked.cells,
            fails_only_on: asked.fails_only_on,
            policies,
            invariant_violations: trials.iter().map(|trial| trial.invariant_violations).sum(),
            recommendation,
            state: asked.state,
            trials_made: trials.len(),
            until,
            passes: asked.is_judged.then(|| passes(trials, Method::of(until, 1))),
            comparisons,
            drawn_at: asked.drawn_at,
            resume: asked.resume,
        }
    }

    /// Whether the goal is reached; never without one.
    pub fn is_goal_reached(&self) -> bool {
        let is_narrow = |(low, high): (f64, f64), width_bp: u16| (high - low) * 10_000.0 <= f64::from(width_bp);
        match (self.until, &self.passes) {
            (None, _) => false,
            (Some(Goal::Distinguished), _) => {
                self.policies.len() > 1 && are_distinguished(&self.policies, &self.comparisons, self.until)
            }
            (Some(Goal::WidthBp(width_bp)), Some(passes)) => is_narrow(passes.limits, width_bp),
            (Some(Goal::WidthBp(width_bp)), None) => {
                let cells: Vec<&Cell> = self.policies.iter().flat_map(|policy| &policy.cells).collect();
                cells.len() >= self.cells.max(1) && cells.iter().all(|cell| is_narrow(cell.detected_limits, width_bp))
            }
        }
    }
}

/// How many trials passed, and the first that did not.
fn passes(trials: &[Trial], method: Method) -> Passes {
    let passed = trials.iter().filter(|trial| trial.verdict == Verdict::Pass).count();
    let failed = trials
        .iter()
        .filter(|trial| trial.verdict != Verdict::Pass)
        .take(FAILED_MAX)
        .map(|trial| FailedTrial { seed: trial.seed, reasons: trial.reasons.clone(), replay: trial.replay.clone() });
    Passes { passed, trials: trials.len(), limits: method.share(passed, trials.len()), failed: failed.collect() }
}

/// The cell of one rate among one policy's trials; none if there are no such trials.
fn cell<'a>(bug_rate_bp: u32, of_policy: impl Iterator<Item = &'a Trial>, method: Method) -> Option<Cell> {
    let trials = of_policy.filter(|trial| trial.bug_rate_bp == bug_rate_bp);
    let trials: Vec<&TrialRollout> = trials.filter_map(|trial| trial.rollout.as_ref()).collect();
    if trials.is_empty() {
        return None;
    }
    let count = |which: fn(&TrialRollout) -> bool| trials.iter().filter(|trial| which(trial)).count();
    let detected = count(TrialRollout::is_found);
    let mut broken: Vec<u64> = trials.iter().map(|trial| trial.broken_devices).collect();
    let found = trials.iter().filter(|trial| trial.outcome != TrialOutcome::Completed);
    let since_start = |trial: &TrialRollout, at_s: Option<f64>| at_s.map(|at_s| at_s - trial.started_at_s);
    let mut detection: Vec<f64> = found.filter_map(|trial| since_start(trial, trial.detected_at_s)).collect();
    let mut completion: Vec<f64> = trials.iter().filter_map(|trial| since_start(trial, trial.completed_at_s)).collect();
    let mut devices = |percent| quantile(&mut broken, percent, u64::cmp).unwrap_or(0);
    let seconds = |times: &mut [f64], percent| quantile(times, percent, f64::total_cmp);
    Some(Cell {
        bug_rate_bp,
        trials: trials.len(),
        detected,
        detected_limits: method.share(detected, trials.len()),
        completed: count(|trial| trial.outcome == TrialOutcome::Completed),
        broken_median: devices(50),
        broken_p95: devices(95),
        detection_median_s: seconds(&mut detection, 50),
        detection_p95_s: seconds(&mut detection, 95),
        completion_median_s: seconds(&mut completion, 50),
    })
}

/// The value of the nearest rank, which is counted in whole numbers: 95 % of 60 must not be a little over 57. None of nothing.
fn quantile<T: Copy>(values: &mut [T], percent: usize, order: fn(&T, &T) -> Ordering) -> Option<T> {
    values.sort_by(order);
    let rank = (values.len() * percent).div_ceil(100);
    values.get(rank.saturating_sub(1)).copied()
}

/// Trials for unit tests.
#[cfg(test)]
pub(super) mod sample {
    use super::{ScoreSetup, Trial, TrialOutcome, TrialRollout};
    use crate::run_folder::Verdict;

    /// A set of trials with this scenario name and kind of signatures.
    pub(in crate::score) fn setup(scenario: &str, signatures: &str) -> ScoreSetup {
        ScoreSetup {
            scenario: scenario.to_owned(),
            first_seed: 7,
            signatures: signatures.to_owned(),
            policies: 2,
            cells: 4,
            trials_per_cell: 3,
            ..ScoreSetup::default()
        }
    }

    pub(in crate::score) fn trial(
        policy: &str,
        bug_rate_bp: u32,
        seed: u64,
        outcome: TrialOutcome,
        broken_devices: u64,
    ) -> Trial {
        let is_found = outcome != TrialOutcome::Completed;
        Trial {
            policy: policy.to_owned(),
            bug_rate_bp,
            seed,
            verdict: Verdict::Pass,
            reasons: Vec::new(),
            devices: 100,
            rollout: Some(TrialRollout {
                outcome,
                broken_devices,
                installed_devices: 50,
                started_at_s: 3_600.0,
                first_broken_at_s: None,
                detected_at_s: is_found.then_some(3_600.0 + 600.0 * (seed + 1) as f64),
                completed_at_s: (!is_found).then_some(10_800.0),
            }),
            invariant_violations: 0,
            wall_s: 0.5,
            replay: "again".to_owned(),
        }
    }

    pub(in crate::score) fn trials() -> Vec<Trial> {
        use TrialOutcome::{Aborted, Completed, Paused};
        // Stopped by a person, not by the engine: not found.
        let mut stopped = trial("a", 100, 1, Aborted, 5);
        stopped.rollout.as_mut().unwrap().detected_at_s = None;
        vec![
            trial("b", 100, 0, Aborted, 3),
            trial("b", 100, 1, Paused, 9),
            trial("b", 100, 2, Completed, 40),
            trial("b", 0, 0, Completed, 0),
            trial("a", 0, 0, Completed, 0),
            stopped,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sample::trials;

    #[test]
    fn trials_are_summed_up_by_policy_and_rate() {
        let score = Score::of(sample::setup("s", "modelled"), &trials());
        let names: Vec<&str> = score.policies.iter().map(|policy| policy.policy.as_str()).collect();
        assert_eq!(names, ["b", "a"], "in the order they were given");
        let cell = &score.policies[0].cells[1];
        assert_eq!((cell.bug_rate_bp, cell.trials, cell.detected, cell.completed), (100, 3, 2, 1));
        assert_eq!((cell.broken_median, cell.broken_p95), (9, 40));
        assert_eq!((cell.detection_median_s, cell.detection_p95_s), (Some(600.0), Some(1_200.0)));
        assert_eq!((cell.completion_median_s, score.trials_per_cell), (Some(7_200.0), 3));
        assert_eq!(score.policies[1].cells[1].detected, 0);
    }

    #[test]
    fn a_rank_is_the_nearest() {
        let mut values: Vec<u64> = (1..=60).rev().collect();
        assert_eq!((quantile(&mut values, 50, u64::cmp), quantile(&mut values, 95, u64::cmp)), (Some(30), Some(57)));
        assert_eq!((quantile(&mut [3], 95, u64::cmp), quantile(&mut [], 50, u64::cmp)), (Some(3), None));
    }
}
