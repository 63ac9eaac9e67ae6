//! The limits of the scenario format: the check enforces them and its messages quote them.

use std::ops::RangeInclusive;
use std::time::Duration;

pub(crate) use ks_protocol::message::ARGUMENT_BYTES_MAX;
use ks_protocol::time::UnixMs;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn minutes(count: u64) -> Duration {
    Duration::from_secs(count * 60)
}

const fn hours(count: u64) -> Duration {
    minutes(count * 60)
}

/// Bytes of a scenario file; a larger one is refused before it is parsed.
pub const FILE_BYTES_MAX: usize = 1024 * 1024;
/// Problems shown for one file; the rest are counted.
pub(crate) const PROBLEMS_SHOWN_MAX: usize = 50;
/// Syntax errors shown for one file: after the first few, most are consequences.
pub(crate) const SYNTAX_ERRORS_SHOWN_MAX: usize = 5;

/// Characters of a scenario's, phase's, model's or site's name.
pub(crate) const NAME_CHARS_MAX: usize = 64;
pub(crate) const GOAL_CHARS_MAX: usize = 400;
pub(crate) const ID_PREFIX_CHARS_MAX: usize = 32;
/// Punches at each device that one step makes.
pub(crate) const PUNCHES: RangeInclusive<i64> = 1..=1_000;

/// The length of a rehearsal, in virtual time.
pub(crate) const DURATION_REHEARSE: RangeInclusive<Duration> = Duration::from_secs(1)..=hours(90 * 24);
/// The length of a load run, in real time.
pub(crate) const DURATION_LOAD: RangeInclusive<Duration> = Duration::from_secs(1)..=hours(7 * 24);
/// How long to wait for answers after the end.
pub(crate) const DRAIN: RangeInclusive<Duration> = Duration::ZERO..=minutes(10);
/// How much longer than `answer_timeout` `drain` must be, so that every request finishes; also its default.
pub(crate) const DRAIN_MARGIN: Duration = Duration::from_secs(1);
/// A fixed schedule of heartbeats.
pub(crate) const HEARTBEAT_INTERVAL: RangeInclusive<Duration> = ms(100)..=hours(24);
/// A device's timeout for an answer.
pub(crate) const ANSWER_TIMEOUT: RangeInclusive<Duration> = ms(100)..=minutes(5);
pub(crate) const ANSWER_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// Between two attempts of one adversary.
pub(crate) const ATTACK_INTERVAL: RangeInclusive<Duration> = ms(1)..=hours(24);
/// Default of an adversary's `interval`.
pub(crate) const ATTACK_INTERVAL_DEFAULT: Duration = Duration::from_secs(1);
/// How long an outage may last.
pub(crate) const OUTAGE: RangeInclusive<Duration> = ms(1)..=hours(90 * 24);
/// How long a device may have been up.
pub(crate) const UPTIME: RangeInclusive<Duration> = Duration::ZERO..=hours(3_650 * 24);
/// The longest delay of a request in a slow network.
pub(crate) const DELAY: RangeInclusive<Duration> = ms(1)..=minutes(10);
/// The shortest window of `every`.
pub(crate) const WINDOW_MIN: Duration = Duration::from_secs(1);

/// A share in basis points.
pub(crate) const SHARE_BP: RangeInclusive<i64> = 0..=10_000;
/// The counter of a release; the factory's firmware has 1.
pub(crate) const FIRMWARE_COUNTER: RangeInclusive<i64> = 2..=9_007_199_254_740_991;
/// The image of a release, in KiB.
pub(crate) const FIRMWARE_SIZE_KIB: RangeInclusive<i64> = 1..=65_536;
pub(crate) const FIRMWARE_MAX: usize = 100;
/// `[[fleet.churn]]` tables.
pub(crate) const CHURN_MAX: usize = 1_000;
/// A share of background failures, in basis points: one of 0 would do nothing.
pub(crate) const CHURN_BP: RangeInclusive<i64> = 1..=10_000;
/// How long a background failure lasts.
pub(crate) const CHURN_LASTS: RangeInclusive<Duration> = Duration::from_secs(1)..=hours(30 * 24);
/// `[[fleet.cohort]]` tables.
pub(crate) const COHORTS_MAX: usize = 100;
/// Faults of one release.
pub(crate) const FAULTS_MAX: usize = 20;
pub(crate) const POLICIES_MAX: usize = 100;

/// When a rehearsal begins on its own clock: 2000-01-01T00:00:00Z to 2099-12-31T23:59:59.999Z.
pub(crate) const STARTS_AT: RangeInclusive<UnixMs> = UnixMs(946_684_800_000)..=UnixMs(4_102_444_799_999);
/// When it begins by default: 2026-01-01T00:00:00Z.
pub(crate) const STARTS_AT_DEFAULT: UnixMs = UnixMs(1_767_225_600_000);

/// The root seed; the upper end is TOML's own.
pub(crate) const SEED: RangeInclusive<i64> = 0..=i64::MAX;
/// Devices of a fleet.
pub(crate) const DEVICES: RangeInclusive<i64> = 1..=1_000_000;
/// Keep-alive connections that a fleet shares.
pub(crate) const CONNECTIONS: RangeInclusive<i64> = 1..=60_000;
/// The weight of a model or a site.
pub(crate) const SHARE: RangeInclusive<i64> = 1..=1_000_000;
/// Attackers of one `[[adversary]]`.
pub(crate) const ADVERSARY_COUNT: RangeInclusive<i64> = 1..=10_000;
/// Addresses of all attackers of one `[[adversary]]` together.
pub(crate) const ADVERSARY_ADDRESSES: RangeInclusive<i64> = 1..=10_000;
/// Attempts of one adversary at the same time: as many as it may have in flight.
pub(crate) const ATTEMPTS_AT_ONCE: RangeInclusive<i64> = 1..=64;
/// The largest bound of an expectation: whole numbers are exact up to here.
pub(crate) const BOUND_MAX: f64 = 9_007_199_254_740_992.0;
/// Heartbeats per second that a fleet may offer.
pub(crate) const OFFERED_PER_S_MAX: u32 = 200_000;

/// `[[fleet.model]]` or `[[fleet.site]]` tables.
pub(crate) const SHARES_MAX: usize = 1_000;
/// `[[fleet.group]]` tables.
pub(crate) const GROUPS_MAX: usize = 10_000;
/// As [`SHARES_MAX`], for the `count` of `models` or `sites`.
pub(crate) const SERIES_COUNT: RangeInclusive<i64> = 1..=1_000;
/// Characters of a series' `prefix`: those of a name without `-` and four digits.
pub(crate) const SERIES_PREFIX_CHARS_MAX: usize = NAME_CHARS_MAX - 5;
pub(crate) const ADVERSARIES_MAX: usize = 100;
pub(crate) const STEPS_MAX: usize = 1_000;
pub(crate) const EXPECTATIONS_MAX: usize = 200;
