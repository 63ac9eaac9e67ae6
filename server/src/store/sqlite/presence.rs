//! What presence is reckoned from, in SQLite.

use ks_protocol::time::UnixMs;
use rusqlite::{OptionalExtension, params};

use super::{SqliteReader, StoreError, Writes, integer, parsed, rows, status_of, time, time_if, unsigned};
use crate::store::presence::{HeardRecord, ObservationGap, PresenceReads, PresenceWrites};

impl PresenceWrites for Writes<'_> {
    fn alive(&mut self, at: UnixMs, gap_min_ms: u64) -> Result<(), StoreError> {
        let last: Option<i64> = self
            .0
            .prepare_cached("SELECT at FROM server_alive WHERE id = 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        if let Some(last) = last.map(|last| UnixMs(unsigned(last)))
            && at.since_ms(last) > gap_min_ms
        {
            self.0
                .prepare_cached("INSERT INTO observation_gaps (from_at, to_at) VALUES (?1, ?2)")?
                .execute(params![integer(last.0), integer(at.0)])?;
        }
        self.0
            .prepare_cached(
                "INSERT INTO server_alive (id, at) VALUES (1, ?1)
                 ON CONFLICT (id) DO UPDATE SET at = max(at, excluded.at)",
            )?
            .execute([integer(at.0)])?;
        Ok(())
    }

    fn forget_gaps(&mut self, before: UnixMs) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM observation_gaps WHERE to_at < ?1")?.execute([integer(before.0)])?;
        Ok(())
    }
}

impl PresenceReads for SqliteReader {
    fn gaps(&mut self, since: UnixMs) -> Result<Vec<ObservationGap>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT from_at, to_at FROM observation_gaps WHERE to_at > ?1 ORDER BY from_at")?;
        let found = statement
            .query_map([integer(since.0)], |row| Ok(ObservationGap { from: time(row, 0)?, to: time(row, 1)? }))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn heard(&mut self, after: i64, limit: usize) -> Result<Vec<HeardRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT d.id, d.device_id, d.model, d.site, s.status, s.last_seen_at
             FROM devices d JOIN device_states s ON s.device = d.id WHERE d.id > ?1 ORDER BY d.id LIMIT ?2",
        )?;
        let found = statement.query_map(params![after, rows(limit)], |row| {
            Ok(HeardRecord {
                row: row.get(0)?,
                device_id: parsed(row, 1)?,
                model: row.get(2)?,
                site: row.get(3)?,
                status: status_of(row.get(4)?),
                last_seen_at: time_if(row, 5)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
