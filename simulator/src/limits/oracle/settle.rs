//! What becomes of a request: its answer compared with the prediction, what it is charged, and what the server now knows of its device.

use ks_protocol::refusal::RefusalCode;

use super::{
    Answer, Comparison, DESCRIBED_MAX, Endpoint, LimitName, Mode, Oracle, PendingRequest, Refused, RowChange, Sent,
    Stored, Ticket, Wrong,
    ask::{BudgetVerdict, Prediction, Refusal, ServerDecision, is_of_device, spend},
    budget::{Budget, Limit, State},
    device::Charges,
    request::new_line_bytes,
};

/// The longest that a wait is spread by.
const SPREAD_MAX_S: u64 = 60;
/// The wait of a request that is refused because the server's disk is nearly full, which is before its device's limits are asked.
const NEARLY_FULL_S: u64 = 60;

impl Oracle {
    /// What the device's limits have to say: said when the handler took the request, or now.
    pub(super) fn handlers_prediction(
        &mut self,
        ticket: &mut Ticket,
        sent: &Sent<'_>,
        did: ServerDecision,
    ) -> Prediction {
        match (ticket.in_handler, ticket.device) {
            (Some(prediction), _) => prediction,
            (None, Some(_)) => self.ask_device(ticket, sent, did),
            (None, None) => Prediction::Admitted,
        }
    }

    /// A refusal by a limit, against what the limits had to say. `asked` is none where the budgets of failures decide.
    pub(super) fn compare_refusal(
        &mut self,
        ticket: &Ticket,
        sent: &Sent<'_>,
        refused: Refused,
        asked: Option<Prediction>,
    ) {
        let prediction = match (asked, ticket.before) {
            (Some(prediction), _) => prediction,
            (None, BudgetVerdict::Refused(refusal)) => Prediction::Refused(refusal),
            (None, BudgetVerdict::Unsure(limit)) => Prediction::Unsure(limit),
            (None, _) => Prediction::Admitted,
        };
        let by = refused.limit.map_or("a limit", LimitName::as_str);
        match prediction {
            Prediction::Unsure(_) if self.is_surely_wrong(ticket, refused, asked) => {
                let what = format!("was refused by {by}, which was not used up");
                self.note_wrong(ticket, sent, (refused.limit, Comparison::FalselyRefused), &what);
            }
            Prediction::Unsure(limit) => {
                self.matrix.count(Some(limit), Comparison::Undecidable);
                if limit == LimitName::AllRequests {
                    self.remember_doubt(ticket, sent, Some(refused));
                }
            }
            Prediction::Admitted => {
                let what = format!("was refused by {by}; no limit was used up");
                self.note_wrong(ticket, sent, (refused.limit, Comparison::FalselyRefused), &what);
            }
            Prediction::Refused(refusal) if refused.limit != Some(refusal.named) => {
                let what = format!("was refused by {by}; {} had to", refusal.limit.as_str());
                self.note_wrong(ticket, sent, (refused.limit, Comparison::FalselyRefused), &what);
            }
            Prediction::Refused(refusal) => match wrong_wait(&refusal, sent, refused.retry_after_s) {
                None => {
                    self.matrix.count(Some(refusal.limit), Comparison::RightlyRefused);
                    self.note_spread(ticket, sent, &refusal, refused.retry_after_s);
                }
                Some(what) => {
                    self.note_wrong(ticket, sent, (Some(refusal.limit), Comparison::FalselyRefused), &what);
                }
            },
        }
    }

    /// Notes whether a wait that is right was spread, where it is known what it was at least.
    fn note_spread(&mut self, ticket: &Ticket, sent: &Sent<'_>, refusal: &Refusal, retry_after_s: Option<u64>) {
        let [least_s, most_s] = waits_s(refusal);
        let (Some(given_s), true) = (retry_after_s, least_s == most_s) else { return };
        if self.spread.is_shown() || sent.named.is_none() || !sent.is_well_formed() {
            return; // only a device that is named is spread
        }
        if self.spread.seen(ticket.at_us / 1_000_000, given_s.saturating_sub(least_s)) {
            let what = "no retry_after_s was ever spread: refused devices come back in step".to_owned();
            self.wrong.push(Wrong { at_us: ticket.at_us, what });
        }
    }

    /// Whether a refusal is wrong although it is not known which limit had to refuse the request, or whether one had to: it names none, or a
    /// budget of failures of which something is left.
    fn is_surely_wrong(&self, ticket: &Ticket, refused: Refused, asked: Option<Prediction>) -> bool {
        match refused.limit {
            None => true,
            Some(limit) if asked.is_none() && !is_of_device(limit) => {
                self.limit(limit).value.mode != Mode::Enforce || self.failures_state(limit, ticket) == State::Left
            }
            Some(_) => false,
        }
    }

    /// A request that no limit refused: compares, and charges it.
    pub(super) fn let_through(&mut self, mut ticket: Ticket, at_us: u64, sent: &Sent<'_>, answer: Answer) {
        use RefusalCode as C;
        if ticket.before == BudgetVerdict::Nothing {
            return self.charge_origin(&ticket, false);
        }
        if matches!(ticket.before, BudgetVerdict::Unsure(_)) {
            self.learn_left(&ticket, sent);
        }
        let code = if let Answer::Refused(refused) = answer { Some(refused.code) } else { None };
        let retry_after_s = if let Answer::Refused(refused) = answer { refused.retry_after_s } else { None };
        let is_of_admission = matches!(
            code,
            Some(
                C::Malformed
                    | C::TooLarge
                    | C::UnknownDevice
                    | C::Revoked
                    | C::KeyMismatch
                    | C::BadSignature
                    | C::StaleSequence
            )
        );
        // Before the device's limits are asked, and charged to no budget.
        let is_overload = matches!(answer, Answer::Refused(Refused { is_overload: true, .. }));
        let is_disk = code == Some(C::Overloaded) && retry_after_s.is_some_and(|wait_s| wait_s >= NEARLY_FULL_S);
        if ticket.in_handler.is_none() && is_of_admission {
            self.compare_passed(&ticket, sent, Prediction::Admitted);
            self.failed(&ticket, at_us, answer);
        } else if is_disk || is_overload {
            self.compare_passed(&ticket, sent, Prediction::Admitted);
        } else {
            let prediction = self.handlers_prediction(&mut ticket, sent, ServerDecision::WentOn);
            self.compare_passed(&ticket, sent, prediction);
            self.handled(&ticket, at_us, sent, answer);
        }
    }

    fn compare_passed(&mut self, ticket: &Ticket, sent: &Sent<'_>, prediction: Prediction) {
        let verdict = match (ticket.before, prediction) {
            (BudgetVerdict::Refused(refusal), _) | (_, Prediction::Refused(refusal)) => {
                let what = format!("was let through; {} was used up", refusal.limit.as_str());
                return self.note_wrong(ticket, sent, (Some(refusal.limit), Comparison::FalselyAdmitted), &what);
            }
            (BudgetVerdict::Unsure(limit), _) => (Some(limit), Comparison::Undecidable),
            (_, Prediction::Unsure(limit)) => {
                if limit == LimitName::AllRequests {
                    self.remember_doubt(ticket, sent, None);
                }
                (Some(limit), Comparison::Undecidable)
            }
            _ => (None, Comparison::RightlyAdmitted),
        };
        self.matrix.count(verdict.0, verdict.1);
    }

    fn note_wrong(
        &mut self,
        ticket: &Ticket,
        sent: &Sent<'_>,
        (limit, comparison): (Option<LimitName>, Comparison),
        what: &str,
    ) {
        if ticket.is_unsure {
            return self.matrix.count(limit, Comparison::Undecidable);
        }
        self.matrix.count(limit, comparison);
        if self.wrong.len() < DESCRIBED_MAX {
            let who = sent.named.map_or("a request without a name", |(device_id, _)| device_id);
            let (path, from) = (sent.endpoint.path(), ticket.origin.address);
            self.wrong.push(Wrong { at_us: ticket.at_us, what: format!("{who} from {from}: {path} {what}") });
        }
    }

    /// A failing request of admission is charged, and may say what the server knows.
    fn failed(&mut self, ticket: &Ticket, at_us: u64, answer: Answer) {
        use RefusalCode as C;
        let Answer::Refused(refused) = answer else { return };
        self.charge_origin(ticket, false);
        if matches!(refused.code, C::UnknownDevice | C::BadSignature | C::StaleSequence) {
            let limit = self.limit(LimitName::ExpensiveFailures);
            if limit.is_on() {
                let is_unsure = ticket.may_differ.contains(LimitName::ExpensiveFailures);
                spend_failure(&mut self.expensive_failures, ticket, &limit, is_unsure);
            }
        }
        let of_check = matches!(refused.code, C::BadSignature | C::StaleSequence);
        match ticket.before {
            BudgetVerdict::PassedBySign if of_check => self.charge_suspect(ticket),
            BudgetVerdict::Unsure(_) if of_check => self.perhaps_charge_suspect(ticket),
            _ => {}
        }
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return };
        if let Some(kept) = refused.kept {
            device.memory_shows(kept, at_us);
        }
        device.is_revoked |= refused.code == C::Revoked; // an order whose answer was lost was carried out
    }

    /// Charges a failure to the address and to the network of its site; or notes that it may have been charged.
    fn charge_origin(&mut self, ticket: &Ticket, is_unsure: bool) {
        let now_us = ticket.now_us;
        let names = [LimitName::AddressFailures, LimitName::SiteFailures];
        let [of_address, of_site] = names.map(|name| (self.limit(name), is_unsure || ticket.may_differ.contains(name)));
        let tables = [
            (&mut self.address_failures, ticket.origin.address, of_address),
            (&mut self.site_failures, ticket.origin.site, of_site),
        ];
        self.failures_charged += 1;
        for (table, subject, (limit, is_unsure)) in tables {
            if limit.is_on()
                && let Some(budget) = table.budget(subject, &limit, now_us)
            {
                spend_failure(budget, ticket, &limit, is_unsure);
            }
        }
    }

    /// Charges a failure of a request that was admitted by its sign.
    fn charge_suspect(&mut self, ticket: &Ticket) {
        let (of_pairs, of_new) = (self.limit(LimitName::DevicePairFailures), self.limit(LimitName::NewDeviceFailures));
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return };
        if of_pairs.is_on() {
            spend(&mut device.owes.pair_failures, ticket, &of_pairs);
        }
        let (has_stored, may_have_stored) = (device.has_stored, device.may_have_stored());
        if of_new.is_on() && !has_stored {
            if may_have_stored {
                self.new_device_failures.perhaps_charge(1, &of_new, ticket.now_us);
            } else {
                spend(&mut self.new_device_failures, ticket, &of_new);
            }
        }
    }

    /// The same of a request that may have been admitted by its sign: whether its pair was the next one is not known.
    fn perhaps_charge_suspect(&mut self, ticket: &Ticket) {
        let (of_pairs, of_new) = (self.limit(LimitName::DevicePairFailures), self.limit(LimitName::NewDeviceFailures));
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return };
        if of_pairs.is_on() {
            device.owes.pair_failures.perhaps_charge(1, &of_pairs, ticket.now_us);
        }
        if of_new.is_on() && !device.has_stored {
            self.new_device_failures.perhaps_charge(1, &of_new, ticket.now_us);
        }
    }

    /// The handler's answer: what was stored is charged, and what the server now knows of the device.
    fn handled(&mut self, ticket: &Ticket, at_us: u64, sent: &Sent<'_>, answer: Answer) {
        let Some(place) = ticket.device else { return };
        let refused = match answer {
            Answer::Accepted(stored) => return self.accepted(ticket, at_us, sent, stored),
            Answer::Refused(refused) => refused,
        };
        let Some(device) = self.device(place) else { return };
        if let Some(kept) = refused.kept {
            device.kept.at_least(kept);
            device.stored.at_least(kept);
        }
        if refused.code == RefusalCode::Revoked {
            // Admission may have refused it, while the order was carried out.
            device.is_revoked = true;
            self.charge_origin(ticket, true);
        }
    }

    fn accepted(&mut self, ticket: &Ticket, at_us: u64, sent: &Sent<'_>, stored: Stored) {
        let answered_us = self.now_us(at_us);
        let limits = [LimitName::DeviceStoredBytes, LimitName::DeviceLogBytes, LimitName::DevicePunches];
        let limits = limits.map(|name| self.limit(name));
        if sent.endpoint != Endpoint::Artifact {
            self.changes.stored(ticket.at_us, at_us);
            self.ceiling.stored(ticket.at_us, at_us);
        }
        let awaited = if let Stored::Beat { has_commands } = stored {
            Some(self.awaited_after(ticket.at_us, has_commands))
        } else {
            None
        };
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return };
        if sent.endpoint == Endpoint::RotateKey {
            device.kept.at_least(ticket.pair); // by now it was loaded with it
        } else {
            device.used(ticket.pair, ticket.at_us, at_us);
        }
        if sent.endpoint == Endpoint::Artifact {
            return;
        }
        device.stored.at_least(ticket.pair);
        (device.has_stored, device.is_registration_unsure, device.is_one_given_up) = (true, false, false);
        device.row_changes.stored(at_us);
        device.revocations.stored(ticket.at_us);
        device.settle(limits, answered_us);
        device.awaited = awaited.unwrap_or(device.awaited);
        if stored == (Stored::Beat { has_commands: false }) {
            device.empty_us = device.empty_us.max(Some(ticket.at_us));
        }
        if sent.endpoint == Endpoint::RotateKey {
            // It is loaded again: at its answer, or on a slow disk already before that.
            if ticket.at_us == at_us {
                device.kept = device.stored;
            } else {
                device.memory_may_be_what_is_stored();
            }
        }
        let rows = Stored::bytes_of;
        let (bytes, lines, punches, now_us) = match stored {
            Stored::Nothing => return,
            Stored::Beat { .. } => (rows(1), 0, 0, answered_us),
            Stored::Rows(count) if sent.endpoint == Endpoint::RotateKey => (rows(count), 0, 0, ticket.now_us),
            Stored::Rows(count) => (rows(count), 0, 0, answered_us),
            Stored::Punches(count) => (rows(count), 0, count, ticket.now_us),
            Stored::Lines { next_line_no } => {
                let known = device.next_line_no;
                device.next_line_no = known.max(next_line_no);
                if std::mem::take(&mut device.are_lines_unsure) {
                    // Some of them may have come with the one that was cut off.
                    device.pending.add(Charges::most_of(sent));
                    device.settle(limits, answered_us);
                    return;
                }
                let bytes = new_line_bytes(sent, known).unwrap_or(0);
                (bytes, bytes, 0, ticket.now_us)
            }
        };
        self.charge_stored(ticket, (bytes, lines, punches), now_us);
    }

    /// Charges what has been stored, unless the budget is used up, or was when it was asked.
    fn charge_stored(&mut self, ticket: &Ticket, (bytes, lines, punches): (u64, u64, u64), now_us: u64) {
        let is_unsure = ticket.is_unsure || self.changes.are_open();
        let of_bytes = self.limit(LimitName::DeviceStoredBytes);
        let of_lines = (self.limit(LimitName::DeviceLogBytes), lines);
        let of_punches = (self.limit(LimitName::DevicePunches), punches);
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return };
        if of_bytes.is_on() {
            let budget = &mut device.owes.stored_bytes;
            match budget.state(&of_bytes, now_us) {
                _ if is_unsure => budget.perhaps_charge(bytes, &of_bytes, now_us),
                State::Left => budget.charge(bytes, &of_bytes, now_us),
                State::UsedUp { .. } => {}
                State::Unsure { .. } => budget.perhaps_charge(bytes, &of_bytes, now_us),
            }
        }
        for (budget, (limit, count)) in [(&mut device.owes.log_bytes, of_lines), (&mut device.owes.punches, of_punches)]
        {
            if limit.is_on() && is_unsure {
                budget.perhaps_charge(count, &limit, now_us);
            } else if limit.is_on() && count > 0 && ticket.counted == State::Left {
                budget.charge(count, &limit, now_us);
            } else if limit.is_on() && matches!(ticket.counted, State::Unsure { .. }) {
                budget.perhaps_charge(count, &limit, now_us);
            }
        }
    }

    /// The server works on a request: its pair may be stored from now on, whatever becomes of the answer.
    pub(super) fn in_flight(&mut self, ticket: &mut Ticket, sent: &Sent<'_>) {
        let (pair, at_us) = (ticket.pair, ticket.at_us);
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return };
        device.in_progress.begun += 1;
        device.in_progress.count += 1;
        let row_change = RowChange::of(sent.endpoint, device.has_stored);
        if let Some(change) = row_change {
            device.row_changes.begin(change);
            device.kept.most = device.kept.most.max(device.stored.most); // others in progress may be loaded with it
        }
        if row_change == Some(RowChange::Key) {
            device.memory_may_be_what_is_stored();
        }
        let (begun, most_before) = (device.in_progress.begun, [device.kept.most, device.stored.most]);
        ticket.in_progress = Some(PendingRequest { row_change, begun, most_before });
        if sent.endpoint == Endpoint::Artifact {
            return device.used(pair, at_us, at_us);
        }
        device.stored.perhaps(pair);
        let is_of_another_task = matches!(sent.endpoint, Endpoint::Logs | Endpoint::Attendance); // which answers it
        if is_of_another_task || device.row_changes.may_be_loaded(at_us) {
            device.kept.perhaps(pair);
        }
    }

    /// The server works on a request no more, because it has answered.
    pub(super) fn ended(&mut self, ticket: &Ticket, at_us: u64, sent: &Sent<'_>, answer: Answer) {
        let Some(PendingRequest { row_change, begun, most_before }) = ticket.in_progress else { return };
        if ticket.life != self.life {
            return;
        }
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return };
        device.in_progress.count = device.in_progress.count.saturating_sub(1);
        row_change.inspect(|change| device.row_changes.end(*change, at_us));
        // A denied request has stored nothing. If none came after it, nothing else may have brought its pair to memory.
        let is_denied = matches!(answer, Answer::Refused(refused) if refused.code.status() < 500);
        if is_denied && sent.endpoint != Endpoint::Artifact && begun == device.in_progress.begun {
            let [kept, stored] = most_before;
            device.kept.most = kept.max(device.kept.least);
            device.stored.most = stored.max(device.stored.least);
        }
    }

    /// What a request has done is not known.
    pub(super) fn cut_off(&mut self, ticket: &Ticket, sent: &Sent<'_>) {
        if ticket.in_handler.is_none() {
            return;
        }
        let (life, awaited) = (self.life, self.awaited_unheard());
        let Some(device) = ticket.device.and_then(|place| self.device(place)) else { return };
        device.is_registration_unsure |= !device.has_stored;
        device.are_lines_unsure |= sent.endpoint == Endpoint::Logs;
        if ticket.life == life {
            device.is_one_given_up = true;
            if let Some(pending) = ticket.in_progress {
                device.in_progress.count = device.in_progress.count.saturating_sub(1);
                pending.row_change.inspect(|change| device.row_changes.lose(*change));
            }
            device.pending.add(Charges::most_of(sent));
            if sent.endpoint != Endpoint::Artifact {
                device.kept.perhaps(ticket.pair); // where it was stored, the server may follow it into memory
            }
            if sent.endpoint == Endpoint::Heartbeat {
                device.awaited = awaited;
            }
            if sent.endpoint == Endpoint::RotateKey {
                device.memory_may_be_what_is_stored(); // it may be loaded again
            }
        }
    }
}

/// Spends one of a budget of failures, or notes that one may have been spent.
fn spend_failure(budget: &mut Budget, ticket: &Ticket, limit: &Limit, is_unsure: bool) {
    if is_unsure {
        budget.perhaps_charge(1, limit, ticket.now_us);
    } else {
        budget.spend(limit, ticket.now_us);
    }
}

/// The wait of a refusal before it is spread, in whole seconds, at least and at most.
fn waits_s(refusal: &Refusal) -> [u64; 2] {
    [refusal.least_us, refusal.most_us].map(|us| us.div_ceil(1_000_000).max(1))
}

/// What is wrong with the wait of a refusal, if anything is.
pub(super) fn wrong_wait(refusal: &Refusal, sent: &Sent<'_>, retry_after_s: Option<u64>) -> Option<String> {
    let [least_s, most_s] = waits_s(refusal);
    let spread_s = if sent.named.is_some() { (most_s / 4).clamp(1, SPREAD_MAX_S) } else { 0 };
    let range = least_s..=most_s + spread_s;
    let limit = refusal.limit.as_str();
    match retry_after_s {
        Some(given) if range.contains(&given) => None,
        Some(given) => {
            Some(format!("was asked by {limit} to wait {given} s; it had to be {} to {} s", range.start(), range.end()))
        }
        None => Some(format!("was refused by {limit} without a time to wait")),
    }
}
