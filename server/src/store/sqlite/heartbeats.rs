//! Heartbeats in SQLite: recording one, pruning the oldest.

use ks_protocol::{id::Sequence, message::Heartbeat, time::UnixMs};
use rusqlite::{Transaction, params};

use super::{Denied, StoreError, advance, commands, integer};
use crate::store::Due;

/// Takes the pair, appends the row, applies the ACKs that came along, and gives what is due.
pub(super) fn record(
    transaction: &Transaction<'_>,
    beat: &Heartbeat,
    at: UnixMs,
) -> Result<Result<Due, Denied>, StoreError> {
    let sequence = Sequence { boot_epoch: beat.boot_epoch, seq: beat.seq };
    let device = match advance(transaction, &beat.device_id, sequence, at)? {
        Ok(device) => device,
        Err(denied) => return Ok(Err(denied)),
    };
    insert(transaction, beat, at)?;
    if device.open_commands == 0 {
        return Ok(Ok(Due::default()));
    }
    for ack in beat.acks.as_slice() {
        commands::apply_ack(transaction, device.row, ack, at)?;
    }
    Ok(Ok(Due { commands: commands::deliver(transaction, device.row, at)? }))
}

fn insert(transaction: &Transaction<'_>, beat: &Heartbeat, at: UnixMs) -> Result<(), StoreError> {
    transaction
        .prepare_cached(
            "INSERT INTO device_heartbeats (device_id, received_at, boot_epoch, seq, uptime_s, cpu_temp_c, free_mem_kib,
                network, rssi_dbm, firmware_version, release_counter, keyset_version, sent_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
        )?
        .execute(params![
            beat.device_id.as_str(),
            integer(at.0),
            beat.boot_epoch,
            integer(beat.seq.get()),
            integer(beat.uptime_s),
            beat.cpu_temp_c,
            integer(beat.free_mem_kib),
            beat.network.as_str(),
            beat.rssi_dbm,
            beat.firmware.version.as_str(),
            integer(beat.firmware.release_counter),
            integer(beat.keyset_version),
            integer(beat.sent_at.0),
        ])?;
    Ok(())
}

/// Deletes the oldest rows received before `before`. Rows are in the order of commits, so the oldest come first.
pub(super) fn prune(transaction: &Transaction<'_>, before: UnixMs, rows_max: usize) -> Result<usize, StoreError> {
    let deleted = transaction
        .prepare_cached(
            "DELETE FROM device_heartbeats WHERE id IN
                (SELECT id FROM device_heartbeats ORDER BY id LIMIT ?2) AND received_at < ?1",
        )?
        .execute(params![integer(before.0), integer(rows_max as u64)])?;
    Ok(deleted)
}
