//! Releases in SQLite.

use ks_protocol::{id::ReleaseId, text::Sha256};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::{SqliteReader, StoreError, Writes, audit::append, integer, parsed, rows, time, unsigned, word};
use crate::store::{
    By,
    releases::{
        ArtifactRecord, NewRelease, ReleaseChange, ReleaseReads, ReleaseRecord, ReleaseRefused, ReleaseState,
        ReleaseWrites,
    },
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

fn artifact_bytes(connection: &Connection, sha256: Sha256) -> Result<Option<u64>, StoreError> {
    let mut statement = connection.prepare_cached("SELECT size_bytes FROM artifacts WHERE sha256 = ?1")?;
    Ok(statement.query_row([sha256.0.as_slice()], |row| row.get(0).map(unsigned)).optional()?)
}

impl ReleaseWrites for Writes<'_> {
    fn release_now(&mut self, release_id: &ReleaseId) -> Result<Option<ReleaseRecord>, StoreError> {
        find(&self.0, release_id)
    }

    fn keep_artifact(&mut self, sha256: Sha256, size_bytes: u64, by: &By) -> Result<(), StoreError> {
        let kept = self
            .0
            .prepare_cached(
                "INSERT INTO artifacts (sha256, size_bytes, stored_at) VALUES (?1, ?2, ?3)
                 ON CONFLICT (sha256) DO UPDATE SET fault = NULL WHERE fault IS NOT NULL",
            )?
            .execute(params![sha256.0.as_slice(), integer(size_bytes), integer(by.at.0)])?;
        if kept > 0 {
            append(&self.0, "artifact.upload", &sha256.to_string(), &format!("{size_bytes} bytes"), by)?;
        }
        Ok(())
    }

    fn note_artifact(&mut self, sha256: Sha256, fault: Option<&str>, by: &By) -> Result<(), StoreError> {
        self.0
            .prepare_cached("UPDATE artifacts SET fault = ?2 WHERE sha256 = ?1")?
            .execute(params![sha256.0.as_slice(), fault])?;
        let action = if fault.is_some() { "artifact.broken" } else { "artifact.sound" };
        append(&self.0, action, &sha256.to_string(), fault.unwrap_or_default(), by)
    }

    fn artifact_fault_now(&mut self, sha256: Sha256) -> Result<Option<String>, StoreError> {
        let mut statement = self.0.prepare_cached("SELECT fault FROM artifacts WHERE sha256 = ?1")?;
        Ok(statement.query_row([sha256.0.as_slice()], |row| row.get(0)).optional()?.flatten())
    }

    fn draft_release(&mut self, new: &NewRelease, by: &By) -> Result<Result<(), ReleaseRefused>, StoreError> {
        if let Some(known) = find(&self.0, &new.release_id)? {
            let is_same = known.manifest == new.manifest;
            return Ok(if is_same { Ok(()) } else { Err(ReleaseRefused::NameTaken(new.release_id.clone())) });
        }
        let same_counter = self
            .0
            .prepare_cached("SELECT release_id FROM releases WHERE product = ?1 AND release_counter = ?2")?
            .query_row(params![new.product, integer(new.release_counter)], |row| parsed(row, 0))
            .optional()?;
        if let Some(taken) = same_counter {
            return Ok(Err(ReleaseRefused::CounterTaken(taken)));
        }
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
                integer(by.at.0)
            ])?;
        let detail = format!("{} {} counter {}", new.product, new.version, new.release_counter);
        append(&self.0, "release.draft", new.release_id.as_str(), &detail, by)?;
        Ok(Ok(()))
    }

    fn change_release(&mut self, change: &ReleaseChange, by: &By) -> Result<Result<(), ReleaseRefused>, StoreError> {
        let ReleaseChange { release_id, state, manifest, reason } = change;
        let Some(known) = find(&self.0, release_id)? else {
            return Ok(Err(ReleaseRefused::Unknown(release_id.clone())));
        };
        if known.state == *state {
            return Ok(Ok(())); // said again
        }
        if !known.state.may_become(*state) {
            let (release_id, is, wanted) = (release_id.clone(), known.state, *state);
            return Ok(Err(ReleaseRefused::State { release_id, is, wanted }));
        }
        if *state == ReleaseState::Staged && artifact_bytes(&self.0, known.sha256)?.is_none() {
            return Ok(Err(ReleaseRefused::NoArtifact(known.sha256)));
        }
        // From STAGED on nothing of it changes any more.
        let manifest = manifest.as_ref().filter(|_| *state == ReleaseState::Staged);
        self.0
            .prepare_cached(
                "UPDATE releases SET state = ?2, manifest = coalesce(?3, manifest), changed_at = ?4, reason = ?5 WHERE id = ?1",
            )?
            .execute(params![known.row, state.as_str(), manifest, integer(by.at.0), reason])?;
        let action = match state {
            ReleaseState::Draft => "release.draft",
            ReleaseState::Staged => "release.stage",
            ReleaseState::Active => "release.activate",
            ReleaseState::Revoked => "release.revoke",
        };
        append(&self.0, action, release_id.as_str(), reason, by)?;
        Ok(Ok(()))
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
        artifact_bytes(&self.connection, sha256)
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
