//! Settings that are valid on their own, but conflict with each other or with the machine's limits.

use std::{
    fmt::{self, Display},
    time::Duration,
};

use ks_protocol::text::counted;

use super::{Config, IDLE_TIMEOUT_MS_MAX, Synchronous};
use crate::{
    clock::ms,
    limit::{Limit, LimitValue, LimitValues, Mode, Spec},
};

/// Fewest requests for each heartbeat that a device must be allowed: it also sends punches, log lines and ACKs.
const REQUESTS_PER_BEAT: u64 = 2;
/// Files that are open apart from connections and downloads: the database, its log, folders, the runtime's own.
const OTHER_FILES: u64 = 64;
/// A network with a shorter prefix is not private: 10.0.0.0/8 and fc00::/7 are the widest private ones.
const PREFIX_MIN: (u8, u8) = (8, 7);
/// Longest download of the largest firmware image by a single device.
const DOWNLOAD_MAX: Duration = Duration::from_hours(1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub found: String,
    /// How to resolve it.
    pub help: String,
}

/// All conflicts; `open_files_max` is the process's limit of open files, none if unlimited.
pub fn conflicts(config: &Config, open_files_max: Option<u64>) -> Vec<Conflict> {
    let checks = [device_rate, wide_proxies, idle_timeout, group_and_queue, slow_downloads, power_cut];
    let mut found: Vec<Conflict> = checks.iter().filter_map(|check| check(config)).collect();
    found.extend(above_all(config));
    found.extend(open_files(config, open_files_max));
    found
}

/// Limits of one subject, each with the limit of all subjects together.
const ONE_AND_ALL: [(Limit, Limit); 4] = [
    (Limit::AddressFailures, Limit::SiteFailures),
    (Limit::AddressFailures, Limit::ExpensiveFailures),
    (Limit::SiteFailures, Limit::ExpensiveFailures),
    (Limit::AddressRegistrations, Limit::Registrations),
];

/// One subject may do more than all together.
pub struct OneAboveAll {
    pub one: &'static Spec,
    pub all: &'static Spec,
    /// `per_min` or `burst`.
    pub field: &'static str,
    pub one_may: u32,
    pub all_may: u32,
}

impl Display for OneAboveAll {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { one, all, field, one_may, all_may } = self;
        write!(
            f,
            "{}.{field} is {one_may}, but {}.{field} is only {all_may}: one {} could use up what all share",
            one.name, all.name, one.subject
        )
    }
}

/// The limits under which one subject could use up what all share, both enforced.
pub(super) fn one_above_all(values: &LimitValues) -> Vec<OneAboveAll> {
    above(&ONE_AND_ALL, values)
}

/// Whether one device could use up what all share: warned of and not refused, because a ceiling is what a machine can take, and that may be
/// less than a device may send.
pub fn device_above_all(values: &LimitValues) -> Vec<OneAboveAll> {
    above(&[(Limit::DeviceRequests, Limit::AllRequests)], values)
}

fn above(pairs: &[(Limit, Limit)], values: &LimitValues) -> Vec<OneAboveAll> {
    let mut found = Vec::new();
    for &(one, all) in pairs {
        let (of_one, of_all) = (values.get(one), values.get(all));
        if [of_one, of_all].iter().any(|value| value.mode != Mode::Enforce) {
            continue;
        }
        let numbers = [("per_min", of_one.rate, of_all.rate), ("burst", of_one.burst, of_all.burst)];
        let above = numbers.into_iter().filter(|(_, one_may, all_may)| one_may > all_may);
        let (one, all) = (one.spec(), all.spec());
        found.extend(above.map(|(field, one_may, all_may)| OneAboveAll { one, all, field, one_may, all_may }));
    }
    found
}

fn above_all(config: &Config) -> impl Iterator<Item = Conflict> {
    let setting = |spec: &Spec, field| match spec.burst {
        Some(burst) if field == "burst" => burst.setting,
        _ => spec.rate.setting,
    };
    let found = one_above_all(&config.limits).into_iter().chain(device_above_all(&config.limits));
    found.map(move |of| {
        let (one, all) = (setting(of.one, of.field), setting(of.all, of.field));
        let (one_may, all_may) = (of.one_may, of.all_may);
        Conflict {
            found: format!(
                "{one} is {one_may}, but {all} is only {all_may}: one {} could use up what all share",
                of.one.subject
            ),
            help: format!("set {all}={one_may} or more, or {one}={all_may} or less"),
        }
    })
}

/// Requests a minute that a device makes at this heartbeat interval.
pub(super) fn requests_per_min_needed(heartbeat_interval: Duration) -> u64 {
    (60_000 * REQUESTS_PER_BEAT).div_ceil(ms(heartbeat_interval).max(1))
}

/// What is wrong with a limit of requests per device at this heartbeat interval; none if it is high enough, or does not refuse.
pub(super) fn too_few_requests(limit: LimitValue, heartbeat_interval: Duration) -> Option<(String, u64)> {
    let needed = requests_per_min_needed(heartbeat_interval);
    if u64::from(limit.rate) >= needed || limit.mode != Mode::Enforce {
        return None;
    }
    let seconds = ms(heartbeat_interval).max(1) as f64 / 1_000.0;
    let found = format!(
        "devices send a heartbeat every {seconds} s, which requires {} a minute in total, but may make only {}",
        counted(needed, "request"),
        limit.rate
    );
    Some((found, needed))
}

fn device_rate(config: &Config) -> Option<Conflict> {
    let limit = config.limits.get(Limit::DeviceRequests);
    let (found, needed) = too_few_requests(limit, config.heartbeat_interval)?;
    let help = format!("set RATE_LIMIT_DEVICE_PER_MIN={needed} or more, or a longer HEARTBEAT_INTERVAL_MS");
    Some(Conflict { found, help })
}

fn wide_proxies(config: &Config) -> Option<Conflict> {
    let is_wide = |prefix: u8, is_ipv4| prefix < if is_ipv4 { PREFIX_MIN.0 } else { PREFIX_MIN.1 };
    let wide = config.trusted_proxies.iter().find(|network| is_wide(network.prefix_len(), network.addr().is_ipv4()))?;
    Some(Conflict {
        found: format!(
            "TRUSTED_PROXIES has a network with the prefix /{}: untrusted clients in it can forge their address",
            wide.prefix_len()
        ),
        help: "list the proxies' addresses, or a network that only contains proxies".to_owned(),
    })
}

fn idle_timeout(config: &Config) -> Option<Conflict> {
    let (idle, interval) = (config.idle_timeout, config.heartbeat_interval);
    let enough_ms = (2 * ms(interval)).min(IDLE_TIMEOUT_MS_MAX);
    if idle > interval || enough_ms <= ms(interval) {
        return None; // with one heartbeat a day, no connection can be kept open
    }
    Some(Conflict {
        found: format!(
            "connections are closed after {} ms, but devices send a heartbeat every {} ms: each one needs a new connection",
            ms(idle),
            ms(interval)
        ),
        help: format!("set IDLE_TIMEOUT_MS={enough_ms}, or a shorter HEARTBEAT_INTERVAL_MS"),
    })
}

fn group_and_queue(config: &Config) -> Option<Conflict> {
    let (group, queue) = (config.commit_group_max, config.store_queue_max);
    if group <= queue {
        return None;
    }
    Some(Conflict {
        found: format!("{group} writes may share a commit, but only {queue} may wait for one"),
        help: format!("set STORE_QUEUE_MAX={group} or more, or a smaller COMMIT_GROUP_MAX"),
    })
}

fn slow_downloads(config: &Config) -> Option<Conflict> {
    let limits = config.artifact_limits;
    let seconds = limits.artifact_bytes_max / limits.bytes_per_s_max.max(1);
    if seconds <= DOWNLOAD_MAX.as_secs() {
        return None;
    }
    Some(Conflict {
        found: format!(
            "downloading a firmware image of ARTIFACT_BYTES_MAX takes {seconds} s at ARTIFACT_BYTES_PER_S_MAX, even for a single device"
        ),
        help: "set a larger ARTIFACT_BYTES_PER_S_MAX, or a smaller ARTIFACT_BYTES_MAX".to_owned(),
    })
}

fn power_cut(config: &Config) -> Option<Conflict> {
    if config.sqlite.synchronous == Synchronous::Full {
        return None;
    }
    let word = config.sqlite.synchronous.as_str().to_lowercase();
    Some(Conflict {
        found: format!("STORE_SYNCHRONOUS={word}: a power failure loses acknowledged data"),
        help: "set STORE_SYNCHRONOUS=full in production".to_owned(),
    })
}

/// Connections that the process accepts: CONNECTIONS_MAX, or what the limit of open files allows after all other files, so that
/// clients that open connections can't stop the server from opening a file.
pub fn connections_max(config: &Config, open_files_max: Option<u64>) -> usize {
    let downloads = u64::try_from(config.artifact_limits.downloads_max).unwrap_or(u64::MAX);
    let room = open_files_max.map_or(u64::MAX, |files| files.saturating_sub(downloads.saturating_add(OTHER_FILES)));
    config.connections_max.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}

fn open_files(config: &Config, open_files_max: Option<u64>) -> Option<Conflict> {
    let held = connections_max(config, open_files_max);
    let open_files_max = open_files_max?;
    let wide = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    let (connections, downloads) = (wide(config.connections_max), wide(config.artifact_limits.downloads_max));
    let other_files = downloads.saturating_add(OTHER_FILES);
    let needed = connections.saturating_add(other_files);
    if needed <= open_files_max {
        return None;
    }
    let instead = match open_files_max.saturating_sub(other_files) {
        0 => "smaller CONNECTIONS_MAX and ARTIFACT_DOWNLOADS_MAX".to_owned(),
        room => format!("CONNECTIONS_MAX={room}"),
    };
    Some(Conflict {
        found: format!(
            "the limit is {}, but {needed} may be needed: one for each of {} \
             (CONNECTIONS_MAX), a file or a socket for each of {} of images (ARTIFACT_DOWNLOADS_MAX), and \
             {OTHER_FILES} others; the server accepts at most {}",
            counted(open_files_max, "open file"),
            counted(connections, "connection"),
            counted(downloads, "download"),
            counted(held, "connection")
        ),
        help: format!(
            "raise the limit (LimitNOFILE= of the systemd unit, or `ulimit -n`) to {needed}, or set {instead}"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)], open_files_max: Option<u64>) -> Vec<Conflict> {
        let given = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        conflicts(&Config::from_map(&given).unwrap(), open_files_max)
    }

    #[test]
    fn the_defaults_do_not_conflict() {
        assert_eq!(of(&[], None), []);
        assert_eq!(of(&[], Some(131_072)), [], "what the systemd unit grants");
    }

    #[test]
    fn each_conflict_is_found_and_its_help_resolves_it() {
        for (pairs, named, fixed) in [
            (
                &[("HEARTBEAT_INTERVAL_MS", "5000"), ("RATE_LIMIT_DEVICE_PER_MIN", "1")][..],
                "every 5 s, which requires 24 requests a minute in total, but may make only 1",
                ("RATE_LIMIT_DEVICE_PER_MIN", "24"),
            ),
            (&[("TRUSTED_PROXIES", "10.0.0.0/8,0.0.0.0/0")], "the prefix /0", ("TRUSTED_PROXIES", "10.0.0.0/8")),
            (&[("TRUSTED_PROXIES", "::/0")], "the prefix /0", ("TRUSTED_PROXIES", "fc00::/7")),
            (&[("IDLE_TIMEOUT_MS", "60000")], "each one needs a new connection", ("IDLE_TIMEOUT_MS", "120000")),
            (&[("STORE_QUEUE_MAX", "16")], "256 writes may share", ("STORE_QUEUE_MAX", "256")),
            (&[("ARTIFACT_BYTES_PER_S_MAX", "1024")], "262144 s", ("ARTIFACT_BYTES_PER_S_MAX", "100000")),
            (
                &[("RATE_LIMIT_EXPENSIVE_FAILURES_PER_MIN", "60")],
                "RATE_LIMIT_ADDRESS_FAILURES_PER_MIN is 120, but RATE_LIMIT_EXPENSIVE_FAILURES_PER_MIN is only 60",
                ("RATE_LIMIT_EXPENSIVE_FAILURES_PER_MIN", "120"),
            ),
            (
                &[("RATE_LIMIT_ALL_REQUESTS_MODE", "enforce"), ("RATE_LIMIT_ALL_REQUESTS_BURST", "1")],
                "RATE_LIMIT_DEVICE_BURST is 30, but RATE_LIMIT_ALL_REQUESTS_BURST is only 1: one device could use up",
                ("RATE_LIMIT_ALL_REQUESTS_BURST", "30"),
            ),
            (&[("STORE_SYNCHRONOUS", "off")], "a power failure", ("STORE_SYNCHRONOUS", "full")),
        ] {
            let found = of(pairs, None);
            assert!(found.len() == 1 && found[0].found.contains(named), "{found:?}");
            assert_eq!(of(&[pairs, &[fixed]].concat(), None), [], "{fixed:?}");
        }
    }

    #[test]
    fn connections_are_limited_by_open_files() {
        let held = |pairs: &[(&str, &str)], files| {
            let given = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            connections_max(&Config::from_map(&given).unwrap(), files)
        };
        assert_eq!([held(&[], None), held(&[], Some(131_072)), held(&[], Some(20_000))], [100_000, 100_000, 19_872]);
        assert_eq!(held(&[("CONNECTIONS_MAX", "60")], Some(20_000)), 60);
        assert_eq!(held(&[("ARTIFACT_DOWNLOADS_MAX", "10")], Some(1_000)), 926);
        assert_eq!(held(&[], Some(64)), 1);
    }

    /// The settings that a help text names with a value.
    fn named(help: &str) -> Vec<(&str, &str)> {
        let words = help.split([' ', ',']).filter_map(|word| word.split_once('='));
        words.filter(|(_, value)| !value.is_empty()).collect()
    }

    #[test]
    fn every_help_is_an_accepted_setting_that_resolves_the_conflict() {
        let mut cases: Vec<Vec<(&str, &str)>> = Vec::new();
        for interval in ["100", "999", "60000", "43200000", "43200001", "86399999", "86400000"] {
            for idle in ["1000", "900000", "86400000"] {
                cases.push(vec![("HEARTBEAT_INTERVAL_MS", interval), ("IDLE_TIMEOUT_MS", idle)]);
            }
            cases.push(vec![("HEARTBEAT_INTERVAL_MS", interval), ("RATE_LIMIT_DEVICE_PER_MIN", "1")]);
        }
        cases.push(vec![("STORE_QUEUE_MAX", "16"), ("COMMIT_GROUP_MAX", "4096")]);
        cases.push(vec![("STORE_SYNCHRONOUS", "normal")]);
        cases.push(vec![("ARTIFACT_DOWNLOADS_MAX", "100000"), ("CONNECTIONS_MAX", "1000000")]);
        let mut help_texts = 0;
        for pairs in &cases {
            for open_files_max in [None, Some(1), Some(64), Some(129), Some(20_000), Some(u64::MAX)] {
                for Conflict { found, help } in of(pairs, open_files_max) {
                    let fixed = named(&help);
                    help_texts += fixed.len();
                    let left = of(&[&pairs[..], &fixed].concat(), open_files_max);
                    let is_resolved =
                        left.len() < of(pairs, open_files_max).len() && left.iter().all(|left| left.found != found);
                    assert!(fixed.is_empty() || is_resolved, "{pairs:?} {help}: {left:?}");
                }
            }
        }
        assert!(help_texts > 40, "{help_texts}");
        assert_eq!(of(&[("HEARTBEAT_INTERVAL_MS", "86400000"), ("IDLE_TIMEOUT_MS", "86400000")], None), []);
    }

    #[test]
    fn open_files_are_counted_with_downloads() {
        let found = of(&[], Some(20_000));
        assert!(found.len() == 1 && found[0].help.ends_with("to 100128, or set CONNECTIONS_MAX=19872"), "{found:?}");
        assert_eq!(of(&[("CONNECTIONS_MAX", "19872")], Some(20_000)), []);
        let pairs = [("CONNECTIONS_MAX", "100"), ("ARTIFACT_DOWNLOADS_MAX", "20000")];
        let found = of(&pairs, Some(20_000));
        assert!(found.len() == 1 && found[0].found.contains("20164 may be needed"), "{found:?}");
        assert!(found[0].help.ends_with("or set smaller CONNECTIONS_MAX and ARTIFACT_DOWNLOADS_MAX"), "{found:?}");
        assert_eq!(of(&pairs, Some(20_164)), []);
    }
}
