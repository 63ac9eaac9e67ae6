//! Sockets: accepts connections, and on shutdown finishes the accepted ones. At the limit of connections, some that wait for their
//! peers are closed: partial requests first, and among equals those whose network has most connections, so that a client that opens
//! many does not keep others out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use rustls::HandshakeKind;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::{
    app::App,
    http::connection::{self, Activity},
    limit::network_of,
    tls::Tls,
};

/// Pause after the system refused a connection (too many open files), before the next is tried.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two log lines about that.
const LOG_INTERVAL: Duration = Duration::from_mins(1);
/// One of this many connections is closed when there are too many.
const CLOSE_SHARE: usize = 256;

/// Serves until `stop` completes, then finishes requests in progress, for at most the configured grace.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    router: Router,
    app: App,
    stop: impl Future<Output = ()>,
) {
    let connections = Arc::new(Connections::new(app.config.connections_max));
    let (stopping, stopped) = watch::channel(false);
    let mut stop = std::pin::pin!(stop);
    let mut logged_at = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if logged_at.is_none_or(|at: Instant| at.elapsed() > LOG_INTERVAL) {
                    logged_at = Some(Instant::now());
                    tracing::warn!(%error, "a connection could not be accepted; logged once a minute");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let permit = tokio::select! {
            biased;
            () = &mut stop => break,
            permit = connections.permit(app.elapsed_us()) => permit,
        };
        let slot = Slot::join(&connections, &app, network_of(peer.ip()), permit);
        let _ = stream.set_nodelay(true); // an answer is one small write; failing to set this is not an error
        tokio::spawn(serve_one((stream, peer), tls.clone(), router.clone(), app.clone(), slot, stopped.clone()));
    }
    drop(listener);
    let _ = stopping.send(true); // no connection is left, or each ends after its answer
    let all = u32::try_from(app.config.connections_max).unwrap_or(u32::MAX);
    let finished = tokio::time::timeout(app.config.shutdown_grace, connections.permits.acquire_many(all)).await;
    if finished.is_err() {
        tracing::warn!("requests were still in progress when the grace ended");
    }
}

async fn serve_one(
    (stream, peer): (TcpStream, SocketAddr),
    tls: Option<Arc<Tls>>,
    router: Router,
    app: App,
    slot: Slot,
    stopped: watch::Receiver<bool>,
) {
    let activity = Arc::clone(&slot.activity);
    let ended = match tls {
        None => connection::serve(stream, peer, router, &app, &activity, stopped).await,
        Some(tls) => match handshake(stream, peer, &tls, &app, &activity, stopped.clone()).await {
            Some(stream) => connection::serve(stream, peer, router, &app, &activity, stopped).await,
            None => Ok(()),
        },
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
    drop(slot);
}

/// A connection's TLS handshake; none if it failed, took too long, or the connection has to end.
async fn handshake(
    stream: TcpStream,
    peer: SocketAddr,
    tls: &Tls,
    app: &App,
    activity: &Activity,
    mut stopped: watch::Receiver<bool>,
) -> Option<TlsStream<TcpStream>> {
    let accepted = TlsAcceptor::from(tls.current()).accept(stream);
    let accepted = tokio::select! {
        biased;
        accepted = tokio::time::timeout(app.config.request_timeout, accepted) => Some(accepted),
        () = activity.aborted() => None,
        _ = stopped.wait_for(|stopped| *stopped) => None,
    };
    let failed = |why: &dyn std::fmt::Display| {
        app.metrics.handshake("failed");
        tracing::debug!(%peer, %why, "TLS handshake failed");
    };
    match accepted {
        Some(Ok(Ok(stream))) => {
            let is_resumed = stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
            app.metrics.handshake(if is_resumed { "resumed" } else { "full" });
            activity.is_shaken(app.elapsed_us());
            Some(stream)
        }
        Some(Ok(Err(error))) => {
            failed(&error);
            None
        }
        Some(Err(timeout)) => {
            failed(&timeout);
            None
        }
        None => {
            app.metrics.handshake("shed");
            None
        }
    }
}

struct Connections {
    permits: Arc<Semaphore>,
    /// How many are closed at a time when there are too many: finding them means checking each connection.
    close_at_a_time: usize,
    open: Mutex<OpenConnections>,
}

#[derive(Default)]
struct OpenConnections {
    accepted: u64,
    connections: BTreeMap<u64, (IpAddr, Arc<Activity>)>,
    /// The number of connections of each network.
    of_network: BTreeMap<IpAddr, usize>,
}

impl Connections {
    fn new(connections_max: usize) -> Self {
        let close_at_a_time = (connections_max / CLOSE_SHARE).max(1);
        Self { permits: Arc::new(Semaphore::new(connections_max)), close_at_a_time, open: Mutex::default() }
    }

    /// A slot for one more connection. If there is none, some connections are asked to close.
    async fn permit(&self, now_us: u64) -> Option<OwnedSemaphorePermit> {
        let permits = Arc::clone(&self.permits);
        if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
            return Some(permit);
        }
        self.lock().ask_to_close(self.close_at_a_time, now_us);
        permits.acquire_owned().await.ok() // the semaphore is never closed
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnections {
    /// Asks this many connections to close: first those of networks with more than their share, ordered by what they wait for;
    /// among equals those of the network with most connections, and those that have waited longest.
    fn ask_to_close(&self, count: usize, now_us: u64) {
        let share = self.connections.len() / self.of_network.len().max(1);
        let mut waiting: Vec<_> = self
            .connections
            .values()
            .filter_map(|(network, activity)| {
                let (pending, since_us) = activity.pending_on(now_us)?;
                let count = self.of_network.get(network).copied().unwrap_or_default();
                Some(((count <= share, pending, Reverse(count), since_us), activity))
            })
            .collect();
        waiting.sort_unstable_by_key(|(order, _)| *order);
        for ((_, pending, ..), activity) in waiting.iter().take(count) {
            activity.ask_to_close(*pending);
        }
    }
}

/// One connection's slot; freed when it is dropped, however the connection ends.
struct Slot {
    connections: Arc<Connections>,
    app: App,
    number: u64,
    network: IpAddr,
    activity: Arc<Activity>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Slot {
    fn join(connections: &Arc<Connections>, app: &App, network: IpAddr, permit: Option<OwnedSemaphorePermit>) -> Self {
        app.metrics.connections.inc();
        app.metrics.connections_accepted.inc();
        let activity = Arc::new(Activity::new(app.elapsed_us()));
        let mut open = connections.lock();
        open.accepted += 1;
        let number = open.accepted;
        open.connections.insert(number, (network, Arc::clone(&activity)));
        *open.of_network.entry(network).or_default() += 1;
        drop(open);
        Self { connections: Arc::clone(connections), app: app.clone(), number, network, activity, _permit: permit }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.app.metrics.connections.dec();
        let mut open = self.connections.lock();
        open.connections.remove(&self.number);
        if let Entry::Occupied(mut count) = open.of_network.entry(self.network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
