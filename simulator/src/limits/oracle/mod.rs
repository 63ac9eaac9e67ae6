//! The oracle of rate limits: an independent model of the data plane's limits, written from docs/rate-limits.md, that predicts the
//! verdict on each request. It shares no code with the server's limiter.
//!
//! Pure: it gets each request as it reaches the server, whether the server has to wait for something, and the answer, in the order in
//! which they happen; times are parameters. What limits can't know (whether a signature is valid, a pair new, a line stored)
//! it takes from the answer. Steps as numbered in docs/rate-limits.md: [`ask`] has steps 2 to 7, [`settle`] what is charged.

mod ask;
mod budget;
mod ceiling;
mod declared;
mod device;
mod doubt;
mod matrix;
mod orders;
mod request;
mod row_changes;
mod settle;
mod spread;
mod subjects;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, btree_map::Entry};

use ks_protocol::{id::Sequence, refusal::RefusalCode};

use ask::{BudgetVerdict, Prediction, ServerDecision};
use budget::{Budget, Limit, State};
use ceiling::Ceiling;
use device::Device;
use doubt::{Doubt, InDoubt};
use orders::Changes;
use row_changes::RowChange;
use spread::Spread;
use subjects::Table;

pub use matrix::{Comparison, Matrix};
pub use orders::{OrderEnd, OrderTicket};
pub use request::{Answer, Endpoint, Refused, Sent, Stored, document_in};
pub use subjects::{Origin, SitePrefixes};
pub use values::{LimitName, LimitSet, Mode, Value, Values};

/// Most wrong verdicts that are described; the rest are only counted.
const DESCRIBED_MAX: usize = 20;

/// A wrong verdict of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// When the request arrived, in microseconds since the start of the run.
    pub at_us: u64,
    pub what: String,
}

/// A request that has reached the server.
#[derive(Debug)]
pub struct Ticket {
    /// When it arrived, in microseconds since the start of the run.
    at_us: u64,
    /// The same since the server's start.
    now_us: u64,
    /// The number of the server's start.
    life: u32,
    origin: Origin,
    device: Option<usize>,
    pair: Sequence,
    /// By the budgets of failures: steps 2 to 4.
    before: BudgetVerdict,
    /// The handler has it, and what the limits of the device had to say: steps 6 and 7.
    in_handler: Option<Prediction>,
    /// Whether the ceiling had to refuse it hangs on whether a command waited for the device.
    in_doubt: Option<InDoubt>,
    /// Whether the limit of log lines or of punches had something left.
    counted: State,
    /// The server works on it; what it may change of its device's row.
    in_progress: Option<PendingRequest>,
    /// By which values the server decided, or whether it got as far as its limits, is not known.
    is_unsure: bool,
    /// The limits that may have had other values than those that are known.
    may_differ: LimitSet,
    /// How many failures had been charged when it arrived.
    failures_before: u64,
}

/// A device's request that the server works on.
#[derive(Debug, Clone, Copy)]
struct PendingRequest {
    row_change: Option<RowChange>,
    /// Its number among those of its device.
    begun: u64,
    /// The last pairs that memory may have had before it, and that may have been stored.
    most_before: [Sequence; 2],
}

impl Ticket {
    /// The device that the request names, if the server knows it; a hint for the next one by the same caller.
    pub fn device(&self) -> Option<usize> {
        self.device
    }
}

/// The model of one server's limits, over all its starts.
#[derive(Debug)]
pub struct Oracle {
    values: Values,
    /// The values at the server's first start: those of its settings.
    settings: Option<Values>,
    limits: Vec<Limit>,
    /// Orders of other values.
    changes: Changes,
    /// When the server last started, in microseconds since the start of the run.
    started_us: u64,
    life: u32,
    address_failures: Table,
    site_failures: Table,
    address_registrations: Table,
    expensive_failures: Budget,
    new_device_failures: Budget,
    /// How many failures were charged so far.
    failures_charged: u64,
    registrations: Budget,
    ceiling: Ceiling,
    names: BTreeMap<String, usize>,
    devices: Vec<(String, Device)>,
    matrix: Matrix,
    spread: Spread,
    wrong: Vec<Wrong>,
    /// Verdicts that are decided at the end.
    doubts: Vec<Doubt>,
}

impl Oracle {
    /// Of a server that has no devices yet, with these limits.
    pub fn new(values: Values) -> Self {
        let mut oracle = Self {
            values,
            settings: None,
            limits: Vec::new(),
            changes: Changes::default(),
            started_us: 0,
            life: 0,
            address_failures: Table::default(),
            site_failures: Table::default(),
            address_registrations: Table::default(),
            expensive_failures: Budget::default(),
            new_device_failures: Budget::default(),
            failures_charged: 0,
            registrations: Budget::default(),
            ceiling: Ceiling::default(),
            names: BTreeMap::new(),
            devices: Vec::new(),
            matrix: Matrix::default(),
            spread: Spread::default(),
            wrong: Vec::new(),
            doubts: Vec::new(),
        };
        oracle.started(0);
        oracle
    }

    /// The server has started with these limits, and no memory of what was before.
    pub fn server_started(&mut self, at_us: u64, values: Values) {
        // A start changes no limits: those that an operator applied are stored.
        let is_another_start = self.life > 1;
        if is_another_start && !self.changes.are_open() && values != self.values && self.wrong.len() < DESCRIBED_MAX {
            let what = "after a restart, other limits are in force than before".to_owned();
            self.wrong.push(Wrong { at_us, what });
        }
        self.settings.get_or_insert_with(|| values.clone());
        self.values = values;
        self.started(at_us);
    }

    fn started(&mut self, at_us: u64) {
        (self.started_us, self.life) = (at_us, self.life + 1);
        self.changes.server_started();
        self.limits = LimitName::ALL.iter().map(|name| Limit::from_start(self.values.get(*name))).collect();
        (self.address_failures, self.site_failures, self.address_registrations) = Default::default();
        (self.expensive_failures, self.new_device_failures, self.registrations) = Default::default();
        self.ceiling.server_started(at_us);
        let awaited = self.awaited_unheard();
        self.devices.iter_mut().for_each(|(_, device)| device.server_started(awaited, at_us));
    }

    /// These values are in force from now on.
    fn changed(&mut self, at_us: u64, values: Values) {
        let now_us = self.now_us(at_us);
        for (name, limit) in LimitName::ALL.iter().zip(&mut self.limits) {
            if limit.value != values.get(*name) {
                limit.change(values.get(*name), now_us);
            }
        }
        self.values = values;
    }

    /// The server knows this device from now on.
    pub fn imported(&mut self, device_id: &str) {
        if let Entry::Vacant(place) = self.names.entry(device_id.to_owned()) {
            place.insert(self.devices.len());
            self.devices.push((device_id.to_owned(), Device::default()));
        }
    }

    /// A request reaches the server. `hint` is the device of the caller's last request.
    pub fn arrived(&mut self, at_us: u64, origin: Origin, sent: &Sent<'_>, hint: Option<usize>) -> Ticket {
        let device = sent.named.and_then(|(device_id, _)| self.place_of(device_id, hint));
        let now_us = self.now_us(at_us);
        let mut ticket = Ticket {
            at_us,
            now_us,
            life: self.life,
            origin,
            device,
            pair: sent.named.map_or_else(Sequence::default, |(_, pair)| pair),
            before: BudgetVerdict::Nothing,
            in_handler: None,
            in_doubt: None,
            counted: State::Left,
            in_progress: None,
            is_unsure: self.changes.are_open(),
            may_differ: self.changes.may_differ(),
            failures_before: self.failures_charged,
        };
        if !sent.is_too_large() {
            ticket.before = self.ask_failures(&ticket, sent);
        }
        ticket
    }

    /// The server could not answer a request at once: if it knows the device, its handler has the request. If the device is revoked, which
    /// an order without an answer may have done, its audit has it, and no limit was asked.
    pub fn waits(&mut self, ticket: &mut Ticket, sent: &Sent<'_>) {
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return };
        if !device.is_revoked {
            ticket.is_unsure |= device.revocations.is_any_open();
            ticket.in_handler = Some(self.ask_device(ticket, sent, ServerDecision::WentOn));
            self.in_flight(ticket, sent);
        }
    }

    /// The server has answered.
    pub fn answered(&mut self, mut ticket: Ticket, at_us: u64, sent: &Sent<'_>, answer: Answer) {
        self.ended(&ticket, at_us, sent, answer);
        match answer {
            Answer::Refused(refused) if refused.code == RefusalCode::RateLimited => {
                let asked = match ticket.before {
                    BudgetVerdict::Refused(_) => None,
                    // One of the device's own limits has refused it, so it has passed those that can't be known.
                    BudgetVerdict::Unsure(_) if !refused.limit.is_some_and(ask::is_of_device) => None,
                    _ => Some(self.handlers_prediction(&mut ticket, sent, ServerDecision::RefusedBy(refused.limit))),
                };
                self.compare_refusal(&ticket, sent, refused, asked);
                if asked.is_none() {
                    self.learn_used_up(&ticket, refused);
                }
            }
            _ => self.let_through(ticket, at_us, sent, answer),
        }
    }

    /// No answer of the server will come: it has crashed, or its caller has gone.
    pub fn lost(&mut self, ticket: &Ticket, sent: &Sent<'_>) {
        self.cut_off(ticket, sent);
    }

    /// Predictions against answers.
    pub fn matrix(&self) -> &Matrix {
        &self.matrix
    }

    /// The first wrong verdicts.
    pub fn wrong(&self) -> &[Wrong] {
        &self.wrong
    }

    fn now_us(&self, at_us: u64) -> u64 {
        at_us.saturating_sub(self.started_us)
    }

    fn place_of(&self, device_id: &str, hint: Option<usize>) -> Option<usize> {
        let is_it = |place: &usize| self.devices.get(*place).is_some_and(|(name, _)| name == device_id);
        hint.filter(is_it).or_else(|| self.names.get(device_id).copied())
    }

    fn limit(&self, name: LimitName) -> Limit {
        let off = Value { per_min: 1, burst: 1, mode: Mode::Off };
        self.limits.get(name as usize).copied().unwrap_or_else(|| Limit::from_start(off))
    }

    fn device(&mut self, place: usize) -> Option<&mut Device> {
        self.devices.get_mut(place).map(|(_, device)| device)
    }
}
