//! Links of a rehearsal: the server's own router called as a service, no sockets, no hyper.

use std::{future::Future, net::SocketAddr, pin::Pin, rc::Rc};

use axum::{Router, body::Body, extract::ConnectInfo};
use http_body_util::BodyExt;
use tower::ServiceExt;

use super::{HttpAnswer, HttpRequest, Link, LinkError, Network, Reply};

/// The router of one server, which lives in this process.
pub struct InProcess {
    router: Router,
}

impl InProcess {
    /// Every link calls `router`.
    pub fn new(router: Router) -> Self {
        Self { router }
    }
}

impl Network for InProcess {
    fn link(&self, from: SocketAddr) -> Rc<dyn Link> {
        Rc::new(InProcessLink { router: self.router.clone(), from })
    }
}

struct InProcessLink {
    router: Router,
    from: SocketAddr,
}

impl Link for InProcessLink {
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(ConnectInfo(self.from));
        let answered = self.router.clone().oneshot(request);
        Box::pin(async move {
            let response = match answered.await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status().as_u16();
            let body = response.into_body().collect().await.map_err(|_| LinkError::ConnectionLost)?.to_bytes();
            Ok(HttpAnswer { status, body })
        })
    }

    fn hang_up(&self) {}
}
