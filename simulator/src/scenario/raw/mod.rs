//! A scenario as in the file: every key with its type, nothing validated. `check` does the rest.

mod firmware;
mod fleet;
mod timeline;

use std::time::Duration;

pub(in crate::scenario) use self::firmware::{FAULT, FIRMWARE, RawFault, RawFirmware, RawPolicy};
pub(in crate::scenario) use self::fleet::{
    CHURN, COHORT, FLEET, GROUP, MODEL, MODELS, RawChurn, RawCohort, RawFleet, RawGroup, RawSeries, RawShare,
    RawShares, SITE, SITES,
};
use self::timeline::in_another_step;
pub(in crate::scenario) use self::timeline::{ADVERSARY, EXPECT, RawAdversary, RawExpectation, RawStep};
use crate::scenario::problem::Problems;
use crate::scenario::reader::{At, Field, Reader, Section};

/// The keys of the file itself.
pub(in crate::scenario) const TOP: Section = Section {
    title: "the file's top level",
    keys: &[
        "name",
        "goal",
        "mode",
        "timing",
        "seed",
        "duration",
        "ramp",
        "drain",
        "starts_at",
        "fleet",
        "server",
        "firmware",
        "policy",
        "adversary",
        "timeline",
        "expect",
    ],
};

pub(in crate::scenario) struct RawScenario {
    pub(in crate::scenario) name: Field<String>,
    pub(in crate::scenario) goal: Field<String>,
    pub(in crate::scenario) mode: Field<String>,
    pub(in crate::scenario) timing: Field<String>,
    pub(in crate::scenario) seed: Field<i64>,
    pub(in crate::scenario) duration: Field<Duration>,
    pub(in crate::scenario) ramp: Field<Duration>,
    pub(in crate::scenario) drain: Field<Duration>,
    /// A date, as text.
    pub(in crate::scenario) starts_at: Field<String>,
    pub(in crate::scenario) fleet: Field<RawFleet>,
    /// Name and value of each setting of the server.
    pub(in crate::scenario) server: Vec<(At<String>, Field<String>)>,
    /// None, here and below: it is not a list of tables, which is already reported.
    pub(in crate::scenario) firmware: Option<Vec<RawFirmware>>,
    pub(in crate::scenario) policies: Option<Vec<RawPolicy>>,
    pub(in crate::scenario) adversaries: Option<Vec<RawAdversary>>,
    pub(in crate::scenario) timeline: Option<Vec<RawStep>>,
    pub(in crate::scenario) expectations: Option<Vec<RawExpectation>>,
}

impl RawScenario {
    pub(in crate::scenario) fn read(mut file: Reader<'_>, problems: &mut Problems) -> Self {
        file.refuse_unknown_keys(TOP, elsewhere, problems);
        Self {
            name: file.text("name", problems),
            goal: file.text("goal", problems),
            mode: file.text("mode", problems),
            timing: file.text("timing", problems),
            seed: file.integer("seed", problems),
            duration: file.duration("duration", problems),
            ramp: file.duration("ramp", problems),
            drain: file.duration("drain", problems),
            starts_at: file.date("starts_at", problems),
            fleet: match file.table("fleet", "[fleet]", problems) {
                Field::Given(At { at, value }) => Field::Given(At { at, value: RawFleet::read(value, problems) }),
                Field::Absent => Field::Absent,
                Field::Wrong => Field::Wrong,
            },
            server: read_settings(&file, problems),
            firmware: read_each(file.tables("firmware", FIRMWARE.title, problems), problems, RawFirmware::read),
            policies: read_each(file.tables("policy", "[[policy]]", problems), problems, |table, problems| {
                RawPolicy::read(&table, problems)
            }),
            adversaries: read_each(file.tables("adversary", "[[adversary]]", problems), problems, RawAdversary::read),
            timeline: read_each(file.tables("timeline", "[[timeline]]", problems), problems, RawStep::read),
            expectations: read_each(file.tables("expect", "[[expect]]", problems), problems, RawExpectation::read),
        }
    }
}

/// `[server]`: whatever is there, by name.
fn read_settings(file: &Reader<'_>, problems: &mut Problems) -> Vec<(At<String>, Field<String>)> {
    let Field::Given(table) = file.table("server", "[server]", problems) else { return Vec::new() };
    let table = table.value;
    table.keys().map(|name| (name.with(name.value.to_owned()), table.scalar(name.value, problems))).collect()
}

fn read_each<T>(
    tables: Option<Vec<Reader<'_>>>,
    problems: &mut Problems,
    read: impl Fn(Reader<'_>, &mut Problems) -> T,
) -> Option<Vec<T>> {
    Some(tables?.into_iter().map(|table| read(table, problems)).collect())
}

/// Where a misplaced key belongs.
fn elsewhere(key: &str) -> Option<String> {
    let has = |section: &Section| section.keys.contains(&key);
    if has(&TOP) {
        return Some(format!("`{key}` belongs to the top level of the file, above the first [table]"));
    }
    let section = [FLEET, GROUP, FIRMWARE, FAULT, CHURN, COHORT, ADVERSARY, EXPECT].into_iter().find(has);
    let is_elsewhere = |section: Section| format!("`{key}` is a key of {}", section.title);
    section.map(is_elsewhere).or_else(|| in_another_step(key))
}
