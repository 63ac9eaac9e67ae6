//! Reading settings one by one: the value given or its default, in range, or an error that says what was expected.

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use ks_protocol::{key::PrivateKey, number::canonical, text::counted};

use super::{LIMITS_FILE, LimitsDocument, SETTINGS, Secret, small_file::read_small};
use crate::{
    failure::StartError,
    limit::{LimitValue, LimitValues, Mode, Source, TABLE},
};

/// Reads settings one by one and collects all errors.
pub(super) struct SettingReader<V> {
    pub(super) var: V,
    pub(super) wrong: Vec<StartError>,
}

impl<V: Fn(&str) -> Option<String>> SettingReader<V> {
    /// The given value or the default; none if the setting is unset or unknown.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let default = SETTINGS.iter().find(|setting| setting.name == name).map(|setting| setting.default);
        let given = (self.var)(name).filter(|value| !value.trim().is_empty());
        given.or_else(|| default.map(str::to_owned)).filter(|value| !value.is_empty())
    }

    /// Refuses values with a replacement character: they were not UTF-8, and no setting accepts one.
    pub(super) fn refuse_invalid_utf8(&mut self) {
        for setting in SETTINGS {
            if let Some(given) = (self.var)(setting.name).filter(|given| given.contains('\u{fffd}')) {
                self.refuse(setting.name, &given);
            }
        }
    }

    pub(super) fn refuse(&mut self, name: &str, given: &str) {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) else { return };
        let shown: String = without_password(given).chars().take(80).collect();
        self.wrong.push(StartError::InvalidSetting {
            name: name.to_owned(),
            given: if setting.secret {
                format!("({}, not shown)", counted(given.chars().count(), "character"))
            } else {
                shown
            },
            expected: setting.expected.to_owned(),
            example: setting.example.to_owned(),
        });
    }

    pub(super) fn parsed<T: FromStr>(&mut self, name: &str, fallback: T) -> T {
        let given = self.text(name).unwrap_or_default();
        given.trim().parse().unwrap_or_else(|_| {
            self.refuse(name, &given);
            fallback
        })
    }

    pub(super) fn number<T: FromStr + ToString + PartialOrd + Copy>(
        &mut self,
        name: &str,
        range: RangeInclusive<T>,
    ) -> T {
        let given = self.text(name).unwrap_or_default();
        match canonical(given.trim()) {
            Some(value) if range.contains(&value) => value,
            _ => {
                self.refuse(name, &given);
                *range.start()
            }
        }
    }

    pub(super) fn duration_ms(&mut self, name: &str, range: RangeInclusive<u64>) -> Duration {
        Duration::from_millis(self.number(name, range))
    }

    /// One of a few words; `choices` must not be empty.
    pub(super) fn one_of<T: Copy>(&mut self, name: &str, choices: &[(&str, T)]) -> T {
        let given = self.text(name).unwrap_or_default().to_lowercase();
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == given) {
            return *value;
        }
        self.refuse(name, &given);
        #[expect(clippy::indexing_slicing, reason = "every caller gives a literal list that is not empty")]
        choices[0].1
    }

    /// The limits in the settings.
    pub(super) fn limits(&mut self) -> LimitValues {
        let mut values = LimitValues::default();
        for spec in TABLE {
            let default = LimitValue::default_of(spec);
            let rate = self.number(spec.rate.setting, spec.rate.min..=spec.rate.max);
            let burst = spec.burst.map_or(default.burst, |burst| self.number(burst.setting, burst.min..=burst.max));
            let mode = self.one_of(spec.mode_setting, &Mode::ALL.map(|mode| (mode.as_str(), mode)));
            let value = LimitValue { rate, burst, mode, source: Source::Settings };
            let is_default = value == LimitValue { source: Source::Settings, ..default };
            values.set(spec.limit, if is_default { default } else { value });
        }
        values
    }

    /// The limits file, for a server with these settings.
    pub(super) fn limits_file(
        &mut self,
        settings: &LimitValues,
        heartbeat_interval: Duration,
    ) -> Option<(PathBuf, LimitsDocument)> {
        let path = PathBuf::from(self.text(LIMITS_FILE)?);
        let text = match read_small(&path) {
            Ok(text) => text,
            Err(cause) => {
                self.wrong.push(StartError::File { what: "read", path, cause }.of(LIMITS_FILE));
                return None;
            }
        };
        match LimitsDocument::check(&text, settings, heartbeat_interval) {
            Ok(document) => Some((path, document)),
            Err(faults) => {
                self.wrong.extend(faults.into_iter().map(|fault| {
                    let place = format!("{}:{}", path.display(), fault.line);
                    StartError::refused(format!("{LIMITS_FILE}: {place}: {}", fault.what), fault.help)
                }));
                None
            }
        }
    }

    pub(super) fn private_key(&mut self, name: &str, pem: &str) -> Option<PrivateKey> {
        PrivateKey::from_pem(pem)
            .map_err(|error| self.wrong.push(StartError::InvalidKey { place: name.to_owned(), why: error.to_string() }))
            .ok()
    }

    /// A secret from its setting, or from the file that another setting names, without a line break at its end; it must satisfy
    /// `is_valid`.
    pub(super) fn secret(
        &mut self,
        one: &'static str,
        other: &'static str,
        is_valid: fn(&str) -> bool,
    ) -> Option<Secret> {
        let (given, file) = (self.text(one), self.text(other).map(PathBuf::from));
        if given.is_some() && file.is_some() {
            self.wrong.push(StartError::BothSet { one, other });
        }
        let Some(path) = file else {
            if let Some(given) = given.as_ref().filter(|given| !is_valid(given)) {
                self.refuse(one, given);
            }
            return given.map(|given| Secret::of(&given));
        };
        match read_small(&path) {
            Ok(text) if is_valid(text.trim()) => return Some(Secret::of(text.trim())),
            Ok(text) => {
                let why = format!("it has {}, not shown", counted(text.trim().chars().count(), "character"));
                self.refuse_file(one, other, &path, &why);
            }
            Err(cause) if cause.kind() == std::io::ErrorKind::InvalidData => {
                self.refuse_file(one, other, &path, &cause.to_string());
            }
            Err(cause) => self.wrong.push(StartError::File { what: "read", path, cause }.of(other)),
        }
        None
    }

    /// Reports that the file that `other` names is not what `one` expects.
    pub(super) fn refuse_file(&mut self, one: &str, other: &str, path: &Path, why: &str) {
        let Some(setting) = SETTINGS.iter().find(|setting| setting.name == one) else { return };
        let what = format!("{other} can't be `{}`: {why}", path.display());
        self.wrong.push(StartError::refused(what, format!("give a file with {}", setting.expected)));
    }
}

/// A value without the password that it may contain if it is a URL, valid or not: before the last `@`, or in the query.
pub(super) fn without_password(url: &str) -> String {
    let (login, place) = url.rsplit_once('@').map_or((None, url), |(login, place)| (Some(login), place));
    let place = place.split_once('?').map_or(place.to_owned(), |(place, _)| format!("{place}?(not shown)"));
    let Some(login) = login else { return place };
    let (scheme, login) = login.split_once("://").map_or(("", login), |(scheme, login)| (scheme, login));
    let separator = if scheme.is_empty() { "" } else { "://" };
    let login = login.split_once(':').map_or(login.to_owned(), |(user, _)| format!("{user}:(not shown)"));
    format!("{scheme}{separator}{login}@{place}")
}
