//! `do = "phase"`: a phase starts, which lasts until the next one or to the end. The plan holds the phases, so the step
//! itself does nothing.

use super::{Check, Kind, Step, StepBehavior, kind};
use crate::scenario::{
    check::{
        timeline::BUILT_IN_PHASES,
        value::{NAME, text_like},
    },
    problem::{Problem, Problems},
    reader::Reader,
};

/// A phase starts, which lasts until the next one or to the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Phase {
    /// Its name in expectations.
    pub name: String,
}

pub(super) const KIND: Kind = kind! {
    "phase", "a `phase` step", nature, read,
    "A phase begins: [section 9](#9-phases).",
    "name": "name", "required", "unique; not `ramp`, not `steady`", "its name in expectations";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let name = table.text("name", problems);
    Box::new(move |judge| {
        let name = judge.required(name, "name", "name = \"storm\"");
        let name = text_like("name", name, NAME, judge.problems)?;
        if BUILT_IN_PHASES.contains(&name.value.as_str()) {
            let message = format!("every run has a phase `{}` of its own", name.value);
            judge.problems.push(Problem::new(name.at, message).expected("another name"));
            return None;
        }
        if let Some(first) = judge.seen.phases.iter().find(|first| first.value == name.value) {
            let message = format!("a second phase is called `{}`", name.value);
            let problem = Problem::new(name.at, message).expected("a name of its own").first_at(first.at);
            judge.problems.push(problem);
            return None;
        }
        judge.seen.phases.push(name.clone());
        Some(Step::Phase(Phase { name: name.value }))
    })
}

impl StepBehavior for Phase {}
