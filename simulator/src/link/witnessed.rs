//! Links that a witness observes at the server's end: it sees each exchange as the server made it.

use std::{future::Future, net::SocketAddr, pin::Pin, rc::Rc, sync::Arc};

use http_body_util::BodyExt;

use ks_protocol::{key::PublicKey, message::Heartbeat, signature};

use super::{HandedBeat, HttpRequest, Link, Network, Reply};
use crate::invariants::Witness;

/// A network observed by a witness at the server's end; faults on the way happen outside of it.
pub struct Witnessed<N> {
    network: N,
    witness: Arc<Witness>,
}

impl<N: Network> Witnessed<N> {
    /// `witness` sees what goes over `network` from here on.
    pub fn new(network: N, witness: Arc<Witness>) -> Self {
        Self { network, witness }
    }
}

impl<N: Network> Network for Witnessed<N> {
    fn link(&self, from: SocketAddr) -> Rc<dyn Link> {
        Rc::new(WitnessedLink { link: self.network.link(from), witness: Arc::clone(&self.witness) })
    }
}

struct WitnessedLink {
    link: Rc<dyn Link>,
    witness: Arc<Witness>,
}

impl Link for WitnessedLink {
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>> {
        let (path, sent) = (request.uri().path().to_owned(), request.body().clone());
        let asked = self.witness.asked(&path, request.headers());
        Box::pin(async move {
            let answer = self.link.call(request).await?;
            if let (Some(asked), 200 | 206) = (&asked, answer.status) {
                self.witness.download(asked, answer.status == 206, &answer.body);
            } else if answer.status == 200 {
                let Ok(sent) = sent.collect().await;
                self.witness.exchange(&path, &sent.to_bytes(), &answer.body);
            }
            Ok(answer)
        })
    }

    fn close(&self) {
        self.link.close();
    }

    fn hand<'a>(&'a self, beat: &'a Heartbeat, key: &'a PublicKey) -> Option<HandedBeat<'a>> {
        let handed = self.link.hand(beat, key)?;
        Some(Box::pin(async move {
            let answer = handed.await?;
            if let signature::Reply::Answer(next) = &answer.0 {
                self.witness.beat(beat, next);
            }
            Ok(answer)
        }))
    }
}
