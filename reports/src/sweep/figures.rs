//! The figures of one configuration: means over its trials, with the least and the greatest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{SweepSetup, SweepTrial};
use crate::run_folder::Verdict;

/// A number over several trials.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None of no values.
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.collect();
        let (first, rest) = values.split_first()?;
        let (min, max) = rest.iter().fold((*first, *first), |(min, max), of| (min.min(*of), max.max(*of)));
        Some(Self { mean: values.iter().sum::<f64>() / values.len() as f64, min, max })
    }
}

/// What a configuration does, over its trials.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub trials: usize,
    /// Trials in which the scenario's own expectations were met.
    pub passed: usize,
    /// Trials in which they were not met; the others showed too little.
    pub failed: usize,
    /// Reasons why trials did not pass, such as expectations that were not met, in all trials.
    #[serde(default)]
    pub missed: usize,
    /// Share of honest requests that a limit refused, from 0 to 1.
    pub refused_share: Spread,
    /// Honest devices that missed the deadline of presence; none if it was not measured.
    pub late_devices: Option<Spread>,
    /// That deadline, in seconds.
    pub deadline_s: Option<f64>,
    /// Heartbeats that honest devices sent for each that was due by schedule; none if none was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_per_wanted: Option<Spread>,
    /// Requests that honest devices sent for each one that was served; none if none was.
    pub sent_per_served: Option<Spread>,
    /// Requests that attackers sent, in a trial.
    pub attacks: Spread,
    /// Those of them that no limit refused.
    pub attacks_let_through: Spread,
    /// Attackers' requests that the server accepted, in all trials: must be 0.
    pub attacks_accepted: u64,
    /// Requests a second that no limit refused, honest or not, in the busiest tick.
    pub let_through_per_s_max: Spread,
    /// Honest requests that a limit refused although it had refused the same device's request before; none if no trial refused any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_again: Option<Spread>,
    /// Requests in the busiest second that honest devices sent again after a refusal; none if no trial refused any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub second_peak_per_s: Option<Spread>,
    /// Seconds from the end of an outage until 99 % of the devices were served again; none without an outage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery_p99_s: Option<Spread>,
    /// Devices that an outage affected and that were not served again, in all trials.
    #[serde(default)]
    pub never_served: u64,
    /// Most writes in progress at the server, those that wait and those in a commit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_in_progress_max: Option<Spread>,
    /// Bytes that the server's limits took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_memory_bytes: Option<Spread>,
    /// Requests that each limit refused, or in shadow would have; the mean of the trials. Zero: it never fired.
    #[serde(default)]
    pub fired: BTreeMap<String, f64>,
}

impl Figures {
    pub(super) fn of(trials: &[&SweepTrial]) -> Self {
        let each = |number: &dyn Fn(&SweepTrial) -> f64| {
            Spread::of(trials.iter().map(|trial| number(trial))).unwrap_or_default()
        };
        let some =
            |number: &dyn Fn(&SweepTrial) -> Option<f64>| Spread::of(trials.iter().filter_map(|trial| number(trial)));
        let amplified = |of: &SweepTrial| (of.served > 0).then(|| of.requests as f64 / of.served as f64);
        let refuses = trials.iter().any(|of| of.refused > 0);
        let of_refused = |number: &dyn Fn(&SweepTrial) -> u64| refuses.then(|| each(&|of| number(of) as f64));
        Self {
            trials: trials.len(),
            passed: trials.iter().filter(|trial| trial.verdict == Verdict::Pass).count(),
            failed: trials.iter().filter(|trial| trial.verdict == Verdict::Fail).count(),
            missed: trials.iter().filter(|trial| trial.verdict != Verdict::Pass).map(|trial| trial.reasons.len()).sum(),
            refused_share: each(&SweepTrial::refused_share),
            late_devices: some(&|of| of.late_devices.map(|late| late as f64)),
            deadline_s: trials.iter().find_map(|trial| trial.deadline_s),
            sent_per_wanted: some(&|of| of.sent_per_wanted),
            sent_per_served: some(&amplified),
            attacks: each(&|of| of.attacks as f64),
            attacks_let_through: each(&|of| of.attacks_let_through as f64),
            attacks_accepted: trials.iter().map(|trial| trial.attacks_accepted).sum(),
            let_through_per_s_max: each(&|of| of.let_through_per_s_max),
            refused_again: of_refused(&|of| of.refused_again),
            second_peak_per_s: of_refused(&|of| of.second_peak_per_s),
            recovery_p99_s: some(&|of| of.recovery_p99_s),
            writes_in_progress_max: some(&|of| of.writes_in_progress_max.map(|writes| writes as f64)),
            limit_memory_bytes: some(&|of| of.limit_memory_bytes.map(|bytes| bytes as f64)),
            fired: fired(trials),
            never_served: trials.iter().map(|trial| trial.never_served).sum(),
        }
    }

    /// Whether the scenario's expectations were met in each trial, and no attack succeeded.
    pub fn meets(&self) -> bool {
        self.passed == self.trials && self.attacks_accepted == 0
    }

    /// Whether a trial proved that it does not meet them; if it neither meets them nor has failed, its trials showed too little.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed > 0 || self.attacks_accepted > 0
    }

    /// What it costs honest devices.
    pub(crate) fn cost(&self) -> f64 {
        self.refused_share.mean
    }

    /// What the backend has to bear: attackers' requests, or the requests a second at the peak if there are no attackers.
    pub(crate) fn load(&self, has_attackers: bool) -> Spread {
        if has_attackers { self.attacks_let_through } else { self.let_through_per_s_max }
    }

    /// Cost and load, against which it is drawn; none if devices never came back. If only reactions are varied, they are the time until
    /// devices are back, if there is an outage, and the height of the second wave.
    pub(crate) fn point(&self, setup: &SweepSetup) -> Option<(f64, f64)> {
        if !setup.varies_reactions_only() {
            return Some((self.cost() * 100.0, self.load(setup.has_attackers).mean));
        }
        let cost = match self.recovery_p99_s {
            _ if self.never_served > 0 => return None,
            Some(recovered) => recovered.mean,
            None => self.cost() * 100.0,
        };
        Some((cost, self.second_peak_per_s.map_or(0.0, |peak| peak.mean)))
    }
}

/// The mean of what each limit refused.
fn fired(trials: &[&SweepTrial]) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, f64> = BTreeMap::new();
    for (name, count) in trials.iter().flat_map(|trial| &trial.fired) {
        *sums.entry(name.clone()).or_default() += *count as f64 / trials.len().max(1) as f64;
    }
    sums
}
