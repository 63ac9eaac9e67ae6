//! A sweep of limits: the same seeded traffic against each configuration, and what each costs honest devices and lets through.
//!
//! [`SweepTrial`] is one rehearsal of one configuration; [`Sweep`] is all of them, with the recommendation. The comparison of two
//! configurations is that of the score of policies: paired by seed.

mod compare;
mod csv;
mod figures;
mod folder;
mod page;
mod reaction;
mod recommend;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{run_folder::Verdict, score::State};

pub use figures::{Figures, Spread};
pub use folder::{draw_sweep, read_sweep, write_sweep};
pub(crate) use reaction::number;
pub use reaction::{reacting_cohort, reaction_of};
pub use words::{made, table};
pub(crate) use words::{short, varied_names};

/// File name of the sweep.
pub const SWEEP: &str = "sweep.json";
/// File name of the trials that it is computed from, one a line.
pub const SWEEP_TRIALS: &str = "sweep-trials.ndjson";
/// File name of what the sweep was begun with.
pub const SWEEP_REQUEST: &str = "sweep-request.json";
/// File name of the page.
pub const SWEEP_PAGE: &str = "sweep.html";
/// File name of the table as comma-separated values.
pub const SWEEP_CSV: &str = "sweep.csv";
/// Version of `sweep.json`.
pub const SWEEP_FORMAT: u32 = 1;

/// One rehearsal of one configuration: a line of `sweep-trials.ndjson`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SweepTrial {
    pub configuration: String,
    pub seed: u64,
    /// Whether the scenario's own expectations were met.
    pub verdict: Verdict,
    pub reasons: Vec<String>,
    /// Requests that honest devices sent.
    pub requests: u64,
    /// Those that a limit refused.
    pub refused: u64,
    /// Those that were answered `OK`.
    pub served: u64,
    pub devices: u64,
    /// Honest devices that missed the deadline of the server's presence; none if the stored heartbeats were not read.
    pub late_devices: Option<u64>,
    /// That deadline: the longest silence in time, in seconds.
    pub deadline_s: Option<f64>,
    /// Requests that attackers sent.
    pub attacks: u64,
    /// Those that no limit refused: the server had to judge them.
    pub attacks_let_through: u64,
    /// Those that the server accepted, of the kinds that must be refused.
    pub attacks_accepted: u64,
    /// Requests a second that no limit refused, in the busiest tick.
    pub let_through_per_s_max: f64,
    /// Honest requests that a limit refused although it had refused the same device's request before.
    #[serde(default)]
    pub refused_again: u64,
    /// Requests in the busiest second that honest devices sent again after a refusal.
    #[serde(default)]
    pub second_peak_per_s: u64,
    /// Heartbeats sent, repeated ones included, for each that was due by schedule; none if none was.
    #[serde(default)]
    pub sent_per_wanted: Option<f64>,
    /// Seconds from the end of an outage until 99 % of the devices were served again; none without an outage.
    #[serde(default)]
    pub recovery_p99_s: Option<f64>,
    /// Devices that an outage affected and that were not served again; the time is none then.
    #[serde(default)]
    pub never_served: u64,
    /// How many requests each limit refused, or in shadow would have, honest or not; since the server last started.
    #[serde(default)]
    pub fired: BTreeMap<String, u64>,
    /// Most writes in progress at the server, those that wait and those in a commit; none if it can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_in_progress_max: Option<u64>,
    /// Bytes that the server's limits took at the end, or before it was stopped; none if it can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_memory_bytes: Option<u64>,
    pub invariant_violations: u64,
    /// A command that repeats it.
    pub replay: String,
}

impl SweepTrial {
    /// Share of honest requests that a limit refused, from 0 to 1.
    pub fn refused_share(&self) -> f64 {
        self.refused as f64 / self.requests.max(1) as f64
    }

    /// Whether a rehearsal can have given these numbers.
    pub fn is_possible(&self) -> bool {
        let measured = [Some(self.let_through_per_s_max), self.sent_per_wanted, self.recovery_p99_s, self.deadline_s];
        self.refused.saturating_add(self.served) <= self.requests
            && self.refused_again <= self.refused
            && self.attacks_let_through <= self.attacks
            && self.late_devices.is_none_or(|late| late <= self.devices)
            && measured.into_iter().flatten().all(|number| number.is_finite() && number >= 0.0)
    }
}

/// Settings of the server, and reactions of cohorts, that are tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Configuration {
    /// The varied settings, `A=2 B=60`, or the name of its file.
    pub name: String,
    /// Those that differ from the scenario's own; a reaction by the name `cohort.NAME.retry`.
    pub settings: BTreeMap<String, String>,
    /// Why the server refuses them; such a configuration is not tried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// What the server would warn of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// A setting or a reaction that is varied, and its values in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VariedSetting {
    pub name: String,
    pub values: Vec<String>,
}

/// What all trials of a sweep have in common.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SweepSetup {
    pub scenario: String,
    /// Honest devices.
    pub devices: u64,
    /// How long each rehearsal lasts on its own clock, in seconds.
    pub simulated_s: f64,
    /// The first seed; each trial of a configuration takes the next.
    pub first_seed: u64,
    /// How documents are signed: `real` or `modelled`.
    pub signatures: String,
    /// Empty if configurations were given as files.
    pub varied: Vec<VariedSetting>,
    pub configurations: Vec<Configuration>,
    /// Trials of each configuration.
    pub trials: u32,
    /// The limits that the scenario itself sets for its server, by the names of the settings: each configuration was tried with them, where it
    /// has no other value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub own_limits: BTreeMap<String, String>,
    /// Whether the scenario has attackers.
    pub has_attackers: bool,
    pub state: State,
    /// When the page was drawn, RFC 3339; only while trials run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn_at: Option<String>,
    /// The command that makes the trials that are missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<String>,
}

impl SweepSetup {
    /// Whether nothing is varied but how cohorts react: then what counts is how soon devices are back, and how high the second wave is.
    pub(crate) fn varies_reactions_only(&self) -> bool {
        !self.varied.is_empty() && self.varied.iter().all(|of| reacting_cohort(&of.name).is_some())
    }
}

/// A configuration with its figures: none if it was not tried.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TriedConfiguration {
    #[serde(flatten)]
    pub configuration: Configuration,
    pub figures: Option<Figures>,
    /// Whether no other one has both a lower cost and a lower load.
    pub is_on_front: bool,
    /// Whether trials tell it apart from the recommended one, by cost or by load; none for that one and without two pairs of trials.
    pub is_distinguished: Option<bool>,
}

/// The results of all trials; `sweep.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    pub format: u32,
    #[serde(flatten)]
    pub setup: SweepSetup,
    pub trials_made: u64,
    /// In the order in which they were given.
    pub tried: Vec<TriedConfiguration>,
    /// The name of the one that is recommended; none if none met the scenario's expectations in each trial.
    pub recommended: Option<String>,
    /// The name of the one that comes nearest, where none is recommended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// In words.
    pub recommendation: String,
    /// The recommended settings as lines for an environment file, with the limits of the scenario's own that they were tried with.
    pub environment: Vec<String>,
    /// The reactions of cohorts with which these settings were tried, which are in the devices' firmware: `cohort.NAME.retry=jitter:24s`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    pub invariant_violations: u64,
    /// The confirmation at load, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<String>,
}

impl Sweep {
    /// Computes the figures of each configuration, and recommends one.
    pub fn of(setup: SweepSetup, trials: &[SweepTrial]) -> Self {
        let mut by_name: BTreeMap<&str, Vec<&SweepTrial>> = BTreeMap::new();
        for trial in trials {
            by_name.entry(&trial.configuration).or_default().push(trial);
        }
        let mut tried: Vec<TriedConfiguration> = setup
            .configurations
            .iter()
            .map(|of| TriedConfiguration {
                configuration: of.clone(),
                figures: by_name.get(of.name.as_str()).map(|own| Figures::of(own)),
                is_on_front: false,
                is_distinguished: None,
            })
            .collect();
        recommend::mark_front(&mut tried, &setup);
        let chosen = reaction::smallest(&setup, &tried).or_else(|| recommend::choose(&tried, &setup));
        if let Some(chosen) = chosen {
            compare::mark(&mut tried, chosen, &by_name);
        }
        let recommended = chosen.and_then(|nth| tried.get(nth));
        let nearest = if chosen.is_none() { recommend::nearest(&tried, &setup) } else { None };
        let nearest = nearest.and_then(|nth| tried.get(nth));
        let settings = recommended.map(|of| &of.configuration.settings).into_iter().flatten();
        let (of_devices, of_server): (Vec<_>, Vec<_>) = settings.partition(|(name, _)| reacting_cohort(name).is_some());
        let lines = |of: Vec<(&String, &String)>| of.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut to_paste: BTreeMap<&String, &String> = of_server.into_iter().collect();
        if !to_paste.is_empty() {
            for (name, value) in &setup.own_limits {
                to_paste.entry(name).or_insert(value);
            }
        }
        let (depends_on, environment) = (lines(of_devices), lines(to_paste.into_iter().collect()));
        let name = |of: Option<&TriedConfiguration>| of.map(|of| of.configuration.name.clone());
        let violations = trials.iter().map(|of| of.invariant_violations).sum();
        let recommendation = match (recommended, nearest) {
            (Some(best), _) => words::recommendation(&setup, &tried, best, &by_name),
            (None, Some(nearest)) => words::none_recommended(&setup, &tried, nearest, &by_name),
            (None, None) => "Nothing is recommended: no configuration was tried.".to_owned(),
        };
        let (name, nearest) = (name(recommended), name(nearest));
        Self {
            format: SWEEP_FORMAT,
            trials_made: u64::try_from(trials.len()).unwrap_or(u64::MAX),
            setup,
            tried,
            recommended: name,
            nearest,
            recommendation,
            environment,
            depends_on,
            invariant_violations: violations,
            confirmed: None,
        }
    }
}

impl Sweep {
    /// Whether none is recommended, but one that was tried may yet be: its trials showed too little.
    pub fn is_inconclusive(&self) -> bool {
        self.recommended.is_none() && self.unproven().next().is_some()
    }

    /// The configurations whose trials showed too little: none missed the scenario's expectations, and not each met them.
    pub fn unproven(&self) -> impl Iterator<Item = &TriedConfiguration> {
        words::unproven(&self.tried)
    }

    /// The lines to paste, each setting of the server, with a comment on how devices have to react; none where no setting is recommended.
    pub fn lines_to_paste(&self) -> Vec<String> {
        if self.environment.is_empty() {
            return Vec::new();
        }
        let depends_on =
            self.depends_on.iter().map(|of| format!("# Tried with devices that react to refusals so: {of}"));
        depends_on.chain(self.environment.iter().cloned()).collect()
    }
}

#[cfg(test)]
pub(crate) mod sample;
