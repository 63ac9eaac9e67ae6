//! An external server: its addresses, and which one answers.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

use hyper::header::HeaderValue;
use ks_protocol::number::canonical;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    failure::Failure,
    link::{
        Network,
        endpoint::Endpoint,
        socket::source_address,
        tls::{HandshakeFailed, ServerTls},
    },
    operator::{AnswerTimeouts, Operator},
};

/// Time limit for a target to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After how long the next address of a target is tried too.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Limit of addresses tried.
const ADDRESSES_MAX: usize = 16;

/// An external server.
#[derive(Clone)]
pub struct Target {
    /// `http://HOST:PORT` or `https://HOST`, with a path if it is behind a proxy that has one for it.
    pub url: String,
    /// File with the certificates that are trusted instead of the system's.
    pub authorities: Option<PathBuf>,
    pub admin_token: String,
    pub timeouts: AnswerTimeouts,
    /// Its addresses; only the one that answers, once known.
    addresses: Vec<SocketAddr>,
    host: HeaderValue,
    prefix: String,
    tls: Option<ServerTls>,
}

impl Target {
    /// Parses and resolves a URL. `authorities` is a file with the certificates that are trusted instead of the system's.
    ///
    /// # Errors
    /// The URL is not `http://` or `https://` and a host, the certificates can't be used, or the host has no address (an unreachable
    /// target).
    pub fn new(url: String, admin_token: String, authorities: Option<PathBuf>) -> Result<Self, Failure> {
        let invalid = |why: &str| {
            Failure::BadRequest(format!("--target is `{url}`: {why}; expected http://HOST:PORT or https://HOST:PORT"))
        };
        let uri: hyper::Uri = url.parse().map_err(|_| invalid("it is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        let is_tls = match uri.scheme_str() {
            Some("http") => false,
            Some("https") => true,
            _ => return Err(invalid("it does not begin with http:// or https://")),
        };
        if authority.as_str().contains('@') {
            return Err(invalid("it contains a user; put the admin token into ADMIN_TOKEN"));
        }
        if uri.query().is_some() || url.contains('#') {
            return Err(invalid("it contains a query or a fragment"));
        }
        if authorities.is_some() && !is_tls {
            return Err(invalid("--ca is for https://"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = match authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((_, port)) => {
                canonical::<u16>(port).filter(|port| *port > 0).ok_or_else(|| invalid("invalid port"))?
            }
            None if is_tls => 443,
            None => 80,
        };
        let tls = is_tls.then(|| ServerTls::new(host, authorities.as_deref())).transpose();
        let tls = tls.map_err(|error| Failure::BadRequest(error.to_string()))?;
        let unreachable = |why: String| Failure::Unreachable { target: url.clone(), why };
        let resolved = (host, port).to_socket_addrs();
        let resolved = resolved.map_err(|error| unreachable(format!("its host `{host}` has no address ({error})")))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in resolved {
            if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(unreachable(format!("its host `{host}` has no address")));
        }
        let prefix = uri.path().to_owned();
        let host = HeaderValue::from_str(authority.as_str()).map_err(|_| invalid("it is not a URL"))?;
        Ok(Self { admin_token, authorities, timeouts: AnswerTimeouts::DEFAULT, addresses, host, prefix, tls, url })
    }

    /// Whether it is reached by TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Whether it is on this machine.
    pub fn is_local(&self) -> bool {
        self.addresses.first().is_none_or(|address| address.ip().is_loopback())
    }

    /// Where it is: at the address that answers, once known.
    ///
    /// # Errors
    /// Its host has no address.
    pub fn endpoint(&self) -> Result<Endpoint, Failure> {
        let unreachable =
            || Failure::Unreachable { target: self.url.clone(), why: "its host has no address".to_owned() };
        let address = self.addresses.first().copied().ok_or_else(unreachable)?;
        Ok(Endpoint::of_url(address, self.host.clone(), &self.prefix, self.tls.clone()))
    }

    /// An operator of it, at one of its addresses.
    pub fn operator(&self, network: &dyn Network, address: SocketAddr) -> Operator {
        Operator::new(network, source_address(address, 0), &self.admin_token).waiting(self.timeouts)
    }

    /// The target at its first address that accepts a connection.
    ///
    /// # Errors
    /// None does; the error names each.
    pub fn reached(mut self) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| Failure::Machine { what: "start a runtime", cause })?;
        match runtime.block_on(first_to_answer(&self.addresses)) {
            Ok(address) => self.addresses = vec![address],
            Err(why) => return Err(Failure::Unreachable { target: self.url, why }),
        }
        runtime.block_on(self.check_tls())?;
        Ok(self)
    }

    /// Makes one TLS handshake, so that a wrong certificate is an error before anything starts.
    async fn check_tls(&self) -> Result<(), Failure> {
        let (Some(tls), Some(address)) = (&self.tls, self.addresses.first()) else { return Ok(()) };
        let failed = |HandshakeFailed { why, help }| Failure::Tls { target: self.url.clone(), why, help };
        let handshake = async {
            let stream = TcpStream::connect(address).await;
            let lost =
                |error: std::io::Error| Failure::Unreachable { target: self.url.clone(), why: error.to_string() };
            tls.check(stream.map_err(lost)?).await.map_err(failed)
        };
        let checked = tokio::time::timeout(CONNECT_TIMEOUT, handshake).await;
        checked.unwrap_or_else(|_| {
            let why = format!("it did not end within {} s", CONNECT_TIMEOUT.as_secs());
            Err(failed(HandshakeFailed { why, help: "check that TLS is served at this port" }))
        })
    }
}

/// The address whose connection is made first; each is tried shortly after the previous one, as RFC 8305 requires for
/// a host with several addresses.
///
/// # Errors
/// The error of each address.
async fn first_to_answer(addresses: &[SocketAddr]) -> Result<SocketAddr, String> {
    let mut attempts = JoinSet::new();
    for (number, address) in (0..).zip(addresses.iter().copied()) {
        attempts.spawn(async move {
            tokio::time::sleep(NEXT_ADDRESS_AFTER * number).await;
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
            let why = match connected {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(format!("{address}: {error}")),
                Err(_) => Some(format!("{address}: no connection within {} s", CONNECT_TIMEOUT.as_secs())),
            };
            (address, why)
        });
    }
    let mut failed = BTreeMap::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok((address, None)) => return Ok(address),
            Ok((address, Some(why))) => drop(failed.insert(address, why)),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(failed.into_values().collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_of_a_target_is_tried_and_named() {
        let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let (there, silent) = (listening.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        assert_eq!(first_to_answer(&[silent, there]).await, Ok(there));
        drop(listening);
        let why = first_to_answer(&[silent, there]).await.unwrap_err();
        assert!(why.contains(&silent.to_string()) && why.contains(&there.to_string()), "{why}");
    }
}
