//! How a virtual device, an adversary or an operator reaches the server: over sockets or in process.
//!
//! Every caller has a [`Link`] of its own; devices have theirs behind [`faults`], which the network's weather rules.

pub mod faults;
pub mod in_process;
pub mod socket;
pub mod witnessed;

use std::{future::Future, net::SocketAddr, pin::Pin, rc::Rc};

use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;

/// A request as a link takes it.
pub type HttpRequest = Request<Full<Bytes>>;

/// An answer with its whole body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpAnswer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub body: Bytes,
}

/// Why no answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkError {
    /// This machine has no more sockets or ports to give: the generator's limit, not the server's.
    NoSocket,
    /// No connection could be made.
    ConnectFailed,
    /// The connection ended before the answer was whole.
    ConnectionLost,
    /// No answer in time.
    TimedOut,
}

/// The code of a request that this machine had no socket for.
pub const NO_SOCKET: &str = "NO_SOCKET";

impl LinkError {
    /// The code under which it is counted.
    pub fn code(self) -> &'static str {
        match self {
            Self::NoSocket => NO_SOCKET,
            Self::ConnectFailed => "CONNECT_FAILED",
            Self::ConnectionLost => "CONNECTION_LOST",
            Self::TimedOut => "TIMEOUT",
        }
    }
}

/// What comes of a request.
pub type Reply = Result<HttpAnswer, LinkError>;

/// A way to the server. Stays on its thread.
pub trait Link {
    /// Sends one request and waits for its answer; requests on one link go one after the other.
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>>;
    /// Ends the connection, if there is one; the next call makes another.
    fn hang_up(&self);
}

/// Makes links: the one thing in which load and rehearsal differ.
pub trait Network: Send + Sync {
    /// A new link whose other end sees `from`, where the network can choose it.
    fn link(&self, from: SocketAddr) -> Rc<dyn Link>;
}
