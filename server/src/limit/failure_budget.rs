//! Budgets for failed requests: requests that succeed cost nothing, so that a site behind one address is not starved.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Gcra, Rate};

/// The most subjects remembered: about 6 MB.
const SUBJECTS_MAX: usize = 65_536;

/// The budgets of all subjects that failed recently. The rate is a parameter: it may change while the server runs.
#[derive(Debug)]
pub struct FailureBudget<K>(Mutex<BTreeMap<K, Gcra>>);

impl<K> Default for FailureBudget<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> FailureBudget<K> {
    /// Microseconds until the subject may fail again; none if it may now.
    pub fn wait_us(&self, rate: Rate, subject: &K, now_us: u64) -> Option<u64> {
        self.spent().get(subject)?.wait_us(rate, now_us)
    }

    /// Spends one failure; an empty budget stays empty.
    pub fn spend(&self, rate: Rate, subject: K, now_us: u64) {
        let mut spent = self.spent();
        if spent.len() >= SUBJECTS_MAX {
            spent.retain(|_, budget| !budget.is_fresh(now_us));
        }
        if spent.len() >= SUBJECTS_MAX {
            return; // an attack from so many subjects is not stopped one by one
        }
        let _ = spent.entry(subject).or_default().spend(rate, now_us); // an empty budget stays empty
    }

    /// Refunds what [`FailureBudget::spend`] took: it was not a failure after all.
    pub fn refund(&self, rate: Rate, subject: &K) {
        if let Some(budget) = self.spent().get_mut(subject) {
            budget.refund(rate);
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

    #[test]
    fn memory_is_bounded() {
        let (rate, budget) = (Rate { per_min: 1, burst: 1 }, FailureBudget::default());
        for number in 0..100_000_u32 {
            budget.spend(rate, number, 0);
        }
        assert_eq!(budget.subjects(), SUBJECTS_MAX);
        assert!(budget.wait_us(rate, &0, 0).is_some() && budget.wait_us(rate, &99_999, 0).is_none());
    }

    #[test]
    fn a_rate_that_changes_applies_to_what_is_spent() {
        let (slow, fast) = (Rate { per_min: 60, burst: 2 }, Rate { per_min: 60, burst: 3 });
        let budget = FailureBudget::default();
        budget.spend(slow, 'a', 0);
        budget.spend(slow, 'a', 0);
        assert_eq!((budget.wait_us(slow, &'a', 0), budget.wait_us(fast, &'a', 0)), (Some(1_000_000), None));
    }
}
