//! Links that a witness observes at the server's end: it sees each exchange as the server made it, and when it had to wait.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    net::SocketAddr,
    pin::Pin,
    rc::Rc,
    sync::Arc,
};

use http_body_util::BodyExt;
use hyper::Method;

use ks_protocol::{key::PublicKey, message::Heartbeat, signature};

use super::{HandedBeat, HttpRequest, Link, Network, Reply, StoredBeats};
use crate::{
    invariants::Witness,
    limits::oracle::{Answer, Endpoint, OrderEnd, OrderTicket, Origin, Refused, Sent, Stored, Ticket, document_in},
};

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
        Rc::new(WitnessedLink {
            link: self.network.link(from),
            witness: Arc::clone(&self.witness),
            origin: self.witness.origin(from.ip()),
            last_device: Cell::new(None),
        })
    }
}

struct WitnessedLink {
    link: Rc<dyn Link>,
    witness: Arc<Witness>,
    origin: Origin,
    /// The device of the last request, as the witness knows it.
    last_device: Cell<Option<usize>>,
}

/// A device's request that the server works on. Dropped without an answer, it is lost: what it has done is not known.
struct Pending<'a> {
    witness: &'a Witness,
    sent: Sent<'a>,
    ticket: Option<Ticket>,
}

impl Pending<'_> {
    /// The server could not answer at once.
    fn waits(&mut self) {
        if let Some(ticket) = &mut self.ticket {
            self.witness.oracle().waits(ticket, &self.sent);
        }
    }

    fn answered(mut self, answer: Answer) {
        if let Some(ticket) = self.ticket.take() {
            self.witness.answers(ticket, &self.sent, answer);
        }
    }
}

impl Drop for Pending<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.witness.oracle().lost(&ticket, &self.sent);
        }
    }
}

/// An operator's order that the server works on. Dropped without an answer, it is lost: what it has done is not known.
struct PendingOrder<'a> {
    witness: &'a Witness,
    order: &'a str,
    request: &'a [u8],
    ticket: Option<OrderTicket>,
}

impl<'a> PendingOrder<'a> {
    fn sent(witness: &'a Witness, order: &'a str, request: &'a [u8]) -> Self {
        Self { witness, order, request, ticket: Some(witness.ordered(order, request)) }
    }

    fn ended(&mut self, end: OrderEnd, answer: &[u8]) {
        if let Some(ticket) = self.ticket.take() {
            self.witness.order_ended(ticket, (self.order, self.request), end, answer);
        }
    }
}

impl Drop for PendingOrder<'_> {
    fn drop(&mut self) {
        self.ended(OrderEnd::Lost, b"");
    }
}

/// The result of `work`; if it has none at once, `waits` is called.
async fn noticing<T>(mut work: Pin<Box<dyn Future<Output = T> + '_>>, mut waits: impl FnMut()) -> T {
    let mut has_waited = false;
    poll_fn(|context| {
        let polled = work.as_mut().poll(context);
        if polled.is_pending() && !std::mem::replace(&mut has_waited, true) {
            waits();
        }
        polled
    })
    .await
}

impl WitnessedLink {
    /// A request in the server's hands, after what `notice` tells the witness.
    fn pending<'a>(
        &'a self,
        sent: Sent<'a>,
        notice: impl FnOnce(&Witness, Origin, &Sent<'_>, Option<usize>) -> Ticket,
    ) -> Pending<'a> {
        let ticket = notice(&self.witness, self.origin, &sent, self.last_device.get());
        self.last_device.set(ticket.device().or(self.last_device.get()));
        Pending { witness: &self.witness, sent, ticket: Some(ticket) }
    }

    /// A request that limits are asked about.
    async fn limited(&self, request: HttpRequest, endpoint: Endpoint, body: &[u8]) -> Reply {
        let document = if endpoint == Endpoint::Artifact { document_in(request.headers()) } else { None };
        let sent = Sent::of(endpoint, document.as_deref().unwrap_or(body));
        let call = self.link.call(request);
        let mut pending = self.pending(sent, Witness::arrives);
        let answer = noticing(call, || pending.waits()).await?;
        if (200..300).contains(&answer.status) {
            pending.answered(Answer::Accepted(Stored::by(&sent, &answer.body)));
        } else if let Some(refused) = Refused::read(&answer.body) {
            pending.answered(Answer::Refused(refused));
        }
        Ok(answer)
    }
}

impl Link for WitnessedLink {
    fn call(&self, request: HttpRequest) -> Pin<Box<dyn Future<Output = Reply> + '_>> {
        let (path, sent) = (request.uri().path().to_owned(), request.body().clone());
        let endpoint = Endpoint::of(request.method(), &path);
        let is_order = request.method() != Method::GET;
        let asked = self.witness.download_request(&path, request.headers());
        let arrived_at = self.witness.now();
        Box::pin(async move {
            let Ok(sent) = sent.collect().await;
            let sent = sent.to_bytes();
            let operators = path.strip_prefix("/api/");
            let mut order = operators.filter(|_| is_order).map(|of| PendingOrder::sent(&self.witness, of, &sent));
            let asking = operators.filter(|_| !is_order).map(|_| self.witness.asks());
            let answer = match endpoint {
                Some(endpoint) => self.limited(request, endpoint, &sent).await?,
                None => self.link.call(request).await?,
            };
            if let Some(order) = &mut order {
                order.ended(OrderEnd::of_status(answer.status), &answer.body);
            }
            if let (Some(asked), 200 | 206) = (&asked, answer.status) {
                self.witness.download(asked, answer.status == 206, &answer.body);
            } else if let (Some(asking), 200) = (&asking, answer.status) {
                self.witness.read(asking, &path, &answer.body);
            } else if answer.status == 200 {
                self.witness.exchange(arrived_at, &path, &sent, &answer.body);
            }
            Ok(answer)
        })
    }

    fn close(&self) {
        self.link.close();
    }

    fn stored_beats(&self, after: i64, limit: usize) -> Option<StoredBeats<'_>> {
        self.link.stored_beats(after, limit)
    }

    fn hand<'a>(&'a self, beat: &'a Heartbeat, key: &'a PublicKey) -> Option<HandedBeat<'a>> {
        let handed = self.link.hand(beat, key)?;
        let pending = self.pending(Sent::value(beat), Witness::arrives_and_waits);
        let arrived_at = self.witness.now();
        Some(Box::pin(async move {
            let answer = handed.await?;
            pending.answered(match &answer.0 {
                signature::Reply::Answer(next) => {
                    Answer::Accepted(Stored::Beat { has_commands: !next.commands.as_slice().is_empty() })
                }
                signature::Reply::Refused(refusal) => Answer::Refused(Refused::of(refusal)),
            });
            if let signature::Reply::Answer(next) = &answer.0 {
                self.witness.beat(arrived_at, beat, next);
            }
            Ok(answer)
        }))
    }
}
