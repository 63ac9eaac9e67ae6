//! A registered device with a good key that sends without pause, as one whose firmware went mad. What its budget allows it may
//! have: that is counted, and no success of an attack. It is whitelisted beside the honest fleet, and its heartbeats are
//! reconciled like theirs.

use std::time::Duration;

use ks_protocol::{id::Sequence, signature::OpenError};

use crate::{
    device::{
        exchange::{Incoming, MessageType, Outgoing},
        machine::{Machine, Standing},
    },
    ledger::DeviceAccount,
    link::HttpAnswer,
    measure::{BAD_ANSWER, OK, UNKNOWN_KEY},
    shard::Shard,
};

/// A device that went mad.
pub struct MadDevice {
    machine: Machine,
    account: DeviceAccount,
}

/// A request that it made.
pub(super) struct Said {
    kind: MessageType,
    pub(super) request: Outgoing,
    sequence: Sequence,
}

impl MadDevice {
    /// One that was just switched on.
    pub fn new(machine: Machine) -> Self {
        Self { machine, account: DeviceAccount::default() }
    }

    /// What it says next: it registers until it is registered, then it beats.
    pub(super) fn say(&mut self, shard: &Shard) -> Option<Said> {
        let now = shard.time.unix_now();
        let kind = match self.machine.standing() {
            Standing::Registered => MessageType::Heartbeat,
            _ => MessageType::Register,
        };
        let request = kind.exchange().request(&mut self.machine, now);
        let sequence = self.machine.sequence();
        if kind == MessageType::Heartbeat {
            self.account.sent.insert(sequence);
        }
        Some(Said { kind, request: request?, sequence })
    }

    /// Takes an answer; gives its code.
    pub(super) fn hears(&mut self, said: &Said, answer: &HttpAnswer) -> &'static str {
        let answer = Incoming {
            status: answer.status,
            sig_dev: &said.request.sig_dev,
            body: &answer.body,
            took: Duration::ZERO, // which neither of the two kinds looks at
        };
        let taken = said.kind.exchange().answer(&mut self.machine, &answer);
        match taken.map(|taken| taken.refusal) {
            Ok(None) => {
                if said.kind == MessageType::Heartbeat {
                    self.account.acked.insert(said.sequence);
                }
                OK
            }
            Ok(Some(refusal)) => refusal.as_str(),
            Err(OpenError::UnknownKey(_)) => UNKNOWN_KEY,
            Err(_) => BAD_ANSWER,
        }
    }

    /// What it knows of its heartbeats. Nobody promises it anything, so it does not count as alive.
    pub(super) fn account(&mut self) -> DeviceAccount {
        std::mem::take(&mut self.account)
    }
}
