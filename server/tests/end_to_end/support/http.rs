//! HTTP/1.1 over one kept-alive connection, from an address that the test chooses.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

use super::WAIT_MAX;

pub(crate) struct Sent<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) headers: &'a [(&'a str, &'a str)],
    pub(crate) body: Vec<u8>,
}

impl<'a> Sent<'a> {
    /// GET without anything else.
    pub(crate) fn get(path: &'a str) -> Self {
        Self { method: "GET", path, headers: &[], body: Vec::new() }
    }

    /// POST of a TOON document.
    pub(crate) fn toon(path: &'a str, document: impl Into<Vec<u8>>) -> Self {
        let headers = &[("content-type", ks_protocol::MEDIA_TYPE)];
        Self { method: "POST", path, headers, body: document.into() }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }
}

/// A client of the server: connects when it sends something, and reconnects if the connection was closed in between.
pub(crate) struct Line {
    server: SocketAddr,
    from: IpAddr,
    connection: Option<SendRequest<Full<Bytes>>>,
}

impl Line {
    pub(crate) fn new(server: SocketAddr, from: IpAddr) -> Self {
        Self { server, from, connection: None }
    }

    /// A bare connection, for bytes that no HTTP client would send.
    pub(crate) async fn bare(server: SocketAddr, from: IpAddr) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(from, 0))?;
        timeout(WAIT_MAX, socket.connect(server)).await?
    }

    /// Connects unless it is connected.
    pub(crate) async fn connect(&mut self) -> Result<&mut SendRequest<Full<Bytes>>, String> {
        if self.connection.as_ref().is_none_or(SendRequest::is_closed) {
            let stream = Self::bare(self.server, self.from).await.map_err(|error| error.to_string())?;
            let (sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(driver);
            self.connection = Some(sender);
        }
        Ok(self.connection.as_mut().unwrap())
    }

    /// Whether the connection of the last request is still open.
    pub(crate) fn connection_is_open(&self) -> bool {
        self.connection.as_ref().is_some_and(|connection| !connection.is_closed())
    }

    /// Sends one request and waits for its answer.
    pub(crate) async fn exchange(&mut self, sent: Sent<'_>) -> Result<Answer, String> {
        let mut request = Request::builder().method(sent.method).uri(sent.path);
        if sent.headers.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", "server.test");
        }
        for (name, value) in sent.headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(sent.body))).unwrap();
        let connection = self.connect().await?;
        let exchange = async {
            connection.ready().await?;
            let (parts, body) = connection.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
        };
        let answer = timeout(WAIT_MAX, exchange).await.map_err(|_| format!("no answer within {WAIT_MAX:?}"))?;
        answer.map_err(|error: hyper::Error| format!("{error:?}"))
    }
}

/// Writes bytes on a new connection, and reads until the server closes it. A reset ends the reading too.
pub(crate) async fn bare_exchange(server: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = Line::bare(server, super::HOME).await.unwrap();
    let _ = stream.write_all(bytes).await; // the server may have closed the connection
    let mut received = Vec::new();
    let mut chunk = [0; 4_096];
    let reading = async {
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            received.extend_from_slice(chunk.get(..count).unwrap());
        }
    };
    assert!(timeout(WAIT_MAX, reading).await.is_ok(), "the server keeps the connection open");
    String::from_utf8_lossy(&received).into_owned()
}

/// Reads one answer with a content-length from a bare connection.
pub(crate) async fn bare_answer(stream: &mut TcpStream) -> Answer {
    timeout(WAIT_MAX, read_one(stream)).await.unwrap()
}

async fn read_one(stream: &mut TcpStream) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let mut headers = HeaderMap::new();
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        headers.insert(hyper::header::HeaderName::try_from(name).unwrap(), value.parse().unwrap());
    }
    let length = headers.get("content-length").map_or(0, |value| value.to_str().unwrap().parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Answer { status, headers, body: body.into() }
}
