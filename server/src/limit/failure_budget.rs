//! Budgets for failed requests: requests that succeed cost nothing, so that a site behind one address is not starved.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Gcra, Meter};

/// The most subjects remembered: about 6 MB.
const SUBJECTS_MAX: usize = 65_536;

/// The budgets of all subjects that failed recently.
#[derive(Debug)]
pub struct FailureBudget<K>(Mutex<BTreeMap<K, Gcra>>);

impl<K> Default for FailureBudget<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> FailureBudget<K> {
    /// Microseconds until the subject may fail again; none if it may now.
    pub fn wait_us(&self, meter: Meter, subject: &K) -> Option<u64> {
        self.spent().get(subject)?.wait_us(meter)
    }

    /// Spends one failure; an empty budget stays empty.
    pub fn spend(&self, meter: Meter, subject: K) {
        let mut spent = self.spent();
        if spent.len() >= SUBJECTS_MAX {
            spent.retain(|_, budget| !budget.is_fresh(meter));
        }
        if spent.len() >= SUBJECTS_MAX {
            return; // an attack from so many subjects is not stopped one by one
        }
        let _ = spent.entry(subject).or_default().spend(meter); // an empty budget stays empty
    }

    /// Spends one, or gives the microseconds to wait. A subject for which there is no room is not limited.
    pub fn try_spend(&self, meter: Meter, subject: K) -> Option<u64> {
        let mut spent = self.spent();
        if spent.len() >= SUBJECTS_MAX && !spent.contains_key(&subject) {
            spent.retain(|_, budget| !budget.is_fresh(meter));
            if spent.len() >= SUBJECTS_MAX {
                return None;
            }
        }
        spent.entry(subject).or_default().spend(meter).err()
    }

    /// Refunds what [`FailureBudget::spend`] took: it was not a failure after all.
    pub fn refund(&self, subject: &K) {
        if let Some(budget) = self.spent().get_mut(subject) {
            budget.refund();
        }
    }

    /// How many subjects are remembered.
    pub fn subjects(&self) -> usize {
        self.spent().len()
    }

    fn spent(&self) -> MutexGuard<'_, BTreeMap<K, Gcra>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
