//! What the steps mean: the interval, who gave out first, the verdict and the exit code. Pure.

use std::collections::BTreeMap;

use ks_reports::{
    load_limit::{
        Bottleneck, KIND, LOAD_LIMIT_FORMAT, LimitInterval, LoadLimit, SearchSetup, SearchState, Step, StepVerdict,
    },
    run_folder::Verdict,
};

use super::{FindLimit, Progress, RESOLUTION_PER_CENT, cores, step};
use crate::{drive::target::Target, number::counted};

impl FindLimit<'_> {
    /// The result so far.
    pub(super) fn conclude(&self, progress: &Progress, state: SearchState, broken: String) -> LoadLimit {
        let (search, steps) = (&progress.search, &progress.steps);
        let (held, above) = (search.held(), search.above());
        let interval = interval(steps, (held, above), |devices| step::per_min(devices, self.plan.interval()));
        let gave_out = above.and_then(|above| gave_out(steps, above));
        let mut found = LoadLimit {
            format: LOAD_LIMIT_FORMAT,
            kind: KIND.to_owned(),
            scenario: self.plan.name.clone(),
            goal: self.plan.goal.clone(),
            seed: self.plan.seed,
            target: self.target.map_or_else(
                || "an embedded server, a process of its own for each step".to_owned(),
                |of: &Target| of.url.clone(),
            ),
            started_at: self.started_at.to_string(),
            wall_s: progress.stopwatch.elapsed().as_secs_f64(),
            state,
            broken,
            verdict: Verdict::Inconclusive,
            reasons: Vec::new(),
            exit_code: 4,
            setup: self.what_was_asked(),
            interval,
            is_confirmed: state == SearchState::Finished && held.is_some(),
            is_lower_bound: is_lower_bound(steps, above, gave_out.map(|(first, _)| first), state),
            bottleneck: gave_out.map(|(first, _)| first),
            evidence_step: gave_out.map(|(_, number)| number),
            steps: steps.clone(),
            replay: self.replay.clone(),
        };
        (found.verdict, found.exit_code, found.reasons) = verdict(&found);
        found
    }

    fn what_was_asked(&self) -> SearchSetup {
        SearchSetup {
            expectations: self.expectations.iter().map(ToString::to_string).collect(),
            left_out: self.left_out.clone(),
            without: step::left_out(self.plan),
            verify_percent: self.plan.verify_percent,
            interval_s: self.plan.interval().as_secs_f64(),
            budget_s: self.budget.as_secs_f64(),
            repeats: self.repeats,
            resolution_per_cent: RESOLUTION_PER_CENT,
            quantile: self.lengths.quantile,
            has_percentile: self.lengths.has_percentile,
            samples_wanted: self.lengths.samples_wanted(),
            samples_min: self.lengths.samples_min(),
            cores: cores(),
            is_one_machine: self.is_one_machine(),
        }
    }
}

/// The runs of a load that count.
fn runs_of(steps: &[Step], devices: u32) -> impl Iterator<Item = &Step> {
    steps.iter().filter(move |step| step.devices == u64::from(devices) && step.verdict != StepVerdict::Broken)
}

/// Both ends, as rates, with the runs behind them.
fn interval(steps: &[Step], (held, above): (Option<u32>, Option<u32>), per_min: impl Fn(u32) -> f64) -> LimitInterval {
    let count = |devices: Option<u32>, is: fn(&Step) -> bool| {
        let runs = devices.map_or(0, |devices| runs_of(steps, devices).filter(|step| is(step)).count());
        u32::try_from(runs).unwrap_or(u32::MAX)
    };
    LimitInterval {
        held_per_min: held.map(&per_min),
        held_runs: count(held, |_| true),
        above_per_min: above.map(&per_min),
        above_runs: count(above, |_| true),
        above_failed: count(above, |step| step.verdict != StepVerdict::Held),
    }
}

/// Who gave out first in most of the runs of a load that did not hold, and the first step that shows it. Of two with as many runs, the
/// one that is judged first.
fn gave_out(steps: &[Step], devices: u32) -> Option<(Bottleneck, u32)> {
    let mut named: BTreeMap<Bottleneck, (usize, u32)> = BTreeMap::new();
    for step in runs_of(steps, devices) {
        if let Some(first) = step.bottleneck {
            named.entry(first).or_insert((0, step.number)).0 += 1;
        }
    }
    let most = named.iter().rev().max_by_key(|(_, (count, _))| *count)?;
    Some((*most.0, most.1.1))
}

/// Whether the server was not at its limit where the search ended.
fn is_lower_bound(steps: &[Step], above: Option<u32>, first: Option<Bottleneck>, state: SearchState) -> bool {
    match above {
        None => state == SearchState::Finished,
        Some(_) if first.is_some_and(Bottleneck::hides_the_server) => true,
        Some(above) => {
            let unmeasured = runs_of(steps, above).filter(|step| step.verdict == StepVerdict::Unmeasured).count();
            let not_held = runs_of(steps, above).filter(|step| step.verdict != StepVerdict::Held).count();
            unmeasured * 2 > not_held
        }
    }
}

/// The verdict, its exit code, and why it is not a pass.
fn verdict(of: &LoadLimit) -> (Verdict, u8, Vec<String>) {
    let unbalanced = of.steps.iter().filter(|step| step.reasons.iter().any(|why| why == step::UNBALANCED));
    let unbalanced: Vec<String> =
        unbalanced.map(|step| format!("step {}: {}", step.number, step::UNBALANCED)).collect();
    let made = counted(u64::try_from(of.steps.len()).unwrap_or(u64::MAX), "step");
    let doubt = |why: String| (Verdict::Inconclusive, 4, vec![why]);
    match of.state {
        SearchState::Broken => (Verdict::Fail, 3, [vec![of.broken.clone()], unbalanced].concat()),
        _ if !unbalanced.is_empty() => (Verdict::Fail, 99, unbalanced),
        SearchState::Running => doubt("the search did not finish: it was killed, or is still running".to_owned()),
        SearchState::Interrupted => doubt(format!("the search was interrupted after {made}")),
        SearchState::OutOfTime => doubt(format!("the budget ended after {made}, before the limit was confirmed")),
        SearchState::Finished if of.interval.held_per_min.is_none() => nothing_held(of),
        SearchState::Finished if of.is_lower_bound => {
            let first = of.bottleneck.map_or("the highest rate that can be offered held".to_owned(), |first| {
                format!("{} gave out first", first.words())
            });
            doubt(format!("only a lower bound: {first}"))
        }
        SearchState::Finished => (Verdict::Pass, 0, Vec::new()),
    }
}

/// No load held: a failure, unless the lowest one could not even be measured.
fn nothing_held(of: &LoadLimit) -> (Verdict, u8, Vec<String>) {
    let lowest = of.steps.iter().map(|step| step.devices).min();
    let runs: Vec<&Step> = of.steps.iter().filter(|step| Some(step.devices) == lowest).collect();
    let failed = runs.iter().filter(|step| step.verdict == StepVerdict::Failed).count();
    let why = runs.iter().find(|step| !step.reasons.is_empty()).map(|step| step.reasons.clone()).unwrap_or_default();
    if failed * 2 >= runs.len() { (Verdict::Fail, 99, why) } else { (Verdict::Inconclusive, 4, why) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(number: u32, devices: u64, verdict: StepVerdict, bottleneck: Option<Bottleneck>) -> Step {
        let reasons = if verdict == StepVerdict::Held { Vec::new() } else { vec!["p99 was not met".to_owned()] };
        Step {
            number,
            purpose: String::new(),
            devices,
            planned_per_min: devices as f64 * 60.0,
            offered_per_min: 0.0,
            acked_per_min: 0.0,
            measured_s: 10.0,
            latency_ms: None,
            service_ms: None,
            send_lag_ms: None,
            by_code: BTreeMap::new(),
            generator_cores: 0.0,
            server_cores: None,
            verdict,
            reasons,
            bottleneck,
            readings: Vec::new(),
            replay: String::new(),
        }
    }

    fn found(state: SearchState, interval: (Option<u32>, Option<u32>), steps: Vec<Step>) -> LoadLimit {
        let gave_out = interval.1.and_then(|above| gave_out(&steps, above));
        LoadLimit {
            format: 1,
            kind: String::new(),
            scenario: String::new(),
            goal: String::new(),
            seed: 1,
            target: String::new(),
            started_at: String::new(),
            wall_s: 1.0,
            state,
            broken: "the target died".to_owned(),
            verdict: Verdict::Inconclusive,
            reasons: Vec::new(),
            exit_code: 4,
            setup: SearchSetup::default(),
            interval: super::interval(&steps, interval, |devices| f64::from(devices) * 60.0),
            is_confirmed: true,
            is_lower_bound: is_lower_bound(&steps, interval.1, gave_out.map(|(first, _)| first), state),
            bottleneck: gave_out.map(|(first, _)| first),
            evidence_step: None,
            steps,
            replay: String::new(),
        }
    }

    fn code(of: &LoadLimit) -> u8 {
        verdict(of).1
    }

    use Bottleneck::{CommitQueue, GeneratorLag, Machine, Unknown};
    use SearchState::{Broken, Finished, Interrupted, OutOfTime, Running};
    use StepVerdict::{Failed, Held, Unmeasured};

    #[test]
    fn a_confirmed_limit_of_the_server_is_a_pass_and_a_lower_bound_is_inconclusive() {
        let with = |first: Bottleneck, verdict: StepVerdict| {
            found(Finished, (Some(100), Some(110)), vec![step(1, 100, Held, None), step(2, 110, verdict, Some(first))])
        };
        assert_eq!(code(&with(CommitQueue, Failed)), 0);
        assert_eq!(code(&with(Unknown, Failed)), 0, "of whichever part, it is the limit");
        for first in [GeneratorLag, Machine] {
            let found = with(first, Failed);
            assert!(found.is_lower_bound && code(&found) == 4, "{first:?}");
        }
        assert!(with(CommitQueue, Unmeasured).is_lower_bound, "what could not be measured is never the server's limit");
        assert_eq!(
            code(&found(Finished, (Some(100), None), vec![step(1, 100, Held, None)])),
            4,
            "the highest load held"
        );
    }

    #[test]
    fn a_search_that_ended_early_says_how() {
        let steps = || vec![step(1, 100, Held, None), step(2, 200, Failed, Some(CommitQueue))];
        let codes =
            [Running, Interrupted, OutOfTime, Broken].map(|state| code(&found(state, (Some(100), Some(200)), steps())));
        assert_eq!(codes, [4, 4, 4, 3]);
    }

    #[test]
    fn no_load_that_holds_is_a_failure_unless_it_could_not_be_measured() {
        let failed = found(Finished, (None, Some(5)), vec![step(1, 9, Failed, None), step(2, 5, Failed, None)]);
        assert_eq!(verdict(&failed), (Verdict::Fail, 99, vec!["p99 was not met".to_owned()]));
        assert_eq!(code(&found(Finished, (None, Some(5)), vec![step(1, 5, Unmeasured, Some(GeneratorLag))])), 4);
    }

    #[test]
    fn a_ledger_that_does_not_balance_fails_whatever_the_limit_is() {
        let lost = Step { reasons: vec![step::UNBALANCED.to_owned()], ..step(2, 110, Failed, Some(CommitQueue)) };
        let found = found(Finished, (Some(100), Some(110)), vec![step(1, 100, Held, None), lost]);
        assert_eq!(verdict(&found), (Verdict::Fail, 99, vec!["step 2: the ledger does not balance".to_owned()]));
    }

    #[test]
    fn who_gave_out_in_most_runs_is_named_and_of_two_the_one_that_is_judged_first() {
        let mixed = [
            step(1, 110, Failed, Some(CommitQueue)),
            step(2, 110, Failed, Some(GeneratorLag)),
            step(3, 110, Failed, Some(CommitQueue)),
            step(4, 90, Failed, Some(Machine)),
        ];
        assert_eq!(gave_out(&mixed, 110), Some((CommitQueue, 1)));
        assert_eq!(gave_out(&mixed[..2], 110), Some((GeneratorLag, 2)));
        assert_eq!(gave_out(&mixed, 100), None);
        let interval = super::interval(&mixed, (Some(90), Some(110)), f64::from);
        assert_eq!((interval.held_runs, interval.above_runs, interval.above_failed), (1, 3, 3));
    }
}
