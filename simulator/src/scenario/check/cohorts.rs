//! Checks `[[fleet.cohort]]`.

use super::Known;
use super::faults::only;
use super::value::{LABEL, at_most, integer_in, or_default, required, text_like};
use crate::scenario::cohorts::{Cohort, Retry};
use crate::scenario::limits;
use crate::scenario::problem::{Problem, Problems, quoted};
use crate::scenario::raw::{COHORT, RawCohort};
use crate::scenario::reader::At;

/// Checks all of them; none if one is invalid.
pub(super) fn check(raw: Vec<RawCohort>, known: &Known<'_>, problems: &mut Problems) -> Option<Vec<Cohort>> {
    let first_beyond = raw.get(limits::COHORTS_MAX).map(|cohort| cohort.at);
    at_most(raw.len(), limits::COHORTS_MAX, COHORT.title, first_beyond, problems);
    let count = raw.len();
    let mut names: Vec<At<String>> = Vec::new();
    let raw = raw.into_iter().take(limits::COHORTS_MAX);
    let checked: Vec<Cohort> = raw.filter_map(|raw| check_one(raw, &mut names, known, problems)).collect();
    (checked.len() == count).then_some(checked)
}

fn check_one(
    raw: RawCohort,
    names: &mut Vec<At<String>>,
    known: &Known<'_>,
    problems: &mut Problems,
) -> Option<Cohort> {
    let owner = (COHORT.title, raw.at);
    let name = required(raw.name, "name", owner, "name = \"old-firmware\"", problems);
    let name = text_like("name", name, LABEL, problems);
    let share = integer_in::<u32>("share", or_default(raw.share, 1, raw.at), &limits::SHARE, problems);
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
    Some(Cohort { name: name.value, share: share?.value, retry: parsed?, only_model, only_site })
}
