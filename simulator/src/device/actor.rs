//! A device as an actor: when it sends which message. What happens to a message that it sends is in [`request`].
//!
//! Open loop: with an interval of its own a device schedules each beat before it sends the last, so its lateness, or
//! the server's, never adds up. One request is in flight at a time, as on a real device's one connection; a beat that
//! has to wait for an answer is late from its intended time on.

mod accounting;
mod churn;
mod request;
mod retry;
mod update;

use request::RequestOutcome;
use retry::RequestedWait;
pub use update::BOOT_TIME;

use std::{
    collections::{BTreeSet, VecDeque},
    rc::Rc,
    time::Duration,
};

use actix::{Actor, ActorFutureExt, AsyncContext, Context, Handler, Message, MessageResult, WrapFuture};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::{
    backoff::Backoff,
    exchange::{MessageType, most_urgent, pending},
    machine::{DeviceState, Machine},
    pending::PendingMessages,
};
use crate::{
    fleet::{churn::Agenda, ground_truth::InstallOutcome},
    link::Link,
    run::{
        ledger::DeviceAccount,
        measure::{OK, UNSENT, record},
        outages::Unserved,
    },
    scenario::HeartbeatInterval,
    seed,
    shard::Shard,
};

/// The longest time until the next beat that a device accepts, and what it uses instead of zero or a longer one.
const NEXT_BEAT_MAX: Duration = Duration::from_hours(36);
const NEXT_BEAT_DEFAULT: Duration = Duration::from_mins(1);

/// Limit of beats queued behind a request; further ones are dropped and counted.
const WAITING_BEATS_MAX: usize = 256;

pub struct Device {
    machine: Machine,
    link: Rc<dyn Link>,
    /// Its place in the fleet.
    number: u32,
    /// Number of its cohort.
    cohort: usize,
    site: usize,
    site_name: Rc<str>,
    root_seed: u64,
    shard: Rc<Shard>,
    backoff: Backoff,
    /// Draws the network faults that hit its requests.
    fault_rng: ChaCha8Rng,
    account: DeviceAccount,
    /// What it has to send, and since when.
    pending: PendingMessages,
    waiting: VecDeque<Instant>,
    /// The request in flight, if any: its kind and its intended send time.
    in_flight: Option<(MessageType, Instant)>,
    /// After a failure: until the pause is over, only heartbeats that are due are sent.
    is_resting: bool,
    /// A heartbeat was not accepted: until then none is sent.
    held_until: Option<Instant>,
    /// Waits that the server asked for, one for each kind of message at most.
    requested_waits: Vec<RequestedWait>,
    /// Kinds of messages of which a limit refused the last one that was answered.
    refused_kinds: Vec<MessageType>,
    /// Counters of the releases installed so far.
    installed: BTreeSet<u64>,
    /// What the release in its other slot does to it.
    fate: InstallOutcome,
    /// Booting, or without power: it neither sends nor receives.
    is_off: bool,
    /// Background failures that keep power from it now.
    power_failures: u32,
    /// Counts the times it lost power.
    power_cycle: u32,
    /// Share of its requests, and of their answers, that its link loses now, in basis points.
    loss_bp: u16,
    agenda: Agenda,
    /// Since when it has not been served.
    unserved: Unserved,
    /// Its part in the run is over.
    is_retired: bool,
}

/// Ends a device's part in the run: open requests are counted as unanswered or unsent, and the device returns its account.
#[derive(Debug, Message)]
#[rtype(result = "DeviceAccount")]
pub struct Account;

impl Device {
    /// A device with this number in the fleet and in this cohort, at a site, ready to start; `agenda` has its background failures.
    pub fn new(
        (number, cohort): (u32, usize),
        machine: Machine,
        link: Rc<dyn Link>,
        (site, site_name): (usize, Rc<str>),
        shard: Rc<Shard>,
        root_seed: u64,
        agenda: Agenda,
    ) -> Self {
        let interval = match shard.interval {
            HeartbeatInterval::Fixed(interval) => Some(interval),
            HeartbeatInterval::Server => None,
        };
        let backoff = Backoff::new(interval, seed::stream(root_seed, machine.device_id().as_str(), "jitter"));
        let fault_rng = seed::stream(root_seed, machine.device_id().as_str(), "luck");
        let unserved = Unserved::since(shard.time.elapsed());
        Self {
            machine,
            link,
            number,
            cohort,
            site,
            site_name,
            root_seed,
            shard,
            backoff,
            fault_rng,
            account: DeviceAccount::default(),
            pending: PendingMessages::default(),
            waiting: VecDeque::new(),
            in_flight: None,
            is_resting: false,
            held_until: None,
            requested_waits: Vec::new(),
            refused_kinds: Vec::new(),
            installed: BTreeSet::new(),
            fate: InstallOutcome::Good,
            is_off: false,
            power_failures: 0,
            power_cycle: 0,
            loss_bp: 0,
            agenda,
            unserved,
            is_retired: false,
        }
    }

    fn schedule(&self, wanted_at: Instant, now: Instant, ctx: &mut Context<Self>) {
        let intended_at = self.shard.timer.beat_at(wanted_at);
        if !self.shard.is_running_at(now) || intended_at >= self.shard.ends_at {
            return;
        }
        let (due, cycle) = (self.shard.timer.at(intended_at), self.power_cycle);
        ctx.spawn(due.into_actor(self).map(move |(), device, ctx| {
            // A device without an interval of its own has forgotten what it was asked before a power failure.
            if device.power_cycle == cycle || device.shard.interval != HeartbeatInterval::Server {
                device.beat_due(intended_at, ctx);
            }
        }));
    }

    fn beat_due(&mut self, intended_at: Instant, ctx: &mut Context<Self>) {
        let now = Instant::now();
        let is_over = matches!(self.machine.state(), DeviceState::Revoked | DeviceState::Dead);
        if !self.shard.is_running_at(now) || is_over {
            return;
        }
        if let HeartbeatInterval::Fixed(interval) = self.shard.interval {
            self.schedule(intended_at + interval, now, ctx);
        }
        if self.machine.state() == DeviceState::Registered && !self.is_off {
            self.count(|counts| counts.wanted += 1);
            if self.held_until.is_none() {
                self.queue_beat(intended_at, now);
            }
        }
        self.pump_at(now, ctx);
    }

    /// A beat is to be sent as soon as no other request is in flight.
    fn queue_beat(&mut self, intended_at: Instant, now: Instant) {
        let has_room = self.waiting.len() < WAITING_BEATS_MAX;
        let lag_us = micros(now.saturating_duration_since(intended_at));
        self.shard.measure(|measured| {
            measured.due += 1;
            record(&mut measured.send_lag_us, lag_us);
        });
        if has_room {
            self.waiting.push_back(intended_at);
        } else {
            self.count_unanswered(MessageType::Heartbeat, UNSENT, intended_at);
        }
    }

    /// Sends the next message, unless one is in flight.
    fn pump(&mut self, ctx: &mut Context<Self>) {
        self.pump_at(Instant::now(), ctx);
    }

    fn pump_at(&mut self, now: Instant, ctx: &mut Context<Self>) {
        if self.is_without_power() {
            return;
        }
        let due: SmallVec<[MessageType; 4]> = match self.machine.state() {
            DeviceState::Registered => pending(&self.machine).collect(),
            _ => SmallVec::new(),
        };
        self.update_pending(&due, now);
        if self.in_flight.is_some() || self.is_retired || self.is_off {
            return;
        }
        let may_start = !self.is_resting && self.shard.is_running_at(now);
        let (kind, intended_at) = match self.machine.state() {
            DeviceState::Revoked | DeviceState::Dead => return self.waiting.clear(),
            // Answered by an unknown key: fetch the keyset first, or the next answer can't be verified either.
            DeviceState::New if may_start && self.machine.wants_keyset() => (MessageType::Keyset, now),
            DeviceState::New if may_start => (MessageType::Register, now),
            DeviceState::New => return,
            DeviceState::Registered => match (self.waiting.pop_front(), most_urgent(due)) {
                (Some(intended_at), _) => (MessageType::Heartbeat, intended_at),
                (None, Some(kind)) if may_start => (kind, now),
                _ => return,
            },
        };
        self.send(kind, intended_at, now, ctx);
    }

    /// Updates which message kinds are pending, of those that must get through; `due` are those that a registered device has to send.
    fn update_pending(&mut self, due: &[MessageType], now: Instant) {
        let first = match self.machine.state() {
            DeviceState::New => MessageType::Register,
            DeviceState::Registered => MessageType::Heartbeat,
            // What is still pending is not the server's fault.
            DeviceState::Revoked | DeviceState::Dead => {
                self.pending = PendingMessages::default();
                return;
            }
        };
        let kinds = std::iter::once(first).chain(due.iter().copied());
        let kinds: SmallVec<[MessageType; 4]> = kinds.filter(|kind| kind.exchange().must_get_through()).collect();
        self.pending.set(&kinds, self.shard.time.since_start(now));
    }

    /// A shift starts: all its punches are made together.
    fn shift_starts(&mut self, punches: u32, ctx: &mut Context<Self>) {
        let is_over = self.is_retired || matches!(self.machine.state(), DeviceState::Revoked | DeviceState::Dead);
        if is_over || self.is_without_power() {
            return;
        }
        self.machine.punch(punches, self.shard.time.unix_now());
        self.shard.measure(|measured| measured.punches_made += u64::from(punches));
        self.pump(ctx);
    }

    /// Schedules the next request: as the server says, or after a failure with backoff and jitter.
    fn plan_next(&mut self, kind: MessageType, ended: &RequestOutcome, now: Instant, ctx: &mut Context<Self>) {
        let is_failed = ended.code != OK;
        let is_optional = !matches!(kind, MessageType::Register | MessageType::Heartbeat);
        if is_failed && (is_optional || self.machine.state() == DeviceState::New) {
            self.rest(ended, ctx);
        } else if kind == MessageType::Register && !is_failed {
            let first = match (self.shard.interval, ended.taken.wait_ms) {
                // A phase of its own, so that the fleet is spread over the interval from the first beat on.
                (HeartbeatInterval::Fixed(interval), _) => {
                    let drawn = self.backoff.up_to(interval);
                    self.shard.timer.first_beat(self.number, now).map_or(drawn, |first| first - now)
                }
                (HeartbeatInterval::Server, wait_ms) => plausible(Duration::from_millis(wait_ms.unwrap_or(1_000))),
            };
            self.schedule(now + first, now, ctx);
        } else if kind == MessageType::Heartbeat && is_failed {
            self.retry_heartbeat(ended, ctx);
        } else if kind == MessageType::Heartbeat && self.shard.interval == HeartbeatInterval::Server {
            let wait = self.wait_after(ended);
            self.schedule(now + wait, now, ctx);
        }
    }

    /// Pauses after a failure, then continues with what is due. One pause at a time.
    fn rest(&mut self, ended: &RequestOutcome, ctx: &mut Context<Self>) {
        if std::mem::replace(&mut self.is_resting, true) {
            return;
        }
        let wait = self.wait_after(ended);
        ctx.run_later(wait, |device, ctx| {
            device.is_resting = false;
            device.pump(ctx);
        });
    }
}

/// The time until the next beat, limited to the accepted range: protocol section 10.1.
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
        self.count(|counts| counts.devices += 1);
        for (at, punches) in self.shard.shifts.iter().copied() {
            // A device switched on later has missed the shift.
            if let Some(wait) = (self.shard.time.started + at).checked_duration_since(Instant::now()) {
                ctx.run_later(wait, move |device, ctx| device.shift_starts(punches, ctx));
            }
        }
        self.note_stay();
        self.follow_agenda(ctx);
        self.pump(ctx);
    }
}

impl Handler<Account> for Device {
    type Result = MessageResult<Account>;
    fn handle(&mut self, _: Account, _: &mut Context<Self>) -> Self::Result {
        MessageResult(self.retire())
    }
}
