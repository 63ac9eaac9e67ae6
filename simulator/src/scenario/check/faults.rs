//! Checks the faults of a `[[firmware]]`: one by its own keys, or several in tables; and that each can happen at all.

use std::time::Duration;

use super::CheckContext;
use super::value::{at_most, duration_in, integer_in, named, or_default};
use crate::fleet::{self, DeviceSpec};
use crate::scenario::faults::{Fault, Scope};
use crate::scenario::hours::Hours;
use crate::scenario::limits;
use crate::scenario::plan::{Firmware, Mode, Plan};
use crate::scenario::problem::{Problem, Problems, quoted};
use crate::scenario::raw::{FAULT, RawFault};
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;
use ks_protocol::duration;

/// A valid fault, and where its conditions are.
pub(super) struct CheckedFault {
    pub(super) at: Place,
    pub(super) fault: Fault,
    from_version_at: Place,
}

/// The faults of one release: the one of its own keys, or those of the tables.
pub(super) fn check(
    own: RawFault,
    tables: Option<Vec<RawFault>>,
    known: &mut CheckContext<'_>,
    problems: &mut Problems,
) -> Option<Vec<CheckedFault>> {
    let tables = tables?;
    let Some(first) = tables.first() else {
        let idle = key_without_share(&own);
        let checked = check_one(own, known, problems)?;
        if let Some((key, at)) = idle {
            let message = format!("`{key}` has no effect: this firmware has no fault");
            problems.push(Problem::new(at, message).expected("a share, such as `bricks_bp = 10`"));
            return None;
        }
        return Some(vec![checked]);
    };
    if let Some(key) = own.first_key {
        let message = format!("this [[firmware]] has both {} and {}", quoted(key.value), FAULT.title);
        let expected = format!("one of the two: the keys of a single fault, or a {} for each", FAULT.title);
        problems.push(Problem::new(key.at, message).expected(expected).first_at(first.at));
        return None;
    }
    let first_beyond = tables.get(limits::FAULTS_MAX).map(|fault| fault.at);
    at_most(tables.len(), limits::FAULTS_MAX, FAULT.title, first_beyond, problems);
    let count = tables.len();
    let mut checked = Vec::new();
    for raw in tables.into_iter().take(limits::FAULTS_MAX) {
        let dies_after = place_of(&raw.dies_after);
        let Some(fault) = check_one(raw, known, problems) else { continue };
        happens(&fault, dies_after, &checked, known, problems);
        checked.push(fault);
    }
    (checked.len() == count).then_some(checked)
}

/// A key of a fault that names no share: it has no effect.
fn key_without_share(fault: &RawFault) -> Option<(&'static str, Place)> {
    let RawFault { install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp, .. } = fault;
    let shares = [install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp];
    if shares.into_iter().any(|share| !matches!(share, Field::Absent)) {
        return None;
    }
    let keys = [
        ("only_model", place_of(&fault.only_model)),
        ("only_site", place_of(&fault.only_site)),
        ("dies_after", place_of(&fault.dies_after)),
    ];
    keys.into_iter().find_map(|(key, at)| Some((key, at?)))
}

/// Reports a fault in a table that can never happen, or says what it does not do.
fn happens(
    checked: &CheckedFault,
    dies_after: Option<Place>,
    before: &[CheckedFault],
    known: &CheckContext<'_>,
    problems: &mut Problems,
) {
    let CheckedFault { at, fault, .. } = checked;
    if fault.hits_bp() == 0 {
        let expected = "a share above 0, such as `bricks_bp = 10`";
        problems.push(Problem::new(*at, "this fault has no share, so it never happens").expected(expected));
    } else if let Some(dies_after) = dies_after.filter(|_| fault.dies_bp == 0) {
        let problem = Problem::new(dies_after, "`dies_after` has no effect: no device dies of this fault");
        problems.push(problem.expected("`dies_bp` above 0, or no `dies_after`"));
    }
    let whole: Vec<&CheckedFault> = before.iter().filter(|earlier| earlier.fault.hits_bp() == 10_000).collect();
    if let Some(earlier) = whole.iter().find(|earlier| earlier.fault.scope.covers(&fault.scope)) {
        let message = "this fault can never happen: an earlier one already hits every device in its scope";
        let problem =
            Problem::new(*at, message).expected("shares below 10,000 in the earlier one, or a narrower scope");
        problems.push(problem.first_at(earlier.at));
    } else if let Some(last) = whole.last().filter(|_| cover_together(&whole, &fault.scope, known)) {
        let message = "this fault can never happen: earlier ones together already hit every device in its scope";
        let problem = Problem::new(*at, message).expected("shares below 10,000 in one of them, or a narrower scope");
        problems.push(problem.first_at(last.at));
    }
}

/// Whether each model at each site in this scope is covered by one of these faults.
fn cover_together(faults: &[&CheckedFault], scope: &Scope, known: &CheckContext<'_>) -> bool {
    let (Some(models), Some(sites)) = (&known.models, &known.sites) else { return false };
    // Those that no fault names are all alike: the first stands for them.
    let alike = |own: &Option<String>, names: &[String], is_named: &dyn Fn(&Scope, &str) -> bool| -> Vec<String> {
        if let Some(own) = own {
            return vec![own.clone()];
        }
        let named = |name: &&String| faults.iter().any(|fault| is_named(&fault.fault.scope, name));
        let other = names.iter().find(|name| !named(name));
        names.iter().filter(named).chain(other).cloned().collect()
    };
    let models = alike(&scope.only_model, models, &|scope, name| scope.only_model.as_deref() == Some(name));
    let sites = alike(&scope.only_site, sites, &|scope, name| scope.only_site.as_deref() == Some(name));
    let mut places = models.iter().flat_map(|model| sites.iter().map(move |site| (model, site)));
    !models.is_empty()
        && !sites.is_empty()
        && places.all(|(model, site)| {
            let place = Scope { only_model: Some(model.clone()), only_site: Some(site.clone()), ..scope.clone() };
            faults.iter().any(|fault| fault.fault.scope.covers(&place))
        })
}

fn check_one(raw: RawFault, known: &mut CheckContext<'_>, problems: &mut Problems) -> Option<CheckedFault> {
    let at = raw.at;
    let mut share = |key: &str, field: Field<i64>| {
        integer_in::<u16>(key, or_default(field, 0, at), &limits::SHARE_BP, problems).map(|share| share.value)
    };
    let install_fails_bp = share("install_fails_bp", raw.install_fails_bp);
    let boot_fails_bp = share("boot_fails_bp", raw.boot_fails_bp);
    let bricks_bp = share("bricks_bp", raw.bricks_bp);
    let dies_bp = share("dies_bp", raw.dies_bp);
    let lies_bp = share("lies_bp", raw.lies_bp);
    let dies_after = or_default(raw.dies_after, Duration::from_hours(1), at);
    let dies_after = duration_in("dies_after", dies_after, &limits::OUTAGE, problems);
    let place = place_of(&raw.only_site).or(place_of(&raw.only_model)).unwrap_or(at);
    let only_model = only(raw.only_model, "model", known.models.as_deref(), problems);
    let only_site = only(raw.only_site, "site", known.sites.as_deref(), problems);
    let from_version_at = place_of(&raw.from_version).unwrap_or(at);
    let from_version = text(raw.from_version);
    let uptime = check_uptime((raw.uptime_min, raw.uptime_max), at, known, problems);
    let hours = check_hours(raw.hours, known.mode, problems);
    let (uptime_min, uptime_max) = uptime?;
    let scope = Scope {
        only_model: only_model.ok()?,
        only_site: only_site.ok()?,
        from_version: from_version.ok()?,
        uptime_min,
        uptime_max,
        hours: hours.ok()?,
    };
    known.places.push(At { at: place, value: (scope.only_model.clone(), scope.only_site.clone()) });
    let fault = Fault {
        install_fails_bp: install_fails_bp?,
        boot_fails_bp: boot_fails_bp?,
        bricks_bp: bricks_bp?,
        dies_bp: dies_bp?,
        dies_after: dies_after?.value,
        lies_bp: lies_bp?,
        scope,
    };
    let together = fault.hits_bp();
    if together > 10_000 {
        let message = format!("the outcomes of this firmware add up to {together} basis points");
        problems.push(Problem::new(at, message).expected("at most 10,000: each device has one"));
        return None;
    }
    Some(CheckedFault { at, fault, from_version_at })
}

/// The problem has been reported.
pub(super) struct Wrong;

fn text(given: Field<String>) -> Result<Option<String>, Wrong> {
    match given {
        Field::Absent => Ok(None),
        Field::Wrong => Err(Wrong),
        Field::Given(given) => Ok(Some(given.value)),
    }
}

/// A model or site of the fleet, if one is named.
pub(super) fn only(
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

/// A range of uptimes that devices can have.
fn check_uptime(
    (min, max): (Field<Duration>, Field<Duration>),
    at: Place,
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Option<(Duration, Option<Duration>)> {
    let is_limited = matches!(max, Field::Given(_) | Field::Wrong);
    let min = duration_in("uptime_min", or_default(min, Duration::ZERO, at), &limits::UPTIME, problems);
    let max = duration_in("uptime_max", or_default(max, *limits::UPTIME.end(), at), &limits::UPTIME, problems);
    let (min, max) = (min?, max?);
    if min.value >= max.value {
        let message = format!("`uptime_max` is {}, not above `uptime_min`", duration::format(max.value));
        let expected = format!("more than {}", duration::format(min.value));
        let place = if is_limited { max.at } else { min.at };
        problems.push(Problem::new(place, message).expected(expected));
        return None;
    }
    if let (Some(at_start), Some(duration)) = (known.uptime_at_start, known.duration)
        && min.value > at_start + duration
    {
        let longest = duration::format(at_start + duration);
        let message = format!("no device is up for {}", duration::format(min.value));
        let expected = format!("at most {longest}: `uptime_at_start` and the whole run");
        let help = "devices are switched on when the run starts; `uptime_at_start = \"60d\"` in [fleet] lets them have been up before";
        problems.push(Problem::new(min.at, message).expected(expected).help(help));
        return None;
    }
    Some((min.value, is_limited.then_some(max.value)))
}

/// Hours of the day in UTC, which only a rehearsal repeats.
pub(super) fn check_hours(
    given: Field<String>,
    mode: Option<Mode>,
    problems: &mut Problems,
) -> Result<Option<Hours>, Wrong> {
    let given = match given {
        Field::Absent => return Ok(None),
        Field::Wrong => return Err(Wrong),
        Field::Given(given) => given,
    };
    let Some(hours) = Hours::parse(&given.value) else {
        let expected = "two different hours of UTC with two digits each, such as \"22-06\"";
        let help = "the second hour is not included";
        problems
            .push(Problem::new(given.at, format!("`hours` is {}", quoted(&given.value))).expected(expected).help(help));
        return Err(Wrong);
    };
    if mode == Some(Mode::Load) {
        let message = "`hours` would depend on when this load run is started, so that it would not repeat";
        problems.push(
            Problem::new(given.at, message).expected("`mode = \"rehearse\"`, where each run begins at `starts_at`"),
        );
        return Err(Wrong);
    }
    Ok(Some(hours))
}

/// Reports each `from_version` that no device can have when it installs the release.
pub(super) fn check_from_versions(
    of_fleet: Option<&str>,
    releases: &[(Firmware, Vec<CheckedFault>)],
    problems: &mut Problems,
) {
    let Some(of_fleet) = of_fleet else { return };
    for (release, faults) in releases {
        for CheckedFault { fault, from_version_at, .. } in faults {
            let Some(from) = fault.scope.from_version.as_deref().filter(|from| *from != of_fleet) else { continue };
            let below = |other: &&Firmware| other.release_counter < release.release_counter;
            let all = releases.iter().map(|(other, _)| other);
            let versions: Vec<String> = std::iter::once(of_fleet.to_owned())
                .chain(all.clone().filter(below).map(|other| other.version.clone()))
                .collect();
            match all.clone().find(|other| other.version == from) {
                Some(other) if below(&other) => {}
                Some(other) => {
                    let message = format!(
                        "no device is updated from {}: its counter {} is not below {}, that of this release",
                        quoted(from),
                        other.release_counter,
                        release.release_counter
                    );
                    let versions: Vec<&str> = versions.iter().map(String::as_str).collect();
                    let expected = crate::scenario::problem::any_of(&versions);
                    problems.push(Problem::new(*from_version_at, message).expected(expected));
                }
                None => {
                    let given = At { at: *from_version_at, value: from.to_owned() };
                    named(&given, "neither the fleet nor a release has the version", &versions, problems);
                }
            }
        }
    }
}

/// Reports each combination of model and site that no device of the fleet has.
pub(super) fn check_places(plan: &Plan, places: &[At<(Option<String>, Option<String>)>], problems: &mut Problems) {
    if places.iter().all(|place| place.value.0.is_none() && place.value.1.is_none()) {
        return;
    }
    let Ok(devices) = fleet::devices(plan) else { return }; // the run reports it
    for At { at, value: (model, site) } in places {
        let is_it = |only: &Option<String>, shares: &[crate::scenario::Share], index: usize| {
            only.as_ref().is_none_or(|only| shares.get(index).is_some_and(|share| share.name == *only))
        };
        let is_there = |device: &DeviceSpec| {
            is_it(model, &plan.fleet.models, device.model) && is_it(site, &plan.fleet.sites, device.site)
        };
        if devices.iter().any(is_there) {
            continue;
        }
        let who = match (model, site) {
            (Some(model), Some(site)) => format!("a {} at {}", quoted(model), quoted(site)),
            (Some(name), None) => format!("a {}", quoted(name)),
            (None, name) => format!("at {}", quoted(name.as_deref().unwrap_or_default())),
        };
        let message = format!("no device of this fleet is {who}");
        let help = format!(
            "models and sites are drawn by their shares, with the seed {}; a larger share or fleet has such devices",
            plan.seed
        );
        problems.push(Problem::new(*at, message).expected("a model and a site that some device has").help(help));
    }
}

/// Where a value is, if it is there.
pub(super) fn place_of<T>(field: &Field<T>) -> Option<Place> {
    match field {
        Field::Given(given) => Some(given.at),
        Field::Absent | Field::Wrong => None,
    }
}
