//! The SQLite store: WAL, one writer connection, groups of writes in one transaction each.

mod accounts;
mod audit;
mod columns;
mod commands;
mod devices;
pub(crate) mod file;
mod filter;
mod heartbeats;
mod keysets;
mod limits;
mod logs;
mod migrations;
mod orders;
mod presence;
mod punches;
mod reader;
mod releases;
mod rollouts;
mod transaction;
mod updates;

use std::{os::unix::fs::OpenOptionsExt, path::Path, time::Duration};

use ks_protocol::time::UnixMs;
use rusqlite::{Connection, OpenFlags, config::DbConfig};
use tokio::time::Instant;

pub(crate) use self::file::connection::BUSY_TIMEOUT;
pub use self::{
    file::refusal::{has_log, refuse_lost, torn_log},
    migrations::LATEST as SCHEMA_VERSION,
    reader::SqliteReader,
};
use self::{
    file::{
        connection::{WAL_BYTES_KEPT, configure, truncate_log, vfs},
        integrity::check_integrity,
        place::Place,
        refusal::{not_there, refused, unusable},
    },
    transaction::Transaction,
};
use crate::{
    config::SqliteUse,
    failure::StartError,
    store::{Store, StoreError},
};

/// Size from which a log that can't be truncated is reported in the server's own log.
const WAL_BYTES_REMARKABLE: u64 = 2 * WAL_BYTES_KEPT;

/// Pause between attempts to truncate the log, and how long an attempt waits for readers.
const CUT_EVERY: Duration = Duration::from_secs(10);
const CUT_WAIT: Duration = Duration::from_millis(20);

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let is_damage = matches!(
            error.sqlite_error_code(),
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
        );
        if is_damage { Self::Damaged(in_short(&error)) } else { Self::Database(in_short(&error)) }
    }
}

/// SQLite's message without the statement.
fn in_short(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        busy if busy.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
            "locked by another program for longer than the timeout; a server with STORE_LOCKING=exclusive keeps the database locked while it runs".to_owned()
        }
        other => other.to_string(),
    }
}

/// A store in one SQLite file.
pub struct SqliteStore {
    connection: Connection,
    place: Place,
    /// The result of the last check.
    is_misplaced: bool,
    cut_again_at: Instant,
    is_log_long: bool,
    leaves_files: bool,
}

/// What opening may do to the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    /// Bring it up to date.
    Migrate,
    /// Require this program's schema; create and change nothing.
    Match,
}

impl SqliteStore {
    /// Opens the file for a server: creates it if missing, checks it for damage, and brings its schema up to date; `now` is recorded
    /// with migrations.
    ///
    /// # Errors
    /// The folder can't be created, the file is not a database of this program, is damaged, or was written by a newer program.
    pub fn open(path: &Path, sqlite: SqliteUse, now: UnixMs) -> Result<Self, StartError> {
        refuse_lost(path)?;
        Self::open_with(path, sqlite, Schema::Migrate, now)
    }

    /// Opens the file alongside a server that may be running: as [`SqliteStore::open`], but it creates none, and refuses an older
    /// schema.
    ///
    /// # Errors
    /// The same, that there is no database, and that the file was written by an older program.
    pub fn open_beside(path: &Path, sqlite: SqliteUse, now: UnixMs) -> Result<Self, StartError> {
        refuse_lost(path)?;
        if !path.exists() {
            return Err(StartError::no_database(path));
        }
        Self::open_with(path, sqlite, Schema::Match, now)
    }

    fn open_with(path: &Path, sqlite: SqliteUse, schema: Schema, now: UnixMs) -> Result<Self, StartError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|cause| StartError::File {
                what: "create",
                path: folder.to_owned(),
                cause,
            })?;
        }
        // Only the owner may access the file: it contains personal data.
        let made = std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        made.map_err(|error| not_there(path, &error))?;
        let refused = |error| refused(path, error);
        let unusable = |error| unusable(path, &error);
        let before = Place::of_database(path).map_err(|error| not_there(path, &error))?;
        let mut connection =
            Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs(sqlite.locking)).map_err(unusable)?;
        match schema {
            Schema::Migrate => migrations::refuse_foreign(&connection),
            Schema::Match => migrations::refuse_other(&connection),
        }
        .map_err(refused)?;
        configure(&connection, sqlite.synchronous).map_err(unusable)?;
        check_integrity(&connection).map_err(|unsound| unsound.refused(path))?;
        let migrated = migrations::migrate(&mut connection, schema, now.0).map_err(refused)?;
        if !migrated.is_empty() {
            // Makes the file a complete database from the start, with or without its log.
            truncate_log(&connection).map_err(unusable)?;
        }
        let place = Place::opened(path, before, sqlite.locking)
            .and_then(Place::with_log)
            .map_err(|error| not_there(path, &error))?;
        Ok(Self {
            connection,
            place,
            is_misplaced: false,
            cut_again_at: Instant::now(),
            is_log_long: false,
            leaves_files: false,
        })
    }

    /// Checks that the files are in place, and truncates a log that has grown.
    fn maintain(&mut self) -> Result<(), StoreError> {
        let found = self.place.check();
        self.is_misplaced = found.is_err();
        self.truncate_long_log(found?);
        Ok(())
    }

    /// Copies back and truncates a write-ahead log that has grown, unless a reader blocks it; then it is retried later.
    fn truncate_long_log(&mut self, wal_bytes: u64) {
        if wal_bytes <= WAL_BYTES_KEPT {
            if std::mem::take(&mut self.is_log_long) {
                tracing::info!("the write-ahead log was truncated");
            }
            return;
        }
        if Instant::now() < self.cut_again_at {
            return;
        }
        self.cut_again_at = Instant::now() + CUT_EVERY;
        let cut = self.connection.busy_timeout(CUT_WAIT).and_then(|()| truncate_log(&self.connection));
        // If the timeout can't be restored, the next commit reports the error.
        let _ = self.connection.busy_timeout(BUSY_TIMEOUT);
        if !matches!(cut, Ok(true))
            && wal_bytes > WAL_BYTES_REMARKABLE
            && !std::mem::replace(&mut self.is_log_long, true)
        {
            let megabytes = wal_bytes / (1024 * 1024);
            tracing::warn!(
                megabytes,
                "the write-ahead log grows: a program reads the database for a long time (a backup, a shell), so the log can't \
                 be copied back; it is truncated once that program ends"
            );
        }
    }
}

impl Drop for SqliteStore {
    /// Copies the write-ahead log back, so that the file alone is the complete database after a graceful stop. Not if the
    /// file is damaged or no longer at the database's path: then only the log still has the last commits.
    fn drop(&mut self) {
        if self.leaves_files || self.place.check().is_err() {
            // Otherwise closing the last connection copies it anyway, and deletes the log.
            let left = self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
            tracing::warn!(is_left = left.is_ok(), "the database and its write-ahead log are left as they are");
            return;
        }
        let copied = truncate_log(&self.connection);
        if copied != Ok(true) {
            tracing::warn!(?copied, "the write-ahead log stays next to the database; keep both together");
        }
    }
}

impl Store for SqliteStore {
    fn commit(
        &mut self,
        group: &mut dyn FnMut(&mut dyn super::Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if self.is_misplaced {
            self.maintain()?; // no write goes to a file where it would be lost
        }
        commit(&mut self.connection, group)?;
        // Before any client is answered that it is on disk.
        self.maintain()
    }

    fn leave_files(&mut self) {
        self.leaves_files = true;
    }
}

/// Runs a group in one transaction, and commits it.
fn commit(
    connection: &mut Connection,
    group: &mut dyn FnMut(&mut dyn super::Transaction) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let begun = Transaction::begin(connection).map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseBusy) => StoreError::Busy, // another program writes; nothing was begun
        _ => error.into(),
    })?;
    let mut transaction = Writes(begun);
    group(&mut transaction)?;
    Ok(transaction.0.commit()?)
}

/// An open transaction: the writes.
struct Writes<'c>(Transaction<'c>);

impl super::Transaction for Writes<'_> {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Locking, Synchronous},
        store::StoreReader,
    };

    const AT: UnixMs = UnixMs(1_800_000_000_000);

    fn opened() -> (tempfile::TempDir, SqliteStore, SqliteReader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ks.sqlite");
        let store = SqliteStore::open(&path, SqliteUse::shared(Synchronous::Off), AT).unwrap();
        let reader = SqliteReader::open(&path, Locking::Shared).unwrap();
        (folder, store, reader)
    }

    /// Writes a megabyte to the log.
    fn megabyte(store: &SqliteStore) {
        store.connection.execute("INSERT INTO t VALUES (zeroblob(1048576))", []).unwrap();
    }

    #[test]
    fn a_log_that_grew_during_a_read_is_truncated_after_it() {
        let (folder, mut store, mut reader) = opened();
        store.connection.execute("CREATE TABLE t (x BLOB)", []).unwrap();
        let long = Connection::open(folder.path().join("ks.sqlite")).unwrap();
        long.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        long.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        while reader.in_place().unwrap() <= WAL_BYTES_REMARKABLE {
            megabyte(&store);
        }
        store.commit(&mut |_| Ok(())).unwrap();
        assert!(store.is_log_long, "it can't be cut, and that is said");
        assert!(reader.in_place().unwrap() > WAL_BYTES_REMARKABLE);
        long.execute_batch("COMMIT").unwrap();
        store.commit(&mut |_| Ok(())).unwrap();
        assert!(reader.in_place().unwrap() > WAL_BYTES_REMARKABLE, "not tried at every commit");
        store.cut_again_at = Instant::now();
        store.commit(&mut |_| Ok(())).unwrap();
        assert_eq!(reader.in_place(), Ok(0));
        store.commit(&mut |_| Ok(())).unwrap();
        assert!(!store.is_log_long);
    }

    #[test]
    fn no_write_to_a_lost_file_is_called_durable() {
        let (folder, mut store, mut reader) = opened();
        let (path, aside) = (folder.path().join("ks.sqlite"), folder.path().join("aside"));
        std::fs::rename(&path, &aside).unwrap();
        assert!(matches!(store.commit(&mut |_| Ok(())), Err(StoreError::Misplaced(_))));
        assert!(matches!(reader.in_place(), Err(StoreError::Misplaced(_))));
        let mut ran = false;
        let second = store.commit(&mut |_| {
            ran = true;
            Ok(())
        });
        assert!(matches!(second, Err(StoreError::Misplaced(_))) && !ran, "nothing more is written there");
        std::fs::rename(&aside, &path).unwrap();
        store.commit(&mut |_| Ok(())).unwrap();
    }

    #[test]
    fn all_writes_through_a_link_are_read_even_by_readers() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link.sqlite"));
        std::fs::create_dir(&real).unwrap();
        std::fs::write(real.join("ks.sqlite"), "").unwrap(); // none is created through a dangling link
        std::os::unix::fs::symlink("real/ks.sqlite", &link).unwrap();
        let store = SqliteStore::open(&link, SqliteUse::shared(Synchronous::Off), AT).unwrap();
        store.connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
        assert!(real.join("ks.sqlite-wal").exists() && store.place.check().unwrap() > 0, "the log is seen");
        let (reader, alone) = SqliteReader::open_as_it_lies(&link, Locking::Shared).unwrap();
        let read = reader.connection.query_row("SELECT x FROM t", [], |row| row.get::<_, i64>(0));
        assert_eq!(read, Ok(1), "it is in the log only");
        alone.check().unwrap();
        assert_eq!(store.connection.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0)), Ok(0));
    }
}
