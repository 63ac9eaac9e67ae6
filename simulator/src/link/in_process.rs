//! Links of a rehearsal: the server's own router called as a service, no sockets, no hyper.

use std::{future::Future, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc};

use axum::{Router, body::Body, extract::ConnectInfo};
use http_body_util::BodyExt;
use ks_protocol::{key::PublicKey, message::Heartbeat, modelled};
use ks_server::{app::App, data_plane::heartbeat, router::router};
use tokio::sync::watch;
use tower::ServiceExt;

use super::{HandedBeat, HttpAnswer, HttpRequest, Link, LinkError, Network, Reply, StoredBeats};

/// The address of a rehearsal's server, while it is up.
#[derive(Clone)]
pub struct InProcess {
    up: Arc<watch::Sender<Option<Running>>>,
}

/// A server that is up.
#[derive(Clone)]
struct Running {
    router: Router,
    app: App,
}

impl InProcess {
    pub fn down() -> Self {
        Self { up: Arc::new(watch::Sender::new(None)) }
    }

    /// From now on every link calls the router of `app`; calls to the previous one fail.
    pub fn bring_up(&self, app: App) {
        self.up.send_replace(Some(Running { router: router(app.clone()), app }));
    }

    /// From now on calls fail, including those in flight.
    pub fn take_down(&self) {
        self.up.send_replace(None);
    }

    pub fn is_up(&self) -> bool {
        self.up.borrow().is_some()
    }
}

impl Network for InProcess {
    fn link(&self, from: SocketAddr) -> Rc<dyn Link> {
        Rc::new(InProcessLink { server: self.up.subscribe(), from })
    }
}

struct InProcessLink {
    server: watch::Receiver<Option<Running>>,
    from: SocketAddr,
}

impl Link for InProcessLink {
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.from));
        let mut server = self.server.clone();
        Box::pin(async move {
            let running = server.borrow_and_update().as_ref().map(|running| running.router.clone());
            let Some(router) = running else { return Err(LinkError::ConnectFailed) };
            let answer = async {
                let response = match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let status = response.status().as_u16();
                let body = response.into_body().collect().await.map_err(|_| LinkError::ConnectionLost)?.to_bytes();
                Ok(HttpAnswer { status, body })
            };
            tokio::select! {
                biased; // a stopped server's answer must not arrive
                _ = server.changed() => Err(LinkError::ConnectionLost),
                answer = answer => answer,
            }
        })
    }

    fn close(&self) {}

    fn hand<'a>(&'a self, beat: &'a Heartbeat, key: &'a PublicKey) -> Option<HandedBeat<'a>> {
        let mut server = self.server.clone();
        let exchange = match &*server.borrow_and_update() {
            Some(Running { app, .. }) => heartbeat::exchange(app, self.from.ip(), key, beat.clone())?,
            None => return None,
        };
        Some(Box::pin(async move {
            tokio::select! {
                biased; // a stopped server's answer must not arrive
                _ = server.changed() => Err(LinkError::ConnectionLost),
                answer = exchange => Ok(answer),
            }
        }))
    }

    /// With the reader of the admin API, in the same queue.
    fn stored_beats(&self, after: i64, limit: usize) -> Option<StoredBeats<'_>> {
        let mut server = self.server.clone();
        let running = server.borrow_and_update().as_ref().filter(|_| modelled::is_on())?.app.clone();
        Some(Box::pin(async move {
            tokio::select! {
                biased;
                _ = server.changed() => Err(LinkError::ConnectionLost),
                read = running.admin_reader.ask(move |store| store.heartbeats(after, limit)) => {
                    read.map_err(|_| LinkError::ConnectionLost)
                }
            }
        }))
    }
}
