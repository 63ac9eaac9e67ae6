//! Checks `[[firmware]]` and `[[policy]]`: the latter with the server's own check, so that a scenario never starts with one that
//! the server would refuse.

use std::collections::BTreeMap;

use ks_server::rollout::policy::Policy;

use super::value::{LABEL, NAME, at_most, integer_in, or_default, required, text_like};
use super::{CheckContext, faults};
use crate::scenario::limits;
use crate::scenario::plan::Firmware;
use crate::scenario::problem::{Problem, Problems, quoted};
use crate::scenario::raw::{FIRMWARE, RawFirmware, RawPolicy};
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;

/// Checks all releases and records their versions.
pub(super) fn check(
    raw: Vec<RawFirmware>,
    known: &mut CheckContext<'_>,
    problems: &mut Problems,
) -> Option<Vec<Firmware>> {
    let first_beyond = raw.get(limits::FIRMWARE_MAX).map(|firmware| firmware.at);
    at_most(raw.len(), limits::FIRMWARE_MAX, FIRMWARE.title, first_beyond, problems);
    let count = raw.len();
    let mut seen = Vec::new();
    let mut checked: Vec<(Firmware, Vec<faults::CheckedFault>)> = Vec::new();
    for raw in raw.into_iter().take(limits::FIRMWARE_MAX) {
        let (at, version) = (raw.at, raw.version.clone());
        let firmware = check_one(raw, known, problems);
        let Field::Given(version) = version else { continue };
        known.firmware.push(version.value.clone());
        is_first(&version, &mut seen, FIRMWARE.title, problems);
        let Some((firmware, faults)) = firmware else { continue };
        if let Some((twin, _)) = checked.iter().find(|(twin, _)| twin.release_counter == firmware.release_counter) {
            let message = format!("`counter` is {}, that of {}", firmware.release_counter, quoted(&twin.version));
            problems.push(Problem::new(at, message).expected("a unique counter; a rollback needs a higher one too"));
        }
        checked.push((firmware, faults));
    }
    if checked.len() != count {
        return None;
    }
    faults::check_from_versions(known.firmware_version.as_deref(), &checked, problems);
    let with_faults = checked.into_iter().map(|(firmware, faults)| {
        let faults = faults.into_iter().map(|checked| checked.fault).collect();
        Firmware { faults, ..firmware }
    });
    Some(with_faults.collect())
}

fn is_first(name: &At<String>, seen: &mut Vec<At<String>>, title: &str, problems: &mut Problems) {
    if let Some(first) = seen.iter().find(|first| first.value == name.value) {
        let message = format!("a second {title} is called {}", quoted(&name.value));
        problems.push(Problem::new(name.at, message).expected("a unique name").first_at(first.at));
    }
    seen.push(name.clone());
}

/// A release and its faults, which it does not have yet.
fn check_one(
    raw: RawFirmware,
    known: &mut CheckContext<'_>,
    problems: &mut Problems,
) -> Option<(Firmware, Vec<faults::CheckedFault>)> {
    let owner = (FIRMWARE.title, raw.at);
    let version = required(raw.version, "version", owner, "version = \"1.1.0\"", problems);
    let version = text_like("version", version, LABEL, problems);
    let counter = required(raw.counter, "counter", owner, "counter = 2", problems);
    let counter = integer_in::<u64>("counter", counter, &limits::FIRMWARE_COUNTER, problems);
    let size_kib = or_default(raw.size_kib, 256, raw.at);
    let size_kib = integer_in::<u64>("size_kib", size_kib, &limits::FIRMWARE_SIZE_KIB, problems);
    let faults = faults::check(raw.own, raw.faults, known, problems);
    let firmware = Firmware { size_bytes: size_kib?.value * 1_024, ..Firmware::good(&version?.value, counter?.value) };
    Some((firmware, faults?))
}

/// Checks all policies and records their names.
pub(super) fn check_policies(
    raw: Vec<RawPolicy>,
    known: &mut CheckContext<'_>,
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
