//! Whether trials tell two configurations apart: the differences on the same seeds, with the interval of the paired t test, as in the
//! score of policies.

use std::collections::BTreeMap;

use super::{SweepTrial, TriedConfiguration};
use crate::{run_folder::Verdict, score::mean_difference};

/// Marks whether each configuration is distinguished from the chosen one.
pub(super) fn mark(tried: &mut [TriedConfiguration], chosen: usize, trials: &BTreeMap<&str, Vec<&SweepTrial>>) {
    let Some(name) = tried.get(chosen).map(|of| of.configuration.name.clone()) else { return };
    let Some(base) = trials.get(name.as_str()) else { return };
    for (_, of) in tried.iter_mut().enumerate().filter(|(nth, _)| *nth != chosen) {
        of.is_distinguished = trials.get(of.configuration.name.as_str()).and_then(|own| are_distinguished(own, base));
    }
}

/// Whether any of the figures that decide differs, or one met in each trial what the other missed in each; none without two pairs of trials.
pub(super) fn are_distinguished(own: &[&SweepTrial], base: &[&SweepTrial]) -> Option<bool> {
    let of_seed: BTreeMap<u64, &SweepTrial> = base.iter().map(|trial| (trial.seed, *trial)).collect();
    let pairs: Vec<(&SweepTrial, &SweepTrial)> =
        own.iter().filter_map(|trial| Some((*trial, *of_seed.get(&trial.seed)?))).collect();
    if pairs.len() < 2 {
        return None;
    }
    let all =
        |own: Verdict, other: Verdict| pairs.iter().all(|(one, base)| (one.verdict, base.verdict) == (own, other));
    if all(Verdict::Pass, Verdict::Fail) || all(Verdict::Fail, Verdict::Pass) {
        return Some(true);
    }
    let counts: [&dyn Fn(&SweepTrial) -> f64; 6] = [
        &|of| of.refused as f64,
        &|of| of.refused_again as f64,
        &|of| of.late_devices.unwrap_or(0) as f64,
        &|of| of.attacks_let_through as f64,
        &|of| of.let_through_per_s_max,
        &|of| of.recovery_p99_s.unwrap_or(0.0),
    ];
    let differs = |count: &&dyn Fn(&SweepTrial) -> f64| {
        let differences: Vec<f64> = pairs.iter().map(|(one, other)| count(one) - count(other)).collect();
        is_shown(&differences)
    };
    Some(counts.iter().any(differs))
}

/// Whether the limits of the mean leave zero out. Counts are whole: where they never vary, they are taken to vary by as much as
/// rounding does, a variance of 1/12, so that a difference of many requests in each of a few trials is shown, and none is not.
fn is_shown(differences: &[f64]) -> bool {
    let (mean, limits) = mean_difference(differences);
    if let Some((low, high)) = limits {
        return low > 0.0 || high < 0.0;
    }
    let varied: Vec<f64> =
        (0_usize..).zip(differences).map(|(nth, of)| of + if nth % 2 == 0 { 0.29 } else { -0.29 }).collect();
    let (_, limits) = mean_difference(&varied);
    mean != 0.0 && limits.is_some_and(|(low, high)| low > 0.0 || high < 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sweep::sample::trial;

    #[test]
    fn differences_are_shown_only_beyond_what_seeds_vary_by() {
        assert!(!is_shown(&[0.0, 0.0, 0.0]) && !is_shown(&[3.0, -2.0, 1.0]));
        assert!(is_shown(&[1_000.0, 1_000.0, 1_000.0]), "the same in each trial");
        assert!(is_shown(&[900.0, 1_000.0, 1_100.0]));
        assert!(!is_shown(&[0.0, 4.0, 0.0]), "one of three");
    }

    #[test]
    fn two_pairs_are_needed_and_only_the_same_seeds_are_compared() {
        let [a, b, other] = [trial("a", 1, 50, 7), trial("b", 1, 90, 7), trial("b", 2, 90, 7)];
        assert_eq!(are_distinguished(&[&b], &[&a]), None);
        assert_eq!(are_distinguished(&[&b, &other], &[&a]), None, "one seed in common");
        let second = trial("a", 2, 50, 7);
        assert_eq!(are_distinguished(&[&b, &other], &[&a, &second]), Some(true));
        assert_eq!(are_distinguished(&[&a, &second], &[&a, &second]), Some(false));
    }

    #[test]
    fn what_one_meets_in_each_trial_and_the_other_in_none_tells_them_apart() {
        let of = |verdicts: [Verdict; 2]| {
            let one = |(seed, verdict)| SweepTrial { verdict, ..trial("a", seed, 50, 7) };
            [1, 2].into_iter().zip(verdicts).map(one).collect::<Vec<_>>()
        };
        let (met, missed) = (of([Verdict::Pass; 2]), of([Verdict::Fail; 2]));
        let in_doubt = of([Verdict::Pass, Verdict::Fail]);
        let tells_apart = |own: &[SweepTrial], base: &[SweepTrial]| {
            are_distinguished(&own.iter().collect::<Vec<_>>(), &base.iter().collect::<Vec<_>>())
        };
        assert_eq!([tells_apart(&missed, &met), tells_apart(&met, &missed)], [Some(true); 2]);
        assert_eq!([tells_apart(&in_doubt, &met), tells_apart(&met, &met)], [Some(false); 2]);
    }
}
