//! Settings: read and validated once; a [`Config`] is always valid.

mod conflicts;
mod limits_file;
mod missing_database;
mod reader;
mod settings;
mod small_file;
mod sources;
mod sqlite;
mod unknown_settings;
mod values;

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use ks_protocol::manifest::ARTIFACT_BYTES_MAX;

pub use conflicts::{Conflict, conflicts, connections_max, device_above_all};
pub use limits_file::{LIMITS_FILE, LimitsDocument, LimitsFault};
pub use missing_database::{
    MISSING_HELP, is_empty, left_without_database, new_fleet_warning, refuse_emptied, refuse_missing,
};
pub use settings::{SETTINGS, Setting};
pub use small_file::{SMALL_FILE_BYTES_MAX, read_small, read_small_bytes, utf8};
pub use sources::{ArtifactLimits, ArtifactPlace, Bucket, FirmwareKeySource, Secret, ServerKeySource};
pub use sqlite::{Locking, SqliteUse, Synchronous};
pub use unknown_settings::{UnknownSettings, unknown_settings};

use crate::{
    error_report::Dsn,
    failure::StartError,
    limit::{LimitValues, SitePrefixes},
    tls::TlsFiles,
};
use reader::SettingReader;

/// Longest `IDLE_TIMEOUT_MS`: a day.
const IDLE_TIMEOUT_MS_MAX: u64 = 86_400_000;

/// The server's settings, all valid.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// The certificate with which this server serves TLS; none for plain HTTP.
    pub tls: Option<TlsFiles>,
    pub database: PathBuf,
    /// Where the signing key comes from.
    pub server_key: ServerKeySource,
    /// Where private keys of later key rotations are stored.
    pub server_keys: PathBuf,
    /// Signs releases instead of the server's key.
    pub firmware_key: Option<FirmwareKeySource>,
    /// Where firmware images are stored.
    pub artifacts: ArtifactPlace,
    /// Limits on firmware images and downloads.
    pub artifact_limits: ArtifactLimits,
    /// Share of active devices that a key rotation may strand, in basis points.
    pub keys_stranded_max_bp: u64,
    /// A bearer token with the role admin that is not stored in the database.
    pub admin_token: Option<Secret>,
    /// Where the admin web is served, if not by this server.
    pub admin_web_origin: Option<String>,
    /// Proxies that are trusted to report a client's address.
    pub trusted_proxies: Vec<IpNet>,
    /// Heartbeat interval that devices are sent.
    pub heartbeat_interval: Duration,
    /// Whether registration requires a one-time token.
    pub otrt_required: bool,
    /// The limits, before any that were applied while the server ran.
    pub limits: LimitValues,
    /// What the addresses of one site share.
    pub site_prefixes: SitePrefixes,
    /// A file with limits, and what it gives.
    pub limits_file: Option<(PathBuf, LimitsDocument)>,
    /// How long heartbeats are kept.
    pub heartbeat_retention: Duration,
    /// How long log lines of devices are kept.
    pub log_retention: Duration,
    /// How long commands that have ended are kept.
    pub command_retention: Duration,
    /// How long the history of devices' firmware versions is kept.
    pub firmware_history_retention: Duration,
    /// How the database file is used.
    pub sqlite: SqliteUse,
    /// Most writes that share one commit.
    pub commit_group_max: usize,
    /// Most writes that may wait for a commit.
    pub store_queue_max: usize,
    /// How long writes may wait beyond two commits before devices are refused; 0 if only a full queue refuses.
    pub overload_target: Duration,
    /// Bytes of the database's disk that devices may not use up.
    pub disk_reserve_bytes: u64,
    pub connections_max: usize,
    /// Timeout of a request's head and of its body.
    pub request_timeout: Duration,
    /// Timeout from one answer until the next request's head is complete.
    pub idle_timeout: Duration,
    /// Time for requests in progress at shutdown.
    pub shutdown_grace: Duration,
    /// Least severe log line.
    pub log_level: String,
    /// Whether the log is JSON.
    pub log_json: bool,
    /// Where errors are reported.
    pub sentry: Option<Dsn>,
}

impl Config {
    /// Reads every setting through `var` (the environment at the edge, a map in tests).
    ///
    /// # Errors
    /// Every invalid setting, not only the first.
    pub fn read(var: impl Fn(&str) -> Option<String>) -> Result<Self, Vec<StartError>> {
        let mut reader = SettingReader { var, wrong: Vec::new() };
        reader.refuse_invalid_utf8();
        let config = Self::read_each(&mut reader);
        if reader.wrong.is_empty() { Ok(config) } else { Err(reader.wrong) }
    }

    /// A configuration from `given` settings and defaults; names are as in the environment.
    pub fn from_map(given: &BTreeMap<String, String>) -> Result<Self, Vec<StartError>> {
        Self::read(|name| given.get(name).cloned())
    }

    fn read_each<V: Fn(&str) -> Option<String>>(reader: &mut SettingReader<V>) -> Self {
        let address: IpAddr = reader.parsed("HOST", [0, 0, 0, 0].into());
        let port: u16 = reader.number("PORT", 0..=65_535);
        let database = reader.database();
        let heartbeat_interval = reader.duration_ms("HEARTBEAT_INTERVAL_MS", 100..=86_400_000);
        let limits = reader.limits();
        Self {
            listen: SocketAddr::new(address, port),
            tls: reader.tls(),
            server_key: reader.server_key(&database),
            server_keys: reader
                .text("SERVER_KEYS_DIR")
                .map_or_else(|| database.with_file_name("server-keys"), Into::into),
            firmware_key: reader.firmware_key(),
            artifacts: reader.artifacts(&database),
            artifact_limits: ArtifactLimits {
                downloads_max: reader.number("ARTIFACT_DOWNLOADS_MAX", 1..=100_000),
                bytes_per_s_max: reader.number("ARTIFACT_BYTES_PER_S_MAX", 1_024..=100_000_000_000),
                scrub_bytes_per_s: reader.number("ARTIFACT_SCRUB_BYTES_PER_S", 1_024..=100_000_000_000),
                artifact_bytes_max: reader.number("ARTIFACT_BYTES_MAX", 1..=ARTIFACT_BYTES_MAX),
                stall: reader.duration_ms("REQUEST_TIMEOUT_MS", 100..=600_000),
            },
            keys_stranded_max_bp: reader.number("KEYS_STRANDED_MAX_BP", 0..=10_000),
            database,
            admin_token: reader.admin_token(),
            admin_web_origin: reader.origin("ADMIN_WEB_ORIGIN"),
            trusted_proxies: reader.networks("TRUSTED_PROXIES"),
            heartbeat_interval,
            otrt_required: reader.parsed("OTRT_REQUIRED", false),
            site_prefixes: SitePrefixes {
                ipv4: reader.number("RATE_LIMIT_SITE_PREFIX_IPV4", 8..=32),
                ipv6: reader.number("RATE_LIMIT_SITE_PREFIX_IPV6", 16..=64),
            },
            limits_file: reader.limits_file(&limits, heartbeat_interval),
            limits,
            heartbeat_retention: Duration::from_hours(24 * reader.number::<u64>("HEARTBEAT_RETENTION_DAYS", 1..=3_650)),
            log_retention: Duration::from_hours(24 * reader.number::<u64>("LOG_RETENTION_DAYS", 1..=3_650)),
            command_retention: Duration::from_hours(24 * reader.number::<u64>("COMMAND_RETENTION_DAYS", 1..=3_650)),
            firmware_history_retention: Duration::from_hours(
                24 * reader.number::<u64>("FIRMWARE_HISTORY_RETENTION_DAYS", 1..=3_650),
            ),
            sqlite: SqliteUse {
                synchronous: reader.one_of(
                    "STORE_SYNCHRONOUS",
                    &[("full", Synchronous::Full), ("normal", Synchronous::Normal), ("off", Synchronous::Off)],
                ),
                locking: reader
                    .one_of("STORE_LOCKING", &[("shared", Locking::Shared), ("exclusive", Locking::Exclusive)]),
            },
            commit_group_max: reader.number("COMMIT_GROUP_MAX", 1..=4_096),
            disk_reserve_bytes: reader.number("DISK_RESERVE_BYTES", 0..=9_007_199_254_740_991),
            store_queue_max: reader.number("STORE_QUEUE_MAX", 16..=1_000_000),
            overload_target: reader.duration_ms("OVERLOAD_TARGET_MS", 0..=10_000),
            connections_max: reader.number("CONNECTIONS_MAX", 1..=1_000_000),
            request_timeout: reader.duration_ms("REQUEST_TIMEOUT_MS", 100..=600_000),
            idle_timeout: reader.duration_ms("IDLE_TIMEOUT_MS", 1_000..=IDLE_TIMEOUT_MS_MAX),
            shutdown_grace: reader.duration_ms("SHUTDOWN_GRACE_MS", 0..=600_000),
            log_level: reader
                .one_of("LOG_LEVEL", &["error", "warn", "info", "debug", "trace"].map(|level| (level, level)))
                .to_owned(),
            log_json: reader.one_of("LOG_FORMAT", &[("text", false), ("json", true)]),
            sentry: reader.sentry(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(pairs: &[(&str, &str)]) -> Result<Config, Vec<StartError>> {
        Config::from_map(&pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn an_origin_that_no_browser_sends_is_refused_with_the_right_one() {
        for (wrong, right) in [
            ("http://a:80", "http://a"),
            ("https://a:443", "https://a"),
            ("https://a:0443", "https://a"),
            ("https://a:080", "https://a:80"),
            ("https://a:99999", "https://a"),
            ("https://a:0", "https://a"),
            ("https://a:", "https://a"),
            ("https://a:b", "https://a"),
            ("https://[::1]:443", "https://[::1]"),
        ] {
            let errors = with(&[("ADMIN_WEB_ORIGIN", wrong)]).unwrap_err();
            assert_eq!(errors.len(), 1, "{wrong}");
            assert_eq!(errors[0].help(), format!("set ADMIN_WEB_ORIGIN={right}"));
        }
        for right in
            ["http://a", "https://a:80", "http://a:443", "http://a:8080", "https://[::1]", "https://[::1]:8443"]
        {
            assert_eq!(with(&[("ADMIN_WEB_ORIGIN", right)]).unwrap().admin_web_origin.as_deref(), Some(right));
        }
    }

    #[test]
    fn the_defaults_are_a_valid_configuration() {
        let config = with(&[]).unwrap();
        assert_eq!(config.listen.port(), 3_000);
        assert_eq!(config.database, PathBuf::from("./data/ks.sqlite"));
        assert!(matches!(config.server_key, ServerKeySource::Development(_)));
    }

    #[test]
    fn invalid_utf8_is_refused_and_does_not_count_as_unset() {
        let wrong = with(&[("OTRT_REQUIRED", "true\u{fffd}"), ("SERVER_PRIVATE_KEY_FILE", "./k\u{fffd}.pem")]);
        let text: Vec<String> = wrong.unwrap_err().iter().map(ToString::to_string).collect();
        assert!(text.iter().any(|text| text.starts_with("OTRT_REQUIRED is")), "{text:?}");
        assert!(text.iter().any(|text| text.starts_with("SERVER_PRIVATE_KEY_FILE is")), "{text:?}");
    }

    #[test]
    fn a_key_from_two_sources_is_refused() {
        let wrong = with(&[("SERVER_PRIVATE_KEY", "a"), ("SERVER_PRIVATE_KEY_FILE", "b")]).unwrap_err();
        assert!(wrong[0].help().contains("unset one"), "{wrong:?}");
    }

    #[test]
    fn every_invalid_setting_is_reported_with_an_example() {
        let wrong = with(&[
            ("PORT", "70000"),
            ("RATE_LIMIT_DEVICE_PER_MIN", "many"),
            ("DATABASE_URL", "postgres://db/ks"),
            ("STORE_SYNCHRONOUS", "maybe"),
            ("ADMIN_TOKEN", "short"),
            ("SERVER_PRIVATE_KEY", "not a pem"),
            ("SENTRY_DSN", "nowhere"),
        ])
        .unwrap_err();
        let text: Vec<String> = wrong.iter().map(|error| format!("{error}; {}", error.help())).collect();
        assert_eq!(text.len(), 7, "{text:#?}");
        assert_eq!(
            text[0],
            "PORT is `70000`, expected a whole number from 0 to 65535 (0: any free port); set PORT=3000"
        );
    }

    #[test]
    fn secrets_can_be_read_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let (token, secret) = (file("token", "a-token-of-the-edge\n"), file("secret", "the secret\r\n"));
        let s3 = [("ARTIFACTS_S3_BUCKET", "b"), ("S3_ACCESS_KEY_ID", "id"), ("S3_SECRET_ACCESS_KEY_FILE", &*secret)];
        let config = with(&[&[("ADMIN_TOKEN_FILE", &*token)], &s3[..]].concat()).unwrap();
        assert_eq!(config.admin_token.unwrap().reveal(), "a-token-of-the-edge");
        let ArtifactPlace::S3(bucket) = config.artifacts else { panic!("{:?}", config.artifacts) };
        assert_eq!(bucket.access_key.unwrap().1.reveal(), "the secret");

        let said = |pairs: &[(&str, &str)]| with(pairs).unwrap_err()[0].to_string();
        let both = said(&[("ADMIN_TOKEN", "a-token-of-the-edge"), ("ADMIN_TOKEN_FILE", &token)]);
        assert_eq!(both, "ADMIN_TOKEN and ADMIN_TOKEN_FILE are both set");
        let (missing, empty) = (folder.path().join("none").display().to_string(), file("empty", " \n"));
        let folder_itself = folder.path().display().to_string();
        let short = file("short", "hunter2\n");
        let s3 = [("ARTIFACTS_S3_BUCKET", "b"), ("S3_ACCESS_KEY_ID", "id")];
        for (setting, other) in [("ADMIN_TOKEN_FILE", &[][..]), ("S3_SECRET_ACCESS_KEY_FILE", &s3)] {
            for (path, why) in [
                (&missing, "cannot read"),
                (&empty, "0 characters"),
                (&folder_itself, "it is not a regular file"),
                (&short, "7 ch"),
            ] {
                if path == &short && setting != "ADMIN_TOKEN_FILE" {
                    continue; // any secret will do there
                }
                let wrong = with(&[&[(setting, path.as_str())], other].concat()).unwrap_err();
                let [wrong] = wrong.as_slice() else { panic!("one error for one fault: {wrong:?}") };
                let text = format!("{wrong}; {}", wrong.help());
                assert!(text.starts_with(setting) && text.contains(path.as_str()) && text.contains(why), "{text}");
                assert!(!text.contains("hunter2"), "{text}");
            }
        }
        let short = with(&[("ADMIN_TOKEN_FILE", &*short)]).unwrap_err();
        assert_eq!(short[0].help(), "give a file with at least 16 characters without spaces");
    }

    #[test]
    fn a_database_is_a_path_and_other_schemes_are_refused() {
        for (given, path) in [
            ("file:./data/a.sqlite", "./data/a.sqlite"),
            ("file:a.sqlite", "a.sqlite"),
            ("file:///srv/a.sqlite", "/srv/a.sqlite"),
            ("sqlite:///srv/a.sqlite", "/srv/a.sqlite"),
            ("data/a.sqlite", "data/a.sqlite"),
            ("./a:b.sqlite", "./a:b.sqlite"),
            ("file:./a:b.sqlite", "./a:b.sqlite"),
            ("/srv/2026-11-28T10:00.sqlite", "/srv/2026-11-28T10:00.sqlite"),
        ] {
            assert_eq!(with(&[("DATABASE_URL", given)]).unwrap().database, PathBuf::from(path), "{given}");
        }
        for given in [
            "flie:x",
            "File:x",
            "FILE:./x",
            "memory:",
            ":memory:",
            "file::memory:",
            "file:memory:",
            "sqlite3:x",
            "libsql:x",
            " flie:x",
            "postgres:x",
            "postgresql+ssl://db/ks",
            "file:postgres://db/ks",
            "file:file:x",
            "file:",
            "file:./x?mode=ro",
            "./data/",
        ] {
            let wrong = with(&[("DATABASE_URL", given)]).unwrap_err();
            let said = format!("{}; {}", wrong[0], wrong[0].help());
            assert!(
                said.contains("expected `file:` and the path") && said.contains("set DATABASE_URL=file:"),
                "{said}"
            );
        }
    }

    #[test]
    fn a_password_is_not_shown_however_the_url_is_written() {
        for (given, shown) in [
            ("postgres://ks:hunter2@db/ks", "postgres://ks:(not shown)@db/ks"),
            ("postgres://ks:hun@ter2@db/ks", "postgres://ks:(not shown)@db/ks"),
            ("postgres://ks:hun?ter2@db/ks", "postgres://ks:(not shown)@db/ks"),
            ("postgres://:hunter2@db/ks", "postgres://:(not shown)@db/ks"),
            ("postgres:ks:hunter2@db/ks", "postgres:(not shown)@db/ks"),
            ("ks:hunter2@db/ks", "ks:(not shown)@db/ks"),
            ("flie://db/ks?user=ks&password=hunter2", "flie://db/ks?(not shown)"),
            ("postgres://ks@db/ks", "postgres://ks@db/ks"),
            ("flie:./data/ks.sqlite", "flie:./data/ks.sqlite"),
        ] {
            assert_eq!(reader::without_password(given), shown);
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = with(&[("ADMIN_TOKEN", "hunter2")]).unwrap_err()[0].to_string();
        assert!(!shown.contains("hunter2"), "{shown}");
        let shown = with(&[("DATABASE_URL", "postgres://ks:hunter2@db/ks")]).unwrap_err()[0].to_string();
        assert!(!shown.contains("hunter2") && shown.contains("@db/ks"), "{shown}");
        let shown = format!("{:?}", with(&[("ADMIN_TOKEN", "hunter2-hunter2-hunter2")]).unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }

    #[test]
    fn every_default_and_every_plain_example_is_accepted() {
        for setting in SETTINGS {
            let example = setting.example;
            if !example.contains('$') && !setting.name.ends_with("_FILE") {
                assert!(with(&[(setting.name, example)]).is_ok(), "{}={example}", setting.name);
            }
        }
    }
}
