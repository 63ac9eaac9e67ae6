//! Verdicts that hang on whether a command waited for the device: undecidable when they are seen, and mostly decided at the end of the
//! run, when it is known which commands were ordered for each device, and when.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Comparison, DESCRIBED_MAX, Endpoint, LimitName, Oracle, Refused, Sent, Ticket, Wrong, ask::Refusal, settle,
};

/// Most of them that are remembered; more stay undecidable.
const REMEMBERED_MAX: usize = 100_000;

/// A command is in the store, and known to the server's memory, at the latest so long after the moment at which it was ordered, by its own
/// account, in microseconds: a disk may be slow.
const STORED_US: u64 = 300_000_000;

/// What hangs on it for one request: how the ceiling has to refuse it, if no command waited.
pub(super) type InDoubt = Refusal;

/// A verdict to be decided at the end.
#[derive(Debug)]
pub(super) struct Doubt {
    at_us: u64,
    device: usize,
    /// When the device's last heartbeat before it arrived whose answer brought no commands.
    empty_us: Option<u64>,
    from: IpAddr,
    verdict: Verdict,
}

/// What the server did.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Verdict {
    LetThrough,
    Refused,
    /// Refused with a wait that is not the ceiling's, in a sentence.
    WrongWait(String),
}

impl Oracle {
    /// Remembers a request that the server let through, or refused so.
    pub(super) fn remember_doubt(&mut self, ticket: &Ticket, sent: &Sent<'_>, refused: Option<Refused>) {
        let (Some(refusal), Some(device)) = (ticket.in_doubt, ticket.device) else { return };
        if self.doubts.len() >= REMEMBERED_MAX || ticket.is_unsure {
            return;
        }
        let verdict = match refused {
            None => Verdict::LetThrough,
            Some(refused) => {
                settle::wrong_wait(&refusal, sent, refused.retry_after_s).map_or(Verdict::Refused, Verdict::WrongWait)
            }
        };
        let at_us = ticket.at_us;
        let empty_us = self.devices.get(device).and_then(|(_, device)| device.empty_us).filter(|us| *us <= at_us);
        self.doubts.push(Doubt { at_us, device, empty_us, from: ticket.origin.address, verdict });
    }

    /// Decides what hung on commands, given when each device's were ordered, in microseconds since the start of the run: none waited if
    /// none was ordered before, or none since a heartbeat's answer brought none.
    pub fn decide_doubts(&mut self, commands_us: &BTreeMap<&str, Vec<u64>>) {
        let limit = LimitName::AllRequests;
        for Doubt { at_us, device, empty_us, from, verdict } in std::mem::take(&mut self.doubts) {
            let Some((name, _)) = self.devices.get(device) else { continue };
            let since_us = empty_us.map_or(0, |empty_us| empty_us.saturating_sub(STORED_US));
            if commands_us.get(name.as_str()).is_some_and(|each| each.iter().any(|us| (since_us..=at_us).contains(us)))
            {
                continue;
            }
            let (comparison, what) = match verdict {
                Verdict::Refused => (Comparison::RightlyRefused, None),
                Verdict::LetThrough => {
                    let what = "was let through; all_requests was used up, and no command waited for the device";
                    (Comparison::FalselyAdmitted, Some(what.to_owned()))
                }
                Verdict::WrongWait(what) => (Comparison::FalselyRefused, Some(what)),
            };
            self.matrix.decided(limit, comparison);
            if let Some(what) = what.filter(|_| self.wrong.len() < DESCRIBED_MAX) {
                let path = Endpoint::Heartbeat.path();
                self.wrong.push(Wrong { at_us, what: format!("{name} from {from}: {path} {what}") });
            }
        }
    }
}
