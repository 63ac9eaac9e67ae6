//! The arithmetic of a budget, as docs/rate-limits.md specifies it: what a limit has granted, and what a subject owes.
//!
//! Amounts are whole numbers of 1/60,000 of a request, times are microseconds since the server's start. What a subject owes is known
//! within two bounds, which differ only if the oracle can't know whether something was charged.

use super::values::{Mode, Value};

/// What one request costs.
const COST: u64 = 60_000;

/// The most that one request is charged: a body of log lines, in bytes.
const CHARGE_MAX: u64 = 1 << 20;

/// A limit in force: its values, and what it has granted since the server's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) value: Value,
    /// When its values changed last.
    changed_us: u64,
    /// What it had granted by then.
    granted_by_then: u64,
}

impl Limit {
    /// These values are in force from the server's start.
    pub(super) fn from_start(value: Value) -> Self {
        Self { value, changed_us: 0, granted_by_then: 0 }
    }

    /// The same with other values, which grant the same.
    pub(super) fn with(self, value: Value) -> Self {
        Self { value, ..self }
    }

    /// Other values are in force from now on.
    pub(super) fn change(&mut self, value: Value, now_us: u64) {
        (self.granted_by_then, self.changed_us, self.value) = (self.granted(now_us), now_us, value);
    }

    /// What it has granted since the server's start.
    pub(super) fn granted(&self, now_us: u64) -> u64 {
        let (since_us, per_min) = (now_us.saturating_sub(self.changed_us), self.value.per_min);
        let since = match since_us.checked_mul(per_min) {
            Some(product) => product / 1_000,
            None => u64::try_from(u128::from(since_us) * u128::from(per_min) / 1_000).unwrap_or(u64::MAX),
        };
        self.granted_by_then.saturating_add(since)
    }

    /// What may be owed beyond what was granted.
    fn tolerance(&self) -> u64 {
        COST.saturating_mul(self.value.burst - 1)
    }

    /// Anything that a subject can owe: nothing, or all that it may have borrowed and one charge beyond that.
    pub(super) fn anything_owed(&self, now_us: u64) -> Budget {
        let charged = COST.saturating_mul(CHARGE_MAX.min(self.value.burst));
        Budget { least: 0, most: self.granted(now_us).saturating_add(self.tolerance()).saturating_add(charged) }
    }

    /// Whether it decides anything.
    pub(super) fn is_on(&self) -> bool {
        self.value.mode != Mode::Off
    }

    /// The time in which so much is granted, in microseconds, rounded up.
    fn time_us(&self, amount: u64) -> u64 {
        if amount == 0 {
            return 0;
        }
        let us = (u128::from(amount) * 1_000).div_ceil(u128::from(self.value.per_min));
        u64::try_from(us).unwrap_or(u64::MAX)
    }
}

/// Whether a budget is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Something is left.
    Left,
    /// Nothing is left: how long until something is, at least and at most, in microseconds.
    UsedUp { least_us: u64, most_us: u64 },
    /// Either.
    Unsure { most_us: u64 },
}

/// What one subject owes: at least, and at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Budget {
    least: u64,
    most: u64,
}

impl Budget {
    /// Whether it is used up.
    pub(super) fn state(self, limit: &Limit, now_us: u64) -> State {
        let allowed = limit.granted(now_us).saturating_add(limit.tolerance());
        let wait_us = |owed: u64| limit.time_us(owed.saturating_sub(allowed));
        match (wait_us(self.least), wait_us(self.most)) {
            (0, 0) => State::Left,
            (0, most_us) => State::Unsure { most_us },
            (least_us, most_us) => State::UsedUp { least_us, most_us },
        }
    }

    /// Spends one if something is left; says whether it was.
    pub(super) fn spend(&mut self, limit: &Limit, now_us: u64) -> State {
        let state = self.state(limit, now_us);
        self.spend_as(state, limit, now_us);
        state
    }

    /// Spends one if something is left, by this state.
    pub(super) fn spend_as(&mut self, state: State, limit: &Limit, now_us: u64) {
        match state {
            State::Left => self.charge(1, limit, now_us),
            State::UsedUp { .. } => {}
            State::Unsure { .. } => self.perhaps_charge(1, limit, now_us),
        }
    }

    /// Charges what was done already, whatever is left.
    pub(super) fn charge(&mut self, count: u64, limit: &Limit, now_us: u64) {
        self.perhaps_charge(count, limit, now_us);
        self.least = owed_after(self.least, count, limit, now_us);
    }

    /// It, if so much may have been charged that nobody knows of.
    pub(super) fn perhaps(mut self, count: u64, limit: &Limit, now_us: u64) -> Self {
        if count > 0 {
            self.perhaps_charge(count, limit, now_us);
        }
        self
    }

    /// Charges what may have been done.
    pub(super) fn perhaps_charge(&mut self, count: u64, limit: &Limit, now_us: u64) {
        self.most = owed_after(self.most, count, limit, now_us);
    }

    /// The server has shown that something was left: it can't have owed more than that.
    pub(super) fn was_left(&mut self, limit: &Limit, now_us: u64) {
        let allowed = limit.granted(now_us).saturating_add(limit.tolerance());
        self.most = self.most.min(allowed.max(self.least));
    }

    /// The server has shown that nothing was left: it must have owed more.
    pub(super) fn was_used_up(&mut self, limit: &Limit, now_us: u64) {
        let allowed = limit.granted(now_us).saturating_add(limit.tolerance());
        self.least = self.least.max(allowed.saturating_add(1).min(self.most));
    }

    pub(super) fn refund(&mut self) {
        self.least = self.least.saturating_sub(COST);
        self.most = self.most.saturating_sub(COST);
    }

    /// Whether the whole burst is available again.
    pub(super) fn is_whole(self, limit: &Limit, now_us: u64) -> bool {
        self.most <= limit.granted(now_us)
    }
}

fn owed_after(owed: u64, count: u64, limit: &Limit, now_us: u64) -> u64 {
    owed.max(limit.granted(now_us)).saturating_add(count.saturating_mul(COST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_min: u64, burst: u64) -> Limit {
        Limit::from_start(Value { per_min, burst, mode: Mode::Enforce })
    }

    fn used_up(us: u64) -> State {
        State::UsedUp { least_us: us, most_us: us }
    }

    /// Goal: a burst, then the rate. By hand: 7 a minute is one in 60/7 s = 8,571,428.57... us.
    #[test]
    fn a_burst_then_one_in_a_seventh_of_a_minute() {
        let (limit, mut budget) = (limit(7, 2), Budget::default());
        assert_eq!([budget.spend(&limit, 0), budget.spend(&limit, 0)], [State::Left; 2]);
        // 120,000 owed, 60,000 tolerated: 60,000 / 7 * 1,000 = 8,571,428.57 us, rounded up.
        assert_eq!(budget.spend(&limit, 0), used_up(8_571_429));
        // By 8,571,428 us, floor(8,571,428 * 7 / 1,000) = 59,999 are granted: one is missing, 142.86 us.
        assert_eq!(budget.spend(&limit, 8_571_428), used_up(143));
        assert_eq!(budget.spend(&limit, 8_571_429), State::Left);
    }

    /// Goal: a budget that nobody used does not grow beyond its burst.
    #[test]
    fn what_is_not_used_is_not_saved() {
        let (limit, mut budget) = (limit(60, 1), Budget::default());
        assert_eq!(budget.spend(&limit, 3_600_000_000), State::Left);
        assert_eq!(budget.spend(&limit, 3_600_000_000), used_up(1_000_000));
    }

    /// Goal: what is owed is owed in requests, and is paid at the new rate.
    /// Method: two requests at 1 a minute. After 30 s half a request is granted; at 60 a minute the other one and a half take 1.5 s.
    #[test]
    fn what_is_owed_is_paid_at_the_new_rate() {
        let (mut limit, mut budget) = (limit(1, 1), Budget::default());
        budget.charge(2, &limit, 0);
        assert_eq!(budget.state(&limit, 30_000_000), used_up(90_000_000));
        limit.change(Value { per_min: 60, burst: 1, mode: Mode::Enforce }, 30_000_000);
        assert_eq!(budget.state(&limit, 30_000_000), used_up(1_500_000));
        assert_eq!(budget.state(&limit, 31_500_000), State::Left);
    }

    /// Goal: a verdict that was seen makes the next one certain. Method: 1 to 3 of 3 are owed; the fourth shows which.
    #[test]
    fn a_verdict_that_was_seen_narrows_what_is_owed() {
        let (limit, mut budget) = (limit(60, 3), Budget::default());
        budget.charge(1, &limit, 0);
        budget.perhaps_charge(2, &limit, 0);
        assert_eq!(budget.state(&limit, 0), State::Unsure { most_us: 1_000_000 });
        let (mut left, mut used_up) = (budget, budget);
        left.was_left(&limit, 0);
        assert_eq!(left.state(&limit, 0), State::Left);
        left.charge(1, &limit, 0);
        assert_eq!(left.state(&limit, 0), State::Unsure { most_us: 1_000_000 }, "2 or 3");
        used_up.was_used_up(&limit, 0);
        assert_eq!(used_up.state(&limit, 0), State::UsedUp { least_us: 17, most_us: 1_000_000 });
        for certain in [State::Left, self::used_up(1_000_000)] {
            let mut budget = Budget::default();
            budget.charge(if certain == State::Left { 2 } else { 3 }, &limit, 0);
            let known = budget;
            budget.was_left(&limit, 0);
            budget.was_used_up(&limit, 0);
            assert_eq!(budget, known, "what is known is not changed by a server that says otherwise");
        }
    }

    #[test]
    fn a_day_in_one_burst_and_a_refund() {
        let limit = Limit::from_start(Value { per_min: 2, burst: 2_880, mode: Mode::Enforce });
        let mut budget = Budget::default();
        budget.charge(2_879, &limit, 0);
        assert_eq!(budget.state(&limit, 0), State::Left, "one is left");
        budget.charge(3, &limit, 0);
        assert_eq!(budget.state(&limit, 0), used_up(90_000_000), "two more than there were and one that is missing");
        budget.refund();
        assert_eq!(budget.state(&limit, 0), used_up(60_000_000));
    }

    /// Goal: what the oracle can't know makes a verdict unsure only where it matters.
    #[test]
    fn a_charge_that_may_have_happened_matters_only_near_the_limit() {
        let (limit, mut budget) = (limit(60, 3), Budget::default());
        budget.perhaps_charge(1, &limit, 0);
        assert_eq!(budget.spend(&limit, 0), State::Left, "1 or 2 of 3 are owed then");
        assert_eq!(budget.spend(&limit, 0), State::Left);
        assert_eq!(budget.spend(&limit, 0), State::Unsure { most_us: 1_000_000 });
        assert_eq!(budget.state(&limit, 10_000_000), State::Left);
    }
}
