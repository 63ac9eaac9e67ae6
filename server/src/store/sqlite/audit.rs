//! The audit in SQLite: every change appends its line here, in its own transaction.

use rusqlite::{OptionalExtension, params};

use super::{SqliteReader, StoreError, Writes, filter::Filter, integer, rows, time, transaction::Transaction};
use crate::{
    audit::{GENESIS, line_hash},
    store::{
        By,
        audit::{AuditFilter, AuditReads, AuditRecord, AuditWrites},
    },
};

/// Appends a line, chained to the one before it.
pub(super) fn append(
    transaction: &Transaction<'_>,
    action: &str,
    subject: &str,
    detail: &str,
    by: &By,
) -> Result<(), StoreError> {
    let head: Option<(i64, [u8; 32])> = transaction
        .prepare_cached("SELECT last, hash FROM audit_head WHERE id = 1")?
        .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let (last, previous) = head.unwrap_or((0, GENESIS));
    let mut line = AuditRecord {
        number: last + 1,
        at: by.at,
        actor: by.name.clone(),
        address: by.address.map(|address| address.to_string()).unwrap_or_default(),
        action: action.to_owned(),
        subject: subject.to_owned(),
        detail: detail.to_owned(),
        hash: [0; 32],
    };
    line.hash = line_hash(&previous, &line);
    transaction
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
    transaction
        .prepare_cached(
            "INSERT INTO audit_head (id, last, hash) VALUES (1, ?1, ?2)
             ON CONFLICT (id) DO UPDATE SET last = excluded.last, hash = excluded.hash",
        )?
        .execute(params![line.number, line.hash.as_slice()])?;
    Ok(())
}

impl AuditWrites for Writes<'_> {
    fn note(&mut self, action: &str, subject: &str, detail: &str, by: &By) -> Result<(), StoreError> {
        append(&self.0, action, subject, detail, by)
    }
}

impl AuditReads for SqliteReader {
    fn audit(&mut self, which: &AuditFilter, after: i64, limit: usize) -> Result<Vec<AuditRecord>, StoreError> {
        let mut filter = Filter::default();
        filter.and("id > ?", after);
        filter.and_if("actor = ?", which.actor.clone());
        filter.and_if("action GLOB ?", which.action.as_ref().map(|action| format!("{action}*")));
        filter.and_if("subject = ?", which.subject.clone());
        filter.and_if("at >= ?", which.since.map(|since| integer(since.0)));
        filter.and_if("at < ?", which.until.map(|until| integer(until.0)));
        let sql = format!(
            "SELECT id, at, actor, address, action, subject, detail, hash FROM audit {} ORDER BY id LIMIT {}",
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

    fn audit_head(&mut self) -> Result<Option<(i64, [u8; 32])>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT last, hash FROM audit_head WHERE id = 1")?;
        Ok(statement.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
    }
}
