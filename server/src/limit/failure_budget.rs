//! What failing costs whoever fails: requests that succeed cost nothing, so a site behind one address is not starved.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use super::{Gcra, Rate, network_of};

/// What all addresses together may fail in ways that cost a signature check or a look into the store: 2,000 a second, which is a
/// tenth of a core.
pub const DEAR_FAILURES: Rate = Rate { per_min: 120_000, burst: 2_000 };

/// What may fail in the names of all devices that were never heard, while a budget is used up: 100 a second. Their first pair is
/// anybody's guess, so that a budget for each of them would be as many budgets as somebody knows names.
pub const NEWCOMERS_DOUBTS: Rate = Rate { per_min: 6_000, burst: 200 };

/// Subjects remembered at most: about 6 MB.
const SUBJECTS_MAX: usize = 65_536;

/// The budgets of all who failed lately.
#[derive(Debug)]
pub struct FailureBudget<K> {
    rate: Rate,
    spent: Mutex<BTreeMap<K, Gcra>>,
}

impl<K: Ord> FailureBudget<K> {
    /// Nobody has failed yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, spent: Mutex::new(BTreeMap::new()) }
    }

    /// Microseconds until the subject may fail again; none if it may now.
    pub fn wait_us(&self, subject: &K, now_us: u64) -> Option<u64> {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.get(subject)?.wait_us(self.rate, now_us)
    }

    /// Spends one failure.
    pub fn spend(&self, subject: K, now_us: u64) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= SUBJECTS_MAX {
            spent.retain(|_, budget| !budget.is_fresh(now_us));
        }
        if spent.len() >= SUBJECTS_MAX {
            return; // an attack by so many is not stopped one by one
        }
        let _ = spent.entry(subject).or_default().spend(self.rate, now_us); // already empty is empty
    }

    /// Gives back what [`FailureBudget::spend`] took: it was no failure after all.
    pub fn refund(&self, subject: &K) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = spent.get_mut(subject) {
            budget.refund(self.rate);
        }
    }
}

/// The budgets of addresses; those of one IPv6 network share one.
#[derive(Debug)]
pub struct AddressBudget(FailureBudget<IpAddr>);

impl AddressBudget {
    /// No address has failed yet.
    pub fn new(rate: Rate) -> Self {
        Self(FailureBudget::new(rate))
    }

    /// Microseconds until the address may fail again; none if it may now.
    pub fn wait_us(&self, address: IpAddr, now_us: u64) -> Option<u64> {
        self.0.wait_us(&network_of(address), now_us)
    }

    /// Gives back what [`AddressBudget::spend`] took.
    pub fn refund(&self, address: IpAddr) {
        self.0.refund(&network_of(address));
    }

    /// Spends one failure.
    pub fn spend(&self, address: IpAddr, now_us: u64) {
        self.0.spend(network_of(address), now_us);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_ipv6_network_share_a_budget() {
        let budget = AddressBudget::new(Rate { per_min: 60, burst: 1 });
        budget.spend("2001:db8::1".parse().unwrap(), 0);
        assert!(budget.wait_us("2001:db8::2".parse().unwrap(), 0).is_some());
        assert!(budget.wait_us("2001:db8:0:1::2".parse().unwrap(), 0).is_none());
    }

    #[test]
    fn memory_is_bounded() {
        let budget = AddressBudget::new(Rate { per_min: 1, burst: 1 });
        for number in 0..100_000_u32 {
            budget.spend(IpAddr::V4(number.into()), 0);
        }
        assert_eq!(budget.0.spent.lock().unwrap().len(), SUBJECTS_MAX);
    }
}
