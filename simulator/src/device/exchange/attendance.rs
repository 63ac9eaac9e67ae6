//! Sends punches, oldest first; each is kept until the server confirms it.

use ks_protocol::{
    id::Sequence,
    message::{Attendance, PunchesStored},
    signature::{OpenError, Reply},
    text::Rows,
    time::UnixMs,
};

use super::{AnswerEffect, Exchange, Incoming, Outgoing};
use crate::device::machine::Machine;

pub(super) struct Attendances;

impl Exchange for Attendances {
    fn name(&self) -> &'static str {
        "attendance"
    }

    fn is_due(&self, machine: &Machine) -> bool {
        machine.punches.waiting() > 0
    }

    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing> {
        let Sequence { boot_epoch, seq } = machine.advance();
        let request = Attendance {
            kind: Default::default(),
            device_id: machine.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            punches: Rows::truncated(machine.punches.send()),
        };
        Outgoing::signed(&machine.key, &request)
    }

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError> {
        let reply = answer.open::<PunchesStored>(machine)?;
        if let Reply::Answer(stored) = &reply {
            machine.punches.stored(stored);
        }
        Ok(AnswerEffect::of(&reply))
    }
}
