//! The limits in force: what each allows now, and its decisions. They change while the server runs; reading one is one atomic load.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use schemars::JsonSchema;
use serde::Serialize;

use super::{Counters, Limit, Mode, Rate, Spec, TABLE};

/// Where a limit's values come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The program.
    Default,
    /// A setting in the environment, a flag, or a scenario.
    Settings,
    /// The limits that were applied last: by RATE_LIMITS_FILE, the command line or the API.
    Applied,
}

impl Source {
    /// Its name in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Settings => "settings",
            Self::Applied => "applied",
        }
    }
}

/// One limit as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitValue {
    /// By minute, or by day if the limit has no burst.
    pub rate: u32,
    /// Ignored by a limit without a burst.
    pub burst: u32,
    pub mode: Mode,
    pub source: Source,
}

impl LimitValue {
    /// The default of a limit.
    pub fn default_of(spec: &Spec) -> Self {
        let burst = spec.burst.map_or(1, |burst| burst.default);
        Self { rate: spec.rate.default, burst, mode: spec.mode_default, source: Source::Default }
    }
}

/// Values of all limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitValues(Vec<LimitValue>);

impl Default for LimitValues {
    fn default() -> Self {
        Self(TABLE.iter().map(LimitValue::default_of).collect())
    }
}

impl LimitValues {
    /// The values of one limit.
    pub fn get(&self, limit: Limit) -> LimitValue {
        self.0.get(limit.index()).copied().unwrap_or_else(|| LimitValue::default_of(limit.spec()))
    }

    /// Sets the values of one limit.
    pub fn set(&mut self, limit: Limit, value: LimitValue) {
        if let Some(old) = self.0.get_mut(limit.index()) {
            *old = value;
        }
    }
}

/// What a limit says about one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// The limit is off: nothing is decided, counted or charged.
    Off,
    /// Within the limit.
    Passed,
    /// Beyond a limit in shadow: it is let through, and not charged, as if it had been refused.
    WouldRefuse,
    /// Beyond the limit: the microseconds to wait.
    Refused(u64),
}

impl Verdict {
    /// Whether what is let through is charged to the budget.
    pub fn is_charged(self) -> bool {
        self == Self::Passed
    }

    /// The microseconds to wait, if it is refused.
    pub fn refusal(self) -> Result<(), u64> {
        if let Self::Refused(wait_us) = self { Err(wait_us) } else { Ok(()) }
    }
}

/// The limits in force, and their counters.
#[derive(Debug)]
pub struct Limits {
    /// Mode, burst and rate of each limit in one number each, so that they change together.
    now: Vec<AtomicU64>,
    counters: Arc<Counters>,
}

/// Bits of a packed rate by minute: at most 60,000,000.
const PER_MIN_BITS: u32 = 28;
/// Bits of a packed rate and burst.
const RATE_BITS: u32 = PER_MIN_BITS + 32;

fn packed(spec: &Spec, value: LimitValue) -> u64 {
    let Rate { per_min, burst } = spec.rate_of(value.rate, value.burst);
    let mode = match value.mode {
        Mode::Enforce => 0,
        Mode::Shadow => 1,
        Mode::Off => 2,
    };
    mode << RATE_BITS | u64::from(burst) << PER_MIN_BITS | u64::from(per_min.min((1 << PER_MIN_BITS) - 1))
}

fn unpacked(packed: u64) -> (Rate, Mode) {
    let per_min = u32::try_from(packed & ((1 << PER_MIN_BITS) - 1)).unwrap_or(u32::MAX);
    let burst = u32::try_from(packed >> PER_MIN_BITS & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    let mode = match packed >> RATE_BITS {
        0 => Mode::Enforce,
        1 => Mode::Shadow,
        _ => Mode::Off,
    };
    (Rate { per_min, burst }, mode)
}

impl Limits {
    /// These values are in force from now on.
    pub fn new(values: &LimitValues, counters: Arc<Counters>) -> Self {
        let now = TABLE.iter().map(|spec| AtomicU64::new(packed(spec, values.get(spec.limit)))).collect();
        Self { now, counters }
    }

    /// Other values are in force from now on. What has been spent stays spent.
    pub fn put_in_force(&self, values: &LimitValues) {
        for (spec, now) in TABLE.iter().zip(&self.now) {
            now.store(packed(spec, values.get(spec.limit)), Ordering::Relaxed);
        }
    }

    /// The rate and the mode of a limit.
    pub fn get(&self, limit: Limit) -> (Rate, Mode) {
        self.now.get(limit.index()).map_or_else(
            || unpacked(packed(limit.spec(), LimitValue::default_of(limit.spec()))),
            |now| unpacked(now.load(Ordering::Relaxed)),
        )
    }

    /// The rate to charge failures with; none if the limit is off.
    pub fn rate(&self, limit: Limit) -> Option<Rate> {
        let (rate, mode) = self.get(limit);
        (mode != Mode::Off).then_some(rate)
    }

    /// What the limit says, without counting it. `wait_us` gives the microseconds to wait at a rate, none if there is no wait.
    pub fn look(&self, limit: Limit, wait_us: impl FnOnce(Rate) -> Option<u64>) -> Verdict {
        let (rate, mode) = self.get(limit);
        if mode == Mode::Off {
            return Verdict::Off;
        }
        match (wait_us(rate), mode) {
            (None, _) => Verdict::Passed,
            (Some(_), Mode::Shadow) => Verdict::WouldRefuse,
            (Some(wait_us), _) => Verdict::Refused(wait_us),
        }
    }

    /// Counts a verdict.
    pub fn count(&self, limit: Limit, verdict: Verdict, now_us: u64) {
        if verdict != Verdict::Off {
            self.counters.checked(limit);
        }
        match verdict {
            Verdict::Off | Verdict::Passed => {}
            Verdict::WouldRefuse => self.counters.would_refuse(limit, now_us),
            Verdict::Refused(_) => self.counters.refused(limit, now_us),
        }
    }

    /// Decides, and counts the verdict.
    pub fn check(&self, limit: Limit, now_us: u64, wait_us: impl FnOnce(Rate) -> Option<u64>) -> Verdict {
        let verdict = self.look(limit, wait_us);
        self.count(limit, verdict, now_us);
        verdict
    }

    /// What the limits have decided.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(limit: Limit, value: LimitValue) -> Limits {
        let mut values = LimitValues::default();
        values.set(limit, value);
        Limits::new(&values, Arc::default())
    }

    #[test]
    fn every_value_survives_packing() {
        for spec in TABLE {
            for number in [spec.rate.min, spec.rate.default, spec.rate.max] {
                for mode in Mode::ALL {
                    let burst = spec.burst.map_or(1, |burst| burst.max);
                    let value = LimitValue { rate: number, burst, mode, source: Source::Settings };
                    let limits = with(spec.limit, value);
                    assert_eq!(limits.get(spec.limit), (spec.rate_of(number, burst), mode), "{}", spec.name);
                }
            }
        }
    }

    #[test]
    fn a_limit_in_shadow_counts_and_lets_through_and_one_that_is_off_does_neither() {
        let limit = Limit::DeviceRequests;
        for (mode, verdict, [checked, refused, would_refuse]) in [
            (Mode::Enforce, Verdict::Refused(7), [1, 1, 0]),
            (Mode::Shadow, Verdict::WouldRefuse, [1, 0, 1]),
            (Mode::Off, Verdict::Off, [0, 0, 0]),
        ] {
            let limits = with(limit, LimitValue { mode, ..LimitValue::default_of(limit.spec()) });
            assert_eq!(limits.check(limit, 1, |_| Some(7)), verdict);
            let decided = limits.counters().decided(limit, 1);
            let counts = [decided.checked, decided.refused.total, decided.would_refuse.total];
            assert_eq!(counts, [checked, refused, would_refuse], "{mode:?}");
        }
    }

    #[test]
    fn new_values_are_in_force_at_once() {
        let limits = Limits::new(&LimitValues::default(), Arc::default());
        let mut values = LimitValues::default();
        let spec = Limit::AddressFailures.spec();
        values.set(spec.limit, LimitValue { rate: 7, burst: 9, mode: Mode::Shadow, source: Source::Applied });
        limits.put_in_force(&values);
        assert_eq!(limits.get(spec.limit), (Rate { per_min: 7, burst: 9 }, Mode::Shadow));
        assert_eq!(limits.get(Limit::DeviceRequests).0, Rate { per_min: 120, burst: 30 });
    }
}
