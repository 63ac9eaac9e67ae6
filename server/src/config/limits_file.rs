//! A limits file: some of the limits in TOML, read whole or not at all, each fault with its line and what to do.
//!
//! ```toml
//! [device_requests]
//! per_min = 60
//! mode = "shadow"
//! ```
//!
//! A file that names no limit is refused, because it is more likely cut off than meant: `settings_only = true` says so.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::conflicts::{OneAboveAll, one_above_all, too_few_requests};
use crate::limit::{Limit, LimitValue, LimitValues, Mode, Number, Source, Spec, TABLE};

/// The setting that names a limits file.
pub const LIMITS_FILE: &str = "RATE_LIMITS_FILE";

/// What a limits file gives for one limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct LimitEntry {
    rate: Option<u32>,
    burst: Option<u32>,
    mode: Option<Mode>,
}

/// What a file says that is to leave all limits to the settings.
const SETTINGS_ONLY: &str = "settings_only";

/// The limits that a file gives; the others keep the values of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LimitsDocument(Vec<(Limit, LimitEntry)>);

/// What is wrong with a limits file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitsFault {
    /// From 1.
    pub line: usize,
    /// The limit and the field, as far as they are known: `device_requests.per_min`.
    pub field: String,
    pub what: String,
    pub help: String,
}

impl Display for LimitsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}; {}", self.line, self.what, self.help)
    }
}

impl LimitsDocument {
    /// Reads a limits file, for a server with these settings. One that ends within a number is refused, wherever it comes from: it was
    /// perhaps cut off.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the lines.
    pub fn check(text: &str, settings: &LimitValues, heartbeat_interval: Duration) -> Result<Self, Vec<LimitsFault>> {
        let mut reading = Reading::of(text);
        let document = reading.document();
        if reading.faults.is_empty() {
            reading.says_nothing(&document);
        }
        if reading.faults.is_empty() {
            reading.contradictions(&document.over(settings), heartbeat_interval);
        }
        if reading.faults.is_empty() {
            reading.faults.extend(ends_within_a_number(text));
        }
        reading.faults.sort_by_key(|fault| fault.line);
        if reading.faults.is_empty() { Ok(document) } else { Err(reading.faults) }
    }

    /// Reads a limits file, for whatever server: that it contradicts settings is not looked for.
    ///
    /// # Errors
    /// Everything that is wrong with it, in the order of the lines.
    pub fn of_file(text: &str) -> Result<Self, Vec<LimitsFault>> {
        let mut reading = Reading::of(text);
        let document = reading.document();
        if reading.faults.is_empty() {
            reading.says_nothing(&document);
            reading.faults.extend(ends_within_a_number(text));
        }
        if reading.faults.is_empty() { Ok(document) } else { Err(reading.faults) }
    }

    /// Reads a document that was checked before.
    ///
    /// # Errors
    /// It names limits, or has numbers, that this program does not know.
    pub fn read(text: &str) -> Result<Self, Vec<LimitsFault>> {
        let mut reading = Reading::of(text);
        let document = reading.document();
        if reading.faults.is_empty() { Ok(document) } else { Err(reading.faults) }
    }

    /// The values of all limits: those of the document, over these.
    pub fn over(&self, settings: &LimitValues) -> LimitValues {
        let mut values = settings.clone();
        for (limit, given) in &self.0 {
            let old = settings.get(*limit);
            let (rate, burst) = (given.rate.unwrap_or(old.rate), given.burst.unwrap_or(old.burst));
            let mode = given.mode.unwrap_or(old.mode);
            values.set(*limit, LimitValue { rate, burst, mode, source: Source::Applied });
        }
        values
    }

    /// The document as text, the same for the same limits.
    pub fn to_toml(&self) -> String {
        if self.0.is_empty() {
            return format!("{SETTINGS_ONLY} = true\n");
        }
        let mut text = String::new();
        for (limit, given) in &self.0 {
            text += &format!("[{}]\n", limit.spec().name);
            for (field, value) in fields(*limit, *given) {
                text += &format!("{field} = {value}\n");
            }
        }
        text
    }

    /// The settings that would give the same limits, by name.
    pub fn as_settings(&self) -> Vec<(&'static str, String)> {
        let of = |(limit, given): &(Limit, LimitEntry)| {
            let spec = limit.spec();
            let rate = given.rate.map(|rate| (spec.rate.setting, rate.to_string()));
            let burst = spec.burst.as_ref().zip(given.burst).map(|(burst, value)| (burst.setting, value.to_string()));
            let mode = given.mode.map(|mode| (spec.mode_setting, mode.as_str().to_owned()));
            [rate, burst, mode].into_iter().flatten()
        };
        self.0.iter().flat_map(of).collect()
    }

    /// What differs in `new`, for the audit and for operators: `device_requests.per_min: unset -> 60`; empty if nothing does.
    pub fn difference(&self, new: &Self) -> String {
        let mut changes = Vec::new();
        for spec in TABLE {
            let [old, new] = [self, new].map(|document| fields(spec.limit, document.given(spec.limit)));
            let names = spec.numbers().map(|number| number.field).chain(["mode"]);
            for name in names {
                let value = |fields: &[(&str, String)]| {
                    fields
                        .iter()
                        .find(|(field, _)| *field == name)
                        .map_or("unset".to_owned(), |(_, value)| value.clone())
                };
                let (old, new) = (value(&old), value(&new));
                if old != new {
                    changes.push(format!("{}.{name}: {old} -> {new}", spec.name).replace('"', ""));
                }
            }
        }
        changes.join("; ")
    }

    fn given(&self, limit: Limit) -> LimitEntry {
        self.0.iter().find(|(known, _)| *known == limit).map(|(_, given)| *given).unwrap_or_default()
    }
}

/// The fields that are given, as TOML.
fn fields(limit: Limit, given: LimitEntry) -> Vec<(&'static str, String)> {
    let spec = limit.spec();
    let number = |number: Option<&Number>, value: Option<u32>| Some((number?.field, value?.to_string()));
    let mode = given.mode.map(|mode| ("mode", format!("\"{}\"", mode.as_str())));
    [number(Some(&spec.rate), given.rate), number(spec.burst.as_ref(), given.burst), mode]
        .into_iter()
        .flatten()
        .collect()
}

/// A file that is being read.
struct Reading<'t> {
    text: &'t str,
    faults: Vec<LimitsFault>,
    /// The lines of limits and of their fields.
    lines: Vec<(Limit, &'static str, usize)>,
    /// It says that it leaves all limits to the settings.
    is_settings_only: bool,
}

impl<'t> Reading<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, faults: Vec::new(), lines: Vec::new(), is_settings_only: false }
    }

    fn line(&self, at: usize) -> usize {
        1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count()
    }

    fn fault(&mut self, at: usize, field: impl Into<String>, what: impl Into<String>, help: impl Into<String>) {
        let line = self.line(at);
        self.faults.push(LimitsFault { line, field: field.into(), what: what.into(), help: help.into() });
    }

    fn document(&mut self) -> LimitsDocument {
        let (file, errors) = DeTable::parse_recoverable(self.text);
        for error in errors {
            let at = error.span().map_or(0, |span| span.start);
            self.fault(at, "", format!("it is not TOML: {}", error.message()), "correct the line");
        }
        let mut given = Vec::new();
        if self.faults.is_empty() {
            for (name, value) in file.get_ref() {
                if name.get_ref() == SETTINGS_ONLY {
                    self.settings_only(value, file.get_ref().len() > 1);
                    continue;
                }
                let Some(spec) = self.spec(name.get_ref(), name.span().start) else { continue };
                self.lines.push((spec.limit, "", self.line(name.span().start)));
                given.push((spec.limit, self.limit(spec, value)));
            }
        }
        given.sort_by_key(|(limit, _)| *limit);
        LimitsDocument(given)
    }

    /// The file is to leave all limits to the settings, and so names none.
    fn settings_only(&mut self, value: &Spanned<DeValue<'_>>, has_others: bool) {
        let at = value.span().start;
        self.is_settings_only = true;
        if value.get_ref().as_bool() != Some(true) {
            let what = format!("`{SETTINGS_ONLY}` is not `true`");
            self.fault(at, SETTINGS_ONLY, what, "leave the line out, and name the limits that are to change");
        } else if has_others {
            let what = format!("`{SETTINGS_ONLY}` leaves all limits to the settings, but the file names some");
            self.fault(at, SETTINGS_ONLY, what, "leave out this line, or the limits");
        }
    }

    /// A file, or a limit in it, that changes nothing was hardly written for that.
    fn says_nothing(&mut self, document: &LimitsDocument) {
        if document.0.is_empty() && !self.is_settings_only {
            let help = format!("to leave all limits to the settings, write {SETTINGS_ONLY} = true");
            self.fault(0, "", "the file names no limit: it is empty, or was cut off", help);
        }
        for (limit, given) in &document.0 {
            let line = self.lines.iter().find(|(known, field, _)| known == limit && field.is_empty());
            if let Some((_, _, line)) = line.filter(|_| *given == LimitEntry::default()) {
                let (name, rate) = (limit.spec().name, &limit.spec().rate);
                let (what, field) = (format!("[{name}] changes nothing, or was cut off"), name.to_owned());
                let help = format!("write {} = {}, the default, below it, or leave it out", rate.field, rate.default);
                self.faults.push(LimitsFault { line: *line, field, what, help });
            }
        }
    }

    fn spec(&mut self, name: &str, at: usize) -> Option<&'static Spec> {
        let found = TABLE.iter().find(|spec| spec.name == name);
        if found.is_none() {
            let nearest = nearest(name, TABLE.iter().map(|spec| spec.name).chain([SETTINGS_ONLY]));
            self.fault(at, name, format!("there is no limit `{name}`"), format!("did you mean `{nearest}`?"));
        }
        found
    }

    fn limit(&mut self, spec: &Spec, value: &Spanned<DeValue<'_>>) -> LimitEntry {
        let Some(table) = value.get_ref().as_table() else {
            let help = format!("write [{}] and below it {} = {}", spec.name, spec.rate.field, spec.rate.default);
            self.fault(value.span().start, spec.name, format!("`{}` is not a table", spec.name), help);
            return LimitEntry::default();
        };
        let mut given = LimitEntry::default();
        for (name, value) in table {
            let (field, at) = (name.get_ref().as_ref(), name.span().start);
            let number = spec.numbers().find(|number| number.field == field);
            match number {
                Some(number) => {
                    self.lines.push((spec.limit, number.field, self.line(at)));
                    let read = self.number(spec, number, value);
                    *(if number.field == "burst" { &mut given.burst } else { &mut given.rate }) = read;
                }
                None if field == "mode" => given.mode = self.mode(spec, value),
                None => {
                    let fields = spec.numbers().map(|number| number.field).chain(["mode"]);
                    let help = format!("did you mean `{}`?", nearest(field, fields));
                    self.fault(at, format!("{}.{field}", spec.name), format!("`{}` has no `{field}`", spec.name), help);
                }
            }
        }
        given
    }

    fn number(&mut self, spec: &Spec, number: &Number, value: &Spanned<DeValue<'_>>) -> Option<u32> {
        let whole = value.get_ref().as_integer().map(|whole| i128::from_str_radix(whole.as_str(), whole.radix()));
        let in_range = |whole: &u32| (number.min..=number.max).contains(whole);
        let read = whole.clone().and_then(|whole| u32::try_from(whole.ok()?).ok()).filter(in_range);
        if read.is_none() {
            let shown = self.text.get(value.span()).unwrap_or_default();
            let shown: String = shown.chars().take(40).collect();
            let help = match whole {
                Some(Ok(whole)) if whole < i128::from(number.min) => {
                    format!("set at least {} = {}; for no limit at all, mode = \"off\"", number.field, number.min)
                }
                Some(_) => format!("set at most {} = {}", number.field, number.max),
                None => format!("set {} = {}, the default", number.field, number.default),
            };
            let what = format!("{}.{} is `{shown}`, expected {}", spec.name, number.field, number.expected);
            self.fault(value.span().start, format!("{}.{}", spec.name, number.field), what, help);
        }
        read
    }

    fn mode(&mut self, spec: &Spec, value: &Spanned<DeValue<'_>>) -> Option<Mode> {
        let read = value.get_ref().as_str().and_then(Mode::from_word);
        if read.is_none() {
            let shown: String = self.text.get(value.span()).unwrap_or_default().chars().take(40).collect();
            let what = format!("{}.mode is {shown}, expected \"enforce\", \"shadow\" or \"off\"", spec.name);
            self.fault(value.span().start, format!("{}.mode", spec.name), what, "set mode = \"shadow\" to count first");
        }
        read
    }

    /// Limits that contradict each other, or what the server demands of devices. Only those that the file names.
    fn contradictions(&mut self, values: &LimitValues, heartbeat_interval: Duration) {
        let place = |lines: &[(Limit, &str, usize)], limit: Limit, field: &str| {
            let of = |wanted: &str| lines.iter().find(|(known, name, _)| *known == limit && *name == wanted);
            of(field).or_else(|| of("")).map(|(_, _, line)| *line)
        };
        if let Some(line) = place(&self.lines, Limit::DeviceRequests, "per_min")
            && let Some((what, needed)) = too_few_requests(values.get(Limit::DeviceRequests), heartbeat_interval)
        {
            let help = format!("set per_min = {needed} or more, or a longer HEARTBEAT_INTERVAL_MS");
            self.faults.push(LimitsFault { line, field: "device_requests.per_min".to_owned(), what, help });
        }
        for contradiction in one_above_all(values) {
            let what = contradiction.to_string();
            let OneAboveAll { one, all, field, one_may, all_may } = contradiction;
            let line = place(&self.lines, one.limit, field).max(place(&self.lines, all.limit, field));
            let Some(line) = line else { continue };
            let help =
                format!("set {}.{field} to {one_may} or more, or {}.{field} to {all_may} or less", all.name, one.name);
            self.faults.push(LimitsFault { line, field: format!("{}.{field}", one.name), what, help });
        }
    }
}

/// The fault of a file whose last line is a number and does not end: `per_min = 6` may have been `per_min = 60`.
fn ends_within_a_number(text: &str) -> Option<LimitsFault> {
    let last = text.lines().last().filter(|_| !text.ends_with('\n'))?;
    let (field, value) = last.split_once('=')?;
    let is_number = value.trim_start().starts_with(|sign: char| sign.is_ascii_digit() || matches!(sign, '+' | '-'));
    (is_number && !last.contains('#')).then(|| LimitsFault {
        line: text.lines().count(),
        field: field.trim().to_owned(),
        what: format!("the file ends within `{}`, and may have been cut off", last.trim()),
        help: "end the line".to_owned(),
    })
}

/// The name that differs in the fewest letters.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> &'n str {
    known.min_by_key(|known| strsim::damerau_levenshtein(name, known)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
