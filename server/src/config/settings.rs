//! Every setting of the server, declared once: names, defaults, ranges and what they mean.
//!
//! The environment, the flags of `ks-server serve`, the `[server]` table of scenarios and docs/configuration.md all come from this table.

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Environment variable; the flag is the same in kebab case.
    pub name: &'static str,
    /// Value when none is given; empty means unset.
    pub default: &'static str,
    /// What a value must be.
    pub expected: &'static str,
    /// A value that would do.
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
pub const SETTINGS: &[Setting] = &[
    setting("HOST", "0.0.0.0", "an IP address to listen on", "127.0.0.1", "Address to listen on."),
    setting("PORT", "3000", "a whole number from 0 to 65535 (0: any free port)", "3000", "Port to listen on."),
    setting(
        "DATABASE_URL",
        "file:./data/ks.sqlite",
        "`file:` and the path of a SQLite file (`sqlite:` means the same, and the path alone will do)",
        "file:./data/prod.sqlite",
        "Where everything is stored.",
    ),
    secret(setting(
        "SERVER_PRIVATE_KEY",
        "",
        "an Ed25519 private key in PKCS#8 PEM; line breaks may be written as \\n",
        "\"$(cat server-key.pem)\"",
        "Signs every answer (SIG_SERV). Unset, a development key is made beside the database.",
    )),
    setting(
        "SERVER_PRIVATE_KEY_FILE",
        "",
        "the path of a PEM file",
        "/run/secrets/server-key.pem",
        "The same from a file; not together with SERVER_PRIVATE_KEY.",
    ),
    setting(
        "SERVER_KEYS_DIR",
        "",
        "the path of a folder",
        "/var/lib/ks/server-keys",
        "Where private keys of later key rotations are kept. Unset, `server-keys` beside the database.",
    ),
    setting(
        "KEYS_STRANDED_MAX_BP",
        "100",
        "a whole number from 0 to 10000",
        "100",
        "Share of active devices, in basis points, that flipping to a new server key or retiring an old one may strand.",
    ),
    secret(setting(
        "FIRMWARE_PRIVATE_KEY",
        "",
        "an Ed25519 private key in PKCS#8 PEM; line breaks may be written as \\n",
        "\"$(cat firmware-key.pem)\"",
        "Signs releases (FW_SIG) in place of the server's key. Its public half must be in the keyset. Better: sign offline.",
    )),
    setting(
        "FIRMWARE_PRIVATE_KEY_FILE",
        "",
        "the path of a PEM file",
        "/run/secrets/firmware-key.pem",
        "The same from a file; not together with FIRMWARE_PRIVATE_KEY.",
    ),
    setting(
        "ARTIFACTS_DIR",
        "",
        "the path of a folder",
        "/var/lib/ks/artifacts",
        "Where firmware images are kept. Unset, `artifacts` beside the database.",
    ),
    setting(
        "ARTIFACTS_S3_BUCKET",
        "",
        "the name of a bucket",
        "ks-firmware",
        "Keeps firmware images in an S3-compatible store instead; not together with ARTIFACTS_DIR.",
    ),
    setting(
        "S3_ENDPOINT",
        "",
        "a URL of an S3-compatible store",
        "https://minio.example:9000",
        "Where the bucket is. Unset, Amazon's own for the region.",
    ),
    setting("S3_REGION", "us-east-1", "the name of a region", "eu-central-1", "Region of the bucket."),
    setting("S3_ACCESS_KEY_ID", "", "the id of an access key", "AKIAIOSFODNN7EXAMPLE", "Who asks for the bucket."),
    secret(setting(
        "S3_SECRET_ACCESS_KEY",
        "",
        "the secret of that access key",
        "\"$(cat s3-secret)\"",
        "Proves it. Unset with S3_ACCESS_KEY_ID, requests are not signed.",
    )),
    setting(
        "S3_SECRET_ACCESS_KEY_FILE",
        "",
        "the path of a text file",
        "/run/secrets/s3-secret",
        "The same from a file; not together with S3_SECRET_ACCESS_KEY.",
    ),
    setting(
        "ARTIFACT_BYTES_MAX",
        "268435456",
        "a whole number from 1 to 1073741824",
        "268435456",
        "Greatest firmware image, in bytes.",
    ),
    setting(
        "ARTIFACT_DOWNLOADS_MAX",
        "64",
        "a whole number from 1 to 100000",
        "64",
        "Downloads of firmware at a time; who comes when there is no room is told when to come again.",
    ),
    setting(
        "ARTIFACT_BYTES_PER_S_MAX",
        "50000000",
        "a whole number from 1024 to 100000000000",
        "50000000",
        "Bytes a second that all downloads of firmware share, so that they leave heartbeats alone.",
    ),
    setting(
        "ARTIFACT_SCRUB_BYTES_PER_S",
        "1000000",
        "a whole number from 1024 to 100000000000",
        "1000000",
        "Bytes a second that are read, four times a day, to see whether the firmware images of ACTIVE releases are sound.",
    ),
    secret(setting(
        "ADMIN_TOKEN",
        "",
        "at least 16 characters without spaces",
        "$(openssl rand -hex 32)",
        "Bearer token with the role admin, for the first steps. Unset, only users and tokens made by `ks-server admin` may call.",
    )),
    setting(
        "ADMIN_TOKEN_FILE",
        "",
        "the path of a text file",
        "/run/secrets/admin-token",
        "The same from a file; not together with ADMIN_TOKEN.",
    ),
    setting(
        "ADMIN_WEB_ORIGIN",
        "",
        "scheme, host and port in lower case, without a path",
        "https://admin.example.com",
        "Where the admin web is served, if not by this server: pages from there may call the admin API.",
    ),
    setting(
        "TRUSTED_PROXIES",
        "",
        "IP addresses or networks such as 10.0.0.0/8, with commas between them",
        "127.0.0.1,10.0.0.0/8",
        "Proxies whose X-Forwarded-For says where a request comes from. Unset, it comes from whoever connects.",
    ),
    setting(
        "HEARTBEAT_INTERVAL_MS",
        "60000",
        "a whole number from 100 to 86400000",
        "60000",
        "Interval that devices are told to keep, in milliseconds.",
    ),
    setting("OTRT_REQUIRED", "false", "true or false", "true", "Whether registering takes a one-time token."),
    setting(
        "RATE_LIMIT_DEVICE_PER_MIN",
        "120",
        "a whole number from 1 to 60000000",
        "120",
        "Verified requests a device may make each minute.",
    ),
    setting(
        "RATE_LIMIT_DEVICE_BURST",
        "30",
        "a whole number from 1 to 1000000",
        "30",
        "Verified requests a device may make at once.",
    ),
    setting(
        "RATE_LIMIT_DEVICE_LOG_BYTES_PER_DAY",
        "16777216",
        "a whole number from 65536 to 4294967295",
        "16777216",
        "Bytes of log lines a device may send each day, 64 for each line and its message; all of a day's at once, if it must be.",
    ),
    setting(
        "RATE_LIMIT_DEVICE_PUNCHES_PER_DAY",
        "100000",
        "a whole number from 1440 to 4294967295",
        "100000",
        "Punches a device may send each day; all of a day's at once, if it must be.",
    ),
    setting(
        "RATE_LIMIT_ADDRESS_FAILURES_PER_MIN",
        "120",
        "a whole number from 1 to 60000000",
        "120",
        "Failing requests an address may make each minute, and as many wrong tokens at /api; what succeeds costs nothing.",
    ),
    setting(
        "RATE_LIMIT_ADDRESS_FAILURES_BURST",
        "120",
        "a whole number from 1 to 1000000",
        "120",
        "Failing requests an address may make at once.",
    ),
    setting(
        "HEARTBEAT_RETENTION_DAYS",
        "30",
        "a whole number from 1 to 3650",
        "30",
        "Days for which rows of device_heartbeats are kept.",
    ),
    setting(
        "LOG_RETENTION_DAYS",
        "30",
        "a whole number from 1 to 3650",
        "30",
        "Days for which log lines of devices are kept.",
    ),
    setting(
        "COMMAND_RETENTION_DAYS",
        "90",
        "a whole number from 1 to 3650",
        "90",
        "Days for which commands that have ended are kept, counted from their order.",
    ),
    setting(
        "FIRMWARE_HISTORY_RETENTION_DAYS",
        "365",
        "a whole number from 1 to 3650",
        "365",
        "Days for which it is kept which firmware a device ran before the one that it runs.",
    ),
    setting(
        "STORE_SYNCHRONOUS",
        "full",
        "full, normal or off",
        "full",
        "SQLite's synchronous: full survives a power cut, normal a crash of the process, off is for rehearsals.",
    ),
    setting(
        "STORE_LOCKING",
        "shared",
        "shared or exclusive",
        "shared",
        "Who else may open the database: shared lets this program's tools in beside the server, exclusive nobody, and saves six system calls a commit.",
    ),
    setting("COMMIT_GROUP_MAX", "256", "a whole number from 1 to 4096", "256", "Writes that share one commit at most."),
    setting(
        "STORE_QUEUE_MAX",
        "8192",
        "a whole number from 16 to 1000000",
        "8192",
        "Writes that may wait for a commit; more are refused as OVERLOADED.",
    ),
    setting(
        "DISK_RESERVE_BYTES",
        "67108864",
        "a whole number from 0 to 9007199254740991",
        "67108864",
        "Bytes of the database's disk that are kept for operators: with fewer free, devices are refused as OVERLOADED.",
    ),
    setting(
        "CONNECTIONS_MAX",
        "100000",
        "a whole number from 1 to 1000000",
        "100000",
        "Open connections at most; when there are as many, half requests and idle connections are closed for the next, first those of the address that has most.",
    ),
    setting(
        "REQUEST_TIMEOUT_MS",
        "10000",
        "a whole number from 100 to 600000",
        "10000",
        "Time for a request's head to arrive once it has begun, for its body to arrive after that, and for a peer to take more of an answer, in milliseconds.",
    ),
    setting(
        "IDLE_TIMEOUT_MS",
        "900000",
        "a whole number from 1000 to 86400000",
        "900000",
        "Time a connection may take from one answer until the next request's head is complete, in milliseconds.",
    ),
    setting(
        "SHUTDOWN_GRACE_MS",
        "10000",
        "a whole number from 0 to 600000",
        "10000",
        "Time that requests in progress get when the server is told to stop, in milliseconds.",
    ),
    setting("LOG_LEVEL", "info", "error, warn, info, debug or trace", "info", "Least severe log line that is written."),
    setting("LOG_FORMAT", "text", "text or json", "json", "Form of the log, on standard error."),
    secret(setting(
        "SENTRY_DSN",
        "",
        "http(s)://PUBLIC_KEY@HOST/PROJECT",
        "https://0123456789abcdef@sentry.example.com/42",
        "Where errors are reported. Unset, nowhere.",
    )),
];
