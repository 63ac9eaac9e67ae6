//! Checks `[fleet]`.

use std::time::Duration;

use super::groups::{self, CheckedGroups};
use super::shares;
use super::value::{LABEL, duration_in, integer_in, mismatch, one_of, or_default, required, text_like};
use crate::scenario::churn::Churn;
use crate::scenario::cohorts::Cohort;
use crate::scenario::plan::{Connections, Fleet, FleetAddresses, Group, HeartbeatInterval, Otrt, Share};
use crate::scenario::problem::{Problem, Problems, closest_value, quoted};
use crate::scenario::raw::{FLEET, MODEL, MODELS, RawFleet, RawGroup, RawShares, SITE, SITES};
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;
use crate::{
    number::{counted, grouped},
    scenario::limits,
};
use ks_protocol::duration;

/// The fleet so far; a field of none is invalid.
#[derive(Default)]
pub(super) struct CheckedFleet {
    pub(super) devices: Option<u32>,
    heartbeat_interval: Option<HeartbeatInterval>,
    connections: Option<Connections>,
    id_prefix: Option<String>,
    otrt: Option<Otrt>,
    pub(super) answer_timeout: Option<Duration>,
    pub(super) firmware_version: Option<String>,
    pub(super) uptime_at_start: Option<Duration>,
    models: Option<Vec<Share>>,
    sites: Option<Vec<Share>>,
    groups: Option<Vec<Group>>,
    addresses: Option<FleetAddresses>,
}

impl CheckedFleet {
    /// The names that firmware can give as a model.
    pub(super) fn model_names(&self) -> Option<Vec<String>> {
        self.models.as_ref().map(|models| models.iter().map(|model| model.name.clone()).collect())
    }

    /// The names that a step can give as a site.
    pub(super) fn site_names(&self) -> Option<Vec<String>> {
        self.sites.as_ref().map(|sites| sites.iter().map(|site| site.name.clone()).collect())
    }

    /// The fleet with its background failures and cohorts, if all of it is valid.
    pub(super) fn into_fleet(self, churn: Vec<Churn>, cohorts: Vec<Cohort>) -> Option<Fleet> {
        Some(Fleet {
            devices: self.devices?,
            heartbeat_interval: self.heartbeat_interval?,
            connections: self.connections?,
            id_prefix: self.id_prefix?,
            otrt: self.otrt?,
            answer_timeout: self.answer_timeout?,
            firmware_version: self.firmware_version?,
            uptime_at_start: self.uptime_at_start?,
            models: self.models?,
            sites: self.sites?,
            groups: self.groups?,
            churn,
            cohorts,
            addresses: self.addresses?,
        })
    }
}

pub(super) fn check(raw: RawFleet, at: Place, problems: &mut Problems) -> CheckedFleet {
    let places = check_places((raw.groups, raw.models, raw.sites), problems);
    let devices = check_devices(raw.devices, at, &places, problems);
    let interval_at = match &raw.heartbeat_interval {
        Field::Given(interval) => interval.at,
        _ => at,
    };
    let heartbeat_interval = check_interval(raw.heartbeat_interval, at, problems);
    if let (Some(devices), Some(interval)) = (&devices, heartbeat_interval) {
        check_offered(devices, interval, interval_at, problems);
    }
    let timeout = or_default(raw.answer_timeout, limits::ANSWER_TIMEOUT_DEFAULT, at);
    let firmware_version = or_default(raw.firmware_version, "1.0.0", at);
    let uptime = or_default(raw.uptime_at_start, Duration::ZERO, at);
    CheckedFleet {
        devices: devices.map(|devices| devices.value),
        heartbeat_interval,
        connections: check_connections(raw.connections, at, problems),
        id_prefix: check_id_prefix(or_default(raw.id_prefix, "SIM", at), problems),
        otrt: check_otrt(raw.otrt, raw.otrt_shared, at),
        answer_timeout: duration_in("answer_timeout", timeout, &limits::ANSWER_TIMEOUT, problems).map(|t| t.value),
        firmware_version: text_like("firmware_version", firmware_version, LABEL, problems).map(|v| v.value),
        uptime_at_start: duration_in("uptime_at_start", uptime, &limits::UPTIME, problems).map(|uptime| uptime.value),
        models: places.models,
        sites: places.sites,
        groups: places.groups,
        addresses: check_addresses(raw.addresses, at, problems),
    }
}

/// Models and sites, with the groups of devices if there are any; a field of none is invalid.
struct Places {
    models: Option<Vec<Share>>,
    sites: Option<Vec<Share>>,
    groups: Option<Vec<Group>>,
    devices: Counted,
}

/// Who decides how many devices there are.
enum Counted {
    /// The field `devices`.
    ByField,
    /// The groups, which have as many.
    ByGroups(At<u32>),
    /// The groups, which are invalid.
    Unknown,
}

fn check_places(
    (groups, models, sites): (Option<Vec<RawGroup>>, RawShares, RawShares),
    problems: &mut Problems,
) -> Places {
    match groups {
        None => Places { models: None, sites: None, groups: None, devices: Counted::Unknown },
        Some(groups) if groups.is_empty() => Places {
            models: shares::check(models, (MODEL, MODELS), "KS-100", problems),
            sites: shares::check(sites, (SITE, SITES), "HQ", problems),
            groups: Some(Vec::new()),
            devices: Counted::ByField,
        },
        Some(groups) => match groups::check(groups, (&models, &sites), problems) {
            None => Places { models: None, sites: None, groups: None, devices: Counted::Unknown },
            Some(CheckedGroups { models, sites, groups, devices }) => Places {
                models: Some(models),
                sites: Some(sites),
                groups: Some(groups),
                devices: Counted::ByGroups(devices),
            },
        },
    }
}

/// How many devices there are: as given, or as the groups have.
fn check_devices(given: Field<i64>, at: Place, places: &Places, problems: &mut Problems) -> Option<At<u32>> {
    if matches!(places.devices, Counted::ByField) {
        let devices = required(given, "devices", (FLEET.title, at), "devices = 1000", problems);
        return integer_in::<u32>("devices", devices, &limits::DEVICES, problems);
    }
    let given = match given {
        Field::Given(given) => Some(integer_in::<u32>("devices", Some(given), &limits::DEVICES, problems)?),
        Field::Absent => None,
        Field::Wrong => return None,
    };
    let Counted::ByGroups(of_groups) = &places.devices else { return None };
    groups::check_devices(given.as_ref(), of_groups, problems);
    Some(of_groups.with(of_groups.value))
}

fn check_addresses(raw: Field<String>, at: Place, problems: &mut Problems) -> Option<FleetAddresses> {
    let given = or_default(raw, FleetAddresses::Own.as_str(), at);
    one_of("addresses", given.as_ref(), &FleetAddresses::ALL.map(|word| (word.as_str(), word)), problems)
}

fn check_otrt(otrt: Field<bool>, shared: Field<bool>, at: Place) -> Option<Otrt> {
    let (each, shared) = (or_default(otrt, false, at)?.value, or_default(shared, false, at)?.value);
    Some(match (each, shared) {
        (_, true) => Otrt::Shared,
        (true, false) => Otrt::Each,
        (false, false) => Otrt::None,
    })
}

fn check_interval(
    raw: Field<Result<Duration, &'static str>>,
    at: Place,
    problems: &mut Problems,
) -> Option<HeartbeatInterval> {
    let interval = or_default(raw, Err("server"), at)?;
    match interval.value {
        Err(_) => Some(HeartbeatInterval::Server),
        Ok(fixed) => {
            let fixed = Some(interval.with(fixed));
            let fixed = duration_in("heartbeat_interval", fixed, &limits::HEARTBEAT_INTERVAL, problems)?;
            Some(HeartbeatInterval::Fixed(fixed.value))
        }
    }
}

/// Limits heartbeats per second to what a generator can send.
fn check_offered(devices: &At<u32>, interval: HeartbeatInterval, at: Place, problems: &mut Problems) {
    if let Some(sentence) = offered_too_much(devices.value, interval) {
        let shortest =
            Duration::from_millis((u64::from(devices.value) * 1_000).div_ceil(limits::OFFERED_PER_S_MAX.into()));
        let near = format!("\"{}\"", duration::format(shortest));
        problems.push(Problem::new(at, sentence).expected("at most 200,000 a second in total").suggest(Some(near)));
    }
}

/// A sentence if this many devices would send more heartbeats per second than allowed.
pub(in crate::scenario) fn offered_too_much(devices: u32, interval: HeartbeatInterval) -> Option<String> {
    let HeartbeatInterval::Fixed(each) = interval else { return None };
    let per_s = interval.offered_per_s(devices)?;
    let is_too_much = per_s > f64::from(limits::OFFERED_PER_S_MAX);
    let each = duration::format(each);
    is_too_much.then(|| {
        let devices = counted(devices, "device");
        format!("{devices}, each every {each}, send {} heartbeats a second", grouped(per_s.round()))
    })
}

fn check_connections(raw: Field<Result<i64, String>>, at: Place, problems: &mut Problems) -> Option<Connections> {
    const PER_DEVICE: &str = "per_device";
    let given = or_default(raw, Err(PER_DEVICE.to_owned()), at)?;
    match &given.value {
        Ok(shared) => {
            let shared = Some(given.with(*shared));
            let shared = integer_in::<u16>("connections", shared, &limits::CONNECTIONS, problems)?;
            Some(Connections::Shared(shared.value))
        }
        Err(word) if word == PER_DEVICE => Some(Connections::PerDevice),
        Err(word) => {
            let near = closest_value(word, [PER_DEVICE]);
            let near = near.or_else(|| word.parse::<u16>().ok().map(|number| number.to_string()));
            let message = format!("`connections` is {}", quoted(word));
            let expected = "\"per_device\", or a number from 1 to 60,000";
            problems.push(Problem::new(given.at, message).expected(expected).suggest(near));
            None
        }
    }
}

/// What an `id_prefix` must be.
pub(in crate::scenario) const ID_PREFIX_EXPECTED: &str = "a letter, then up to 31 of A-Z, a-z, 0-9, `.`, `_` and `-`";

/// Whether a device ID can have this prefix.
pub(in crate::scenario) fn is_id_prefix(prefix: &str) -> bool {
    mismatch(prefix, limits::ID_PREFIX_CHARS_MAX, LABEL.allows).is_none()
        && prefix.starts_with(|c: char| c.is_ascii_alphabetic())
}

fn check_id_prefix(prefix: Option<At<String>>, problems: &mut Problems) -> Option<String> {
    let prefix = prefix?;
    let wrong = mismatch(&prefix.value, limits::ID_PREFIX_CHARS_MAX, LABEL.allows).or_else(|| {
        let starts_with_letter = prefix.value.starts_with(|c: char| c.is_ascii_alphabetic());
        (!starts_with_letter).then(|| "does not start with a letter".to_owned())
    });
    let Some(wrong) = wrong else { return Some(prefix.value) };
    problems.push(Problem::new(prefix.at, format!("`id_prefix` {wrong}")).expected(ID_PREFIX_EXPECTED));
    None
}
