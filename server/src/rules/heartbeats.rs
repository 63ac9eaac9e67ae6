//! Heartbeats: each recorded once, what it says that is new, and what the device is due.

use ks_protocol::{message::Heartbeat, time::UnixMs};

use super::{commands, devices::denied, old_part, updates};
use crate::store::{
    Denied, StoreError, Swept, Transaction,
    heartbeats::{BeatTaken, Due},
};

/// Takes the pair, stores the heartbeat, applies the ACKs that came along, and gives what is due.
pub fn record(store: &mut dyn Transaction, beat: &Heartbeat, at: UnixMs) -> Result<Result<Due, Denied>, StoreError> {
    let Some(device) = store.take_beat(beat, at)? else {
        return Ok(Err(denied(store.standing(&beat.device_id)?)));
    };
    store.insert_heartbeat(beat, at)?;
    save_changes(store, &device, beat, at)?;
    let mut due = Due::default();
    if device.is_updating {
        (due.firmware, due.is_update_further) = updates::on_beat(store, device.row, beat, at)?;
    }
    if device.has_open_commands {
        for ack in beat.acks.as_slice() {
            commands::apply_ack(store, device.row, ack, at)?;
        }
        due.commands = commands::deliver(store, device.row, at)?;
    }
    Ok(Ok(due))
}

/// Stores what the device says of itself, where it says something new.
fn save_changes(
    store: &mut dyn Transaction,
    known: &BeatTaken,
    beat: &Heartbeat,
    at: UnixMs,
) -> Result<(), StoreError> {
    let firmware = &beat.firmware;
    let is_same_firmware =
        known.firmware_version == firmware.version.as_str() && known.release_counter == firmware.release_counter;
    if is_same_firmware && known.keyset_version == beat.keyset_version {
        return Ok(());
    }
    store.save_reported(known.row, beat)?;
    if is_same_firmware { Ok(()) } else { store.insert_firmware(known.row, beat, at) }
}

/// One step of retention: looks at `rows_max` rows above `after`, and deletes those received before `before`. Rows from the
/// future of `now`, which a wrong clock stamped, stay, and say nothing of the rows behind them. The newest row always stays, so
/// that no row number is ever given twice.
pub fn prune(
    store: &mut dyn Transaction,
    before: UnixMs,
    now: UnixMs,
    after: i64,
    rows_max: usize,
) -> Result<Swept, StoreError> {
    let found = store.span_of_heartbeats(after, rows_max)?;
    let Some((span, _)) = found.filter(|(span, newest)| span.oldest < before || *newest > now) else {
        return Ok(Swept::default());
    };
    let rows = store.delete_heartbeats(after, span.last, before)?;
    Ok(Swept { rows, next_after: (span.rows == rows_max).then_some(span.last) })
}

/// One step of retention, over rows above `after`: what firmware a device ran before a time, but for what it runs now.
pub fn prune_firmware_history(
    store: &mut dyn Transaction,
    before: UnixMs,
    after: i64,
    rows_max: usize,
) -> Result<Swept, StoreError> {
    let span = store.span_of_firmware(after, rows_max)?;
    let Some((last, next_after)) = old_part(span, before, rows_max) else { return Ok(Swept::default()) };
    Ok(Swept { rows: store.delete_firmware(after, last, before)?, next_after })
}
