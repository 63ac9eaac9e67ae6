//! Every limit of the server, declared once: name, settings, default, range and reason.
//!
//! The settings `RATE_LIMIT_*`, docs/configuration.md, the limits file, GET /api/limits and the labels of metrics all come from this
//! table.

use schemars::JsonSchema;
use serde::Serialize;

use super::Rate;

/// What is done with a limit's verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Refuses what is beyond the limit.
    Enforce,
    /// Decides and counts as if it were enforced, and lets everything through.
    Shadow,
    /// Does not decide, and counts nothing.
    Off,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Enforce, Self::Shadow, Self::Off];

    /// Its name in settings, files and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Off => "off",
        }
    }

    /// The mode with this name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// One number of a limit.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    /// Environment variable.
    pub setting: &'static str,
    /// Its name in a limits file: `per_min`, `per_day` or `burst`.
    pub field: &'static str,
    pub default: u32,
    /// The default as text, for the table of settings.
    pub default_text: &'static str,
    pub min: u32,
    pub max: u32,
    /// What a value must be.
    pub expected: &'static str,
    /// What it is for, one sentence.
    pub help: &'static str,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Spec {
    pub limit: Limit,
    /// Its name in files, the API and metrics.
    pub name: &'static str,
    /// What each budget belongs to: a device, an address, the whole server.
    pub subject: &'static str,
    /// What is counted.
    pub unit: &'static str,
    /// Why there is a limit: what it protects.
    pub reason: &'static str,
    /// The sustained rate: by minute, or by day if there is no burst.
    pub rate: Number,
    /// None if a whole day's total may come in one burst.
    pub burst: Option<Number>,
    /// Environment variable of the mode.
    pub mode_setting: &'static str,
    pub mode_default: Mode,
    /// The default mode as text, for the table of settings.
    pub mode_default_text: &'static str,
    /// What the mode is for, one sentence.
    pub mode_help: &'static str,
}

impl Spec {
    /// The rate of these numbers; `burst` is ignored by a limit without one.
    pub fn rate_of(&self, rate: u32, burst: u32) -> Rate {
        if self.burst.is_some() { Rate { per_min: rate, burst } } else { Rate::per_day(rate) }
    }

    /// Its numbers, the rate first.
    pub fn numbers(&self) -> impl Iterator<Item = &Number> {
        [Some(&self.rate), self.burst.as_ref()].into_iter().flatten()
    }
}

macro_rules! limits {
    (@unit PER_MIN) => { "per_min" };
    (@unit PER_DAY) => { "per_day" };
    (@when PER_MIN) => { " per minute." };
    (@when PER_DAY) => { " per day; a day's total may come in one burst." };
    (@mode enforce) => { Mode::Enforce };
    (@mode shadow) => { Mode::Shadow };
    (@burst $setting:literal, $what:literal,) => { None };
    (@burst $setting:literal, $what:literal, $burst:literal) => {
        Some(Number {
            setting: concat!($setting, "_BURST"),
            field: "burst",
            default: $burst,
            default_text: concat!($burst),
            min: 1,
            max: 1_000_000,
            expected: "a whole number from 1 to 1000000",
            help: concat!($what, " in a burst."),
        })
    };
    ($(
        $variant:ident: $name:literal, $setting:literal, $what:literal,
        $unit:ident $rate:literal in $min:literal to $max:literal $(, burst $burst:literal)?,
        mode $mode:ident, by $subject:literal, of $counted:literal, because $reason:literal;
    )*) => {
        /// The server's limits.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Limit {
            $(#[doc = $what] $variant,)*
        }

        /// Every limit, in the order of the documentation and of [`Limit`].
        pub const TABLE: &[Spec] = &[$(
            Spec {
                limit: Limit::$variant,
                name: $name,
                subject: $subject,
                unit: $counted,
                reason: $reason,
                rate: Number {
                    setting: concat!($setting, "_", stringify!($unit)),
                    field: limits!(@unit $unit),
                    default: $rate,
                    default_text: concat!($rate),
                    min: $min,
                    max: $max,
                    expected: concat!("a whole number from ", $min, " to ", $max),
                    help: concat!($what, limits!(@when $unit)),
                },
                burst: limits!(@burst $setting, $what, $($burst)?),
                mode_setting: concat!($setting, "_MODE"),
                mode_default: limits!(@mode $mode),
                mode_default_text: stringify!($mode),
                mode_help: concat!("Whether the limit ", $name, " refuses (enforce), only counts (shadow), or is off."),
            },
        )*];
    };
}

limits! {
    AllRequests: "all_requests", "RATE_LIMIT_ALL_REQUESTS",
        "Verified requests of all devices (devices that have not registered leave three quarters of the burst to others, log lines half, heartbeats a fifth)",
        PER_MIN 600_000 in 1 to 60_000_000, burst 20_000, mode shadow, by "server", of "requests",
        because "more than the server was measured to take must not delay ACKs, punches and orders to halt";
    DeviceRequests: "device_requests", "RATE_LIMIT_DEVICE",
        "Verified requests that a device may make",
        PER_MIN 120 in 1 to 60_000_000, burst 30, mode enforce, by "device", of "requests",
        because "one faulty device must not delay the others";
    DeviceLogBytes: "device_log_bytes", "RATE_LIMIT_DEVICE_LOG_BYTES",
        "Bytes of log lines (each line counted as its message plus 64) that a device may send",
        PER_DAY 16_777_216 in 65_536 to 4_294_967_295, mode enforce, by "device", of "bytes",
        because "log lines of one device must not fill the disk";
    DevicePunches: "device_punches", "RATE_LIMIT_DEVICE_PUNCHES",
        "Punches that a device may send",
        PER_DAY 100_000 in 1_440 to 4_294_967_295, mode enforce, by "device", of "punches",
        because "punches of one faulty or stolen device must not fill the disk";
    DeviceStoredBytes: "device_stored_bytes", "RATE_LIMIT_DEVICE_STORED_BYTES",
        "Bytes that the server may store for a device (see docs/rate-limits.md)",
        PER_DAY 67_108_864 in 1_048_576 to 4_294_967_295, mode shadow, by "device", of "bytes",
        because "one faulty or stolen device must not fill the disk, whatever it sends";
    DeviceKeyChanges: "device_key_changes", "RATE_LIMIT_DEVICE_KEY_CHANGES",
        "Key changes that a device may make",
        PER_MIN 1 in 1 to 60_000_000, burst 3, mode enforce, by "device", of "key changes",
        because "each adds an audit line and makes every server load the device again";
    DevicePairFailures: "device_pair_failures", "RATE_LIMIT_DEVICE_PAIR_FAILURES",
        "Failing requests with expected pairs of one device that are checked, while another budget is used up,",
        PER_MIN 60 in 1 to 60_000_000, burst 60, mode enforce, by "device", of "failures",
        because "somebody who reads a site's traffic knows its pairs, and must not get free signature checks by them";
    AddressFailures: "address_failures", "RATE_LIMIT_ADDRESS_FAILURES",
        "Failing requests (successful ones do not count) that an address may make",
        PER_MIN 120 in 1 to 60_000_000, burst 120, mode enforce, by "address or IPv6 /64", of "failures",
        because "a flood of bad requests from one address must not cost signature checks";
    SiteFailures: "site_failures", "RATE_LIMIT_SITE_FAILURES",
        "Failing requests that the addresses of one site's network may make together",
        PER_MIN 1_200 in 1 to 60_000_000, burst 1_200, mode shadow, by "network of a site", of "failures",
        because "an attacker with a whole network must not have a budget for each of its addresses";
    ExpensiveFailures: "expensive_failures", "RATE_LIMIT_EXPENSIVE_FAILURES",
        "Failing requests of all addresses that cost a signature check or a query",
        PER_MIN 120_000 in 1 to 60_000_000, burst 2_000, mode enforce, by "server", of "failures",
        because "a flood from very many addresses may take a tenth of a core and no more";
    NewDeviceFailures: "new_device_failures", "RATE_LIMIT_NEW_DEVICE_FAILURES",
        "Failing requests in the names of devices that never sent one that are checked, while another budget is used up,",
        PER_MIN 6_000 in 1 to 60_000_000, burst 200, mode enforce, by "server", of "failures",
        because "anyone can guess the first pair of such a device, and would have as many budgets as they know names";
    AddressRegistrations: "address_registrations", "RATE_LIMIT_ADDRESS_REGISTRATIONS",
        "Registrations that an address may make, also repeated ones",
        PER_MIN 600 in 1 to 60_000_000, burst 2_000, mode shadow, by "address or IPv6 /64", of "registrations",
        because "each is a commit and an audit line of its own; one site must not take them all";
    Registrations: "registrations", "RATE_LIMIT_REGISTRATIONS",
        "Registrations of all devices",
        PER_MIN 6_000 in 1 to 60_000_000, burst 10_000, mode shadow, by "server", of "registrations",
        because "a fleet that registers at once must not delay heartbeats";
    AddressUnsigned: "address_unsigned", "RATE_LIMIT_ADDRESS_UNSIGNED",
        "Requests without a signature (GET /keys, GET /metrics, unknown paths and methods) that an address may make",
        PER_MIN 60_000 in 1 to 60_000_000, burst 20_000, mode enforce, by "address or IPv6 /64", of "requests",
        because "each costs a signature or a query, and anybody can send them";
    TokenCalls: "token_calls", "RATE_LIMIT_TOKEN_CALLS",
        "Calls of the admin API with one token or session",
        PER_MIN 1_200 in 1 to 60_000_000, burst 1_200, mode shadow, by "token or session", of "calls",
        because "a script in a loop must not take the admin API from people";
    AddressWrongTokens: "address_wrong_tokens", "RATE_LIMIT_ADDRESS_WRONG_TOKENS",
        "Wrong tokens that an address may send to /api",
        PER_MIN 120 in 1 to 60_000_000, burst 120, mode enforce, by "address or IPv6 /64", of "failures",
        because "tokens must not be guessed, and each guess is a query";
    AddressLogins: "address_logins", "RATE_LIMIT_ADDRESS_LOGINS",
        "Logins that may fail from an address where the user has not logged in before",
        PER_MIN 10 in 1 to 60_000_000, burst 10, mode enforce, by "address or IPv6 /64", of "failures",
        because "passwords must not be guessed from one address";
    UserLogins: "user_logins", "RATE_LIMIT_USER_LOGINS",
        "Logins that may fail under one name from all addresses where that user has not logged in before",
        PER_MIN 20 in 1 to 60_000_000, burst 20, mode enforce, by "user", of "failures",
        because "one user's password must not be guessed from many addresses";
    LoginAttempts: "login_attempts", "RATE_LIMIT_LOGIN_ATTEMPTS",
        "Logins under one name from one address (also those that succeed)",
        PER_MIN 12 in 1 to 60_000_000, burst 12, mode enforce, by "user and address", of "logins",
        because "each costs a tenth of a second of a core";
}

/// How many limits there are.
pub const LIMITS: usize = TABLE.len();

impl Limit {
    /// Its place in [`TABLE`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its row of the table.
    #[expect(clippy::indexing_slicing, reason = "the table has one row for each limit, in the same order")]
    pub fn spec(self) -> &'static Spec {
        &TABLE[self.index()]
    }

    /// The limit with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        TABLE.iter().find(|spec| spec.name == name).map(|spec| spec.limit)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn rows_are_in_the_order_of_the_limits_and_defaults_are_in_range() {
        for (place, spec) in TABLE.iter().enumerate() {
            assert_eq!((spec.limit.index(), spec.limit.spec().name), (place, spec.name));
            assert_eq!(Limit::from_name(spec.name), Some(spec.limit));
            for number in spec.numbers() {
                assert!((number.min..=number.max).contains(&number.default), "{}", number.setting);
                assert_eq!(number.default_text, number.default.to_string());
            }
            assert_eq!(Mode::from_word(spec.mode_default_text), Some(spec.mode_default));
        }
        let names: BTreeSet<&str> = TABLE.iter().map(|spec| spec.name).collect();
        assert_eq!(names.len(), LIMITS);
    }

    #[test]
    fn settings_are_named_after_the_limit() {
        let spec = Limit::DeviceRequests.spec();
        let settings: Vec<&str> = spec.numbers().map(|number| number.setting).chain([spec.mode_setting]).collect();
        assert_eq!(settings, ["RATE_LIMIT_DEVICE_PER_MIN", "RATE_LIMIT_DEVICE_BURST", "RATE_LIMIT_DEVICE_MODE"]);
        assert_eq!(Limit::DevicePunches.spec().rate.setting, "RATE_LIMIT_DEVICE_PUNCHES_PER_DAY");
        assert_eq!(Limit::DevicePunches.spec().rate_of(2_880, 7), Rate::per_day(2_880));
    }
}
