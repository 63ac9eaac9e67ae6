//! Which configuration is recommended, of those that meet what the scenario expects: the least cost to honest devices, then the least load,
//! then the tightest settings. And which comes nearest, if none meets it.

use std::cmp::Ordering;

use super::{Figures, SweepSetup, TriedConfiguration, number};

/// How it is chosen, for the page.
pub(super) const RULE: &str = "Recommended is, of the configurations under which the scenario's own expectations were met in each trial, and of which the server warns least: the one with the fewest honest devices that miss their deadline, then the least share of honest requests refused, then the least load let through, then the smallest values. The trials' means decide. If there is none, none is recommended. If nothing is varied but the jitter or the pause of one cohort, recommended is the smallest with which the expectations were met in each trial: the first of the longest row of neighboring values that all meet them.";

/// Marks the configurations that no other one beats in both cost and load.
pub(super) fn mark_front(tried: &mut [TriedConfiguration], setup: &SweepSetup) {
    let points: Vec<Option<(f64, f64)>> = tried.iter().map(|of| of.figures.as_ref()?.point(setup)).collect();
    for (of, own) in tried.iter_mut().zip(&points) {
        let Some((cost, load)) = own else { continue };
        let beats = |(other_cost, other_load): &(f64, f64)| {
            other_cost <= cost && other_load <= load && (other_cost < cost || other_load < load)
        };
        of.is_on_front = !points.iter().flatten().any(beats);
    }
}

/// A configuration that was tried: its number, itself, and its figures.
type Candidate<'a> = (usize, &'a TriedConfiguration, &'a Figures);

fn candidates(tried: &[TriedConfiguration]) -> impl Iterator<Item = Candidate<'_>> {
    tried.iter().enumerate().filter_map(|(nth, of)| Some((nth, of, of.figures.as_ref()?)))
}

/// The number of the recommended one; none if none meets what the scenario expects in each trial.
pub(super) fn choose(tried: &[TriedConfiguration], setup: &SweepSetup) -> Option<usize> {
    let best = candidates(tried).filter(|(.., figures)| figures.meets()).min_by(|one, other| better(setup, one, other));
    best.map(|(nth, ..)| nth)
}

/// The number of the one that comes nearest to what the scenario expects: met in the most trials, then with the fewest expectations
/// missed, then as for a recommendation. None if none was tried.
pub(super) fn nearest(tried: &[TriedConfiguration], setup: &SweepSetup) -> Option<usize> {
    let share = |(.., of): &Candidate<'_>| of.passed as f64 / of.trials.max(1) as f64;
    let misses = |(.., of): &Candidate<'_>| of.missed as f64 / of.trials.max(1) as f64;
    let nearest = candidates(tried).min_by(|one, other| {
        let accepted = one.2.attacks_accepted.cmp(&other.2.attacks_accepted);
        let met = || share(other).total_cmp(&share(one));
        let missed = || misses(one).total_cmp(&misses(other));
        accepted.then_with(met).then_with(missed).then_with(|| better(setup, one, other))
    });
    nearest.map(|(nth, ..)| nth)
}

fn better(setup: &SweepSetup, (_, one, own): &Candidate<'_>, (_, another, others): &Candidate<'_>) -> Ordering {
    // Settings that contradict each other hold only as long as nothing but this traffic comes.
    let warnings = |of: &TriedConfiguration| of.configuration.warnings.len();
    let late = |of: &Figures| of.late_devices.map_or(0.0, |late| late.mean);
    warnings(one)
        .cmp(&warnings(another))
        .then_with(|| late(own).total_cmp(&late(others)))
        .then_with(|| own.cost().total_cmp(&others.cost()))
        .then_with(|| own.load(setup.has_attackers).mean.total_cmp(&others.load(setup.has_attackers).mean))
        .then_with(|| tighter(one, another))
}

/// Orders settings by their values: as numbers where both are, the setting that is named first before the others.
fn tighter(one: &TriedConfiguration, other: &TriedConfiguration) -> Ordering {
    let (one, other) = (&one.configuration.settings, &other.configuration.settings);
    let order = one.iter().map(|(name, value)| match other.get(name) {
        Some(others) => match (number(value), number(others)) {
            (Some(own), Some(others)) => own.total_cmp(&others),
            _ => value.cmp(others),
        },
        None => Ordering::Equal,
    });
    order.fold(Ordering::Equal, Ordering::then)
}

#[cfg(test)]
mod tests {
    use crate::{
        run_folder::Verdict,
        sweep::{Sweep, sample},
    };

    /// By hand: `2` refuses half; `8` and `24` refuse nothing, and `8` lets fewer attacks through; `60` is beaten by both.
    #[test]
    fn the_least_cost_comes_before_the_least_load() {
        let sweep = sample::sweep();
        assert_eq!(sweep.recommended.as_deref(), Some("A=8"));
        assert_eq!(sweep.environment, ["A=8"]);
        let front: Vec<&str> =
            sweep.tried.iter().filter(|of| of.is_on_front).map(|of| of.configuration.name.as_str()).collect();
        assert_eq!(front, ["A=2", "A=8"]);
        assert!(sweep.recommendation.contains("A=8"), "{}", sweep.recommendation);
    }

    /// Goal: the lines to paste give the limits that were tried, with those that the scenario sets for its own server.
    #[test]
    fn the_lines_to_paste_have_the_limits_that_the_scenario_itself_sets() {
        let mut setup = sample::setup();
        setup.own_limits = [("A", "1"), ("A_MODE", "enforce")].map(|(name, value)| (name.into(), value.into())).into();
        assert_eq!(Sweep::of(setup, &sample::trials()).environment, ["A=8", "A_MODE=enforce"]);
    }

    /// Goal: one with better figures than the recommended one does not look overlooked.
    #[test]
    fn a_configuration_that_the_server_warns_of_comes_last_and_the_text_says_so() {
        let mut setup = sample::setup();
        for of in setup.configurations.iter_mut().filter(|of| of.name == "A=8") {
            of.warnings = vec!["too few requests".to_owned()];
        }
        let sweep = Sweep::of(setup, &sample::trials());
        assert_eq!(sweep.recommended.as_deref(), Some("A=24"));
        let said = "The server would warn of A=8: what it warns of comes last.";
        assert!(sweep.recommendation.contains(said), "{}", sweep.recommendation);
        assert!(!sample::sweep().recommendation.contains("warn"), "it warns of none");
    }

    #[test]
    fn a_configuration_that_misses_the_scenarios_objectives_is_not_recommended() {
        let mut trials = sample::trials();
        for trial in trials.iter_mut().filter(|trial| trial.configuration == "A=8") {
            trial.verdict = Verdict::Fail;
        }
        assert_eq!(Sweep::of(sample::setup(), &trials).recommended.as_deref(), Some("A=24"));
        for trial in &mut trials {
            trial.verdict = Verdict::Fail;
            trial.reasons = vec!["`x <= 1` was not met: 7".to_owned(), "`y = 0` was not met: 2".to_owned()];
        }
        for trial in trials.iter_mut().filter(|trial| trial.configuration == "A=60") {
            trial.reasons.truncate(1);
        }
        let none_keeps = Sweep::of(sample::setup(), &trials);
        assert_eq!((none_keeps.recommended.as_deref(), none_keeps.nearest.as_deref()), (None, Some("A=60")));
        assert!(none_keeps.environment.is_empty(), "nothing to paste");
        let said = "Nothing is recommended: no configuration met the scenario's expectations in each trial. A=60 comes nearest, and met them in 0 of 3 (`x <= 1` was not met: 7).";
        assert!(none_keeps.recommendation.starts_with(said), "{}", none_keeps.recommendation);
        for trial in trials.iter_mut().filter(|trial| trial.configuration == "A=2" && trial.seed == 3) {
            trial.verdict = Verdict::Pass;
        }
        let nearer = Sweep::of(sample::setup(), &trials);
        assert_eq!((nearer.recommended.as_deref(), nearer.nearest.as_deref()), (None, Some("A=2")));
        assert!(
            nearer.recommendation.contains("A=2 comes nearest, and met them in 1 of 3"),
            "{}",
            nearer.recommendation
        );
        assert!(!crate::sweep::table(&nearer).contains('>'), "none is marked");
    }

    /// Goal: "none holds" is said only where each was seen to miss an expectation; one whose trials showed too little may yet hold.
    #[test]
    fn a_configuration_that_was_not_proven_wrong_leaves_the_sweep_inconclusive() {
        let with = |unproven: &[&str]| {
            let mut trials = sample::trials();
            for trial in &mut trials {
                let is_unproven = unproven.contains(&trial.configuration.as_str());
                trial.verdict = if is_unproven { Verdict::Inconclusive } else { Verdict::Fail };
            }
            let sweep = Sweep::of(sample::setup(), &trials);
            assert_eq!(sweep.recommended, None);
            (sweep.is_inconclusive(), sweep.recommendation.split_once(". ").unwrap().0.to_owned())
        };
        let no_other = "showed too little, and no other met the scenario's expectations in each trial";
        assert_eq!(
            with(&[]),
            (
                false,
                "Nothing is recommended: no configuration met the scenario's expectations in each trial".to_owned()
            )
        );
        assert_eq!(with(&["A=8"]), (true, format!("Nothing is recommended: the trials of A=8 {no_other}")));
        let two = format!("Nothing is recommended: the trials of A=2 and 1 more {no_other}");
        assert_eq!(with(&["A=2", "A=8"]), (true, two));
        let all = "Nothing is recommended: the trials of each configuration showed too little".to_owned();
        assert_eq!(with(&["A=2", "A=8", "A=24", "A=60"]), (true, all));
        let mut attacked = sample::trials();
        for trial in &mut attacked {
            trial.verdict = Verdict::Inconclusive;
            trial.attacks_accepted = 1;
        }
        assert!(!Sweep::of(sample::setup(), &attacked).is_inconclusive(), "each accepted an attack");
    }
}
