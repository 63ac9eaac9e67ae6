//! The keys of `[[firmware]]` with its fault, and of `[[policy]]`.

use std::time::Duration;

use super::{elsewhere, read_each};
use crate::scenario::problem::Problems;
use crate::scenario::reader::{At, Field, Reader, Section};
use crate::scenario::source::Place;

/// The keys of `[[firmware]]`.
pub(in crate::scenario) const FIRMWARE: Section = Section {
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
pub(in crate::scenario) const FAULT: Section = Section {
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

pub(in crate::scenario) struct RawFirmware {
    pub(in crate::scenario) at: Place,
    pub(in crate::scenario) version: Field<String>,
    pub(in crate::scenario) counter: Field<i64>,
    pub(in crate::scenario) size_kib: Field<i64>,
    /// The keys of a single fault.
    pub(in crate::scenario) own: RawFault,
    /// Those in tables of their own.
    pub(in crate::scenario) faults: Option<Vec<RawFault>>,
}

/// A fault of a release. What is not a key of its table is absent.
pub(in crate::scenario) struct RawFault {
    pub(in crate::scenario) at: Place,
    pub(in crate::scenario) install_fails_bp: Field<i64>,
    pub(in crate::scenario) boot_fails_bp: Field<i64>,
    pub(in crate::scenario) bricks_bp: Field<i64>,
    pub(in crate::scenario) dies_bp: Field<i64>,
    pub(in crate::scenario) dies_after: Field<Duration>,
    pub(in crate::scenario) lies_bp: Field<i64>,
    pub(in crate::scenario) only_model: Field<String>,
    pub(in crate::scenario) only_site: Field<String>,
    pub(in crate::scenario) from_version: Field<String>,
    pub(in crate::scenario) uptime_min: Field<Duration>,
    pub(in crate::scenario) uptime_max: Field<Duration>,
    pub(in crate::scenario) hours: Field<String>,
    /// The first of its keys that is present.
    pub(in crate::scenario) first_key: Option<At<&'static str>>,
}

/// `[[policy]]`: a name, and the rest for the server's own check.
pub(in crate::scenario) struct RawPolicy {
    pub(in crate::scenario) at: Place,
    pub(in crate::scenario) name: Field<String>,
    pub(in crate::scenario) policy: serde_json::Value,
}

impl RawFirmware {
    pub(super) fn read(mut table: Reader<'_>, problems: &mut Problems) -> Self {
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
            hours: known(section, "hours", |key| table.hours(key, problems)),
            first_key,
        }
    }
}

impl RawPolicy {
    pub(super) fn read(table: &Reader<'_>, problems: &mut Problems) -> Self {
        Self { at: table.at, name: table.text("name", problems), policy: table.json_without("name") }
    }
}
