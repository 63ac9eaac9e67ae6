//! Heartbeats in SQLite, and the firmware that devices reported.

use std::sync::LazyLock;

use ks_protocol::{
    id::{DeviceId, Sequence},
    message::Heartbeat,
    time::UnixMs,
};
use rusqlite::{Connection, OptionalExtension, Row, Statement, ToSql, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, parsed, rows, span, time, time_if, unsigned},
};
use crate::store::{
    Span,
    devices::Sender,
    heartbeats::{Beat, BeatTaken, FirmwareRecord, HeartbeatReads, HeartbeatRecord, HeartbeatRows, LastHeartbeat},
};

/// The check of a heartbeat: the device as it was before, if it has the sender's key and the pair is greater. Not one statement with the change and RETURNING,
/// which would open a temporary table and a journal of its own each time.
const ACCEPTED: &str =
    "SELECT device, open_commands > 0, keyset_version, release_counter, firmware_version, rollout IS NOT NULL, last_heartbeat
    FROM device_states WHERE device = ?1 AND key_no = ?2 AND status = 1 AND (boot_epoch, seq) < (?3, ?4)";

const TAKE_BEAT: &str = "UPDATE device_states SET boot_epoch = ?2, seq = ?3, last_seen_at = ?4, last_heartbeat = ?5
    WHERE device = ?1";

const INSERT_BEATS: &str =
    "INSERT INTO device_heartbeats (id, device_id, received_at, boot_epoch, seq, uptime_s, cpu_temp_c, free_mem_kib,
        network, rssi_dbm, firmware_version, release_counter, keyset_version, sent_at, previous) VALUES ";

/// How many columns those are, and their places for one heartbeat.
const COLUMNS: usize = 15;
const PLACES: &str = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";

/// Heartbeats that one statement inserts, where there are so many: one search for the end of the table, and not one each.
const TOGETHER: usize = 16;

/// Inserts one heartbeat, and that many.
static INSERT_ONE: LazyLock<String> = LazyLock::new(|| format!("{INSERT_BEATS}{PLACES}"));
static INSERT_SEVERAL: LazyLock<String> = LazyLock::new(|| format!("{INSERT_BEATS}{}", [PLACES; TOGETHER].join(", ")));

fn beat_taken(row: &Row<'_>) -> rusqlite::Result<BeatTaken> {
    Ok(BeatTaken {
        row: row.get(0)?,
        has_open_commands: row.get(1)?,
        keyset_version: unsigned(row.get(2)?),
        release_counter: unsigned(row.get(3)?),
        firmware_version: row.get(4)?,
        is_updating: row.get(5)?,
    })
}

fn heartbeat(row: &Row<'_>) -> rusqlite::Result<LastHeartbeat> {
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
}

fn last_row(connection: &Connection) -> rusqlite::Result<i64> {
    connection.prepare_cached("SELECT coalesce(max(id), 0) FROM device_heartbeats")?.query_row([], |row| row.get(0))
}

/// A heartbeat to insert.
struct Inserted<'a> {
    row: i64,
    beat: &'a Beat,
    /// Row of the heartbeat before it of its device.
    previous: Option<i64>,
}

/// Inserts heartbeats, each as the row that it is given.
fn insert(writes: &super::Transaction<'_>, beats: &[Inserted<'_>]) -> rusqlite::Result<()> {
    let (together, rest) = beats.as_chunks::<TOGETHER>();
    let mut several = writes.prepare_cached(&INSERT_SEVERAL)?;
    let mut one = writes.prepare_cached(&INSERT_ONE)?;
    for beats in together {
        for (place, beat) in beats.iter().enumerate() {
            bind(&mut several, 1 + place * COLUMNS, beat)?;
        }
        several.raw_execute()?;
    }
    for beat in rest {
        bind(&mut one, 1, beat)?;
        one.raw_execute()?;
    }
    Ok(())
}

/// Binds the values of a heartbeat, from the parameter `first` on.
fn bind(statement: &mut Statement<'_>, first: usize, inserted: &Inserted<'_>) -> rusqlite::Result<()> {
    let Inserted { row, beat: Beat { heartbeat: beat, at }, previous } = inserted;
    let values: [&dyn ToSql; COLUMNS] = [
        row,
        &beat.device_id.as_str(),
        &integer(at.0),
        &beat.boot_epoch,
        &integer(beat.seq.get()),
        &integer(beat.uptime_s),
        &beat.cpu_temp_c,
        &integer(beat.free_mem_kib),
        &beat.network.as_str(),
        &beat.rssi_dbm,
        &beat.firmware.version.as_str(),
        &integer(beat.firmware.release_counter),
        &integer(beat.keyset_version),
        &integer(beat.sent_at.0),
        previous,
    ];
    (first..).zip(values).try_for_each(|(parameter, value)| statement.raw_bind_parameter(parameter, value))
}

impl HeartbeatRows for Writes<'_> {
    fn take_beats(&mut self, beats: &[(Sender, &Beat)]) -> Result<Vec<Option<BeatTaken>>, StoreError> {
        // The rows that the heartbeats will have are the next ones: no other program writes.
        let mut row = last_row(&self.0)? + 1;
        let mut accepted = self.0.prepare_cached(ACCEPTED)?;
        let mut take = self.0.prepare_cached(TAKE_BEAT)?;
        let mut taken = Vec::with_capacity(beats.len());
        let mut stored = Vec::with_capacity(beats.len());
        for (Sender { row: device, key_no }, beat) in beats {
            let Beat { heartbeat: Heartbeat { boot_epoch, seq, .. }, at } = beat;
            let seq = integer(seq.get());
            let known = accepted.query_row(params![device, key_no, boot_epoch, seq], |row| {
                Ok((beat_taken(row)?, row.get::<_, Option<i64>>(6)?))
            });
            let known = known.optional()?;
            if let Some((known, previous)) = &known {
                take.execute(params![known.row, boot_epoch, seq, integer(at.0), row])?;
                stored.push(Inserted { row, beat, previous: *previous });
                row += 1;
            }
            taken.push(known.map(|(known, _)| known));
        }
        insert(&self.0, &stored)?;
        Ok(taken)
    }

    fn save_reported(&mut self, reported: &[(i64, &Heartbeat)]) -> Result<(), StoreError> {
        let mut save = self.0.prepare_cached(
            "UPDATE device_states SET keyset_version = ?2, release_counter = ?3, firmware_version = ?4 WHERE device = ?1",
        )?;
        for (device, Heartbeat { keyset_version, firmware, .. }) in reported {
            let (keyset_version, counter) = (integer(*keyset_version), integer(firmware.release_counter));
            save.execute(params![device, keyset_version, counter, firmware.version.as_str()])?;
        }
        Ok(())
    }

    fn insert_firmware(&mut self, reported: &[(i64, &Beat)]) -> Result<(), StoreError> {
        let mut insert = self.0.prepare_cached(
            "INSERT INTO firmware_history (device, firmware_version, release_counter, since) VALUES (?1, ?2, ?3, ?4)",
        )?;
        for (device, Beat { heartbeat: Heartbeat { firmware, .. }, at }) in reported {
            let counter = integer(firmware.release_counter);
            insert.execute(params![device, firmware.version.as_str(), counter, integer(at.0)])?;
        }
        Ok(())
    }

    fn span_of_heartbeats(&mut self, after: i64, rows_max: usize) -> Result<Option<(Span, UnixMs)>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT count(*), max(id), min(received_at), max(received_at) FROM
                (SELECT id, received_at FROM device_heartbeats
                 WHERE id > ?1 AND id < (SELECT max(id) FROM device_heartbeats) ORDER BY id LIMIT ?2)",
        )?;
        let found = statement.query_row(params![after, rows(rows_max)], |row| {
            let count = usize::try_from(unsigned(row.get(0)?)).unwrap_or(usize::MAX);
            let (last, oldest, newest): (Option<i64>, _, _) = (row.get(1)?, time_if(row, 2)?, time_if(row, 3)?);
            let span = last.zip(oldest).map(|(last, oldest)| Span { rows: count, last, oldest });
            Ok(span.zip(newest))
        });
        Ok(found?)
    }

    fn delete_heartbeats(&mut self, after: i64, last: i64, before: UnixMs) -> Result<usize, StoreError> {
        let sql = "DELETE FROM device_heartbeats WHERE id > ?1 AND id <= ?2 AND received_at < ?3";
        Ok(self.0.prepare_cached(sql)?.execute(params![after, last, integer(before.0)])?)
    }

    fn span_of_firmware(&mut self, after: i64, rows_max: usize) -> Result<Option<Span>, StoreError> {
        span(&self.0, "firmware_history", "since", after, rows_max)
    }

    fn delete_firmware(&mut self, after: i64, last: i64, before: UnixMs) -> Result<usize, StoreError> {
        let sql = "DELETE FROM firmware_history AS f WHERE id > ?1 AND id <= ?2 AND since < ?3
             AND EXISTS (SELECT 1 FROM firmware_history n WHERE n.device = f.device AND n.id > f.id)";
        Ok(self.0.prepare_cached(sql)?.execute(params![after, last, integer(before.0)])?)
    }
}

impl HeartbeatReads for SqliteReader {
    fn heartbeats(&mut self, after: i64, limit: usize) -> Result<Vec<HeartbeatRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, device_id, boot_epoch, seq, uptime_s, received_at, release_counter FROM device_heartbeats
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let found = statement.query_map(params![after, rows(limit)], |row| {
            Ok(HeartbeatRecord {
                row: row.get(0)?,
                device_id: parsed(row, 1)?,
                sequence: Sequence::new(row.get(2)?, unsigned(row.get(3)?)),
                uptime_s: unsigned(row.get(4)?),
                received_at: time(row, 5)?,
                release_counter: unsigned(row.get(6)?),
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn last_heartbeat_row(&mut self) -> Result<i64, StoreError> {
        Ok(last_row(&self.connection)?)
    }

    fn newest_heartbeat_at(&mut self) -> Result<Option<UnixMs>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT received_at FROM device_heartbeats ORDER BY id DESC LIMIT 1")?;
        Ok(statement.query_row([], |row| time_if(row, 0)).optional()?.flatten())
    }

    fn last_heartbeat(&mut self, device_id: &DeviceId) -> Result<Option<LastHeartbeat>, StoreError> {
        Ok(self.heartbeats_of(device_id, None, 1)?.0.pop())
    }

    fn heartbeats_of(
        &mut self,
        device_id: &DeviceId,
        first: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<LastHeartbeat>, Option<i64>), StoreError> {
        let newest =
            "SELECT s.last_heartbeat FROM devices d JOIN device_states s ON s.device = d.id WHERE d.device_id = ?1";
        let mut newest = self.connection.prepare_cached(newest)?;
        let mut next = match first {
            Some(row) => Some(row),
            None => newest.query_row([device_id.as_str()], |row| row.get(0)).optional()?.flatten(),
        };
        let mut one = self.connection.prepare_cached(
            "SELECT received_at, sent_at, boot_epoch, seq, uptime_s, cpu_temp_c, free_mem_kib, network, rssi_dbm,
                    firmware_version, previous
             FROM device_heartbeats WHERE id = ?1 AND device_id = ?2",
        )?;
        let mut beats = Vec::new();
        while let Some(row) = next.filter(|_| beats.len() < limit) {
            let found = one.query_row(params![row, device_id.as_str()], |row| Ok((heartbeat(row)?, row.get(10)?)));
            let Some((beat, previous)) = found.optional()? else { return Ok((beats, None)) }; // older ones were deleted
            beats.push(beat);
            next = previous;
        }
        Ok((beats, next))
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
