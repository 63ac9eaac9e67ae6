//! Whose address a request comes from: the peer's, or, behind a proxy that is trusted, the one that the proxy names.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::ConnectInfo,
    http::{Extensions, HeaderMap},
};

use crate::{app::App, limit::Network};

/// Proxies that a request may have come through at most; what stands farther left was written by nobody we know.
const HOPS_MAX: usize = 16;

/// The address that a request comes from. Of `X-Forwarded-For` only what trusted proxies wrote is believed: each appends
/// the address that it saw, so the last one that is no trusted proxy is the client.
///
/// A proxy that writes something else hides its clients: they share its own address and budget. That is counted, and the first
/// time logged.
pub fn client_address(app: &App, extensions: &Extensions, headers: &HeaderMap) -> IpAddr {
    let (address, not_understood) = read(extensions, headers, &app.config.trusted_proxies);
    if let Some(hop) = not_understood
        && app.metrics.forwarded_for_not_understood.inc() == 0
    {
        let hop: String = hop.chars().take(80).collect();
        tracing::warn!(
            proxy = %address,
            given = ?hop,
            "X-Forwarded-For of a trusted proxy is no address: all that come through it share one budget; logged once, counted in ks_forwarded_for_not_understood_total"
        );
    }
    address
}

/// The address, and what stands in the place of one that a trusted proxy should have named.
fn read<'a>(extensions: &Extensions, headers: &'a HeaderMap, trusted: &[Network]) -> (IpAddr, Option<&'a str>) {
    let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    let mut address = peer.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let lines = headers.get_all("x-forwarded-for").iter().rev().map(|value| value.to_str().unwrap_or("(no text)"));
    for hop in lines.flat_map(|value| value.rsplit(',')).take(HOPS_MAX) {
        if !is_trusted(address) {
            break;
        }
        match hop_address(hop.trim()) {
            Some(before) => address = before.to_canonical(),
            None => return (address, Some(hop)), // the proxy that sent it is as far as we know
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

    fn seen(peer: &str, forwarded: &[&str], trusted: &[&str]) -> String {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 9)));
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", value.parse().unwrap());
        }
        let trusted: Vec<Network> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let (address, not_understood) = read(&extensions, &headers, &trusted);
        not_understood.map_or_else(|| address.to_string(), |hop| format!("{address}, not {}", hop.trim()))
    }

    #[test]
    fn only_a_trusted_proxy_is_believed() {
        assert_eq!(seen("203.0.113.9", &["1.2.3.4"], &["10.0.0.0/8"]), "203.0.113.9");
        assert_eq!(seen("10.1.2.3", &["1.2.3.4"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.1.2.3", &["6.6.6.6, 1.2.3.4, 10.9.9.9"], &["10.0.0.0/8"]), "1.2.3.4");
        assert_eq!(seen("10.1.2.3", &["6.6.6.6", "1.2.3.4"], &["10.1.2.3"]), "1.2.3.4");
        assert_eq!(seen("10.1.2.3", &["1.2.3.4, 10.4.4.4:80"], &["10.0.0.0/8"]), "1.2.3.4");
        for bad in ["nonsense", "unknown", "1.2.3.4:99999", "[::1", "1.2.3.4:", ""] {
            assert_eq!(seen("10.1.2.3", &[bad], &["10.0.0.0/8"]), format!("10.1.2.3, not {bad}"));
            assert_eq!(seen("203.0.113.9", &[bad], &["10.0.0.0/8"]), "203.0.113.9", "nobody's word");
        }
        assert_eq!(seen("::ffff:10.1.2.3", &["2001:db8::1"], &["10.0.0.0/8"]), "2001:db8::1");
        assert_eq!(seen("fd00::1", &["2001:db8::1"], &["fd00::/8"]), "2001:db8::1");
        assert_eq!(seen("10.1.2.3", &[], &["0.0.0.0/0"]), "10.1.2.3");
    }

    #[test]
    fn a_port_behind_the_address_is_left_out() {
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
