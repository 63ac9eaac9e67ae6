//! Which configuration is recommended: the least cost to honest devices, then the least load, then the tightest settings.

use std::cmp::Ordering;

use super::{Asked, Figures, Tried, number};

/// How it is chosen, for the page.
pub(super) const RULE: &str = "Recommended is, of the configurations under which the scenario's own expectations were met in each trial (of all, if there is none), and of which the server warns least: the one with the fewest honest devices that miss their deadline, then the least share of honest requests refused, then the least load let through, then the smallest values. The trials' means decide. If nothing is varied but the jitter or the pause of one cohort, recommended is the smallest with which the expectations were met in each trial: the first of the longest row of neighboring values that all meet them.";

/// Marks the configurations that no other one beats in both cost and load.
pub(super) fn mark_front(tried: &mut [Tried], asked: &Asked) {
    let points: Vec<Option<(f64, f64)>> = tried.iter().map(|of| of.figures.as_ref()?.point(asked)).collect();
    for (of, own) in tried.iter_mut().zip(&points) {
        let Some((cost, load)) = own else { continue };
        let beats = |(other_cost, other_load): &(f64, f64)| {
            other_cost <= cost && other_load <= load && (other_cost < cost || other_load < load)
        };
        of.is_on_front = !points.iter().flatten().any(beats);
    }
}

/// The number of the recommended one; none if none was tried.
pub(super) fn choose(tried: &[Tried], asked: &Asked) -> Option<usize> {
    let all = || tried.iter().enumerate().filter_map(|(nth, of)| Some((nth, of, of.figures.as_ref()?)));
    let meets_objectives = |figures: &Figures| figures.passed == figures.trials && figures.attacks_accepted == 0;
    // Settings that contradict each other hold only as long as nothing but this traffic comes.
    let warnings = |of: &Tried| of.configuration.warnings.len();
    let any_does = all().any(|(_, _, figures)| meets_objectives(figures));
    let candidates = all().filter(|(_, _, figures)| !any_does || meets_objectives(figures));
    let best = candidates.min_by(|(_, one, own), (_, another, others)| {
        let late = |of: &Figures| of.late_devices.map_or(0.0, |late| late.mean);
        warnings(one)
            .cmp(&warnings(another))
            .then_with(|| late(own).total_cmp(&late(others)))
            .then_with(|| own.cost().total_cmp(&others.cost()))
            .then_with(|| own.load(asked.has_attackers).mean.total_cmp(&others.load(asked.has_attackers).mean))
            .then_with(|| tighter(one, another))
    });
    best.map(|(nth, ..)| nth)
}

/// Orders settings by their values: as numbers where both are, the setting that is named first before the others.
fn tighter(one: &Tried, other: &Tried) -> Ordering {
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
    use crate::sweep::{Sweep, sample};

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

    #[test]
    fn a_configuration_that_misses_the_scenarios_objectives_is_not_recommended_if_another_one_meets_them() {
        let mut trials = sample::trials();
        for trial in trials.iter_mut().filter(|trial| trial.configuration == "A=8") {
            trial.verdict = crate::run_folder::Verdict::Fail;
        }
        assert_eq!(Sweep::of(sample::asked(), &trials).recommended.as_deref(), Some("A=24"));
        for trial in &mut trials {
            trial.verdict = crate::run_folder::Verdict::Fail;
        }
        let none_keeps = Sweep::of(sample::asked(), &trials);
        assert_eq!(none_keeps.recommended.as_deref(), Some("A=8"));
        assert!(none_keeps.recommendation.contains("no configuration"), "{}", none_keeps.recommendation);
    }
}
