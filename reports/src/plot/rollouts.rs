//! Rollouts of a run, one after the other on the time axis, thinned to as many samples as a picture can show.
//!
//! At any time the rollout that began last is shown, as long as it has samples; an older one that outlasts it is shown
//! again. Of samples too close to distinguish in a picture the last one is kept: counts are totals, so nothing is lost.

use std::collections::BTreeMap;

use super::canvas::chart::Flag;
use super::canvas::theme;
use super::timeline::Line;
use crate::run_folder::{RolloutDecision, RolloutSample};

/// Most samples along the time axis.
const SAMPLES_MAX: f64 = 360.0;

/// Decisions against a release.
const AGAINST: [&str; 6] = ["paused", "aborted", "rolling_back", "rolled_back", "halted", "revoked"];

/// The rollouts of a run over time.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Rollouts {
    /// Samples of one rollout without another in between, in order of time.
    stretches: Vec<Vec<RolloutSample>>,
    /// All decisions, in order of time.
    pub(crate) decisions: Vec<RolloutDecision>,
}

impl Rollouts {
    /// Gathers samples and decisions, which are in order of time; the time axis ends at `end_s`, which is above 0.
    pub(crate) fn gather(samples: &[RolloutSample], decisions: Vec<RolloutDecision>, end_s: f64) -> Rollouts {
        let slot = |sample: &RolloutSample| (sample.at_s / end_s * SAMPLES_MAX).floor();
        let mut stretches: Vec<Vec<RolloutSample>> = Vec::new();
        for sample in shown(samples) {
            let of_same = |stretch: &&mut Vec<RolloutSample>| {
                stretch.last().is_some_and(|last| last.rollout_id == sample.rollout_id)
            };
            let Some(stretch) = stretches.last_mut().filter(of_same) else {
                stretches.push(vec![sample.clone()]);
                continue;
            };
            let is_first = stretch.len() == 1;
            match stretch.last_mut() {
                // The first of a stretch stays where it is, unless its moment is sampled again.
                Some(last) if sample.at_s <= last.at_s || (!is_first && slot(sample) <= slot(last)) => {
                    last.clone_from(sample);
                }
                _ => stretch.push(sample.clone()),
            }
        }
        Rollouts { stretches, decisions }
    }

    /// Every sample shown.
    pub(crate) fn samples(&self) -> impl DoubleEndedIterator<Item = &RolloutSample> {
        self.stretches.iter().flatten()
    }

    /// The greatest of a value; 0 without samples.
    pub(crate) fn peak(&self, value: impl Fn(&RolloutSample) -> f64) -> f64 {
        self.samples().map(value).fold(0.0, f64::max)
    }

    /// Lines through `value` of each sample, broken between rollouts and where there is no value: seconds and values.
    pub(crate) fn lines(&self, value: impl Fn(&RolloutSample) -> Option<f64>) -> Vec<Line> {
        self.runs(value)
    }

    /// Areas between two values of each sample, broken alike: seconds, lower and upper values.
    pub(crate) fn areas(&self, values: impl Fn(&RolloutSample) -> Option<(f64, f64)>) -> Vec<Vec<(f64, f64, f64)>> {
        let flat = |run: Vec<(f64, (f64, f64))>| run.into_iter().map(|(at, (low, high))| (at, low, high)).collect();
        self.runs(values).into_iter().map(flat).collect()
    }

    /// Seconds and values without a break; of equal values in a row the first and the last.
    fn runs<T: Copy + PartialEq>(&self, value: impl Fn(&RolloutSample) -> Option<T>) -> Vec<Vec<(f64, T)>> {
        let mut runs: Vec<Vec<(f64, T)>> = Vec::new();
        for stretch in &self.stretches {
            let mut run: Vec<(f64, T)> = Vec::new();
            for sample in stretch {
                match (value(sample), run.as_mut_slice()) {
                    (Some(value), [.., before, last]) if before.1 == value && last.1 == value => last.0 = sample.at_s,
                    (Some(value), _) => run.push((sample.at_s, value)),
                    (None, _) => runs.push(std::mem::take(&mut run)),
                }
            }
            runs.push(run);
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    /// The same as steps: each value holds until the next sample.
    pub(crate) fn steps(&self, value: impl Fn(&RolloutSample) -> Option<f64>) -> Vec<Line> {
        let stepped = |line: &Line| {
            let corners = line.iter().zip(line.iter().skip(1)).flat_map(|(from, to)| [(to.0, from.1), *to]);
            line.iter().take(1).copied().chain(corners).collect()
        };
        self.lines(value).iter().map(stepped).collect()
    }

    /// Decisions as flags; one that is repeated in its stage without another in between appears once.
    pub(crate) fn flags(&self) -> Vec<Flag> {
        let mut last: BTreeMap<&str, (&str, u32)> = BTreeMap::new();
        let mut flags = Vec::new();
        for decision in &self.decisions {
            let key = (decision.decision.as_str(), decision.stage);
            if last.insert(&decision.rollout_id, key) != Some(key) {
                let colour = if AGAINST.contains(&key.0) { theme::ALARM } else { theme::DECISION };
                flags.push(Flag { at: decision.at_s, name: key.0.replace('_', " "), colour });
            }
        }
        flags
    }

    /// How to read the picture: which rollouts it shows, and what its vertical lines mean.
    pub(crate) fn how_to_read(&self) -> String {
        let mut ids: Vec<&str> = self.samples().map(|sample| sample.rollout_id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        let lines = if self.decisions.is_empty() { "" } else { " Vertical lines are decisions." };
        let many = if ids.len() > 1 { format!(" {} rollouts, one after the other.", ids.len()) } else { String::new() };
        format!("{lines}{many}")
    }
}

/// The samples to show: those of a rollout up to the moment when another began, unless that has no further samples.
fn shown(samples: &[RolloutSample]) -> Vec<&RolloutSample> {
    let mut spans: BTreeMap<&str, (usize, f64, f64)> = BTreeMap::new();
    for (nth, sample) in samples.iter().enumerate() {
        let (_, _, to) = spans.entry(&sample.rollout_id).or_insert((nth, sample.at_s, sample.at_s));
        *to = sample.at_s;
    }
    let began = |sample: &RolloutSample| spans.get(sample.rollout_id.as_str()).map_or(0, |(nth, _, _)| *nth);
    let is_shown = |sample: &&RolloutSample| {
        spans.values().all(|(nth, from, to)| *nth <= began(sample) || sample.at_s <= *from || sample.at_s > *to)
    };
    let mut shown: Vec<&RolloutSample> = samples.iter().filter(is_shown).collect();
    shown.sort_by(|a, b| a.at_s.total_cmp(&b.at_s).then(began(a).cmp(&began(b))));
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: &str, at_s: f64, share_bp: u32) -> RolloutSample {
        RolloutSample { at_s, rollout_id: id.into(), share_bp, ..RolloutSample::default() }
    }

    fn share(sample: &RolloutSample) -> Option<f64> {
        (!sample.rollout_id.is_empty()).then_some(sample.share_bp.into())
    }

    #[test]
    fn a_later_rollout_is_shown_while_it_lasts() {
        let samples = [("a", 0.0), ("a", 1.0), ("a", 2.0), ("b", 2.0), ("a", 3.0), ("b", 3.0), ("a", 4.0)];
        let samples = samples.map(|(id, at_s)| sample(id, at_s, 1));
        let rollouts = Rollouts::gather(&samples, Vec::new(), 10.0);
        let shown: Vec<_> = rollouts.samples().map(|sample| (sample.rollout_id.as_str(), sample.at_s)).collect();
        assert_eq!(shown, [("a", 0.0), ("a", 1.0), ("a", 2.0), ("b", 2.0), ("b", 3.0), ("a", 4.0)]);
        assert_eq!(rollouts.lines(share).len(), 3);
    }

    #[test]
    fn three_days_of_minutes_are_thinned_and_end_as_they_end() {
        let samples: Vec<_> = (0..4_320_u32).map(|at| sample("a", f64::from(at) * 60.0, at)).collect();
        let rollouts = Rollouts::gather(&samples, Vec::new(), 259_200.0);
        assert!(rollouts.samples().count() <= 361, "{}", rollouts.samples().count());
        assert_eq!(rollouts.samples().next().map(|sample| sample.share_bp), Some(0));
        assert_eq!(rollouts.samples().next_back().map(|sample| sample.share_bp), Some(4_319));
    }

    #[test]
    fn a_step_holds_until_the_next_sample() {
        let rollouts = Rollouts::gather(&[sample("a", 0.0, 100), sample("a", 5.0, 500)], Vec::new(), 10.0);
        assert_eq!(rollouts.steps(share), [[(0.0, 100.0), (5.0, 100.0), (5.0, 500.0)]]);
        let level: Vec<_> = (0..10_u32).map(|at| sample("a", f64::from(at), u32::from(at > 6))).collect();
        let corners = [(0.0, 0.0), (6.0, 0.0), (7.0, 1.0), (9.0, 1.0)];
        assert_eq!(Rollouts::gather(&level, Vec::new(), 10.0).lines(share), [corners]);
    }

    #[test]
    fn a_decision_that_is_repeated_is_flagged_once() {
        let decision = |at_s: f64, decision: &str| RolloutDecision {
            at_s,
            rollout_id: "a".into(),
            decision: decision.into(),
            stage: 0,
            why: String::new(),
            gate: None,
        };
        let decisions = ["created", "waiting", "waiting", "rolled_back"].into_iter().zip([0.0, 1.0, 2.0, 3.0]);
        let decisions = decisions.map(|(word, at_s)| decision(at_s, word)).collect();
        let flags = Rollouts::gather(&[], decisions, 10.0).flags();
        assert_eq!(
            flags.iter().map(|flag| flag.name.as_str()).collect::<Vec<_>>(),
            ["created", "waiting", "rolled back"]
        );
    }
}
