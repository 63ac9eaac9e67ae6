//! The keys of `[[timeline]]`, `[[adversary]]` and `[[expect]]`.

use std::time::Duration;

use super::elsewhere;
use crate::scenario::problem::{Problem, Problems, any_of, closest_value, quoted};
use crate::scenario::reader::{At, Field, Reader, Section};
use crate::scenario::source::Place;
use crate::timeline::{Check, KINDS, Kind};

pub(in crate::scenario) const ADVERSARY: Section = Section {
    title: "[[adversary]]",
    keys: &["kind", "count", "addresses", "victims", "interval", "at_once", "from", "until"],
};

/// The keys of `[[expect]]`.
pub(in crate::scenario) const EXPECT: Section = Section {
    title: "[[expect]]",
    keys: &["metric", "max", "min", "equals", "during", "every", "allow_empty", "abort"],
};

pub(in crate::scenario) struct RawAdversary {
    pub(in crate::scenario) at: Place,
    pub(in crate::scenario) kind: Field<String>,
    pub(in crate::scenario) count: Field<i64>,
    /// A number, or a word.
    pub(in crate::scenario) addresses: Field<Result<i64, String>>,
    pub(in crate::scenario) victims: Field<i64>,
    pub(in crate::scenario) interval: Field<Duration>,
    pub(in crate::scenario) at_once: Field<i64>,
    pub(in crate::scenario) from: Field<Duration>,
    pub(in crate::scenario) until: Field<Duration>,
}

pub(in crate::scenario) struct RawStep {
    pub(in crate::scenario) place: Place,
    pub(in crate::scenario) at: Field<Duration>,
    pub(in crate::scenario) may_fail: Field<bool>,
    /// None: `do` is missing or unknown, which is already reported.
    pub(in crate::scenario) action: Option<At<RawAction>>,
}

/// What a step does; the place is that of the value of `do`.
pub(in crate::scenario) struct RawAction {
    pub(in crate::scenario) kind: &'static Kind,
    pub(in crate::scenario) check: Check,
}

pub(in crate::scenario) struct RawExpectation {
    pub(in crate::scenario) at: Place,
    pub(in crate::scenario) metric: Field<String>,
    pub(in crate::scenario) max: Field<f64>,
    pub(in crate::scenario) min: Field<f64>,
    pub(in crate::scenario) equals: Field<f64>,
    pub(in crate::scenario) during: Field<String>,
    pub(in crate::scenario) every: Field<Duration>,
    pub(in crate::scenario) allow_empty: Field<bool>,
    pub(in crate::scenario) abort: Field<bool>,
}

impl RawAdversary {
    pub(super) fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(ADVERSARY, elsewhere, problems);
        Self {
            at: table.at,
            kind: table.text("kind", problems),
            count: table.integer("count", problems),
            addresses: table.text_or_integer("addresses", problems),
            victims: table.integer("victims", problems),
            interval: table.duration("interval", problems),
            at_once: table.integer("at_once", problems),
            from: table.duration("from", problems),
            until: table.duration("until", problems),
        }
    }
}

impl RawStep {
    pub(super) fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
        let action = match table.text("do", problems) {
            Field::Given(given) => RawAction::read(&mut table, &given, problems),
            Field::Wrong => None,
            Field::Absent => {
                let names = step_names();
                let message = "this step does not say what to `do`";
                problems.push(Problem::new(table.at, message).expected(format!("`do` = {}", any_of(&names))));
                None
            }
        };
        let at = table.duration("at", problems);
        let may_fail = match &action {
            Some(At { value: action, .. }) if action.kind.is_order => table.boolean("may_fail", problems),
            _ => Field::Absent, // an unknown key, which is already reported
        };
        Self { place: table.at, at, may_fail, action }
    }
}

impl RawAction {
    fn read(table: &mut Reader<'_>, given: &At<String>, problems: &mut Problems) -> Option<At<Self>> {
        let Some(kind) = KINDS.iter().find(|kind| kind.name == given.value) else {
            let names = step_names();
            let message = format!("unknown step {}", quoted(&given.value));
            let near = closest_value(&given.value, names.iter().copied());
            problems.push(Problem::new(given.at, message).expected(any_of(&names)).suggest(near));
            return None;
        };
        table.refuse_unknown_keys(kind.section, |key| in_another_step(key).or_else(|| elsewhere(key)), problems);
        Some(given.with(Self { kind, check: (kind.read)(table, problems) }))
    }
}

fn step_names() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

impl RawExpectation {
    pub(super) fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(EXPECT, elsewhere, problems);
        Self {
            at: table.at,
            metric: table.text("metric", problems),
            max: table.number("max", problems),
            min: table.number("min", problems),
            equals: table.number("equals", problems),
            during: table.text("during", problems),
            every: table.duration("every", problems),
            allow_empty: table.boolean("allow_empty", problems),
            abort: table.boolean("abort", problems),
        }
    }
}

/// Which step has a key.
pub(super) fn in_another_step(key: &str) -> Option<String> {
    let Section { title, .. } = KINDS.iter().map(|kind| kind.section).find(|section| section.keys.contains(&key))?;
    Some(format!("`{key}` is a key of {title}"))
}
