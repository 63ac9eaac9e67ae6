//! Where a server is: its address, the host that requests name, a path before each request's own, and its TLS.

use std::net::SocketAddr;

use hyper::{
    Uri,
    header::HeaderValue,
    http::uri::{Parts, PathAndQuery},
};

use super::tls::ServerTls;

/// Where a server is.
#[derive(Clone)]
pub struct Endpoint {
    pub address: SocketAddr,
    /// What requests name as their host, with its port.
    pub(super) host: HeaderValue,
    /// Before the path of each request: empty, or `/` and a path without a `/` at its end.
    prefix: String,
    pub(super) tls: Option<ServerTls>,
}

impl Endpoint {
    /// A server at an address, without TLS.
    pub fn plain(address: SocketAddr) -> Self {
        // An address is always valid as a header's value; without it the server refuses the request, which shows.
        let host = HeaderValue::from_str(&address.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""));
        Self { address, host, prefix: String::new(), tls: None }
    }

    /// A server as a URL names it, at one of its addresses.
    pub fn of_url(address: SocketAddr, host: HeaderValue, prefix: &str, tls: Option<ServerTls>) -> Self {
        Self { address, host, prefix: prefix.trim_end_matches('/').to_owned(), tls }
    }

    /// Whether requests reach the server's own port, with nothing before it that it might not be.
    pub fn is_bare(&self) -> bool {
        self.tls.is_none() && self.prefix.is_empty()
    }

    /// A request's URI with the prefix; none if there is no prefix.
    pub(super) fn with_prefix(&self, uri: &Uri) -> Option<Uri> {
        if self.prefix.is_empty() {
            return None;
        }
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let mut parts = Parts::default();
        parts.path_and_query = format!("{}{path}", self.prefix).parse().ok();
        Uri::from_parts(parts).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_comes_before_each_path() {
        let address = "127.0.0.1:1".parse().unwrap();
        let at = |prefix: &str, uri: &str| {
            let endpoint = Endpoint::of_url(address, HeaderValue::from_static("h"), prefix, None);
            endpoint.with_prefix(&uri.parse().unwrap()).map(|uri| uri.to_string())
        };
        assert_eq!(at("", "/heartbeat"), None);
        assert_eq!(at("/", "/heartbeat"), None);
        assert_eq!(at("/ks/", "/heartbeat").as_deref(), Some("/ks/heartbeat"));
        assert_eq!(at("/a/b", "/api/devices?cursor=1&limit=2").as_deref(), Some("/a/b/api/devices?cursor=1&limit=2"));
    }
}
