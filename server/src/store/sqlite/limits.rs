//! Applied limits in SQLite.

use rusqlite::{OptionalExtension, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, time, unsigned, word},
};
use crate::store::{
    audit::chain::Audited,
    limits::{LimitOrigin, LimitReads, LimitRows, LimitSet},
};

impl LimitRows for Writes<'_> {
    fn newest_limits_version(&mut self) -> Result<u64, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT coalesce(max(version), 0) FROM limit_sets")?;
        Ok(statement.query_row([], |row| row.get(0).map(unsigned))?)
    }

    fn insert_limits(&mut self, limits: &LimitSet, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "INSERT INTO limit_sets (version, document, origin, basis, actor, created_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                integer(limits.version),
                limits.document,
                limits.origin.as_str(),
                integer(limits.basis),
                limits.actor,
                integer(limits.at.0)
            ])?;
        Ok(())
    }
}

impl LimitReads for SqliteReader {
    fn limit_set(&mut self, version: u64) -> Result<Option<LimitSet>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT version, document, origin, basis, actor, created_at FROM limit_sets WHERE version = ?1",
        )?;
        let found = statement.query_row([integer(version)], |row| {
            Ok(LimitSet {
                version: unsigned(row.get(0)?),
                document: row.get(1)?,
                origin: word(row, 2, LimitOrigin::from_word)?,
                basis: unsigned(row.get(3)?),
                actor: row.get(4)?,
                at: time(row, 5)?,
            })
        });
        Ok(found.optional()?)
    }
}
