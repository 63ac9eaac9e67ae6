//! Log lines that an operator requested.

use ks_protocol::{
    id::Sequence,
    message::{Logs, LogsStored},
    signature::{OpenError, Reply},
    text::Rows,
    time::UnixMs,
};

use super::{AnswerEffect, Exchange, Incoming, Outgoing};
use crate::device::machine::Machine;

pub(super) struct Lines;

impl Exchange for Lines {
    fn name(&self) -> &'static str {
        "logs"
    }

    fn is_due(&self, machine: &Machine) -> bool {
        machine.log.is_due()
    }

    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing> {
        let Sequence { boot_epoch, seq } = machine.advance();
        let (first_no, lines) = machine.log.oldest();
        let request = Logs {
            kind: Default::default(),
            device_id: machine.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            first_line_no: Sequence::new(0, first_no).seq,
            lines: Rows::truncated(lines),
        };
        Outgoing::signed(&machine.key, &request)
    }

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError> {
        let reply = answer.open::<LogsStored>(machine)?;
        if let Reply::Answer(stored) = &reply {
            machine.log.stored_up_to(stored.next_line_no.get());
        }
        Ok(AnswerEffect::of(&reply))
    }
}
