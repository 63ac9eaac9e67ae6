//! Adversaries: actors that send what no honest device sends. Not one of their requests may be honoured.
//!
//! One file a kind says what it sends; this one says when, and counts. Each has an address of its own, so that the
//! server's budget for failing requests shuts out them and nobody else.

mod cloned_key;
mod forger;
mod replayer;
mod tamperer;
mod unknown_device;

use std::{rc::Rc, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, WrapFuture};
use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PrivateKey,
    message::{Firmware, Heartbeat, Network, NextBeat, Trust},
    refusal::RefusalCode,
    signature::{NO_SIG_DEV, Reply, SIG_DEV, open_response, sign_request},
    text::{Rows, Text},
};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::time::Instant;

use crate::{
    device::actor::http_request,
    link::{HttpAnswer, Link, LinkError},
    measure::{BAD_ANSWER, MessageType},
    scenario::{Adversary as Part, AdversaryKind},
    shard::Shard,
};

/// What an adversary knows of the fleet.
pub struct Knowledge {
    /// Names of honest devices.
    pub victims: Rc<Vec<DeviceId>>,
    /// The run's root seed: how a stolen key is had.
    pub root_seed: u64,
    /// To tell an honoured request from a refused one.
    pub server_keys: Rc<Trust>,
}

/// One adversary.
pub struct Adversary {
    part: Part,
    knowledge: Knowledge,
    link: Rc<dyn Link>,
    shard: Rc<Shard>,
    rng: ChaCha8Rng,
}

impl Adversary {
    /// An adversary that is ready to start.
    pub fn new(part: Part, knowledge: Knowledge, link: Rc<dyn Link>, shard: Rc<Shard>, rng: ChaCha8Rng) -> Self {
        Self { part, knowledge, link, shard, rng }
    }

    fn attempt(&mut self, intended_at: Instant, ctx: &mut Context<Self>) {
        let is_over = intended_at >= self.shard.time.started + self.part.until;
        if is_over || !self.shard.is_running() {
            return;
        }
        let next = intended_at + self.part.interval;
        ctx.run_later(next.saturating_duration_since(Instant::now()), move |adversary, ctx| {
            adversary.attempt(next, ctx);
        });
        let Some(wire) = self.wire() else { return }; // nothing was overheard yet
        let request = http_request(MessageType::Heartbeat, &wire);
        let (link, timeout) = (Rc::clone(&self.link), self.shard.answer_timeout);
        let called =
            async move { tokio::time::timeout(timeout, link.call(request)).await.unwrap_or(Err(LinkError::TimedOut)) };
        ctx.spawn(called.into_actor(self).map(move |reply, adversary, _| adversary.ended(&wire, reply)));
    }

    fn wire(&mut self) -> Option<String> {
        match self.part.kind {
            AdversaryKind::Forger => forger::wire(&self.knowledge, &mut self.rng, &self.shard),
            AdversaryKind::Replayer => replayer::wire(&mut self.rng, &self.shard),
            AdversaryKind::UnknownDevice => unknown_device::wire(&mut self.rng, &self.shard),
            AdversaryKind::ClonedKey => cloned_key::wire(&self.knowledge, &mut self.rng, &self.shard),
            AdversaryKind::Tamperer => tamperer::wire(&mut self.rng, &self.shard),
        }
    }

    fn ended(&mut self, wire: &str, reply: Result<HttpAnswer, LinkError>) {
        let kind = self.part.kind.as_str();
        let (code, fate) = match reply {
            Err(error) => (error.code(), Fate::Unjudged),
            Ok(answer) => match self.read(wire, &answer) {
                Some(Reply::Refused(refusal)) => (refusal.code.as_str(), fate_of(refusal.code)),
                Some(Reply::Answer(_)) => ("OK", Fate::Honoured),
                // Unreadable, but said to be a success: counts as one until somebody has looked.
                None if (200..300).contains(&answer.status) => (BAD_ANSWER, Fate::Honoured),
                None => (BAD_ANSWER, Fate::Unjudged),
            },
        };
        self.shard.measure(|measured| {
            let score = measured.attacks.entry(kind).or_default();
            score.attempts += u64::from(fate != Fate::Unjudged);
            score.successes += u64::from(fate == Fate::Honoured);
            score.unjudged += u64::from(fate == Fate::Unjudged);
        });
        self.shard.event("attack", &[("kind", json!(kind)), ("code", json!(code))]);
    }

    fn read(&self, wire: &str, answer: &HttpAnswer) -> Option<Reply<NextBeat>> {
        let sig_dev = wire.rsplit_once("\nSIG_DEV: ").map_or(NO_SIG_DEV, |(_, signature)| signature);
        let keys = &self.knowledge.server_keys.keys;
        [sig_dev, NO_SIG_DEV].into_iter().find_map(|bound| open_response(keys, answer.status, bound, &answer.body).ok())
    }
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

impl Actor for Adversary {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        // Every kind that takes part is in the score, also if none of its attempts is ever judged.
        self.shard.measure(|measured| {
            measured.attacks.entry(self.part.kind.as_str()).or_default();
        });
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
fn heartbeat(device_id: &DeviceId, key: &PrivateKey, sequence: Sequence, shard: &Shard) -> Option<String> {
    let beat = Heartbeat {
        kind: Default::default(),
        device_id: device_id.clone(),
        boot_epoch: sequence.boot_epoch,
        seq: sequence.seq,
        sent_at: shard.time.unix_now(),
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
    let overheard = shard.overheard.borrow();
    let index = crate::seed::below(rng, u64::try_from(overheard.len()).unwrap_or(0));
    let request = overheard.get(usize::try_from(index).unwrap_or(0))?;
    let (body, signature) = request.wire.split_once(SIG_DEV)?;
    Some((body.to_owned(), format!("{SIG_DEV}{signature}")))
}
