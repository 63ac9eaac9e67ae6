//! How a virtual device, an adversary or an operator reaches the server: over sockets or in process.
//!
//! Every caller has a [`Link`] of its own; the devices' links go through [`faults`].

pub mod endpoint;
pub mod faults;
pub mod in_process;
pub mod socket;
pub mod tls;
pub mod witnessed;

use std::{future::Future, net::SocketAddr, pin::Pin, rc::Rc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use ks_protocol::{
    id::KeyId,
    key::PublicKey,
    message::{Heartbeat, NextBeat},
    signature,
};
use ks_server::store::heartbeats::HeartbeatRecord;

use crate::run::measure::Handshakes;

pub type HttpRequest = Request<Full<Bytes>>;

/// An answer with its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    pub body: Bytes,
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// This machine has no free socket or port: the generator's limit, not the server's.
    NoSocket,
    /// No connection could be made.
    ConnectFailed,
    /// A connection was made, but no TLS on it.
    TlsFailed,
    /// The connection ended before the answer was complete.
    ConnectionLost,
    /// No answer in time.
    TimedOut,
}

/// The code of a request that this machine had no socket for.
pub const NO_SOCKET: &str = "NO_SOCKET";

impl LinkError {
    /// The code it is counted under.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSocket => NO_SOCKET,
            Self::ConnectFailed => "CONNECT_FAILED",
            Self::TlsFailed => "TLS_FAILED",
            Self::ConnectionLost => "CONNECTION_LOST",
            Self::TimedOut => "TIMEOUT",
        }
    }
}

pub type Reply = Result<HttpAnswer, LinkError>;

/// The answer to a heartbeat that was handed over as a value, and the key that would have signed it.
pub type BeatAnswer = (signature::Reply<NextBeat>, KeyId);

/// A heartbeat handed over as a value, until its answer.
pub type HandedBeat<'a> = Pin<Box<dyn Future<Output = Result<BeatAnswer, LinkError>> + 'a>>;

/// Stored heartbeats, until they are read.
pub type StoredBeats<'a> = Pin<Box<dyn Future<Output = Result<Vec<HeartbeatRecord>, LinkError>> + 'a>>;

/// A way to the server. Stays on its thread.
pub trait Link {
    /// Sends one request and waits for its answer; requests on one link go one after the other.
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>>;
    /// Ends the connection, if there is one; the next call makes another.
    fn close(&self);

    /// Hands over a heartbeat as a value, made with `key`, where the server is in this process and signatures are modelled: the
    /// same exchange without its documents. `None` where that is not so, or the server has to see the document: then [`Link::call`].
    fn hand<'a>(&'a self, _beat: &'a Heartbeat, _key: &'a PublicKey) -> Option<HandedBeat<'a>> {
        None
    }

    /// Reads stored heartbeats above a row as values, at most `limit`, in commit order: what `GET /api/heartbeats` answers, without its
    /// document. `None` where [`Link::hand`] never hands over values: then [`Link::call`].
    fn stored_beats(&self, _after: i64, _limit: usize) -> Option<StoredBeats<'_>> {
        None
    }
}

/// Makes links: over sockets in a load run, in process in a rehearsal.
pub trait Network: Send + Sync {
    /// A new link whose other end sees `from`, where the network can choose it.
    fn link(&self, from: SocketAddr) -> Rc<dyn Link>;

    /// The TLS handshakes of its links since the last call; none without TLS.
    fn take_handshakes(&self) -> Option<Handshakes> {
        None
    }
}
