//! One connection: HTTP/1.1 with limits on the size of a head and on everything that a peer can delay.
//!
//! | what the peer delays | how long |
//! | --- | --- |
//! | its next request after an answer | `IDLE_TIMEOUT_MS` |
//! | a TLS handshake, where the server terminates TLS itself | `REQUEST_TIMEOUT_MS` |
//! | the rest of a head, from its first byte, or from the answer before it; the first head, from the connection's start, or the end of its handshake | `REQUEST_TIMEOUT_MS` |
//! | a body | `REQUEST_TIMEOUT_MS`, applied by the reader of the body |
//! | reading an answer | `REQUEST_TIMEOUT_MS` without progress |
//! | the end of its body, after an answer that did not wait for it | some seconds ([`Linger`]) |

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
    sync::{Notify, watch},
    time::{Instant, Sleep},
};
use tower::ServiceExt;

use crate::{
    app::App,
    http::{
        VerifiedDevice,
        framing::Framing,
        head,
        linger::{Linger, UnreadFlag},
    },
};

/// The largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most fields of a head. Proxies and browsers add many; the bytes bound them further.
const HEAD_FIELDS_MAX: usize = 100;
/// An answer that leaves a body larger than this unread closes the connection. A smaller body has mostly arrived with its head,
/// and is skipped.
const SMALL_BODY_BYTES: u64 = 1024;

/// How long a partial request counts as new, in microseconds: every peer needs some time.
const NEW_REQUEST_US: u64 = 1_000_000;

/// No request.
const IDLE: u8 = 0;
/// A head is arriving.
const HEAD: u8 = 1;
/// A request is being served.
const BUSY: u8 = 2;
/// An answer is being sent.
const ANSWERING: u8 = 3;

/// What a connection waits for its peer to do. When there are too many connections, the variants are closed in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum PendingOn {
    /// The rest of a request.
    Request,
    /// The next request.
    Idle,
    /// That the peer reads an answer.
    Delivery,
    /// The rest of a request that has just begun.
    NewRequest,
}

/// What a connection is doing, as the rest of the server sees it.
#[derive(Debug)]
pub(super) struct Activity {
    doing: AtomicU8,
    since_us: AtomicU64,
    unread: UnreadFlag,
    framing: Mutex<Framing>,
    close: Notify,
    may_abort: AtomicBool,
}

impl Activity {
    /// A connection that waits for its first head; `now_us` is in microseconds since the server's start.
    pub(super) fn new(now_us: u64) -> Self {
        let (doing, since_us) = (AtomicU8::new(HEAD), AtomicU64::new(now_us));
        let (unread, framing) = (UnreadFlag::default(), Mutex::default());
        Self { doing, since_us, unread, framing, close: Notify::new(), may_abort: AtomicBool::new(false) }
    }

    /// What it waits for, and since when, in microseconds since the server's start; none while the server handles a request.
    pub(super) fn pending_on(&self, now_us: u64) -> Option<(PendingOn, u64)> {
        let since_us = self.since_us.load(Ordering::Relaxed);
        let partial_request =
            if now_us.saturating_sub(since_us) < NEW_REQUEST_US { PendingOn::NewRequest } else { PendingOn::Request };
        let pending = match self.doing.load(Ordering::Relaxed) {
            HEAD => partial_request,
            _ if self.unread.is_left() => partial_request,
            IDLE => PendingOn::Idle,
            ANSWERING => PendingOn::Delivery,
            _ => return None,
        };
        Some((pending, since_us))
    }

    /// Closes the connection because of what it waits for. An idle connection first answers a request that has arrived since.
    pub(super) fn ask_to_close(&self, pending: PendingOn) {
        self.may_abort.store(pending != PendingOn::Idle, Ordering::Relaxed);
        self.close.notify_one();
    }

    /// The TLS handshake has ended: the first head is expected from now on.
    pub(super) fn is_shaken(&self, now_us: u64) {
        self.is(HEAD, now_us);
    }

    /// Completes when the connection has to end before its first request.
    pub(super) async fn aborted(&self) {
        loop {
            self.close.notified().await;
            if self.is_aborted() {
                return;
            }
        }
    }

    /// Whether the connection ends immediately when it is asked to close.
    fn is_aborted(&self) -> bool {
        self.may_abort.load(Ordering::Relaxed)
            && self.pending_on(0).is_some_and(|(pending, _)| pending != PendingOn::Idle)
    }

    /// An answer has ended. The next head may already have begun, with bytes received before.
    fn is_answered(&self, now_us: u64) {
        let doing = if self.framing(|framing| framing.is_in_head()) { HEAD } else { IDLE };
        self.is(doing, now_us);
    }

    fn framing<T>(&self, action: impl FnOnce(&mut Framing) -> T) -> T {
        action(&mut self.framing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn is(&self, doing: u8, now_us: u64) {
        self.doing.store(doing, Ordering::Relaxed);
        self.since_us.store(now_us, Ordering::Relaxed);
    }
}

/// An answer's body; when it has ended, the connection waits for the next request.
struct AnswerBody {
    body: Body,
    activity: Arc<Activity>,
    app: App,
}

impl hyper::body::Body for AnswerBody {
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

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.activity.is_answered(self.app.elapsed_us());
    }
}

/// Serves one connection to its end.
///
/// # Errors
/// It ended abnormally: the peer disconnected, was too slow, or did not speak HTTP.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    router: Router,
    app: &App,
    activity: &Arc<Activity>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let verified_device = Arc::new(VerifiedDevice::default());
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        activity.is(BUSY, app.elapsed_us());
        let size = request.body().size_hint(); // exact if the length is declared
        activity.framing(|framing| framing.expect_body(size.exact()));
        request.extensions_mut().insert(ConnectInfo(peer));
        request.extensions_mut().insert(Arc::clone(&verified_device));
        let request = request.map(|body| activity.unread.track(body));
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
                && activity.unread.is_left()
                && !is_small
            {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            activity.is(ANSWERING, app.elapsed_us());
            let answer_body = |body| AnswerBody { body, activity: Arc::clone(activity), app: app.clone() };
            answer.map(|answer| answer.map(answer_body))
        }
    });
    let timed = TimedStream {
        stream,
        activity: Arc::clone(activity),
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
        .serve_connection(TokioIo::new(timed), service);
    let mut connection = std::pin::pin!(connection);
    let stop_requested = async {
        let _ = stopped.wait_for(|stopped| *stopped).await; // a dropped sender means the same
    };
    tokio::select! {
        biased;
        ended = connection.as_mut() => return ended,
        () = stop_requested => {}
        () = activity.close.notified() => if activity.is_aborted() { return Ok(()) },
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// A bare status as the HTTP layer sends it: no document, and the connection is closed.
fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// A stream that fails when its peer delays a head or an answer for too long.
struct TimedStream<S> {
    stream: S,
    activity: Arc<Activity>,
    limit: Duration,
    /// Runs while a head is incomplete. An idle connection has no timer here.
    head: Option<Pin<Box<Sleep>>>,
    /// When the connection began to wait for that head, in microseconds since the server's start.
    head_since_us: u64,
    /// Runs while the peer reads nothing.
    write: Option<Pin<Box<Sleep>>>,
    /// Set after the last answer, while the peer is still sending.
    linger: Option<Linger>,
}

/// Pending until the limit has passed, then an error. The first call creates the timer.
fn wait(timer: &mut Option<Pin<Box<Sleep>>>, limit: Duration, cx: &mut Context<'_>) -> Poll<io::Error> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(Instant::now() + limit)));
    ready!(timer.as_mut().poll(cx));
    Poll::Ready(io::ErrorKind::TimedOut.into())
}

impl<S: AsyncRead + Unpin> AsyncRead for TimedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if read.is_ready() && buf.filled().len() > before {
            this.activity.framing(|framing| framing.receive(buf.filled().get(before..).unwrap_or_default()));
            // The first byte of a head; in the middle of a request it belongs to the body.
            let begun = this.activity.doing.compare_exchange(IDLE, HEAD, Ordering::Relaxed, Ordering::Relaxed);
            if begun.is_ok() {
                this.head = None;
            }
        }
        if this.activity.doing.load(Ordering::Relaxed) != HEAD {
            this.head = None;
            return read;
        }
        match read {
            Poll::Pending => {
                let since_us = this.activity.since_us.load(Ordering::Relaxed);
                if this.head_since_us != since_us {
                    (this.head, this.head_since_us) = (None, since_us); // the timer was for another head
                }
                wait(&mut this.head, this.limit, cx).map(Err)
            }
            ended @ Poll::Ready(_) => ended,
        }
    }
}

impl<S> TimedStream<S> {
    /// Limits a step of writing: progress resets the timer.
    fn timed<T>(&mut self, step: Poll<io::Result<T>>, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        match step {
            Poll::Pending => wait(&mut self.write, self.limit, cx).map(Err),
            done @ Poll::Ready(_) => {
                self.write = None;
                done
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TimedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(step, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write_vectored(cx, parts);
        self.timed(step, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_flush(cx);
        self.timed(step, cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.linger.is_none() {
            let step = Pin::new(&mut this.stream).poll_shutdown(cx);
            ready!(this.timed(step, cx))?;
            if !this.activity.unread.is_left() {
                return Poll::Ready(Ok(()));
            }
        }
        this.linger.get_or_insert_with(Linger::start).poll(&mut this.stream, cx).map(Ok)
    }
}
