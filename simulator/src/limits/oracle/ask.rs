//! What limits are asked about a request, in the order of docs/rate-limits.md, and what they have to say.

use super::{
    Device, Endpoint, LimitName, Mode, Oracle, Refused, Sent, Ticket,
    budget::{Budget, Limit, State},
};

/// A refusal as it has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The limit that decides.
    pub(super) limit: LimitName,
    /// The limit whose message and wait it has.
    pub(super) named: LimitName,
    pub(super) least_us: u64,
    pub(super) most_us: u64,
}

/// What the limits of a device have to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prediction {
    Admitted,
    Refused(Refusal),
    /// The oracle can't know what this limit says.
    Unsure(LimitName),
}

/// What the budgets of failures have to say: steps 2 to 4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BudgetVerdict {
    /// They are not asked: step 1 has refused the request.
    Nothing,
    Passed,
    /// One is used up, and the request shows a sign of the device itself.
    PassedBySign,
    Refused(Refusal),
    Unsure(LimitName),
}

/// What the server did with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ServerDecision {
    /// It went on, also after limits that the oracle can't know.
    WentOn,
    /// It refused it by the limit that it named, if it named one.
    RefusedBy(Option<LimitName>),
}

/// What the server has shown of a limit's verdict by what it did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ShownVerdict {
    /// It went on after it.
    Passed,
    /// It refused by it.
    Refused,
    Nothing,
}

impl ShownVerdict {
    /// Of the limit in this place among those that a request is asked by.
    fn of(place: usize, asked: &[LimitName], did: ServerDecision) -> Self {
        let ServerDecision::RefusedBy(by) = did else { return Self::Passed };
        let refused = by.and_then(|by| asked.iter().position(|limit| *limit == by));
        match refused {
            Some(refused) if refused > place => Self::Passed,
            Some(refused) if refused == place => Self::Refused,
            _ => Self::Nothing,
        }
    }
}

enum LimitVerdict {
    Passed,
    Refused { least_us: u64, most_us: u64 },
    Unsure,
}

/// The budgets of failures that step 2 asks, in order.
const FAILURES: [LimitName; 3] = [LimitName::AddressFailures, LimitName::SiteFailures, LimitName::ExpensiveFailures];

/// The verdict of a limit whose budget is in this state.
fn verdict_of(limit: &Limit, state: State) -> LimitVerdict {
    match (limit.value.mode, state) {
        (Mode::Enforce, State::UsedUp { least_us, most_us }) => LimitVerdict::Refused { least_us, most_us },
        (Mode::Enforce, State::Unsure { .. }) => LimitVerdict::Unsure,
        _ => LimitVerdict::Passed,
    }
}

impl Oracle {
    /// The state of a budget of failures that is asked in step 2.
    pub(super) fn failures_state(&self, name: LimitName, ticket: &Ticket) -> State {
        let (limit, now_us) = (self.limit(name), ticket.now_us);
        match name {
            LimitName::AddressFailures => self.address_failures.state(ticket.origin.address, &limit, now_us),
            LimitName::SiteFailures => self.site_failures.state(ticket.origin.site, &limit, now_us),
            _ => self.expensive_failures.state(&limit, now_us),
        }
    }

    /// Steps 2 to 4.
    pub(super) fn ask_failures(&self, ticket: &Ticket, sent: &Sent<'_>) -> BudgetVerdict {
        for name in FAILURES {
            let limit = self.limit(name);
            if !limit.is_on() {
                continue;
            }
            match verdict_of(&limit, self.failures_state(name, ticket)) {
                LimitVerdict::Passed => {}
                LimitVerdict::Unsure => return BudgetVerdict::Unsure(name),
                LimitVerdict::Refused { least_us, most_us } => {
                    return self.ask_sign(ticket, sent, Refusal { limit: name, named: name, least_us, most_us });
                }
            }
        }
        BudgetVerdict::Passed
    }

    /// The server has let a request through of which it was not known whether a budget of failures refuses it: if it shows no sign of the
    /// device itself, something was left of each.
    pub(super) fn learn_left(&mut self, ticket: &Ticket, sent: &Sent<'_>) {
        // What was charged since it arrived may have used up the last.
        if ticket.failures_before == self.failures_charged && self.shows_no_sign(ticket, sent) {
            for name in FAILURES {
                self.learn_failures(name, ticket, Budget::was_left);
            }
        }
    }

    /// It has refused a request by a budget of failures, which was used up then.
    pub(super) fn learn_used_up(&mut self, ticket: &Ticket, refused: Refused) {
        if let Some(name) = refused.limit.filter(|name| FAILURES.contains(name)) {
            self.learn_failures(name, ticket, Budget::was_used_up);
        }
    }

    fn learn_failures(&mut self, name: LimitName, ticket: &Ticket, learn: impl FnOnce(&mut Budget, &Limit, u64)) {
        let (limit, now_us) = (self.limit(name), ticket.now_us);
        let is_known = !ticket.may_differ.contains(name) && ticket.life == self.life;
        let is_open = matches!(self.failures_state(name, ticket), State::Unsure { .. });
        if !is_known || limit.value.mode != Mode::Enforce || !is_open {
            return;
        }
        let budget = match name {
            LimitName::AddressFailures => self.address_failures.budget(ticket.origin.address, &limit, now_us),
            LimitName::SiteFailures => self.site_failures.budget(ticket.origin.site, &limit, now_us),
            _ => Some(&mut self.expensive_failures),
        };
        if let Some(budget) = budget {
            learn(budget, &limit, now_us);
        }
    }

    /// Whether a request certainly shows no sign of the device that it names.
    fn shows_no_sign(&self, ticket: &Ticket, sent: &Sent<'_>) -> bool {
        let device = ticket.device.and_then(|place| self.devices.get(place)).map(|(_, device)| device);
        let may_show = |device: &Device| !device.is_revoked && device.is_next(ticket.pair) != Some(false);
        !device.is_some_and(may_show) || !sent.is_well_formed()
    }

    /// Steps 3 and 4: `refusal` is that of a request without a sign of the device itself.
    fn ask_sign(&self, ticket: &Ticket, sent: &Sent<'_>, refusal: Refusal) -> BudgetVerdict {
        let device = ticket.device.and_then(|place| self.devices.get(place)).map(|(_, device)| device);
        let Some(device) = device.filter(|device| !device.is_revoked) else { return BudgetVerdict::Refused(refusal) };
        match device.is_next(ticket.pair) {
            Some(false) => return BudgetVerdict::Refused(refusal),
            _ if !sent.is_well_formed() => return BudgetVerdict::Refused(refusal),
            Some(true) if !device.revocations.is_any_open() => {}
            _ => return BudgetVerdict::Unsure(refusal.limit),
        }
        let of_pairs = self.limit(LimitName::DevicePairFailures);
        match verdict_of(&of_pairs, device.owes.pair_failures.state(&of_pairs, ticket.now_us)) {
            LimitVerdict::Refused { .. } => {
                return BudgetVerdict::Refused(Refusal { limit: LimitName::DevicePairFailures, ..refusal });
            }
            LimitVerdict::Unsure => return BudgetVerdict::Unsure(LimitName::DevicePairFailures),
            LimitVerdict::Passed => {}
        }
        let of_new = self.limit(LimitName::NewDeviceFailures);
        if device.has_stored {
            return BudgetVerdict::PassedBySign;
        }
        match verdict_of(&of_new, self.new_device_failures.state(&of_new, ticket.now_us)) {
            LimitVerdict::Passed => {}
            LimitVerdict::Refused { .. } if !device.may_have_stored() => {
                return BudgetVerdict::Refused(Refusal { limit: LimitName::NewDeviceFailures, ..refusal });
            }
            LimitVerdict::Refused { .. } | LimitVerdict::Unsure => {
                return BudgetVerdict::Unsure(LimitName::NewDeviceFailures);
            }
        }
        BudgetVerdict::PassedBySign
    }

    /// Steps 6 and 7, of a device that has passed step 5, given what the server did.
    pub(super) fn ask_device(&mut self, ticket: &mut Ticket, sent: &Sent<'_>, did: ServerDecision) -> Prediction {
        let mut unsure = None;
        let asked = asked_for(sent.endpoint);
        for (place, name) in asked.iter().enumerate() {
            let limit = self.limit(*name);
            if !limit.is_on() {
                continue;
            }
            // While an operator's change is under way, nobody can say by which values the server decided.
            let seen = if ticket.is_unsure { ShownVerdict::Nothing } else { ShownVerdict::of(place, asked, did) };
            let state = match name {
                LimitName::AllRequests => self.spend_of_all(ticket, sent, &limit, seen),
                _ => self.spend_or_look(*name, ticket, &limit, seen),
            };
            if matches!(name, LimitName::DeviceLogBytes | LimitName::DevicePunches) {
                ticket.counted = state;
            }
            match verdict_of(&limit, state) {
                // It refused, and had to pass: what others would have said does not matter.
                LimitVerdict::Passed if seen == ShownVerdict::Refused => return Prediction::Admitted,
                LimitVerdict::Passed => {}
                LimitVerdict::Refused { least_us, most_us } => {
                    if *name == LimitName::Registrations {
                        self.refund_address(ticket);
                    }
                    let refused = Prediction::Refused(Refusal { limit: *name, named: *name, least_us, most_us });
                    return unsure.map_or(refused, Prediction::Unsure);
                }
                LimitVerdict::Unsure if ShownVerdict::of(place, asked, did) == ShownVerdict::Passed => {
                    unsure = unsure.or(Some(*name));
                }
                LimitVerdict::Unsure => {
                    if *name == LimitName::Registrations && seen == ShownVerdict::Refused {
                        self.refund_address(ticket);
                    }
                    return Prediction::Unsure(*name);
                }
            }
        }
        match unsure {
            // One that it passed can't have refused it, and no other one had to.
            Some(name) if did == ServerDecision::WentOn => Prediction::Unsure(name),
            _ => Prediction::Admitted,
        }
    }

    /// Spends one of a budget, or looks at one whose charge comes later.
    fn spend_or_look(&mut self, name: LimitName, ticket: &Ticket, limit: &Limit, seen: ShownVerdict) -> State {
        let now_us = ticket.now_us;
        match name {
            LimitName::AddressRegistrations => {
                let budget = self.address_registrations.budget(ticket.origin.address, limit, now_us);
                return budget.map_or(State::Left, |budget| spend_seen(budget, ticket, limit, seen));
            }
            LimitName::Registrations => return spend_seen(&mut self.registrations, ticket, limit, seen),
            _ => {}
        }
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return State::Left };
        let (owes, pending) = (&mut device.owes, device.pending);
        match name {
            LimitName::DeviceRequests => spend_seen(&mut owes.requests, ticket, limit, seen),
            LimitName::DeviceKeyChanges => spend(&mut owes.key_changes, ticket, limit),
            LimitName::DeviceStoredBytes => {
                owes.stored_bytes.perhaps(pending.bytes, limit, now_us).state(limit, now_us)
            }
            LimitName::DeviceLogBytes => owes.log_bytes.perhaps(pending.lines, limit, now_us).state(limit, now_us),
            _ => owes.punches.perhaps(pending.punches, limit, now_us).state(limit, now_us),
        }
    }

    /// A registration that the limit of all devices refuses is none of its address.
    fn refund_address(&mut self, ticket: &Ticket) {
        let limit = self.limit(LimitName::AddressRegistrations);
        // Where it is not known which values decided, it may have stayed spent.
        if limit.is_on()
            && !ticket.is_unsure
            && let Some(budget) = self.address_registrations.budget(ticket.origin.address, &limit, ticket.now_us)
        {
            budget.refund();
        }
    }
}

/// The same of a budget of which the server has shown whether something was left: what is owed after it is known.
fn spend_seen(budget: &mut Budget, ticket: &Ticket, limit: &Limit, seen: ShownVerdict) -> State {
    let state = budget.state(limit, ticket.now_us);
    match (state, seen) {
        (State::Unsure { .. }, ShownVerdict::Passed) if limit.value.mode == Mode::Enforce => {
            budget.was_left(limit, ticket.now_us);
            budget.charge(1, limit, ticket.now_us);
        }
        (State::Unsure { .. }, ShownVerdict::Refused) if limit.value.mode == Mode::Enforce => {
            budget.was_used_up(limit, ticket.now_us);
        }
        _ => return spend(budget, ticket, limit),
    }
    state
}

/// Spends one of a budget if something is left; says whether it was. Where it is not known which values decided, one may have been spent.
pub(super) fn spend(budget: &mut Budget, ticket: &Ticket, limit: &Limit) -> State {
    if !ticket.is_unsure {
        return budget.spend(limit, ticket.now_us);
    }
    let state = budget.state(limit, ticket.now_us);
    budget.perhaps_charge(1, limit, ticket.now_us);
    state
}

/// Whether a limit is asked about verified requests only: steps 6 and 7.
pub(super) fn is_of_device(limit: LimitName) -> bool {
    use LimitName as L;
    !matches!(
        limit,
        L::AddressFailures | L::SiteFailures | L::ExpensiveFailures | L::DevicePairFailures | L::NewDeviceFailures
    )
}

/// The limits that a verified request to an endpoint is asked by, in order.
fn asked_for(endpoint: Endpoint) -> &'static [LimitName] {
    use LimitName as L;
    match endpoint {
        Endpoint::Logs => &[L::DeviceRequests, L::DeviceStoredBytes, L::AllRequests, L::DeviceLogBytes],
        Endpoint::Attendance => &[L::DeviceRequests, L::DeviceStoredBytes, L::AllRequests, L::DevicePunches],
        Endpoint::RotateKey => &[L::DeviceRequests, L::DeviceStoredBytes, L::AllRequests, L::DeviceKeyChanges],
        Endpoint::Register => {
            &[L::DeviceRequests, L::DeviceStoredBytes, L::AllRequests, L::AddressRegistrations, L::Registrations]
        }
        _ => &[L::DeviceRequests, L::DeviceStoredBytes, L::AllRequests],
    }
}
