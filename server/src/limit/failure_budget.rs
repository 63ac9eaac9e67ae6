//! Budgets for failed requests: requests that succeed cost nothing, so that a site behind one address is not starved.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Gcra, Meter};

/// The most subjects remembered: about 6 MB.
const SUBJECTS_MAX: usize = 65_536;
/// How often a full table is searched for budgets that are whole again, in microseconds: that takes a millisecond, which a flood
/// from ever new addresses must not cost with each request.
const SEARCH_EVERY_US: u64 = 1_000_000;

/// The budgets of all subjects that failed recently.
#[derive(Debug)]
pub struct FailureBudget<K>(Mutex<Subjects<K>>);

#[derive(Debug)]
struct Subjects<K> {
    spent: BTreeMap<K, Gcra>,
    /// When the full table may be searched again for budgets that are whole.
    search_us: u64,
}

impl<K> Default for FailureBudget<K> {
    fn default() -> Self {
        Self(Mutex::new(Subjects { spent: BTreeMap::new(), search_us: 0 }))
    }
}

impl<K: Ord> FailureBudget<K> {
    /// Microseconds until the subject may fail again; none if it may now.
    pub fn wait_us(&self, meter: Meter, subject: &K) -> Option<u64> {
        self.subjects_now().spent.get(subject)?.wait_us(meter)
    }

    /// Spends one failure; an empty budget stays empty.
    pub fn spend(&self, meter: Meter, subject: K) {
        let _ = self.try_spend(meter, subject);
    }

    /// Spends one, or gives the microseconds to wait. A subject for which there is no room is not limited: an attack from so many
    /// subjects is not stopped one by one.
    pub fn try_spend(&self, meter: Meter, subject: K) -> Option<u64> {
        let mut subjects = self.subjects_now();
        if let Some(budget) = subjects.spent.get_mut(&subject) {
            return budget.spend(meter).err();
        }
        if !subjects.have_room(meter) {
            return None;
        }
        subjects.spent.entry(subject).or_default().spend(meter).err()
    }

    /// Refunds what [`FailureBudget::spend`] took: it was not a failure after all.
    pub fn refund(&self, subject: &K) {
        if let Some(budget) = self.subjects_now().spent.get_mut(subject) {
            budget.refund();
        }
    }

    /// How many subjects are remembered.
    pub fn subjects(&self) -> usize {
        self.subjects_now().spent.len()
    }

    fn subjects_now(&self) -> MutexGuard<'_, Subjects<K>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord> Subjects<K> {
    /// Whether one more can be remembered. A full table forgets budgets that are whole again, at most once a second.
    fn have_room(&mut self, meter: Meter) -> bool {
        if self.spent.len() >= SUBJECTS_MAX && meter.at_us >= self.search_us {
            self.search_us = meter.at_us.saturating_add(SEARCH_EVERY_US);
            self.spent.retain(|_, budget| !budget.is_fresh(meter));
        }
        self.spent.len() < SUBJECTS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::Rate;

    #[test]
    fn memory_is_bounded() {
        let (rate, budget) = (Rate { per_min: 1, burst: 1 }, FailureBudget::default());
        for number in 0..100_000_u32 {
            budget.spend(rate.meter(0), number);
        }
        assert_eq!(budget.subjects(), SUBJECTS_MAX);
        assert!(budget.wait_us(rate.meter(0), &0).is_some() && budget.wait_us(rate.meter(0), &99_999).is_none());
    }

    #[test]
    fn a_full_table_goes_on_charging_those_that_it_knows() {
        let (rate, budget) = (Rate { per_min: 1, burst: 2 }, FailureBudget::default());
        for number in 0..u32::try_from(SUBJECTS_MAX).unwrap() {
            budget.spend(rate.meter(0), number);
        }
        assert_eq!(budget.wait_us(rate.meter(0), &7), None, "one is left");
        budget.spend(rate.meter(0), 7);
        assert_eq!(budget.wait_us(rate.meter(0), &7), Some(60_000_000));
    }

    #[test]
    fn a_full_table_limits_those_that_it_knows() {
        let (rate, budget) = (Rate { per_min: 1, burst: 1 }, FailureBudget::default());
        for number in 0..u32::try_from(SUBJECTS_MAX).unwrap() {
            assert_eq!(budget.try_spend(rate.meter(0), number), None);
        }
        assert_eq!(
            [budget.try_spend(rate.meter(0), 7), budget.try_spend(rate.meter(0), u32::MAX)],
            [Some(60_000_000), None]
        );
        assert_eq!(budget.try_spend(rate.meter(60_000_000), u32::MAX), None);
        assert_eq!(budget.subjects(), 1, "the others are whole again");
    }

    #[test]
    fn a_full_table_is_searched_once_a_second() {
        let (rate, budget) = (Rate { per_min: 60_000_000, burst: 1 }, FailureBudget::default());
        let fill = |from: u32, at_us| (from..from + 65_536).for_each(|number| budget.spend(rate.meter(at_us), number));
        fill(0, 0);
        budget.spend(rate.meter(10), u32::MAX);
        assert_eq!(budget.subjects(), 1, "the first search");
        fill(100_000, 20);
        budget.spend(rate.meter(999_999), 99_999);
        assert_eq!(budget.subjects(), 65_536, "all of them are whole again, and nobody looks");
        budget.spend(rate.meter(1_000_010), 99_999);
        assert_eq!(budget.subjects(), 1);
    }
}
