//! Heartbeats in SQLite: recording one, pruning the oldest.

use ks_protocol::{
    id::{DeviceId, Sequence},
    message::Heartbeat,
    time::UnixMs,
};
use rusqlite::{OptionalExtension, params};

use super::{
    Denied, SqliteReader, StoreError, Writes, integer, old_rows, parsed, rows, standing, time, time_if,
    transaction::Transaction, unsigned,
};
use crate::{
    rules::{commands, devices::denied, updates},
    store::{
        Swept,
        heartbeats::{Due, FirmwareRecord, HeartbeatReads, HeartbeatRecord, HeartbeatWrites, LastHeartbeat},
    },
};

/// A device whose pair was taken, as it was known before this heartbeat.
struct Advanced {
    row: i64,
    open_commands: i64,
    keyset_version: i64,
    release_counter: i64,
    firmware_version: String,
    rollout: Option<i64>,
}

impl HeartbeatWrites for Writes<'_> {
    fn record_beat(&mut self, beat: &Heartbeat, at: UnixMs) -> Result<Result<Due, Denied>, StoreError> {
        let Some(device) = advance(&self.0, beat, at)? else {
            return Ok(Err(denied(standing(&self.0, &beat.device_id)?)));
        };
        insert(&self.0, beat, at)?;
        note_changes(&self.0, &device, beat, at)?;
        let mut due = Due::default();
        if device.rollout.is_some() {
            (due.firmware, due.is_update_further) = updates::on_beat(self, device.row, beat, at)?;
        }
        if device.open_commands > 0 {
            for ack in beat.acks.as_slice() {
                commands::apply_ack(self, device.row, ack, at)?;
            }
            due.commands = commands::deliver(self, device.row, at)?;
        }
        Ok(Ok(due))
    }

    fn prune_heartbeats(
        &mut self,
        before: UnixMs,
        now: UnixMs,
        after: i64,
        rows_max: usize,
    ) -> Result<Swept, StoreError> {
        let (count, last, are_all_kept): (i64, Option<i64>, bool) = self
            .0
            .prepare_cached(
                "SELECT count(*), max(id), coalesce(min(received_at >= ?3 AND received_at <= ?4), 1) FROM
                    (SELECT id, received_at FROM device_heartbeats
                     WHERE id > ?1 AND id < (SELECT max(id) FROM device_heartbeats) ORDER BY id LIMIT ?2)",
            )?
            .query_row(params![after, rows(rows_max), integer(before.0), integer(now.0)], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?;
        let Some(last) = last.filter(|_| !are_all_kept) else { return Ok(Swept::default()) };
        let deleted = self
            .0
            .prepare_cached("DELETE FROM device_heartbeats WHERE id > ?1 AND id <= ?2 AND received_at < ?3")?
            .execute(params![after, last, integer(before.0)])?;
        Ok(Swept { rows: deleted, next_after: (count == rows(rows_max)).then_some(last) })
    }

    fn prune_firmware_history(&mut self, before: UnixMs, after: i64, rows_max: usize) -> Result<Swept, StoreError> {
        let Some((last, next_after)) = old_rows(&self.0, "firmware_history", "since", before, after, rows_max)? else {
            return Ok(Swept::default());
        };
        let deleted = self
            .0
            .prepare_cached(
                "DELETE FROM firmware_history AS f WHERE id > ?1 AND id <= ?2 AND since < ?3
                 AND EXISTS (SELECT 1 FROM firmware_history n WHERE n.device = f.device AND n.id > f.id)",
            )?
            .execute(params![after, last, integer(before.0)])?;
        Ok(Swept { rows: deleted, next_after })
    }
}

/// Takes the pair for a registered device if it is greater than the one kept: the gate of a heartbeat. Also says which row the
/// heartbeat will have: the next one.
fn advance(transaction: &Transaction<'_>, beat: &Heartbeat, at: UnixMs) -> Result<Option<Advanced>, StoreError> {
    let mut statement = transaction.prepare_cached(
        "UPDATE device_states SET boot_epoch = ?2, seq = ?3, last_seen_at = ?4,
                last_heartbeat = (SELECT coalesce(max(id), 0) + 1 FROM device_heartbeats)
         WHERE device = (SELECT id FROM devices WHERE device_id = ?1) AND status = 1 AND (boot_epoch, seq) < (?2, ?3)
         RETURNING device, open_commands, keyset_version, release_counter, firmware_version, rollout",
    )?;
    let parameters = params![beat.device_id.as_str(), beat.boot_epoch, integer(beat.seq.get()), integer(at.0)];
    let advanced = statement.query_row(parameters, |row| {
        Ok(Advanced {
            row: row.get(0)?,
            open_commands: row.get(1)?,
            keyset_version: row.get(2)?,
            release_counter: row.get(3)?,
            firmware_version: row.get(4)?,
            rollout: row.get(5)?,
        })
    });
    Ok(advanced.optional()?)
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

/// Keeps what the device says of itself, where it says something new.
fn note_changes(
    transaction: &Transaction<'_>,
    known: &Advanced,
    beat: &Heartbeat,
    at: UnixMs,
) -> Result<(), StoreError> {
    let (version, counter) = (beat.firmware.version.as_str(), integer(beat.firmware.release_counter));
    let keyset_version = integer(beat.keyset_version);
    let is_same_firmware = known.firmware_version == version && known.release_counter == counter;
    if is_same_firmware && known.keyset_version == keyset_version {
        return Ok(());
    }
    transaction
        .prepare_cached(
            "UPDATE device_states SET keyset_version = ?2, release_counter = ?3, firmware_version = ?4 WHERE device = ?1",
        )?
        .execute(params![known.row, keyset_version, counter, version])?;
    if !is_same_firmware {
        transaction
            .prepare_cached(
                "INSERT INTO firmware_history (device, firmware_version, release_counter, since) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![known.row, version, counter, integer(at.0)])?;
    }
    Ok(())
}

impl HeartbeatReads for SqliteReader {
    fn heartbeats(&mut self, after: i64, limit: usize) -> Result<Vec<HeartbeatRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, device_id, boot_epoch, seq, uptime_s, received_at FROM device_heartbeats WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let found = statement.query_map(params![after, rows(limit)], |row| {
            Ok(HeartbeatRecord {
                row: row.get(0)?,
                device_id: parsed(row, 1)?,
                sequence: Sequence::new(row.get(2)?, unsigned(row.get(3)?)),
                uptime_s: unsigned(row.get(4)?),
                received_at: time(row, 5)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn last_heartbeat_row(&mut self) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT coalesce(max(id), 0) FROM device_heartbeats")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    fn newest_heartbeat_at(&mut self) -> Result<Option<UnixMs>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT received_at FROM device_heartbeats ORDER BY id DESC LIMIT 1")?;
        Ok(statement.query_row([], |row| time_if(row, 0)).optional()?.flatten())
    }

    fn last_heartbeat(&mut self, device_id: &DeviceId) -> Result<Option<LastHeartbeat>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT h.received_at, h.sent_at, h.boot_epoch, h.seq, h.uptime_s, h.cpu_temp_c, h.free_mem_kib, h.network,
                    h.rssi_dbm, h.firmware_version
             FROM devices d JOIN device_states s ON s.device = d.id JOIN device_heartbeats h ON h.id = s.last_heartbeat
             WHERE d.device_id = ?1 AND h.device_id = ?1",
        )?;
        let last = statement.query_row([device_id.as_str()], |row| {
            Ok(LastHeartbeat {
                received_at: time(row, 0)?,
                sent_at: time(row, 1)?,
                sequence: Sequence::new(row.get(2)?, unsigned(row.get(3)?)),
                uptime_s: unsigned(row.get(4)?),
                cpu_temp_c: row.get(5)?,
                free_mem_kib: unsigned(row.get(6)?),
                network: row.get(7)?,
                rssi_dbm: row.get(8)?,
                firmware_version: row.get(9)?,
            })
        });
        Ok(last.optional()?)
    }

    fn firmware_history(&mut self, device_id: &DeviceId, limit: usize) -> Result<Vec<FirmwareRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT f.firmware_version, f.release_counter, f.since FROM firmware_history f
             JOIN devices d ON d.id = f.device WHERE d.device_id = ?1 ORDER BY f.id DESC LIMIT ?2",
        )?;
        let found = statement.query_map(params![device_id.as_str(), rows(limit)], |row| {
            Ok(FirmwareRecord {
                firmware_version: row.get(0)?,
                release_counter: unsigned(row.get(1)?),
                since: time(row, 2)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
