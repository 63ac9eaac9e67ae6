//! A device as an actor: when it speaks, what it does with answers, what is measured of it.
//!
//! Open loop: with an interval of its own a device schedules each beat before it sends the last, so its lateness, or
//! the server's, never adds up. One request is in flight at a time, as on a real device's one connection; a beat that
//! has to wait for an answer is late from its intended time on.

use std::{collections::VecDeque, rc::Rc, time::Duration};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use bytes::Bytes;
use hyper::{Request, header};
use ks_protocol::{
    MEDIA_TYPE,
    id::Sequence,
    message::{CommandAck, Heartbeat, Register, Request as _},
    refusal::RefusalDocument,
    signature::{OpenError, Reply, SignedRequest},
};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::time::Instant;

use super::machine::{Machine, Standing};
use crate::{
    ledger::DeviceAccount,
    link::{HttpAnswer, HttpRequest, Link, LinkError},
    measure::{BAD_ANSWER, MessageType, OK, record},
    scenario::HeartbeatInterval,
    seed,
    shard::Shard,
};

/// Beats that wait behind others at most; more are given up, and counted.
const WAITING_BEATS_MAX: usize = 256;
/// First and longest wait of a device that could not reach the server, before jitter.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// A virtual device.
pub struct Device {
    machine: Machine,
    link: Rc<dyn Link>,
    site: usize,
    shard: Rc<Shard>,
    jitter: ChaCha8Rng,
    account: DeviceAccount,
    waiting: VecDeque<Instant>,
    is_busy: bool,
    /// Failures to register or (at the server's pace) to beat, since the last success.
    failures: u32,
}

/// The request that is away.
struct Away {
    kind: MessageType,
    sequence: Sequence,
    intended_at: Instant,
    sent_at: Instant,
    signed: SignedRequest,
}

/// What an answer comes to.
struct Ended {
    code: &'static str,
    /// Milliseconds until the next beat, as the server says.
    next_beat_ms: Option<u64>,
}

/// Ends a device's part in the run: what it knows of its heartbeats.
#[derive(Debug, Message)]
#[rtype(result = "DeviceAccount")]
pub struct Account;

impl Device {
    /// A device at a site, ready to start.
    pub fn new(machine: Machine, link: Rc<dyn Link>, site: usize, shard: Rc<Shard>, root_seed: u64) -> Self {
        let jitter = seed::stream(root_seed, machine.device_id().as_str(), "jitter");
        let (account, waiting) = (DeviceAccount::default(), VecDeque::new());
        Self { machine, link, site, shard, jitter, account, waiting, is_busy: false, failures: 0 }
    }

    fn schedule(&self, intended_at: Instant, ctx: &mut Context<Self>) {
        if !self.shard.is_running() || intended_at >= self.shard.ends_at {
            return;
        }
        let wait = intended_at.saturating_duration_since(Instant::now());
        ctx.run_later(wait, move |device, ctx| device.beat_due(intended_at, ctx));
    }

    /// The moment of a beat has come.
    fn beat_due(&mut self, intended_at: Instant, ctx: &mut Context<Self>) {
        if !self.shard.is_running() || self.machine.standing() == Standing::Revoked {
            return;
        }
        if let HeartbeatInterval::Fixed(interval) = self.shard.interval {
            self.schedule(intended_at + interval, ctx);
        }
        if self.machine.standing() == Standing::Registered {
            let has_room = self.waiting.len() < WAITING_BEATS_MAX;
            let lag_us = micros(intended_at.elapsed());
            self.shard.measure(|measured| {
                measured.offered += 1;
                measured.given_up += u64::from(!has_room);
                record(&mut measured.send_lag_us, lag_us);
            });
            if has_room {
                self.waiting.push_back(intended_at);
            }
        }
        self.pump(ctx);
    }

    /// Sends what is next, if nothing is away.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        if self.is_busy {
            return;
        }
        let now = self.shard.time.unix_now();
        let (kind, intended_at, signed) = match self.machine.standing() {
            Standing::Revoked => return self.waiting.clear(),
            Standing::New if self.failures > 0 => return, // the retry has its own timer
            Standing::New => (MessageType::Register, Instant::now(), self.machine.register(now)),
            Standing::Registered => match self.waiting.pop_front() {
                Some(intended_at) => (MessageType::Heartbeat, intended_at, self.machine.beat(now)),
                None if self.machine.has_acks() => {
                    (MessageType::CommandAck, Instant::now(), self.machine.acknowledge(now))
                }
                None => return,
            },
        };
        // A message of ours always encodes; were it not so, it would show as a beat that is never sent.
        if let Ok(signed) = signed {
            self.send(
                Away { kind, sequence: self.machine.sequence(), intended_at, sent_at: Instant::now(), signed },
                ctx,
            );
        }
    }

    fn send(&mut self, away: Away, ctx: &mut Context<Self>) {
        self.is_busy = true;
        if away.kind == MessageType::Heartbeat {
            self.account.sent.insert(away.sequence);
        }
        self.shard.measure(|measured| {
            measured.of_mut(away.kind).sent += 1;
            measured.in_flight += 1;
        });
        let request = http_request(away.kind, &away.signed.wire);
        let (shard, link, site) = (Rc::clone(&self.shard), Rc::clone(&self.link), self.site);
        let called = async move { shard.weather.call(site, &*link, request, shard.answer_timeout).await };
        ctx.spawn(called.into_actor(self).map(move |reply, device, ctx| device.ended(&away, reply, ctx)));
    }

    /// A request has ended, one way or another.
    fn ended(&mut self, away: &Away, reply: Result<HttpAnswer, LinkError>, ctx: &mut Context<Self>) {
        self.is_busy = false;
        let was = self.machine.standing();
        let ended = match reply {
            Ok(answer) => self.take(away, &answer).unwrap_or_else(|error| self.unbelievable(&error)),
            Err(error) => Ended { code: error.code(), next_beat_ms: None },
        };
        let is_ok = ended.code == OK;
        self.failures = if is_ok { 0 } else { self.failures.saturating_add(1) };
        if is_ok && away.kind == MessageType::Heartbeat {
            self.account.acked.insert(away.sequence);
            self.shard.overhear(self.machine.device_id(), &away.signed.wire);
        }
        let (response_us, service_us) = (micros(away.intended_at.elapsed()), micros(away.sent_at.elapsed()));
        let registered =
            i64::from(self.machine.standing() == Standing::Registered) - i64::from(was == Standing::Registered);
        self.shard.measure(|measured| {
            measured.in_flight -= 1;
            measured.registered += registered;
            let of_kind = measured.of_mut(away.kind);
            *of_kind.codes.entry(ended.code).or_default() += 1;
            if is_ok {
                record(&mut of_kind.response_us, response_us);
                record(&mut of_kind.service_us, service_us);
            }
        });
        self.log(away, &ended);
        self.machine.reboot_if_due(self.shard.time.unix_now());
        self.plan_next(away.kind, &ended, ctx);
        self.pump(ctx);
    }

    /// When to speak again: at the server's word, or after a failure with backoff and jitter.
    fn plan_next(&mut self, kind: MessageType, ended: &Ended, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let at_servers_pace = self.shard.interval == HeartbeatInterval::Server;
        if self.machine.standing() == Standing::New && self.failures > 0 {
            let wait = self.backoff();
            ctx.run_later(wait, |device, ctx| {
                if device.shard.is_running() {
                    device.failures = 0;
                    device.pump(ctx);
                }
            });
        } else if kind == MessageType::Register && ended.code == OK {
            let first = match (self.shard.interval, ended.next_beat_ms) {
                // A phase of its own, so that the fleet is spread over the interval from the first beat on.
                (HeartbeatInterval::Fixed(interval), _) => Duration::from_millis(seed::below(
                    &mut self.jitter,
                    u64::try_from(interval.as_millis()).unwrap_or(1),
                )),
                (HeartbeatInterval::Server, next_beat_ms) => Duration::from_millis(next_beat_ms.unwrap_or(1_000)),
            };
            self.schedule(now + first, ctx);
        } else if kind == MessageType::Heartbeat && at_servers_pace {
            let wait = ended.next_beat_ms.map_or_else(|| self.backoff(), Duration::from_millis);
            self.schedule(now + wait, ctx);
        }
    }

    /// Doubles with each failure, and is drawn from the upper half of that, so that a fleet does not come back in step.
    fn backoff(&mut self) -> Duration {
        let (first, longest) = BACKOFF;
        let wait = first.saturating_mul(1 << self.failures.clamp(1, 7) >> 1).min(longest);
        let half_ms = u64::try_from(wait.as_millis() / 2).unwrap_or(u64::MAX);
        Duration::from_millis(half_ms + seed::below(&mut self.jitter, half_ms + 1))
    }

    fn take(&mut self, away: &Away, answer: &HttpAnswer) -> Result<Ended, OpenError> {
        let sig_dev = away.signed.sig_dev.to_string();
        Ok(match away.kind {
            MessageType::Register => match self.machine.registered(answer.status, &sig_dev, &answer.body)? {
                Reply::Answer(registered) => Ended { code: OK, next_beat_ms: Some(registered.next_beat_ms) },
                Reply::Refused(refusal) => refused(&refusal),
            },
            MessageType::Heartbeat => {
                let (reply, carried) = self.machine.beaten(answer.status, &sig_dev, &answer.body)?;
                self.shard.measure(|measured| {
                    measured.commands_succeeded += carried.succeeded;
                    measured.commands_applied_twice += carried.twice;
                });
                match reply {
                    Reply::Answer(next) => Ended { code: OK, next_beat_ms: Some(next.next_beat_ms) },
                    Reply::Refused(refusal) => refused(&refusal),
                }
            }
            MessageType::CommandAck => match self.machine.acknowledged(answer.status, &sig_dev, &answer.body)? {
                Reply::Answer(_) => Ended { code: OK, next_beat_ms: None },
                Reply::Refused(refusal) => refused(&refusal),
            },
        })
    }

    fn unbelievable(&self, error: &OpenError) -> Ended {
        let bad_signature = matches!(error, OpenError::BadSignature | OpenError::UnknownKey(_));
        self.shard.measure(|measured| measured.bad_server_signatures += u64::from(bad_signature));
        Ended { code: BAD_ANSWER, next_beat_ms: None }
    }

    fn log(&self, away: &Away, ended: &Ended) {
        if self.shard.log.is_none() {
            return; // spares a load run the building of lines that nobody reads
        }
        let sent_ms = away.sent_at.saturating_duration_since(self.shard.time.started).as_millis();
        self.shard.event(
            away.kind.as_str(),
            &[
                ("device_id", json!(self.machine.device_id())),
                ("boot_epoch", json!(away.sequence.boot_epoch)),
                ("seq", json!(away.sequence.seq)),
                ("sent_ms", json!(u64::try_from(sent_ms).unwrap_or(u64::MAX))),
                ("code", json!(ended.code)),
                ("next_beat_ms", json!(ended.next_beat_ms)),
            ],
        );
    }
}

fn refused(refusal: &RefusalDocument) -> Ended {
    Ended {
        code: refusal.code.as_str(),
        next_beat_ms: refusal.retry_after_s.map(|seconds| seconds.saturating_mul(1_000)),
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// A device's document as an HTTP request.
pub fn http_request(kind: MessageType, wire: &str) -> HttpRequest {
    let path = match kind {
        MessageType::Register => Register::PATH,
        MessageType::Heartbeat => Heartbeat::PATH,
        MessageType::CommandAck => CommandAck::PATH,
    };
    let mut request = Request::new(Bytes::copy_from_slice(wire.as_bytes()).into());
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = hyper::Uri::from_static(path);
    request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(MEDIA_TYPE));
    request
}

impl Actor for Device {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        self.pump(ctx);
    }
}

impl Handler<Account> for Device {
    type Result = MessageResult<Account>;
    fn handle(&mut self, _: Account, _: &mut Context<Self>) -> Self::Result {
        MessageResult(std::mem::take(&mut self.account))
    }
}
