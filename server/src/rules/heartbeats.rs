//! Heartbeats: each is recorded once, with what changed on the device; returns what is due to the device.

use ks_protocol::{message::Heartbeat, time::UnixMs};

use super::{commands, devices::or_denied, old_part, updates};
use crate::store::{
    Denied, PruneStep, StoreError, Transaction,
    devices::Pair,
    heartbeats::{Beat, BeatTaken, Due},
};

/// Accepts the pairs, stores the heartbeats, applies their ACKs, and returns what is due to each device. Each device occurs at
/// most once.
pub(super) fn record(
    store: &mut dyn Transaction,
    beats: &[(Pair<'_>, &Beat)],
) -> Result<Vec<Result<Due, Denied>>, StoreError> {
    if beats.is_empty() {
        return Ok(Vec::new());
    }
    let (pairs, sent): (Vec<_>, Vec<_>) = beats.iter().map(|(pair, beat)| (*pair, (pair.sender, *beat))).unzip();
    let taken = store.take_beats(&sent)?;
    let taken = or_denied(store, &pairs, taken)?;
    let known: Vec<(&BeatTaken, &Beat)> =
        taken.iter().zip(sent).filter_map(|(taken, (_, beat))| Some((taken.as_ref().ok()?, beat))).collect();
    save_changes(store, &known)?;
    let those = |is_meant: fn(&BeatTaken) -> bool| -> Vec<(i64, &Beat)> {
        known.iter().filter(|(device, _)| is_meant(device)).map(|(device, beat)| (device.row, *beat)).collect()
    };
    let mut updates = updates::on_beats(store, &those(|device| device.is_updating))?;
    let mut commands = commands::on_beats(store, &those(|device| device.has_open_commands))?;
    let mut due = |device: BeatTaken| {
        let (firmware, is_update_further) = updates.remove(&device.row).unwrap_or_default();
        Due { commands: commands.remove(&device.row).unwrap_or_default(), firmware, is_update_further }
    };
    Ok(taken.into_iter().map(|taken| taken.map(&mut due)).collect())
}

/// Stores what devices report about themselves, where it has changed.
fn save_changes(store: &mut dyn Transaction, beats: &[(&BeatTaken, &Beat)]) -> Result<(), StoreError> {
    let (mut reported, mut firmware) = (Vec::<(i64, &Heartbeat)>::new(), Vec::new());
    for (known, beat) in beats {
        let runs = &beat.heartbeat.firmware;
        let is_same_firmware =
            known.firmware_version == runs.version.as_str() && known.release_counter == runs.release_counter;
        if !is_same_firmware || known.keyset_version != beat.heartbeat.keyset_version {
            reported.push((known.row, &beat.heartbeat));
        }
        if !is_same_firmware {
            firmware.push((known.row, *beat));
        }
    }
    if !reported.is_empty() {
        store.save_reported(&reported)?;
    }
    if firmware.is_empty() { Ok(()) } else { store.insert_firmware(&firmware) }
}

/// One step of retention: reads `rows_max` rows above `after`, and deletes those received before `before`. Rows stamped later
/// than `now`, by a wrong clock, stay and do not stop the scan. The newest row always stays, so that no row number is ever
/// reused.
pub fn prune(
    store: &mut dyn Transaction,
    before: UnixMs,
    now: UnixMs,
    after: i64,
    rows_max: usize,
) -> Result<PruneStep, StoreError> {
    let found = store.span_of_heartbeats(after, rows_max)?;
    let Some((span, _)) = found.filter(|(span, newest)| span.oldest < before || *newest > now) else {
        return Ok(PruneStep::default());
    };
    let rows = store.delete_heartbeats(after, span.last, before)?;
    Ok(PruneStep { rows, next_after: (span.rows == rows_max).then_some(span.last) })
}

/// One step of retention, over rows above `after`: deletes the firmware history from before a time, except each device's current
/// firmware.
pub fn prune_firmware_history(
    store: &mut dyn Transaction,
    before: UnixMs,
    after: i64,
    rows_max: usize,
) -> Result<PruneStep, StoreError> {
    let span = store.span_of_firmware(after, rows_max)?;
    let Some((last, next_after)) = old_part(span, before, rows_max) else { return Ok(PruneStep::default()) };
    Ok(PruneStep { rows: store.delete_firmware(after, last, before)?, next_after })
}
