//! The result of a search for the highest offered load at which a scenario's expectations hold: every step as measured, who gave
//! out first, and the answer. The simulator decides; this says it in words and draws it.

mod folder;
mod knee;
mod markdown;
mod page;
#[cfg(test)]
pub(crate) mod sample;
mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::run_folder::{Percentiles, Verdict};

pub use folder::{draw_load_limit, is_load_limit, read_load_limit, write_load_limit};
pub(crate) use knee::knee;
pub use words::{answer, row, step_line, table};

/// Version of the file that is written; readers refuse a greater one.
pub const LOAD_LIMIT_FORMAT: u32 = 1;
/// What the file says it is, so that no reader takes it for the summary of a run.
pub const KIND: &str = "load_limit";

/// Who gave out first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bottleneck {
    /// This machine had no more sockets or ports for devices.
    GeneratorSockets,
    /// A rate limit of the server refused requests.
    Limiter,
    /// The server's process used up its machine's cores.
    ServerCpu,
    /// Server and generator, or other programs, used up the cores of the machine that they share.
    Machine,
    /// The load generator used up the cores of its own machine.
    GeneratorCpu,
    /// The load generator sent late.
    GeneratorLag,
    /// Writes waited for the server's commits.
    CommitQueue,
    /// Nothing that was watched was used up.
    Unknown,
}

impl Bottleneck {
    /// Whether what was found is not a limit of the server: the answer is a lower bound.
    pub fn hides_the_server(self) -> bool {
        matches!(self, Self::GeneratorSockets | Self::GeneratorCpu | Self::GeneratorLag | Self::Machine)
    }

    /// Who it was, in words: the subject of "gave out first".
    pub fn words(self) -> &'static str {
        match self {
            Self::GeneratorSockets => "the generator's sockets",
            Self::Limiter => "a rate limit of the server",
            Self::ServerCpu => "the server's CPU",
            Self::Machine => "the machine that server and generator share",
            Self::GeneratorCpu => "the generator's CPU",
            Self::GeneratorLag => "the generator, which sent late",
            Self::CommitQueue => "the server's commit queue",
            Self::Unknown => "unknown",
        }
    }
}

/// One piece of evidence: a metric, its threshold, and whether it was reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Who gives out if it is reached.
    pub of: Bottleneck,
    /// What was measured, with its unit.
    pub metric: String,
    /// None if it could not be measured.
    pub measured: Option<f64>,
    /// None if it can't be known.
    pub threshold: Option<f64>,
    /// From the threshold on it counts as used up; none if either number is unknown.
    pub reached: Option<bool>,
    /// What else to know: names, or why it is unknown; may be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepVerdict {
    /// Every expectation was met.
    Held,
    /// An expectation was not met.
    Failed,
    /// The generator could not offer the load as planned.
    Unmeasured,
    /// The target or the server ended during the step: it does not count.
    Broken,
}

/// One step: a load run with a number of devices, from the end of its warm-up on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// From 1.
    pub number: u32,
    /// Why this load: `first`, `higher`, `lower`, `between`, `decide`, `confirm`.
    pub purpose: String,
    pub devices: u64,
    /// Heartbeats a minute that these devices are to offer.
    pub planned_per_min: f64,
    /// Heartbeats a minute that were due.
    pub offered_per_min: f64,
    /// Heartbeats a minute that were answered `OK`.
    pub acked_per_min: f64,
    /// How long was measured, in seconds, after the warm-up.
    pub measured_s: f64,
    /// Response time of accepted heartbeats from the moment they were due; its `count` is the number of samples.
    pub latency_ms: Option<Percentiles>,
    pub service_ms: Option<Percentiles>,
    pub send_lag_ms: Option<Percentiles>,
    /// Requests that ended, by code.
    pub by_code: BTreeMap<String, u64>,
    /// Cores that the generator's process used.
    pub generator_cores: f64,
    /// Cores that the server's process used; none if unknown.
    pub server_cores: Option<f64>,
    pub verdict: StepVerdict,
    /// Why it did not hold, a sentence each.
    pub reasons: Vec<String>,
    /// Who gave out first; none if it held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bottleneck: Option<Bottleneck>,
    /// The evidence for that, in the order in which it is judged.
    pub readings: Vec<Reading>,
    /// A command that repeats it as a run.
    pub replay: String,
}

impl Step {
    /// CPU time of a side for each heartbeat that was answered `OK`, in microseconds; none without one.
    pub fn cpu_us_per_heartbeat(&self, cores: Option<f64>) -> Option<f64> {
        let per_s = self.acked_per_min / 60.0;
        cores.filter(|_| per_s > 0.0).map(|cores| cores * 1e6 / per_s)
    }
}

/// How the search ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchState {
    /// It goes on.
    #[default]
    Running,
    Finished,
    OutOfTime,
    Interrupted,
    /// The target died, or the next step could not begin.
    Broken,
}

/// What was searched.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchSetup {
    /// The expectations that must hold, in words.
    pub expectations: Vec<String>,
    /// Expectations of the scenario that are about the size of its own fleet, in words.
    pub left_out: Vec<String>,
    /// Other parts of the scenario that a step does not have, in words.
    pub without: Vec<String>,
    /// Of how many answers in a hundred the generator verified the signature.
    pub verify_percent: u8,
    /// Between two heartbeats of a device, in seconds.
    pub interval_s: f64,
    pub budget_s: f64,
    /// Runs of each end of the interval.
    pub repeats: u32,
    pub resolution_per_cent: u32,
    /// The strictest percentile that an expectation is about, as a share; the 99th, which is shown, if none is.
    pub quantile: f64,
    /// Whether an expectation is about a percentile.
    pub has_percentile: bool,
    /// Heartbeats in a step for a percentile that says something, and the fewest that are accepted.
    pub samples_wanted: u64,
    pub samples_min: u64,
    /// Cores of this machine.
    pub cores: u32,
    /// Whether the server is on this machine too.
    pub is_one_machine: bool,
}

/// The bounds of the limit, in heartbeats a minute, with the runs behind them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LimitInterval {
    /// The highest offered rate that held in each of its runs, below every one that did not.
    pub held_per_min: Option<f64>,
    pub held_runs: u32,
    /// The lowest offered rate that did not hold in most of its runs; none if every rate held.
    pub above_per_min: Option<f64>,
    pub above_runs: u32,
    /// Of those, the runs that did not hold.
    pub above_failed: u32,
}

/// The result of the search; `summary.json` of its folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadLimit {
    pub format: u32,
    /// [`KIND`].
    pub kind: String,
    pub scenario: String,
    pub goal: String,
    pub seed: u64,
    pub target: String,
    /// Start of the search, RFC 3339 in UTC.
    pub started_at: String,
    pub wall_s: f64,
    pub state: SearchState,
    /// Why it is broken; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub broken: String,
    pub verdict: Verdict,
    /// Why it is not a pass, a sentence each.
    pub reasons: Vec<String>,
    pub exit_code: u8,
    pub setup: SearchSetup,
    pub interval: LimitInterval,
    /// Whether the ends were run often enough.
    pub is_confirmed: bool,
    /// Whether `held_per_min` is only a lower bound of what the server can take.
    pub is_lower_bound: bool,
    /// Who gave out first at the upper end of the interval; none while unknown for lack of steps.
    pub bottleneck: Option<Bottleneck>,
    /// The number of the step whose evidence names it.
    pub evidence_step: Option<u32>,
    pub steps: Vec<Step>,
    /// A command that repeats the search.
    pub replay: String,
}

impl LoadLimit {
    /// The step whose evidence names the bottleneck.
    pub fn evidence(&self) -> Option<&Step> {
        self.steps.iter().find(|step| Some(step.number) == self.evidence_step)
    }
}
