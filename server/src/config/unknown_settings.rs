//! Environment variables that look meant for this program but are not settings: `OTRT_REQUIERED=true` must not be ignored
//! silently.

use std::collections::BTreeSet;

use ks_protocol::text::counted;

use super::SETTINGS;
use crate::failure::StartError;

/// First words of settings that other programs use too: a name with such a word may be theirs.
const SHARED_WORDS: [&str; 14] = [
    "ADMIN",
    "COMMIT",
    "CONNECTIONS",
    "DATABASE",
    "FIRMWARE",
    "HEARTBEAT",
    "IDLE",
    "LOG",
    "REQUEST",
    "S3",
    "SENTRY",
    "SERVER",
    "SHUTDOWN",
    "TRUSTED",
];
/// Variables of others: of GitLab's runner, whose jobs may run this program, and of the TLS library that error reports and images use.
const OTHERS: [&str; 4] = ["ARTIFACT_COMPRESSION_LEVEL", "ARTIFACT_DOWNLOAD_ATTEMPTS", "SSL_CERT_DIR", "SSL_CERT_FILE"];
/// Prefixes that no other program uses: a name with one of them is meant for this program.
const ONLY_OURS: [&str; 14] = [
    "ARTIFACT_SCRUB_",
    "KEYS_STRANDED_",
    "OTRT_",
    "RATE_LIMIT_ADDRESS_",
    "RATE_LIMIT_DEVICE_",
    "RATE_LIMIT_EXPENSIVE_",
    "RATE_LIMIT_LOGIN_",
    "RATE_LIMIT_NEW_DEVICE_",
    "RATE_LIMIT_REGISTRATIONS_",
    "RATE_LIMIT_SITE_",
    "RATE_LIMIT_TOKEN_CALLS_",
    "RATE_LIMIT_USER_",
    "STORE_LOCKING_",
    "STORE_SYNCHRONOUS_",
];
/// Last words of settings that users leave out.
const UNITS: [&str; 5] = ["_MS", "_DAYS", "_BYTES", "_BP", "_MAX"];
/// Last words that users write instead of those of our settings.
const LAST_WORDS: [(&str, &str); 7] = [
    ("_PATH", "_FILE"),
    ("_FILENAME", "_FILE"),
    ("_PEM", "_FILE"),
    ("_FILE_PATH", "_FILE"),
    ("_PATH", "_DIR"),
    ("_FOLDER", "_DIR"),
    ("_DIRECTORY", "_DIR"),
];
/// Letters after the first word from which a name is rather a truncated setting than another program's.
const CUT_LETTERS_MIN: usize = 3;
/// Most names in one warning.
const LISTED_MAX: usize = 8;
/// Prefixes that users put before a setting's name; this program has no `SERVER_PORT`.
const PROGRAM_WORDS: [&str; 3] = ["KS_SERVER_", "KS_", "SERVER_"];
/// Shortest setting for which a name one letter away counts as a typo. Too many words are near a shorter one, so for it only clear
/// typos count.
const NEAR_NAME_MIN: usize = 6;

/// Unknown names in the environment.
#[derive(Debug, Default)]
pub struct UnknownSettings {
    /// Names that can only be meant for this program.
    pub refused: Vec<StartError>,
    /// Names that may be another program's, as sentences.
    pub warnings: Vec<String>,
}

/// Checks the names of environment variables. A name is refused if it is plausibly a typo of one of ours and not likely another
/// program's; one that only starts like a setting is a warning, because other programs may share the environment.
pub fn unknown_settings<'n>(names: impl IntoIterator<Item = &'n str>) -> UnknownSettings {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let mut found = UnknownSettings::default();
    let mut unlike = Vec::new();
    for name in &names {
        let plain = name.to_ascii_uppercase();
        if is_setting(name) || OTHERS.contains(name) || is_of_a_service(name, &names) {
            continue;
        }
        let word = prefix_of(&plain);
        let intended = typo_of_a_short_one(&plain, &names).or_else(|| of_the_program(&plain));
        if let Some(setting) = intended {
            found.warnings.push(warning(name, setting));
        } else if let Some(nearest) = typo(&plain, word) {
            found.refused.push(StartError::UnknownSetting { name: (*name).to_owned(), nearest });
        } else if let Some(setting) = similar(&plain, word) {
            found.warnings.push(warning(name, setting));
        } else if word.is_some() {
            unlike.push(*name);
        }
    }
    found.warnings.extend(same_first_word(&unlike));
    found
}

fn warning(name: &str, setting: &str) -> String {
    format!("{name} is ignored: this program has no such setting, but it has {setting}")
}

/// One warning for all names that start like a setting but resemble none.
fn same_first_word(names: &[&str]) -> Option<String> {
    let more = names.len().saturating_sub(LISTED_MAX);
    let listed = names.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    match (names.len(), more) {
        (0, _) => None,
        (1, _) => Some(format!("{listed} is ignored: it starts like a setting of this program, but is not one")),
        (_, 0) => Some(format!("{listed} are ignored: they start like settings of this program, but are not")),
        _ => Some(format!(
            "{listed} and {} are ignored: they start like settings of this program, but are not",
            counted(more, "other")
        )),
    }
}

/// The setting that a name is plausibly a typo of, among names that other programs do not have, or have without the unit that ours
/// end with.
fn typo(name: &str, word: Option<&str>) -> Option<&'static str> {
    if let Some(start) = ONLY_OURS.iter().find(|start| name.starts_with(**start)) {
        return truncated(name).or_else(|| Some(nearest(name, start)?.0));
    }
    let is_shared = SHARED_WORDS.contains(&word?);
    let is_without_unit = |setting: &&str| setting.strip_prefix(name).is_some_and(|rest| UNITS.contains(&rest));
    if let Some(setting) = truncated(name).filter(|setting| !is_shared || is_without_unit(setting)) {
        return Some(setting);
    }
    let (setting, distance) = nearest(name, "").filter(|_| !is_shared)?;
    (distance <= (setting.len() / 12).max(1)).then_some(setting)
}

/// The short setting, `HOST` or `PORT`, of which a name is a typo: a repeated letter (`HOSTT`), two swapped letters (`PROT`),
/// or a plural (`PORTS`) while the setting itself is not given. Any other difference makes it another word: `POST`, `HOSTNAME`.
fn typo_of_a_short_one(name: &str, names: &BTreeSet<&str>) -> Option<&'static str> {
    let short = SETTINGS.iter().map(|setting| setting.name).filter(|setting| setting.len() < NEAR_NAME_MIN);
    short.into_iter().find(|setting| {
        let letters = setting.as_bytes();
        let is_repeated = (0..letters.len()).any(|at| {
            let (before, after) = setting.split_at(at + 1);
            name.strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                .is_some_and(|more| before.ends_with(more) && more.len() == 1)
        });
        let is_swapped = (1..letters.len()).any(|at| {
            let mut swapped = letters.to_vec();
            swapped.swap(at - 1, at);
            swapped == name.as_bytes() && swapped != letters
        });
        let is_plural = name.strip_suffix('S') == Some(*setting) && !names.contains(setting);
        is_repeated || is_swapped || is_plural
    })
}

fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name)
}

/// Whether Kubernetes or Docker set it for a service of any name: `X_SERVICE_HOST`, `X_SERVICE_PORT`, `X_SERVICE_PORT_HTTPS`,
/// `X_PORT_80_TCP`, `X_PORT_80_TCP_ADDR`; and `X_PORT`, `X_NAME` and `X_ENV_...`, which others write too, if one of these is set
/// as well.
fn is_of_a_service(name: &str, names: &BTreeSet<&str>) -> bool {
    let of_a_port = |service: &str, name: &str| {
        let rest = name.strip_prefix(service).and_then(|rest| rest.strip_prefix("_PORT_"));
        let mut words = rest.unwrap_or_default().split('_');
        let is_number = words.next().is_some_and(|port| port.parse::<u16>().is_ok());
        is_number
            && matches!(words.next(), Some("TCP" | "UDP" | "SCTP"))
            && matches!((words.next(), words.next()), (None, _) | (Some("ADDR" | "PORT" | "PROTO"), None))
    };
    let of_a_link = || name.strip_suffix("_NAME").or_else(|| name.split_once("_ENV_").map(|(service, _)| service));
    if let Some(service) = name.strip_suffix("_PORT").or_else(of_a_link) {
        let host = format!("{service}_SERVICE_HOST");
        if names.iter().any(|other| *other == host || of_a_port(service, other)) {
            return true;
        }
    }
    let is_of_a_service = name.split_once("_SERVICE_").is_some_and(|(_, rest)| {
        rest == "HOST" || rest == "PORT" || rest.strip_prefix("PORT_").is_some_and(|port| !port.is_empty())
    });
    is_of_a_service || name.match_indices("_PORT_").any(|(at, _)| of_a_port(name.get(..at).unwrap_or_default(), name))
}

/// The setting of a name that has the program's name before it, such as `SERVER_PORT`.
fn of_the_program(name: &str) -> Option<&'static str> {
    let bare = PROGRAM_WORDS.iter().find_map(|word| name.strip_prefix(word))?;
    SETTINGS.iter().map(|setting| setting.name).find(|setting| *setting == bare)
}

/// The first word of a name, if it is also the first word of a longer setting.
fn prefix_of(name: &str) -> Option<&'static str> {
    let word = |name: &'static str| name.split_once('_').map(|(word, _)| word);
    let mut words = SETTINGS.iter().filter_map(|setting| word(setting.name));
    words.find(|word| name.strip_prefix(word).is_some_and(|rest| rest.starts_with('_')))
}

/// The setting that a name is a truncation of, also in the middle of a word: `STORE_SYNC`, `IDLE_TIMEOUT`. None if it is one of several
/// that are not prefixes of each other: `RATE_LIMIT` is meant for another program.
fn truncated(name: &str) -> Option<&'static str> {
    name.split_once('_').filter(|(_, rest)| rest.len() >= CUT_LETTERS_MIN)?;
    let longer = || SETTINGS.iter().map(|setting| setting.name).filter(|setting| setting.starts_with(name));
    let shortest = longer().min_by_key(|setting| setting.len())?;
    longer().all(|setting| setting.starts_with(shortest)).then_some(shortest)
}

/// The setting that a name resembles, though other programs may have it: a few letters away, one of its prefixes or suffixes
/// (`S3_BUCKET` of `ARTIFACTS_S3_BUCKET`), or a longer name.
fn similar(name: &str, word: Option<&str>) -> Option<&'static str> {
    let with_our_last_word = || {
        LAST_WORDS.iter().find_map(|(written, ours)| {
            let meant = format!("{}{ours}", name.strip_suffix(written)?);
            SETTINGS.iter().map(|setting| setting.name).find(|setting| *setting == meant)
        })
    };
    if let Some(setting) = with_our_last_word() {
        return Some(setting);
    }
    let near = nearest(name, "").filter(|(setting, distance)| is_near(setting, *distance)).map(|(setting, _)| setting);
    near.or_else(|| {
        word?;
        let of =
            |fits: &dyn Fn(&str) -> bool| SETTINGS.iter().map(|setting| setting.name).find(|setting| fits(setting));
        let is_longer = |setting: &str| name.strip_prefix(setting).is_some_and(|rest| rest.starts_with('_'));
        let ends_so = |setting: &str| setting.strip_suffix(name).is_some_and(|start| start.ends_with('_'));
        truncated(name).or_else(|| of(&ends_so)).or_else(|| of(&is_longer))
    })
}

/// The setting with the nearest name among those with this prefix, and how many letters differ.
fn nearest(name: &str, start: &str) -> Option<(&'static str, usize)> {
    let candidates = SETTINGS.iter().map(|setting| setting.name).filter(|setting| setting.starts_with(start));
    candidates
        .map(|setting| (setting, strsim::damerau_levenshtein(name, setting)))
        .min_by_key(|(_, distance)| *distance)
}

/// Whether so few letters differ that it is rather a typo than another name.
fn is_near(setting: &str, distance: usize) -> bool {
    distance == 0 || setting.len() >= NEAR_NAME_MIN && distance <= setting.len().div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &[&str]) -> Vec<String> {
        unknown_settings(names.iter().copied())
            .refused
            .iter()
            .map(|error| format!("{error}; {}", error.help()))
            .collect()
    }

    #[test]
    fn another_word_for_a_file_or_a_folder_is_recognized() {
        for (written, ours) in [
            ("SERVER_PRIVATE_KEY_PATH", "SERVER_PRIVATE_KEY_FILE"),
            ("SERVER_PRIVATE_KEY_PEM", "SERVER_PRIVATE_KEY_FILE"),
            ("FIRMWARE_PRIVATE_KEY_PATH", "FIRMWARE_PRIVATE_KEY_FILE"),
            ("SERVER_KEYS_PATH", "SERVER_KEYS_DIR"),
            ("SERVER_KEYS_FOLDER", "SERVER_KEYS_DIR"),
        ] {
            let warnings = unknown_settings([written]).warnings;
            assert!(warnings.len() == 1 && warnings[0].ends_with(&format!("but it has {ours}")), "{warnings:?}");
        }
    }

    #[test]
    fn a_name_that_only_we_use_is_refused_with_the_nearest_setting() {
        for (wrong, right) in [
            ("OTRT_REQUIERED", "OTRT_REQUIRED"),
            ("otrt_required", "OTRT_REQUIRED"),
            ("RATE_LIMIT_DEVICE_PER_MINUTE", "RATE_LIMIT_DEVICE_PER_MIN"),
            ("KEYS_STRANDED_MAX", "KEYS_STRANDED_MAX_BP"),
            ("STORE_SYNC", "STORE_SYNCHRONOUS"),
            ("STORE_LOCK", "STORE_LOCKING"),
            ("STORE_LOKCING", "STORE_LOCKING"),
            ("STORE_QUEUE", "STORE_QUEUE_MAX"),
            ("DISK_RESERVE", "DISK_RESERVE_BYTES"),
            ("OTRT_ON", "OTRT_REQUIRED"),
            ("OTRT_REQ", "OTRT_REQUIRED"),
            ("RATE_LIMIT_DEVICE_BRUST", "RATE_LIMIT_DEVICE_BURST"),
            ("LOG_RETENTION", "LOG_RETENTION_DAYS"),
            ("KEYS_STRANDED", "KEYS_STRANDED_MAX_BP"),
            ("IDLE_TIMEOUT", "IDLE_TIMEOUT_MS"),
            ("ARTIFACT_DIR", "ARTIFACTS_DIR"),
            ("HEARTBEAT_INTERVAL", "HEARTBEAT_INTERVAL_MS"),
        ] {
            let shown = refused(&[wrong]);
            assert!(shown.len() == 1 && shown[0].contains(wrong), "{shown:?}");
            assert!(shown[0].contains(&format!("did you mean {right}?")), "{shown:?}");
        }
    }

    #[test]
    fn a_name_that_may_be_another_programs_is_a_warning() {
        let names = ["S3_BUCKET", "LOG_LEVL", "SENTRY_ENVIRONMENT", "ORTT_REQUIRED", "HEARTBEATRETENTION_DAYS", "port"];
        let found = unknown_settings(names);
        assert_eq!((found.refused.len(), found.warnings.len()), (0, names.len()), "{found:?}");
        assert!(
            found.warnings.iter().any(|warning| warning.contains("LOG_LEVL ") && warning.contains("it has LOG_LEVEL"))
        );
    }

    /// Goal: an environment that is shared with other software does not stop the server from starting.
    #[test]
    fn names_that_only_start_like_settings_are_one_warning() {
        let others = [
            "STORE_URL",
            "STORE_ID",
            "STORE_LOGGING",
            "KEYS_DIR",
            "KEYS_URL",
            "ARTIFACTS_URL",
            "ARTIFACT_ID",
            "RATE_LIMIT",
            "RATE_LIMIT_WINDOW_MS",
            "RATE_LIMIT_MAX",
            "DISK_SIZE",
            "COMMAND_LINE",
            "COMMAND_MODE",
        ];
        for name in others {
            let found = unknown_settings([name]);
            assert!(found.refused.is_empty() && found.warnings.len() == 1, "{name}: {found:?}");
        }
        let found = unknown_settings(others);
        assert!(found.refused.is_empty(), "{found:?}");
        let shown = found.warnings.last().unwrap();
        assert!(shown.contains("STORE_URL") || shown.contains("others are ignored"), "{shown}");
        assert!(found.warnings.len() <= 3, "{found:?}");
        assert_eq!(
            unknown_settings(["STORE_URL"]).warnings,
            ["STORE_URL is ignored: it starts like a setting of this program, but is not one"]
        );
        for (name, setting) in [("S3_ACCESS_KEY", "S3_ACCESS_KEY_ID"), ("S3_BUCKET", "ARTIFACTS_S3_BUCKET")] {
            assert!(unknown_settings([name]).warnings[0].ends_with(&format!("but it has {setting}")), "{name}");
        }
    }

    #[test]
    fn the_programs_name_before_a_setting_is_a_warning() {
        for (name, setting) in [
            ("SERVER_PORT", "PORT"),
            ("SERVER_HOST", "HOST"),
            ("KS_PORT", "PORT"),
            ("KS_SERVER_PORT", "PORT"),
            ("KS_DATABASE_URL", "DATABASE_URL"),
            ("SERVER_LOG_LEVEL", "LOG_LEVEL"),
        ] {
            let found = unknown_settings([name]);
            assert!(found.refused.is_empty() && found.warnings.len() == 1, "{found:?}");
            assert!(found.warnings[0].ends_with(&format!("but it has {setting}")), "{found:?}");
        }
        let service = unknown_settings(["SERVER_PORT", "SERVER_SERVICE_HOST", "SERVER_PORT_80_TCP"]);
        assert!(service.warnings.is_empty(), "of a service of that name: {service:?}");
    }

    #[test]
    fn a_typo_of_a_short_name_is_a_warning_and_another_word_is_not() {
        for (name, setting) in [
            ("HOSTT", "HOST"),
            ("HHOST", "HOST"),
            ("HOOST", "HOST"),
            ("HSOT", "HOST"),
            ("hostt", "HOST"),
            ("PORTT", "PORT"),
            ("PROT", "PORT"),
            ("PORTS", "PORT"),
        ] {
            let found = unknown_settings([name]);
            assert!(found.refused.is_empty() && found.warnings.len() == 1, "{name}: {found:?}");
            assert!(found.warnings[0].ends_with(&format!("but it has {setting}")), "{found:?}");
        }
        let others = [
            "HOSTNAME", "HOSTTYPE", "POST", "SPORT", "PORTAL", "HOS", "OST", "PORT1", "GHOST", "SORT", "HOT", "PORTTT",
        ];
        let found = unknown_settings(others.into_iter().chain(["PORT", "PORTS", "HOST", "HOSTS"]));
        assert!(found.refused.is_empty() && found.warnings.is_empty(), "{found:?}");
    }

    #[test]
    fn a_port_in_a_name_does_not_make_it_a_service() {
        for name in [
            "OTRT_PORT_REQUIRED",
            "STORE_PORT",
            "KEYS_PORT_X",
            "RATE_LIMIT_PORT_1",
            "STORE_PORT_80_XYZ",
            "STORE_PORT_80_TCP_X",
        ] {
            let found = unknown_settings([name]);
            assert_eq!(found.refused.len() + found.warnings.len(), 1, "{name}: {found:?}");
        }
    }

    #[test]
    fn variables_that_machines_set_are_ignored() {
        let usual = [
            "PATH",
            "HOME",
            "HOSTNAME",
            "LANG",
            "LC_ALL",
            "PWD",
            "SHLVL",
            "TERM",
            "USER",
            "LOGNAME",
            "SHELL",
            "TZ",
            "INVOCATION_ID",
            "JOURNAL_STREAM",
            "NOTIFY_SOCKET",
            "WATCHDOG_USEC",
            "CREDENTIALS_DIRECTORY",
            "STATE_DIRECTORY",
            "SUDO_USER",
            "RUST_LOG",
            "RUST_BACKTRACE",
            "HTTP_PROXY",
            "http_proxy",
            "NO_PROXY",
            "POSTGRES_PASSWORD",
            "KUBERNETES_SERVICE_HOST",
            "STORE_SERVICE_HOST",
            "STORE_PORT_80_TCP_ADDR",
            "STORE_NAME",
            "STORE_ENV_NGINX_VERSION",
            "ARTIFACT_DOWNLOAD_ATTEMPTS",
            "STORE_PORT",
            "STORE_PORT_80_TCP",
            "STORE_SERVICE_PORT",
            "STORE_SERVICE_PORT_HTTPS",
            "KEYS_PORT",
            "KEYS_PORT_53_UDP_PROTO",
            "ARTIFACT_STORE_SERVICE_HOST",
            "ARTIFACT_STORE_PORT",
            "AWS_ACCESS_KEY_ID",
            "HOSTTYPE",
            "MACHTYPE",
            "OSTYPE",
        ];
        let found = unknown_settings(usual);
        assert!(found.refused.is_empty() && found.warnings.is_empty(), "{found:?}");
        let ours = unknown_settings(SETTINGS.iter().map(|setting| setting.name));
        assert!(ours.refused.is_empty() && ours.warnings.is_empty(), "{ours:?}");
    }

    #[test]
    fn every_shared_word_is_the_first_of_a_setting() {
        for word in SHARED_WORDS {
            assert!(SETTINGS.iter().any(|setting| setting.name.starts_with(&format!("{word}_"))), "{word}");
        }
    }
}
