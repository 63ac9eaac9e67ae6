//! Questions to SQLite, on a read-only connection of their own.

use std::path::Path;

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PublicKey,
    time::UnixMs,
};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{StoreError, integer, open_read_only, status_of, unsigned};
use crate::{
    command::CommandState,
    config::StartError,
    store::{CommandRecord, DeviceRecord, HeartbeatRecord, StoreReader},
};

/// A reader of one SQLite file; sees what is committed.
pub struct SqliteReader {
    connection: Connection,
}

impl SqliteReader {
    /// Opens the file, which a store must have made.
    pub fn open(path: &Path) -> Result<Self, StartError> {
        let connection = open_read_only(path)
            .map_err(|error| StartError::BadDatabase { path: path.to_owned(), why: error.to_string() })?;
        Ok(Self { connection })
    }
}

/// A text from the store as an identifier; what is not one was not written by this program.
fn parsed<T: std::str::FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(index)?;
    text.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<UnixMs>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(|ms| UnixMs(unsigned(ms))))
}

const DEVICE: &str =
    "SELECT d.id, d.device_id, d.public_key, d.model, d.site, s.status, s.boot_epoch, s.seq, d.registered_at,
    s.last_seen_at FROM devices d JOIN device_states s ON s.device = d.id";

fn device(row: &Row<'_>) -> rusqlite::Result<DeviceRecord> {
    Ok(DeviceRecord {
        row: row.get(0)?,
        device_id: parsed(row, 1)?,
        public_key: PublicKey(row.get(2)?),
        model: row.get(3)?,
        site: row.get(4)?,
        status: status_of(row.get(5)?),
        sequence: Sequence::new(row.get(6)?, unsigned(row.get(7)?)),
        registered_at: time(row, 8)?,
        last_seen_at: time(row, 9)?,
    })
}

impl StoreReader for SqliteReader {
    fn device(&mut self, device_id: &DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(&format!("{DEVICE} WHERE d.device_id = ?1"))?;
        Ok(statement.query_row([device_id.as_str()], device).optional()?)
    }

    fn devices(&mut self, after: i64, limit: usize) -> Result<Vec<DeviceRecord>, StoreError> {
        let mut statement =
            self.connection.prepare_cached(&format!("{DEVICE} WHERE d.id > ?1 ORDER BY d.id LIMIT ?2"))?;
        let rows = statement.query_map(params![after, integer(limit as u64)], device)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn heartbeats(&mut self, after: i64, limit: usize) -> Result<Vec<HeartbeatRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT id, device_id, boot_epoch, seq, uptime_s, received_at FROM device_heartbeats WHERE id > ?1 ORDER BY id LIMIT ?2",
        )?;
        let rows = statement.query_map(params![after, integer(limit as u64)], |row| {
            Ok(HeartbeatRecord {
                row: row.get(0)?,
                device_id: parsed(row, 1)?,
                sequence: Sequence::new(row.get(2)?, unsigned(row.get(3)?)),
                uptime_s: unsigned(row.get(4)?),
                received_at: UnixMs(unsigned(row.get(5)?)),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn last_heartbeat_row(&mut self) -> Result<i64, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT coalesce(max(id), 0) FROM device_heartbeats")?;
        Ok(statement.query_row([], |row| row.get(0))?)
    }

    fn newest_heartbeat_at(&mut self) -> Result<Option<UnixMs>, StoreError> {
        let mut statement =
            self.connection.prepare_cached("SELECT received_at FROM device_heartbeats ORDER BY id DESC LIMIT 1")?;
        Ok(statement.query_row([], |row| time(row, 0)).optional()?.flatten())
    }

    fn commands(&mut self, after: i64, limit: usize) -> Result<Vec<CommandRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT c.id, c.command_id, d.device_id, c.kind, c.state FROM commands c JOIN devices d ON d.id = c.device
             WHERE c.id > ?1 ORDER BY c.id LIMIT ?2",
        )?;
        let rows = statement.query_map(params![after, integer(limit as u64)], |row| {
            let word: String = row.get(4)?;
            let state = CommandState::from_word(&word).ok_or(rusqlite::Error::InvalidQuery)?;
            Ok(CommandRecord {
                row: row.get(0)?,
                command_id: parsed(row, 1)?,
                device_id: parsed(row, 2)?,
                kind: row.get(3)?,
                state,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
