//! The address of a request's client: the peer's, or behind a trusted proxy, the one that the proxy names.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap},
};

use ipnet::IpNet;

use crate::app::App;

/// The most proxies of a request; entries farther left were written by unknown parties.
const HOPS_MAX: usize = 16;

/// The address that a request comes from. Only the entries of `X-Forwarded-For` by trusted proxies count: each appends
/// the address of its peer, so the last address that is not a trusted proxy is the client.
///
/// If a trusted proxy writes something else, or a proxy is not trusted, its clients share its own address and budget. Both are counted,
/// and logged the first time. An untrusted header may be a client's own; that changes nothing but these counts.
pub fn client_address(app: &App, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
    let (address, unused) = read(extensions, headers, &app.config.trusted_proxies);
    match unused {
        None => {}
        Some(Unused::NotUnderstood(hop)) => {
            let before = app.metrics.forwarded_for_not_understood.inc();
            if before == 0 {
                let hop: String = hop.chars().take(80).collect();
                tracing::warn!(
                    proxy = %address,
                    given = ?hop,
                    "X-Forwarded-For by a trusted proxy is not an address: all clients of the proxy share one budget; logged once, counted in ks_forwarded_for_not_understood_total"
                );
            }
        }
        Some(Unused::Untrusted) => {
            let before = app.metrics.forwarded_for_untrusted.inc();
            if before == 0 {
                tracing::warn!(
                    peer = %address,
                    "X-Forwarded-For is ignored, because TRUSTED_PROXIES does not name who sent it: if that is your proxy, all its clients share one budget of each limit by address, and the audit has its address; logged once, counted in ks_forwarded_for_untrusted_total"
                );
            }
        }
    }
    address
}

/// Why an `X-Forwarded-For` says nothing about the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unused<'a> {
    /// This entry of a trusted proxy is not an address.
    NotUnderstood(&'a str),
    /// The peer is no trusted proxy.
    Untrusted,
}

/// The address, and why the header was not used if it was not.
fn read<'a>(extensions: &Extensions, headers: &'a HeaderMap, trusted: &[IpNet]) -> (IpAddr, Option<Unused<'a>>) {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    let mut address = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    if !is_trusted(address) {
        return (address, headers.contains_key("x-forwarded-for").then_some(Unused::Untrusted));
    }
    let lines = headers.get_all("x-forwarded-for").iter().rev().map(|value| value.to_str().unwrap_or("(no text)"));
    for hop in lines.flat_map(|value| value.rsplit(',')).take(HOPS_MAX) {
        if !is_trusted(address) {
            break;
        }
        match hop_address(hop.trim()) {
            Some(before) => address = before.to_canonical(),
            None => return (address, Some(Unused::NotUnderstood(hop))), // the proxy that sent it is the last known address
        }
    }
    (address, None)
}

/// An address as proxies write it: alone, in brackets, or with a port (`1.2.3.4:5678`, `[2001:db8::1]:443`).
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bracketed = || hop.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || hop.parse::<SocketAddr>().ok().map(|address| address.ip());
    hop.parse().ok().or_else(with_port).or_else(bracketed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limit::network;

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 9)));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|given| network(given).unwrap()).collect();
        let (address, unused) = read(&extensions, &headers, &trusted);
        match unused {
            None => address.to_string(),
            Some(Unused::NotUnderstood(hop)) => format!("{address}, not {}", hop.trim()),
            Some(Unused::Untrusted) => format!("{address}, untrusted"),
        }
    }

    #[test]
    fn only_trusted_proxies_can_name_the_client() {
        assert_eq!(seen("203.0.113.9", &["1.2.3.4"], &["10.0.0.0/8"]), "203.0.113.9, untrusted");
        assert_eq!(seen("203.0.113.9", &[], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(seen("10.1.2.3", &["1.2.3.4"], &[]), "10.1.2.3, untrusted");
        assert_eq!(seen("10.1.2.3", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.1.2.3", &["6.6.6.6, 1.2.3.4, 10.9.9.9"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.1.2.3", &["6.6.6.6", "1.2.3.4"], &["10.1.2.3"]), "1.2.3.4");
        assert_eq!(seen("10.1.2.3", &["1.2.3.4, 10.4.4.4:80"], &["10.0.0.0/8"]), "1.2.3.4");
        for bad in ["garbage", "unknown", "1.2.3.4:99999", "[::1", "1.2.3.4:", ""] {
            assert_eq!(seen("10.1.2.3", &[bad], &["10.0.0.0/8"]), format!("10.1.2.3, not {bad}"));
            assert_eq!(seen("203.0.113.9", &[bad], &["10.0.0.0/8"]), "203.0.113.9, untrusted");
        }
        assert_eq!(seen("::ffff:10.1.2.3", &["2001:db8::1"], &["10.0.0.0/8"]), "2001:db8::1");
        assert_eq!(seen("fd00::1", &["2001:db8::1"], &["fd00::/8"]), "2001:db8::1");
        assert_eq!(seen("10.1.2.3", &[], &["0.0.0.0/0"]), "10.1.2.3");
    }

    #[test]
    fn a_port_after_the_address_is_ignored() {
        for (hop, address) in [
            ("1.2.3.4:5678", "1.2.3.4"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[::ffff:1.2.3.4]:443", "1.2.3.4"),
            ("2001:db8::1", "2001:db8::1"),
        ] {
            assert_eq!(seen("10.1.2.3", &[hop], &["10.0.0.0/8"]), address, "{hop}");
        }
    }
}
