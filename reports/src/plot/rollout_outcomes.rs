//! States of the devices' updates: all above, failures below on their own scale.

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Panel};
use super::canvas::stack::{self, Layer};
use super::canvas::theme;
use super::rollouts::Rollouts;
use crate::number;
use crate::run::Run;
use crate::run_folder::RolloutSample;

/// On their way, the furthest first.
const NORMAL: [&str; 8] =
    ["confirmed", "confirming", "installing", "downloading", "offered", "pending", "halted", "withdrawn"];
/// Gone wrong; what has no colour of its own is drawn in the last.
const FAILED: [&str; 6] = ["failed", "lost", "timed_out", "false_success", "rejected", "rolled_back"];

/// Two panels, because the few failures are decisive and must stay visible among the many.
pub(crate) fn chart(run: &Run) -> Chart {
    let mut chart = Chart::over_time(run, "Rollout: how far each device's update is");
    let rollouts = &run.rollouts;
    let (normal, failed) = layers(rollouts);
    let all: Vec<Layer> = normal.iter().chain(&failed).cloned().collect();
    let broken = rollouts.samples().next_back().map_or(0, |last| last.broken);
    chart.subtitle = format!(
        "In brackets: devices at the end. Really broken is the ground truth of the simulation, which the server does not know.{}",
        rollouts.how_to_read()
    );
    let mut legend = stack::legend(&all, rollouts, counts);
    legend.push((format!("really broken ({})", number::grouped(broken)), theme::INK));
    let words: Vec<&str> = legend.iter().map(|(name, _)| name.as_str()).collect();
    chart.description = format!("Devices at the end: {}.", words.join(", "));
    chart.legend = legend;
    let mut upper =
        panel("devices, all targets", rollouts.peak(|sample| stack::sum(&all, &sample.counts)), "no rollout");
    stack::add(&mut upper, &all, rollouts, counts);
    let wrong_max = rollouts.peak(|sample| stack::sum(&failed, &sample.counts).max(sample.broken as f64));
    let mut lower = panel("devices whose update went wrong", wrong_max, "no update went wrong");
    if wrong_max > 0.0 {
        stack::add(&mut lower, &failed, rollouts, counts);
        let broken = |sample: &RolloutSample| Some(sample.broken as f64);
        lower.add_lines(rollouts.lines(|sample| broken(sample).filter(|_| sample.broken > 0)), 4.2, theme::PAPER);
        lower.add_lines(rollouts.lines(broken), 1.8, theme::INK);
    }
    chart.panels = vec![upper, lower];
    chart.flags = rollouts.flags();
    chart
}

/// A panel from zero to `max`; an empty one is small.
fn panel(title: &str, max: f64, nothing: &str) -> Panel {
    Panel {
        y: Axis::count(title, max),
        height: if max > 0.0 { 0.7 } else { 0.25 },
        marks: Vec::new(),
        series: Vec::new(),
        empty: (max <= 0.0).then(|| nothing.into()),
    }
}

/// The counts that are stacked.
fn counts(sample: &RolloutSample) -> &std::collections::BTreeMap<String, u64> {
    &sample.counts
}

/// Layers that ever had a device: normal states, and failures. Unknown states are shown as failures.
fn layers(rollouts: &Rollouts) -> (Vec<Layer>, Vec<Layer>) {
    let mut seen: Vec<&str> = Vec::new();
    for (word, _) in rollouts.samples().flat_map(|sample| &sample.counts).filter(|(_, count)| **count > 0) {
        if !seen.contains(&word.as_str()) {
            seen.push(word);
        }
    }
    let layer = |(word, colour): (&str, plotters::style::RGBColor)| Layer {
        name: word.replace('_', " "),
        keys: vec![word.to_owned()],
        colour,
    };
    let had_some = |(word, _): &(&str, _)| seen.contains(word);
    let normal = NORMAL.into_iter().zip(theme::NORMAL).filter(had_some).map(layer).collect();
    let mut failed: Vec<Layer> = FAILED.into_iter().zip(theme::FAILED).filter(had_some).map(layer).collect();
    let others: Vec<String> = seen
        .iter()
        .filter(|word| !NORMAL.contains(word) && !FAILED.contains(word))
        .map(|word| (*word).to_owned())
        .collect();
    if let ([.., colour], Some(first)) = (theme::FAILED, others.first()) {
        let name = if others.len() == 1 { first.replace('_', " ") } else { format!("{} other states", others.len()) };
        failed.push(Layer { name, keys: others, colour });
    }
    (normal, failed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn only_what_had_devices_is_shown_and_unknown_words_are_not_hidden() {
        let counts = sample::codes(&[("pending", 5), ("lost", 1), ("offered", 0), ("vanished", 2), ("melted", 1)]);
        let rollouts = Rollouts::gather(&[RolloutSample { counts, ..RolloutSample::default() }], Vec::new(), 1.0);
        let (normal, failed) = layers(&rollouts);
        let names = |layers: &[Layer]| layers.iter().map(|layer| layer.name.clone()).collect::<Vec<_>>();
        assert_eq!(
            (names(&normal), names(&failed)),
            (vec!["pending".into()], vec!["lost".into(), "2 other states".into()])
        );
        let last = rollouts.samples().next_back().unwrap();
        assert_eq!(failed[1].of(&last.counts), 3);
    }
}
