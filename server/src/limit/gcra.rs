//! The generic cell rate algorithm, as a pure decision.
//!
//! Source: ITU-T I.371 (2004), annex A, the virtual scheduling form: one number for each subject, the theoretical arrival time. That time
//! is counted in what the limit has granted, not in seconds: when a rate changes, what a subject owes stays the same number of requests.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained requests each minute; at least 1.
    pub per_min: u32,
    /// Requests at a time; at least 1.
    pub burst: u32,
}

/// Units of one request. A limit grants `per_min` of them each millisecond.
pub(super) const REQUEST: u64 = 60_000;

impl Rate {
    /// `count` at a time, and as many spread over each day; `count` should be at least 1,440.
    pub fn per_day(count: u32) -> Self {
        Self { per_min: count.div_ceil(24 * 60), burst: count }
    }

    /// Units granted in this time.
    pub(super) fn granted_in(self, elapsed_us: u64) -> u64 {
        let units = u128::from(elapsed_us) * u128::from(self.per_min) / 1_000;
        u64::try_from(units).unwrap_or(u64::MAX)
    }

    /// What it has granted at a moment, if it has never changed.
    pub fn meter(self, now_us: u64) -> Meter {
        Meter { rate: self, granted: self.granted_in(now_us), at_us: now_us }
    }
}

/// A limit at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meter {
    pub(super) rate: Rate,
    /// Units granted since the clock started, at each of the rates that there were.
    pub(super) granted: u64,
    /// The moment, in microseconds.
    pub(super) at_us: u64,
}

/// One subject's budget: what the limit will have granted when the next request is due in theory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gcra {
    due: u64,
}

impl Gcra {
    /// Spends one request, or gives the microseconds to wait; a refusal costs nothing.
    pub fn spend(&mut self, meter: Meter) -> Result<(), u64> {
        self.wait_us(meter).map_or(Ok(()), Err)?;
        self.charge(meter, 1);
        Ok(())
    }

    /// Spends `count` requests that have already been done, whatever is left. It then takes longer until the next is allowed.
    pub fn charge(&mut self, meter: Meter, count: u32) {
        self.due = self.due.max(meter.granted).saturating_add(REQUEST * u64::from(count));
    }

    pub fn refund(&mut self) {
        self.due = self.due.saturating_sub(REQUEST);
    }

    /// Microseconds until a request is allowed; none if it is now.
    pub fn wait_us(self, meter: Meter) -> Option<u64> {
        let Rate { per_min, burst } = meter.rate;
        let borrowed = REQUEST * u64::from(burst.max(1) - 1);
        let missing = self.due.saturating_sub(borrowed).saturating_sub(meter.granted);
        let wait_us = (u128::from(missing) * 1_000).div_ceil(u128::from(per_min.max(1)));
        (missing > 0).then(|| u64::try_from(wait_us).unwrap_or(u64::MAX))
    }

    /// Whether the whole burst is available again.
    pub fn is_fresh(self, meter: Meter) -> bool {
        self.due <= meter.granted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_then_the_rate() {
        let rate = Rate { per_min: 60, burst: 3 };
        let mut budget = Gcra::default();
        let immediate = (0..5).filter(|_| budget.spend(rate.meter(0)).is_ok()).count();
        assert_eq!(immediate, 3);
        assert_eq!(budget.spend(rate.meter(0)), Err(1_000_000));
        assert_eq!(budget.spend(rate.meter(1_000_000)), Ok(()));
        assert_eq!(budget.spend(rate.meter(1_000_000)), Err(1_000_000));
    }

    #[test]
    fn a_daily_quota_may_be_spent_immediately_and_is_restored_within_a_day() {
        let (rate, day_us) = (Rate::per_day(2_880), 24 * 60 * 60 * 1_000_000);
        let mut budget = Gcra::default();
        budget.charge(rate.meter(0), 2_879);
        assert_eq!(budget.wait_us(rate.meter(0)), None, "one is left");
        budget.charge(rate.meter(0), 3);
        assert_eq!(budget.wait_us(rate.meter(0)), Some(90_000_000), "two more than there were");
        assert_eq!(budget.wait_us(rate.meter(90_000_000)), None);
        budget.charge(rate.meter(90_000_000), 0);
        assert_eq!(budget.wait_us(rate.meter(90_000_000)), None, "nothing costs nothing");
        assert!(budget.is_fresh(rate.meter(day_us + 60_000_000)));
    }

    proptest! {
        /// In any period, at most the burst and the rate's share of the period get through.
        #[test]
        fn never_more_than_rate_and_burst(per_min in 1_u32..100_000, burst in 1_u32..100, gaps in proptest::collection::vec(0_u64..2_000_000, 1..200)) {
            let rate = Rate { per_min, burst };
            let (mut budget, mut now_us, mut passed) = (Gcra::default(), 0, 0_u64);
            for gap in gaps {
                now_us += gap;
                passed += u64::from(budget.spend(rate.meter(now_us)).is_ok());
            }
            prop_assert!(passed <= u64::from(burst) + now_us * u64::from(per_min) / 60_000_000);
        }

        /// A subject that waits that long is allowed, and one that waits a unit less is not.
        #[test]
        fn the_wait_is_exact(per_min in 1_u32..60_000_000, burst in 1_u32..1_000, owed in 1_u32..5_000, now_us in 0_u64..1 << 47) {
            let rate = Rate { per_min, burst };
            let mut budget = Gcra::default();
            budget.charge(rate.meter(now_us), owed);
            let Some(wait_us) = budget.wait_us(rate.meter(now_us)) else {
                prop_assert!(owed < burst);
                return Ok(());
            };
            prop_assert_eq!(budget.wait_us(rate.meter(now_us + wait_us)), None);
            let unit_us = 1_000 / u64::from(per_min) + 1;
            prop_assert!(wait_us <= unit_us || budget.wait_us(rate.meter(now_us + wait_us - unit_us - 1)).is_some());
        }
    }
}
