//! Networks of addresses, as settings write them and as budgets count them.

use std::net::IpAddr;

use ipnet::IpNet;
use ks_protocol::number::canonical;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an IP address, or one with a prefix such as 10.0.0.0/8")]
pub struct InvalidNetwork;

/// Reads a network: `10.0.0.0/8`, `fd00::/8`, or a single address. The length of the prefix has one canonical form.
///
/// # Errors
/// The text is not a network.
pub fn network(given: &str) -> Result<IpNet, InvalidNetwork> {
    let parse = || match given.split_once('/') {
        Some((address, prefix)) => IpNet::new(address.parse().ok()?, canonical(prefix)?).ok(),
        None => given.parse::<IpAddr>().ok().map(IpNet::from),
    };
    parse().ok_or(InvalidNetwork)
}

/// The network that a budget counts for an address: the holder of an IPv6 address holds its whole /64.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() >> 64 << 64).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Lengths of the prefixes that the addresses of one site share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SitePrefixes {
    pub ipv4: u8,
    pub ipv6: u8,
}

impl SitePrefixes {
    /// The network of a site, by an address in it: its first address.
    pub fn site_of(self, address: IpAddr) -> IpAddr {
        let address = address.to_canonical();
        let length = if address.is_ipv4() { self.ipv4 } else { self.ipv6 };
        IpNet::new(address, length).map_or(address, |net| net.network())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_network_of_one() {
        assert_eq!(network("10.1.2.3").unwrap().to_string(), "10.1.2.3/32");
        assert_eq!(network("fd00::1").unwrap().to_string(), "fd00::1/128");
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let of = |address: &str| network_of(address.parse().unwrap()).to_string();
        assert_eq!(of("2001:db8::1"), of("2001:db8::2"));
        assert_eq!([of("2001:db8:0:1::2"), of("::ffff:10.1.2.3")], ["2001:db8:0:1::", "10.1.2.3"]);
    }

    #[test]
    fn a_site_is_all_addresses_with_its_prefix() {
        let prefixes = SitePrefixes { ipv4: 20, ipv6: 56 };
        let of = |address: &str| prefixes.site_of(address.parse().unwrap()).to_string();
        assert_eq!(
            [of("203.0.113.9"), of("203.0.119.1"), of("203.0.128.1")],
            ["203.0.112.0", "203.0.112.0", "203.0.128.0"]
        );
        assert_eq!([of("2001:db8:0:12ff::9"), of("::ffff:203.0.113.9")], ["2001:db8:0:1200::", "203.0.112.0"]);
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for bad in ["", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/-1", "10.0.0.0/08", "10.0.0.0/", "proxy"] {
            assert_eq!(network(bad), Err(InvalidNetwork), "{bad}");
        }
    }
}
