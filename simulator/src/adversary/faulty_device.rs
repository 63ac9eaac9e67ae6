//! A registered device with a valid key that sends without pause because of faulty firmware. Requests within its budget are
//! accepted and counted, which is no success of an attack. It is whitelisted with the honest fleet, and its heartbeats are
//! reconciled like theirs.

use std::time::Duration;

use ks_protocol::{id::Sequence, signature::OpenError};

use crate::{
    device::{
        exchange::{Incoming, MessageType, Outgoing},
        machine::{DeviceState, Machine},
    },
    link::HttpAnswer,
    run::{
        ledger::DeviceAccount,
        measure::{BAD_ANSWER, OK, UNKNOWN_KEY},
    },
    shard::Shard,
};

pub struct FaultyDevice {
    machine: Machine,
    account: DeviceAccount,
}

/// A request it sent.
pub(super) struct FaultyRequest {
    kind: MessageType,
    pub(super) request: Outgoing,
    sequence: Sequence,
}

impl FaultyDevice {
    pub fn new(machine: Machine) -> Self {
        Self { machine, account: DeviceAccount::default() }
    }

    /// Its next request: registrations until it is registered, then heartbeats.
    pub(super) fn next_request(&mut self, shard: &Shard) -> Option<FaultyRequest> {
        let now = shard.time.unix_now();
        let kind = match self.machine.state() {
            DeviceState::Registered => MessageType::Heartbeat,
            _ => MessageType::Register,
        };
        let request = kind.exchange().request(&mut self.machine, now);
        let sequence = self.machine.sequence();
        if kind == MessageType::Heartbeat {
            self.account.sent.insert(sequence);
        }
        Some(FaultyRequest { kind, request: request?, sequence })
    }

    /// Applies an answer; returns its code.
    pub(super) fn receive(&mut self, request: &FaultyRequest, answer: &HttpAnswer) -> &'static str {
        let answer = Incoming {
            status: answer.status,
            sig_dev: &request.request.sig_dev,
            body: &answer.body,
            took: Duration::ZERO, // neither of the two kinds uses it
        };
        let taken = request.kind.exchange().answer(&mut self.machine, &answer);
        match taken.map(|taken| taken.refusal) {
            Ok(None) => {
                if request.kind == MessageType::Heartbeat {
                    self.account.acked.insert(request.sequence);
                }
                OK
            }
            Ok(Some(refusal)) => refusal.as_str(),
            Err(OpenError::UnknownKey(_)) => UNKNOWN_KEY,
            Err(_) => BAD_ANSWER,
        }
    }

    /// Its account of heartbeats. It has no guarantees, so it does not count as alive.
    pub(super) fn account(&mut self) -> DeviceAccount {
        std::mem::take(&mut self.account)
    }
}
