//! The ceiling on the requests of all devices, as docs/rate-limits.md specifies it: one budget, of which lower classes leave a part.

use std::time::Duration;

use super::{
    Endpoint, LimitName, Oracle, OrderTicket, Sent, Ticket,
    ask::{Refusal, ShownVerdict, spend},
    budget::{Budget, Limit, State},
    orders::Orders,
    values::{Mode, Value},
};

/// Servers know of a command at the latest so long after it was ordered, in microseconds.
pub(super) const FOLLOWED_US: u64 = 2_000_000;

/// A server that has started finishes orders that a crash has cut off within that time, in microseconds.
const FINISHED_US: u64 = 60_000_000;

/// Who is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Unproven,
    Logs,
    Heartbeats,
    First,
}

/// What a request of a device that has not registered counts in their own share.
const SHARE: u64 = 10;

/// Whether commands wait for a device, as far as the server knows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum WaitingCommands {
    #[default]
    No,
    Yes,
    Unsure,
}

/// What all devices owe together, and what a refusal by it depends on.
#[derive(Debug, Default)]
pub(super) struct Ceiling {
    pub(super) owes: Budget,
    /// What devices that have not registered owe to their own share.
    pub(super) unproven: Budget,
    /// Operators' orders of commands.
    pub(super) orders: Orders,
    /// When commands may have been ordered last, in microseconds since the start of the run.
    ordered_us: Option<u64>,
    /// There may be a rollout that is not over, which may order commands at any time.
    has_rollout: bool,
    heartbeat_interval: Duration,
}

impl Ceiling {
    /// The server has started again.
    pub(super) fn server_started(&mut self, at_us: u64) {
        (self.owes, self.unproven) = Default::default();
        self.orders.server_started(at_us + FINISHED_US); // an order that a crash has cut off is finished by the server
    }

    /// A request was stored that arrived then: lost orders may have been carried out until now.
    pub(super) fn stored(&mut self, arrived_us: u64, at_us: u64) {
        if self.orders.stored(arrived_us) {
            self.ordered_us = self.ordered_us.max(Some(at_us));
        }
    }
}

impl Ceiling {
    /// What is owed may be this; to the share, where one request counts more, that and one more.
    pub(super) fn forget(&mut self, unknown: Budget, limit: &Limit, now_us: u64) {
        self.owes = unknown;
        self.unproven = unknown.perhaps(SHARE, limit, now_us);
    }

    /// What is left of it for a class. With a burst of less than four, nothing for devices that have not registered: they wait for ever.
    fn state_of(&self, class: Class, limit: &Limit, now_us: u64) -> State {
        match as_seen_by(class, limit) {
            Some(limit) => self.owes.state(&limit, now_us),
            None => State::UsedUp { least_us: u64::MAX, most_us: u64::MAX },
        }
    }

    /// The same, with the shortest wait of a refusal.
    fn verdict_on(&self, class: Class, limit: &Limit, now_us: u64) -> State {
        at_least(self.state_of(class, limit, now_us), again_us(class, self.heartbeat_interval))
    }

    /// One of all requests was charged, or one of those of devices that have not registered, or neither.
    fn perhaps_charge_either(&mut self, limit: &Limit, now_us: u64) {
        self.owes.perhaps_charge(1, limit, now_us);
        self.unproven.perhaps_charge(SHARE, limit, now_us);
    }
}

impl Oracle {
    /// The interval of heartbeats, on which the wait of a refused one depends.
    pub fn heartbeats_every(&mut self, interval: Duration) {
        self.ceiling.heartbeat_interval = interval;
    }

    /// Commands may have been ordered by now, for any device.
    pub(super) fn commands_may_wait(&mut self, at_us: u64) {
        self.ceiling.ordered_us = self.ceiling.ordered_us.max(Some(at_us));
        self.devices.iter_mut().for_each(|(_, device)| device.awaited = WaitingCommands::Unsure);
    }

    /// An operator's order about rollouts reaches the server: one may begin, and may order commands at any time.
    pub fn rollout_ordered(&mut self, at_us: u64) -> OrderTicket {
        self.ceiling.has_rollout = true;
        self.commands_ordered(at_us)
    }

    /// Before the rollouts are read: the number of orders so far, if none is open.
    pub fn orders_before_reading(&self) -> Option<u64> {
        self.ceiling.orders.none_open()
    }

    /// The rollouts were read, and none of them is open any more: each has ordered what it will. Not so if something was ordered since
    /// `before`.
    pub fn rollouts_are_over(&mut self, at_us: u64, before: Option<u64>) {
        if before.is_some() && before == self.ceiling.orders.none_open() && self.ceiling.has_rollout {
            self.ceiling.has_rollout = false;
            self.ceiling.ordered_us = self.ceiling.ordered_us.max(Some(at_us));
        }
    }

    /// What the server knows of a device's commands after the answer to a heartbeat: if it brings some, it knows that.
    pub(super) fn awaited_after(&self, at_us: u64, has_commands: bool) -> WaitingCommands {
        let Ceiling { ordered_us, has_rollout, ref orders, .. } = self.ceiling;
        let is_open = has_rollout || orders.is_any_open();
        let is_followed = ordered_us.is_none_or(|ordered_us| at_us >= ordered_us + FOLLOWED_US);
        match has_commands {
            true => WaitingCommands::Yes,
            false if is_open || !is_followed => WaitingCommands::Unsure,
            false => WaitingCommands::No,
        }
    }

    /// What it knows of any device's commands when nothing was heard of it: after a start, or an answer that got lost.
    pub(super) fn awaited_unheard(&self) -> WaitingCommands {
        if self.ceiling.ordered_us.is_some() { WaitingCommands::Unsure } else { WaitingCommands::No }
    }

    /// Spends one request of all devices. Where its class, and so the verdict, is not known, the server's verdict shows what it was: the
    /// request itself is undecidable then, and what is owed after it is known.
    pub(super) fn spend_of_all(
        &mut self,
        ticket: &mut Ticket,
        sent: &Sent<'_>,
        limit: &Limit,
        seen: ShownVerdict,
    ) -> State {
        let now_us = ticket.now_us;
        // The lowest class is asked first: what it may do, the others may too, and nobody has to look into the document.
        if self.ceiling.state_of(Class::Unproven, limit, now_us) == State::Left {
            if ticket.is_unsure && !self.has_surely_stored(ticket) {
                self.ceiling.perhaps_charge_either(limit, now_us); // by other values it may have been charged to the share
                return State::Left;
            }
            return spend(&mut self.ceiling.owes, ticket, limit);
        }
        if let Some(state) = self.spend_unproven(ticket, sent, limit, seen) {
            return state;
        }
        let classes = self.classes(ticket, sent);
        let states = classes.iter().map(|class| self.ceiling.verdict_on(*class, limit, now_us));
        let states: Vec<State> = states.collect();
        let state = states.iter().copied().reduce(either).unwrap_or(State::Left);
        // A limit in shadow lets everything through, whatever it decides.
        let is_seen = seen != ShownVerdict::Nothing && limit.value.mode == Mode::Enforce;
        if !(is_seen && matches!(state, State::Unsure { .. })) {
            if ticket.is_unsure {
                self.ceiling.owes.perhaps_charge(1, limit, now_us);
            } else {
                self.ceiling.owes.spend_as(state, limit, now_us);
            }
            return state;
        }
        // Which classes can have had that verdict: the highest has the largest burst, the lowest the smallest.
        let is_possible = |state: &State| match seen {
            ShownVerdict::Passed => !matches!(state, State::UsedUp { .. }),
            _ => *state != State::Left,
        };
        let possible = classes.iter().zip(&states).filter(|(_, state)| is_possible(state)).map(|(class, _)| *class);
        let possible: Vec<Class> = possible.collect();
        match (seen, possible.first(), possible.last()) {
            (ShownVerdict::Passed, _, Some(highest)) => {
                self.ceiling.owes.was_left(&part_of(*highest, limit), now_us);
                self.ceiling.owes.charge(1, limit, now_us);
            }
            (_, Some(lowest), _) => self.ceiling.owes.was_used_up(&part_of(*lowest, limit), now_us),
            _ => {}
        }
        if let [class] = *possible {
            self.learn_awaited(ticket, classes, class);
        }
        // Nothing else is open: if no command waits, it has to be refused, and if one does, it must not be.
        if let [State::UsedUp { least_us, most_us }, State::Left] = *states {
            let name = LimitName::AllRequests;
            ticket.in_doubt = Some(Refusal { limit: name, named: name, least_us, most_us });
        }
        state
    }

    /// The same of a device that has not registered, or of which that is not known; none of all others. It gets what log lines and all others
    /// leave, or a share of its own.
    fn spend_unproven(&mut self, ticket: &Ticket, sent: &Sent<'_>, limit: &Limit, seen: ShownVerdict) -> Option<State> {
        let device = ticket.device.and_then(|place| self.devices.get(place)).map(|(_, device)| device)?;
        if device.has_stored {
            return None;
        }
        let now_us = ticket.now_us;
        let from_all = self.ceiling.state_of(Class::Unproven, limit, now_us);
        let own = self.ceiling.unproven.state(limit, now_us);
        let state = at_least(one_of(from_all, own), again_us(Class::Unproven, Duration::ZERO));
        if device.may_have_stored() {
            let others = self.classes(ticket, sent).iter().map(|class| self.ceiling.verdict_on(*class, limit, now_us));
            let state = others.reduce(either).map_or(state, |others| either(state, others));
            // Where it is refused whatever it is, nothing is charged.
            if ticket.is_unsure || !matches!(state, State::UsedUp { .. }) {
                self.ceiling.perhaps_charge_either(limit, now_us);
            }
            return Some(state);
        }
        let is_seen = seen != ShownVerdict::Nothing && limit.value.mode == Mode::Enforce;
        match (from_all, state) {
            _ if ticket.is_unsure => self.ceiling.perhaps_charge_either(limit, now_us),
            (_, State::UsedUp { .. }) => {}
            (State::UsedUp { .. }, State::Left) => self.ceiling.unproven.charge(SHARE, limit, now_us),
            (_, State::Unsure { .. }) if is_seen && seen == ShownVerdict::Refused => {
                if let Some(part) = as_seen_by(Class::Unproven, limit) {
                    self.ceiling.owes.was_used_up(&part, now_us);
                }
                self.ceiling.unproven.was_used_up(limit, now_us);
            }
            (State::UsedUp { .. }, State::Unsure { .. }) if is_seen => {
                self.ceiling.unproven.was_left(limit, now_us);
                self.ceiling.unproven.charge(SHARE, limit, now_us);
            }
            (State::UsedUp { .. }, State::Unsure { .. }) => self.ceiling.unproven.perhaps_charge(SHARE, limit, now_us),
            _ => self.ceiling.perhaps_charge_either(limit, now_us),
        }
        Some(state)
    }

    /// Whether the device of a request has registered, and the oracle knows it.
    fn has_surely_stored(&self, ticket: &Ticket) -> bool {
        ticket.device.and_then(|place| self.devices.get(place)).is_some_and(|(_, device)| device.has_stored)
    }

    /// The server's verdict has shown the class of a request that may be of two: so it knows, or does not, that commands wait for its device.
    fn learn_awaited(&mut self, ticket: &Ticket, classes: &[Class], class: Class) {
        if classes.len() < 2 {
            return;
        }
        let awaited = match class {
            Class::First => WaitingCommands::Yes,
            _ => self.awaited_after(ticket.at_us, false), // one that is ordered meanwhile is known soon
        };
        if let Some(device) = ticket.device.and_then(|place| self.device(place)) {
            device.awaited = awaited;
        }
    }

    /// The classes that a request may be of: two, where commands may wait for the device.
    fn classes(&self, ticket: &Ticket, sent: &Sent<'_>) -> &'static [Class] {
        let device = ticket.device.and_then(|place| self.devices.get(place)).map(|(_, device)| device);
        match (sent.endpoint, device.map_or(WaitingCommands::No, |device| device.awaited)) {
            (Endpoint::Logs | Endpoint::Artifact, _) => &[Class::Logs],
            (Endpoint::Heartbeat, WaitingCommands::No) if !sent.has_acks() => &[Class::Heartbeats],
            (Endpoint::Heartbeat, WaitingCommands::Unsure) if !sent.has_acks() => &[Class::Heartbeats, Class::First],
            _ => &[Class::First],
        }
    }
}

/// The limit with the part of the burst that a class may use; none if that is none.
fn as_seen_by(class: Class, limit: &Limit) -> Option<Limit> {
    (class != Class::Unproven || limit.value.burst >= 4).then(|| part_of(class, limit))
}

/// The same of a class that may use some of each burst.
fn part_of(class: Class, limit: &Limit) -> Limit {
    let whole = limit.value.burst;
    let left = match class {
        Class::Unproven => whole - whole / 4,
        Class::Logs => whole / 2,
        Class::Heartbeats => whole / 5,
        Class::First => 0,
    };
    limit.with(Value { burst: (whole - left).max(1), ..limit.value })
}

/// The shortest wait of a refusal, in microseconds.
fn again_us(class: Class, heartbeat_interval: Duration) -> u64 {
    let half_us = u64::try_from(heartbeat_interval.as_micros() / 2).unwrap_or(u64::MAX);
    match class {
        Class::Unproven | Class::Logs => 60_000_000,
        Class::Heartbeats => half_us.clamp(1_000_000, 60_000_000),
        Class::First => 2_000_000,
    }
}

/// A state whose wait is at least so long.
fn at_least(state: State, again_us: u64) -> State {
    match state {
        State::UsedUp { least_us, most_us } => {
            State::UsedUp { least_us: least_us.max(again_us), most_us: most_us.max(again_us) }
        }
        State::Unsure { most_us } => State::Unsure { most_us: most_us.max(again_us) },
        State::Left => State::Left,
    }
}

/// Either of two budgets will do: the shorter wait counts.
fn one_of(one: State, other: State) -> State {
    match (one, other) {
        (State::Left, _) | (_, State::Left) => State::Left,
        (State::UsedUp { least_us, most_us }, State::UsedUp { least_us: least, most_us: most }) => {
            State::UsedUp { least_us: least_us.min(least), most_us: most_us.min(most) }
        }
        (State::UsedUp { most_us, .. } | State::Unsure { most_us }, State::Unsure { most_us: most })
        | (State::Unsure { most_us }, State::UsedUp { most_us: most, .. }) => {
            State::Unsure { most_us: most_us.min(most) }
        }
    }
}

/// One or the other, and nobody knows which.
fn either(one: State, other: State) -> State {
    match (one, other) {
        (State::Left, State::Left) => State::Left,
        (State::UsedUp { least_us, most_us }, State::UsedUp { least_us: least, most_us: most }) => {
            State::UsedUp { least_us: least_us.min(least), most_us: most_us.max(most) }
        }
        (State::UsedUp { most_us, .. } | State::Unsure { most_us }, State::Left)
        | (State::Left, State::UsedUp { most_us, .. } | State::Unsure { most_us }) => State::Unsure { most_us },
        (State::UsedUp { most_us, .. } | State::Unsure { most_us }, State::Unsure { most_us: most })
        | (State::Unsure { most_us }, State::UsedUp { most_us: most, .. }) => {
            State::Unsure { most_us: most_us.max(most) }
        }
    }
}
