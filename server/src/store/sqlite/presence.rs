//! The data that presence is computed from, in SQLite.

use ks_protocol::time::UnixMs;
use rusqlite::{OptionalExtension, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, parsed, rows, status_of, time, time_if},
    filter::Filter,
};
use crate::store::{
    devices::Selector,
    presence::{LastSeenRecord, ObservationGap, PresenceReads, PresenceRows, ServerLiveness},
};

impl PresenceRows for Writes<'_> {
    fn server_alive(&mut self) -> Result<Option<ServerLiveness>, StoreError> {
        let mut statement =
            self.0.prepare_cached("SELECT at, behind_from, behind_to FROM server_alive WHERE id = 1")?;
        let found = statement.query_row([], |row| {
            Ok(ServerLiveness { at: time(row, 0)?, behind: time_if(row, 1)?.zip(time_if(row, 2)?) })
        });
        Ok(found.optional()?)
    }

    fn save_server_alive(&mut self, ServerLiveness { at, behind }: ServerLiveness) -> Result<(), StoreError> {
        let (from, to) = behind.map(|(from, to)| (integer(from.0), integer(to.0))).unzip();
        self.0
            .prepare_cached(
                "INSERT INTO server_alive (id, at, behind_from, behind_to) VALUES (1, ?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET at = excluded.at, behind_from = excluded.behind_from,
                    behind_to = excluded.behind_to",
            )?
            .execute(params![integer(at.0), from, to])?;
        Ok(())
    }

    fn gap_start(&mut self, from_max: UnixMs, to_min: UnixMs) -> Result<Option<UnixMs>, StoreError> {
        let mut statement =
            self.0.prepare_cached("SELECT min(from_at) FROM observation_gaps WHERE from_at <= ?1 AND to_at > ?2")?;
        Ok(statement.query_row(params![integer(from_max.0), integer(to_min.0)], |row| time_if(row, 0))?)
    }

    fn made_at(&mut self) -> Result<Option<UnixMs>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT min(applied_at) FROM schema_migrations")?;
        Ok(statement.query_row([], |row| time_if(row, 0))?)
    }

    fn insert_gap(&mut self, gap: ObservationGap) -> Result<(), StoreError> {
        self.0
            .prepare_cached("INSERT INTO observation_gaps (from_at, to_at) VALUES (?1, ?2)")?
            .execute(params![integer(gap.from.0), integer(gap.to.0)])?;
        Ok(())
    }

    fn delete_gaps_after(&mut self, at: UnixMs) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM observation_gaps WHERE to_at > ?1")?.execute([integer(at.0)])?;
        Ok(())
    }

    fn forget_gaps(&mut self, before: UnixMs) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM observation_gaps WHERE to_at < ?1")?.execute([integer(before.0)])?;
        Ok(())
    }

    fn move_last_seen(&mut self, (from, to): (UnixMs, UnixMs), heard_at: UnixMs) -> Result<usize, StoreError> {
        let sql = "UPDATE device_states SET last_seen_at = ?1 WHERE last_seen_at BETWEEN ?2 AND ?3";
        Ok(self.0.prepare_cached(sql)?.execute(params![integer(heard_at.0), integer(from.0), integer(to.0)])?)
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

    fn last_seen(&mut self, which: &Selector, after: i64, limit: usize) -> Result<Vec<LastSeenRecord>, StoreError> {
        let mut filter = Filter::default();
        filter.and("d.id > ?", after);
        filter.of_devices(which)?;
        let sql = format!(
            "SELECT d.id, d.device_id, d.model, d.site, s.status, s.last_seen_at, d.registered_at, s.firmware_version
             FROM devices d JOIN device_states s ON s.device = d.id {} ORDER BY d.id LIMIT {}",
            filter.clause(),
            rows(limit)
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), |row| {
            Ok(LastSeenRecord {
                row: row.get(0)?,
                device_id: parsed(row, 1)?,
                model: row.get(2)?,
                site: row.get(3)?,
                status: status_of(row.get(4)?),
                last_seen_at: time_if(row, 5)?,
                registered_at: time_if(row, 6)?,
                firmware_version: row.get(7)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }
}
