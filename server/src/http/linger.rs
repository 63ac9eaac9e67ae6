//! Lingering: when a peer still sends its body after the answer, the rest is read and discarded for a while. A socket closed with
//! unread bytes is reset, and the reset can destroy the answer before the peer reads it (RFC 9112, 9.6).

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep},
};

/// The longest time that a connection lingers.
const LINGER: Duration = Duration::from_secs(3);
/// The most bytes that are discarded.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Bytes that are discarded at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Whether a request's body has been left unread.
#[derive(Debug, Clone, Default)]
pub(super) struct UnreadFlag(Arc<AtomicBool>);

impl UnreadFlag {
    /// Tracks a body: from now on it counts as unread until it is read to its end.
    pub(super) fn track(&self, body: Incoming) -> TrackedBody {
        self.0.store(!body.is_end_stream(), Ordering::Relaxed);
        TrackedBody { body, unread: self.clone() }
    }

    /// Whether the last body that was tracked has not been read to its end.
    pub(super) fn is_left(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A body that records when it has been read to its end.
#[derive(Debug)]
pub(super) struct TrackedBody {
    body: Incoming,
    unread: UnreadFlag,
}

impl Body for TrackedBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if frame.is_none() || self.body.is_end_stream() {
            self.unread.0.store(false, Ordering::Relaxed);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Discards what still arrives.
#[derive(Debug)]
pub(super) struct Linger {
    end: Pin<Box<Sleep>>,
    bytes_left: usize,
}

impl Linger {
    pub(super) fn start() -> Self {
        Self { end: Box::pin(tokio::time::sleep_until(Instant::now() + LINGER)), bytes_left: LINGER_BYTES_MAX }
    }

    /// Ready when the peer has finished sending, or the limits are reached.
    pub(super) fn poll(&mut self, stream: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        let mut piece = [0; PIECE_BYTES];
        while self.bytes_left > 0 && self.end.as_mut().poll(cx).is_pending() {
            let mut piece = ReadBuf::new(&mut piece);
            let read: io::Result<()> = ready!(Pin::new(&mut *stream).poll_read(cx, &mut piece));
            if read.is_err() || piece.filled().is_empty() {
                break;
            }
            self.bytes_left = self.bytes_left.saturating_sub(piece.filled().len());
        }
        Poll::Ready(())
    }
}
