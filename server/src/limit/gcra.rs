//! The generic cell rate algorithm, as a pure decision.
//!
//! Source: ITU-T I.371 (2004), annex A, the virtual scheduling form: one number for each subject, the theoretical arrival time.

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Sustained requests each minute; at least 1.
    pub per_min: u32,
    /// Requests at a time; at least 1.
    pub burst: u32,
}

impl Rate {
    /// `count` at a time, and as many spread over each day; `count` should be at least 1,440.
    pub fn per_day(count: u32) -> Self {
        Self { per_min: count.div_ceil(24 * 60), burst: count }
    }

    /// Microseconds that one request costs.
    fn cost_us(self) -> u64 {
        60_000_000 / u64::from(self.per_min.max(1))
    }

    /// Microseconds that may be borrowed.
    fn tolerance_us(self) -> u64 {
        self.cost_us().saturating_mul(u64::from(self.burst.max(1) - 1))
    }
}

/// One subject's budget: when its next request is due in theory, in microseconds of a clock that never goes back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gcra {
    due_us: u64,
}

impl Gcra {
    /// Spends one request, or gives the microseconds to wait; a refusal costs nothing.
    pub fn spend(&mut self, rate: Rate, now_us: u64) -> Result<(), u64> {
        self.wait_us(rate, now_us).map_or(Ok(()), Err)?;
        self.due_us = self.due_us.max(now_us) + rate.cost_us();
        Ok(())
    }

    /// Spends `count` requests that have already been done, whatever is left. It then takes longer until the next is allowed.
    pub fn charge(&mut self, rate: Rate, count: u32, now_us: u64) {
        let cost_us = rate.cost_us().saturating_mul(u64::from(count));
        self.due_us = self.due_us.max(now_us).saturating_add(cost_us);
    }

    /// Refunds one request.
    pub fn refund(&mut self, rate: Rate) {
        self.due_us = self.due_us.saturating_sub(rate.cost_us());
    }

    /// Microseconds until a request is allowed; none if it is now.
    pub fn wait_us(self, rate: Rate, now_us: u64) -> Option<u64> {
        let earliest = self.due_us.saturating_sub(rate.tolerance_us());
        (earliest > now_us).then(|| earliest - now_us)
    }

    /// Whether the whole burst is available again.
    pub fn is_fresh(self, now_us: u64) -> bool {
        self.due_us <= now_us
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
        let immediate = (0..5).filter(|_| budget.spend(rate, 0).is_ok()).count();
        assert_eq!(immediate, 3);
        assert_eq!(budget.spend(rate, 0), Err(1_000_000));
        assert_eq!(budget.spend(rate, 1_000_000), Ok(()));
        assert_eq!(budget.spend(rate, 1_000_000), Err(1_000_000));
    }

    #[test]
    fn a_daily_quota_may_be_spent_immediately_and_is_restored_within_a_day() {
        let (rate, day_us) = (Rate::per_day(2_880), 24 * 60 * 60 * 1_000_000);
        let mut budget = Gcra::default();
        budget.charge(rate, 2_879, 0);
        assert_eq!(budget.wait_us(rate, 0), None, "one is left");
        budget.charge(rate, 3, 0);
        assert_eq!(budget.wait_us(rate, 0), Some(90_000_000), "two more than there were");
        assert_eq!(budget.wait_us(rate, 90_000_000), None);
        budget.charge(rate, 0, 90_000_000);
        assert_eq!(budget.wait_us(rate, 90_000_000), None, "nothing costs nothing");
        assert!(budget.is_fresh(day_us + 60_000_000));
    }

    proptest! {
        /// In any period, at most the burst and the rate's share of the period get through.
        #[test]
        fn never_more_than_rate_and_burst(per_min in 1_u32..100_000, burst in 1_u32..100, gaps in proptest::collection::vec(0_u64..2_000_000, 1..200)) {
            let rate = Rate { per_min, burst };
            let (mut budget, mut now_us, mut passed) = (Gcra::default(), 0, 0_u64);
            for gap in gaps {
                now_us += gap;
                passed += u64::from(budget.spend(rate, now_us).is_ok());
            }
            prop_assert!(passed <= u64::from(burst) + now_us / (60_000_000 / u64::from(per_min)));
        }
    }
}
