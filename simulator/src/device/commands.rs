//! A device's record of commands: which it executed, what it reported, and which reports the server confirmed. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ks_protocol::{
    id::CommandId,
    message::{Ack, AckState},
    text::Text,
};

/// Command ids that a device remembers, to detect a second delivery.
const REMEMBERED_MAX: usize = 256;

/// One device's record of commands.
#[derive(Debug, Default)]
pub struct Commands {
    /// Ids in flash, oldest first.
    seen: Vec<CommandId>,
    /// What it really executed, whatever it remembers: the ground truth.
    applied: BTreeSet<CommandId>,
    /// ACKs that the server has not confirmed.
    acks: Vec<Ack>,
    /// The last state reported for each command.
    reported: BTreeMap<CommandId, AckState>,
    /// Commands whose report the server confirmed.
    confirmed: BTreeSet<CommandId>,
}

/// How to handle a delivered command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Execute it.
    First,
    /// Execute it a second time, because the device forgot it: a defect of the device.
    Forgotten,
    /// Already executed.
    Again,
}

impl Commands {
    /// Records a delivery; a command must be executed once, however often it is delivered.
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

    /// Queues an ACK with the outcome of a command.
    pub(super) fn acknowledge(&mut self, command_id: &CommandId, state: AckState, detail: &str) {
        self.reported.insert(command_id.clone(), state);
        self.acks.push(Ack { command_id: command_id.clone(), state, detail: Text::truncated(detail) });
    }

    /// ACKs that the server has not confirmed.
    pub(super) fn acks(&self) -> &[Ack] {
        &self.acks
    }

    /// Drops the ACKs for which `is_recorded` is true: the server has stored them.
    pub(super) fn recorded(&mut self, is_recorded: impl Fn(&Ack) -> bool) {
        let (recorded, left): (Vec<Ack>, Vec<Ack>) = self.acks.drain(..).partition(is_recorded);
        self.confirmed.extend(recorded.into_iter().map(|ack| ack.command_id));
        self.acks = left;
    }

    /// Takes out the reported states and the commands whose report the server confirmed.
    pub(super) fn take(&mut self) -> (BTreeMap<CommandId, AckState>, BTreeSet<CommandId>) {
        (std::mem::take(&mut self.reported), std::mem::take(&mut self.confirmed))
    }
}
