//! Sockets: accepts connections, and on shutdown finishes what it accepted. When there are as many as there may be, some go that
//! wait for their peers: half requests first, and of those that are alike the ones whose address has most connections, so that
//! whoever opens many keeps nobody out.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use crate::{
    app::App,
    http::connection::{self, Pulse},
    limit::network_of,
};

/// Pause after the system refused a connection (too many open files), before the next is tried.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Pause between two lines of the log that say so.
const SAY_EVERY: Duration = Duration::from_mins(1);
/// One of so many connections goes when there are too many.
const GO_SHARE: usize = 256;

/// Serves until `stop` completes, then finishes requests in progress, for at most the configured grace.
pub async fn serve(listener: TcpListener, router: Router, app: App, stop: impl Future<Output = ()>) {
    let crowd = Arc::new(Crowd::new(app.config.connections_max));
    let (stopping, stopped) = watch::channel(false);
    let mut stop = std::pin::pin!(stop);
    let mut said_at = None;
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                if said_at.is_none_or(|at: Instant| at.elapsed() > SAY_EVERY) {
                    said_at = Some(Instant::now());
                    tracing::warn!(%error, "a connection could not be accepted; said once a minute");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = tokio::select! {
            biased;
            () = &mut stop => break,
            place = crowd.place(app.elapsed_us()) => place,
        };
        let member = Member::join(&crowd, &app, network_of(peer.ip()), place);
        tokio::spawn(serve_one(stream, peer, router.clone(), app.clone(), member, stopped.clone()));
    }
    drop(listener);
    let _ = stopping.send(true); // no connection is left to hear it, or each ends after its answer
    let all = u32::try_from(app.config.connections_max).unwrap_or(u32::MAX);
    let finished = tokio::time::timeout(app.config.shutdown_grace, crowd.places.acquire_many(all)).await;
    if finished.is_err() {
        tracing::warn!("requests were still in progress when the grace ended");
    }
}

async fn serve_one(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    app: App,
    member: Member,
    stopped: watch::Receiver<bool>,
) {
    let pulse = Arc::clone(&member.pulse);
    if let Err(error) = connection::serve(stream, peer, router, &app, &pulse, stopped).await {
        tracing::debug!(%peer, %error, "connection ended");
    }
    drop(member);
}

/// Every open connection.
struct Crowd {
    places: Arc<Semaphore>,
    /// How many go when there are too many: to find them costs a look at each connection.
    go_at_once: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    accepted: u64,
    connections: BTreeMap<u64, (IpAddr, Arc<Pulse>)>,
    /// How many each network has.
    of_network: BTreeMap<IpAddr, usize>,
}

impl Crowd {
    fn new(connections_max: usize) -> Self {
        let go_at_once = (connections_max / GO_SHARE).max(1);
        Self { places: Arc::new(Semaphore::new(connections_max)), go_at_once, open: Mutex::default() }
    }

    /// A place for one more. If there is none, some are asked to go.
    async fn place(&self, now_us: u64) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.places);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Some(place);
        }
        self.lock().make_room(self.go_at_once, now_us);
        places.acquire_owned().await.ok() // the semaphore is never closed
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    /// Asks so many to go: those of networks that have more than their share, by what they wait for; of those that are alike, the
    /// ones of whoever has most, and that have waited longest.
    fn make_room(&self, count: usize, now_us: u64) {
        let share = self.connections.len() / self.of_network.len().max(1);
        let mut waiting: Vec<_> = self
            .connections
            .values()
            .filter_map(|(network, pulse)| {
                let (waits, since_us) = pulse.waits(now_us)?;
                let count = self.of_network.get(network).copied().unwrap_or_default();
                Some(((count <= share, waits, Reverse(count), since_us), pulse))
            })
            .collect();
        waiting.sort_unstable_by_key(|(order, _)| *order);
        for ((_, waits, ..), pulse) in waiting.iter().take(count) {
            pulse.ask_to_close(*waits);
        }
    }
}

/// One connection's place in the crowd; given back when it is dropped, however the connection ends.
struct Member {
    crowd: Arc<Crowd>,
    app: App,
    number: u64,
    network: IpAddr,
    pulse: Arc<Pulse>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Member {
    fn join(crowd: &Arc<Crowd>, app: &App, network: IpAddr, place: Option<OwnedSemaphorePermit>) -> Self {
        app.metrics.connections.inc();
        app.metrics.connections_accepted.inc();
        let pulse = Arc::new(Pulse::new(app.elapsed_us()));
        let mut open = crowd.lock();
        open.accepted += 1;
        let number = open.accepted;
        open.connections.insert(number, (network, Arc::clone(&pulse)));
        *open.of_network.entry(network).or_default() += 1;
        drop(open);
        Self { crowd: Arc::clone(crowd), app: app.clone(), number, network, pulse, _place: place }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.app.metrics.connections.dec();
        let mut open = self.crowd.lock();
        open.connections.remove(&self.number);
        if let Entry::Occupied(mut count) = open.of_network.entry(self.network) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}
