//! Scenarios: a TOML file defines what to run and what must be true of it.
//!
//! A file passes through three stages:
//! `raw` is the file as typed, `check` validates all of it together, `plan` is what the rest of the simulator uses.
//! Each problem becomes a `Diagnostic` that points at the line and, if possible, suggests a correction.

mod adversaries;
pub(crate) mod check;
mod churn;
mod cohorts;
mod diagnostic;
mod expectation;
mod faults;
mod hours;
pub(crate) mod limits;
mod metric;
mod overrides;
mod plan;
pub(crate) mod problem;
mod raw;
pub(crate) mod reader;
mod rollouts;
mod slo;
pub(crate) mod source;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use adversaries::{Addresses, Adversary, AdversaryKind};
pub use churn::{Churn, ChurnKind, ChurnTime};
pub use cohorts::{Cohort, CohortSize, Retry};
pub use diagnostic::{Diagnostic, render_all};
pub use expectation::{Bound, During, Expectation};
pub use faults::{Fault, Scope};
pub use hours::Hours;
pub use limits::FILE_BYTES_MAX;
pub use metric::{AnswerCode, Metric, UnknownMetric, metrics_in_words};
pub use overrides::Overrides;
pub use plan::{
    Connections, Firmware, Fleet, FleetAddresses, Group, HeartbeatInterval, Mode, Otrt, Plan, Share, TimedStep, Timing,
    release_id,
};
pub use rollouts::{RefusedRollout, planned as planned_rollout, refused as refused_rollouts, server_interval_s};

pub use slo::{slo, upper_bounds};

use problem::Problems;
use raw::RawScenario;

/// What the check of a scenario needs to know about the server.
pub trait ServerSettings {
    /// The names that `[server]` may set.
    fn names(&self) -> Vec<&'static str>;

    /// Settings that a run decides itself.
    fn decided_by_run(&self) -> &'static [&'static str] {
        &[]
    }

    /// Settings that would let the server reach outside the run's folder, or to other hosts: a scenario may be untrusted,
    /// so it may not set them.
    fn reaches_outside(&self) -> &'static [&'static str] {
        &[]
    }

    /// Each invalid setting: its name, what is wrong and what was expected. `given` has known names only.
    fn wrong(&self, given: &BTreeMap<String, String>) -> Vec<(String, String)>;

    /// What is wrong with a limits file, for a server with these settings: its line, what it is and what to do.
    fn wrong_limits(&self, _settings: &BTreeMap<String, String>, _limits: &str) -> Vec<String> {
        Vec::new()
    }

    /// The ERR1 codes that the server can answer, so that `codes.<CODE>` with another is an error.
    /// Empty if unknown: every code is accepted.
    fn answer_codes(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Reads and checks a scenario. `path_shown` is the file's name in diagnostics.
///
/// Errors: all problems, in the order of the file (of syntax errors the first few, without checking the
/// rest). Never empty. A file above 1 MiB or of bytes that are not UTF-8 is refused unread.
pub fn check(path_shown: &str, text: &[u8], settings: &dyn ServerSettings) -> Result<Plan, Vec<Diagnostic>> {
    let text = syntax::decode(path_shown, text)?;
    let mut problems = Problems::default();
    let plan = match syntax::parse(text, &mut problems) {
        Some(file) => {
            let raw = RawScenario::read(syntax::reader(&file), &mut problems);
            check::check(raw, settings, &mut problems)
        }
        None => None,
    };
    match plan {
        Some(plan) if problems.is_empty() => Ok(plan),
        _ if problems.is_empty() => {
            let message = "the scenario could not be read".to_owned();
            Err(vec![Diagnostic::of_file(path_shown, message, "a bug report: the check missed a problem")])
        }
        _ => Err(problems.into_diagnostics(path_shown, text)),
    }
}
