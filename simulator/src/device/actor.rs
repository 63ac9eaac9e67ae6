//! A device as an actor: when it speaks, what it does with answers, what is measured of it.
//!
//! Open loop: with an interval of its own a device schedules each beat before it sends the last, so its lateness, or
//! the server's, never adds up. One request is in flight at a time, as on a real device's one connection; a beat that
//! has to wait for an answer is late from its intended time on.

mod update;

use std::{
    collections::{BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use ks_protocol::{id::Sequence, refusal::RefusalCode, signature::OpenError};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use serde_json::json;
use tokio::time::Instant;

use super::{
    backoff::Backoff,
    exchange::{Incoming, MessageType, Notes, Outgoing, Taken, due, pending},
    machine::{Machine, Standing},
    waits::Waits,
};
use crate::{
    ledger::DeviceAccount,
    link::{HttpAnswer, Link, LinkError},
    measure::{BAD_ANSWER, OK, UNANSWERED, UNKNOWN_KEY, UNSENT, record},
    scenario::HeartbeatInterval,
    seed,
    shard::Shard,
};

/// The longest time until the next beat that a device believes, and what it takes in the place of none or more.
const NEXT_BEAT_MAX: Duration = Duration::from_hours(36);
const NEXT_BEAT_DEFAULT: Duration = Duration::from_mins(1);

/// Beats that wait behind others at most; more are given up, and counted.
const WAITING_BEATS_MAX: usize = 256;

/// A virtual device.
pub struct Device {
    machine: Machine,
    link: Rc<dyn Link>,
    site: usize,
    site_name: Rc<str>,
    root_seed: u64,
    shard: Rc<Shard>,
    backoff: Backoff,
    /// What becomes of its requests and answers.
    luck: ChaCha8Rng,
    account: DeviceAccount,
    /// What it has to say, and since when.
    waits: Waits,
    waiting: VecDeque<Instant>,
    /// The request that is away, if one is: its kind, and when it was meant to be sent.
    away: Option<(MessageType, Instant)>,
    /// After a failure: nothing but a heartbeat whose time has come is sent until the rest is over.
    is_resting: bool,
    /// Counters of the releases that were installed on it so far.
    installed: BTreeSet<u64>,
    /// It boots: it says nothing, and hears nothing.
    is_off: bool,
    /// Its part in the run is over.
    is_retired: bool,
}

/// A request that is away.
struct Away {
    kind: MessageType,
    sequence: Sequence,
    intended_at: Instant,
    sent_at: Instant,
    wire: String,
    sig_dev: String,
    /// For the event log.
    notes: Notes,
}

/// What a request came to.
struct Ended {
    code: &'static str,
    taken: Taken,
}

/// Ends a device's part in the run: what is still unanswered or unsent is counted as that, and the device gives its account.
#[derive(Debug, Message)]
#[rtype(result = "DeviceAccount")]
pub struct Account;

impl Device {
    /// A device at a site, ready to start.
    pub fn new(
        machine: Machine,
        link: Rc<dyn Link>,
        (site, site_name): (usize, Rc<str>),
        shard: Rc<Shard>,
        root_seed: u64,
    ) -> Self {
        let interval = match shard.interval {
            HeartbeatInterval::Fixed(interval) => Some(interval),
            HeartbeatInterval::Server => None,
        };
        let backoff = Backoff::new(interval, seed::stream(root_seed, machine.device_id().as_str(), "jitter"));
        let luck = seed::stream(root_seed, machine.device_id().as_str(), "luck");
        Self {
            machine,
            link,
            site,
            site_name,
            root_seed,
            shard,
            backoff,
            luck,
            account: DeviceAccount::default(),
            waits: Waits::default(),
            waiting: VecDeque::new(),
            away: None,
            is_resting: false,
            installed: BTreeSet::new(),
            is_off: false,
            is_retired: false,
        }
    }

    fn schedule(&self, intended_at: Instant, ctx: &mut Context<Self>) {
        if !self.shard.is_running() || intended_at >= self.shard.ends_at {
            return;
        }
        let due = self.shard.timer.at(intended_at);
        ctx.spawn(due.into_actor(self).map(move |(), device, ctx| device.beat_due(intended_at, ctx)));
    }

    /// The moment of a beat has come.
    fn beat_due(&mut self, intended_at: Instant, ctx: &mut Context<Self>) {
        let is_over = matches!(self.machine.standing(), Standing::Revoked | Standing::Dead);
        if !self.shard.is_running() || is_over {
            return;
        }
        if let HeartbeatInterval::Fixed(interval) = self.shard.interval {
            self.schedule(intended_at + interval, ctx);
        }
        if self.machine.standing() == Standing::Registered && !self.is_off {
            let has_room = self.waiting.len() < WAITING_BEATS_MAX;
            let lag_us = micros(intended_at.elapsed());
            self.shard.measure(|measured| {
                measured.due += 1;
                record(&mut measured.send_lag_us, lag_us);
            });
            if has_room {
                self.waiting.push_back(intended_at);
            } else {
                self.count(MessageType::Heartbeat, UNSENT, intended_at);
            }
        }
        self.pump(ctx);
    }

    /// Sends what is next, if nothing is away.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        self.note_what_waits();
        if self.away.is_some() || self.is_retired || self.is_off {
            return;
        }
        let may_start = !self.is_resting && self.shard.is_running();
        let (kind, intended_at) = match self.machine.standing() {
            Standing::Revoked | Standing::Dead => return self.waiting.clear(),
            // Answered by an unknown key: the keyset first, or the next answer is not believed either.
            Standing::New if may_start && self.machine.wants_keyset() => (MessageType::Keyset, Instant::now()),
            Standing::New if may_start => (MessageType::Register, Instant::now()),
            Standing::New => return,
            Standing::Registered => match (self.waiting.pop_front(), due(&self.machine)) {
                (Some(intended_at), _) => (MessageType::Heartbeat, intended_at),
                (None, Some(kind)) if may_start => (kind, Instant::now()),
                _ => return,
            },
        };
        self.send(kind, intended_at, ctx);
    }

    /// Notes what it has to say, of what it must not wait long for.
    fn note_what_waits(&mut self) {
        let mut kinds: Vec<MessageType> = match self.machine.standing() {
            Standing::New => vec![MessageType::Register],
            Standing::Registered => std::iter::once(MessageType::Heartbeat).chain(pending(&self.machine)).collect(),
            // What it still waited for is nobody's fault.
            Standing::Revoked | Standing::Dead => {
                self.waits = Waits::default();
                return;
            }
        };
        kinds.retain(|kind| kind.exchange().is_waited_for());
        self.waits.are_for(&kinds, self.shard.time.elapsed());
    }

    /// A shift starts: everybody punches at once.
    fn shift_starts(&mut self, punches: u32, ctx: &mut Context<Self>) {
        if self.is_retired || matches!(self.machine.standing(), Standing::Revoked | Standing::Dead) {
            return;
        }
        self.machine.punch(punches, self.shard.time.unix_now());
        self.shard.measure(|measured| measured.punches_made += u64::from(punches));
        self.pump(ctx);
    }

    fn send(&mut self, kind: MessageType, intended_at: Instant, ctx: &mut Context<Self>) {
        let now = self.shard.time.unix_now();
        let Some(Outgoing { http, wire, sig_dev, notes }) = kind.exchange().request(&mut self.machine, now) else {
            return;
        };
        let sequence = self.machine.sequence();
        let away = Away { kind, sequence, intended_at, sent_at: Instant::now(), wire, sig_dev, notes };
        self.away = Some((away.kind, away.intended_at));
        if away.kind == MessageType::Heartbeat {
            self.account.sent.insert(away.sequence);
        }
        self.shard.measure(|measured| {
            measured.of_mut(away.kind).sent += 1;
            measured.in_flight += 1;
        });
        let (shard, link, site) = (Rc::clone(&self.shard), Rc::clone(&self.link), self.site);
        let lot = self.luck.next_u64();
        let called = async move { shard.weather.call(site, &link, http, shard.answer_timeout, lot).await };
        ctx.spawn(called.into_actor(self).map(move |reply, device, ctx| device.ended(away, reply, ctx)));
    }

    /// A request has ended, one way or another.
    fn ended(&mut self, mut away: Away, reply: Result<HttpAnswer, LinkError>, ctx: &mut Context<Self>) {
        if self.is_retired {
            return; // it was counted as unanswered
        }
        self.away = None;
        let was = self.machine.standing();
        let mut ended = match reply {
            Ok(answer) => self.take(&away, &answer).unwrap_or_else(|error| self.unbelievable(&error)),
            Err(error) => Ended { code: error.code(), taken: Taken::default() },
        };
        let is_ok = ended.code == OK;
        if is_ok || ended.taken.wait_ms.is_some() {
            self.backoff.answered();
        }
        if is_ok {
            self.waits.end(away.kind, self.shard.time.elapsed());
        }
        if is_ok && away.kind == MessageType::Heartbeat {
            self.account.acked.insert(away.sequence);
            self.shard.capture(self.machine.device_id(), &away.wire);
        }
        let (response_us, service_us) = (micros(away.intended_at.elapsed()), micros(away.sent_at.elapsed()));
        let registered =
            i64::from(self.machine.standing() == Standing::Registered) - i64::from(was == Standing::Registered);
        self.shard.measure(|measured| {
            measured.in_flight -= 1;
            measured.registered += registered;
            measured.of_mut(away.kind).end(ended.code, response_us, Some(service_us));
        });
        away.notes.append(&mut ended.taken.notes);
        self.log(&away, &ended);
        if self.machine.reboot_if_due(self.shard.time.unix_now()) {
            let runs = self.machine.firmware.running().version.to_string();
            self.tell("rebooted", &runs);
        }
        self.plan_next(away.kind, &ended, ctx);
        self.go_on_with_update(ctx);
        self.pump(ctx);
    }

    /// When to speak again: at the server's word, or after a failure with backoff and jitter.
    fn plan_next(&mut self, kind: MessageType, ended: &Ended, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let is_failed = ended.code != OK;
        let speaks_unasked = !matches!(kind, MessageType::Register | MessageType::Heartbeat);
        if is_failed && (speaks_unasked || self.machine.standing() == Standing::New) {
            self.rest(ended, ctx);
        } else if kind == MessageType::Register && !is_failed {
            let first = match (self.shard.interval, ended.taken.wait_ms) {
                // A phase of its own, so that the fleet is spread over the interval from the first beat on.
                (HeartbeatInterval::Fixed(interval), _) => self.backoff.up_to(interval),
                (HeartbeatInterval::Server, wait_ms) => plausible(Duration::from_millis(wait_ms.unwrap_or(1_000))),
            };
            self.schedule(now + first, ctx);
        } else if kind == MessageType::Heartbeat && self.shard.interval == HeartbeatInterval::Server {
            let wait = self.wait_after(ended);
            self.schedule(now + wait, ctx);
        }
    }

    /// Rests after a failure, then goes on with what is due. One rest at a time.
    fn rest(&mut self, ended: &Ended, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.is_resting, true) {
            return;
        }
        let wait = self.wait_after(ended);
        ctx.run_later(wait, |device, ctx| {
            device.is_resting = false;
            device.pump(ctx);
        });
    }

    /// As the server says, else with backoff.
    fn wait_after(&mut self, ended: &Ended) -> Duration {
        match ended.taken.wait_ms.map(Duration::from_millis) {
            None => self.backoff.failed(),
            Some(told) if ended.code != OK => self.backoff.told(told),
            Some(next_beat) => {
                let next_beat = plausible(next_beat);
                self.backoff.heard_interval(next_beat);
                next_beat
            }
        }
    }

    /// Counts what will never have an answer, with the time that it has waited so far.
    fn count(&self, kind: MessageType, code: &'static str, intended_at: Instant) {
        let waited_us = micros(intended_at.elapsed());
        self.shard.measure(|measured| measured.of_mut(kind).end(code, waited_us, None));
    }

    /// Ends its part in the run.
    fn retire(&mut self) -> DeviceAccount {
        self.is_retired = true;
        for intended_at in std::mem::take(&mut self.waiting) {
            self.count(MessageType::Heartbeat, UNSENT, intended_at);
        }
        if let Some((kind, intended_at)) = self.away {
            self.count(kind, UNANSWERED, intended_at);
        }
        let mut account = std::mem::take(&mut self.account);
        (account.said, account.confirmed) = self.machine.take_commands();
        (account.punches_made, account.punches_acked) = self.machine.take_punches();
        account.waits = self.waits.take(self.shard.time.elapsed());
        account.is_alive = !matches!(self.machine.standing(), Standing::Revoked | Standing::Dead);
        account
    }

    fn take(&mut self, away: &Away, answer: &HttpAnswer) -> Result<Ended, OpenError> {
        let answer = Incoming {
            status: answer.status,
            sig_dev: &away.sig_dev,
            body: &answer.body,
            took: away.sent_at.elapsed(),
        };
        let trusted = Rc::clone(self.machine.server_keys());
        let taken = away.kind.exchange().answer(&mut self.machine, &answer)?;
        if !Rc::ptr_eq(&trusted, self.machine.server_keys()) {
            let shared = self.shard.shared(self.machine.server_keys());
            self.machine.share_server_keys(shared);
        }
        self.shard.measure(|measured| measured.done += taken.done);
        Ok(Ended { code: taken.refusal.map_or(OK, RefusalCode::as_str), taken })
    }

    fn unbelievable(&self, error: &OpenError) -> Ended {
        if matches!(error, OpenError::UnknownKey(_)) {
            return Ended { code: UNKNOWN_KEY, taken: Taken::default() };
        }
        let bad_signature = matches!(error, OpenError::BadSignature);
        self.shard.measure(|measured| measured.bad_server_signatures += u64::from(bad_signature));
        Ended { code: BAD_ANSWER, taken: Taken::default() }
    }

    fn log(&self, away: &Away, ended: &Ended) {
        if self.shard.log.is_none() {
            return; // spares a load run the building of lines that nobody reads
        }
        let sent_ms = away.sent_at.saturating_duration_since(self.shard.time.started).as_millis();
        let mut fields = vec![
            ("device_id", json!(self.machine.device_id())),
            ("boot_epoch", json!(away.sequence.boot_epoch)),
            ("seq", json!(away.sequence.seq)),
            ("sent_ms", json!(u64::try_from(sent_ms).unwrap_or(u64::MAX))),
            ("code", json!(ended.code)),
            ("wait_ms", json!(ended.taken.wait_ms)),
        ];
        fields.extend(away.notes.iter().cloned());
        self.shard.event(away.kind.as_str(), &fields);
    }
}

/// The time until the next beat, as a device takes it from the server: protocol section 10.1.
fn plausible(next_beat: Duration) -> Duration {
    if next_beat.is_zero() || next_beat > NEXT_BEAT_MAX { NEXT_BEAT_DEFAULT } else { next_beat }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Actor for Device {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Context<Self>) {
        let runs = self.machine.firmware.running().version.to_string();
        let about = [
            ("device_id", json!(self.machine.device_id())),
            ("model", json!(self.machine.firmware.model())),
            ("site", json!(&*self.site_name)),
            ("version", json!(runs)),
        ];
        self.shard.event("switched_on", &about);
        self.shard.measure(|measured| *measured.running.entry(runs).or_default() += 1);
        for (at, punches) in self.shard.shifts.iter().copied() {
            // A device that is switched on later missed it.
            if let Some(wait) = (self.shard.time.started + at).checked_duration_since(Instant::now()) {
                ctx.run_later(wait, move |device, ctx| device.shift_starts(punches, ctx));
            }
        }
        self.pump(ctx);
    }
}

impl Handler<Account> for Device {
    type Result = MessageResult<Account>;
    fn handle(&mut self, _: Account, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.retire())
    }
}
