//! Heartbeats in SQLite: recording one, pruning the oldest.

use ks_protocol::{id::Sequence, message::Heartbeat, time::UnixMs};
use rusqlite::{Transaction, params};

use super::{Denied, StoreError, advance, commands, integer};
use crate::store::{Due, Pruned};

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

/// One step of retention. Rows are in the order of commits, and so of time, but for those that a wrong clock stamped: the walk
/// goes on past rows from the future, and ends at a step that finds nothing but rows to keep. The newest row always stays, so
/// that no row number is ever given twice.
pub(super) fn prune(
    transaction: &Transaction<'_>,
    (before, now): (UnixMs, UnixMs),
    after: i64,
    rows_max: usize,
) -> Result<Pruned, StoreError> {
    let page = "SELECT id, received_at FROM device_heartbeats
                WHERE id > ?1 AND id < (SELECT max(id) FROM device_heartbeats) ORDER BY id LIMIT ?2";
    let (rows, last, are_all_kept): (i64, Option<i64>, bool) = transaction
        .prepare_cached(&format!(
            "SELECT count(*), max(id), coalesce(min(received_at >= ?3 AND received_at <= ?4), 1) FROM ({page})"
        ))?
        .query_row(params![after, integer(rows_max as u64), integer(before.0), integer(now.0)], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let Some(last) = last.filter(|_| !are_all_kept) else { return Ok(Pruned::default()) };
    let deleted = transaction
        .prepare_cached("DELETE FROM device_heartbeats WHERE id > ?1 AND id <= ?2 AND received_at < ?3")?
        .execute(params![after, last, integer(before.0)])?;
    let is_full = usize::try_from(rows).is_ok_and(|rows| rows == rows_max);
    Ok(Pruned { deleted, next_after: is_full.then_some(last) })
}
