//! A device as an actor: when it speaks, what it does with answers, what is measured of it.
//!
//! Open loop: with an interval of its own a device schedules each beat before it sends the last, so its lateness, or
//! the server's, never adds up. One request is in flight at a time, as on a real device's one connection; a beat that
//! has to wait for an answer is late from its intended time on.

use std::{
    collections::{BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use bytes::Bytes;
use hyper::{Request, header};
use ks_protocol::{
    MEDIA_TYPE,
    id::Sequence,
    message::{
        Attendance, CommandAck, FirmwareArtifact, FirmwareStatus, Heartbeat, Logs, NextBeat, REQUEST_HEADER, Register,
        Request as _, RotateKey, header_of_document,
    },
    refusal::{RefusalCode, RefusalDocument},
    signature::{NO_SIG_DEV, OpenError, Reply},
};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{
    backoff::Backoff,
    firmware::{Next, Piece, claimed_name},
    machine::{Machine, Standing},
    waits::Waits,
};
use crate::{
    ledger::DeviceAccount,
    link::{HttpAnswer, HttpRequest, Link, LinkError},
    measure::{BAD_ANSWER, Broken, MessageType, OK, UNANSWERED, UNKNOWN_KEY, UNSENT, record},
    scenario::HeartbeatInterval,
    seed,
    shard::Shard,
    truth::{Fate, Subject},
};

/// How long it takes to write an image into a slot.
const INSTALL_TIME: Duration = Duration::from_secs(20);
/// How long it takes to boot.
const BOOT_TIME: Duration = Duration::from_secs(40);

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
    /// What the event log says of the exchange that goes on, besides its end; empty where nothing is logged.
    notes: Vec<(&'static str, Value)>,
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
}

/// What an answer comes to.
struct Ended {
    code: &'static str,
    /// Milliseconds until the next beat or the next try, as the server says.
    wait_ms: Option<u64>,
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
            notes: Vec::new(),
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
            Standing::New if may_start && self.machine.wanted_keyset().is_some() => {
                (MessageType::Keyset, Instant::now())
            }
            Standing::New if may_start => (MessageType::Register, Instant::now()),
            Standing::New => return,
            Standing::Registered => match (self.waiting.pop_front(), self.machine.due()) {
                (Some(intended_at), _) => (MessageType::Heartbeat, intended_at),
                (None, Some(kind)) if may_start => (kind, Instant::now()),
                _ => return,
            },
        };
        self.send(kind, intended_at, ctx);
    }

    /// Notes what it has to say. Pieces of an artifact and keysets are not among it: the first share a budget by design, and
    /// who is led astray by the second is stranded, not starved.
    fn note_what_waits(&mut self) {
        let mut kinds: Vec<MessageType> = match self.machine.standing() {
            Standing::New => vec![MessageType::Register],
            Standing::Registered => std::iter::once(MessageType::Heartbeat).chain(self.machine.pending()).collect(),
            // What it still waited for is nobody's fault.
            Standing::Revoked | Standing::Dead => {
                self.waits = Waits::default();
                return;
            }
        };
        kinds.retain(|kind| !matches!(kind, MessageType::Artifact | MessageType::Keyset));
        self.waits.are_for(&kinds, self.shard.time.elapsed());
    }

    /// The next message of that kind: its bytes, and its signature or what stands for it.
    fn message(&mut self, kind: MessageType) -> Option<(String, String)> {
        let now = self.shard.time.unix_now();
        let signed = match kind {
            MessageType::Keyset => return Some((String::new(), NO_SIG_DEV.to_owned())),
            MessageType::Artifact => self.machine.fetch(now)?,
            MessageType::FirmwareStatus => self.machine.firmware_status(now)?,
            MessageType::Register => self.machine.register(now),
            MessageType::Heartbeat => self.machine.beat(now),
            MessageType::CommandAck => self.machine.acknowledge(now),
            MessageType::Attendance => self.machine.attendance(now),
            MessageType::Logs => self.machine.logs(now),
            MessageType::RotateKey => self.machine.rotate_key(now),
        };
        // A message of ours always encodes; were it not so, it would show as a beat that is never sent.
        signed.ok().map(|signed| (signed.wire, signed.sig_dev.to_string()))
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
        self.note_what_is_said(kind);
        let Some((wire, sig_dev)) = self.message(kind) else { return };
        let sequence = self.machine.sequence();
        let away = Away { kind, sequence, intended_at, sent_at: Instant::now(), wire, sig_dev };
        self.away = Some((away.kind, away.intended_at));
        if away.kind == MessageType::Heartbeat {
            self.account.sent.insert(away.sequence);
        }
        self.shard.measure(|measured| {
            measured.of_mut(away.kind).sent += 1;
            measured.in_flight += 1;
        });
        let request = match (kind, self.machine.wanted_keyset(), self.machine.firmware.wanted()) {
            (MessageType::Keyset, Some(version), _) => keyset_request(version),
            (MessageType::Artifact, _, Some(piece)) => artifact_request(piece, &away.wire),
            _ => http_request(away.kind, &away.wire),
        };
        let (shard, link, site) = (Rc::clone(&self.shard), Rc::clone(&self.link), self.site);
        let lot = self.luck.next_u64();
        let called = async move { shard.weather.call(site, &link, request, shard.answer_timeout, lot).await };
        ctx.spawn(called.into_actor(self).map(move |reply, device, ctx| device.ended(&away, reply, ctx)));
    }

    /// Notes for the event log what a report of an update says.
    fn note_what_is_said(&mut self, kind: MessageType) {
        self.notes.clear();
        let report = self.machine.firmware.to_report().filter(|_| kind == MessageType::FirmwareStatus);
        if let Some(report) = report.filter(|_| self.shard.log.is_some()) {
            self.notes.extend([("release", json!(report.release_id)), ("step", json!(report.step))]);
            self.notes.extend(report.class.map(|class| ("class", json!(class.as_str()))));
        }
    }

    /// Notes for the event log what an answer brings besides the time of the next heartbeat.
    fn note_what_is_heard(&mut self, next: &NextBeat) {
        if self.shard.log.is_none() {
            return;
        }
        if let Some(offer) = &next.firmware {
            self.notes.extend(claimed_name(offer.manifest.as_str()).map(|release_id| ("offer", json!(release_id))));
        }
        let kinds: Vec<&str> = next.commands.as_slice().iter().map(|command| command.kind.as_str()).collect();
        if !kinds.is_empty() {
            self.notes.push(("commands", json!(kinds)));
        }
    }

    /// A request has ended, one way or another.
    fn ended(&mut self, away: &Away, reply: Result<HttpAnswer, LinkError>, ctx: &mut Context<Self>) {
        if self.is_retired {
            return; // it was counted as unanswered
        }
        self.away = None;
        let was = self.machine.standing();
        let ended = match reply {
            Ok(answer) => self.take(away, &answer).unwrap_or_else(|error| self.unbelievable(&error)),
            Err(error) => Ended { code: error.code(), wait_ms: None },
        };
        let is_ok = ended.code == OK;
        if is_ok || ended.wait_ms.is_some() {
            self.backoff.answered();
        }
        if is_ok {
            self.waits.end(away.kind, self.shard.time.elapsed());
        }
        if is_ok && away.kind == MessageType::Heartbeat {
            self.account.acked.insert(away.sequence);
            self.shard.overhear(self.machine.device_id(), &away.wire);
        }
        let (response_us, service_us) = (micros(away.intended_at.elapsed()), micros(away.sent_at.elapsed()));
        let registered =
            i64::from(self.machine.standing() == Standing::Registered) - i64::from(was == Standing::Registered);
        self.shard.measure(|measured| {
            measured.in_flight -= 1;
            measured.registered += registered;
            measured.of_mut(away.kind).end(ended.code, response_us, Some(service_us));
        });
        self.log(away, &ended);
        if self.machine.reboot_if_due(self.shard.time.unix_now()) {
            let runs = self.machine.firmware.running().version.to_string();
            self.tell("rebooted", &runs);
        }
        self.plan_next(away.kind, &ended, ctx);
        self.go_on_with_update(ctx);
        self.pump(ctx);
    }

    /// Takes the next step of an update that needs no answer.
    fn go_on_with_update(&mut self, ctx: &mut Context<Self>) {
        match self.machine.firmware.take_next() {
            None => {}
            Some(Next::Install) => {
                ctx.run_later(INSTALL_TIME, |device, ctx| {
                    if let Some(release_counter) = device.machine.firmware.installing() {
                        let is_written = device.fate(release_counter) != Fate::InstallFails;
                        device.machine.firmware.installed(is_written);
                        device.pump(ctx);
                    }
                });
            }
            Some(Next::Reboot) => {
                self.is_off = true;
                // What waited for the answer that has just come is gone with the device's memory: it never was due.
                let gone = i64::try_from(self.waiting.drain(..).count()).unwrap_or(0);
                self.shard.measure(|measured| measured.due -= gone);
                self.link.hang_up();
                ctx.run_later(BOOT_TIME, Self::booted);
            }
        }
    }

    fn fate(&self, release_counter: u64) -> Fate {
        let subject = Subject {
            device_id: self.machine.device_id(),
            model: self.machine.firmware.model(),
            site: &self.site_name,
        };
        self.shard.truth.fate(release_counter, self.root_seed, &subject)
    }

    /// It is up again after an update, or will never be.
    fn booted(&mut self, ctx: &mut Context<Self>) {
        let Some(release_counter) = self.machine.firmware.installing() else { return };
        let fate = self.fate(release_counter);
        if self.installed.insert(release_counter) {
            let version = self.shard.truth.version(release_counter).to_string();
            self.shard.measure(|measured| *measured.installed.entry(version).or_default() += 1);
        }
        if fate == Fate::Bricks {
            return self.die("bricked", release_counter);
        }
        self.is_off = false;
        self.machine.reboot(self.shard.time.unix_now());
        let into_new = matches!(fate, Fate::Good | Fate::Dies(_));
        let before = self.machine.firmware.running().version.to_string();
        self.machine.firmware.booted(into_new, into_new || fate == Fate::Lies);
        let runs = self.machine.firmware.running().version.to_string();
        if into_new {
            self.shard.measure(|measured| {
                *measured.updated.entry(runs.clone()).or_default() += 1;
                *measured.running.entry(before).or_default() -= 1;
                *measured.running.entry(runs.clone()).or_default() += 1;
            });
        }
        self.tell("booted", &runs);
        if let Fate::Dies(after) = fate {
            ctx.run_later(after, move |device, _| {
                // Unless it runs something else by then.
                if device.machine.firmware.running().release_counter == release_counter {
                    device.die("died", release_counter);
                }
            });
        }
        if self.shard.interval == HeartbeatInterval::Server {
            self.schedule(Instant::now(), ctx);
        }
        self.pump(ctx);
    }

    /// The release with this counter has killed it.
    fn die(&mut self, how: &str, release_counter: u64) {
        if self.is_retired || self.machine.standing() == Standing::Dead {
            return;
        }
        let was_registered = i64::from(self.machine.standing() == Standing::Registered);
        let runs = self.machine.firmware.running().version.to_string();
        self.tell(how, &runs);
        self.machine.die();
        self.waiting.clear();
        let broken = Broken { devices: 1, first_at: self.shard.time.elapsed() };
        let by = self.shard.truth.version(release_counter);
        self.shard.measure(|measured| {
            measured.broke(&by, broken);
            measured.registered -= was_registered;
            *measured.running.entry(runs).or_default() -= 1;
        });
    }

    /// Notes in the event log what really became of it.
    fn tell(&self, what: &str, version: &str) {
        let device_id = json!(self.machine.device_id());
        self.shard.event("firmware", &[("device_id", device_id), ("what", json!(what)), ("version", json!(version))]);
    }

    /// When to speak again: at the server's word, or after a failure with backoff and jitter.
    fn plan_next(&mut self, kind: MessageType, ended: &Ended, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let is_failed = ended.code != OK;
        let speaks_unasked = !matches!(kind, MessageType::Register | MessageType::Heartbeat);
        if is_failed && (speaks_unasked || self.machine.standing() == Standing::New) {
            self.rest(ended, ctx);
        } else if kind == MessageType::Register && !is_failed {
            let first = match (self.shard.interval, ended.wait_ms) {
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
        match ended.wait_ms.map(Duration::from_millis) {
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
        let HttpAnswer { status, body, .. } = answer;
        let (status, sig_dev) = (*status, away.sig_dev.as_str());
        Ok(match away.kind {
            MessageType::Register => match self.machine.registered(status, sig_dev, body)? {
                Reply::Answer(registered) => Ended { code: OK, wait_ms: Some(registered.next_beat_ms) },
                Reply::Refused(refusal) => refused(&refusal),
            },
            MessageType::Heartbeat => {
                let (reply, carried) = self.machine.beaten(status, sig_dev, body)?;
                self.shard.measure(|measured| {
                    measured.commands_succeeded += carried.succeeded;
                    measured.commands_applied_twice += carried.twice;
                });
                match reply {
                    Reply::Answer(next) => {
                        self.note_what_is_heard(&next);
                        Ended { code: OK, wait_ms: Some(next.next_beat_ms) }
                    }
                    Reply::Refused(refusal) => refused(&refusal),
                }
            }
            MessageType::CommandAck => said(self.machine.acknowledged(status, sig_dev, body)?),
            MessageType::Attendance => said(self.machine.punched(status, sig_dev, body)?),
            MessageType::Logs => said(self.machine.logged(status, sig_dev, body)?),
            MessageType::RotateKey => {
                let (reply, is_rotated) = self.machine.key_rotated(status, sig_dev, body)?;
                self.shard.measure(|measured| measured.keys_rotated += u64::from(is_rotated));
                said(reply)
            }
            MessageType::FirmwareStatus => said(self.machine.status_recorded(status, sig_dev, body)?),
            MessageType::Artifact => self.take_piece(away, answer)?,
            MessageType::Keyset => {
                let refused = self.machine.take_keyset(status, body)?;
                let shared = self.shard.shared(self.machine.server_keys());
                self.machine.share_server_keys(shared);
                Ended { code: refused.map_or(OK, RefusalCode::as_str), wait_ms: None }
            }
        })
    }

    /// Takes a piece of an artifact, for which the manifest's hash vouches, or a refusal in its place.
    fn take_piece(&mut self, away: &Away, answer: &HttpAnswer) -> Result<Ended, OpenError> {
        let HttpAnswer { status, body, .. } = answer;
        let (status, took) = (*status, away.sent_at.elapsed());
        let from = self.machine.firmware.wanted().map_or(0, |piece| piece.from);
        if status == 206 || (status == 200 && from == 0) {
            self.machine.firmware.fetched(body, u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            return Ok(Ended { code: OK, wait_ms: None });
        }
        Ok(refused(&self.machine.not_fetched(status, &away.sig_dev, body)?))
    }

    fn unbelievable(&self, error: &OpenError) -> Ended {
        if matches!(error, OpenError::UnknownKey(_)) {
            return Ended { code: UNKNOWN_KEY, wait_ms: None };
        }
        let bad_signature = matches!(error, OpenError::BadSignature);
        self.shard.measure(|measured| measured.bad_server_signatures += u64::from(bad_signature));
        Ended { code: BAD_ANSWER, wait_ms: None }
    }

    fn log(&mut self, away: &Away, ended: &Ended) {
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
            ("wait_ms", json!(ended.wait_ms)),
        ];
        fields.append(&mut self.notes);
        self.shard.event(away.kind.as_str(), &fields);
    }
}

/// What a reply comes to that says nothing of when to speak again.
fn said<T>(reply: Reply<T>) -> Ended {
    match reply {
        Reply::Answer(_) => Ended { code: OK, wait_ms: None },
        Reply::Refused(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &RefusalDocument) -> Ended {
    Ended { code: refusal.code.as_str(), wait_ms: refusal.retry_after_s.map(|seconds| seconds.saturating_mul(1_000)) }
}

/// The time until the next beat, as a device takes it from the server: protocol section 10.1.
fn plausible(next_beat: Duration) -> Duration {
    if next_beat.is_zero() || next_beat > NEXT_BEAT_MAX { NEXT_BEAT_DEFAULT } else { next_beat }
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
        MessageType::Attendance => Attendance::PATH,
        MessageType::Logs => Logs::PATH,
        MessageType::RotateKey => RotateKey::PATH,
        MessageType::FirmwareStatus => FirmwareStatus::PATH,
        MessageType::Keyset => "/keys",
        MessageType::Artifact => FirmwareArtifact::PATH,
    };
    let mut request = Request::new(Bytes::copy_from_slice(wire.as_bytes()).into());
    *request.method_mut() = hyper::Method::POST;
    *request.uri_mut() = hyper::Uri::from_static(path);
    request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(MEDIA_TYPE));
    request
}

/// GET /keys of that version.
fn keyset_request(version: u64) -> HttpRequest {
    let mut request = Request::new(Bytes::new().into());
    // Digits never make it no path.
    *request.uri_mut() = format!("/keys?version={version}").parse().unwrap_or(hyper::Uri::from_static("/keys"));
    request
}

/// GET /firmware/artifacts/{sha256} of a piece, asked for by that document; the rest of another artifact would be worth nothing.
fn artifact_request(piece: Piece, wire: &str) -> HttpRequest {
    let Piece { sha256, from, to } = piece;
    let mut request = Request::new(Bytes::new().into());
    // Hex digits never make it no path, nor no header; base64 neither.
    let path = FirmwareArtifact::path_of(sha256);
    *request.uri_mut() = path.parse().unwrap_or(hyper::Uri::from_static("/firmware/artifacts/"));
    let headers = [
        (header::RANGE, format!("bytes={from}-{to}")),
        (header::IF_RANGE, format!("\"{sha256}\"")),
        (header::HeaderName::from_static(REQUEST_HEADER), header_of_document(wire)),
    ];
    for (name, value) in headers {
        if let Ok(value) = value.parse() {
            request.headers_mut().insert(name, value);
        }
    }
    request
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
