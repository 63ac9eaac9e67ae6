//! `ks-fleet events`: the event log of a run on standard output, one JSON object a line.

use std::path::Path;

use serde_json::{Map, Value};

use super::output::{complain, print};
use crate::{
    failure::Failure,
    run::run_events::{LineFilter, RunEvents},
};

/// Lines are printed in pieces of about this size, in bytes.
const PIECE_BYTES: usize = 1 << 16;

/// Prints all events, or those of one device.
pub(super) fn run(folder: &Path, device_id: Option<&str>) -> Result<u8, Failure> {
    let mut piece = String::with_capacity(PIECE_BYTES * 2);
    let mut printed = Ok(true);
    let mut has_events = false;
    let wanted = if device_id.is_some() { LineFilter::OfDevice } else { LineFilter::All };
    let read = RunEvents::open(folder)?.each(device_id.unwrap_or_default(), |line| {
        if device_id.is_none_or(|device_id| is_of(line, device_id)) {
            has_events = true;
            piece.extend([line, "\n"]);
        }
        if piece.len() >= PIECE_BYTES {
            printed = print(piece.as_bytes());
            piece.clear();
        }
        Ok(if matches!(printed, Ok(true)) { wanted } else { LineFilter::Nothing })
    });
    if printed? {
        print(piece.as_bytes())?; // also what was before an error
    }
    if let Some(note) = read? {
        complain(&format!("note: {note}"));
    }
    match device_id {
        Some(device_id) if !has_events => {
            Err(Failure::BadRequest(format!("no event of a device `{device_id}` in {}", folder.display())))
        }
        _ => Ok(0),
    }
}

/// Whether a line is an event of this device.
fn is_of(line: &str, device_id: &str) -> bool {
    let event: Result<Map<String, Value>, _> = serde_json::from_str(line);
    event.is_ok_and(|event| event.get("device_id").and_then(Value::as_str) == Some(device_id))
}
