//! Every setting of the server, declared once: names, defaults, ranges and what they mean.
//!
//! The environment, the flags of `ks-server serve`, the `[server]` table of scenarios and docs/configuration.md all come from this table.
//! The settings of limits come from [`TABLE`].

use crate::limit::{Number, TABLE};

#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Environment variable; the flag is the same in kebab case.
    pub name: &'static str,
    /// Value if none is given; empty means unset.
    pub default: &'static str,
    /// What a value must be.
    pub expected: &'static str,
    pub example: &'static str,
    /// What it is for, one sentence.
    pub help: &'static str,
    /// Whether the value must never be shown.
    pub secret: bool,
}

const fn setting(
    name: &'static str,
    default: &'static str,
    expected: &'static str,
    example: &'static str,
    help: &'static str,
) -> Setting {
    Setting { name, default, expected, example, help, secret: false }
}

const fn secret(mut setting: Setting) -> Setting {
    setting.secret = true;
    setting
}

/// Every setting, in the order of the documentation.
pub const SETTINGS: &[Setting] = &ALL;

/// How many settings limits have: a mode and one or two numbers each.
const LIMIT_SETTINGS: usize = {
    let (mut count, mut row) = (0, TABLE);
    while let [spec, rest @ ..] = row {
        count += if spec.burst.is_some() { 3 } else { 2 };
        row = rest;
    }
    count
};

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler, which checks it")]
const ALL: [Setting; BEFORE_LIMITS.len() + LIMIT_SETTINGS + AFTER_LIMITS.len()] = {
    let mut all = [setting("", "", "", "", ""); BEFORE_LIMITS.len() + LIMIT_SETTINGS + AFTER_LIMITS.len()];
    let mut place = 0;
    while place < BEFORE_LIMITS.len() {
        all[place] = BEFORE_LIMITS[place];
        place += 1;
    }
    let mut row = TABLE;
    while let [spec, rest @ ..] = row {
        all[place] = of_number(&spec.rate);
        place += 1;
        if let Some(burst) = &spec.burst {
            all[place] = of_number(burst);
            place += 1;
        }
        let (default, help) = (spec.mode_default_text, spec.mode_help);
        all[place] = setting(spec.mode_setting, default, "enforce, shadow or off", "shadow", help);
        place += 1;
        row = rest;
    }
    let mut after = 0;
    while after < AFTER_LIMITS.len() {
        all[place] = AFTER_LIMITS[after];
        place += 1;
        after += 1;
    }
    all
};

const fn of_number(number: &Number) -> Setting {
    setting(number.setting, number.default_text, number.expected, number.default_text, number.help)
}

/// The settings before those of limits.
const BEFORE_LIMITS: &[Setting] = &[
    setting("HOST", "0.0.0.0", "an IP address to listen on", "127.0.0.1", "Address to listen on."),
    setting("PORT", "3000", "a whole number from 0 to 65535 (0: any free port)", "3000", "Port to listen on."),
    setting(
        "TLS_CERT_FILE",
        "",
        "the path of a PEM file",
        "/etc/letsencrypt/live/fleet.example.com/fullchain.pem",
        "Certificate chain with which the server itself serves TLS on PORT; it is read again when it changes. If unset, it serves plain HTTP, for a proxy that terminates TLS.",
    ),
    setting(
        "TLS_KEY_FILE",
        "",
        "the path of a PEM file",
        "/etc/letsencrypt/live/fleet.example.com/privkey.pem",
        "Private key of the certificate in TLS_CERT_FILE; set both or none.",
    ),
    setting(
        "DATABASE_URL",
        "file:./data/ks.sqlite",
        "`file:` and the path of a SQLite file (or `sqlite:` and the path, or the path alone)",
        "file:./data/prod.sqlite",
        "The database, which stores everything except firmware images and private keys.",
    ),
    secret(setting(
        "SERVER_PRIVATE_KEY",
        "",
        "an Ed25519 private key in PKCS#8 PEM; line breaks may be written as \\n",
        "\"$(cat server-key.pem)\"",
        "Signs every answer (SIG_SERV). If unset, a development key is created next to the database.",
    )),
    setting(
        "SERVER_PRIVATE_KEY_FILE",
        "",
        "the path of a PEM file",
        "/run/secrets/server-key.pem",
        "File with SERVER_PRIVATE_KEY; set only one of the two.",
    ),
    setting(
        "SERVER_KEYS_DIR",
        "",
        "the path of a folder",
        "/var/lib/ks/server-keys",
        "Where private keys of later key rotations are stored. If unset, `server-keys` next to the database.",
    ),
    setting(
        "KEYS_STRANDED_MAX_BP",
        "100",
        "a whole number from 0 to 10000",
        "100",
        "Largest share of active devices, in basis points, that activating a new server key or retiring an old one may strand.",
    ),
    secret(setting(
        "FIRMWARE_PRIVATE_KEY",
        "",
        "an Ed25519 private key in PKCS#8 PEM; line breaks may be written as \\n",
        "\"$(cat firmware-key.pem)\"",
        "Signs releases (FW_SIG) instead of the server's key. Its public key must be in the keyset. Better: sign offline.",
    )),
    setting(
        "FIRMWARE_PRIVATE_KEY_FILE",
        "",
        "the path of a PEM file",
        "/run/secrets/firmware-key.pem",
        "File with FIRMWARE_PRIVATE_KEY; set only one of the two.",
    ),
    setting(
        "ARTIFACTS_DIR",
        "",
        "the path of a folder",
        "/var/lib/ks/artifacts",
        "Where firmware images are stored. If unset, `artifacts` next to the database.",
    ),
    setting(
        "ARTIFACTS_S3_BUCKET",
        "",
        "the name of a bucket",
        "ks-firmware",
        "S3 bucket that stores firmware images instead of ARTIFACTS_DIR; set only one of the two.",
    ),
    setting(
        "S3_ENDPOINT",
        "",
        "a URL of an S3-compatible store",
        "https://minio.example:9000",
        "URL of the S3-compatible store. If unset, Amazon's for the region.",
    ),
    setting("S3_REGION", "us-east-1", "the name of a region", "eu-central-1", "Region of the bucket."),
    setting("S3_ACCESS_KEY_ID", "", "the id of an access key", "AKIAIOSFODNN7EXAMPLE", "S3 access key ID."),
    secret(setting(
        "S3_SECRET_ACCESS_KEY",
        "",
        "the secret of that access key",
        "\"$(cat s3-secret)\"",
        "S3 secret key. If it and S3_ACCESS_KEY_ID are unset, requests are not signed.",
    )),
    setting(
        "S3_SECRET_ACCESS_KEY_FILE",
        "",
        "the path of a text file",
        "/run/secrets/s3-secret",
        "File with S3_SECRET_ACCESS_KEY; set only one of the two.",
    ),
    setting(
        "ARTIFACT_BYTES_MAX",
        "268435456",
        "a whole number from 1 to 1073741824",
        "268435456",
        "Largest firmware image, in bytes.",
    ),
    setting(
        "ARTIFACT_DOWNLOADS_MAX",
        "64",
        "a whole number from 1 to 100000",
        "64",
        "Most firmware downloads at a time; at the limit, the answer says when to retry.",
    ),
    setting(
        "ARTIFACT_BYTES_PER_S_MAX",
        "50000000",
        "a whole number from 1024 to 100000000000",
        "50000000",
        "Bytes per second that all firmware downloads share, so that they don't slow down heartbeats.",
    ),
    setting(
        "ARTIFACT_SCRUB_BYTES_PER_S",
        "1000000",
        "a whole number from 1024 to 100000000000",
        "1000000",
        "Bytes per second read by the check, four times a day, that the firmware images of ACTIVE releases are intact.",
    ),
    secret(setting(
        "ADMIN_TOKEN",
        "",
        "at least 16 characters without spaces",
        "$(openssl rand -hex 32)",
        "Bearer token with the role admin, for the initial setup. If unset, only users and tokens of `ks-server admin` have access.",
    )),
    setting(
        "ADMIN_TOKEN_FILE",
        "",
        "the path of a text file",
        "/run/secrets/admin-token",
        "File with ADMIN_TOKEN; set only one of the two.",
    ),
    setting(
        "ADMIN_WEB_ORIGIN",
        "",
        "scheme, host and port in lower case, without a path",
        "https://admin.example.com",
        "Origin of the admin web, if this server does not serve it: pages from there may call the admin API.",
    ),
    setting(
        "TRUSTED_PROXIES",
        "",
        "IP addresses or networks such as 10.0.0.0/8, separated by commas",
        "127.0.0.1,10.0.0.0/8",
        "Proxies whose X-Forwarded-For gives the client's address. If unset, it is the address that connects.",
    ),
    setting(
        "HEARTBEAT_INTERVAL_MS",
        "60000",
        "a whole number from 100 to 86400000",
        "60000",
        "Heartbeat interval that devices are sent, in milliseconds.",
    ),
    setting("OTRT_REQUIRED", "false", "true or false", "true", "Whether registration requires a one-time token."),
];

/// The settings after those of limits.
const AFTER_LIMITS: &[Setting] = &[
    setting(
        "RATE_LIMIT_SITE_PREFIX_IPV4",
        "24",
        "a whole number from 8 to 32",
        "24",
        "Length of the prefix that the addresses of one site share, for site_failures.",
    ),
    setting("RATE_LIMIT_SITE_PREFIX_IPV6", "56", "a whole number from 16 to 64", "56", "The same for IPv6."),
    setting(
        "RATE_LIMITS_FILE",
        "",
        "the path of a TOML file",
        "/etc/ks/limits.toml",
        "File with limits, which replace those of the settings; SIGHUP reads it again.",
    ),
    setting(
        "HEARTBEAT_RETENTION_DAYS",
        "30",
        "a whole number from 1 to 3650",
        "30",
        "Days that rows of device_heartbeats are kept.",
    ),
    setting(
        "LOG_RETENTION_DAYS",
        "30",
        "a whole number from 1 to 3650",
        "30",
        "Days that devices' log lines are kept.",
    ),
    setting(
        "COMMAND_RETENTION_DAYS",
        "90",
        "a whole number from 1 to 3650",
        "90",
        "Days that ended commands are kept, counted from their creation.",
    ),
    setting(
        "FIRMWARE_HISTORY_RETENTION_DAYS",
        "365",
        "a whole number from 1 to 3650",
        "365",
        "Days that the history of devices' earlier firmware versions is kept.",
    ),
    setting(
        "STORE_SYNCHRONOUS",
        "full",
        "full, normal or off",
        "full",
        "SQLite's synchronous: full survives a power failure, normal a crash of the process, off is for rehearsals.",
    ),
    setting(
        "STORE_LOCKING",
        "shared",
        "shared or exclusive",
        "shared",
        "Who else may open the database: with shared, this program's commands while the server runs; with exclusive, no other process, which saves six system calls per commit.",
    ),
    setting("COMMIT_GROUP_MAX", "256", "a whole number from 1 to 4096", "256", "Most writes that share one commit."),
    setting(
        "STORE_QUEUE_MAX",
        "8192",
        "a whole number from 16 to 1000000",
        "8192",
        "Most writes that may wait for a commit; more are refused as OVERLOADED.",
    ),
    setting(
        "OVERLOAD_TARGET_MS",
        "100",
        "a whole number from 0 to 10000",
        "100",
        "How long writes may wait beyond two commits, in milliseconds; when all wait longer, devices are refused as OVERLOADED, log lines first (docs/rate-limits.md). 0: only a full queue refuses.",
    ),
    setting(
        "DISK_RESERVE_BYTES",
        "67108864",
        "a whole number from 0 to 9007199254740991",
        "67108864",
        "Free bytes on the database's disk that are reserved for operators: with fewer, devices are refused as OVERLOADED.",
    ),
    setting(
        "CONNECTIONS_MAX",
        "100000",
        "a whole number from 1 to 1000000",
        "100000",
        "Most open connections; at the limit, incomplete requests and idle connections are closed for new ones, first those of the address with the most.",
    ),
    setting(
        "REQUEST_TIMEOUT_MS",
        "10000",
        "a whole number from 100 to 600000",
        "10000",
        "Timeout for a request's head after its first byte, for its body after that, and for a client to read more of an answer, in milliseconds.",
    ),
    setting(
        "IDLE_TIMEOUT_MS",
        "900000",
        "a whole number from 1000 to 86400000",
        "900000",
        "Timeout of a connection from one answer until the next request's head is complete, in milliseconds.",
    ),
    setting(
        "SHUTDOWN_GRACE_MS",
        "10000",
        "a whole number from 0 to 600000",
        "10000",
        "Time that requests in progress have to finish when the server stops, in milliseconds.",
    ),
    setting("LOG_LEVEL", "info", "error, warn, info, debug or trace", "info", "Lowest severity that is logged."),
    setting("LOG_FORMAT", "text", "text or json", "json", "Format of the log on standard error."),
    secret(setting(
        "SENTRY_DSN",
        "",
        "http(s)://PUBLIC_KEY@HOST/PROJECT",
        "https://0123456789abcdef@sentry.example.com/42",
        "Sentry DSN that errors are reported to. If unset, they are not reported.",
    )),
];
