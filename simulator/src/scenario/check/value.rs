//! Checks single values against their range, list or pattern; an invalid value is reported and becomes `None`.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::scenario::problem::{Problem, Problems, any_of, closest_value, quoted};
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;
use crate::{
    number::{counted, grouped},
    scenario::limits::NAME_CHARS_MAX,
};
use ks_protocol::duration;

/// The pattern of a name.
#[derive(Clone, Copy)]
pub(crate) struct Pattern {
    pub(crate) chars_max: usize,
    pub(crate) allows: fn(char) -> bool,
    pub(crate) described: &'static str,
}

pub(crate) const NAME: Pattern = Pattern {
    chars_max: NAME_CHARS_MAX,
    allows: |c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-',
    described: "1 to 64 of a-z, 0-9 and `-`",
};

/// Models, sites and versions.
pub(crate) const LABEL: Pattern = Pattern {
    chars_max: NAME_CHARS_MAX,
    allows: |c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'),
    described: "1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`",
};

pub(crate) const WORD: Pattern =
    Pattern { chars_max: 32, allows: |c| c.is_ascii_lowercase() || c == '_', described: "1 to 32 of a-z and `_`" };

/// The value, or the default if there is none; `at` is the place of a default.
pub(crate) fn or_default<T>(field: Field<T>, default: impl Into<T>, at: Place) -> Option<At<T>> {
    match field {
        Field::Given(given) => Some(given),
        Field::Absent => Some(At { at, value: default.into() }),
        Field::Wrong => None,
    }
}

/// The value; a missing one is reported at `at` for `owner`, with `example`.
pub(crate) fn required<T>(
    field: Field<T>,
    key: &str,
    (owner, at): (&str, Place),
    example: &str,
    problems: &mut Problems,
) -> Option<At<T>> {
    match field {
        Field::Given(given) => Some(given),
        Field::Wrong => None,
        Field::Absent => {
            problems.push(Problem::new(at, format!("{owner} has no `{key}`")).expected(format!("`{example}`")));
            None
        }
    }
}

/// A duration within its range.
pub(crate) fn duration_in(
    key: &str,
    value: Option<At<Duration>>,
    range: &RangeInclusive<Duration>,
    problems: &mut Problems,
) -> Option<At<Duration>> {
    let value = value?;
    let shown = [*range.start(), *range.end()].map(duration::format);
    let side = side(&value.value, range, "short", "long");
    let given = duration::format(value.value);
    in_range(key, value, side, &given, &shown.join(" to "), problems)
}

/// A whole number within its range.
pub(crate) fn integer_in<T: TryFrom<i64>>(
    key: &str,
    value: Option<At<i64>>,
    range: &RangeInclusive<i64>,
    problems: &mut Problems,
) -> Option<At<T>> {
    let value = value?;
    let shown = format!("{} to {}", grouped(*range.start()), grouped(*range.end()));
    let side = side(&value.value, range, "small", "large");
    let given = grouped(value.value);
    let value = in_range(key, value, side, &given, &shown, problems)?;
    T::try_from(value.value).ok().map(|typed| value.with(typed))
}

/// Which end of the range the value exceeds.
fn side<T: PartialOrd>(
    value: &T,
    range: &RangeInclusive<T>,
    below: &'static str,
    above: &'static str,
) -> Option<&'static str> {
    if value < range.start() {
        Some(below)
    } else if value > range.end() {
        Some(above)
    } else {
        None
    }
}

fn in_range<T>(
    key: &str,
    value: At<T>,
    side: Option<&str>,
    given: &str,
    range: &str,
    problems: &mut Problems,
) -> Option<At<T>> {
    let Some(side) = side else { return Some(value) };
    problems.push(Problem::new(value.at, format!("`{key}` is too {side}: {given}")).expected(range));
    None
}

/// One of a list of names.
pub(crate) fn one_of<T: Copy>(
    key: &str,
    value: Option<&At<String>>,
    choices: &[(&'static str, T)],
    problems: &mut Problems,
) -> Option<T> {
    let value = value?;
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == value.value) {
        return Some(*choice);
    }
    let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
    let message = format!("`{key}` is {}", quoted(&value.value));
    let near = closest_value(&value.value, names.iter().copied());
    problems.push(Problem::new(value.at, message).expected(any_of(&names)).suggest(near));
    None
}

/// A name that the scenario has; `missing` is the beginning of the error, up to the name.
pub(crate) fn named(given: &At<String>, missing: &str, names: &[String], problems: &mut Problems) -> Option<String> {
    if names.contains(&given.value) {
        return Some(given.value.clone());
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let near = closest_value(&given.value, names.iter().copied());
    let message = format!("{missing} {}", quoted(&given.value));
    let expected =
        if names.is_empty() { "a name that the scenario defines; it defines none".to_owned() } else { any_of(&names) };
    problems.push(Problem::new(given.at, message).expected(expected).suggest(near));
    None
}

/// A name that matches the pattern; a close one that matches is suggested.
pub(crate) fn text_like(
    key: &str,
    value: Option<At<String>>,
    pattern: Pattern,
    problems: &mut Problems,
) -> Option<At<String>> {
    let value = value?;
    let Some(wrong) = mismatch(&value.value, pattern.chars_max, pattern.allows) else { return Some(value) };
    let lower = value.value.trim().to_lowercase();
    let mended: String = lower.chars().map(|c| if (pattern.allows)(c) { c } else { '-' }).collect();
    let is_mended = lower.is_ascii() && mismatch(&mended, pattern.chars_max, pattern.allows).is_none();
    let near = is_mended.then(|| format!("\"{mended}\""));
    let message = format!("`{key}` {wrong}");
    problems.push(Problem::new(value.at, message).expected(pattern.described).suggest(near));
    None
}

/// Text of any kind, within its length.
pub(crate) fn text_within(
    key: &str,
    value: Option<At<String>>,
    chars: &RangeInclusive<usize>,
    problems: &mut Problems,
) -> Option<At<String>> {
    let value = value?;
    let count = value.value.chars().count();
    if chars.contains(&count) {
        return Some(value);
    }
    let wrong = if count == 0 { "is empty".to_owned() } else { format!("has {}", counted(count, "character")) };
    let expected = format!("{} to {} characters", chars.start(), chars.end());
    problems.push(Problem::new(value.at, format!("`{key}` {wrong}")).expected(expected));
    None
}

/// Why a text does not match: completes "`name` ...".
pub(crate) fn mismatch(text: &str, chars_max: usize, allows: impl Fn(char) -> bool) -> Option<String> {
    let count = text.chars().count();
    if count == 0 {
        return Some("is empty".to_owned());
    }
    if let Some(wrong) = text.chars().find(|c| !allows(*c)) {
        return Some(format!("has `{wrong}` in it"));
    }
    (count > chars_max).then(|| format!("has {}", counted(count, "character")))
}

/// Limits the number of tables of a kind.
pub(crate) fn at_most(count: usize, max: usize, title: &str, first_beyond: Option<Place>, problems: &mut Problems) {
    if let (true, Some(at)) = (count > max, first_beyond) {
        let message = format!("{} tables {title}", grouped(count));
        problems.push(Problem::new(at, message).expected(format!("at most {}", grouped(max))));
    }
}
