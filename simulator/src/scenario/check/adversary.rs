//! Checks `[[adversary]]`.

use std::time::Duration;

use super::CheckContext;
use super::faults::Wrong;
use super::value::{at_most, duration_in, integer_in, one_of, or_default, required};
use crate::scenario::limits;
use crate::scenario::plan::Mode;
use crate::scenario::problem::{Problem, Problems, any_of, closest_value, quoted};
use crate::scenario::raw::{ADVERSARY, RawAdversary};
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;
use crate::{
    number::grouped,
    scenario::adversaries::{Addresses, Adversary, AdversaryKind},
};
use ks_protocol::duration;

/// Checks all of them; none if one is invalid.
pub(super) fn check(
    raw: Vec<RawAdversary>,
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Option<Vec<Adversary>> {
    let first_beyond = raw.get(limits::ADVERSARIES_MAX).map(|adversary| adversary.at);
    at_most(raw.len(), limits::ADVERSARIES_MAX, ADVERSARY.title, first_beyond, problems);
    let count = raw.len();
    let raw = raw.into_iter().take(limits::ADVERSARIES_MAX);
    let mut attempts_per_s = 0.0;
    let adversaries: Vec<_> = raw
        .filter_map(|raw| {
            let at = raw.at;
            let adversary = check_one(raw, known, problems)?;
            let at_once = f64::from(adversary.count) * f64::from(adversary.at_once);
            attempts_per_s += at_once / adversary.interval.as_secs_f64();
            check_rate(attempts_per_s, at, problems).then_some(adversary)
        })
        .collect();
    (adversaries.len() == count).then_some(adversaries)
}

fn check_one(raw: RawAdversary, known: &CheckContext<'_>, problems: &mut Problems) -> Option<Adversary> {
    let owner = (ADVERSARY.title, raw.at);
    let kind = required(raw.kind, "kind", owner, "kind = \"forger\"", problems);
    let kinds = AdversaryKind::ALL.map(|kind| (kind.as_str(), kind));
    let kind_at = kind.as_ref().map(|kind| kind.at);
    let kind = one_of("kind", kind.as_ref(), &kinds, problems);
    let kind = kind.zip(kind_at).and_then(|(kind, at)| check_fits_mode(kind, at, known, problems));
    let count = required(raw.count, "count", owner, "count = 5", problems);
    let count = integer_in::<u16>("count", count, &limits::ADVERSARY_COUNT, problems);
    let addresses = check_addresses(raw.addresses, raw.at, problems);
    let victims = check_victims(raw.victims, kind, known, problems);
    let interval = or_default(raw.interval, limits::ATTACK_INTERVAL_DEFAULT, raw.at);
    let interval = duration_in("interval", interval, &limits::ATTACK_INTERVAL, problems);
    let at_once = integer_in::<u16>("at_once", or_default(raw.at_once, 1, raw.at), &limits::ATTEMPTS_AT_ONCE, problems);
    let from = or_default(raw.from, Duration::ZERO, raw.at);
    let until = match known.duration {
        Some(end) => or_default(raw.until, end, raw.at),
        None => None,
    };
    let window = check_window(from, until, known, problems);
    let (from, until) = window?;
    let (count, interval, at_once) = (count?.value, interval?.value, at_once?.value);
    let (kind, addresses, victims) = (kind?, addresses?, victims.ok()?);
    Some(Adversary { kind, count, addresses, victims, interval, at_once, from, until })
}

/// Limits the attempts of all of them together to the heartbeat rate that a fleet may have.
fn check_rate(attempts_per_s: f64, at: Place, problems: &mut Problems) -> bool {
    let is_too_much = attempts_per_s > f64::from(limits::OFFERED_PER_S_MAX);
    if is_too_much {
        let message =
            format!("the adversaries up to this one make {} attempts a second", grouped(attempts_per_s.round()));
        let expected = format!("at most {} of all together", grouped(f64::from(limits::OFFERED_PER_S_MAX)));
        problems.push(Problem::new(at, message).expected(expected).help("lower `count`, or raise `interval`"));
    }
    !is_too_much
}

/// Refuses adversaries that attack sockets in a rehearsal, which has none.
fn check_fits_mode(
    kind: AdversaryKind,
    at: Place,
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Option<AdversaryKind> {
    if !(kind.needs_sockets() && known.mode == Some(Mode::Rehearse)) {
        return Some(kind);
    }
    let names: Vec<_> =
        AdversaryKind::ALL.iter().filter(|kind| !kind.needs_sockets()).map(|kind| kind.as_str()).collect();
    let message = format!("`{}` attacks sockets, and a rehearsal has none", kind.as_str());
    let problem = Problem::new(at, message).expected(any_of(&names));
    problems.push(problem.help("a load run has sockets: `mode = \"load\"`"));
    None
}

/// How many devices it names: at most the whole fleet.
fn check_victims(
    raw: Field<i64>,
    kind: Option<AdversaryKind>,
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Result<Option<u32>, Wrong> {
    let given = match raw {
        Field::Absent => return Ok(None),
        Field::Wrong => return Err(Wrong),
        Field::Given(given) => given,
    };
    let kind = kind.ok_or(Wrong)?;
    if !kind.names_victims() {
        let message = format!("`{}` does not choose whose name it uses", kind.as_str());
        problems.push(Problem::new(given.at, message).expected("no `victims` with it"));
        return Err(Wrong);
    }
    let range = 1..=i64::from(known.devices.ok_or(Wrong)?);
    let victims = integer_in::<u32>("victims", Some(given), &range, problems).ok_or(Wrong)?;
    Ok(Some(victims.value))
}

fn check_addresses(raw: Field<Result<i64, String>>, at: Place, problems: &mut Problems) -> Option<Addresses> {
    const OWN: &str = "own";
    const SHARED: &str = "shared";
    let given = or_default(raw, Err(OWN.to_owned()), at)?;
    match &given.value {
        Ok(count) => {
            let count =
                integer_in::<u16>("addresses", Some(given.with(*count)), &limits::ADVERSARY_ADDRESSES, problems)?;
            Some(Addresses::Some(count.value))
        }
        Err(word) if word == OWN => Some(Addresses::Own),
        Err(word) if word == SHARED => Some(Addresses::Fleet),
        Err(word) => {
            let message = format!("`addresses` is {}", quoted(word));
            let near = closest_value(word, [OWN, SHARED]);
            let near = near.or_else(|| word.parse::<u16>().ok().map(|number| number.to_string()));
            let expected = "\"own\", \"shared\", or a number from 1 to 10,000";
            problems.push(Problem::new(given.at, message).expected(expected).suggest(near));
            None
        }
    }
}

/// Checks that `from` is before `until`, and `until` not after the end.
fn check_window(
    from: Option<At<Duration>>,
    until: Option<At<Duration>>,
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Option<(Duration, Duration)> {
    let (from, until, end) = (from?, until?, known.duration?);
    let is_default = until.value == end;
    if until.value > end {
        let message = format!("`until` is {}, after the end of the run", duration::format(until.value));
        let expected = format!("at most {}", duration::format(end));
        problems.push(Problem::new(until.at, message).expected(expected));
        None
    } else if from.value >= until.value {
        let (name, at) = if is_default { ("the end of the run", from.at) } else { ("`until`", until.at) };
        let message = format!("`from` is {}, not before {name}", duration::format(from.value));
        let expected = format!("`from` less than {}", duration::format(until.value));
        problems.push(Problem::new(at, message).expected(expected));
        None
    } else {
        Some((from.value, until.value))
    }
}
