//! What a budget belongs to: addresses, networks of sites, and tables of them that are bounded.

use std::{collections::BTreeMap, net::IpAddr};

use super::budget::{Budget, Limit, State};

/// Subjects that a table remembers.
const REMEMBERED_MAX: usize = 65_536;
/// How often a full table forgets budgets that are whole, in microseconds.
const FORGETS_EVERY_US: u64 = 1_000_000;

/// Lengths of the prefixes that the addresses of one site share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SitePrefixes {
    pub ipv4: u8,
    pub ipv6: u8,
}

/// An address as budgets count it, and the network of its site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The IPv4 address, or the /64 of the IPv6 address.
    pub(super) address: IpAddr,
    pub(super) site: IpAddr,
}

impl Origin {
    /// Of a request from this address.
    pub fn of(address: IpAddr, prefixes: SitePrefixes) -> Self {
        let address = address.to_canonical();
        match address {
            IpAddr::V4(_) => Self { address, site: masked(address, prefixes.ipv4) },
            IpAddr::V6(_) => Self { address: masked(address, 64), site: masked(address, prefixes.ipv6) },
        }
    }
}

/// The first address of the network of `length` bits.
fn masked(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(length.min(32))).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// Budgets by address or network.
#[derive(Debug, Default)]
pub(super) struct Table {
    budgets: BTreeMap<IpAddr, Budget>,
    /// What subjects owe that are not among them.
    others: Budget,
    /// When a full table forgot whole budgets last.
    forgot_us: Option<u64>,
}

impl Table {
    pub(super) fn state(&self, of: IpAddr, limit: &Limit, now_us: u64) -> State {
        self.budgets.get(&of).copied().unwrap_or(self.others).state(limit, now_us)
    }

    /// The budget of a subject; none if there is no room for it.
    pub(super) fn budget(&mut self, of: IpAddr, limit: &Limit, now_us: u64) -> Option<&mut Budget> {
        let is_full = |budgets: &BTreeMap<_, _>| budgets.len() >= REMEMBERED_MAX;
        if is_full(&self.budgets) && !self.budgets.contains_key(&of) {
            if self.forgot_us.is_none_or(|forgot_us| now_us >= forgot_us + FORGETS_EVERY_US) {
                self.forgot_us = Some(now_us);
                self.budgets.retain(|_, budget| !budget.is_whole(limit, now_us));
            }
            if is_full(&self.budgets) {
                return None;
            }
        }
        Some(self.budgets.entry(of).or_insert(self.others))
    }

    /// What each subject owes is this, as far as anybody knows.
    pub(super) fn forget(&mut self, owed: Budget) {
        self.budgets.values_mut().for_each(|budget| *budget = owed);
        self.others = owed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_counts_as_itself_or_its_64_and_belongs_to_its_sites_network() {
        let prefixes = SitePrefixes { ipv4: 24, ipv6: 56 };
        let of = |address: &str| {
            let Origin { address, site } = Origin::of(address.parse().unwrap(), prefixes);
            [address.to_string(), site.to_string()]
        };
        assert_eq!(of("203.0.113.9"), ["203.0.113.9", "203.0.113.0"]);
        assert_eq!(of("::ffff:203.0.113.9"), ["203.0.113.9", "203.0.113.0"]);
        assert_eq!(of("2001:db8:0:12ff::9"), ["2001:db8:0:12ff::", "2001:db8:0:1200::"]);
    }
}
