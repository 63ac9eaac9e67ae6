//! A scenario as in the file: every key with its type, nothing validated. `check` does the rest.

use std::time::Duration;

use super::problem::{Problem, Problems, any_of, closest_value, quoted};
use super::reader::{At, Field, Reader, Section};
use super::source::Place;
use crate::timeline::{Check, KINDS, Kind};

/// The keys of the file itself.
pub(super) const TOP: Section = Section {
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
/// The keys of `[fleet]`.
pub(super) const FLEET: Section = Section {
    title: "[fleet]",
    keys: &[
        "devices",
        "heartbeat_interval",
        "connections",
        "id_prefix",
        "otrt",
        "otrt_shared",
        "answer_timeout",
        "firmware_version",
        "uptime_at_start",
        "model",
        "models",
        "site",
        "sites",
        "churn",
        "cohort",
        "addresses",
    ],
};
/// The keys of `[[fleet.churn]]`.
pub(super) const CHURN: Section = Section {
    title: "[[fleet.churn]]",
    keys: &["kind", "per_day_bp", "lasts", "loss_bp", "hours", "only_model", "only_site"],
};
/// The keys of `[[fleet.cohort]]`.
pub(super) const COHORT: Section =
    Section { title: "[[fleet.cohort]]", keys: &["name", "share", "retry", "only_model", "only_site"] };
/// The keys of `[[fleet.model]]`.
pub(super) const MODEL: Section = Section { title: "[[fleet.model]]", keys: &["name", "share"] };
/// The keys of `[[fleet.site]]`.
pub(super) const SITE: Section = Section { title: "[[fleet.site]]", keys: &["name", "share"] };
/// The keys of `models` in `[fleet]`.
pub(super) const MODELS: Section = Section { title: "`models`", keys: SERIES_KEYS };
/// The keys of `sites` in `[fleet]`.
pub(super) const SITES: Section = Section { title: "`sites`", keys: SERIES_KEYS };
const SERIES_KEYS: &[&str] = &["count", "prefix", "sizes"];
/// The keys of `[[firmware]]`.
pub(super) const FIRMWARE: Section = Section {
    title: "[[firmware]]",
    keys: &[
        "version",
        "counter",
        "size_kib",
        "install_fails_bp",
        "boot_fails_bp",
        "bricks_bp",
        "dies_bp",
        "dies_after",
        "lies_bp",
        "only_model",
        "only_site",
        "fault",
    ],
};
/// The keys of `[[firmware.fault]]`.
pub(super) const FAULT: Section = Section {
    title: "[[firmware.fault]]",
    keys: &[
        "install_fails_bp",
        "boot_fails_bp",
        "bricks_bp",
        "dies_bp",
        "dies_after",
        "lies_bp",
        "only_model",
        "only_site",
        "from_version",
        "uptime_min",
        "uptime_max",
        "hours",
    ],
};
pub(super) const ADVERSARY: Section =
    Section { title: "[[adversary]]", keys: &["kind", "count", "addresses", "victims", "interval", "from", "until"] };
/// The keys of `[[expect]]`.
pub(super) const EXPECT: Section = Section {
    title: "[[expect]]",
    keys: &["metric", "max", "min", "equals", "during", "every", "allow_empty", "abort"],
};
pub(super) struct RawScenario {
    pub(super) name: Field<String>,
    pub(super) goal: Field<String>,
    pub(super) mode: Field<String>,
    pub(super) timing: Field<String>,
    pub(super) seed: Field<i64>,
    pub(super) duration: Field<Duration>,
    pub(super) ramp: Field<Duration>,
    pub(super) drain: Field<Duration>,
    /// A date, as text.
    pub(super) starts_at: Field<String>,
    pub(super) fleet: Field<RawFleet>,
    /// Name and value of each setting of the server.
    pub(super) server: Vec<(At<String>, Field<String>)>,
    /// None, here and below: it is not a list of tables, which is already reported.
    pub(super) firmware: Option<Vec<RawFirmware>>,
    pub(super) policies: Option<Vec<RawPolicy>>,
    pub(super) adversaries: Option<Vec<RawAdversary>>,
    pub(super) timeline: Option<Vec<RawStep>>,
    pub(super) expectations: Option<Vec<RawExpectation>>,
}

pub(super) struct RawFleet {
    pub(super) devices: Field<i64>,
    /// A duration, or the word `server`.
    pub(super) heartbeat_interval: Field<Result<Duration, &'static str>>,
    /// A number, or a word.
    pub(super) connections: Field<Result<i64, String>>,
    pub(super) id_prefix: Field<String>,
    pub(super) otrt: Field<bool>,
    pub(super) otrt_shared: Field<bool>,
    pub(super) answer_timeout: Field<Duration>,
    pub(super) firmware_version: Field<String>,
    pub(super) uptime_at_start: Field<Duration>,
    pub(super) models: RawShares,
    pub(super) sites: RawShares,
    pub(super) churn: Option<Vec<RawChurn>>,
    pub(super) cohorts: Option<Vec<RawCohort>>,
    pub(super) addresses: Field<String>,
}

/// Devices that react to refusals in the same way.
pub(super) struct RawCohort {
    pub(super) at: Place,
    pub(super) name: Field<String>,
    pub(super) share: Field<i64>,
    pub(super) retry: Field<String>,
    pub(super) only_model: Field<String>,
    pub(super) only_site: Field<String>,
}

/// Background failures of one kind.
pub(super) struct RawChurn {
    pub(super) at: Place,
    pub(super) kind: Field<String>,
    pub(super) per_day_bp: Field<i64>,
    pub(super) lasts: Field<Duration>,
    pub(super) loss_bp: Field<i64>,
    pub(super) hours: Field<String>,
    pub(super) only_model: Field<String>,
    pub(super) only_site: Field<String>,
}

/// Models or sites, in either form: the check refuses both together.
pub(super) struct RawShares {
    pub(super) tables: Option<Vec<RawShare>>,
    pub(super) series: Field<RawSeries>,
}

/// Numbered models or sites: `store-01` to `store-40`.
pub(super) struct RawSeries {
    pub(super) count: Field<i64>,
    pub(super) prefix: Field<String>,
    pub(super) sizes: Field<String>,
}

pub(super) struct RawShare {
    pub(super) at: Place,
    pub(super) name: Field<String>,
    pub(super) share: Field<i64>,
}

pub(super) struct RawFirmware {
    pub(super) at: Place,
    pub(super) version: Field<String>,
    pub(super) counter: Field<i64>,
    pub(super) size_kib: Field<i64>,
    /// The keys of a single fault.
    pub(super) own: RawFault,
    /// Those in tables of their own.
    pub(super) faults: Option<Vec<RawFault>>,
}

/// A fault of a release. What is not a key of its table is absent.
pub(super) struct RawFault {
    pub(super) at: Place,
    pub(super) install_fails_bp: Field<i64>,
    pub(super) boot_fails_bp: Field<i64>,
    pub(super) bricks_bp: Field<i64>,
    pub(super) dies_bp: Field<i64>,
    pub(super) dies_after: Field<Duration>,
    pub(super) lies_bp: Field<i64>,
    pub(super) only_model: Field<String>,
    pub(super) only_site: Field<String>,
    pub(super) from_version: Field<String>,
    pub(super) uptime_min: Field<Duration>,
    pub(super) uptime_max: Field<Duration>,
    pub(super) hours: Field<String>,
    /// The first of its keys that is present.
    pub(super) first_key: Option<At<&'static str>>,
}

/// `[[policy]]`: a name, and the rest for the server's own check.
pub(super) struct RawPolicy {
    pub(super) at: Place,
    pub(super) name: Field<String>,
    pub(super) policy: serde_json::Value,
}

pub(super) struct RawAdversary {
    pub(super) at: Place,
    pub(super) kind: Field<String>,
    pub(super) count: Field<i64>,
    /// A number, or a word.
    pub(super) addresses: Field<Result<i64, String>>,
    pub(super) victims: Field<i64>,
    pub(super) interval: Field<Duration>,
    pub(super) from: Field<Duration>,
    pub(super) until: Field<Duration>,
}

pub(super) struct RawStep {
    pub(super) place: Place,
    pub(super) at: Field<Duration>,
    pub(super) may_fail: Field<bool>,
    /// None: `do` is missing or unknown, which is already reported.
    pub(super) action: Option<At<RawAction>>,
}

/// What a step does; the place is that of the value of `do`.
pub(super) struct RawAction {
    pub(super) kind: &'static Kind,
    pub(super) check: Check,
}

pub(super) struct RawExpectation {
    pub(super) at: Place,
    pub(super) metric: Field<String>,
    pub(super) max: Field<f64>,
    pub(super) min: Field<f64>,
    pub(super) equals: Field<f64>,
    pub(super) during: Field<String>,
    pub(super) every: Field<Duration>,
    pub(super) allow_empty: Field<bool>,
    pub(super) abort: Field<bool>,
}

impl RawScenario {
    pub(super) fn read(mut file: Reader<'_>, problems: &mut Problems) -> Self {
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

impl RawFleet {
    fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(FLEET, elsewhere, problems);
        Self {
            devices: table.integer("devices", problems),
            heartbeat_interval: table.duration_or("heartbeat_interval", &["server"], problems),
            connections: table.text_or_integer("connections", problems),
            id_prefix: table.text("id_prefix", problems),
            otrt: table.boolean("otrt", problems),
            otrt_shared: table.boolean("otrt_shared", problems),
            answer_timeout: table.duration("answer_timeout", problems),
            firmware_version: table.text("firmware_version", problems),
            uptime_at_start: table.duration("uptime_at_start", problems),
            models: RawShares::read(&table, ("model", MODEL), ("models", MODELS), problems),
            sites: RawShares::read(&table, ("site", SITE), ("sites", SITES), problems),
            churn: read_each(table.tables("churn", CHURN.title, problems), problems, RawChurn::read),
            cohorts: read_each(table.tables("cohort", COHORT.title, problems), problems, RawCohort::read),
            addresses: table.text("addresses", problems),
        }
    }
}

impl RawCohort {
    fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(COHORT, elsewhere, problems);
        Self {
            at: table.at,
            name: table.text("name", problems),
            share: table.integer("share", problems),
            retry: table.text("retry", problems),
            only_model: table.text("only_model", problems),
            only_site: table.text("only_site", problems),
        }
    }
}

impl RawChurn {
    fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(CHURN, elsewhere, problems);
        Self {
            at: table.at,
            kind: table.text("kind", problems),
            per_day_bp: table.integer("per_day_bp", problems),
            lasts: table.duration("lasts", problems),
            loss_bp: table.integer("loss_bp", problems),
            hours: table.text("hours", problems),
            only_model: table.text("only_model", problems),
            only_site: table.text("only_site", problems),
        }
    }
}

impl RawShares {
    fn read(
        fleet: &Reader<'_>,
        (key, table): (&'static str, Section),
        (series_key, series): (&'static str, Section),
        problems: &mut Problems,
    ) -> Self {
        let tables = fleet.tables(key, table.title, problems);
        Self {
            tables: read_each(tables, problems, |share, problems| RawShare::read(share, table, problems)),
            series: match fleet.table(series_key, "such as { count = 40, prefix = \"store\" }", problems) {
                Field::Given(At { at, value }) => {
                    Field::Given(At { at, value: RawSeries::read(value, series, problems) })
                }
                Field::Absent => Field::Absent,
                Field::Wrong => Field::Wrong,
            },
        }
    }
}

impl RawSeries {
    fn read(mut table: Reader<'_>, section: Section, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(section, elsewhere, problems);
        Self {
            count: table.integer("count", problems),
            prefix: table.text("prefix", problems),
            sizes: table.text("sizes", problems),
        }
    }
}

impl RawShare {
    fn read(mut table: Reader<'_>, section: Section, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(section, elsewhere, problems);
        Self { at: table.at, name: table.text("name", problems), share: table.integer("share", problems) }
    }
}

impl RawFirmware {
    fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(FIRMWARE, elsewhere, problems);
        Self {
            at: table.at,
            version: table.text("version", problems),
            counter: table.integer("counter", problems),
            size_kib: table.integer("size_kib", problems),
            own: RawFault::read(&table, FIRMWARE, problems),
            faults: read_each(table.tables("fault", FAULT.title, problems), problems, |mut fault, problems| {
                fault.refuse_unknown_keys(FAULT, elsewhere, problems);
                RawFault::read(&fault, FAULT, problems)
            }),
        }
    }
}

impl RawFault {
    /// Reads the keys of a fault, as far as `section` has them: another one is an unknown key, which is already reported.
    fn read(table: &Reader<'_>, section: Section, problems: &mut Problems) -> Self {
        fn known<T>(section: Section, key: &'static str, read: impl FnOnce(&'static str) -> Field<T>) -> Field<T> {
            if section.keys.contains(&key) { read(key) } else { Field::Absent }
        }
        let own = |key: At<&str>| FAULT.keys.iter().find(|own| **own == key.value).map(|own| key.with(*own));
        let first_key = table.keys().filter_map(own).min_by_key(|key| key.at);
        Self {
            at: table.at,
            install_fails_bp: table.integer("install_fails_bp", problems),
            boot_fails_bp: table.integer("boot_fails_bp", problems),
            bricks_bp: table.integer("bricks_bp", problems),
            dies_bp: table.integer("dies_bp", problems),
            dies_after: table.duration("dies_after", problems),
            lies_bp: table.integer("lies_bp", problems),
            only_model: table.text("only_model", problems),
            only_site: table.text("only_site", problems),
            from_version: known(section, "from_version", |key| table.text(key, problems)),
            uptime_min: known(section, "uptime_min", |key| table.duration(key, problems)),
            uptime_max: known(section, "uptime_max", |key| table.duration(key, problems)),
            hours: known(section, "hours", |key| table.text(key, problems)),
            first_key,
        }
    }
}

impl RawPolicy {
    fn read(table: &Reader<'_>, problems: &mut Problems) -> Self {
        Self { at: table.at, name: table.text("name", problems), policy: table.json_without("name") }
    }
}

impl RawAdversary {
    fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(ADVERSARY, elsewhere, problems);
        Self {
            at: table.at,
            kind: table.text("kind", problems),
            count: table.integer("count", problems),
            addresses: table.text_or_integer("addresses", problems),
            victims: table.integer("victims", problems),
            interval: table.duration("interval", problems),
            from: table.duration("from", problems),
            until: table.duration("until", problems),
        }
    }
}

impl RawStep {
    fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
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
    fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
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
    let section = [FLEET, FIRMWARE, FAULT, CHURN, COHORT, ADVERSARY, EXPECT].into_iter().find(has);
    let is_elsewhere = |section: Section| format!("`{key}` is a key of {}", section.title);
    section.map(is_elsewhere).or_else(|| in_another_step(key))
}

/// Which step has a key.
fn in_another_step(key: &str) -> Option<String> {
    let Section { title, .. } = KINDS.iter().map(|kind| kind.section).find(|section| section.keys.contains(&key))?;
    Some(format!("`{key}` is a key of {title}"))
}
