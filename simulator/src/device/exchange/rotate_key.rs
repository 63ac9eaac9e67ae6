//! Rotation of the device's key: the old key signs the new one.

use ks_protocol::{
    message::{AckState, KeyRotated, RotateKey},
    refusal::RefusalCode,
    signature::{OpenError, Reply},
    time::UnixMs,
};

use super::{AnswerEffect, Exchange, Incoming, Outgoing};
use crate::device::machine::{Machine, Rotation};

pub(super) struct NewKey;

impl Exchange for NewKey {
    fn name(&self) -> &'static str {
        "rotate_key"
    }

    fn is_due(&self, machine: &Machine) -> bool {
        machine.rotating.is_some()
    }

    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing> {
        let sequence = machine.advance();
        let new = machine.rotating.as_ref().map_or(&machine.key, |rotation| &rotation.new);
        let request = RotateKey::new(machine.device_id.clone(), sequence, now, new);
        Outgoing::signed(&machine.key, &request)
    }

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError> {
        let reply = answer.open::<KeyRotated>(machine)?;
        let mut taken = AnswerEffect::of(&reply);
        match &reply {
            Reply::Answer(_) => {
                if let Some(rotation) = machine.rotating.take() {
                    let Rotation { new, command_id, .. } = *rotation;
                    machine.key = new;
                    machine.commands.acknowledge(&command_id, AckState::Succeeded, "");
                    taken.done.keys_rotated = 1;
                }
            }
            // An answer was lost, and the server may know the new key already: the other one vouches for it, in turns.
            Reply::Refused(refusal) if refusal.code == RefusalCode::BadSignature => {
                if let Some(rotation) = &machine.rotating {
                    let is_old = machine.key.public_key() == rotation.old.public_key();
                    machine.key = if is_old { rotation.new.clone() } else { rotation.old.clone() };
                }
            }
            Reply::Refused(refusal) if refusal.code == RefusalCode::KeyInUse => {
                let new = machine.make_key();
                if let Some(rotation) = &mut machine.rotating {
                    rotation.new = new;
                }
            }
            Reply::Refused(_) => {}
        }
        Ok(taken)
    }
}
