//! The SQLite store: WAL, one writer connection, groups of writes in one transaction each.

mod accounts;
mod audit;
mod commands;
mod devices;
mod filter;
mod heartbeats;
mod keysets;
mod logs;
mod presence;
mod punches;
mod releases;
mod rollouts;
mod transaction;
mod wal;

use std::{ffi::CStr, os::unix::fs::OpenOptionsExt, path::Path};

use ks_protocol::{
    id::{DeviceId, Sequence},
    time::UnixMs,
};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, config::DbConfig, params};

use transaction::Transaction;

use super::{Denied, MigrateError, Newest, Store, StoreError, StoreReader, devices::DeviceStatus, migrations};
use crate::config::{Locking, SqliteUse, StartError, Synchronous};

/// How long a commit waits for another program that writes.
const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);
/// Pages of the write-ahead log after which SQLite copies it back: 4 000 pages of 4 KiB are 16 MB.
const WAL_AUTOCHECKPOINT_PAGES: i64 = 4_000;

/// Greatest write-ahead log that is kept once it is copied back, in bytes: one that a long reader made grow is cut to this.
const WAL_BYTES_KEPT: i64 = 64 * 1024 * 1024;
/// Pages up to which the whole database is checked at the start, about 80 MB.
const CHECKED_WHOLE_PAGES: i64 = 20_000;
/// Rows at either end of a table that are read at the start of a larger one.
const CHECKED_ROWS: u32 = 100;

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(in_short(&error))
    }
}

/// What SQLite says, without the statement that it says it of.
fn in_short(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        busy if busy.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
            "another program holds it, for longer than is waited; a server with STORE_LOCKING=exclusive lets nobody in as long as it runs".to_owned()
        }
        other => other.to_string(),
    }
}

/// A store in one SQLite file.
pub struct SqliteStore {
    connection: Connection,
}

/// What opening may do to the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// Bring it up to date.
    Migrate,
    /// Make it where there is none; leave an older one to the server.
    MakeOrMatch,
}

impl SqliteStore {
    /// Opens the file for a server: it is made when it is missing, looked over for damage, and its schema brought up to date;
    /// `now` is written beside migrations.
    ///
    /// # Errors
    /// The folder can't be made, the file is no database of this program, is damaged, or was written by a newer program.
    pub fn open(path: &Path, sqlite: SqliteUse, now: UnixMs) -> Result<Self, StartError> {
        if let Some(damage) =
            wal::damage(path).map_err(|cause| StartError::File { what: "read", path: path.to_owned(), cause })?
        {
            return Err(StartError::DamagedLog { path: path.to_owned(), damage });
        }
        Self::open_with(path, sqlite, Schema::Migrate, now)
    }

    /// Opens the file beside a server that may be running: as [`SqliteStore::open`], but an older schema is refused.
    ///
    /// # Errors
    /// The same, and that the file was written by an older program.
    pub fn open_beside(path: &Path, sqlite: SqliteUse, now: UnixMs) -> Result<Self, StartError> {
        Self::open_with(path, sqlite, Schema::MakeOrMatch, now)
    }

    fn open_with(path: &Path, sqlite: SqliteUse, schema: Schema, now: UnixMs) -> Result<Self, StartError> {
        let bad = |why: String| StartError::BadDatabase { path: path.to_owned(), why };
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|cause| StartError::File {
                what: "create",
                path: folder.to_owned(),
                cause,
            })?;
        }
        // The file is its owner's alone: it says who was where, and when.
        let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|error| bad(error.to_string()))?;
        let refused = |error| match error {
            MigrateError::TooNew { found } => StartError::NewerDatabase { path: path.to_owned(), found },
            MigrateError::TooOld { found } => StartError::OlderDatabase { path: path.to_owned(), found },
            MigrateError::Foreign { table } => StartError::ForeignDatabase { path: path.to_owned(), table },
            MigrateError::Database(error) => bad(in_short(&error)),
            other => bad(other.to_string()),
        };
        let unusable = |error| bad(in_short(&error));
        let mut connection =
            Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs(sqlite.locking)).map_err(unusable)?;
        migrations::refuse_foreign(&connection).map_err(refused)?;
        configure(&connection, sqlite.synchronous).map_err(unusable)?;
        check_integrity(&connection).map_err(bad)?;
        let migrated = migrations::migrate(&mut connection, schema, now.0).map_err(refused)?;
        if !migrated.is_empty() {
            // So that the file is a whole database from its first second, with its log or without.
            connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(unusable)?;
        }
        Ok(Self { connection })
    }
}

fn configure(connection: &Connection, synchronous: Synchronous) -> rusqlite::Result<()> {
    set_up(connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous.as_str())?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
    connection.pragma_update(None, "cache_size", -65_536)?; // 64 MiB
    Ok(())
}

/// SQLite's name for the way that a file is locked (<https://www.sqlite.org/vfs.html>).
fn vfs(locking: Locking) -> &'static CStr {
    match locking {
        Locking::Shared => c"unix",
        Locking::Exclusive => c"unix-excl",
    }
}

/// What every connection has, to write or to read.
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Or a prepared statement with a range in it would be prepared again whenever another bound is bound.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// A look for damage: all of a small database; of a larger one the schema and both ends of each table, since the whole would
/// take too long.
fn check_integrity(connection: &Connection) -> Result<(), String> {
    let said = |error: rusqlite::Error| in_short(&error);
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(said)?;
    if pages < CHECKED_WHOLE_PAGES {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).map_err(said)?;
        return if verdict == "ok" { Ok(()) } else { Err(verdict) };
    }
    let tables: Vec<(String, String)> = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        .and_then(|mut statement| statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())
        .map_err(said)?;
    for (table, sql) in tables {
        let order = if sql.contains("WITHOUT ROWID") { "1" } else { "rowid" };
        for direction in ["ASC", "DESC"] {
            let rows = format!("SELECT * FROM \"{table}\" ORDER BY {order} {direction} LIMIT {CHECKED_ROWS}");
            let read = connection.prepare(&rows).and_then(|mut statement| {
                let columns = statement.column_count();
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    (0..columns).try_for_each(|column| row.get_ref(column).map(|_| ()))?;
                }
                Ok(())
            });
            read.map_err(|error| format!("{table}: {}", in_short(&error)))?;
        }
    }
    Ok(())
}

impl Drop for SqliteStore {
    /// Copies the write-ahead log back, so that the file alone is the whole database after a graceful stop.
    fn drop(&mut self) {
        let copied = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0));
        if copied != Ok(0) {
            tracing::warn!(?copied, "the write-ahead log stays beside the database; both belong together");
        }
    }
}

impl Store for SqliteStore {
    fn commit(
        &mut self,
        group: &mut dyn FnMut(&mut dyn super::Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let begun = Transaction::begin(&mut self.connection).map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => StoreError::Busy, // another program writes; nothing was begun
            _ => error.into(),
        })?;
        let mut transaction = Writes(begun);
        group(&mut transaction)?;
        Ok(transaction.0.commit()?)
    }
}

/// A transaction that goes on: what can be written.
struct Writes<'c>(Transaction<'c>);

impl super::Transaction for Writes<'_> {}

/// A reader of one SQLite file; sees what is committed.
pub struct SqliteReader {
    connection: Connection,
}

impl StoreReader for SqliteReader {
    fn newest(&mut self) -> Result<Newest, StoreError> {
        // Of changes also when each was forgotten: AUTOINCREMENT remembers.
        let mut statement = self.connection.prepare_cached(
            "SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'device_changes'), 0),
                    (SELECT coalesce(max(version), 0) FROM keysets)",
        )?;
        let newest = statement
            .query_row([], |row| Ok(Newest { device_change: row.get(0)?, keyset_version: unsigned(row.get(1)?) }));
        Ok(newest?)
    }
}

impl SqliteReader {
    /// Opens the file, which a store must have made.
    pub fn open(path: &Path, locking: Locking) -> Result<Self, StartError> {
        let connection = open_read_only(path, locking)
            .map_err(|error| StartError::BadDatabase { path: path.to_owned(), why: in_short(&error) })?;
        Ok(Self { connection })
    }
}

fn open_read_only(path: &Path, locking: Locking) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, vfs(locking))?;
    set_up(&connection)?;
    Ok(connection)
}

/// A number that SQLite can hold. All that is stored is far below.
fn integer(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number that was stored by [`integer`].
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A count of rows for a LIMIT.
fn rows(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn status_of(number: i64) -> DeviceStatus {
    match number {
        0 => DeviceStatus::Whitelisted,
        1 => DeviceStatus::Registered,
        _ => DeviceStatus::Revoked, // the CHECK allows 2 only; shut out is the safe reading of anything else
    }
}

fn number_of(status: DeviceStatus) -> i64 {
    match status {
        DeviceStatus::Whitelisted => 0,
        DeviceStatus::Registered => 1,
        DeviceStatus::Revoked => 2,
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

/// A word from the store as one of a few; what is none was not written by this program.
fn word<T>(row: &Row<'_>, index: usize, of: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    of(&text).ok_or_else(|| {
        let wrong = format!("`{text}` is no word of this program");
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, wrong.into())
    })
}

fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<UnixMs> {
    row.get(index).map(|ms| UnixMs(unsigned(ms)))
}

fn time_if(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<UnixMs>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(|ms| UnixMs(unsigned(ms))))
}

/// The row of a device and what decides whether it may write.
struct Standing {
    row: i64,
    status: DeviceStatus,
    kept: Sequence,
}

impl Standing {
    /// Why a device that is so may not write under this pair.
    fn denied(self) -> Denied {
        match self {
            Self { status: DeviceStatus::Revoked, .. } => Denied::Revoked,
            Self { status: DeviceStatus::Whitelisted, .. } => Denied::NotRegistered,
            Self { kept, .. } => Denied::Stale { kept },
        }
    }
}

fn standing(transaction: &Transaction<'_>, device_id: &DeviceId) -> Result<Option<Standing>, StoreError> {
    let mut statement = transaction.prepare_cached(
        "SELECT d.id, s.status, s.boot_epoch, s.seq FROM devices d JOIN device_states s ON s.device = d.id WHERE d.device_id = ?1",
    )?;
    let standing = statement.query_row([device_id.as_str()], |row| {
        let kept = Sequence::new(row.get(2)?, unsigned(row.get(3)?));
        Ok(Standing { row: row.get(0)?, status: status_of(row.get(1)?), kept })
    });
    Ok(standing.optional()?)
}

/// Takes the pair for a registered device if it is greater than the one kept, and gives the device's row. The gate of every
/// signed write but a heartbeat, which takes its pair in the same way in the statement that also says what it must be told.
fn advance(
    transaction: &Transaction<'_>,
    device_id: &DeviceId,
    sequence: Sequence,
    at: UnixMs,
) -> Result<Result<i64, Denied>, StoreError> {
    let mut statement = transaction.prepare_cached(
        "UPDATE device_states SET boot_epoch = ?2, seq = ?3, last_seen_at = ?4
         WHERE device = (SELECT id FROM devices WHERE device_id = ?1) AND status = 1 AND (boot_epoch, seq) < (?2, ?3)
         RETURNING device",
    )?;
    let advanced = statement
        .query_row(
            params![device_id.as_str(), sequence.boot_epoch, integer(sequence.seq.get()), integer(at.0)],
            |row| row.get(0),
        )
        .optional()?;
    match advanced {
        Some(device) => Ok(Ok(device)),
        None => Ok(Err(standing(transaction, device_id)?.map_or(Denied::Unknown, Standing::denied))),
    }
}
