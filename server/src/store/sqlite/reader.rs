//! A reader of one file: its time limit, and the newest positions that servers follow.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};
use tokio::time::Instant;

use super::{
    columns::unsigned,
    file::{
        connection::{set_up, vfs},
        place::Place,
        refusal::{not_there, unusable},
    },
};
use crate::{
    config::Locking,
    failure::StartError,
    store::{Newest, StoreError, StoreReader},
};

/// Time limit of a query, since the log can't be copied back past an active reader.
pub(super) const READ_MAX: Duration = Duration::from_mins(1);

/// Time limit of an operator's query, since others wait for it.
const PERSONS_READ_MAX: Duration = Duration::from_secs(10);

/// Steps of SQLite's virtual machine between two checks of the time limit.
const READ_STEPS: i32 = 100_000;

/// A reader of one SQLite file; sees committed data only.
pub struct SqliteReader {
    pub(super) connection: Connection,
    pub(super) place: Place,
    pub(super) read_max: Duration,
    /// When the current query is stopped.
    pub(super) until: Arc<Mutex<Instant>>,
}

impl StoreReader for SqliteReader {
    fn begin(&mut self) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + self.read_max;
    }

    fn given_up(&self, error: StoreError) -> StoreError {
        let is_over = Instant::now() > *self.until.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            StoreError::Database(_) if is_over => StoreError::TooLong { max_s: self.read_max.as_secs() },
            other => other,
        }
    }

    fn in_place(&mut self) -> Result<u64, StoreError> {
        self.place.check()
    }

    fn disk_free_bytes(&mut self) -> Option<u64> {
        self.place.free_bytes()
    }

    fn newest(&mut self) -> Result<Newest, StoreError> {
        let mut statement = self.connection.prepare_cached(
            "SELECT (SELECT coalesce(max(id), 0) FROM device_changes),
                    (SELECT coalesce(max(version), 0) FROM keysets),
                    (SELECT coalesce(max(id), 0) FROM rollout_decisions),
                    (SELECT coalesce(max(id), 0) FROM devices),
                    (SELECT coalesce(max(version), 0) FROM limit_sets),
                    (SELECT coalesce(max(id), 0) FROM commands)",
        )?;
        let newest = statement.query_row([], |row| {
            Ok(Newest {
                device_change: row.get(0)?,
                keyset_version: unsigned(row.get(1)?),
                decision: row.get(2)?,
                device: row.get(3)?,
                limits_version: unsigned(row.get(4)?),
                command: row.get(5)?,
            })
        });
        Ok(newest?)
    }
}

impl SqliteReader {
    /// Opens the file, which a store must have created.
    pub fn open(path: &Path, locking: Locking) -> Result<Self, StartError> {
        let lost = |error: std::io::Error| not_there(path, &error);
        let before = Place::of_database(path).map_err(lost)?;
        let until = Arc::new(Mutex::new(Instant::now() + READ_MAX));
        let connection = open_read_only(path, locking, Arc::clone(&until)).map_err(|error| unusable(path, &error))?;
        let place = Place::opened(path, before, locking).map_err(lost)?;
        Ok(Self { connection, place, read_max: READ_MAX, until })
    }

    /// The same for operators' queries, which have a shorter time limit: others wait for them.
    #[must_use]
    pub fn for_operators(self) -> Self {
        Self { read_max: PERSONS_READ_MAX, ..self }
    }
}

/// Opens a connection that stops reading at `until`.
pub(super) fn open_read_only(
    path: &Path,
    locking: Locking,
    until: Arc<Mutex<Instant>>,
) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags_and_vfs(path, flags, vfs(locking))?;
    set_up(&connection)?;
    let is_too_long = move || Instant::now() > *until.lock().unwrap_or_else(PoisonError::into_inner);
    connection.progress_handler(READ_STEPS, Some(is_too_long))?;
    // SQLite opens the write-ahead log by its name at the first read, so read now, while it is known to be the right one.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use ks_protocol::time::UnixMs;

    use super::*;
    use crate::{
        config::{SqliteUse, Synchronous},
        store::sqlite::SqliteStore,
    };

    const AT: UnixMs = UnixMs(1_800_000_000_000);

    fn opened() -> (tempfile::TempDir, SqliteStore, SqliteReader) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ks.sqlite");
        let store = SqliteStore::open(&path, SqliteUse::shared(Synchronous::Off), AT).unwrap();
        let reader = SqliteReader::open(&path, Locking::Shared).unwrap();
        (folder, store, reader)
    }

    #[test]
    fn a_query_that_takes_too_long_is_stopped() {
        let long =
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 1000000) SELECT count(*) FROM n";
        let ask = |reader: &SqliteReader| -> Result<i64, StoreError> {
            Ok(reader.connection.query_row(long, [], |row| row.get(0))?)
        };
        let (_folder, _store, reader) = opened();
        for (mut reader, max_s) in [(opened().2, 60), (reader.for_operators(), 10)] {
            reader.begin();
            assert_eq!(ask(&reader), Ok(1_000_000));
            let now = Instant::now();
            let left = std::mem::replace(&mut *reader.until.lock().unwrap(), now) - now;
            assert!(left <= Duration::from_secs(max_s), "{left:?}");
            let error = ask(&reader).unwrap_err();
            assert_eq!(reader.given_up(error), StoreError::TooLong { max_s });
            reader.begin();
            assert_eq!(ask(&reader), Ok(1_000_000));
        }
    }
}
