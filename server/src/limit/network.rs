//! Networks: addresses that begin alike, as people write them, and as budgets count them.

use std::{net::IpAddr, str::FromStr};

use ks_protocol::number::in_one_form;

/// Addresses that begin alike: `10.0.0.0/8`, `fd00::/8`, or a single one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u32,
}

/// Not a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an IP address, or one with a prefix such as 10.0.0.0/8")]
pub struct BadNetwork;

impl FromStr for Network {
    type Err = BadNetwork;
    fn from_str(given: &str) -> Result<Self, BadNetwork> {
        let (address, prefix) =
            given.split_once('/').map_or((given, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| BadNetwork)?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Some(bits), in_one_form).ok_or(BadNetwork)?;
        if prefix <= bits { Ok(Self { address, prefix }) } else { Err(BadNetwork) }
    }
}

impl Network {
    /// Bits that all its addresses share.
    pub fn prefix(self) -> u32 {
        self.prefix
    }

    /// Whether its addresses are those of IPv4.
    pub fn is_ipv4(self) -> bool {
        self.address.is_ipv4()
    }

    /// Whether the address is one of these.
    pub fn contains(self, address: IpAddr) -> bool {
        let differ_from = |bits: u32, differing: u128| self.prefix == 0 || differing >> (bits - self.prefix) == 0;
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(ours), IpAddr::V4(theirs)) => differ_from(32, u128::from(ours.to_bits() ^ theirs.to_bits())),
            (IpAddr::V6(ours), IpAddr::V6(theirs)) => differ_from(128, ours.to_bits() ^ theirs.to_bits()),
            _ => false,
        }
    }
}

/// What stands for an address: whoever holds an IPv6 address holds its whole /64.
pub fn network_of(address: IpAddr) -> IpAddr {
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
    fn what_is_no_network_is_refused() {
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/-1", "proxy"] {
            assert_eq!(bad.parse::<Network>(), Err(BadNetwork), "{bad}");
        }
    }
}
