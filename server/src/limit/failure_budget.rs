//! Budgets for failed requests: requests that succeed cost nothing, so that a site behind one address is not starved.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use super::{Gcra, Rate, network_of};

/// Failures of all addresses together that cost a signature check or a query of the store: 2,000 a second, a tenth of a core.
pub const EXPENSIVE_FAILURES: Rate = Rate { per_min: 120_000, burst: 2_000 };

/// Failures in the names of all devices that never sent a request, while another budget is used up: 100 a second. Anyone can guess
/// the first pair of such a device, so that a budget for each would give an attacker as many budgets as they know names.
pub const NEW_DEVICE_FAILURES: Rate = Rate { per_min: 6_000, burst: 200 };

/// The most subjects remembered: about 6 MB.
const SUBJECTS_MAX: usize = 65_536;

/// The budgets of all subjects that failed recently.
#[derive(Debug)]
pub struct FailureBudget<K> {
    rate: Rate,
    spent: Mutex<BTreeMap<K, Gcra>>,
}

impl<K: Ord> FailureBudget<K> {
    /// Budgets of which nothing is spent yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, spent: Mutex::new(BTreeMap::new()) }
    }

    /// Microseconds until the subject may fail again; none if it may now.
    pub fn wait_us(&self, subject: &K, now_us: u64) -> Option<u64> {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.get(subject)?.wait_us(self.rate, now_us)
    }

    pub fn spend(&self, subject: K, now_us: u64) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= SUBJECTS_MAX {
            spent.retain(|_, budget| !budget.is_fresh(now_us));
        }
        if spent.len() >= SUBJECTS_MAX {
            return; // an attack from so many subjects is not stopped one by one
        }
        let _ = spent.entry(subject).or_default().spend(self.rate, now_us); // an empty budget stays empty
    }

    /// Refunds what [`FailureBudget::spend`] took: it was not a failure after all.
    pub fn refund(&self, subject: &K) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(budget) = spent.get_mut(subject) {
            budget.refund(self.rate);
        }
    }
}

/// The budgets of addresses; addresses of one IPv6 network share one.
#[derive(Debug)]
pub struct AddressBudget(FailureBudget<IpAddr>);

impl AddressBudget {
    /// Budgets of which nothing is spent yet.
    pub fn new(rate: Rate) -> Self {
        Self(FailureBudget::new(rate))
    }

    /// Microseconds until the address may fail again; none if it may now.
    pub fn wait_us(&self, address: IpAddr, now_us: u64) -> Option<u64> {
        self.0.wait_us(&network_of(address), now_us)
    }

    /// Refunds what [`AddressBudget::spend`] took.
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
