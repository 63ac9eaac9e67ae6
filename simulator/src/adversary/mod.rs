//! Adversaries: actors that send what no honest device sends. The server must accept none of their requests, except those of a
//! faulty device within its budget.
//!
//! Each kind has a file that builds its requests; this file schedules and counts them; [`link_pool`] provides the links. At most
//! [`IN_FLIGHT_MAX`] requests of one adversary are in flight, and further attempts are skipped, so that a flood is as fast as the
//! server allows: only requests really sent are counted.

mod big_body;
mod cloned_key;
mod faulty_device;
mod forger;
mod link_pool;
mod pair_guesser;
mod replayer;
mod sockets;
mod tamperer;
mod template;
mod unknown_device;

use std::{rc::Rc, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use ks_protocol::{
    document,
    id::{DeviceId, Sequence},
    key::PrivateKey,
    message::{Firmware, Heartbeat, Logs, Network, NextBeat, Request as _, Trust},
    refusal::{RefusalCode, RefusalDocument},
    signature::{NO_SIG_DEV, Reply, SIG_DEV, SIG_SERV, open_response, sign_request},
    text::{Rows, Text},
    time::UnixMs,
};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    device::{actor::Account, exchange::post},
    link::{HttpAnswer, LinkError},
    run::{
        ledger::DeviceAccount,
        measure::{BAD_ANSWER, OK},
    },
    scenario::{Adversary as Part, AdversaryKind},
    shard::Shard,
};
use faulty_device::FaultyRequest;
use forger::Forger;
use unknown_device::UnknownDevices;

pub use faulty_device::FaultyDevice;
pub use link_pool::LinkPool;

/// Limit of requests in flight per adversary.
const IN_FLIGHT_MAX: usize = 64;
/// Limit of open connections per adversary, for kinds that only hold connections.
pub const HELD_MAX: usize = 2_000;

/// What an adversary knows of the fleet.
pub struct Knowledge {
    /// Names of honest devices.
    pub victims: Rc<Vec<DeviceId>>,
    /// The run's root seed, from which stolen keys are derived.
    pub root_seed: u64,
    /// To verify whether a request was accepted.
    pub server_keys: Rc<Trust>,
    /// The server's address, for kinds that use no HTTP.
    pub target: std::net::SocketAddr,
}

pub struct Adversary {
    part: Part,
    behavior: Behavior,
    knowledge: Knowledge,
    links: LinkPool,
    shard: Rc<Shard>,
    rng: ChaCha8Rng,
    in_flight: usize,
}

/// State that a kind of adversary needs.
enum Behavior {
    Forger(Forger),
    UnknownDevices(UnknownDevices),
    Faulty(Box<FaultyDevice>),
    Other,
}

impl Adversary {
    /// An adversary ready to start; `faulty` is given for a faulty device.
    pub fn new(
        part: Part,
        faulty: Option<FaultyDevice>,
        knowledge: Knowledge,
        links: LinkPool,
        shard: Rc<Shard>,
        rng: ChaCha8Rng,
    ) -> Self {
        let behavior = match (part.kind, faulty) {
            (AdversaryKind::Forger, _) => Behavior::Forger(Forger::default()),
            (AdversaryKind::UnknownDevice, _) => Behavior::UnknownDevices(UnknownDevices::default()),
            (_, Some(faulty)) => Behavior::Faulty(Box::new(faulty)),
            _ => Behavior::Other,
        };
        Self { part, behavior, knowledge, links, shard, rng, in_flight: 0 }
    }

    fn attempt(&mut self, intended_at: Instant, ctx: &mut Context<Self>) {
        // Also by the clock: late attempts are not made up for after the attack is over.
        let is_over = intended_at.max(Instant::now()) >= self.until();
        if is_over || !self.shard.is_running() {
            return;
        }
        let next = intended_at + self.part.interval;
        ctx.run_later(next.saturating_duration_since(Instant::now()), move |adversary, ctx| {
            adversary.attempt(next, ctx);
        });
        for _ in 0..self.part.at_once {
            match self.part.kind {
                AdversaryKind::HalfRequest | AdversaryKind::SlowBody => self.hold(ctx),
                _ => self.request(ctx),
            }
        }
    }

    fn until(&self) -> Instant {
        self.shard.time.started + self.part.until
    }

    /// Opens a connection that sends no complete request, and holds it until the server closes it.
    fn hold(&mut self, ctx: &Context<Self>) {
        if self.in_flight >= HELD_MAX {
            return;
        }
        let Some(from) = self.links.next_address() else { return };
        let held = sockets::hold(self.part.kind, self.knowledge.target, from, self.until());
        self.sent();
        // A task each, not futures of the actor: it would poll all of them whenever one is ready.
        let adversary = ctx.address();
        actix::spawn(async move { adversary.do_send(ConnectionEnded(held.await)) });
    }

    fn request(&mut self, ctx: &mut Context<Self>) {
        if self.in_flight >= IN_FLIGHT_MAX {
            return;
        }
        let Some(sending) = self.sending() else { return }; // nothing to replay yet
        let request = match &sending {
            Sending::Wire(path, wire) => post(path, wire),
            Sending::FaultyRequest(request) => request.request.http.clone(),
        };
        let Some((address, link)) = self.links.take() else { return };
        let timeout = self.shard.answer_timeout;
        self.sent();
        let called = async move {
            let reply = tokio::time::timeout(timeout, link.call(request)).await;
            (link, reply.unwrap_or(Err(LinkError::TimedOut)))
        };
        ctx.spawn(called.into_actor(self).map(move |(link, reply), adversary, _| {
            adversary.in_flight -= 1;
            adversary.links.give_back(address, link);
            adversary.ended(&sending, reply);
        }));
    }

    fn sending(&mut self) -> Option<Sending> {
        let (knowledge, rng, shard) = (&self.knowledge, &mut self.rng, &self.shard);
        let wire = match (&mut self.behavior, self.part.kind) {
            (Behavior::Faulty(faulty), _) => {
                return faulty.next_request(shard).map(|request| Sending::FaultyRequest(Box::new(request)));
            }
            (_, AdversaryKind::BigBody) => return Some(Sending::Wire(Logs::PATH, big_body::wire(rng))),
            (Behavior::Forger(forger), _) => forger.wire(knowledge, rng, shard),
            (Behavior::UnknownDevices(unknown), _) => unknown.wire(rng, shard),
            (_, AdversaryKind::Replayer) => replayer::wire(rng, shard),
            (_, AdversaryKind::ClonedKey) => cloned_key::wire(knowledge, rng, shard),
            (_, AdversaryKind::Tamperer) => tamperer::wire(rng, shard),
            (_, AdversaryKind::PairGuesser) => pair_guesser::wire(knowledge, rng, shard),
            _ => None, // these kinds make no requests
        };
        wire.map(|wire| Sending::Wire(Heartbeat::PATH, wire))
    }

    fn ended(&mut self, sending: &Sending, reply: Result<HttpAnswer, LinkError>) {
        let wire = match (sending, &mut self.behavior) {
            (Sending::FaultyRequest(request), Behavior::Faulty(faulty)) => {
                let code = reply.map_or_else(LinkError::code, |answer| faulty.receive(request, &answer));
                return self.count(code);
            }
            (Sending::FaultyRequest(_), _) => return, // only a faulty device sends such requests
            (Sending::Wire(_, wire), _) => wire,
        };
        let (code, outcome) = match reply {
            Err(error) => (error.code(), AttackOutcome::Unjudged),
            Ok(answer) => self.judge(wire, &answer),
        };
        self.shard.measure(|measured| {
            let score = measured.attacks.entry(self.part.kind.as_str()).or_default();
            score.attempts += u64::from(outcome != AttackOutcome::Unjudged);
            score.successes += u64::from(outcome == AttackOutcome::Accepted);
            score.unjudged += u64::from(outcome == AttackOutcome::Unjudged);
        });
        self.count(code);
    }

    /// The outcome of an attack. Only possible successes are verified: a refusal is never a success.
    fn judge(&self, wire: &str, answer: &HttpAnswer) -> (&'static str, AttackOutcome) {
        if !(200..300).contains(&answer.status) {
            let refusal = document::split(&answer.body, SIG_SERV).and_then(|signed| document::decode(signed.body));
            return match refusal {
                Ok(RefusalDocument { code, .. }) => (code.as_str(), outcome_of(code)),
                Err(_) => (BAD_ANSWER, AttackOutcome::Unjudged),
            };
        }
        match self.read(wire, answer) {
            Some(Reply::Refused(refusal)) => (refusal.code.as_str(), outcome_of(refusal.code)),
            Some(Reply::Answer(_)) => (OK, AttackOutcome::Accepted),
            // Unreadable with a success status: counts as a success until investigated.
            None => (BAD_ANSWER, AttackOutcome::Accepted),
        }
    }

    fn read(&self, wire: &str, answer: &HttpAnswer) -> Option<Reply<NextBeat>> {
        let sig_dev = wire.rsplit_once("\nSIG_DEV: ").map_or(NO_SIG_DEV, |(_, signature)| signature);
        let keys = &self.knowledge.server_keys.keys;
        [sig_dev, NO_SIG_DEV].into_iter().find_map(|bound| open_response(keys, answer.status, bound, &answer.body).ok())
    }

    fn sent(&mut self) {
        self.in_flight += 1;
        self.shard.measure(|measured| measured.adversary_mut(self.part.kind.as_str()).sent += 1);
    }

    fn count(&self, code: &'static str) {
        let kind = self.part.kind.as_str();
        self.shard.measure(|measured| *measured.adversary_mut(kind).codes.entry(code).or_default() += 1);
        self.shard.event("attack", &[("kind", json!(kind)), ("code", json!(code))]);
    }
}

/// A held connection ended, with this code.
#[derive(Message)]
#[rtype(result = "()")]
struct ConnectionEnded(&'static str);

impl Handler<ConnectionEnded> for Adversary {
    type Result = ();
    fn handle(&mut self, ConnectionEnded(code): ConnectionEnded, _: &mut Context<Self>) {
        self.in_flight -= 1;
        self.count(code);
    }
}

/// A request in flight.
enum Sending {
    /// A path and a body.
    Wire(&'static str, String),
    FaultyRequest(Box<FaultyRequest>),
}

/// Codes of connections without a complete request, besides those of links.
pub const CONNECTION_CODES: [&str; 2] = [sockets::HELD, sockets::ANSWERED];

/// Prefix of names that are not whitelisted.
const GHOST: &str = "GHOST-";
/// Suffix of names under which a copied key is used.
const CLONE: &str = "-B";

/// Whether this name is an adversary's: nothing may ever be stored under it.
pub fn may_be_named(device_id: &DeviceId) -> bool {
    device_id.as_str().starts_with(GHOST) || device_id.as_str().ends_with(CLONE)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AttackOutcome {
    Accepted,
    Refused,
    Unjudged,
}

/// A refusal by a rate limit or because of a server problem proves nothing about the attack.
fn outcome_of(code: RefusalCode) -> AttackOutcome {
    use RefusalCode as C;
    match code {
        C::RateLimited | C::Overloaded | C::Internal | C::RequestTimeout | C::Unrecognised => AttackOutcome::Unjudged,
        _ => AttackOutcome::Refused,
    }
}

impl Handler<Account> for Adversary {
    type Result = MessageResult<Account>;
    fn handle(&mut self, _: Account, _: &mut Context<Self>) -> Self::Result {
        MessageResult(match &mut self.behavior {
            Behavior::Faulty(faulty) => faulty.account(),
            _ => DeviceAccount::default(),
        })
    }
}

impl Actor for Adversary {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Every participating kind is in the score, even if none of its attempts is ever judged.
        if self.part.kind.must_be_refused() {
            self.shard.measure(|measured| {
                measured.attacks.entry(self.part.kind.as_str()).or_default();
            });
        }
        let first = self.shard.time.started + self.part.from + spread(&mut self.rng, self.part.interval);
        let wait = first.saturating_duration_since(Instant::now());
        ctx.run_later(wait, move |adversary, ctx| adversary.attempt(first, ctx));
    }
}

fn spread(rng: &mut ChaCha8Rng, interval: Duration) -> Duration {
    let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(crate::seed::below(rng, interval_ms))
}

/// Draws an honest device.
fn victim<'a>(knowledge: &'a Knowledge, rng: &mut ChaCha8Rng) -> Option<&'a DeviceId> {
    let index = crate::seed::below(rng, u64::try_from(knowledge.victims.len()).unwrap_or(0));
    knowledge.victims.get(usize::try_from(index).unwrap_or(0))
}

/// A heartbeat of `device_id`, signed with `key`.
fn heartbeat(device_id: &DeviceId, key: &PrivateKey, sequence: Sequence, sent_at: UnixMs) -> Option<String> {
    let beat = Heartbeat {
        kind: Default::default(),
        device_id: device_id.clone(),
        boot_epoch: sequence.boot_epoch,
        seq: sequence.seq,
        sent_at,
        keyset_version: 1,
        firmware: Firmware { version: Text::truncated("6.6.6"), release_counter: 666 },
        uptime_s: 1,
        cpu_temp_c: 66.6,
        free_mem_kib: 666,
        network: Network::Ethernet,
        rssi_dbm: None,
        acks: Rows::default(),
    };
    sign_request(key, &beat).ok().map(|signed| signed.wire)
}

/// The body and the signature of an overheard request.
fn overheard(rng: &mut ChaCha8Rng, shard: &Shard) -> Option<(String, String)> {
    let overheard = shard.captured.borrow();
    let index = crate::seed::below(rng, u64::try_from(overheard.len()).unwrap_or(0));
    let request = overheard.get(usize::try_from(index).unwrap_or(0))?;
    let (body, signature) = request.wire.split_once(SIG_DEV)?;
    Some((body.to_owned(), format!("{SIG_DEV}{signature}")))
}
