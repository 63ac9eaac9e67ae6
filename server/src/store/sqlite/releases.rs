//! Releases in SQLite.

use ks_protocol::{id::ReleaseId, text::Sha256, time::UnixMs};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{
    SqliteReader, StoreError, Writes,
    columns::{integer, parsed, rows, time, unsigned, word},
};
use crate::store::{
    audit::chain::Audited,
    releases::{ArtifactRecord, NewRelease, ReleaseReads, ReleaseRecord, ReleaseRows, ReleaseState},
};

/// The columns of a release, in the order that [`release_at`] reads them.
pub(super) const COLUMNS: &str = "e.id, e.release_id, e.product, e.version, e.release_counter, e.sha256, e.manifest, e.state, e.created_at, e.changed_at, e.reason";

/// A release whose [`COLUMNS`] begin at `first`.
pub(super) fn release_at(row: &Row<'_>, first: usize) -> rusqlite::Result<ReleaseRecord> {
    Ok(ReleaseRecord {
        row: row.get(first)?,
        release_id: parsed(row, first + 1)?,
        product: row.get(first + 2)?,
        version: row.get(first + 3)?,
        release_counter: unsigned(row.get(first + 4)?),
        sha256: Sha256(row.get(first + 5)?),
        manifest: row.get(first + 6)?,
        state: word(row, first + 7, ReleaseState::from_word)?,
        created_at: time(row, first + 8)?,
        changed_at: time(row, first + 9)?,
        reason: row.get(first + 10)?,
    })
}

/// A release by its name.
pub(super) fn find(connection: &Connection, release_id: &ReleaseId) -> Result<Option<ReleaseRecord>, StoreError> {
    let sql = format!("SELECT {COLUMNS} FROM releases e WHERE e.release_id = ?1");
    let mut statement = connection.prepare_cached(&sql)?;
    Ok(statement.query_row([release_id.as_str()], |row| release_at(row, 0)).optional()?)
}

impl ReleaseRows for Writes<'_> {
    fn release(&mut self, release_id: &ReleaseId) -> Result<Option<ReleaseRecord>, StoreError> {
        find(&self.0, release_id)
    }

    fn release_with_counter(&mut self, product: &str, release_counter: u64) -> Result<Option<ReleaseId>, StoreError> {
        let mut statement =
            self.0.prepare_cached("SELECT release_id FROM releases WHERE product = ?1 AND release_counter = ?2")?;
        Ok(statement.query_row(params![product, integer(release_counter)], |row| parsed(row, 0)).optional()?)
    }

    fn insert_release(&mut self, new: &NewRelease, at: UnixMs, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "INSERT INTO releases (release_id, product, version, release_counter, sha256, manifest, state, created_at, changed_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, 'DRAFT', ?7, ?7)",
            )?
            .execute(params![
                new.release_id.as_str(),
                new.product,
                new.version,
                integer(new.release_counter),
                new.sha256.0.as_slice(),
                new.manifest,
                integer(at.0)
            ])?;
        Ok(())
    }

    fn save_release(&mut self, release: &ReleaseRecord, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached(
                "UPDATE releases SET state = ?2, manifest = ?3, changed_at = ?4, reason = ?5 WHERE id = ?1",
            )?
            .execute(params![
                release.row,
                release.state.as_str(),
                release.manifest,
                integer(release.changed_at.0),
                release.reason
            ])?;
        Ok(())
    }

    fn artifact(&mut self, sha256: Sha256) -> Result<Option<ArtifactRecord>, StoreError> {
        let mut statement =
            self.0.prepare_cached("SELECT sha256, size_bytes, fault FROM artifacts WHERE sha256 = ?1")?;
        Ok(statement.query_row([sha256.0.as_slice()], artifact).optional()?)
    }

    fn insert_artifact(&mut self, sha256: Sha256, size_bytes: u64, at: UnixMs, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached("INSERT INTO artifacts (sha256, size_bytes, stored_at) VALUES (?1, ?2, ?3)")?
            .execute(params![sha256.0.as_slice(), integer(size_bytes), integer(at.0)])?;
        Ok(())
    }

    fn set_artifact_fault(&mut self, sha256: Sha256, fault: Option<&str>, _: &Audited) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE artifacts SET fault = ?2 WHERE sha256 = ?1")?
            .execute(params![sha256.0.as_slice(), fault])?;
        Ok(())
    }
}

fn artifact(row: &Row<'_>) -> rusqlite::Result<ArtifactRecord> {
    Ok(ArtifactRecord { sha256: Sha256(row.get(0)?), size_bytes: unsigned(row.get(1)?), fault: row.get(2)? })
}

impl ReleaseReads for SqliteReader {
    fn release(&mut self, release_id: &ReleaseId) -> Result<Option<ReleaseRecord>, StoreError> {
        find(&self.connection, release_id)
    }

    fn releases(&mut self, after: i64, limit: usize) -> Result<Vec<ReleaseRecord>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM releases e WHERE e.id > ?1 ORDER BY e.id LIMIT ?2");
        let mut statement = self.connection.prepare_cached(&sql)?;
        let found = statement.query_map(params![after, rows(limit)], |row| release_at(row, 0))?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn artifact_bytes(&mut self, sha256: Sha256) -> Result<Option<u64>, StoreError> {
        let mut statement = self.connection.prepare_cached("SELECT size_bytes FROM artifacts WHERE sha256 = ?1")?;
        Ok(statement.query_row([sha256.0.as_slice()], |row| row.get(0).map(unsigned)).optional()?)
    }

    fn offered_artifact_after(&mut self, after: Option<Sha256>) -> Result<Option<ArtifactRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT a.sha256, a.size_bytes, a.fault FROM artifacts a WHERE (?1 IS NULL OR a.sha256 > ?1)
                AND EXISTS (SELECT 1 FROM releases e WHERE e.sha256 = a.sha256 AND e.state = 'ACTIVE')
             ORDER BY a.sha256 LIMIT 1",
        )?;
        let after = after.as_ref().map(|after| after.0.as_slice());
        Ok(statement.query_row([after], artifact).optional()?)
    }

    fn broken_artifacts(&mut self) -> Result<Vec<ArtifactRecord>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT a.sha256, a.size_bytes, a.fault FROM artifacts a WHERE a.fault IS NOT NULL
                AND EXISTS (SELECT 1 FROM releases e WHERE e.sha256 = a.sha256 AND e.state = 'ACTIVE')
             ORDER BY a.sha256 LIMIT 1000",
        )?;
        let found = statement.query_map([], artifact)?;
        Ok(found.collect::<Result<_, _>>()?)
    }

    fn offered_artifact_bytes(&mut self, sha256: Sha256) -> Result<Option<u64>, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT size_bytes FROM artifacts WHERE sha256 = ?1 AND fault IS NULL
                AND EXISTS (SELECT 1 FROM releases WHERE sha256 = ?1 AND state = 'ACTIVE')",
        )?;
        Ok(statement.query_row([sha256.0.as_slice()], |row| row.get(0).map(unsigned)).optional()?)
    }
}
