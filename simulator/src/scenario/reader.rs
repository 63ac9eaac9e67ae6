//! Typed values from parsed TOML: every wrong type and every unknown key is reported with its place.

use std::time::Duration;

use crate::number::grouped;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems, any_of, closest, closest_value, quoted};
use super::source::Place;
use ks_protocol::duration;

fn json(value: &DeValue<'_>) -> serde_json::Value {
    match value {
        DeValue::String(text) => text.to_string().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or_else(|_| number.as_str().to_owned().into(), Into::into),
        DeValue::Float(number) => number.as_str().parse::<f64>().map_or(serde_json::Value::Null, Into::into),
        DeValue::Boolean(ground_truth) => (*ground_truth).into(),
        DeValue::Datetime(date) => date.to_string().into(),
        DeValue::Array(values) => values.iter().map(|value| json(value.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()
        }
    }
}

/// A value and its place in the file.
#[derive(Debug, Clone)]
pub(crate) struct At<T> {
    pub(crate) at: Place,
    pub(crate) value: T,
}

impl<T> At<T> {
    /// The same place with another value.
    pub(crate) fn with<U>(&self, value: U) -> At<U> {
        At { at: self.at, value }
    }
}

/// What the file says under a key.
#[derive(Debug, Clone)]
pub(crate) enum Field<T> {
    Absent,
    /// A value of a wrong type, which is already reported.
    Wrong,
    Given(At<T>),
}

impl<T> Field<T> {
    fn from_option(value: Option<At<T>>) -> Self {
        value.map_or(Self::Wrong, Self::Given)
    }
}

/// A table's name in messages, and the keys it may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    /// As in the file: `[fleet]`.
    pub(crate) title: &'static str,
    pub(crate) keys: &'static [&'static str],
}

/// One table of the file.
pub(crate) struct Reader<'a> {
    /// Where the table is: its header, or its braces.
    pub(crate) at: Place,
    table: &'a DeTable<'a>,
    /// Keys that are present under a misspelled name, which is reported: they do not count as missing.
    misspelled: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    /// Takes a parsed table.
    pub(crate) fn new(at: Place, table: &'a DeTable<'a>) -> Self {
        Self { at, table, misspelled: Vec::new() }
    }

    /// The present keys, with their places.
    pub(crate) fn keys(&self) -> impl Iterator<Item = At<&'a str>> + use<'a> {
        self.table.keys().map(|key| At { at: Place::from_range(&key.span()), value: key.get_ref().as_ref() })
    }

    /// Reports every key that `section` does not have; `elsewhere` says where such a key belongs.
    pub(crate) fn refuse_unknown_keys(
        &mut self,
        section: Section,
        elsewhere: impl Fn(&str) -> Option<String>,
        problems: &mut Problems,
    ) {
        for key in self.keys().filter(|key| !section.keys.contains(&key.value)) {
            let message = format!("unknown key {} in {}", quoted(key.value), section.title);
            let near = closest(key.value, section.keys.iter().copied());
            self.misspelled.extend(near);
            let mut problem = Problem::new(key.at, message).suggest(near);
            problem = match (near, elsewhere(key.value)) {
                (None, Some(elsewhere)) => problem.help(elsewhere),
                _ => problem.help(format!("the keys of {} are {}", section.title, section.keys.join(", "))),
            };
            problems.push(problem);
        }
    }

    /// The whole table without one key, as JSON, for the server's own checks. Dates become strings.
    pub(crate) fn json_without(&self, left_out: &str) -> serde_json::Value {
        let entries = self.table.iter().filter(|(key, _)| key.get_ref().as_ref() != left_out);
        entries.map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()
    }

    pub(crate) fn text(&self, key: &str, problems: &mut Problems) -> Field<String> {
        self.read(key, "a string in quotes", problems, |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        })
    }

    /// Hours of the day, from and to. A number has no quotes that would be missing: it lacks the other hour.
    pub(crate) fn hours(&self, key: &str, problems: &mut Problems) -> Field<String> {
        self.read(key, "from and to in quotes, such as \"22-06\"", problems, |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            _ => None,
        })
    }

    /// A date and time as text, in quotes or as TOML's own type.
    pub(crate) fn date(&self, key: &str, problems: &mut Problems) -> Field<String> {
        self.read(key, "a date and time in UTC such as 2026-03-29T00:30:00Z", problems, |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Datetime(date) => Some(date.to_string()),
            _ => None,
        })
    }

    /// A whole number.
    pub(crate) fn integer(&self, key: &str, problems: &mut Problems) -> Field<i64> {
        let Some(value) = self.get(key) else { return self.absent(key) };
        let DeValue::Integer(number) = value.get_ref() else {
            return wrong_type(key, place(value), value.get_ref(), "a whole number", problems);
        };
        if let Ok(number) = i64::from_str_radix(number.as_str(), number.radix()) {
            return Field::Given(At { at: place(value), value: number });
        }
        let message = format!("`{key}` does not fit in a whole number of 64 bits");
        problems.push(Problem::new(place(value), message).expected(format!("at most {}", grouped(i64::MAX))));
        Field::Wrong
    }

    /// A number, whole or not.
    pub(crate) fn number(&self, key: &str, problems: &mut Problems) -> Field<f64> {
        self.read(key, "a number", problems, |value| match value {
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(|n| n as f64),
            DeValue::Float(number) => number.as_str().parse().ok(),
            _ => None,
        })
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&self, key: &str, problems: &mut Problems) -> Field<bool> {
        self.read(key, "`true` or `false`, without quotes", problems, |value| match value {
            DeValue::Boolean(ground_truth) => Some(*ground_truth),
            _ => None,
        })
    }

    /// A string that holds a duration, or one of `words`; a bare number is reported to need a unit.
    pub(crate) fn duration_or(
        &self,
        key: &str,
        words: &[&'static str],
        problems: &mut Problems,
    ) -> Field<Result<Duration, &'static str>> {
        let Some(value) = self.get(key) else { return self.absent(key) };
        let at = place(value);
        let expected = words.iter().fold("a duration such as \"30s\" or \"1h30m\"".to_owned(), |expected, word| {
            format!("{expected}, or \"{word}\"")
        });
        match value.get_ref() {
            DeValue::String(text) => {
                if let Some(word) = words.iter().find(|word| **word == text.as_ref()) {
                    return Field::Given(At { at, value: Err(*word) });
                }
                let error = match duration::parse(text) {
                    Ok(duration) => return Field::Given(At { at, value: Ok(duration) }),
                    Err(error) => error,
                };
                let word = closest_value(text, words.iter().copied());
                let problem = if word.is_some() {
                    Problem::new(at, format!("`{key}` is {}", quoted(text))).suggest(word)
                } else {
                    let near = error.suggestion().map(|near| format!("\"{near}\""));
                    let units = "the units are ms, s, m, h and d; combined from large to small, without spaces: 1h30m";
                    Problem::new(at, format!("`{key}` {error}")).suggest(near).help(units)
                };
                problems.push(problem.expected(expected));
                Field::Wrong
            }
            DeValue::Integer(number) => {
                let near = format!("\"{}s\"", number.as_str());
                let message = format!("`{key}` is a number without a unit");
                problems.push(Problem::new(at, message).expected(expected).suggest(Some(near)));
                Field::Wrong
            }
            other => wrong_type(key, at, other, &expected, problems),
        }
    }

    /// A string that holds a duration.
    pub(crate) fn duration(&self, key: &str, problems: &mut Problems) -> Field<Duration> {
        match self.duration_or(key, &[], problems) {
            Field::Given(At { at, value: Ok(duration) }) => Field::Given(At { at, value: duration }),
            Field::Absent => Field::Absent,
            Field::Given(_) | Field::Wrong => Field::Wrong,
        }
    }

    /// A string, a whole number or a truth value, as text.
    pub(crate) fn scalar(&self, key: &str, problems: &mut Problems) -> Field<String> {
        self.read(key, "a string, a whole number of 64 bits, `true` or `false`", problems, |value| match value {
            DeValue::String(text) => Some(text.to_string()),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number.to_string())
            }
            DeValue::Boolean(ground_truth) => Some(ground_truth.to_string()),
            _ => None,
        })
    }

    /// A string or a whole number.
    pub(crate) fn text_or_integer(&self, key: &str, problems: &mut Problems) -> Field<Result<i64, String>> {
        match self.get(key).map(Spanned::get_ref) {
            Some(DeValue::Integer(_)) => match self.integer(key, problems) {
                Field::Given(number) => Field::Given(number.with(Ok(number.value))),
                Field::Absent => Field::Absent,
                Field::Wrong => Field::Wrong,
            },
            _ => self.read(key, "a string or a whole number", problems, |value| match value {
                DeValue::String(text) => Some(Err(text.to_string())),
                _ => None,
            }),
        }
    }

    pub(crate) fn table(&self, key: &'static str, title: &str, problems: &mut Problems) -> Field<Reader<'a>> {
        let Some(value) = self.get(key) else { return self.absent(key) };
        match value.get_ref() {
            DeValue::Table(table) => Field::Given(At { at: place(value), value: Reader::new(place(value), table) }),
            other => {
                let message = format!("{} is {}", any_of(&[key]), described(other));
                problems.push(Problem::new(place(value), message).expected(format!("one table, {title}")));
                Field::Wrong
            }
        }
    }

    /// A list of tables, each `[[key]]`; empty if there are none. None if it is something else.
    pub(crate) fn tables(&self, key: &'static str, title: &str, problems: &mut Problems) -> Option<Vec<Reader<'a>>> {
        let Some(value) = self.get(key) else {
            let is_misspelled = self.misspelled.contains(&key);
            return (!is_misspelled).then(Vec::new);
        };
        let expected = format!("a list of tables, each with the header {title}");
        let DeValue::Array(items) = value.get_ref() else {
            let message = format!("`{key}` is {}", described(value.get_ref()));
            problems.push(Problem::new(place(value), message).expected(expected));
            return None;
        };
        let mut readers = Vec::new();
        let mut all_are_tables = true;
        for item in items {
            if let DeValue::Table(table) = item.get_ref() {
                readers.push(Reader::new(place(item), table));
            } else {
                let message = format!("`{key}` holds {}", described(item.get_ref()));
                problems.push(Problem::new(place(item), message).expected(expected.clone()));
                all_are_tables = false;
            }
        }
        all_are_tables.then_some(readers)
    }

    fn absent<T>(&self, key: &str) -> Field<T> {
        if self.misspelled.contains(&key) { Field::Wrong } else { Field::Absent }
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.table.get(key)
    }

    fn read<T>(
        &self,
        key: &str,
        expected: &str,
        problems: &mut Problems,
        as_type: impl Fn(&DeValue<'_>) -> Option<T>,
    ) -> Field<T> {
        let Some(value) = self.get(key) else { return self.absent(key) };
        match as_type(value.get_ref()) {
            Some(typed) => Field::Given(At { at: place(value), value: typed }),
            None => wrong_type(key, place(value), value.get_ref(), expected, problems),
        }
    }
}

/// Reports a value of a wrong type, with the right spelling if only the quotes are wrong.
fn wrong_type<T>(key: &str, at: Place, value: &DeValue<'_>, expected: &str, problems: &mut Problems) -> Field<T> {
    let near = match value {
        DeValue::String(text) if expected.contains("number") => text.parse::<i64>().ok().map(|n| n.to_string()),
        DeValue::String(text) if expected.contains("`true`") => text.parse::<bool>().ok().map(|b| b.to_string()),
        DeValue::Integer(number) if expected.starts_with("a string in") => Some(format!("\"{number}\"")),
        DeValue::Float(number) if expected.starts_with("a string in") => Some(format!("\"{number}\"")),
        _ => None,
    };
    let message = format!("{} is {}", quoted(key), described(value));
    problems.push(Problem::new(at, message).expected(expected).suggest(near));
    Field::from_option(None)
}

fn place(value: &Spanned<DeValue<'_>>) -> Place {
    Place::from_range(&value.span())
}

/// The kind of a value, for a sentence.
fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "a truth value",
        DeValue::Datetime(_) => "a date or a time",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
