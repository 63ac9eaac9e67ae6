//! Checks `[[expect]]`.

use std::time::Duration;

use super::CheckContext;
use super::value::{at_most, or_default, required};
use crate::scenario::ServerSettings;
use crate::scenario::expectation::{Bound, During, Expectation};
use crate::scenario::limits;
use crate::scenario::metric::{AnswerCode, Availability, Metric};
use crate::scenario::plan::Timing;
use crate::scenario::problem::{Problem, Problems, any_of, closest, closest_value, quoted};
use crate::scenario::raw::{EXPECT, RawExpectation};
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;
use ks_protocol::duration;

/// Name, start and end; none if they are unknown because of another problem.
type Phases<'a> = Option<&'a [(String, Duration, Duration)]>;

/// An invalid value, which is already reported.
#[derive(Debug, Clone, Copy)]
struct NotSound;

/// Checks all of them; none if one is invalid, or if there are none.
pub(super) fn check(
    raw: Vec<RawExpectation>,
    phases: Phases<'_>,
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Option<Vec<Expectation>> {
    if raw.is_empty() {
        let message = "the scenario expects nothing, so it could not fail";
        let problem = Problem::new(Place::FILE, message).expected("at least one [[expect]]");
        problems.push(problem.help("to begin with, add an [[expect]] with `metric = \"errors\"` and `equals = 0`"));
        return None;
    }
    let first_beyond = raw.get(limits::EXPECTATIONS_MAX).map(|expectation| expectation.at);
    at_most(raw.len(), limits::EXPECTATIONS_MAX, EXPECT.title, first_beyond, problems);
    let count = raw.len();
    let raw = raw.into_iter().take(limits::EXPECTATIONS_MAX);
    let expectations: Vec<_> = raw.filter_map(|raw| check_one(raw, phases, known, problems)).collect();
    (expectations.len() == count).then_some(expectations)
}

/// Checks one expectation that is in no file: `heartbeat.p99_ms<=50`. It has no phases and no windows.
///
/// # Errors
/// What is wrong, and what was expected.
pub(in crate::scenario) fn check_text(
    text: &str,
    timing: Timing,
    settings: &dyn ServerSettings,
) -> Result<Expectation, Box<Problem>> {
    const EXPECTED: &str = "METRIC<=NUMBER, such as heartbeat.p99_ms<=50, or METRIC=0";
    let wrong = |message: String| Box::new(Problem::new(Place::FILE, message).expected(EXPECTED));
    let signs = [("<=", 0), (">=", 1), ("==", 2), ("=", 2)];
    let split = signs.iter().find_map(|(sign, kind)| text.split_once(sign).map(|parts| (parts, *kind)));
    let ((metric, number), kind) = split.ok_or_else(|| wrong(format!("{} has no bound", quoted(text))))?;
    let (metric, number) = (metric.trim(), number.trim());
    let value = number.parse().ok().filter(|value: &f64| value.is_finite());
    let value: f64 = value.ok_or_else(|| wrong(format!("{} is not a number", quoted(number))))?;
    let given = |wanted| if kind == wanted { Field::Given(At { at: Place::FILE, value }) } else { Field::Absent };
    let raw = RawExpectation {
        at: Place::FILE,
        metric: Field::Given(At { at: Place::FILE, value: metric.to_owned() }),
        max: given(0),
        min: given(1),
        equals: given(2),
        during: Field::Absent,
        every: Field::Absent,
        allow_empty: Field::Absent,
        abort: Field::Absent,
    };
    let mut problems = Problems::default();
    let checked = check_one(raw, Some(&[]), &CheckContext::of_expectation(timing, settings), &mut problems);
    let found = |problems: Problems| problems.into_first().map(Box::new);
    checked.ok_or_else(|| found(problems).unwrap_or_else(|| wrong(format!("{} is invalid", quoted(text)))))
}

fn check_one(
    raw: RawExpectation,
    phases: Phases<'_>,
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Option<Expectation> {
    let metric = required(raw.metric, "metric", (EXPECT.title, raw.at), "metric = \"errors\"", problems);
    let metric = check_metric(metric, known, problems);
    let bound = check_bound([("max", raw.max), ("min", raw.min), ("equals", raw.equals)], raw.at, problems);
    let is_windowless = metric.as_ref().is_some_and(|metric| metric.known() != Availability::AnyTime);
    if let (true, Some(metric)) = (is_windowless, &metric) {
        let during = place_of(&raw.during).map(|at| (at, "during"));
        let every = place_of(&raw.every).map(|at| (at, "every"));
        for (at, key) in during.into_iter().chain(every) {
            let message = format!("`{metric}` counts over the whole run");
            problems.push(Problem::new(at, message).expected(format!("no `{key}` with it")));
        }
        if during.is_some() || every.is_some() {
            return None;
        }
    }
    let during = check_during(raw.during, phases, problems);
    let every = check_every(raw.every, during.as_ref(), phases, known, problems);
    let abort = or_default(raw.abort, false, raw.at);
    let abort = check_abort(abort, metric.as_ref(), bound, every, problems);
    let allow_empty = or_default(raw.allow_empty, false, raw.at).map(|allow_empty| allow_empty.value);
    Some(Expectation {
        metric: metric?,
        bound: bound?,
        during: during?,
        every: every.ok()?,
        allow_empty: allow_empty?,
        abort: abort?,
    })
}

fn check_metric(name: Option<At<String>>, known: &CheckContext<'_>, problems: &mut Problems) -> Option<Metric> {
    let name = name?;
    match name.value.parse::<Metric>() {
        Ok(Metric::Codes(code)) => check_code(code, name.at, known, problems).map(Metric::Codes),
        Ok(metric) if metric.is_a_time() && known.timing == Some(Timing::Ignored) => {
            let message = format!("`{metric}` depends on how fast the machine is, and `timing` is \"ignored\"");
            problems.push(Problem::new(name.at, message).expected("a metric that counts, or `timing = \"measured\"`"));
            None
        }
        Ok(metric) => Some(metric),
        Err(unknown) => {
            let message = format!("unknown metric {}", quoted(&unknown.given));
            let help = format!("the metrics are {}", Metric::names().join(", "));
            let near = unknown.suggestion.filter(|near| is_known(near, known)).map(|near| format!("\"{near}\""));
            problems.push(Problem::new(name.at, message).suggest(near).help(help));
            None
        }
    }
}

/// Whether this name is a metric.
fn is_known(name: &str, known: &CheckContext<'_>) -> bool {
    match name.parse::<Metric>() {
        Ok(Metric::Codes(code)) => codes(known).is_none_or(|codes| codes.contains(&code.as_str())),
        other => other.is_ok(),
    }
}

/// Every code that a request can end with; none if the server's are unknown.
fn codes(known: &CheckContext<'_>) -> Option<Vec<&'static str>> {
    let of_server = known.settings.answer_codes();
    let all = [AnswerCode::OK].into_iter().chain(AnswerCode::LOCAL).chain(of_server.iter().copied()).collect();
    (!of_server.is_empty()).then_some(all)
}

/// Refuses codes that no server answers: a typo would count nothing, and `equals = 0` would hold.
fn check_code(code: AnswerCode, at: Place, known: &CheckContext<'_>, problems: &mut Problems) -> Option<AnswerCode> {
    let Some(all) = codes(known) else { return Some(code) };
    if all.contains(&code.as_str()) {
        return Some(code);
    }
    let message = format!("no answer has the code {}", quoted(code.as_str()));
    let near = closest(code.as_str(), all.iter().copied()).map(|near| format!("\"codes.{near}\""));
    problems.push(Problem::new(at, message).suggest(near).help(format!("the codes are {}", all.join(", "))));
    None
}

/// Requires exactly one of the three, and a number that a metric can have.
fn check_bound(fields: [(&str, Field<f64>); 3], at: Place, problems: &mut Problems) -> Option<Bound> {
    let expected = "exactly one of `max`, `min` and `equals`";
    let is_wrong = fields.iter().any(|(_, field)| matches!(field, Field::Wrong));
    let given: Vec<_> = fields
        .into_iter()
        .filter_map(|(key, field)| match field {
            Field::Given(value) => Some((key, value)),
            Field::Absent | Field::Wrong => None,
        })
        .collect();
    match given.as_slice() {
        [(key, value)] if !is_wrong => {
            if !(0.0..=limits::BOUND_MAX).contains(&value.value) {
                let message = format!("`{key}` is {}", value.value);
                problems.push(Problem::new(value.at, message).expected("a number from 0 to 2^53"));
                return None;
            }
            Some(match *key {
                "max" => Bound::Max(value.value),
                "min" => Bound::Min(value.value),
                _ => Bound::Equals(value.value),
            })
        }
        [] if !is_wrong => {
            problems.push(Problem::new(at, "this expectation has no bound").expected(expected));
            None
        }
        [(first, _), (second, value), ..] => {
            let message = format!("this expectation has `{first}` and `{second}`");
            let help = "write a second [[expect]] with the same metric for the other bound";
            problems.push(Problem::new(value.at, message).expected(expected).help(help));
            None
        }
        _ => None,
    }
}

fn check_during(during: Field<String>, phases: Phases<'_>, problems: &mut Problems) -> Option<During> {
    let during = match during {
        Field::Absent => return Some(During::WholeRun),
        Field::Wrong => return None,
        Field::Given(during) => during,
    };
    let phases = phases?;
    let names: Vec<&str> = phases.iter().map(|(name, _, _)| name.as_str()).collect();
    match phases.iter().find(|(name, _, _)| *name == during.value) {
        Some((_, start, end)) if start < end => Some(During::Phase(during.value)),
        Some((name, start, _)) => {
            let message =
                format!("the phase `{name}` has no length: it starts and ends at {}", duration::format(*start));
            problems.push(Problem::new(during.at, message).expected("a phase with a length"));
            None
        }
        None => {
            let message = format!("there is no phase {}", quoted(&during.value));
            let near = closest_value(&during.value, names.iter().copied());
            let mut problem = Problem::new(during.at, message).expected(any_of(&names)).suggest(near);
            if during.value == "ramp" {
                problem = problem.help("there is a phase `ramp` only if `ramp` is longer than 0s");
            }
            problems.push(problem);
            None
        }
    }
}

/// Requires that at least one full window fits into the phase.
fn check_every(
    every: Field<Duration>,
    during: Option<&During>,
    phases: Phases<'_>,
    known: &CheckContext<'_>,
    problems: &mut Problems,
) -> Result<Option<Duration>, NotSound> {
    let every = match every {
        Field::Absent => return Ok(None),
        Field::Wrong => return Err(NotSound),
        Field::Given(every) => every,
    };
    let (held_over, length) = match during.ok_or(NotSound)? {
        During::WholeRun => ("the run".to_owned(), known.duration.ok_or(NotSound)?),
        During::Phase(name) => {
            let mut phases = phases.unwrap_or_default().iter();
            let (_, start, end) = phases.find(|(phase, _, _)| phase == name).ok_or(NotSound)?;
            (format!("the phase `{name}`"), end.saturating_sub(*start))
        }
    };
    if (limits::WINDOW_MIN..=length).contains(&every.value) {
        return Ok(Some(every.value));
    }
    let given = duration::format(every.value);
    let message = if every.value < limits::WINDOW_MIN {
        format!("`every` is too short: {given}")
    } else {
        format!("`every` is {given}, but {held_over} lasts {}", duration::format(length))
    };
    let expected = format!("{} to {}", duration::format(limits::WINDOW_MIN), duration::format(length));
    problems.push(Problem::new(every.at, message).expected(expected));
    Err(NotSound)
}

/// Allows `abort` only if a miss is certain before the end.
fn check_abort(
    abort: Option<At<bool>>,
    metric: Option<&Metric>,
    bound: Option<Bound>,
    every: Result<Option<Duration>, NotSound>,
    problems: &mut Problems,
) -> Option<bool> {
    let abort = abort?;
    let (metric, bound, every) = (metric?, bound?, every.ok()?);
    if !abort.value {
        return Some(false);
    }
    let is_known_early = every.is_some() || (bound.is_upper() && metric.only_rises());
    if metric.known() == Availability::AfterEnd {
        let message = format!("`{metric}` is known only after the end, so it cannot end the run");
        problems.push(Problem::new(abort.at, message).expected("no `abort`"));
        None
    } else if is_known_early {
        Some(true)
    } else {
        let message = format!("whether `{metric} {bound}` holds is known only at the end: it can still recover");
        let expected = "`abort` with `every`, or on a count with `max` or `equals = 0`";
        problems.push(Problem::new(abort.at, message).expected(expected));
        None
    }
}

fn place_of<T>(field: &Field<T>) -> Option<Place> {
    match field {
        Field::Given(given) => Some(given.at),
        Field::Absent | Field::Wrong => None,
    }
}
