//! A registered device with a good key that sends without pause, as one whose firmware went mad. What its budget allows it may
//! have: that is counted, and no success of an attack. It is whitelisted beside the honest fleet, and its heartbeats are
//! reconciled like theirs.

use ks_protocol::{
    id::Sequence,
    signature::{OpenError, Reply, SignedRequest},
};

use crate::{
    device::machine::{Machine, Standing},
    ledger::DeviceAccount,
    link::HttpAnswer,
    measure::{BAD_ANSWER, MessageType, OK, UNKNOWN_KEY},
    shard::Shard,
};

/// A device that went mad.
pub struct MadDevice {
    machine: Machine,
    account: DeviceAccount,
}

/// A request that it made.
pub(super) struct Said {
    pub(super) kind: MessageType,
    pub(super) signed: SignedRequest,
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
        let (kind, signed) = match self.machine.standing() {
            Standing::Registered => (MessageType::Heartbeat, self.machine.beat(now)),
            _ => (MessageType::Register, self.machine.register(now)),
        };
        let sequence = self.machine.sequence();
        if kind == MessageType::Heartbeat {
            self.account.sent.insert(sequence);
        }
        Some(Said { kind, signed: signed.ok()?, sequence })
    }

    /// Takes an answer; gives its code.
    pub(super) fn hears(&mut self, said: &Said, answer: &HttpAnswer) -> &'static str {
        let (status, sig_dev, body) = (answer.status, said.signed.sig_dev.to_string(), answer.body.as_ref());
        let reply = match said.kind {
            MessageType::Heartbeat => self.machine.beaten(status, &sig_dev, body).map(|(reply, _)| refusal_in(&reply)),
            _ => self.machine.registered(status, &sig_dev, body).map(|reply| refusal_in(&reply)),
        };
        match reply {
            Ok(None) => {
                if said.kind == MessageType::Heartbeat {
                    self.account.acked.insert(said.sequence);
                }
                OK
            }
            Ok(Some(code)) => code,
            Err(OpenError::UnknownKey(_)) => UNKNOWN_KEY,
            Err(_) => BAD_ANSWER,
        }
    }

    /// What it knows of its heartbeats. Nobody promises it anything, so it does not count as alive.
    pub(super) fn account(&mut self) -> DeviceAccount {
        std::mem::take(&mut self.account)
    }
}

fn refusal_in<T>(reply: &Reply<T>) -> Option<&'static str> {
    match reply {
        Reply::Answer(_) => None,
        Reply::Refused(refusal) => Some(refusal.code.as_str()),
    }
}
