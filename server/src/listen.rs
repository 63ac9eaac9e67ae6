//! Sockets: accepts connections, and on shutdown finishes what it accepted. When there are as many as there may be, the one
//! that has been idle longest goes, so that connections that only sit there keep nobody out.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::Router;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
};

use crate::{
    app::App,
    connection::{self, Pulse},
};

/// Pause after the system refused a connection (too many open files), before the next is tried.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` completes, then finishes requests in progress, for at most the configured grace.
pub async fn serve(listener: TcpListener, router: Router, app: App, stop: impl Future<Output = ()>) {
    let crowd = Arc::new(Crowd::new(app.config.connections_max));
    let (stopping, stopped) = watch::channel(false);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stop => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let place = tokio::select! {
            biased;
            () = &mut stop => break,
            place = crowd.place() => place,
        };
        let member = Member::join(&crowd, &app, place);
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
    open: Mutex<(u64, BTreeMap<u64, Arc<Pulse>>)>,
}

impl Crowd {
    fn new(connections_max: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(connections_max)), open: Mutex::default() }
    }

    /// A place for one more. If there is none, the connection that has been idle longest is asked to go.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let places = Arc::clone(&self.places);
        if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
            return Some(place);
        }
        let longest_idle = {
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            let idle = open.1.values().filter_map(|pulse| Some((pulse.idle_since_us()?, pulse)));
            idle.min_by_key(|(since_us, _)| *since_us).map(|(_, pulse)| Arc::clone(pulse))
        };
        if let Some(pulse) = longest_idle {
            pulse.ask_to_close();
        }
        places.acquire_owned().await.ok() // the semaphore is never closed
    }
}

/// One connection's place in the crowd; given back when it is dropped, however the connection ends.
struct Member {
    crowd: Arc<Crowd>,
    app: App,
    number: u64,
    pulse: Arc<Pulse>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Member {
    fn join(crowd: &Arc<Crowd>, app: &App, place: Option<OwnedSemaphorePermit>) -> Self {
        app.metrics.connections.inc();
        app.metrics.connections_accepted.inc();
        let pulse = Arc::new(Pulse::new(app.elapsed_us()));
        let mut open = crowd.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.0 += 1;
        let number = open.0;
        open.1.insert(number, Arc::clone(&pulse));
        drop(open);
        Self { crowd: Arc::clone(crowd), app: app.clone(), number, pulse, _place: place }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.app.metrics.connections.dec();
        let mut open = self.crowd.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.1.remove(&self.number);
    }
}
