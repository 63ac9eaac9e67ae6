//! One request of a device: made, called, answered, measured and logged.

use std::rc::Rc;

use actix::{ActorFutureExt, AsyncContext, Context, WrapFuture};
use ks_protocol::{id::Sequence, key::PrivateKey, message::Heartbeat, refusal::RefusalCode, signature::OpenError};
use rand_core::Rng;
use serde_json::json;
use tokio::time::Instant;

use super::{Device, micros};
use crate::{
    device::{
        exchange::{AnswerEffect, Incoming, MessageType, Notes, Outgoing, heartbeat},
        machine::{DeviceState, Machine},
    },
    link::{BeatAnswer, HttpAnswer, Link, LinkError, faults::FaultDraw},
    run::measure::{BAD_ANSWER, OK, UNKNOWN_KEY},
    scenario::Retry,
    shard::Shard,
};

struct InFlight {
    kind: MessageType,
    /// The power cycle that it belongs to.
    power_cycle: u32,
    sequence: Sequence,
    intended_at: Instant,
    sent_at: Instant,
    /// Its document, if a neighbor can capture it.
    wire: String,
    /// For the event log.
    notes: Notes,
}

/// How a request ended.
enum RequestEnd {
    /// It was a document with this SIG_DEV.
    Document(Result<HttpAnswer, LinkError>, String),
    /// It was a heartbeat, handed over as a value.
    Value(Result<BeatAnswer, LinkError>),
}

/// The outcome of a request.
pub(super) struct RequestOutcome {
    pub(super) code: &'static str,
    pub(super) taken: AnswerEffect,
}

impl Device {
    /// Sends a message of this kind, if the device has one.
    pub(super) fn send(&mut self, kind: MessageType, intended_at: Instant, now: Instant, ctx: &mut Context<Self>) {
        let unix_now = self.shard.time.unix_at(now);
        let (shard, link, site) = (Rc::clone(&self.shard), Rc::clone(&self.link), self.site);
        if kind == MessageType::Heartbeat && shard.hands_beats_over {
            let (beat, key) = (heartbeat::next(&mut self.machine, unix_now), self.machine.key().clone());
            let called = async move |luck| hand_over(&shard, site, &link, (beat, key), luck).await;
            return self.call(kind, (intended_at, now), (String::new(), Notes::new()), called, ctx);
        }
        let Some(Outgoing { http, wire, sig_dev, notes }) = kind.exchange().request(&mut self.machine, unix_now) else {
            return;
        };
        let called = async move |luck| {
            let reply = shard.network_faults.call(site, &link, http, shard.answer_timeout, luck).await;
            RequestEnd::Document(reply, sig_dev)
        };
        self.call(kind, (intended_at, Instant::now()), (wire, notes), called, ctx);
    }

    /// Makes a call, given what decides which faults hit it.
    fn call<F: Future<Output = RequestEnd> + 'static>(
        &mut self,
        kind: MessageType,
        (intended_at, sent_at): (Instant, Instant),
        (wire, notes): (String, Notes),
        called: impl FnOnce(FaultDraw) -> F,
        ctx: &mut Context<Self>,
    ) {
        let sequence = self.machine.sequence();
        let in_flight = InFlight { kind, power_cycle: self.power_cycle, sequence, intended_at, sent_at, wire, notes };
        self.in_flight = Some((kind, intended_at));
        if kind == MessageType::Heartbeat {
            self.account.sent.insert(sequence);
            self.count(|counts| counts.sent += 1);
        }
        self.count_sent_again(kind);
        self.shard.measure(|measured| {
            measured.of_mut(kind).sent += 1;
            measured.in_flight += 1;
        });
        let called = called(FaultDraw { draw: self.fault_rng.next_u64(), loss_bp: self.loss_bp });
        ctx.spawn(called.into_actor(self).map(move |ended, device, ctx| device.ended(in_flight, ended, ctx)));
    }

    /// A request has ended, with an answer or without.
    fn ended(&mut self, mut in_flight: InFlight, ended: RequestEnd, ctx: &mut Context<Self>) {
        if self.is_retired {
            return; // it was counted as unanswered
        }
        self.in_flight = None;
        let was = self.machine.state();
        let is_forgotten = in_flight.power_cycle != self.power_cycle;
        let mut ended = match ended {
            _ if is_forgotten => {
                RequestOutcome { code: LinkError::ConnectionLost.code(), taken: AnswerEffect::default() }
            }
            RequestEnd::Document(Ok(answer), sig_dev) => self.take(|machine| {
                let (status, body, took) = (answer.status, &*answer.body, in_flight.sent_at.elapsed());
                in_flight.kind.exchange().answer(machine, &Incoming { status, sig_dev: &sig_dev, body, took })
            }),
            RequestEnd::Value(Ok(answer)) => self.take(|machine| heartbeat::answered(machine, answer)),
            RequestEnd::Document(Err(error), _) | RequestEnd::Value(Err(error)) => {
                RequestOutcome { code: error.code(), taken: AnswerEffect::default() }
            }
        };
        let (now, is_ok) = (Instant::now(), ended.code == OK);
        if is_ok || (ended.taken.wait_ms.is_some() && self.retry() != Retry::Ignore) {
            self.backoff.answered();
        }
        self.note_wait(in_flight.kind, in_flight.sent_at, &ended);
        if is_ok {
            self.pending.end(in_flight.kind, self.shard.time.since_start(now));
        }
        if is_ok && in_flight.kind == MessageType::Heartbeat {
            self.account.acked.insert(in_flight.sequence);
            self.shard.capture(self.machine.device_id(), &in_flight.wire);
            self.served(now);
        }
        let [response_us, service_us] =
            [in_flight.intended_at, in_flight.sent_at].map(|from| micros(now.saturating_duration_since(from)));
        let registered =
            i64::from(self.machine.state() == DeviceState::Registered) - i64::from(was == DeviceState::Registered);
        let unverified = self.machine.take_unverified();
        self.shard.measure(|measured| {
            measured.in_flight -= 1;
            measured.unverified += unverified;
            measured.registered += registered;
            measured.of_mut(in_flight.kind).end(ended.code, response_us, Some(service_us));
        });
        in_flight.notes.append(&mut ended.taken.notes);
        self.log(&in_flight, &ended);
        if is_forgotten {
            return self.pump_at(now, ctx);
        }
        if self.machine.reboot_if_due(self.shard.time.unix_at(now)) {
            let runs = self.machine.firmware.running().version.to_string();
            self.log_firmware_event("rebooted", &runs);
            self.note_stay();
        }
        self.plan_next(in_flight.kind, &ended, now, ctx);
        self.continue_update(ctx);
        self.pump_at(now, ctx);
    }

    fn take(&mut self, answer: impl FnOnce(&mut Machine) -> Result<AnswerEffect, OpenError>) -> RequestOutcome {
        let trusted = Rc::clone(self.machine.server_keys());
        let taken = match answer(&mut self.machine) {
            Ok(taken) => taken,
            Err(error) => return self.rejected_answer(&error),
        };
        if !Rc::ptr_eq(&trusted, self.machine.server_keys()) {
            let shared = self.shard.shared(self.machine.server_keys());
            self.machine.share_server_keys(shared);
        }
        self.shard.measure(|measured| measured.done += taken.done);
        RequestOutcome { code: taken.refusal.map_or(OK, RefusalCode::as_str), taken }
    }

    fn rejected_answer(&self, error: &OpenError) -> RequestOutcome {
        if matches!(error, OpenError::UnknownKey(_)) {
            return RequestOutcome { code: UNKNOWN_KEY, taken: AnswerEffect::default() };
        }
        let bad_signature = matches!(error, OpenError::BadSignature);
        self.shard.measure(|measured| measured.bad_server_signatures += u64::from(bad_signature));
        RequestOutcome { code: BAD_ANSWER, taken: AnswerEffect::default() }
    }

    fn log(&self, in_flight: &InFlight, ended: &RequestOutcome) {
        if self.shard.log.is_none() {
            return; // a load run keeps no such log, so skip building the lines
        }
        let is_ordinary = in_flight.kind == MessageType::Heartbeat && ended.code == OK && in_flight.notes.is_empty();
        if is_ordinary && !self.shard.logs_ordinary_beats() {
            return;
        }
        let sent_ms = in_flight.sent_at.saturating_duration_since(self.shard.time.started).as_millis();
        let mut fields = vec![
            ("device_id", json!(self.machine.device_id())),
            ("boot_epoch", json!(in_flight.sequence.boot_epoch)),
            ("seq", json!(in_flight.sequence.seq)),
            ("sent_ms", json!(u64::try_from(sent_ms).unwrap_or(u64::MAX))),
            ("code", json!(ended.code)),
            ("wait_ms", json!(ended.taken.wait_ms)),
        ];
        fields.extend(in_flight.notes.iter().cloned());
        self.shard.event(in_flight.kind.as_str(), &fields);
    }
}

/// Hands over a heartbeat as a value if nothing hits it, and otherwise sends its document.
async fn hand_over(
    shard: &Shard,
    site: usize,
    link: &Rc<dyn Link>,
    (beat, key): (Heartbeat, PrivateKey),
    luck: FaultDraw,
) -> RequestEnd {
    let timeout = shard.answer_timeout;
    if luck.loss_bp == 0
        && let Some(answer) = shard.network_faults.hand(site, link, (&beat, &key.public_key()), timeout).await
    {
        return RequestEnd::Value(answer);
    }
    match Outgoing::signed(&key, &beat) {
        Some(Outgoing { http, sig_dev, .. }) => {
            // In a box, because it is rare and large: every heartbeat would have to move it.
            let call = Box::pin(shard.network_faults.call(site, link, http, timeout, luck));
            RequestEnd::Document(call.await, sig_dev)
        }
        None => RequestEnd::Value(Err(LinkError::ConnectionLost)), // never: our own heartbeats can be encoded
    }
}
