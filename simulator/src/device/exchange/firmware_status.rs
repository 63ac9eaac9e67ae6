//! Reports the progress of an update; the server answers whether to continue.

use ks_protocol::{
    id::Sequence,
    message::{FirmwareStatus, FirmwareStatusRecorded},
    signature::{OpenError, Reply},
    text::Text,
    time::UnixMs,
};
use serde_json::json;

use super::{AnswerEffect, Exchange, Incoming, Outgoing};
use crate::device::machine::Machine;

pub(super) struct Status;

impl Exchange for Status {
    fn name(&self) -> &'static str {
        "firmware_status"
    }

    fn is_due(&self, machine: &Machine) -> bool {
        machine.firmware.to_report().is_some()
    }

    fn request(&self, machine: &mut Machine, now: UnixMs) -> Option<Outgoing> {
        let report = machine.firmware.to_report()?.clone();
        let Sequence { boot_epoch, seq } = machine.advance();
        let mut notes = vec![("release", json!(report.release_id)), ("step", json!(report.step))];
        notes.extend(report.class.map(|class| ("class", json!(class.as_str()))));
        let request = FirmwareStatus {
            kind: Default::default(),
            device_id: machine.device_id.clone(),
            boot_epoch,
            seq,
            sent_at: now,
            release_id: report.release_id,
            step: report.step,
            received_bytes: report.received_bytes,
            class: report.class,
            detail: Text::default(),
        };
        Some(Outgoing { notes, ..Outgoing::signed(&machine.key, &request)? })
    }

    fn answer(&self, machine: &mut Machine, answer: &Incoming<'_>) -> Result<AnswerEffect, OpenError> {
        let reply = answer.open::<FirmwareStatusRecorded>(machine)?;
        if let Reply::Answer(recorded) = &reply {
            machine.firmware.reported(recorded.go_on);
        }
        Ok(AnswerEffect::of(&reply))
    }
}
