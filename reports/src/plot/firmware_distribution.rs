//! Firmware versions that devices report, over time.

use std::collections::BTreeMap;

use super::canvas::axis::Axis;
use super::canvas::chart::{Chart, Panel};
use super::canvas::stack::{self, Layer};
use super::canvas::theme;
use super::rollouts::Rollouts;
use crate::run::Run;
use crate::run_folder::RolloutSample;

/// Versions that get a colour of their own; the rest are drawn together.
const NAMED_MAX: usize = 5;

/// The newest version at the bottom, where its growth from zero is easiest to see.
pub(crate) fn chart(run: &Run) -> Chart {
    let mut chart = Chart::over_time(run, "Firmware versions that devices report");
    let rollouts = &run.rollouts;
    let layers = layers(rollouts);
    chart.subtitle = format!("In brackets: devices at the end.{}", rollouts.how_to_read());
    chart.legend = stack::legend(&layers, rollouts, counts);
    let words: Vec<&str> = chart.legend.iter().map(|(name, _)| name.as_str()).collect();
    chart.description = format!("Devices at the end by version: {}.", words.join(", "));
    let max = rollouts.peak(|sample| stack::sum(&layers, &sample.versions));
    let mut panel = Panel {
        y: Axis::count("devices", max),
        height: 1.0,
        marks: Vec::new(),
        series: Vec::new(),
        empty: (max <= 0.0).then(|| "no device reported its version".into()),
    };
    stack::add(&mut panel, &layers, rollouts, counts);
    chart.panels.push(panel);
    chart.flags = rollouts.flags();
    chart
}

/// The counts that are stacked.
fn counts(sample: &RolloutSample) -> &BTreeMap<String, u64> {
    &sample.versions
}

/// The versions that most devices ever ran, newest first, then all others together.
fn layers(rollouts: &Rollouts) -> Vec<Layer> {
    let mut peaks = BTreeMap::<&str, u64>::new();
    for (version, count) in rollouts.samples().flat_map(|sample| &sample.versions).filter(|(_, count)| **count > 0) {
        let peak = peaks.entry(version).or_default();
        *peak = (*peak).max(*count);
    }
    let mut versions: Vec<(&str, u64)> = peaks.into_iter().collect();
    versions.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let rest = versions.split_off(versions.len().min(NAMED_MAX));
    versions.sort_by_key(|(version, _)| age_key(version));
    let named = versions.into_iter().zip(theme::VERSIONS).map(|((version, _), colour)| Layer {
        name: version.to_owned(),
        keys: vec![version.to_owned()],
        colour,
    });
    let mut layers: Vec<Layer> = named.collect();
    layers.reverse();
    if let [.., colour] = theme::VERSIONS
        && !rest.is_empty()
    {
        let keys: Vec<String> = rest.into_iter().map(|(version, _)| version.to_owned()).collect();
        layers.push(Layer { name: format!("{} other versions", keys.len()), keys, colour });
    }
    layers
}

/// Orders versions numerically: `1.9.0` before `1.10.0`.
fn age_key(version: &str) -> (Vec<u64>, String) {
    let numbers = version.split(|sign: char| !sign.is_ascii_digit()).filter_map(|part| part.parse().ok());
    (numbers.collect(), version.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn the_newest_version_lies_at_the_bottom_and_rare_ones_are_one() {
        let versions = sample::codes(&[
            ("1.9.0", 50),
            ("1.10.0", 20),
            ("0.1", 1),
            ("0.2", 2),
            ("0.3", 3),
            ("0.4", 4),
            ("0.5", 5),
            ("9", 0),
        ]);
        let rollouts = Rollouts::gather(&[RolloutSample { versions, ..RolloutSample::default() }], Vec::new(), 1.0);
        let names: Vec<_> = layers(&rollouts).into_iter().map(|layer| layer.name).collect();
        assert_eq!(names, ["1.10.0", "1.9.0", "0.5", "0.4", "0.3", "2 other versions"]);
    }
}
