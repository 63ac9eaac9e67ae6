//! The keys of `[fleet]` and of the tables in it.

use std::time::Duration;

use super::{elsewhere, read_each};
use crate::scenario::problem::Problems;
use crate::scenario::reader::{At, Field, Reader, Section};
use crate::scenario::source::Place;

/// The keys of `[fleet]`.
pub(in crate::scenario) const FLEET: Section = Section {
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
        "group",
        "churn",
        "cohort",
        "addresses",
    ],
};

/// The keys of `[[fleet.churn]]`.
pub(in crate::scenario) const CHURN: Section = Section {
    title: "[[fleet.churn]]",
    keys: &["kind", "per_day_bp", "lasts", "loss_bp", "hours", "only_model", "only_site"],
};

/// The keys of `[[fleet.cohort]]`.
pub(in crate::scenario) const COHORT: Section =
    Section { title: "[[fleet.cohort]]", keys: &["name", "share", "count", "retry", "only_model", "only_site"] };

/// The keys of `[[fleet.model]]`.
pub(in crate::scenario) const MODEL: Section = Section { title: "[[fleet.model]]", keys: &["name", "share"] };

/// The keys of `[[fleet.site]]`.
pub(in crate::scenario) const SITE: Section = Section { title: "[[fleet.site]]", keys: &["name", "share"] };

/// The keys of `[[fleet.group]]`.
pub(in crate::scenario) const GROUP: Section = Section { title: "[[fleet.group]]", keys: &["model", "site", "count"] };

/// The keys of `models` in `[fleet]`.
pub(in crate::scenario) const MODELS: Section = Section { title: "`models`", keys: SERIES_KEYS };

/// The keys of `sites` in `[fleet]`.
pub(in crate::scenario) const SITES: Section = Section { title: "`sites`", keys: SERIES_KEYS };
const SERIES_KEYS: &[&str] = &["count", "prefix", "sizes"];

pub(in crate::scenario) struct RawFleet {
    pub(in crate::scenario) devices: Field<i64>,
    /// A duration, or the word `server`.
    pub(in crate::scenario) heartbeat_interval: Field<Result<Duration, &'static str>>,
    /// A number, or a word.
    pub(in crate::scenario) connections: Field<Result<i64, String>>,
    pub(in crate::scenario) id_prefix: Field<String>,
    pub(in crate::scenario) otrt: Field<bool>,
    pub(in crate::scenario) otrt_shared: Field<bool>,
    pub(in crate::scenario) answer_timeout: Field<Duration>,
    pub(in crate::scenario) firmware_version: Field<String>,
    pub(in crate::scenario) uptime_at_start: Field<Duration>,
    pub(in crate::scenario) models: RawShares,
    pub(in crate::scenario) sites: RawShares,
    pub(in crate::scenario) groups: Option<Vec<RawGroup>>,
    pub(in crate::scenario) churn: Option<Vec<RawChurn>>,
    pub(in crate::scenario) cohorts: Option<Vec<RawCohort>>,
    pub(in crate::scenario) addresses: Field<String>,
}

/// Devices that react to refusals in the same way.
pub(in crate::scenario) struct RawCohort {
    pub(in crate::scenario) at: Place,
    pub(in crate::scenario) name: Field<String>,
    pub(in crate::scenario) share: Field<i64>,
    pub(in crate::scenario) count: Field<i64>,
    pub(in crate::scenario) retry: Field<String>,
    pub(in crate::scenario) only_model: Field<String>,
    pub(in crate::scenario) only_site: Field<String>,
}

/// Background failures of one kind.
pub(in crate::scenario) struct RawChurn {
    pub(in crate::scenario) at: Place,
    pub(in crate::scenario) kind: Field<String>,
    pub(in crate::scenario) per_day_bp: Field<i64>,
    pub(in crate::scenario) lasts: Field<Duration>,
    pub(in crate::scenario) loss_bp: Field<i64>,
    pub(in crate::scenario) hours: Field<String>,
    pub(in crate::scenario) only_model: Field<String>,
    pub(in crate::scenario) only_site: Field<String>,
}

/// Models or sites, in either form: the check refuses both together.
pub(in crate::scenario) struct RawShares {
    pub(in crate::scenario) tables: Option<Vec<RawShare>>,
    pub(in crate::scenario) series: Field<RawSeries>,
}

/// Numbered models or sites: `store-01` to `store-40`.
pub(in crate::scenario) struct RawSeries {
    pub(in crate::scenario) count: Field<i64>,
    pub(in crate::scenario) prefix: Field<String>,
    pub(in crate::scenario) sizes: Field<String>,
}

pub(in crate::scenario) struct RawShare {
    pub(in crate::scenario) at: Place,
    pub(in crate::scenario) name: Field<String>,
    pub(in crate::scenario) share: Field<i64>,
}

/// So many devices of one model at one site.
pub(in crate::scenario) struct RawGroup {
    pub(in crate::scenario) at: Place,
    pub(in crate::scenario) model: Field<String>,
    pub(in crate::scenario) site: Field<String>,
    pub(in crate::scenario) count: Field<i64>,
}

impl RawFleet {
    pub(super) fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
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
            groups: read_each(table.tables("group", GROUP.title, problems), problems, RawGroup::read),
            churn: read_each(table.tables("churn", CHURN.title, problems), problems, RawChurn::read),
            cohorts: read_each(table.tables("cohort", COHORT.title, problems), problems, RawCohort::read),
            addresses: table.text("addresses", problems),
        }
    }
}

impl RawGroup {
    fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
        table.refuse_unknown_keys(GROUP, elsewhere, problems);
        Self {
            at: table.at,
            model: table.text("model", problems),
            site: table.text("site", problems),
            count: table.integer("count", problems),
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
            count: table.integer("count", problems),
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
            hours: table.hours("hours", problems),
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
