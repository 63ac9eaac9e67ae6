//! How devices reacted to refusals, and which devices limits hit: parts of `summary.json`.

use serde::{Deserialize, Serialize};

use crate::recovery::Recovered;

/// One cohort of the fleet.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cohort {
    pub name: String,
    /// When its devices try again, as in the scenario: `obey`, `jitter:30s`.
    pub retry: String,
    pub devices: u64,
    /// Heartbeats that were due by schedule.
    pub wanted: u64,
    /// Heartbeats sent, repeated ones included.
    pub sent: u64,
    /// Heartbeats accepted.
    pub acked: u64,
    /// Requests of any type refused with `RATE_LIMITED` or `OVERLOADED`.
    pub refused: u64,
    /// Of these, requests whose device asked again no sooner than `retry_after_s`.
    pub asked_again: u64,
    /// Of those, requests that were not refused again.
    pub admitted: u64,
    /// Requests refused although the last one of the same kind by the same device had been too.
    #[serde(default)]
    pub refused_again: u64,
    /// Requests sent again after a refusal, in the busiest second.
    #[serde(default)]
    pub second_peak_per_s: u64,
    /// How its devices recovered from outages.
    pub recovered: Recovered,
}

impl Cohort {
    /// Heartbeats sent for each that was due; none if none was.
    pub fn amplification(&self) -> Option<f64> {
        (self.wanted > 0).then(|| self.sent as f64 / self.wanted as f64)
    }
}

/// Honest devices and the refusals that limits cost them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HonestGroup {
    /// The site, or what else they have in common.
    pub name: String,
    /// Whether an adversary has the same address.
    pub shares_address: bool,
    /// Requests of its honest devices that were answered.
    pub requests: u64,
    /// Those refused with `RATE_LIMITED` or `OVERLOADED`.
    pub refused: u64,
}

/// What limits did to honest devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reactions {
    /// Requests of the whole fleet that were refused although the last one of the same kind by the same device had been too.
    #[serde(default)]
    pub refused_again: u64,
    /// Requests of the whole fleet sent again after a refusal, in the busiest second.
    #[serde(default)]
    pub second_peak_per_s: u64,
    /// Each cohort; the last one is of the devices in none.
    pub cohorts: Vec<Cohort>,
    /// By site, if adversaries share an address with honest devices.
    #[serde(default)]
    pub sites: Vec<HonestGroup>,
    /// Devices in whose name adversaries sent requests; none if nobody did.
    #[serde(default)]
    pub named: Option<HonestGroup>,
}

impl Reactions {
    /// Heartbeats that the whole fleet sent for each that was due; none if none was.
    pub fn amplification(&self) -> Option<f64> {
        let sum = |of: fn(&Cohort) -> u64| self.cohorts.iter().map(of).sum::<u64>();
        let (sent, wanted) = (sum(|of| of.sent), sum(|of| of.wanted));
        (wanted > 0).then(|| sent as f64 / wanted as f64)
    }
}
