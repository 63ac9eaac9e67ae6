//! ACKs that can't wait for the next heartbeat.

use ks_protocol::{
    id::Sequence,
    message::{AcksRecorded, CommandAck},
    signature::{OpenError, Reply},
    text::Rows,
    time::UnixMs,
};

use super::{AnswerEffect, Exchange, Incoming, Outgoing};
use crate::device::machine::Machine;

pub(super) struct Acks;

impl Exchange for Acks {
    fn name(&self) -> &'static str {
        "command_ack"
    }

    fn is_due(&self, machine: &Machine) -> bool {
        !machine.commands.acks().is_empty()
    }

    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing> {
        let Sequence { boot_epoch, seq } = machine.advance();
        let request = CommandAck {
            kind: Default::default(),
            device_id: machine.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            acks: Rows::truncated(machine.commands.acks().to_vec()),
        };
        Outgoing::signed(&machine.key, &request)
    }

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError> {
        let reply = answer.open::<AcksRecorded>(machine)?;
        if let Reply::Answer(recorded) = &reply {
            machine
                .commands
                .recorded(|ack| recorded.acks.as_slice().iter().any(|row| row.command_id == ack.command_id));
        }
        Ok(AnswerEffect::of(&reply))
    }
}
