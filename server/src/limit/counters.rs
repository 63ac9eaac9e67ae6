//! What each limit has decided: totals for /metrics, how many it refused in the last minute, hour and day, and the callers. A verdict costs one
//! atomic addition and no lock; a refusal six, and a short list of its limit.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use super::{
    Limit, TABLE,
    most_refused::{MostRefused, RefusedLists, Requester},
};

/// The label of a limit's metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabel {
    pub limit: &'static str,
}

/// A counter for each limit.
type LimitCounter = Family<LimitLabel, Counter>;

/// The counters of every limit; each exists from the start.
#[derive(Debug)]
pub struct Counters {
    /// Decisions.
    pub checked: LimitCounter,
    /// Refusals by limits that are enforced.
    pub refused: LimitCounter,
    /// What limits in shadow let through, and would have refused.
    pub would_refuse: LimitCounter,
    each: Vec<LimitCounters>,
}

/// The counters of one limit.
#[derive(Debug)]
struct LimitCounters {
    checked: Counter,
    refused: FiredCounter,
    would_refuse: FiredCounter,
    most_refused: MostRefused,
}

/// How often a limit has fired.
#[derive(Debug)]
struct FiredCounter {
    total: Counter,
    /// When it fired last, plus one; 0 if never.
    last_us: AtomicU64,
    seconds: Window<60>,
    minutes: Window<60>,
    quarter_hours: Window<96>,
}

/// How often a limit has fired until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FiredCounts {
    pub total: u64,
    /// In the last minute, in whole seconds: the current one and the 59 before it.
    pub last_minute: u64,
    /// In the last hour, in whole minutes.
    pub last_hour: u64,
    /// In the last day, in whole quarters of an hour.
    pub last_day: u64,
    /// Microseconds since it fired last; none if it never has.
    pub since_us: Option<u64>,
}

/// What a limit has decided until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitCounts {
    pub checked: u64,
    pub refused: FiredCounts,
    pub would_refuse: FiredCounts,
}

impl Default for Counters {
    fn default() -> Self {
        let (checked, refused, would_refuse) =
            (LimitCounter::default(), LimitCounter::default(), LimitCounter::default());
        let each = TABLE.iter().map(|spec| {
            let of = |family: &LimitCounter| family.get_or_create(&LimitLabel { limit: spec.name }).clone();
            LimitCounters {
                checked: of(&checked),
                refused: FiredCounter::of(of(&refused)),
                would_refuse: FiredCounter::of(of(&would_refuse)),
                most_refused: MostRefused::default(),
            }
        });
        let each = each.collect();
        Self { checked, refused, would_refuse, each }
    }
}

impl Counters {
    pub(super) fn checked(&self, limit: Limit) {
        if let Some(of) = self.each.get(limit.index()) {
            of.checked.inc();
        }
    }

    pub(super) fn refused(&self, limit: Limit, requester: Requester<'_>, now_us: u64) {
        if let Some(of) = self.each.get(limit.index()) {
            of.refused.add(now_us);
            of.most_refused.add(requester, now_us);
        }
    }

    /// Counts what a limit in shadow would have refused.
    pub(super) fn would_refuse(&self, limit: Limit, requester: Requester<'_>, now_us: u64) {
        if let Some(of) = self.each.get(limit.index()) {
            of.would_refuse.add(now_us);
            of.most_refused.add(requester, now_us);
        }
    }

    /// At most the bytes that they take.
    pub fn bytes(&self) -> usize {
        self.each.len() * (size_of::<LimitCounters>() + MostRefused::BYTES)
    }

    /// The callers that a limit has refused most, or would have refused in shadow.
    pub fn most_refused(&self, limit: Limit) -> RefusedLists {
        self.each.get(limit.index()).map(|of| of.most_refused.lists()).unwrap_or_default()
    }

    /// What a limit has decided until now.
    pub fn decided(&self, limit: Limit, now_us: u64) -> LimitCounts {
        let of = self.each.get(limit.index());
        LimitCounts {
            checked: of.map_or(0, |of| of.checked.get()),
            refused: of.map_or_else(FiredCounts::default, |of| of.refused.until(now_us)),
            would_refuse: of.map_or_else(FiredCounts::default, |of| of.would_refuse.until(now_us)),
        }
    }
}

impl FiredCounter {
    fn of(total: Counter) -> Self {
        let (seconds, minutes) = (Window::of(1_000_000), Window::of(60_000_000));
        Self { total, last_us: AtomicU64::new(0), seconds, minutes, quarter_hours: Window::of(900_000_000) }
    }

    fn add(&self, now_us: u64) {
        self.total.inc();
        self.last_us.fetch_max(now_us.saturating_add(1), Ordering::Relaxed);
        self.seconds.add(now_us);
        self.minutes.add(now_us);
        self.quarter_hours.add(now_us);
    }

    fn until(&self, now_us: u64) -> FiredCounts {
        FiredCounts {
            total: self.total.get(),
            last_minute: self.seconds.count(now_us),
            last_hour: self.minutes.count(now_us),
            last_day: self.quarter_hours.count(now_us),
            since_us: self.last_us.load(Ordering::Relaxed).checked_sub(1).map(|at_us| now_us.saturating_sub(at_us)),
        }
    }
}

/// Counts of the last `N` periods, each with the number of its period in the upper half.
#[derive(Debug)]
struct Window<const N: usize> {
    period_us: u64,
    counts: [AtomicU64; N],
}

impl<const N: usize> Window<N> {
    fn of(period_us: u64) -> Self {
        Self { period_us, counts: std::array::from_fn(|_| AtomicU64::new(0)) }
    }

    /// The number of a period, from 1, in 32 bits: seconds are enough for 136 years.
    fn period(&self, now_us: u64) -> u64 {
        (now_us / self.period_us + 1) & 0xffff_ffff
    }

    fn add(&self, now_us: u64) {
        let period = self.period(now_us);
        let place = usize::try_from(period).unwrap_or_default() % N;
        let Some(count) = self.counts.get(place) else { return };
        let _ = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |packed| {
            match (packed >> 32).cmp(&period) {
                std::cmp::Ordering::Equal => {
                    Some(packed.saturating_add(u64::from(packed & 0xffff_ffff != 0xffff_ffff)))
                }
                std::cmp::Ordering::Less => Some(period << 32 | 1),
                std::cmp::Ordering::Greater => None, // so late that its period is no longer counted
            }
        });
    }

    fn count(&self, now_us: u64) -> u64 {
        let now = self.period(now_us);
        let from = now.saturating_sub(u64::try_from(N).unwrap_or(u64::MAX) - 1);
        let packed = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        packed.filter(|packed| (from..=now).contains(&(packed >> 32))).map(|packed| packed & 0xffff_ffff).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_limit_that_never_fired_says_so() {
        let counters = Counters::default();
        counters.checked(Limit::DevicePunches);
        let decided = counters.decided(Limit::DevicePunches, 5);
        assert_eq!((decided.checked, decided.refused), (1, FiredCounts::default()));
        counters.refused(Limit::DevicePunches, Requester::address(std::net::IpAddr::from([192, 0, 2, 1])), 0);
        let refused = counters.decided(Limit::DevicePunches, 61_000_000).refused;
        assert_eq!((refused.last_minute, refused.last_hour, refused.since_us), (0, 1, Some(61_000_000)));
        assert_eq!(counters.decided(Limit::DeviceRequests, 5).refused.total, 0, "another limit");
    }

    proptest! {
        /// Checked against a list of all moments.
        #[test]
        fn recent_counts_are_those_of_a_list(gaps in prop::collection::vec(0_u64..400_000_000, 0..300), rest in 0_u64..4_000_000_000) {
            let fired = FiredCounter::of(Counter::default());
            let mut moments = Vec::new();
            for gap in gaps {
                let now = moments.last().copied().unwrap_or(0) + gap;
                fired.add(now);
                moments.push(now);
            }
            let now = moments.last().copied().unwrap_or(0) + rest;
            let until = fired.until(now);
            let count = |period: u64, periods: u64| {
                let recent = moments.iter().filter(|at| (now / period) - (**at / period) < periods);
                u64::try_from(recent.count()).unwrap()
            };
            prop_assert_eq!(until.last_minute, count(1_000_000, 60));
            prop_assert_eq!(until.last_hour, count(60_000_000, 60));
            prop_assert_eq!(until.last_day, count(900_000_000, 96));
            prop_assert_eq!(until.total, u64::try_from(moments.len()).unwrap());
            prop_assert_eq!(until.since_us, moments.last().map(|last| now - last));
        }
    }
}
