//! A stage of a plan: the devices that it adds, and how many have the release by its end.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;

/// One stage of a plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct PlannedStage {
    /// Share of the population that has been offered the release by its end, in basis points.
    pub share_bp: u16,
    /// Devices that the stage adds.
    pub adds: u32,
    /// Devices that have the release by its end.
    pub devices: u32,
    /// Devices that it adds, by model.
    pub by_model: BTreeMap<String, u32>,
    /// Devices that it adds, by site.
    pub by_site: BTreeMap<String, u32>,
    /// Devices that it adds, by model and site.
    #[serde(skip)]
    pub by_stratum: BTreeMap<(String, String), u32>,
    /// Devices of the stage that must have an outcome before it can be promoted.
    pub min_executed: u32,
    /// How long the stage takes at best, in seconds.
    pub at_best_s: u64,
    /// How long it is expected to take, in seconds, if nothing fails and no person is waited for.
    pub expected_s: u64,
}

/// Devices by the end of each stage, from those that each stage adds.
pub(super) fn cumulative(added: &[u32]) -> Vec<u32> {
    let sum = |sum: &mut u32, added: &u32| {
        *sum = sum.saturating_add(*added);
        Some(*sum)
    };
    added.iter().scan(0, sum).collect()
}
