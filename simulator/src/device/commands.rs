//! What a device remembers of commands: which it carried out, what it said of them, what the server has of that. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ks_protocol::{
    id::CommandId,
    message::{Ack, AckState},
    text::Text,
};

/// Command names that a device remembers, to tell a second delivery from a new command.
const REMEMBERED_MAX: usize = 256;

/// What one device remembers of commands.
#[derive(Debug, Default)]
pub struct Commands {
    /// What its flash remembers, oldest first.
    seen: Vec<CommandId>,
    /// What it really carried out, whatever it remembers: the truth that it is judged by.
    applied: BTreeSet<CommandId>,
    /// ACKs that the server has not confirmed.
    acks: Vec<Ack>,
    /// What it said of each command, ever.
    said: BTreeMap<CommandId, AckState>,
    /// Commands for which the server confirmed what was said.
    confirmed: BTreeSet<CommandId>,
}

/// What is to be done with a command that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// It is carried out.
    First,
    /// It is carried out although it was before, since it was forgotten: a defect of the device.
    Forgotten,
    /// It was carried out.
    Again,
}

impl Commands {
    /// Takes a command that is to be carried out once, whatever the number of deliveries.
    pub(super) fn delivered(&mut self, command_id: &CommandId) -> Delivery {
        if self.seen.contains(command_id) {
            return Delivery::Again;
        }
        if self.seen.len() == REMEMBERED_MAX {
            self.seen.remove(0);
        }
        self.seen.push(command_id.clone());
        if self.applied.insert(command_id.clone()) { Delivery::First } else { Delivery::Forgotten }
    }

    /// Says what became of a command, as soon as the server listens.
    pub(super) fn answer(&mut self, command_id: &CommandId, state: AckState, detail: &str) {
        self.said.insert(command_id.clone(), state);
        self.acks.push(Ack { command_id: command_id.clone(), state, detail: Text::truncated(detail) });
    }

    /// ACKs that the server has not confirmed.
    pub(super) fn acks(&self) -> &[Ack] {
        &self.acks
    }

    /// The server has those for which `is_recorded` is true.
    pub(super) fn recorded(&mut self, is_recorded: impl Fn(&Ack) -> bool) {
        let (recorded, left): (Vec<Ack>, Vec<Ack>) = self.acks.drain(..).partition(is_recorded);
        self.confirmed.extend(recorded.into_iter().map(|ack| ack.command_id));
        self.acks = left;
    }

    /// What was said of commands, and which of that the server has confirmed; forgotten here.
    pub(super) fn take(&mut self) -> (BTreeMap<CommandId, AckState>, BTreeSet<CommandId>) {
        (std::mem::take(&mut self.said), std::mem::take(&mut self.confirmed))
    }
}
