//! Registration, retried until it succeeds.

use ks_protocol::{
    id::Sequence,
    message::{Register, Registered},
    signature::{OpenError, Reply},
    text::Text,
    time::UnixMs,
};

use super::{AnswerEffect, Exchange, Incoming, Outgoing};
use crate::device::machine::{DeviceState, Machine};

pub(super) struct Registration;

impl Exchange for Registration {
    fn name(&self) -> &'static str {
        "register"
    }

    fn is_due(&self, _: &Machine) -> bool {
        false // only a new device does
    }

    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing> {
        let Sequence { boot_epoch, seq } = machine.advance();
        let request = Register {
            kind: Default::default(),
            device_id: machine.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            public_key: machine.key.public_key(),
            firmware_version: Text::truncated(&machine.firmware.running().version),
            otrt: machine.otrt.as_deref().map(Text::truncated),
        };
        Outgoing::signed(&machine.key, &request)
    }

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError> {
        let reply = answer.open::<Registered>(machine)?;
        let mut taken = AnswerEffect::of(&reply);
        if let Reply::Answer(registered) = reply {
            machine.state = DeviceState::Registered;
            machine.newer_keyset_announced(registered.keyset_version);
            taken.wait_ms = Some(registered.next_beat_ms);
        }
        Ok(taken)
    }
}
