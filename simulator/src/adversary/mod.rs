//! Adversaries: actors that send what no honest device sends. Not one of their requests may be honoured, but those of a mad
//! device that its budget allows.
//!
//! One file a kind says what it sends; this one says when, and counts; [`lanes`] from where. No more than [`IN_FLIGHT_MAX`]
//! requests of one adversary wait for answers, and an attempt that finds so many is left out, so that a flood is as fast as the
//! server lets it be and no faster: what was really sent is counted.

mod big_body;
mod cloned_key;
mod forger;
mod lanes;
mod mad_device;
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
    ledger::DeviceAccount,
    link::{HttpAnswer, LinkError},
    measure::{BAD_ANSWER, OK},
    scenario::{Adversary as Part, AdversaryKind},
    shard::Shard,
};
use forger::Forger;
use mad_device::Said;
use unknown_device::UnknownDevices;

pub use lanes::Lanes;
pub use mad_device::MadDevice;

/// Requests of one adversary that are on their way at most.
const IN_FLIGHT_MAX: usize = 64;
/// Connections that one adversary holds open at most, of a kind that does nothing else.
pub const HELD_MAX: usize = 2_000;

/// What an adversary knows of the fleet.
pub struct Knowledge {
    /// Names of honest devices.
    pub victims: Rc<Vec<DeviceId>>,
    /// The run's root seed: how a stolen key is had.
    pub root_seed: u64,
    /// To tell an honoured request from a refused one.
    pub server_keys: Rc<Trust>,
    /// Where the server is, for those who speak no HTTP.
    pub target: std::net::SocketAddr,
}

/// One adversary.
pub struct Adversary {
    part: Part,
    acts: Acts,
    knowledge: Knowledge,
    lanes: Lanes,
    shard: Rc<Shard>,
    rng: ChaCha8Rng,
    in_flight: usize,
}

/// What an adversary has at hand for what it does.
enum Acts {
    Forger(Forger),
    UnknownDevices(UnknownDevices),
    Mad(Box<MadDevice>),
    Other,
}

impl Adversary {
    /// An adversary that is ready to start; a mad device is one itself.
    pub fn new(
        part: Part,
        mad: Option<MadDevice>,
        knowledge: Knowledge,
        lanes: Lanes,
        shard: Rc<Shard>,
        rng: ChaCha8Rng,
    ) -> Self {
        let acts = match (part.kind, mad) {
            (AdversaryKind::Forger, _) => Acts::Forger(Forger::default()),
            (AdversaryKind::UnknownDevice, _) => Acts::UnknownDevices(UnknownDevices::default()),
            (_, Some(mad)) => Acts::Mad(Box::new(mad)),
            _ => Acts::Other,
        };
        Self { part, acts, knowledge, lanes, shard, rng, in_flight: 0 }
    }

    fn attempt(&mut self, intended_at: Instant, ctx: &mut Context<Self>) {
        // Also by the clock: who is late does not make up for it when the attack is over.
        let is_over = intended_at.max(Instant::now()) >= self.until();
        if is_over || !self.shard.is_running() {
            return;
        }
        let next = intended_at + self.part.interval;
        ctx.run_later(next.saturating_duration_since(Instant::now()), move |adversary, ctx| {
            adversary.attempt(next, ctx);
        });
        match self.part.kind {
            AdversaryKind::HalfRequest | AdversaryKind::SlowBody => self.hold(ctx),
            _ => self.request(ctx),
        }
    }

    fn until(&self) -> Instant {
        self.shard.time.started + self.part.until
    }

    /// Makes a connection that asks for nothing, and holds it for as long as the server does.
    fn hold(&mut self, ctx: &Context<Self>) {
        if self.in_flight >= HELD_MAX {
            return;
        }
        let Some(from) = self.lanes.next_address() else { return };
        let held = sockets::hold(self.part.kind, self.knowledge.target, from, self.until());
        self.sent();
        // A task each, and no future of the actor: it would look at all of them whenever one of them moves.
        let adversary = ctx.address();
        actix::spawn(async move { adversary.do_send(Held(held.await)) });
    }

    /// Makes a request.
    fn request(&mut self, ctx: &mut Context<Self>) {
        if self.in_flight >= IN_FLIGHT_MAX {
            return;
        }
        let Some(sending) = self.sending() else { return }; // nothing was overheard yet
        let request = match &sending {
            Sending::Wire(path, wire) => post(path, wire),
            Sending::Said(said) => said.request.http.clone(),
        };
        let Some((address, link)) = self.lanes.take() else { return };
        let timeout = self.shard.answer_timeout;
        self.sent();
        let called = async move {
            let reply = tokio::time::timeout(timeout, link.call(request)).await;
            (link, reply.unwrap_or(Err(LinkError::TimedOut)))
        };
        ctx.spawn(called.into_actor(self).map(move |(link, reply), adversary, _| {
            adversary.in_flight -= 1;
            adversary.lanes.give_back(address, link);
            adversary.ended(&sending, reply);
        }));
    }

    fn sending(&mut self) -> Option<Sending> {
        let (knowledge, rng, shard) = (&self.knowledge, &mut self.rng, &self.shard);
        let wire = match (&mut self.acts, self.part.kind) {
            (Acts::Mad(mad), _) => return mad.say(shard).map(|said| Sending::Said(Box::new(said))),
            (_, AdversaryKind::BigBody) => return Some(Sending::Wire(Logs::PATH, big_body::wire(rng))),
            (Acts::Forger(forger), _) => forger.wire(knowledge, rng, shard),
            (Acts::UnknownDevices(unknown), _) => unknown.wire(rng, shard),
            (_, AdversaryKind::Replayer) => replayer::wire(rng, shard),
            (_, AdversaryKind::ClonedKey) => cloned_key::wire(knowledge, rng, shard),
            (_, AdversaryKind::Tamperer) => tamperer::wire(rng, shard),
            _ => None, // it makes no requests
        };
        wire.map(|wire| Sending::Wire(Heartbeat::PATH, wire))
    }

    fn ended(&mut self, sending: &Sending, reply: Result<HttpAnswer, LinkError>) {
        let wire = match (sending, &mut self.acts) {
            (Sending::Said(said), Acts::Mad(mad)) => {
                let code = reply.map_or_else(LinkError::code, |answer| mad.hears(said, &answer));
                return self.count(code);
            }
            (Sending::Said(_), _) => return, // only a mad device says something
            (Sending::Wire(_, wire), _) => wire,
        };
        let (code, fate) = match reply {
            Err(error) => (error.code(), Fate::Unjudged),
            Ok(answer) => self.judge(wire, &answer),
        };
        self.shard.measure(|measured| {
            let score = measured.attacks.entry(self.part.kind.as_str()).or_default();
            score.attempts += u64::from(fate != Fate::Unjudged);
            score.successes += u64::from(fate == Fate::Honoured);
            score.unjudged += u64::from(fate == Fate::Unjudged);
        });
        self.count(code);
    }

    /// What an answer says of an attack. Only what may be a success is verified: a refusal is none, whoever signed it.
    fn judge(&self, wire: &str, answer: &HttpAnswer) -> (&'static str, Fate) {
        if !(200..300).contains(&answer.status) {
            let refusal = document::split(&answer.body, SIG_SERV).and_then(|signed| document::decode(signed.body));
            return match refusal {
                Ok(RefusalDocument { code, .. }) => (code.as_str(), fate_of(code)),
                Err(_) => (BAD_ANSWER, Fate::Unjudged),
            };
        }
        match self.read(wire, answer) {
            Some(Reply::Refused(refusal)) => (refusal.code.as_str(), fate_of(refusal.code)),
            Some(Reply::Answer(_)) => (OK, Fate::Honoured),
            // Unreadable, but said to be a success: counts as one until somebody has looked.
            None => (BAD_ANSWER, Fate::Honoured),
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

/// What became of a connection that was held.
#[derive(Message)]
#[rtype(result = "()")]
struct Held(&'static str);

impl Handler<Held> for Adversary {
    type Result = ();
    fn handle(&mut self, Held(code): Held, _: &mut Context<Self>) {
        self.in_flight -= 1;
        self.count(code);
    }
}

/// What is on its way.
enum Sending {
    /// Bytes, and the path that they go to.
    Wire(&'static str, String),
    /// A request of a mad device.
    Said(Box<Said>),
}

/// Start of the names that nobody whitelisted.
const GHOST: &str = "GHOST-";
/// End of the names under which a copied key is used.
const CLONE: &str = "-B";

/// Whether an adversary may go by this name: nothing may ever be stored under it.
pub fn may_be_named(device_id: &DeviceId) -> bool {
    device_id.as_str().starts_with(GHOST) || device_id.as_str().ends_with(CLONE)
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Honoured,
    Refused,
    Unjudged,
}

/// A refusal for being too quick, or for the server's own trouble, says nothing of the attack.
fn fate_of(code: RefusalCode) -> Fate {
    use RefusalCode as C;
    match code {
        C::RateLimited | C::Overloaded | C::Internal | C::RequestTimeout | C::Unrecognised => Fate::Unjudged,
        _ => Fate::Refused,
    }
}

impl Handler<Account> for Adversary {
    type Result = MessageResult<Account>;
    fn handle(&mut self, _: Account, _: &mut Context<Self>) -> Self::Result {
        MessageResult(match &mut self.acts {
            Acts::Mad(mad) => mad.account(),
            _ => DeviceAccount::default(),
        })
    }
}

impl Actor for Adversary {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Every kind that takes part is in the score, also if none of its attempts is ever judged.
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

/// One of the honest devices.
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
