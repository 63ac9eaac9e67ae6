//! The gates' readings: the observed failure share, the confidence band of the true one, and the bounds. The gate that stopped
//! the release comes first, else the one that came nearest to that; then the others, a panel each, the nearest first.

use std::collections::BTreeMap;

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Mark, Panel};
use super::canvas::theme;
use super::rollouts::Rollouts;
use crate::escape::label;
use crate::number;
use crate::run::Run;
use crate::run_folder::{GateSample, RolloutDecision, RolloutSample};

/// Limit of panels of other gates.
const OTHERS_MAX: usize = 5;
/// Height of their panels, as a share of the usual one.
const OTHER_HEIGHT: f64 = 0.6;
/// Limit of gates named in the title; of more, only the number is given.
const NAMED_MAX: usize = 3;
/// Limit of characters shown of a gate's population.
const OF_CHARS_MAX: usize = 40;

/// A logarithmic axis, because a band begins near 100 % and the threshold is often below 1 %.
pub(crate) fn chart(run: &Run) -> Chart {
    let rollouts = &run.rollouts;
    let shown = ShownGates::of(rollouts);
    let mut chart = Chart::over_time(run, &format!("{}: observed failure share against its threshold", shown.title()));
    let gates = || rollouts.samples().filter_map(|sample| shown.reading(sample));
    let decided = || shown.decisions.iter().filter_map(|decision| Some((*decision, decision.gate.as_ref()?)));
    let sentence = match (decided().next_back(), gates().next_back()) {
        (Some((decision, gate)), _) => {
            describe(&format!("When it was {}", label(&decision.decision.replace('_', " "), OF_CHARS_MAX)), gate)
        }
        (None, Some(gate)) => describe("At the end", gate),
        (None, None) => "The gate was not judged.".into(),
    };
    let has_band = gates().any(has_band);
    let no_band =
        if has_band || gates().next().is_none() { "" } else { " It judges the share itself: there is no band." };
    let (others, left_out) = shown.others(rollouts);
    let left_out = match left_out {
        0 => String::new(),
        more => format!(" {} more readings are in rollouts.ndjson.", number::grouped(more as u64)),
    };
    chart.subtitle = format!("{sentence}{no_band}{}{left_out}", rollouts.how_to_read());
    chart.description.clone_from(&sentence);
    let heading = if others.is_empty() { String::new() } else { format!("{}: ", shown.title()) };
    let heading = format!("{heading}per cent of devices with an outcome, log scale above 0");
    let of_decisions = decided().map(|(_, gate)| gate.share_ppm).collect();
    let mut panel = against_bounds(rollouts, &heading, of_decisions, &|sample| shown.reading(sample));
    panel.marks.extend(decided().map(|(decision, gate)| Mark::Spot {
        at: (decision.at_s, percent(gate.share_ppm)),
        text: format!("{} of {} failed", number::grouped(gate.failed), number::grouped(gate.executed)),
        colour: theme::INK,
    }));
    chart.panels.push(panel);
    for (gate, of) in &others {
        let heading = format!("Gate {} of {}", gate + 1, label(of, OF_CHARS_MAX));
        let panel = against_bounds(rollouts, &heading, Vec::new(), &|sample| reading(sample, *gate, of));
        chart.panels.push(Panel { height: OTHER_HEIGHT, ..panel });
    }
    chart.flags = rollouts.flags();
    let band = has_band.then_some(("band of the true share", theme::GOOD_AREA));
    let all = || rollouts.samples().flat_map(|sample| &sample.gates);
    let fails = all().any(|gate| gate.fails_from_ppm.is_some()).then_some(("fails from here on", theme::MUTED));
    let legend =
        [Some(("observed", theme::GOOD)), band, Some(("threshold", theme::ALARM)), fails].into_iter().flatten();
    chart.legend = legend.map(|(name, colour)| (name.to_owned(), colour)).collect();
    chart
}

/// The reading of a gate in a sample.
fn reading<'s>(sample: &'s RolloutSample, gate: u32, of: &str) -> Option<&'s GateSample> {
    sample.gates.iter().find(|reading| reading.gate == gate && reading.of == of)
}

/// A reading of each sample, if it has one.
type Readings<'a> = &'a dyn for<'s> Fn(&'s RolloutSample) -> Option<&'s GateSample>;

/// The readings of a gate against its bounds; the axis also reaches the shares of `also`.
fn against_bounds(rollouts: &Rollouts, heading: &str, also: Vec<u64>, reading: Readings<'_>) -> Panel {
    let readings = || rollouts.samples().filter_map(reading);
    let ends = |gate: &GateSample| {
        let fails_from = gate.fails_from_ppm.unwrap_or(gate.threshold_ppm);
        [gate.share_ppm, gate.lower_ppm, gate.upper_ppm, gate.threshold_ppm, fails_from]
    };
    let values = readings().flat_map(ends).chain(also);
    let mut panel = Panel {
        y: Axis::log_from_zero(heading, values.map(percent)),
        height: 1.0,
        marks: Vec::new(),
        series: Vec::new(),
        empty: readings().next().is_none().then(|| "the gate was not judged".into()),
    };
    let value =
        |of: fn(&GateSample) -> Option<u64>| move |sample: &RolloutSample| reading(sample).and_then(of).map(percent);
    if readings().any(has_band) {
        let band = |gate: &GateSample| (percent(gate.lower_ppm), percent(gate.upper_ppm));
        let areas = rollouts.areas(|sample| reading(sample).map(band)).into_iter();
        panel.marks.extend(areas.map(|points| Mark::Area { points, colour: theme::GOOD_AREA }));
    }
    panel.add_lines(rollouts.steps(value(|gate| gate.fails_from_ppm)), 1.6, theme::MUTED);
    panel.add_lines(rollouts.steps(value(|gate| Some(gate.threshold_ppm))), 2.0, theme::ALARM);
    panel.add_lines(rollouts.lines(value(|gate| Some(gate.share_ppm))), 2.8, theme::GOOD);
    panel
}

/// Which gate is shown of each rollout.
struct ShownGates<'a> {
    /// By rollout: the gate's number and population.
    gates: BTreeMap<&'a str, (u32, &'a str)>,
    /// Decisions that these gates made.
    decisions: Vec<&'a RolloutDecision>,
}

impl<'a> ShownGates<'a> {
    fn of(rollouts: &'a Rollouts) -> Self {
        let mut gates = BTreeMap::new();
        for sample in rollouts.samples() {
            // The nearest at the end; `gates` has it first.
            if let Some(gate) = sample.gates.first() {
                gates.insert(sample.rollout_id.as_str(), (gate.gate, gate.of.as_str()));
            }
        }
        let decided = rollouts.decisions.iter().filter(|decision| decision.gate.is_some());
        for decision in decided.clone() {
            // The last one decides: an abort comes after the pauses.
            if let Some(gate) = &decision.gate {
                gates.insert(&decision.rollout_id, (gate.gate, &gate.of));
            }
        }
        let is_by_it = |decision: &&RolloutDecision| {
            decision
                .gate
                .as_ref()
                .is_some_and(|gate| gates.get(decision.rollout_id.as_str()) == Some(&(gate.gate, gate.of.as_str())))
        };
        let decisions = decided.filter(is_by_it).collect();
        Self { gates, decisions }
    }

    /// The shown gate's reading in a sample.
    fn reading<'s>(&self, sample: &'s RolloutSample) -> Option<&'s GateSample> {
        let (number, of) = self.gates.get(sample.rollout_id.as_str())?;
        sample.gates.iter().find(|gate| gate.gate == *number && gate.of == *of)
    }

    /// The readings that are not shown first, the nearest to stopping the release first, and how many more there are.
    fn others(&self, rollouts: &'a Rollouts) -> (Vec<(u32, &'a str)>, usize) {
        let mut others: Vec<(u32, &str)> = Vec::new();
        // The last samples have every group; each has the nearest first.
        for gate in rollouts.samples().rev().flat_map(|sample| &sample.gates) {
            let name = (gate.gate, gate.of.as_str());
            if !others.contains(&name) && !self.gates.values().any(|shown| *shown == name) {
                others.push(name);
            }
        }
        let left_out = others.len().saturating_sub(OTHERS_MAX);
        others.truncate(OTHERS_MAX);
        (others, left_out)
    }

    /// `Gate 2 of KS-200`; of several rollouts each.
    fn title(&self) -> String {
        let mut names: Vec<String> =
            self.gates.values().map(|(gate, of)| format!("{} of {}", gate + 1, label(of, OF_CHARS_MAX))).collect();
        names.sort_unstable();
        names.dedup();
        match names.as_slice() {
            [] => "Gate".into(),
            [name] => format!("Gate {name}"),
            names if names.len() <= NAMED_MAX => format!("Gates {}", names.join(", ")),
            names => format!("{} gates", names.len()),
        }
    }
}

/// A gate's reading in a sentence.
fn describe(when: &str, gate: &GateSample) -> String {
    let verdict = label(&gate.verdict.replace('_', " "), OF_CHARS_MAX);
    let (failed, executed) = (number::grouped(gate.failed), number::grouped(gate.executed));
    let [share, lower, upper, threshold] =
        [gate.share_ppm, gate.lower_ppm, gate.upper_ppm, gate.threshold_ppm].map(percent_text);
    let band = if has_band(gate) { format!(", band {lower} to {upper}") } else { String::new() };
    format!("{when}: {verdict}, {failed} of {executed} devices failed ({share}){band}, threshold {threshold}.")
}

/// Whether its test has a band: a raw one, and a sequential one, judge the share itself.
fn has_band(gate: &GateSample) -> bool {
    gate.lower_ppm < gate.upper_ppm
}

/// Parts per million as per cent.
fn percent(ppm: u64) -> f64 {
    ppm as f64 / 10_000.0
}

/// Parts per million as per cent: `0.5 %`.
fn percent_text(ppm: u64) -> String {
    format!("{}\u{a0}%", number::measured((percent(ppm) * 100.0).round() / 100.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn gate(number: u32, of: &str, failed: u64, band: bool) -> GateSample {
        let share_ppm = failed * 25_000;
        GateSample {
            gate: number,
            of: of.into(),
            failed,
            executed: 40,
            share_ppm,
            lower_ppm: if band { share_ppm / 2 } else { share_ppm },
            upper_ppm: if band { share_ppm * 2 + 70_000 } else { share_ppm },
            threshold_ppm: 5_000,
            fails_from_ppm: (!band).then_some(25_000),
            verdict: if failed > 1 { "FAIL".into() } else { "INCONCLUSIVE".into() },
        }
    }

    /// A run in which one gate is nearest at the end, and another one aborted the rollout.
    fn run(band: bool) -> Run {
        let sample = |at_s: f64, gates: Vec<GateSample>| RolloutSample {
            at_s,
            rollout_id: "r".into(),
            gates,
            ..RolloutSample::default()
        };
        let samples = [
            sample(0.0, vec![gate(1, "KS-200", 0, band), gate(0, "all", 0, band)]),
            sample(5.0, vec![gate(0, "all", 9, band), gate(1, "KS-200", 3, band)]),
        ];
        let decision = RolloutDecision {
            at_s: 4.0,
            rollout_id: "r".into(),
            decision: "aborted".into(),
            stage: 0,
            why: String::new(),
            gate: Some(gate(1, "KS-200", 2, band)),
        };
        Run::new(sample::summary(), &[sample::tick(0.0, 10)], None).with_rollouts(&samples, vec![decision])
    }

    #[test]
    fn the_gate_that_stopped_the_release_is_shown_and_named() {
        let chart = chart(&run(true));
        assert!(chart.title.starts_with("Gate 2 of KS-200:"), "{}", chart.title);
        let subtitle = chart.subtitle.replace('\u{a0}', " ");
        let wanted = "When it was aborted: FAIL, 2 of 40 devices failed (5 %), band 2.5 % to 17 %, threshold 0.5 %.";
        assert!(subtitle.starts_with(wanted), "{subtitle}");
        let lines: Vec<_> = chart.panels[0]
            .marks
            .iter()
            .filter_map(|mark| match mark {
                Mark::Line { points, .. } => Some(points.clone()),
                Mark::Spot { at, text, .. } => {
                    assert_eq!((*at, text.as_str()), ((4.0, 5.0), "2 of 40 failed"));
                    None
                }
                Mark::Area { .. } | Mark::Label { .. } => None,
            })
            .collect();
        assert_eq!(lines[1], [(0.0, 0.0), (5.0, 7.5)], "its own share, not that of the gate that is nearest");
    }

    #[test]
    fn every_other_gate_has_a_panel_of_its_own() {
        let chart = chart(&run(true));
        let headings: Vec<&str> = chart.panels.iter().map(|panel| panel.y.title.as_str()).collect();
        assert_eq!(headings.len(), 2, "{headings:?}");
        assert!(
            headings[0].starts_with("Gate 2 of KS-200: per cent") && headings[1] == "Gate 1 of all",
            "{headings:?}"
        );
    }

    #[test]
    fn a_gate_without_a_band_has_none_in_picture_and_legend() {
        let chart = chart(&run(false));
        assert!(
            chart.subtitle.contains("there is no band") && !chart.subtitle.contains("band 5"),
            "{}",
            chart.subtitle
        );
        assert_eq!(chart.legend.len(), 3, "observed, threshold, and from where on it fails");
        assert!(!chart.panels[0].marks.iter().any(|mark| matches!(mark, Mark::Area { .. })));
    }
}
