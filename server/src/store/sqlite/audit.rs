//! The audit in SQLite.

use rusqlite::{OptionalExtension, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, rows, time},
    filter::Filter,
};
use crate::store::audit::{
    AuditFilter, AuditReads, AuditRecord, AuditRows, PrunedAuditRows,
    chain::{Audited, Head},
};

impl AuditRows for Writes<'_> {
    fn audit_head_for_update(&mut self) -> Result<Option<Head>, StoreError> {
        // This is the only writer: SQLite admits no other one.
        let mut statement = self.0.prepare_cached("SELECT last, hash FROM audit_head WHERE id = 1")?;
        Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }

    fn append_audit(&mut self, line: &AuditRecord) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "INSERT INTO audit (id, at, actor, address, action, subject, detail, hash)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                line.number,
                integer(line.at.0),
                line.actor,
                line.address,
                line.action,
                line.subject,
                line.detail,
                line.hash.as_slice()
            ])?;
        self.0
            .prepare_cached(
                "INSERT INTO audit_head (id, last, hash) VALUES (1, ?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET last = excluded.last, hash = excluded.hash",
            )?
            .execute(params![line.number, line.hash.as_slice()])?;
        Ok(())
    }
}

impl PrunedAuditRows for Writes<'_> {
    fn oldest_audit(&mut self, last: i64, rows_max: usize) -> Result<Option<(i64, Head)>, StoreError> {
        let mut statement = self.0.prepare_cached(
            "SELECT (SELECT min(id) FROM audit), id, hash FROM audit WHERE id =
                (SELECT max(id) FROM (SELECT id FROM audit WHERE id <= ?1 ORDER BY id LIMIT ?2))",
        )?;
        let oldest =
            statement.query_row(params![last, rows(rows_max)], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))));
        Ok(oldest.optional()?)
    }

    fn delete_audit_to(&mut self, (last, hash): Head, _: &Audited) -> Result<usize, StoreError> {
        let deleted = self.0.prepare_cached("DELETE FROM audit WHERE id <= ?1")?.execute([last])?;
        self.0
            .prepare_cached(
                "INSERT INTO audit_base (id, last, hash) VALUES (1, ?1, ?2)
                 ON CONFLICT (id) DO UPDATE SET last = excluded.last, hash = excluded.hash",
            )?
            .execute(params![last, hash.as_slice()])?;
        Ok(deleted)
    }
}

impl AuditReads for SqliteReader {
    fn audit(&mut self, which: &AuditFilter, after: i64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let mut filter = Filter::default();
        let (beyond, direction) = if which.newest_first { ("id < ?", "DESC") } else { ("id > ?", "ASC") };
        filter.and(beyond, after);
        filter.and_if("actor = ?", which.actor.clone());
        filter.and_if("action GLOB ?", which.action.as_ref().map(|action| format!("{action}*")));
        filter.and_if("subject = ?", which.subject.clone());
        filter.and_if("at >= ?", which.since.map(|since| integer(since.0)));
        filter.and_if("at < ?", which.until.map(|until| integer(until.0)));
        let sql = format!(
            "SELECT id, at, actor, address, action, subject, detail, hash FROM audit {} ORDER BY id {direction} LIMIT {}",
            filter.clause(),
            rows(limit)
        );
        let mut statement = self.connection.prepare(&sql)?;
        let found = statement.query_map(filter.values().as_slice(), |row| {
            Ok(AuditRecord {
                number: row.get(0)?,
                at: time(row, 1)?,
                actor: row.get(2)?,
                address: row.get(3)?,
                action: row.get(4)?,
                subject: row.get(5)?,
                detail: row.get(6)?,
                hash: row.get(7)?,
            })
        })?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn audit_head(&mut self) -> Result<Option<Head>, StoreError> {
        noted(self, "SELECT last, hash FROM audit_head WHERE id = 1")
    }

    fn audit_base(&mut self) -> Result<Option<Head>, StoreError> {
        noted(self, "SELECT last, hash FROM audit_base WHERE id = 1")
    }
}

fn noted(reader: &SqliteReader, sql: &str) -> Result<Option<Head>, StoreError> {
    let found = reader.connection.prepare_cached(sql)?.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(found.optional()?)
}
