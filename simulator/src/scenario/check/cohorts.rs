//! Checks `[[fleet.cohort]]`.

use super::CheckContext;
use super::faults::only;
use super::value::{LABEL, at_most, integer_in, or_default, required, text_like};
use crate::number::{counted, grouped};
use crate::scenario::cohorts::{Cohort, CohortSize, Retry};
use crate::scenario::limits;
use crate::scenario::problem::{Problem, Problems, quoted};
use crate::scenario::raw::{COHORT, RawCohort};
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;

/// Checks all of them; none if one is invalid.
pub(super) fn check(raw: Vec<RawCohort>, known: &CheckContext<'_>, problems: &mut Problems) -> Option<Vec<Cohort>> {
    let first_beyond = raw.get(limits::COHORTS_MAX).map(|cohort| cohort.at);
    at_most(raw.len(), limits::COHORTS_MAX, COHORT.title, first_beyond, problems);
    let count = raw.len();
    let mut names: Vec<At<String>> = Vec::new();
    let raw = raw.into_iter().take(limits::COHORTS_MAX);
    let mut counted_devices = 0;
    let checked: Vec<Cohort> = raw
        .filter_map(|raw| {
            let at = if let Field::Given(count) = &raw.count { count.at } else { raw.at };
            let cohort = check_one(raw, &mut names, known, problems)?;
            check_room(&cohort, at, (&mut counted_devices, known.devices), problems);
            Some(cohort)
        })
        .collect();
    (checked.len() == count).then_some(checked)
}

fn check_one(
    raw: RawCohort,
    names: &mut Vec<At<String>>,
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Option<Cohort> {
    let owner = (COHORT.title, raw.at);
    let name = required(raw.name, "name", owner, "name = \"old-firmware\"", problems);
    let name = text_like("name", name, LABEL, problems);
    let size = size(raw.share, raw.count, raw.at, problems);
    let retry = required(raw.retry, "retry", owner, "retry = \"ignore\"", problems);
    let parsed = retry.as_ref().and_then(|retry| Retry::parse(&retry.value));
    if let (None, Some(retry)) = (parsed, &retry) {
        let problem = Problem::new(retry.at, format!("`retry` is {}", quoted(&retry.value)));
        problems.push(problem.expected(Retry::EXPECTED));
    }
    let only_model = only(raw.only_model, "model", known.models.as_deref(), problems);
    let only_site = only(raw.only_site, "site", known.sites.as_deref(), problems);
    let name = name?;
    if let Some(first) = names.iter().find(|first| first.value == name.value) {
        let message = format!("a second {} is called {}", COHORT.title, quoted(&name.value));
        problems.push(Problem::new(name.at, message).expected("a unique name").first_at(first.at));
        return None;
    }
    names.push(name.clone());
    let (only_model, only_site) = (only_model.ok()?, only_site.ok()?);
    Some(Cohort { name: name.value, size: size?, retry: parsed?, only_model, only_site })
}

/// A share, 1 by default, or a count.
fn size(share: Field<i64>, count: Field<i64>, at: Place, problems: &mut Problems) -> Option<CohortSize> {
    match (share, count) {
        (Field::Given(share), Field::Given(count)) => {
            let (first, second) = if share.at < count.at { (share.at, count.at) } else { (count.at, share.at) };
            let message = format!("a {} has both `share` and `count`", COHORT.title);
            problems.push(Problem::new(second, message).expected("one of the two").first_at(first));
            None
        }
        (Field::Wrong, _) | (_, Field::Wrong) => None,
        (_, Field::Given(count)) => {
            let count = integer_in::<u32>("count", Some(count), &limits::DEVICES, problems)?;
            Some(CohortSize::Count(count.value))
        }
        (share, Field::Absent) => {
            let share = integer_in::<u32>("share", or_default(share, 1, at), &limits::SHARE, problems)?;
            Some(CohortSize::Share(share.value))
        }
    }
}

/// Refuses a count for which the fleet has too few devices, together with those before it.
fn check_room(cohort: &Cohort, at: Place, (sum, devices): (&mut u32, Option<u32>), problems: &mut Problems) {
    let CohortSize::Count(count) = cohort.size else { return };
    *sum = sum.saturating_add(count);
    if let Some(devices) = devices.filter(|devices| *sum > *devices) {
        let needed = counted(*sum, "device");
        let message =
            format!("the cohorts up to {} need {needed}, the fleet has {}", quoted(&cohort.name), grouped(devices));
        problems.push(Problem::new(at, message).expected("at most as many as the fleet has, in total"));
    }
}
