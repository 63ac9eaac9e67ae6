//! Checks `[[firmware]]` and `[[policy]]`: the latter with the server's own check, so that a scenario never starts with one that
//! the server would refuse.

use std::collections::BTreeMap;
use std::time::Duration;

use ks_server::rollout::policy::Policy;

use super::Known;
use super::value::{LABEL, NAME, at_most, duration_in, integer_in, or_default, required, text_like};
use crate::scenario::limits;
use crate::scenario::plan::Firmware;
use crate::scenario::problem::{Problem, Problems, any_of, closest_value, quoted};
use crate::scenario::raw::{FIRMWARE, RawFirmware, RawPolicy};
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;

/// Checks all releases and records their versions.
pub(super) fn check(raw: Vec<RawFirmware>, known: &mut Known<'_>, problems: &mut Problems) -> Option<Vec<Firmware>> {
    let first_beyond = raw.get(limits::FIRMWARE_MAX).map(|firmware| firmware.at);
    at_most(raw.len(), limits::FIRMWARE_MAX, FIRMWARE.title, first_beyond, problems);
    let count = raw.len();
    let mut seen = Vec::new();
    let mut checked: Vec<Firmware> = Vec::new();
    for raw in raw.into_iter().take(limits::FIRMWARE_MAX) {
        let (at, version) = (raw.at, raw.version.clone());
        let firmware = check_one(raw, known, problems);
        let Field::Given(version) = version else { continue };
        known.firmware.push(version.value.clone());
        is_first(&version, &mut seen, FIRMWARE.title, problems);
        let Some(firmware) = firmware else { continue };
        if let Some(twin) = checked.iter().find(|twin| twin.release_counter == firmware.release_counter) {
            let message = format!("`counter` is {}, that of {}", firmware.release_counter, quoted(&twin.version));
            problems.push(Problem::new(at, message).expected("a unique counter; a rollback needs a higher one too"));
        }
        checked.push(firmware);
    }
    (checked.len() == count).then_some(checked)
}

fn is_first(name: &At<String>, seen: &mut Vec<At<String>>, title: &str, problems: &mut Problems) {
    if let Some(first) = seen.iter().find(|first| first.value == name.value) {
        let message = format!("a second {title} is called {}", quoted(&name.value));
        problems.push(Problem::new(name.at, message).expected("a unique name").first_at(first.at));
    }
    seen.push(name.clone());
}

fn check_one(raw: RawFirmware, known: &Known<'_>, problems: &mut Problems) -> Option<Firmware> {
    let owner = (FIRMWARE.title, raw.at);
    let version = required(raw.version, "version", owner, "version = \"1.1.0\"", problems);
    let version = text_like("version", version, LABEL, problems);
    let counter = required(raw.counter, "counter", owner, "counter = 2", problems);
    let counter = integer_in::<u64>("counter", counter, &limits::FIRMWARE_COUNTER, problems);
    let size_kib = or_default(raw.size_kib, 256, raw.at);
    let size_kib = integer_in::<u64>("size_kib", size_kib, &limits::FIRMWARE_SIZE_KIB, problems);
    let mut share = |key: &str, field: Field<i64>| {
        integer_in::<u16>(key, or_default(field, 0, raw.at), &limits::SHARE_BP, problems).map(|share| share.value)
    };
    let install_fails_bp = share("install_fails_bp", raw.install_fails_bp);
    let boot_fails_bp = share("boot_fails_bp", raw.boot_fails_bp);
    let bricks_bp = share("bricks_bp", raw.bricks_bp);
    let dies_bp = share("dies_bp", raw.dies_bp);
    let lies_bp = share("lies_bp", raw.lies_bp);
    let dies_after = or_default(raw.dies_after, Duration::from_hours(1), raw.at);
    let dies_after = duration_in("dies_after", dies_after, &limits::OUTAGE, problems);
    let only_model = only(raw.only_model, "model", known.models.as_deref(), problems);
    let only_site = only(raw.only_site, "site", known.sites.as_deref(), problems);
    let firmware = Firmware {
        version: version?.value,
        release_counter: counter?.value,
        size_bytes: size_kib?.value * 1_024,
        install_fails_bp: install_fails_bp?,
        boot_fails_bp: boot_fails_bp?,
        bricks_bp: bricks_bp?,
        dies_bp: dies_bp?,
        dies_after: dies_after?.value,
        lies_bp: lies_bp?,
        only_model: only_model.ok()?,
        only_site: only_site.ok()?,
    };
    let Firmware { install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp, .. } = firmware;
    let together: u32 = [install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp].into_iter().map(u32::from).sum();
    if together > 10_000 {
        let message = format!("the outcomes of this firmware add up to {together} basis points");
        problems.push(Problem::new(raw.at, message).expected("at most 10,000: each device has one"));
        return None;
    }
    Some(firmware)
}

/// The problem has been reported.
struct Wrong;

/// A model or site of the fleet, if one is named.
fn only(
    given: Field<String>,
    what: &str,
    names: Option<&[String]>,
    problems: &mut Problems,
) -> Result<Option<String>, Wrong> {
    let given = match given {
        Field::Absent => return Ok(None),
        Field::Wrong => return Err(Wrong),
        Field::Given(given) => given,
    };
    let names = names.ok_or(Wrong)?;
    named(&given, &format!("the fleet has no {what}"), names, problems).map(Some).ok_or(Wrong)
}

pub(crate) fn named(given: &At<String>, none: &str, names: &[String], problems: &mut Problems) -> Option<String> {
    if names.contains(&given.value) {
        return Some(given.value.clone());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = closest_value(&given.value, names.iter().copied());
    let message = format!("{none} {}", quoted(&given.value));
    let expected = if names.is_empty() { "one, but there is none".to_owned() } else { any_of(&names) };
    problems.push(Problem::new(given.at, message).expected(expected).suggest(near));
    None
}

/// Checks all policies and records their names.
pub(super) fn check_policies(
    raw: Vec<RawPolicy>,
    known: &mut Known<'_>,
    problems: &mut Problems,
) -> Option<BTreeMap<String, Policy>> {
    let title = "[[policy]]";
    let first_beyond = raw.get(limits::POLICIES_MAX).map(|policy| policy.at);
    at_most(raw.len(), limits::POLICIES_MAX, title, first_beyond, problems);
    let count = raw.len();
    let mut seen = Vec::new();
    let mut checked = BTreeMap::new();
    for RawPolicy { at, name, policy } in raw.into_iter().take(limits::POLICIES_MAX) {
        let name = required(name, "name", (title, at), "name = \"careful\"", problems);
        let name = text_like("name", name, NAME, problems);
        let policy = check_policy(policy, at, problems);
        let Some(name) = name else { continue };
        known.policies.push(name.value.clone());
        is_first(&name, &mut seen, title, problems);
        if let Some(policy) = policy {
            checked.insert(name.value, as_rehearsed(policy));
        }
    }
    (checked.len() == count).then_some(checked)
}

/// A rehearsal watches a completed rollout only if its policy says so: the server's default would make it a day longer.
pub(crate) fn as_rehearsed(policy: Policy) -> Policy {
    Policy { watch_s: Some(policy.watch_s.unwrap_or(0)), ..policy }
}

fn check_policy(policy: serde_json::Value, at: Place, problems: &mut Problems) -> Option<Policy> {
    let policy: Policy = match serde_path_to_error::deserialize(policy) {
        Ok(policy) => policy,
        Err(error) => {
            let (field, what) = (error.path().to_string(), error.inner().to_string());
            let message = if field == "." { format!("this policy: {what}") } else { format!("`{field}`: {what}") };
            problems.push(Problem::new(at, message).expected("a policy in the format of the admin API"));
            return None;
        }
    };
    let wrong = policy.validate();
    for why in &wrong {
        problems.push(Problem::new(at, format!("the server refuses this policy: {why}")));
    }
    wrong.is_empty().then_some(policy)
}
