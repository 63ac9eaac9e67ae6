//! One connection: HTTP/1.1 with a bound on the size of a head and on the time of everything that a peer can delay.
//!
//! | what the peer delays | how long |
//! | --- | --- |
//! | its next request, after an answer | `IDLE_TIMEOUT_MS` |
//! | the rest of a head, from its first byte; the first head, from the connection's start | `REQUEST_TIMEOUT_MS` |
//! | a body | `REQUEST_TIMEOUT_MS`, by who reads it |
//! | taking an answer | `REQUEST_TIMEOUT_MS` without a byte taken |

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{Notify, watch},
    time::{Instant, Sleep},
};
use tower::ServiceExt;

use crate::app::App;

/// Greatest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Fields of a head at most.
const HEAD_FIELDS_MAX: usize = 32;

/// Nothing is asked for.
const IDLE: u8 = 0;
/// A head is on its way.
const HEAD: u8 = 1;
/// A request is being served.
const BUSY: u8 = 2;

/// What a connection is doing, as the rest of the server sees it.
#[derive(Debug)]
pub struct Pulse {
    doing: AtomicU8,
    since_us: AtomicU64,
    close: Notify,
}

impl Pulse {
    /// A connection whose first head is awaited, at so many microseconds since the server's start.
    pub fn new(now_us: u64) -> Self {
        Self { doing: AtomicU8::new(HEAD), since_us: AtomicU64::new(now_us), close: Notify::new() }
    }

    /// Since when no request is in progress; none if one is.
    pub fn idle_since_us(&self) -> Option<u64> {
        (self.doing.load(Ordering::Relaxed) != BUSY).then(|| self.since_us.load(Ordering::Relaxed))
    }

    /// Has the connection closed once its request in progress, if there is one, is answered.
    pub fn ask_to_close(&self) {
        self.close.notify_one();
    }

    fn is(&self, doing: u8, now_us: u64) {
        self.doing.store(doing, Ordering::Relaxed);
        self.since_us.store(now_us, Ordering::Relaxed);
    }
}

/// Serves one connection to its end.
///
/// # Errors
/// It did not end in peace: the peer broke off, was too slow, or spoke no HTTP.
pub async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    app: &App,
    pulse: &Arc<Pulse>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), hyper::Error> {
    let _ = stream.set_nodelay(true); // an answer is one small write; failing to hurry it is no error
    let service = service_fn(|mut request: hyper::Request<Incoming>| {
        pulse.is(BUSY, app.elapsed_us());
        request.extensions_mut().insert(ConnectInfo(peer));
        let answered = router.clone().oneshot(request);
        async move {
            let answer = answered.await;
            pulse.is(IDLE, app.elapsed_us());
            answer
        }
    });
    let paced = Paced { stream, pulse: Arc::clone(pulse), limit: app.config.request_timeout, head: None, write: None };
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
        () = pulse.close.notified() => {}
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// A stream that fails when its peer lets a head or an answer wait too long.
struct Paced {
    stream: TcpStream,
    pulse: Arc<Pulse>,
    limit: Duration,
    /// Runs while a head is incomplete. A connection that is idle has no timer of its own.
    head: Option<Pin<Box<Sleep>>>,
    /// Runs while the peer takes nothing.
    write: Option<Pin<Box<Sleep>>>,
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
            Poll::Pending => wait(&mut this.head, this.limit, cx).map(Err),
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
        let step = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.paced(step, cx)
    }
}
