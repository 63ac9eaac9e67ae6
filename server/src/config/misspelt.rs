//! Names in the environment that are meant for this program and are none of its settings: `OTRT_REQUIERED=true` must not be
//! passed over in silence.

use std::collections::BTreeSet;

use super::SETTINGS;
use crate::failure::StartError;

/// First words of settings that other programs use too: a name that begins so may be theirs.
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
/// Variables of GitLab's runner, whose jobs may run this program.
const OTHERS: [&str; 2] = ["ARTIFACT_COMPRESSION_LEVEL", "ARTIFACT_DOWNLOAD_ATTEMPTS"];
/// Beginnings of names that are nobody else's: whatever goes on so is meant for this program.
const ONLY_OURS: [&str; 7] = [
    "ARTIFACT_SCRUB_",
    "KEYS_STRANDED_",
    "OTRT_",
    "RATE_LIMIT_ADDRESS_",
    "RATE_LIMIT_DEVICE_",
    "STORE_LOCKING_",
    "STORE_SYNCHRONOUS_",
];
/// Last words of settings that people leave out.
const UNITS: [&str; 5] = ["_MS", "_DAYS", "_BYTES", "_BP", "_MAX"];
/// Last words that people write for those of our settings.
const LAST_WORDS: [(&str, &str); 7] = [
    ("_PATH", "_FILE"),
    ("_FILENAME", "_FILE"),
    ("_PEM", "_FILE"),
    ("_FILE_PATH", "_FILE"),
    ("_PATH", "_DIR"),
    ("_FOLDER", "_DIR"),
    ("_DIRECTORY", "_DIR"),
];
/// Letters behind the first word that make a name rather a setting cut short than another program's.
const CUT_LETTERS_MIN: usize = 3;
/// Names that are listed in one remark at most.
const LISTED_MAX: usize = 8;
/// What people put before the name of a setting of a program that may need it; `SERVER_PORT` is none of this one.
const PROGRAM_WORDS: [&str; 3] = ["KS_SERVER_", "KS_", "SERVER_"];
/// Shortest name of a setting that one letter more or less makes another; below, too many words are near, and only what nobody
/// writes on purpose is taken for a slip.
const NEAR_NAME_MIN: usize = 6;

/// What is wrong with names in the environment.
#[derive(Debug, Default)]
pub struct Misspelt {
    /// They can be meant for nobody else.
    pub refused: Vec<StartError>,
    /// They may be another program's: sentences for people.
    pub doubtful: Vec<String>,
}

/// Looks at the names of environment variables. A name is refused if it is plausibly a slip of one of ours and not likely another
/// program's; one that only begins like a setting is a remark, since the environment may be shared with anything.
pub fn misspelt<'n>(names: impl IntoIterator<Item = &'n str>) -> Misspelt {
    let names: BTreeSet<&str> = names.into_iter().collect();
    let mut found = Misspelt::default();
    let mut unlike = Vec::new();
    for name in &names {
        let plain = name.to_ascii_uppercase();
        if is_setting(name) || OTHERS.contains(name) || is_of_a_service(name, &names) {
            continue;
        }
        let word = prefix_of(&plain);
        let meant = slip_of_a_short_one(&plain, &names).or_else(|| of_the_program(&plain));
        if let Some(setting) = meant {
            found.doubtful.push(remark(name, setting));
        } else if let Some(nearest) = slip(&plain, word) {
            found.refused.push(StartError::UnknownSetting { name: (*name).to_owned(), nearest });
        } else if let Some(setting) = like(&plain, word) {
            found.doubtful.push(remark(name, setting));
        } else if word.is_some() {
            unlike.push(*name);
        }
    }
    found.doubtful.extend(begin_like(&unlike));
    found
}

fn remark(name: &str, setting: &str) -> String {
    format!("{name} is no setting of this program, which passes it over; {setting} is one")
}

/// One remark for all names that begin like a setting, and are like none.
fn begin_like(names: &[&str]) -> Option<String> {
    let more = names.len().saturating_sub(LISTED_MAX);
    let listed = names.iter().take(LISTED_MAX).copied().collect::<Vec<_>>().join(", ");
    match (names.len(), more) {
        (0, _) => None,
        (1, _) => Some(format!("{listed} begins like a setting of this program, and is none: it is passed over")),
        (_, 0) => Some(format!("{listed} begin like settings of this program, and are none: they are passed over")),
        _ => Some(format!(
            "{listed} and {more} others begin like settings of this program, and are none: they are passed over"
        )),
    }
}

/// The setting that a name is plausibly a slip of, in a family of names that other programs do not have, or have without a unit
/// that ours end with.
fn slip(name: &str, word: Option<&str>) -> Option<&'static str> {
    if let Some(start) = ONLY_OURS.iter().find(|start| name.starts_with(**start)) {
        return cut_short(name).or_else(|| Some(nearest(name, start)?.0));
    }
    let is_shared = SHARED_WORDS.contains(&word?);
    let is_without_unit = |setting: &&str| setting.strip_prefix(name).is_some_and(|rest| UNITS.contains(&rest));
    if let Some(setting) = cut_short(name).filter(|setting| !is_shared || is_without_unit(setting)) {
        return Some(setting);
    }
    let (setting, distance) = nearest(name, "").filter(|_| !is_shared)?;
    (distance <= (setting.len() / 12).max(1)).then_some(setting)
}
/// The short setting, `HOST` or `PORT`, of which a name is a slip: a letter twice (`HOSTT`), two letters that changed places (`PROT`),
/// or a plural (`PORTS`) while the setting itself is not given. Any other letter makes it another word: `POST`, `HOSTNAME`.
fn slip_of_a_short_one(name: &str, names: &BTreeSet<&str>) -> Option<&'static str> {
    let short = SETTINGS.iter().map(|setting| setting.name).filter(|setting| setting.len() < NEAR_NAME_MIN);
    short.into_iter().find(|setting| {
        let letters = setting.as_bytes();
        let is_doubled = (0..letters.len()).any(|at| {
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
        is_doubled || is_swapped || is_plural
    })
}

fn is_setting(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name)
}

/// Whether Kubernetes or Docker set it for a service of any name: `X_SERVICE_HOST`, `X_SERVICE_PORT`, `X_SERVICE_PORT_HTTPS`,
/// `X_PORT_80_TCP`, `X_PORT_80_TCP_ADDR`; and `X_PORT`, `X_NAME` and `X_ENV_...`, which others write too, where one of these stands
/// beside it.
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

/// The setting that a name is with the program's before it, such as `SERVER_PORT`.
fn of_the_program(name: &str) -> Option<&'static str> {
    let bare = PROGRAM_WORDS.iter().find_map(|word| name.strip_prefix(word))?;
    SETTINGS.iter().map(|setting| setting.name).find(|setting| *setting == bare)
}

/// The first word of a name, if settings begin with it and go on.
fn prefix_of(name: &str) -> Option<&'static str> {
    let word = |name: &'static str| name.split_once('_').map(|(word, _)| word);
    let mut words = SETTINGS.iter().filter_map(|setting| word(setting.name));
    words.find(|word| name.strip_prefix(word).is_some_and(|rest| rest.starts_with('_')))
}

/// The setting whose name goes on where this one ends, in the middle of a word too: `STORE_SYNC`, `IDLE_TIMEOUT`. None if several do
/// that are not one another's beginning: who writes `RATE_LIMIT` has another program in mind.
fn cut_short(name: &str) -> Option<&'static str> {
    name.split_once('_').filter(|(_, rest)| rest.len() >= CUT_LETTERS_MIN)?;
    let longer = || SETTINGS.iter().map(|setting| setting.name).filter(|setting| setting.starts_with(name));
    let shortest = longer().min_by_key(|setting| setting.len())?;
    longer().all(|setting| setting.starts_with(shortest)).then_some(shortest)
}

/// The setting that a name is like, though other programs may have it: a few letters away, one of its beginnings or ends
/// (`S3_BUCKET` of `ARTIFACTS_S3_BUCKET`), or one with more behind it.
fn like(name: &str, word: Option<&str>) -> Option<&'static str> {
    let named_otherwise = || {
        LAST_WORDS.iter().find_map(|(written, ours)| {
            let meant = format!("{}{ours}", name.strip_suffix(written)?);
            SETTINGS.iter().map(|setting| setting.name).find(|setting| *setting == meant)
        })
    };
    if let Some(setting) = named_otherwise() {
        return Some(setting);
    }
    let near = nearest(name, "").filter(|(setting, distance)| is_near(setting, *distance)).map(|(setting, _)| setting);
    near.or_else(|| {
        word?;
        let of =
            |fits: &dyn Fn(&str) -> bool| SETTINGS.iter().map(|setting| setting.name).find(|setting| fits(setting));
        let is_longer = |setting: &str| name.strip_prefix(setting).is_some_and(|rest| rest.starts_with('_'));
        let ends_so = |setting: &str| setting.strip_suffix(name).is_some_and(|start| start.ends_with('_'));
        cut_short(name).or_else(|| of(&ends_so)).or_else(|| of(&is_longer))
    })
}

/// The setting whose name is nearest among those with this beginning, and how many letters differ.
fn nearest(name: &str, start: &str) -> Option<(&'static str, usize)> {
    let kin = SETTINGS.iter().map(|setting| setting.name).filter(|setting| setting.starts_with(start));
    kin.map(|setting| (setting, strsim::damerau_levenshtein(name, setting))).min_by_key(|(_, distance)| *distance)
}

/// Whether so few letters differ that it is rather a slip than another name.
fn is_near(setting: &str, distance: usize) -> bool {
    distance == 0 || setting.len() >= NEAR_NAME_MIN && distance <= setting.len().div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(names: &[&str]) -> Vec<String> {
        misspelt(names.iter().copied()).refused.iter().map(|error| format!("{error}; {}", error.remedy())).collect()
    }

    #[test]
    fn another_word_for_a_file_or_a_folder_is_known() {
        for (written, ours) in [
            ("SERVER_PRIVATE_KEY_PATH", "SERVER_PRIVATE_KEY_FILE"),
            ("SERVER_PRIVATE_KEY_PEM", "SERVER_PRIVATE_KEY_FILE"),
            ("FIRMWARE_PRIVATE_KEY_PATH", "FIRMWARE_PRIVATE_KEY_FILE"),
            ("SERVER_KEYS_PATH", "SERVER_KEYS_DIR"),
            ("SERVER_KEYS_FOLDER", "SERVER_KEYS_DIR"),
        ] {
            let doubtful = misspelt([written]).doubtful;
            assert!(doubtful.len() == 1 && doubtful[0].ends_with(&format!("; {ours} is one")), "{doubtful:?}");
        }
    }

    #[test]
    fn what_only_we_could_mean_is_refused_with_the_nearest_name() {
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
            let said = refused(&[wrong]);
            assert!(said.len() == 1 && said[0].contains(wrong), "{said:?}");
            assert!(said[0].contains(&format!("did you mean {right}?")), "{said:?}");
        }
    }

    #[test]
    fn what_may_be_meant_for_another_program_is_a_remark() {
        let names = ["S3_BUCKET", "LOG_LEVL", "SENTRY_ENVIRONMENT", "ORTT_REQUIRED", "HEARTBEATRETENTION_DAYS", "port"];
        let found = misspelt(names);
        assert_eq!((found.refused.len(), found.doubtful.len()), (0, names.len()), "{found:?}");
        assert!(found.doubtful.iter().any(|doubt| doubt.contains("LOG_LEVL ") && doubt.contains("LOG_LEVEL is one")));
    }

    /// Goal: an environment that is shared with other software keeps no server from its start.
    #[test]
    fn what_begins_like_a_setting_and_is_like_none_is_one_remark() {
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
            let found = misspelt([name]);
            assert!(found.refused.is_empty() && found.doubtful.len() == 1, "{name}: {found:?}");
        }
        let found = misspelt(others);
        assert!(found.refused.is_empty(), "{found:?}");
        let said = found.doubtful.last().unwrap();
        assert!(said.contains("STORE_URL") || said.contains("others begin like settings"), "{said}");
        assert!(found.doubtful.len() <= 3, "{found:?}");
        assert_eq!(
            misspelt(["STORE_URL"]).doubtful,
            ["STORE_URL begins like a setting of this program, and is none: it is passed over"]
        );
        for (name, setting) in [("S3_ACCESS_KEY", "S3_ACCESS_KEY_ID"), ("S3_BUCKET", "ARTIFACTS_S3_BUCKET")] {
            assert!(misspelt([name]).doubtful[0].ends_with(&format!("; {setting} is one")), "{name}");
        }
    }

    #[test]
    fn the_programs_name_before_a_setting_is_a_remark_that_names_the_setting() {
        for (name, setting) in [
            ("SERVER_PORT", "PORT"),
            ("SERVER_HOST", "HOST"),
            ("KS_PORT", "PORT"),
            ("KS_SERVER_PORT", "PORT"),
            ("KS_DATABASE_URL", "DATABASE_URL"),
            ("SERVER_LOG_LEVEL", "LOG_LEVEL"),
        ] {
            let found = misspelt([name]);
            assert!(found.refused.is_empty() && found.doubtful.len() == 1, "{found:?}");
            assert!(found.doubtful[0].ends_with(&format!("; {setting} is one")), "{found:?}");
        }
        let service = misspelt(["SERVER_PORT", "SERVER_SERVICE_HOST", "SERVER_PORT_80_TCP"]);
        assert!(service.doubtful.is_empty(), "of a service of that name: {service:?}");
    }

    #[test]
    fn a_slip_in_a_short_name_is_a_remark_and_another_word_is_none() {
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
            let found = misspelt([name]);
            assert!(found.refused.is_empty() && found.doubtful.len() == 1, "{name}: {found:?}");
            assert!(found.doubtful[0].ends_with(&format!("; {setting} is one")), "{found:?}");
        }
        let others = [
            "HOSTNAME", "HOSTTYPE", "POST", "SPORT", "PORTAL", "HOS", "OST", "PORT1", "GHOST", "SORT", "HOT", "PORTTT",
        ];
        let found = misspelt(others.into_iter().chain(["PORT", "PORTS", "HOST", "HOSTS"]));
        assert!(found.refused.is_empty() && found.doubtful.is_empty(), "{found:?}");
    }

    #[test]
    fn a_port_in_a_name_does_not_make_it_a_services() {
        for name in [
            "OTRT_PORT_REQUIRED",
            "STORE_PORT",
            "KEYS_PORT_X",
            "RATE_LIMIT_PORT_1",
            "STORE_PORT_80_XYZ",
            "STORE_PORT_80_TCP_X",
        ] {
            let found = misspelt([name]);
            assert_eq!(found.refused.len() + found.doubtful.len(), 1, "{name}: {found:?}");
        }
    }

    #[test]
    fn what_a_machine_sets_is_nobodys_business() {
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
        let found = misspelt(usual);
        assert!(found.refused.is_empty() && found.doubtful.is_empty(), "{found:?}");
        let ours = misspelt(SETTINGS.iter().map(|setting| setting.name));
        assert!(ours.refused.is_empty() && ours.doubtful.is_empty(), "{ours:?}");
    }

    #[test]
    fn every_shared_word_begins_a_setting() {
        for word in SHARED_WORDS {
            assert!(SETTINGS.iter().any(|setting| setting.name.starts_with(&format!("{word}_"))), "{word}");
        }
    }
}
