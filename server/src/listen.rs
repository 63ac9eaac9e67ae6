//! Sockets: accepts connections, serves HTTP/1.1 on each with bounds, and on shutdown finishes what it accepted.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};
use tower::ServiceExt;

use crate::app::App;

/// Greatest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Pause after the system refused a connection (too many open files), before the next is tried.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` completes, then finishes requests in progress, for at most the configured grace.
pub async fn serve(listener: TcpListener, router: Router, app: App, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(app.config.connections_max));
    let (stopping, stopped) = watch::channel(false);
    let mut stop = std::pin::pin!(stop);
    loop {
        let place = tokio::select! {
            biased;
            () = &mut stop => break,
            Ok(place) = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, app, stopped) = (router.clone(), app.clone(), stopped.clone());
                tokio::spawn(async move {
                    app.metrics.connections.inc();
                    app.metrics.connections_accepted.inc();
                    connection(stream, peer, router, &app, stopped).await;
                    app.metrics.connections.dec();
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _ = stopping.send(true); // no connection is left to hear it, or each ends after its answer
    let all = u32::try_from(app.config.connections_max).unwrap_or(u32::MAX);
    let finished = tokio::time::timeout(app.config.shutdown_grace, places.acquire_many(all)).await;
    if finished.is_err() {
        tracing::warn!("requests were still in progress when the grace ended");
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    app: &App,
    mut stopped: watch::Receiver<bool>,
) {
    let _ = stream.set_nodelay(true); // an answer is one small write; failing to hurry it is no error
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        router.clone().oneshot(request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(app.config.idle_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(32)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let told_to_stop = async {
        let _ = stopped.wait_for(|stopped| *stopped).await; // a sender that is gone says the same
    };
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = told_to_stop => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}
