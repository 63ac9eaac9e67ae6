//! Links over TCP: one keep-alive HTTP/1.1 connection each, made at the first call and again after it was lost.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{client::conn::http1, header};
use hyper_util::rt::TokioIo;
use ks_protocol::document::DOCUMENT_BYTES_MAX;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpSocket, TcpStream},
    sync::Mutex,
};

use super::{
    HttpAnswer, HttpRequest, Link, LinkError, Network, Reply,
    endpoint::Endpoint,
    tls::{DeviceTls, ServerTls},
};
use crate::run::measure::Handshakes;

/// Greatest answer that may be large, in bytes: a page of an admin list, or a firmware image.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Greatest of all others, in bytes, which are documents; one that is too large is still distinguished from a lost connection.
const DOCUMENT_ANSWER_BYTES_MAX: usize = 2 * DOCUMENT_BYTES_MAX;
/// Greatest read buffer of one connection, in bytes.
const READ_BUFFER_BYTES_MAX: usize = 64 * 1024;
/// Callers that share one source address: below the usual 28 000 ephemeral ports.
const CALLERS_PER_ADDRESS: u32 = 20_000;

/// Sockets to one server.
pub struct SocketNetwork {
    endpoint: Endpoint,
    open: Arc<AtomicU64>,
}

impl SocketNetwork {
    /// Every link goes to `endpoint`.
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint, open: Arc::default() }
    }

    /// Sockets that are open now.
    pub fn open_sockets(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.open)
    }
}

/// The source address of the caller with this number: 127.0.0.1 first, the next one for each 20 000 callers. A server
/// elsewhere is reached from the address that the system chooses.
pub fn source_address(target: SocketAddr, caller: u32) -> SocketAddr {
    let unspecified: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let address = match target.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => Ipv4Addr::from_bits(0x7f00_0001 + caller / CALLERS_PER_ADDRESS).into(),
        _ => unspecified,
    };
    SocketAddr::new(address, 0)
}

/// This address of this machine, if the target is on it too.
pub fn loopback_address(target: SocketAddr, bits: u32) -> SocketAddr {
    let mut address = source_address(target, 0);
    if address.ip().is_loopback() {
        address.set_ip(Ipv4Addr::from_bits(bits).into());
    }
    address
}

impl Network for SocketNetwork {
    fn link(&self, from: SocketAddr) -> Rc<dyn Link> {
        Rc::new(SocketLink {
            endpoint: self.endpoint.clone(),
            tls: self.endpoint.tls.as_ref().map(ServerTls::of_device),
            from,
            connection: Mutex::new(None),
            open: Arc::clone(&self.open),
        })
    }

    fn take_handshakes(&self) -> Option<Handshakes> {
        self.endpoint.tls.as_ref().map(ServerTls::take_handshakes)
    }
}

/// Whether a failed connection met this machine's limit or the server's.
fn connect_error(error: &std::io::Error) -> LinkError {
    use rustix::io::Errno as E;
    let ours = [E::MFILE, E::NFILE, E::ADDRNOTAVAIL, E::ADDRINUSE, E::NOBUFS, E::NOMEM];
    let is_ours = E::from_io_error(error).is_some_and(|errno| ours.contains(&errno));
    if is_ours { LinkError::NoSocket } else { LinkError::ConnectFailed }
}

/// How much of an answer is read: the answers of a hostile target to thousands of devices must fit into memory.
fn answer_bytes_max(path: &str) -> usize {
    let may_be_large = ["/api/", "/firmware/artifacts/"].iter().any(|of| path.starts_with(of));
    if may_be_large { ANSWER_BYTES_MAX } else { DOCUMENT_ANSWER_BYTES_MAX }
}

type Connection = http1::SendRequest<Full<Bytes>>;

struct SocketLink {
    endpoint: Endpoint,
    tls: Option<DeviceTls>,
    from: SocketAddr,
    connection: Mutex<Option<Connection>>,
    open: Arc<AtomicU64>,
}

/// Connects to `target`, from `from` where an address is given.
///
/// # Errors
/// No connection; says whose limit was met.
pub async fn connect(target: SocketAddr, from: SocketAddr) -> Result<TcpStream, LinkError> {
    let connect = async {
        let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if !from.ip().is_unspecified() {
            socket.bind(from)?;
        }
        let stream = socket.connect(target).await?;
        stream.set_nodelay(true)?;
        // Closed with a reset, as by a lost network: a port in TIME_WAIT could not be reused for a minute.
        stream.set_zero_linger()?;
        Ok::<_, std::io::Error>(stream)
    };
    connect.await.map_err(|error| connect_error(&error))
}

impl SocketLink {
    async fn connect(&self) -> Result<Connection, LinkError> {
        let stream = connect(self.endpoint.address, self.from).await?;
        match &self.tls {
            None => self.speak_http(stream).await,
            Some(tls) => {
                let stream = tls.handshake(stream).await.map_err(|_| LinkError::TlsFailed)?;
                self.speak_http(stream).await
            }
        }
    }

    async fn speak_http<S: AsyncRead + AsyncWrite + Unpin + 'static>(
        &self,
        stream: S,
    ) -> Result<Connection, LinkError> {
        let handshake = http1::Builder::new().max_buf_size(READ_BUFFER_BYTES_MAX).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = handshake.map_err(|_| LinkError::ConnectFailed)?;
        let open = Arc::clone(&self.open);
        open.fetch_add(1, Ordering::Relaxed);
        actix::spawn(async move {
            let _ = connection.await; // its end shows at the next call
            open.fetch_sub(1, Ordering::Relaxed);
        });
        Ok(sender)
    }

    async fn exchange(&self, mut request: HttpRequest) -> Reply {
        let bytes_max = answer_bytes_max(request.uri().path());
        request.headers_mut().insert(header::HOST, self.endpoint.host.clone());
        if let Some(uri) = self.endpoint.with_prefix(request.uri()) {
            *request.uri_mut() = uri;
        }
        let mut place = self.connection.lock().await;
        // Taken out, and put back only after a complete answer: a call dropped half-way drops its connection too.
        let kept = match place.take() {
            Some(mut connection) => connection.ready().await.is_ok().then_some(connection),
            None => None,
        };
        let mut connection = match kept {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let response = connection.send_request(request).await.map_err(|_| LinkError::ConnectionLost)?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), bytes_max).collect().await;
        let body = body.map_err(|_| LinkError::ConnectionLost)?.to_bytes();
        *place = Some(connection);
        Ok(HttpAnswer { status, body })
    }
}

impl Link for SocketLink {
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>> {
        Box::pin(self.exchange(request))
    }

    fn close(&self) {
        if let Ok(mut connection) = self.connection.try_lock() {
            *connection = None; // one that is in use ends with its call
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_few_files_or_ports_are_our_own_limit() {
        let code = |errno: rustix::io::Errno| connect_error(&errno.into()).code();
        assert_eq!(
            (code(rustix::io::Errno::MFILE), code(rustix::io::Errno::CONNREFUSED)),
            ("NO_SOCKET", "CONNECT_FAILED")
        );
    }

    #[test]
    fn source_addresses_spread_over_loopback_only() {
        let local: SocketAddr = "127.0.0.1:3000".parse().unwrap();
        assert_eq!(source_address(local, 19_999).ip().to_string(), "127.0.0.1");
        assert_eq!(source_address(local, 20_000).ip().to_string(), "127.0.0.2");
        assert_eq!(source_address(local, 6_000_000).ip().to_string(), "127.0.1.45");
        assert!(source_address("10.1.2.3:80".parse().unwrap(), 20_000).ip().is_unspecified());
    }
}
