//! Verdicts that hang on whether a command waited for the device: undecidable when they are seen, and mostly decided at the end of the
//! run, when it is known for which devices commands were ever ordered.

use std::{collections::BTreeMap, net::IpAddr};

use super::{
    Comparison, DESCRIBED_MAX, Endpoint, LimitName, Oracle, Refused, Sent, Ticket, Wrong, ask::Refusal, settle,
};

/// Most of them that are remembered; more stay undecidable.
const REMEMBERED_MAX: usize = 100_000;

/// What hangs on it for one request: how the ceiling has to refuse it, if no command waited.
pub(super) type InDoubt = Refusal;

/// A verdict to be decided at the end.
#[derive(Debug)]
pub(super) struct Doubt {
    at_us: u64,
    device: usize,
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
        self.doubts.push(Doubt { at_us: ticket.at_us, device, from: ticket.origin.address, verdict });
    }

    /// Decides what hung on commands, given when the first one of each device was ordered, in microseconds since the start of the run: before
    /// that, and if there never was one, none waited.
    pub fn decide_doubts(&mut self, first_commands_us: &BTreeMap<&str, u64>) {
        let limit = LimitName::AllRequests;
        for Doubt { at_us, device, from, verdict } in std::mem::take(&mut self.doubts) {
            let Some((name, _)) = self.devices.get(device) else { continue };
            if first_commands_us.get(name.as_str()).is_some_and(|first_us| at_us >= *first_us) {
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
