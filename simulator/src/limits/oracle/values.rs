//! The data plane's limits and their values, read from what the admin API says is in force.

use std::fmt;

use crate::operator::ObservedLimit;

macro_rules! limit_names {
    ($($variant:ident = $name:literal, $message:literal;)*) => {
        /// A limit of the data plane.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum LimitName { $(#[doc = $name] $variant,)* }

        impl LimitName {
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in settings, files and the API.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What a refusal by it says; empty for a limit that refuses in another one's words.
            fn refusal_message(self) -> &'static str {
                match self { $(Self::$variant => $message,)* }
            }
        }
    };
}

limit_names! {
    AddressFailures = "address_failures", "too many failed requests from this address";
    SiteFailures = "site_failures", "too many failed requests from this network";
    ExpensiveFailures = "expensive_failures", "too many failed requests from all addresses";
    DevicePairFailures = "device_pair_failures", "";
    NewDeviceFailures = "new_device_failures", "";
    DeviceRequests = "device_requests", "too many requests by this device";
    AllRequests = "all_requests", "too many requests of all devices";
    DeviceStoredBytes = "device_stored_bytes", "daily limit of stored bytes of this device reached";
    DeviceLogBytes = "device_log_bytes", "daily log limit of this device reached";
    DevicePunches = "device_punches", "daily punch limit of this device reached";
    DeviceKeyChanges = "device_key_changes", "too many key changes of this device";
    AddressRegistrations = "address_registrations", "too many registrations from this address";
    Registrations = "registrations", "too many registrations of all devices";
}

impl LimitName {
    /// The limit that a refusal with this message names; none if it is none of these.
    pub fn of_message(message: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|limit| !message.is_empty() && limit.refusal_message() == message)
    }
}

/// What is done with a limit's verdicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Enforce,
    Shadow,
    Off,
}

impl Mode {
    /// By its word.
    pub(super) fn of(word: &str) -> Self {
        match word {
            "enforce" => Self::Enforce,
            "shadow" => Self::Shadow,
            _ => Self::Off,
        }
    }
}

/// The values of one limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Value {
    /// At least 1.
    pub per_min: u64,
    /// At least 1.
    pub burst: u64,
    pub mode: Mode,
}

impl Value {
    /// By day: a day's total may come at once.
    pub(super) fn per_day(per_day: u64, mode: Mode) -> Self {
        Self { per_min: per_day.div_ceil(24 * 60).max(1), burst: per_day.max(1), mode }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { per_min, burst, mode } = self;
        let mode = match mode {
            Mode::Enforce => "enforced",
            Mode::Shadow => "in shadow",
            Mode::Off => "off",
        };
        write!(f, "{per_min} a minute, {burst} at once, {mode}")
    }
}

/// Some of the limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LimitSet(u32);

impl LimitSet {
    /// All of them.
    pub const ALL: Self = Self(u32::MAX);

    fn bit(name: LimitName) -> u32 {
        1 << (name as u32)
    }

    /// Those that a limits file names; all of them, if it can't be read.
    pub fn named_in(file: &[u8]) -> Self {
        let tables = std::str::from_utf8(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
        let Some(tables) = tables else { return Self::ALL };
        LimitName::ALL.iter().copied().filter(|name| tables.contains_key(name.as_str())).collect()
    }

    /// These and those.
    #[must_use]
    pub fn and(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub fn contains(self, name: LimitName) -> bool {
        self.0 & Self::bit(name) != 0
    }
}

impl FromIterator<LimitName> for LimitSet {
    fn from_iter<T: IntoIterator<Item = LimitName>>(names: T) -> Self {
        Self(names.into_iter().map(Self::bit).fold(0, |all, bit| all | bit))
    }
}

/// The values of all limits, in the order of [`LimitName::ALL`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Values([Value; LimitName::ALL.len()]);

impl Values {
    /// As the admin API shows them. A limit that it does not show is off.
    pub fn observed(limits: &[ObservedLimit]) -> Self {
        let mut values = Self::all_off();
        for name in LimitName::ALL {
            if let Some(observed) = limits.iter().find(|limit| limit.name == name.as_str()) {
                values.set(*name, value_of(observed));
            }
        }
        values
    }

    /// No limit at all.
    pub fn all_off() -> Self {
        Self([Value { per_min: 1, burst: 1, mode: Mode::Off }; LimitName::ALL.len()])
    }

    /// Sets the values of one limit.
    pub fn set(&mut self, name: LimitName, value: Value) {
        if let Some(old) = self.0.get_mut(name as usize) {
            *old = value;
        }
    }

    /// The limits whose values differ.
    pub fn differing_from(&self, others: &Self) -> LimitSet {
        LimitName::ALL.iter().copied().filter(|name| self.get(*name) != others.get(*name)).collect()
    }

    /// The values of one limit.
    pub fn get(&self, name: LimitName) -> Value {
        self.0.get(name as usize).copied().unwrap_or(Value { per_min: 1, burst: 1, mode: Mode::Off })
    }
}

fn value_of(observed: &ObservedLimit) -> Value {
    let mode = Mode::of(&observed.mode);
    if let Some(per_day) = observed.per_day {
        return Value::per_day(per_day.into(), mode);
    }
    let [per_min, burst] = [observed.per_min, observed.burst].map(|number| u64::from(number.unwrap_or(1)).max(1));
    Value { per_min, burst, mode }
}
