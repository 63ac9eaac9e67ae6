//! What failing requests cost their address; a request that succeeds costs nothing, so a site behind one address is not starved.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

use super::{Gcra, Rate};

/// Addresses remembered at most: about 6 MB.
const ADDRESSES_MAX: usize = 65_536;

/// The budgets of all addresses that failed lately.
#[derive(Debug)]
pub struct AddressBudget {
    rate: Rate,
    spent: Mutex<BTreeMap<IpAddr, Gcra>>,
}

impl AddressBudget {
    /// No address has failed yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, spent: Mutex::new(BTreeMap::new()) }
    }

    /// Microseconds until the address may fail again; none if it may now.
    pub fn wait_us(&self, address: IpAddr, now_us: u64) -> Option<u64> {
        let spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.get(&network_of(address))?.wait_us(self.rate, now_us)
    }

    /// Spends one failure.
    pub fn spend(&self, address: IpAddr, now_us: u64) {
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.len() >= ADDRESSES_MAX {
            spent.retain(|_, budget| !budget.is_fresh(now_us));
        }
        if spent.len() >= ADDRESSES_MAX {
            return; // an attack from so many networks is not stopped address by address
        }
        let _ = spent.entry(network_of(address)).or_default().spend(self.rate, now_us); // already empty is empty
    }
}

/// Whoever holds an IPv6 address holds its whole /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        },
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
        assert_eq!(budget.spent.lock().unwrap().len(), ADDRESSES_MAX);
    }
}
