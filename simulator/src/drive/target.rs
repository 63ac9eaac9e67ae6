//! An external server: its addresses, and which one answers.

use std::{
    collections::BTreeMap,
    net::{SocketAddr, ToSocketAddrs},
    time::Duration,
};

use ks_protocol::number::canonical;
use tokio::{net::TcpStream, task::JoinSet};

use crate::{
    failure::Failure,
    link::{Network, socket::source_address},
    operator::{AnswerTimeouts, Operator},
};

/// Time limit for a target to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After how long the next address of a target is tried too.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Limit of addresses tried.
const ADDRESSES_MAX: usize = 16;

/// An external server.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http://HOST:PORT`.
    pub url: String,
    pub admin_token: String,
    pub timeouts: AnswerTimeouts,
    /// Its addresses; only the one that answers, once known.
    pub(super) addresses: Vec<SocketAddr>,
}

impl Target {
    /// Parses and resolves a URL.
    ///
    /// # Errors
    /// The URL is not `http://HOST:PORT`, or its host has no address (an unreachable target).
    pub fn new(url: String, admin_token: String) -> Result<Self, Failure> {
        let invalid = |why: &str| Failure::BadRequest(format!("--target is `{url}`: {why}; expected http://HOST:PORT"));
        let uri: hyper::Uri = url.parse().map_err(|_| invalid("it is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| invalid("it names no host"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return Err(invalid("TLS is not supported: simulate devices behind the proxy that terminates it"));
            }
            _ => return Err(invalid("it does not begin with http://")),
        }
        if authority.as_str().contains('@') {
            return Err(invalid("it contains a user; put the admin token into ADMIN_TOKEN"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(invalid("it contains a path"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = match authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((_, port)) => {
                canonical::<u16>(port).filter(|port| *port > 0).ok_or_else(|| invalid("invalid port"))?
            }
            None => 80,
        };
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
        Ok(Self { url, admin_token, timeouts: AnswerTimeouts::DEFAULT, addresses })
    }

    /// The address that is used: the one that answers, once known.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.first().copied()
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
        Ok(self)
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
