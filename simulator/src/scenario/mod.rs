//! Scenarios: one TOML file says what to run and what must be true of it.
//!
//! A file passes through three rooms, each of which knows less than the one before:
//! `raw` has it as typed, `check` judges all of it at once, `plan` is what the rest of the simulator sees.
//! What is wrong becomes a `Diagnostic` that points at the line and, where it can, says what was meant.

mod adversaries;
pub(crate) mod check;
mod diagnostic;
mod expectation;
pub(crate) mod limits;
mod metric;
mod overrides;
mod plan;
pub(crate) mod problem;
mod raw;
pub(crate) mod reader;
mod rollouts;
pub(crate) mod source;
mod syntax;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use adversaries::{Addresses, Adversary, AdversaryKind};
pub use diagnostic::{Diagnostic, render_all};
pub use expectation::{Bound, During, Expectation};
pub use limits::FILE_BYTES_MAX;
pub use metric::{AnswerCode, Metric, UnknownMetric, metrics_in_words};
pub use overrides::Overrides;
pub use plan::{
    Connections, Firmware, Fleet, HeartbeatInterval, Mode, Otrt, Plan, Share, TimedStep, Timing, release_id,
};
pub use rollouts::{RefusedRollout, refused as refused_rollouts};

use problem::Problems;
use raw::RawScenario;

/// What a scenario must know of the server that it runs against.
pub trait ServerSettings {
    /// The names that `[server]` may set.
    fn names(&self) -> Vec<&'static str>;

    /// Settings that a run decides itself.
    fn decided_by_run(&self) -> &'static [&'static str] {
        &[]
    }

    /// Settings by which the server would reach outside of the run's folder, or to other hosts: a scenario may come from anybody,
    /// and none of them is its business.
    fn reaches_outside(&self) -> &'static [&'static str] {
        &[]
    }

    /// Each wrong setting: its name, what is wrong and what was expected. Only known names are given.
    fn wrong(&self, given: &BTreeMap<String, String>) -> Vec<(String, String)>;

    /// The ERR1 codes that the server can answer, so that `codes.<CODE>` with another is a mistake.
    /// Empty: not known, every code will do.
    fn answer_codes(&self) -> Vec<&'static str> {
        Vec::new()
    }
}

/// Reads and judges a scenario. `path_shown` is what diagnostics call the file.
///
/// Errors: all that is wrong, in the order of the file (of syntax errors the first few, without a judgement of the
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
            Err(vec![Diagnostic::of_file(path_shown, message, "a report of this: the check has a gap")])
        }
        _ => Err(problems.into_diagnostics(path_shown, text)),
    }
}
