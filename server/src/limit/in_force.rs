//! The limits in force: what each allows now, and its decisions. They change while the server runs; reading one is one atomic load.

use std::sync::Arc;

use arc_swap::ArcSwap;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Counters, Limit, Meter, Mode, Rate, Requester, Spec, TABLE};

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
    /// One for each limit, in the order of the table; they are replaced together.
    now: ArcSwap<Vec<InForce>>,
    counters: Arc<Counters>,
}

/// One limit in force.
#[derive(Debug, Clone, Copy)]
struct InForce {
    rate: Rate,
    mode: Mode,
    since_us: u64,
    /// What it had granted before, in the units of [`Meter`].
    granted_before: u64,
}

impl InForce {
    fn new(spec: &Spec, value: LimitValue) -> Self {
        Self { rate: spec.rate_of(value.rate, value.burst), mode: value.mode, since_us: 0, granted_before: 0 }
    }

    fn meter(&self, now_us: u64) -> Meter {
        let granted_since = self.rate.granted_in(now_us.saturating_sub(self.since_us));
        Meter { rate: self.rate, granted: self.granted_before.saturating_add(granted_since), at_us: now_us }
    }
}

impl Limits {
    /// These values are in force from now on.
    pub fn new(values: &LimitValues, counters: Arc<Counters>) -> Self {
        let now = TABLE.iter().map(|spec| InForce::new(spec, values.get(spec.limit))).collect();
        Self { now: ArcSwap::from_pointee(now), counters }
    }

    /// Other values are in force from now on. What subjects owe stays the same number of requests, and is paid at the new rate.
    pub fn put_in_force(&self, values: &LimitValues, now_us: u64) {
        self.now.rcu(|old| {
            let next = |(spec, old): (&Spec, &InForce)| {
                let new = InForce::new(spec, values.get(spec.limit));
                if (new.rate, new.mode) == (old.rate, old.mode) {
                    return *old;
                }
                InForce { since_us: now_us, granted_before: old.meter(now_us).granted, ..new }
            };
            TABLE.iter().zip(old.iter()).map(next).collect::<Vec<_>>()
        });
    }

    fn in_force(&self, limit: Limit) -> InForce {
        let default = || InForce::new(limit.spec(), LimitValue::default_of(limit.spec()));
        self.now.load().get(limit.index()).copied().unwrap_or_else(default)
    }

    /// The limit at a moment, to charge a budget with; none if it is off.
    pub fn meter(&self, limit: Limit, now_us: u64) -> Option<Meter> {
        let limit = self.in_force(limit);
        (limit.mode != Mode::Off).then(|| limit.meter(now_us))
    }

    /// What the limit says, without counting it. `wait_us` gives the microseconds to wait, none if there is no wait.
    pub fn look(&self, limit: Limit, now_us: u64, wait_us: impl FnOnce(Meter) -> Option<u64>) -> Verdict {
        let limit = self.in_force(limit);
        if limit.mode == Mode::Off {
            return Verdict::Off;
        }
        match (wait_us(limit.meter(now_us)), limit.mode) {
            (None, _) => Verdict::Passed,
            (Some(_), Mode::Shadow) => Verdict::WouldRefuse,
            (Some(wait_us), _) => Verdict::Refused(wait_us),
        }
    }

    pub fn count(&self, limit: Limit, requester: Requester<'_>, verdict: Verdict, now_us: u64) {
        if verdict != Verdict::Off {
            self.counters.checked(limit);
        }
        match verdict {
            Verdict::Off | Verdict::Passed => {}
            Verdict::WouldRefuse => self.counters.would_refuse(limit, requester, now_us),
            Verdict::Refused(_) => self.counters.refused(limit, requester, now_us),
        }
    }

    /// Decides, and counts the verdict.
    pub fn check(
        &self,
        limit: Limit,
        requester: Requester<'_>,
        now_us: u64,
        wait_us: impl FnOnce(Meter) -> Option<u64>,
    ) -> Verdict {
        let verdict = self.look(limit, now_us, wait_us);
        self.count(limit, requester, verdict, now_us);
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
    use crate::limit::Gcra;

    fn with(limit: Limit, value: LimitValue) -> Limits {
        let mut values = LimitValues::default();
        values.set(limit, value);
        Limits::new(&values, Arc::default())
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
            assert_eq!(limits.check(limit, Requester::default(), 1, |_| Some(7)), verdict);
            let decided = limits.counters().decided(limit, 1);
            let counts = [decided.checked, decided.refused.total, decided.would_refuse.total];
            assert_eq!(counts, [checked, refused, would_refuse], "{mode:?}");
        }
    }

    #[test]
    fn what_is_owed_is_paid_at_the_rate_that_is_in_force() {
        let limit = Limit::AddressFailures;
        let value = |rate, burst| LimitValue { rate, burst, ..LimitValue::default_of(limit.spec()) };
        let limits = with(limit, value(1, 10));
        let change = |to, now_us| {
            let mut values = LimitValues::default();
            values.set(limit, to);
            limits.put_in_force(&values, now_us);
        };
        let second = 1_000_000;
        let mut budget = Gcra::default();
        budget.charge(limits.meter(limit, 0).unwrap(), 10);
        let wait_us = |now_us| limits.look(limit, now_us, |meter| budget.wait_us(meter)).refusal().err();
        assert_eq!(wait_us(0), Some(60 * second), "one a minute");
        assert_eq!(wait_us(30 * second), Some(30 * second));
        change(value(60, 10), 30 * second);
        assert_eq!(wait_us(30 * second), Some(second / 2), "half a request is missing, and there are 60 a minute");
        assert_eq!(wait_us(30 * second + second / 2), None);
        change(value(1, 10), 30 * second);
        assert_eq!(wait_us(30 * second), Some(30 * second), "as if nothing had changed");
        change(value(1, 5), 30 * second);
        assert_eq!(wait_us(30 * second), Some(330 * second), "five more are owed than the burst allows");
        assert_eq!(wait_us(29 * second), Some(330 * second), "a request that arrived before the change");
    }

    #[test]
    fn what_a_limit_grants_does_not_overflow_in_nine_years() {
        let limit = Limit::AddressFailures;
        let nine_years_us = 9 * 366 * 86_400 * 1_000_000;
        let rate = limit.spec().rate.max;
        let limits = with(limit, LimitValue { rate, ..LimitValue::default_of(limit.spec()) });
        assert!(limits.meter(limit, nine_years_us).unwrap().granted < u64::MAX);
    }

    #[test]
    fn a_limit_that_does_not_change_goes_on_granting_to_the_unit() {
        let (spec, other) = (Limit::AddressFailures.spec(), Limit::DeviceRequests.spec());
        let mut values = LimitValues::default();
        values.set(spec.limit, LimitValue { rate: 7, ..LimitValue::default_of(spec) });
        let limits = Limits::new(&values, Arc::default());
        values.set(other.limit, LimitValue { rate: 1, ..LimitValue::default_of(other) });
        limits.put_in_force(&values, 250);
        // 0.007 units a microsecond: 1.75 by the change of the other one, 3.5 now.
        assert_eq!(limits.meter(spec.limit, 500).unwrap().granted, 3);
    }
}
