//! What presence is reckoned from, in SQLite.

use std::time::Duration;

use ks_protocol::time::UnixMs;
use rusqlite::{OptionalExtension, params};

use super::{
    SqliteReader, StoreError, Writes, integer, parsed, rows, status_of, time, time_if, transaction::Transaction,
};
use crate::{
    clock::{AHEAD_MAX, is_ahead, ms},
    store::presence::{HeardRecord, ObservationGap, PresenceReads, PresenceWrites},
};

/// How long before a clock was set right what was heard under it counts as heard, where nothing says when it went wrong.
const WRONG_FOR: Duration = Duration::from_hours(1);
/// How long before and after the first and last word of a server under a wrong clock devices may have been heard under it.
const BETWEEN_WORDS: Duration = Duration::from_mins(2);

impl PresenceWrites for Writes<'_> {
    fn alive(&mut self, at: UnixMs, gap_min_ms: u64) -> Result<(), StoreError> {
        let last = self
            .0
            .prepare_cached("SELECT at, behind_from, behind_to FROM server_alive WHERE id = 1")?
            .query_row([], |row| Ok((time(row, 0)?, time_if(row, 1)?.zip(time_if(row, 2)?))))
            .optional()?;
        if let Some((last, behind)) = last {
            if is_ahead(last, at) {
                let wrong_from = went_wrong_at(&self.0, at)?;
                return wrong_from.map_or_else(|| is_behind(&self.0, at), |from| was_ahead(&self.0, from, at));
            }
            if let Some(behind) = behind {
                was_behind(&self.0, behind, last)?;
            }
            if at.since_ms(last) > gap_min_ms {
                gap(&self.0, last, at)?;
            }
        }
        self.0
            .prepare_cached(
                "INSERT INTO server_alive (id, at) VALUES (1, ?1)
                 ON CONFLICT (id) DO UPDATE SET at = max(at, excluded.at), behind_from = NULL, behind_to = NULL",
            )?
            .execute([integer(at.0)])?;
        Ok(())
    }

    fn forget_gaps(&mut self, before: UnixMs) -> Result<(), StoreError> {
        self.0.prepare_cached("DELETE FROM observation_gaps WHERE to_at < ?1")?.execute([integer(before.0)])?;
        Ok(())
    }
}

fn gap(transaction: &Transaction<'_>, from: UnixMs, to: UnixMs) -> Result<(), StoreError> {
    transaction
        .prepare_cached("INSERT INTO observation_gaps (from_at, to_at) VALUES (?1, ?2)")?
        .execute(params![integer(from.0), integer(to.0)])?;
    Ok(())
}

/// When the clock went wrong that was ahead of `now`: where the gap begins by which it got there. If the database itself is from
/// then, nobody knows. None: it was right, and it is now that it is wrong.
fn went_wrong_at(transaction: &Transaction<'_>, now: UnixMs) -> Result<Option<UnixMs>, StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT min(from_at), (SELECT min(applied_at) FROM schema_migrations) FROM observation_gaps
         WHERE from_at <= ?1 AND to_at > ?2",
    )?;
    let ahead = integer((now + AHEAD_MAX).0);
    let (gap, made) = statement.query_row([integer(now.0), ahead], |row| Ok((time_if(row, 0)?, time_if(row, 1)?)))?;
    Ok(gap.or_else(|| made.filter(|made| is_ahead(*made, now)).map(|_| now.minus_ms(ms(WRONG_FOR)))))
}

/// The clock was ahead since `from`, and is right `now`. Who was heard meanwhile was heard, and nobody knows when.
fn was_ahead(transaction: &Transaction<'_>, from: UnixMs, now: UnixMs) -> Result<(), StoreError> {
    let devices = transaction
        .prepare_cached("UPDATE device_states SET last_seen_at = ?1 WHERE last_seen_at > ?2")?
        .execute([integer(from.0), integer((now + AHEAD_MAX).0)])?;
    transaction.prepare_cached("DELETE FROM observation_gaps WHERE to_at > ?1")?.execute([integer(now.0)])?;
    gap(transaction, from, now)?;
    transaction
        .prepare_cached("UPDATE server_alive SET at = ?1, behind_from = NULL, behind_to = NULL WHERE id = 1")?
        .execute([integer(now.0)])?;
    tracing::warn!(%now, %from, devices, "the clock was ahead and was set back: what was heard meanwhile is no evidence of life");
    Ok(())
}

/// The clock is behind what was known before; what is heard now has wrong times.
fn is_behind(transaction: &Transaction<'_>, now: UnixMs) -> Result<(), StoreError> {
    let begins = transaction
        .prepare_cached("SELECT behind_from IS NULL FROM server_alive WHERE id = 1")?
        .query_row([], |row| row.get::<_, bool>(0))?;
    transaction
        .prepare_cached(
            "UPDATE server_alive SET behind_from = min(coalesce(behind_from, ?1), ?1), behind_to = max(coalesce(behind_to, ?1), ?1)
             WHERE id = 1",
        )?
        .execute([integer(now.0)])?;
    if begins {
        tracing::error!(%now, "the clock is behind what the database knows: set it right (`timedatectl set-ntp true`)");
    }
    Ok(())
}

/// The clock was behind from then to then, and is right again: who was heard meanwhile counts as heard `last`, when it went wrong.
fn was_behind(transaction: &Transaction<'_>, (from, to): (UnixMs, UnixMs), last: UnixMs) -> Result<(), StoreError> {
    let (from, to) = (from.minus_ms(ms(BETWEEN_WORDS)), to + BETWEEN_WORDS);
    let devices = transaction
        .prepare_cached("UPDATE device_states SET last_seen_at = ?1 WHERE last_seen_at BETWEEN ?2 AND ?3")?
        .execute([integer(last.0), integer(from.0), integer(to.0)])?;
    tracing::warn!(devices, "the clock was behind and is right again");
    Ok(())
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
