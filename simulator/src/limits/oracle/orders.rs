//! Operators' orders that change what limits do: of other limits, of commands and rollouts, of revocations. Each is with the server
//! until its answer comes; if none comes, or an error of the server, it may have been carried out, or may be yet, until something shows
//! that it no longer can.

use super::{LimitName, LimitSet, Mode, Oracle, Value, Values, ceiling::FOLLOWED_US};

/// How long after its answer was lost an order may be at work in a server that goes on, in microseconds: it is done in pieces.
const AT_WORK_US: u64 = 60_000_000;

/// An order that is with the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrderTicket {
    /// The number of the server's start when it was sent.
    life: u32,
    /// When that was, in microseconds since the start of the run.
    at_us: u64,
    /// Of other limits: how many such orders had been sent, if no other one was with the server.
    pub(super) alone: Option<u64>,
}

/// How an order ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderEnd {
    Done,
    /// Nothing was changed.
    Refused,
    /// The server failed with it: it may be done, and is not at work any more.
    Failed,
    /// No answer came: it may be done, or be at work.
    Lost,
}

impl OrderEnd {
    /// By the answer's status.
    pub fn of_status(status: u16) -> Self {
        match status {
            200..300 => Self::Done,
            400..500 => Self::Refused,
            _ => Self::Failed,
        }
    }

    /// Whether it leaves open what was done.
    fn leaves_open(self) -> bool {
        matches!(self, Self::Failed | Self::Lost)
    }
}

/// Orders of one kind.
#[derive(Debug, Default)]
pub(super) struct Orders {
    /// Sent since the start of the run.
    sent: u64,
    /// With the server now.
    open: u32,
    /// From when on a stored request shows that those whose answers were lost are done, or never will be, in microseconds since
    /// the start of the run.
    shown_from_us: Option<u64>,
}

impl Orders {
    pub(super) fn send(&mut self) {
        (self.sent, self.open) = (self.sent + 1, self.open + 1);
    }

    pub(super) fn end(&mut self, end: OrderEnd, at_us: u64) {
        self.open = self.open.saturating_sub(1);
        match end {
            OrderEnd::Done | OrderEnd::Refused => {}
            OrderEnd::Failed => self.lost(at_us),
            OrderEnd::Lost => self.lost(at_us + AT_WORK_US),
        }
    }

    /// One was lost whose effect shows in requests that arrive later than this.
    pub(super) fn lost(&mut self, shown_from_us: u64) {
        self.shown_from_us = self.shown_from_us.max(Some(shown_from_us));
    }

    /// The server has started again: none is at work any more.
    pub(super) fn server_started(&mut self, at_us: u64) {
        self.shown_from_us = self.shown_from_us.map(|_| at_us);
    }

    /// A request was stored that arrived then. Says whether it shows how lost orders ended, which was open.
    pub(super) fn stored(&mut self, arrived_us: u64) -> bool {
        let is_shown = self.shown_from_us.is_some_and(|from_us| arrived_us > from_us);
        if is_shown {
            self.shown_from_us = None;
        }
        is_shown
    }

    /// The outcome of those that were lost is known.
    pub(super) fn found(&mut self) {
        self.shown_from_us = None;
    }

    /// Whether one is with the server, or may be.
    pub(super) fn is_any_open(&self) -> bool {
        self.open > 0 || self.shown_from_us.is_some()
    }

    /// None is open now: the number sent so far, to be compared later.
    pub(super) fn none_open(&self) -> Option<u64> {
        (!self.is_any_open()).then_some(self.sent)
    }
}

/// What is known of the limits in force.
#[derive(Debug, Default)]
pub(super) struct Changes {
    orders: Orders,
    /// The limits that orders which are open or were lost may have changed.
    ordered: LimitSet,
    /// Lost orders are done or never will be, since then, but what is in force was not read yet; in microseconds since the start of the run.
    unread_us: Option<u64>,
}

impl Changes {
    /// Other limits may be in force than those that are known.
    pub(super) fn are_open(&self) -> bool {
        self.orders.is_any_open() || self.unread_us.is_some()
    }

    /// The limits that may have other values than those that are known.
    pub(super) fn may_differ(&self) -> LimitSet {
        if self.are_open() { self.ordered } else { LimitSet::default() }
    }

    /// How many orders have been sent, if exactly one is with the server and none was lost.
    pub(super) fn sent_alone(&self) -> Option<u64> {
        let Orders { sent, open, shown_from_us } = self.orders;
        (open == 1 && shown_from_us.is_none() && self.unread_us.is_none()).then_some(sent)
    }

    fn sent(&mut self, may_change: LimitSet) {
        self.ordered = self.may_differ().and(may_change);
        self.orders.send();
    }

    /// The server has started again, and these are known.
    pub(super) fn server_started(&mut self) {
        self.orders.found();
        self.unread_us = None;
    }

    pub(super) fn stored(&mut self, arrived_us: u64, at_us: u64) {
        if self.orders.stored(arrived_us) {
            self.unread_us = Some(at_us);
        }
    }
}

impl Oracle {
    /// An order that is sent at this moment.
    pub fn order(&self, at_us: u64) -> OrderTicket {
        OrderTicket { life: self.life, at_us, alone: None }
    }

    /// Whether an order was sent to a server that has been stopped since.
    pub(super) fn is_over(&self, ticket: OrderTicket) -> bool {
        ticket.life != self.life
    }

    /// An operator's order of other limits reaches the server: these have other values then. All others get those of the settings.
    pub fn limits_ordered(&mut self, at_us: u64, named: LimitSet) -> OrderTicket {
        let applied = self.settings.as_ref().map_or(LimitSet::ALL, |settings| self.values.differing_from(settings));
        self.changes.sent(named.and(applied));
        OrderTicket { alone: self.changes.sent_alone(), ..self.order(at_us) }
    }

    /// It has ended; done, with the values in force now.
    pub fn limits_order_ended(&mut self, ticket: OrderTicket, at_us: u64, end: OrderEnd, values: Option<Values>) {
        // The values at the server's last start are known: what was ordered before it is among them.
        let is_known = self.is_over(ticket) && end.leaves_open();
        let end = match (end, &values) {
            _ if is_known => OrderEnd::Refused,
            (OrderEnd::Done, None) => OrderEnd::Failed,
            (end, _) => end,
        };
        if end == OrderEnd::Failed {
            // Nothing of it is in the queue any more: what is in force has only to be read.
            self.changes.orders.end(OrderEnd::Refused, at_us);
            self.changes.unread_us = self.changes.unread_us.max(Some(at_us));
            return;
        }
        self.changes.orders.end(end, at_us);
        let Some(values) = values.filter(|_| end == OrderEnd::Done) else { return };
        let is_any_lost = self.changes.orders.shown_from_us.is_some() || self.changes.unread_us.is_some();
        self.changes.orders.found(); // they were in the queue before it
        self.changes.unread_us = None;
        // On a slow disk the server follows what is stored long before its answer.
        let is_seen = !is_any_lost && ticket.at_us == at_us;
        if is_seen { self.changed(at_us, values) } else { self.changed_unseen(at_us, values) }
    }

    /// The server was asked at one moment, and has answered at another, that these values are in force.
    pub fn limits_read(&mut self, asked_us: u64, at_us: u64, values: Values) {
        let is_final = self.changes.unread_us.is_some_and(|since_us| asked_us >= since_us + FOLLOWED_US);
        if is_final && self.changes.orders.none_open().is_some() {
            self.changes.unread_us = None;
            self.changed_unseen(at_us, values);
        }
    }

    /// Whether other limits may be in force than those that are known.
    pub fn are_limits_open(&self) -> bool {
        self.changes.are_open()
    }

    /// These values are in force, since some moment in the past. What is owed to limits that have changed is not known until it is paid, or
    /// verdicts show it.
    fn changed_unseen(&mut self, at_us: u64, values: Values) {
        let now_us = self.now_us(at_us);
        let is_changed = |name: &&LimitName| {
            let (old, new) = (self.values.get(**name), values.get(**name));
            old != new && new.mode != Mode::Off
        };
        let changed = LimitName::ALL.iter().filter(is_changed).map(|name| (*name, self.values.get(*name).burst));
        let changed: Vec<(LimitName, u64)> = changed.collect();
        self.changed(at_us, values);
        for (name, burst_before) in changed {
            self.forget_what_is_owed(name, burst_before, now_us);
        }
    }

    /// What is owed to a limit may be anything that can be, by this burst or by the one before, whose debts stay.
    fn forget_what_is_owed(&mut self, name: LimitName, burst_before: u64, now_us: u64) {
        use LimitName as L;
        let limit = self.limit(name);
        let widest = limit.with(Value { burst: limit.value.burst.max(burst_before), ..limit.value });
        let unknown = widest.anything_owed(now_us);
        match name {
            L::AddressFailures => self.address_failures.forget(unknown),
            L::SiteFailures => self.site_failures.forget(unknown),
            L::AddressRegistrations => self.address_registrations.forget(unknown),
            L::ExpensiveFailures => self.expensive_failures = unknown,
            L::NewDeviceFailures => self.new_device_failures = unknown,
            L::Registrations => self.registrations = unknown,
            L::AllRequests => self.ceiling.forget(unknown, &self.limit(name), now_us),
            L::DevicePairFailures
            | L::DeviceRequests
            | L::DeviceStoredBytes
            | L::DeviceLogBytes
            | L::DevicePunches
            | L::DeviceKeyChanges => {
                for (_, device) in &mut self.devices {
                    let owes = &mut device.owes;
                    *match name {
                        L::DevicePairFailures => &mut owes.pair_failures,
                        L::DeviceRequests => &mut owes.requests,
                        L::DeviceStoredBytes => &mut owes.stored_bytes,
                        L::DeviceLogBytes => &mut owes.log_bytes,
                        L::DevicePunches => &mut owes.punches,
                        _ => &mut owes.key_changes,
                    } = unknown;
                }
            }
        }
    }

    /// An operator's order to revoke this device reaches the server.
    pub fn revocation_ordered(&mut self, device_id: &str) {
        if let Some(device) = self.named(device_id) {
            device.revocations.send();
        }
    }

    /// It has ended.
    pub fn revocation_ended(&mut self, device_id: &str, ticket: OrderTicket, at_us: u64, end: OrderEnd) {
        let is_over = self.is_over(ticket);
        let Some(device) = self.named(device_id) else { return };
        device.is_revoked |= end == OrderEnd::Done;
        if is_over && end.leaves_open() {
            // It has done what it could: the next request that is stored, or refused as revoked, shows it.
            device.revocations.end(OrderEnd::Refused, at_us);
            device.revocations.lost(at_us);
        } else {
            device.revocations.end(end, at_us);
        }
    }

    /// An operator's order of commands reaches the server: it may be for any device.
    pub fn commands_ordered(&mut self, at_us: u64) -> OrderTicket {
        self.ceiling.orders.send();
        self.commands_may_wait(at_us);
        self.order(at_us)
    }

    /// It has ended. Servers finish such an order after a crash.
    pub fn commands_order_ended(&mut self, at_us: u64, end: OrderEnd) {
        self.ceiling.orders.end(end, at_us);
        if end != OrderEnd::Refused {
            self.commands_may_wait(at_us);
        }
    }

    fn named(&mut self, device_id: &str) -> Option<&mut super::Device> {
        let place = self.names.get(device_id).copied()?;
        self.device(place)
    }
}
