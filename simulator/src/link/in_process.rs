//! Links of a rehearsal: the server's own router called as a service, no sockets, no hyper.

use std::{future::Future, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc};

use axum::{Router, body::Body, extract::ConnectInfo};
use http_body_util::BodyExt;
use tokio::sync::watch;
use tower::ServiceExt;

use super::{HttpAnswer, HttpRequest, Link, LinkError, Network, Reply};
use crate::promises::Witness;

/// Where the server of a rehearsal is to be reached, while it is up.
#[derive(Clone)]
pub struct InProcess {
    up: Arc<watch::Sender<Option<Router>>>,
    witness: Arc<Witness>,
}

impl InProcess {
    /// Nobody is there yet; `witness` sees what is answered later.
    pub fn down(witness: Arc<Witness>) -> Self {
        Self { up: Arc::new(watch::Sender::new(None)), witness }
    }

    /// From now on every link calls `router`; whoever waits for an answer of the one before has lost it.
    pub fn bring_up(&self, router: Router) {
        self.up.send_replace(Some(router));
    }

    /// From now on nobody answers, and whoever waits for an answer has lost it.
    pub fn take_down(&self) {
        self.up.send_replace(None);
    }

    /// Whether somebody answers.
    pub fn is_up(&self) -> bool {
        self.up.borrow().is_some()
    }
}

impl Network for InProcess {
    fn link(&self, from: SocketAddr) -> Rc<dyn Link> {
        Rc::new(InProcessLink { server: self.up.subscribe(), witness: Arc::clone(&self.witness), from })
    }
}

struct InProcessLink {
    server: watch::Receiver<Option<Router>>,
    witness: Arc<Witness>,
    from: SocketAddr,
}

impl Link for InProcessLink {
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>> {
        let (path, sent) = (request.uri().path().to_owned(), request.body().clone());
        let asked = self.witness.asked(&path, request.headers());
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.from));
        let mut server = self.server.clone();
        Box::pin(async move {
            let Some(router) = server.borrow_and_update().clone() else { return Err(LinkError::ConnectFailed) };
            let answer = async {
                let response = match router.oneshot(request).await {
                    Ok(response) => response,
                    Err(never) => match never {},
                };
                let status = response.status().as_u16();
                let body = response.into_body().collect().await.map_err(|_| LinkError::ConnectionLost)?.to_bytes();
                if let (Some(asked), 200 | 206) = (&asked, status) {
                    self.witness.download(asked, status == 206, &body);
                } else if status == 200 {
                    let Ok(sent) = sent.collect().await;
                    self.witness.exchange(&path, &sent.to_bytes(), &body);
                }
                Ok(HttpAnswer { status, body })
            };
            tokio::select! {
                biased; // what a server that is gone would have said is not heard
                _ = server.changed() => Err(LinkError::ConnectionLost),
                answer = answer => answer,
            }
        })
    }

    fn hang_up(&self) {}
}
