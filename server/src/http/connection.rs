//! One connection: HTTP/1.1 with a bound on the size of a head and on the time of everything that a peer can delay.
//!
//! | what the peer delays | how long |
//! | --- | --- |
//! | its next request, after an answer | `IDLE_TIMEOUT_MS` |
//! | the rest of a head, from its first byte, or from the answer before it; the first head, from the connection's start | `REQUEST_TIMEOUT_MS` |
//! | a body | `REQUEST_TIMEOUT_MS`, by who reads it |
//! | taking an answer | `REQUEST_TIMEOUT_MS` without a byte taken |
//! | an end to its body, after an answer that did not wait for it | some seconds ([`Linger`]) |

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, body::Body, extract::ConnectInfo, response::Response};
use bytes::Bytes;
use hyper::{
    StatusCode,
    body::{Body as _, Frame, Incoming, SizeHint},
    header::{CONNECTION, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, Sleep},
};
use tower::ServiceExt;

use crate::{
    app::App,
    http::{
        Proven,
        framing::Framing,
        head,
        linger::{Linger, Unread},
    },
};

/// Greatest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Fields of a head at most. Proxies and browsers add many; the bytes bound them further.
const HEAD_FIELDS_MAX: usize = 100;
/// Bytes of a body from which on an answer that leaves it unread says that the connection closes. A smaller one came with its
/// head, mostly, and is passed over.
const SMALL_BODY_BYTES: u64 = 1024;

/// How long a half request counts as fresh, in microseconds: every peer needs some time.
const FRESH_US: u64 = 1_000_000;

/// Nothing is asked for.
const IDLE: u8 = 0;
/// A head is on its way.
const HEAD: u8 = 1;
/// A request is being served.
const BUSY: u8 = 2;
/// An answer is on its way.
const ANSWERING: u8 = 3;

/// What a connection waits for that its peer should do; whoever comes first here is closed first when there are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Waits {
    /// The rest of a request.
    ForRequest,
    /// A next request.
    Idle,
    /// That the peer takes an answer.
    ForTaking,
    /// The rest of a request that has only just begun.
    ForFresh,
}

/// What a connection is doing, as the rest of the server sees it.
#[derive(Debug)]
pub(super) struct Pulse {
    doing: AtomicU8,
    since_us: AtomicU64,
    unread: Unread,
    framing: Mutex<Framing>,
    close: Notify,
    may_cut: AtomicBool,
}

impl Pulse {
    /// A connection whose first head is awaited, at so many microseconds since the server's start.
    pub(super) fn new(now_us: u64) -> Self {
        let (doing, since_us) = (AtomicU8::new(HEAD), AtomicU64::new(now_us));
        let (unread, framing) = (Unread::default(), Mutex::default());
        Self { doing, since_us, unread, framing, close: Notify::new(), may_cut: AtomicBool::new(false) }
    }

    /// What it waits for, and since when, both in microseconds since the server's start; none while the server works for it.
    pub(super) fn waits(&self, now_us: u64) -> Option<(Waits, u64)> {
        let since_us = self.since_us.load(Ordering::Relaxed);
        let half_request = if now_us.saturating_sub(since_us) < FRESH_US { Waits::ForFresh } else { Waits::ForRequest };
        let waits = match self.doing.load(Ordering::Relaxed) {
            HEAD => half_request,
            _ if self.unread.is_left() => half_request,
            IDLE => Waits::Idle,
            ANSWERING => Waits::ForTaking,
            _ => return None,
        };
        Some((waits, since_us))
    }

    /// Has the connection closed, because it waited so: one that was idle ends with an answer to what has come since.
    pub(super) fn ask_to_close(&self, waits: Waits) {
        self.may_cut.store(waits != Waits::Idle, Ordering::Relaxed);
        self.close.notify_one();
    }

    /// Whether the connection ends here and now when it is asked to.
    fn is_cut(&self) -> bool {
        self.may_cut.load(Ordering::Relaxed) && self.waits(0).is_some_and(|(waits, _)| waits != Waits::Idle)
    }

    /// An answer has ended. The next head may have begun already, with bytes that came before.
    fn is_answered(&self, now_us: u64) {
        let doing = if self.framing(|framing| framing.is_in_head()) { HEAD } else { IDLE };
        self.is(doing, now_us);
    }

    fn framing<T>(&self, look: impl FnOnce(&mut Framing) -> T) -> T {
        look(&mut self.framing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is(&self, doing: u8, now_us: u64) {
        self.doing.store(doing, Ordering::Relaxed);
        self.since_us.store(now_us, Ordering::Relaxed);
    }
}

/// An answer's body; the connection waits for the next request when it has ended.
struct Answering {
    body: Body,
    pulse: Arc<Pulse>,
    app: App,
}

impl hyper::body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.pulse.is_answered(self.app.elapsed_us());
    }
}

/// Serves one connection to its end.
///
/// # Errors
/// It did not end in peace: the peer broke off, was too slow, or spoke no HTTP.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    app: &App,
    pulse: &Arc<Pulse>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let _ = stream.set_nodelay(true); // an answer is one small write; failing to hurry it is no error
    let proven = Arc::new(Proven::default());
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        pulse.is(BUSY, app.elapsed_us());
        let size = request.body().size_hint(); // of one whose length is said, exact
        pulse.framing(|framing| framing.has_body(size.exact()));
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Arc::clone(&proven));
        let request = request.map(|body| pulse.unread.watch(body));
        let is_small = request.body().size_hint().upper().is_some_and(|bytes| bytes <= SMALL_BODY_BYTES);
        let answered = match head::refused(request.version(), request.headers()) {
            None => Ok(router.clone().oneshot(request)),
            Some(status) => Err(bare(status)),
        };
        async move {
            let mut answer = match answered {
                Ok(answered) => answered.await,
                Err(refused) => Ok(refused),
            };
            if let Ok(answer) = &mut answer
                && pulse.unread.is_left()
                && !is_small
            {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            pulse.is(ANSWERING, app.elapsed_us());
            let answering = |body| Answering { body, pulse: Arc::clone(pulse), app: app.clone() };
            answer.map(|answer| answer.map(answering))
        }
    });
    let paced = Paced {
        stream,
        pulse: Arc::clone(pulse),
        limit: app.config.request_timeout,
        head: None,
        head_since_us: 0,
        write: None,
        linger: None,
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.idle_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEAD_FIELDS_MAX)
        .serve_connection(TokioIo::new(paced), service);
    let mut connection = std::pin::pin!(connection);
    let told_to_stop = async {
        let _ = stopped.wait_for(|stopped| *stopped).await; // a sender that is gone says the same
    };
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = told_to_stop => {}
        () = pulse.close.notified() => if pulse.is_cut() { return Ok(()) },
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// A status as the HTTP layer says it: no document, and the connection is closed.
fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A stream that fails when its peer lets a head or an answer wait too long.
struct Paced {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    limit: Duration,
    /// Runs while a head is incomplete. A connection that is idle has no timer of its own.
    head: Option<Pin<Box<Sleep>>>,
    /// When the connection began to wait for that head, in microseconds since the server's start.
    head_since_us: u64,
    /// Runs while the peer takes nothing.
    write: Option<Pin<Box<Sleep>>>,
    /// There once everything is said, while the peer is still sending.
    linger: Option<Linger>,
}

/// Pending until the limit is over, then an error. The timer is made at the first call.
fn wait(timer: &mut Option<Pin<Box<Sleep>>>, limit: Duration, cx: &mut Context<'_>) -> Poll<io::Error> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
    ready!(timer.as_mut().poll(cx));
    Poll::Ready(io::ErrorKind::TimedOut.into())
}

impl AsyncRead for Paced {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() > before {
            this.pulse.framing(|framing| framing.came(buf.filled().get(before..).unwrap_or_default()));
            // The first byte of a head; in the middle of a request it belongs to the body.
            let begun = this.pulse.doing.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed);
            if begun.is_ok() {
                this.head = None;
            }
        }
        if this.pulse.doing.load(Ordering::Relaxed) != HEAD {
            this.head = None;
            return read;
        }
        match read {
            Poll::Pending => {
                let since_us = this.pulse.since_us.load(Ordering::Relaxed);
                if this.head_since_us != since_us {
                    (this.head, this.head_since_us) = (None, since_us); // another head than the timer was made for
                }
                wait(&mut this.head, this.limit, cx).map(Err)
            }
            ended @ Poll::Ready(_) => ended,
        }
    }
}

impl Paced {
    /// Watches over a step of writing: progress resets the timer.
    fn paced<T>(&mut self, step: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match step {
            Poll::Pending => wait(&mut self.write, self.limit, cx).map(Err),
            done @ Poll::Ready(_) => {
                self.write = None;
                done
            }
        }
    }
}

impl AsyncWrite for Paced {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.paced(step, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.paced(step, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_flush(cx);
        self.paced(step, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            let step = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.paced(step, cx))?;
            if !this.pulse.unread.is_left() {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::begin).poll(&mut this.stream, cx).map(Ok)
    }
}
