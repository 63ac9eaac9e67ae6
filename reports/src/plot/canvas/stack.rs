//! Areas of devices, one upon another: each layer is a set of keys counted in every sample of a rollout.

use std::collections::BTreeMap;

use plotters::style::RGBColor;

use super::super::rollouts::Rollouts;
use super::chart::{Mark, Panel};
use crate::number;
use crate::run_folder::RolloutSample;

/// Which counts of a sample are stacked.
pub(crate) type Counts = fn(&RolloutSample) -> &BTreeMap<String, u64>;

/// Devices drawn in one colour.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Layer {
    /// What they have in common.
    pub(crate) name: String,
    /// Keys of the counts.
    pub(crate) keys: Vec<String>,
    pub(crate) colour: RGBColor,
}

impl Layer {
    /// Devices of this layer in a sample.
    pub(crate) fn of(&self, counts: &BTreeMap<String, u64>) -> u64 {
        self.keys.iter().filter_map(|key| counts.get(key)).fold(0, |sum, count| sum.saturating_add(*count))
    }
}

/// Devices of all layers together.
pub(crate) fn sum(layers: &[Layer], counts: &BTreeMap<String, u64>) -> f64 {
    layers.iter().map(|layer| layer.of(counts) as f64).sum()
}

/// Names with the counts of the last sample, for a legend.
pub(crate) fn legend(layers: &[Layer], rollouts: &Rollouts, counts: Counts) -> Vec<(String, RGBColor)> {
    let last = |layer: &Layer| rollouts.samples().next_back().map_or(0, |sample| layer.of(counts(sample)));
    layers.iter().map(|layer| (format!("{} ({})", layer.name, number::grouped(last(layer))), layer.colour)).collect()
}

/// Stacks layers in a panel, the first at the bottom.
pub(crate) fn add(panel: &mut Panel, layers: &[Layer], rollouts: &Rollouts, counts: Counts) {
    for (nth, layer) in layers.iter().enumerate() {
        let below = layers.get(..nth).unwrap_or_default();
        let edges = |sample: &RolloutSample| {
            let low = sum(below, counts(sample));
            Some((low, low + layer.of(counts(sample)) as f64))
        };
        let areas = rollouts.areas(edges).into_iter();
        panel.marks.extend(areas.map(|points| Mark::Area { points, colour: layer.colour }));
    }
}
