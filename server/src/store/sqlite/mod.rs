//! The SQLite store: WAL, one writer connection, groups of writes in one transaction each.

mod accounts;
mod audit;
mod commands;
mod devices;
mod filter;
mod heartbeats;
mod keysets;
mod limits;
mod logs;
mod orders;
pub(crate) mod place;
mod presence;
mod punches;
mod read_in_place;
mod releases;
mod rollouts;
mod transaction;
mod wal;
pub(crate) mod write_access;

use std::{
    ffi::CStr,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ks_protocol::{text::counted, time::UnixMs};
use rusqlite::{Connection, OpenFlags, Row, config::DbConfig, params};

use place::Place;
use tokio::time::Instant;
use transaction::Transaction;
use wal::{Log, Tail};

use super::{MigrateError, Newest, Span, Store, StoreError, StoreReader, devices::DeviceStatus, migrations};
use crate::{
    config::{Locking, SqliteUse, Synchronous},
    failure::{DatabaseFault, StartError},
};

/// How long a commit waits for another program's write.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Pages of the write-ahead log after which SQLite copies it back: 4 000 pages of 4 KiB are 16 MB.
const WAL_AUTOCHECKPOINT_PAGES: i64 = 4_000;

/// Largest write-ahead log that is kept, in bytes: one that grew during a long read is truncated once no program reads.
const WAL_BYTES_KEPT: u64 = 32 * 1024 * 1024;
/// Size from which a log that can't be truncated is reported in the server's own log.
const WAL_BYTES_REMARKABLE: u64 = 2 * WAL_BYTES_KEPT;
/// Pause between attempts to truncate the log, and how long an attempt waits for readers.
const CUT_EVERY: Duration = Duration::from_secs(10);
const CUT_WAIT: Duration = Duration::from_millis(20);
/// Time limit of a query, since the log can't be copied back past an active reader.
const READ_MAX: Duration = Duration::from_mins(1);
/// Time limit of an operator's query, since others wait for it.
const PERSONS_READ_MAX: Duration = Duration::from_secs(10);
/// Steps of SQLite's virtual machine between two checks of the time limit.
const READ_STEPS: i32 = 100_000;
/// Pause between the two reads of the data after the last commit of a log.
const TORN_PAUSE: Duration = Duration::from_millis(250);
/// Most pages of a database that is checked completely at the start, about 80 MB.
const CHECKED_WHOLE_PAGES: i64 = 20_000;
/// Rows read at each end of every table at the start of a larger database.
const CHECKED_ROWS: u32 = 100;

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

/// Copies the write-ahead log back and truncates it; false if another program reads or writes.
fn truncate_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
}

/// Refuses what SQLite would open with loss of data: a link to a missing file, which would be created empty, a log whose database is
/// missing or empty, which would be deleted, and a damaged log, which would be skipped and truncated. Refuses anything that is not a
/// file too: SQLite reports it as a disk failure, or blocks on it.
pub fn refuse_lost(path: &Path) -> Result<(), StartError> {
    if let Some(other) = place::not_a_file(path) {
        let (path, why) = (path.to_owned(), format!("it is {other}"));
        return Err(StartError::UnusableDatabase { path, fault: DatabaseFault::NotAFile, why });
    }
    for sibling in [wal::log_of(path), wal::index_of(path)] {
        if let Some(other) = place::not_a_file(&sibling) {
            return Err(StartError::Unreadable {
                path: path.to_owned(),
                why: format!("{} is {other}, and SQLite needs a file there", sibling.display()),
                help: format!("put {} aside", sibling.display()),
            });
        }
    }
    let found = std::fs::metadata(path);
    if found.as_ref().is_err_and(|error| error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error())) {
        return Err(StartError::Unreadable {
            path: path.to_owned(),
            why: "it is a link that leads back to itself".to_owned(),
            help: "point the link to the database, or set DATABASE_URL to the database's own path".to_owned(),
        });
    }
    if found.is_err_and(|error| error.kind() == std::io::ErrorKind::PermissionDenied) {
        let why = "this user may not enter its folder (permission `x`)".to_owned();
        return Err(StartError::UnusableDatabase { path: path.to_owned(), fault: DatabaseFault::Denied, why });
    }
    if let Ok(to) = std::fs::read_link(path)
        && !path.exists()
    {
        return Err(StartError::Unreadable {
            path: path.to_owned(),
            why: format!("it is a link to {}, which does not exist", to.display()),
            help:
                "mount the volume, or put the database back there; to begin a new one, set DATABASE_URL to its own path"
                    .to_owned(),
        });
    }
    let bytes_of = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
    let log = wal::log_of(path);
    if bytes_of(path) == 0 && has_log(path) {
        return Err(StartError::Unreadable {
            path: path.to_owned(),
            why: format!(
                "it is missing or empty, but its write-ahead log {} exists, {}",
                log.display(),
                if wal::may_hold_a_page(bytes_of(&log)) {
                    "with the newest data"
                } else {
                    "too short to hold anything"
                }
            ),
            help: "put the database back beside its -wal, or put the -wal aside and restore a backup".to_owned(),
        });
    }
    match wal::log(path) {
        Ok(Log::Sound | Log::Torn(_)) => Ok(()),
        Ok(Log::Damaged(damage)) => Err(StartError::DamagedLog { path: path.to_owned(), damage }),
        Err(cause) => Err(StartError::File { what: "read", path: wal::log_of(path), cause }),
    }
}

/// Whether a database has a nonempty write-ahead log.
pub fn has_log(path: &Path) -> bool {
    std::fs::metadata(wal::log_of(path)).is_ok_and(|log| log.len() > 0)
}

/// Describes the data after the last commit of the write-ahead log; none if it ends with a commit. To be called before the database is
/// opened for writing, which overwrites that data. None too while another program has the database open: the data is then a commit
/// under way or a transaction that was rolled back, and that program checked before it opened the database. An unreadable log is
/// reported where it is opened.
pub fn torn_log(path: &Path) -> Option<String> {
    let tail = || match wal::log(path) {
        Ok(Log::Torn(tail)) if !write_access::is_open(path) => Some(tail),
        _ => None,
    };
    let found = tail()?;
    std::thread::sleep(TORN_PAUSE); // a program that is opening, closing or copying it is then done
    let Tail { frames, bytes } = tail().filter(|again| *again == found)?;
    Some(format!(
        "the last commit in {} is followed by {} ({}) that do not count: a crash in the middle of a commit leaves them, \
         and loses nothing that was answered; in a copy or a backup they say that it was cut short, and what was answered then is \
         missing",
        wal::log_of(path).display(),
        counted(bytes, "byte"),
        counted(frames, "frame"),
    ))
}

/// The start error for a schema that is refused.
fn refused(path: &Path, error: MigrateError) -> StartError {
    let path = path.to_owned();
    match error {
        MigrateError::Empty => StartError::no_database(&path),
        MigrateError::TooNew { found } => StartError::NewerDatabase { path, found },
        MigrateError::TooOld { found } => StartError::OlderDatabase { path, found },
        MigrateError::Foreign { table } => StartError::ForeignDatabase { path, table },
        MigrateError::Database(error) => unusable(&path, &error),
        changed @ MigrateError::Changed { .. } => {
            StartError::UnusableDatabase { path, fault: DatabaseFault::OtherHistory, why: changed.to_string() }
        }
        missing @ MigrateError::Missing { .. } => {
            StartError::UnusableDatabase { path, fault: DatabaseFault::Damaged, why: missing.to_string() }
        }
    }
}

/// The start error for a database that SQLite can't open or read.
fn unusable(path: &Path, error: &rusqlite::Error) -> StartError {
    StartError::UnusableDatabase {
        path: path.to_owned(),
        fault: DatabaseFault::of_sqlite(error).at(path),
        why: in_short(error),
    }
}

/// The start error for a database whose files the system can't open or find.
fn not_there(path: &Path, error: &std::io::Error) -> StartError {
    StartError::UnusableDatabase { path: path.to_owned(), fault: DatabaseFault::of_file(error), why: error.to_string() }
}

/// The result of a check that found a fault.
struct Unsound {
    fault: DatabaseFault,
    why: String,
}

impl Unsound {
    fn refused(self, path: &Path) -> StartError {
        StartError::UnusableDatabase { path: path.to_owned(), fault: self.fault.at(path), why: self.why }
    }
}

impl From<rusqlite::Error> for Unsound {
    fn from(error: rusqlite::Error) -> Self {
        Self { fault: DatabaseFault::of_sqlite(&error), why: in_short(&error) }
    }
}

fn configure(connection: &Connection, synchronous: Synchronous) -> rusqlite::Result<()> {
    set_up(connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous.as_str())?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", integer(WAL_BYTES_KEPT))?;
    connection.pragma_update(None, "cache_size", -65_536)?; // 64 MiB
    Ok(())
}

/// SQLite's name for the locking mode (<https://www.sqlite.org/vfs.html>).
fn vfs(locking: Locking) -> &'static CStr {
    match locking {
        Locking::Shared => c"unix",
        Locking::Exclusive => c"unix-excl",
    }
}

/// The settings of every connection.
fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise a prepared statement with a range would be prepared again whenever its bound changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Checks for damage: a small database completely; in a larger one the schema and both ends of each table, since a full check
/// would take too long.
fn check_integrity(connection: &Connection) -> Result<(), Unsound> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if pages < CHECKED_WHOLE_PAGES {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let is_sound = verdict == "ok";
        return if is_sound { Ok(()) } else { Err(Unsound { fault: DatabaseFault::Damaged, why: verdict }) };
    }
    let tables: Vec<(String, String)> = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        .and_then(|mut statement| statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())?;
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
            read.map_err(|error| {
                let Unsound { fault, why } = Unsound::from(error);
                Unsound { fault, why: format!("{table}: {why}") }
            })?;
        }
    }
    Ok(())
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

/// A reader of one SQLite file; sees committed data only.
pub struct SqliteReader {
    connection: Connection,
    place: Place,
    read_max: Duration,
    /// When the current query is stopped.
    until: Arc<Mutex<Instant>>,
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
fn open_read_only(path: &Path, locking: Locking, until: Arc<Mutex<Instant>>) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags_and_vfs(path, flags, vfs(locking))?;
    set_up(&connection)?;
    let is_too_long = move || Instant::now() > *until.lock().unwrap_or_else(PoisonError::into_inner);
    connection.progress_handler(READ_STEPS, Some(is_too_long))?;
    // SQLite opens the write-ahead log by its name at the first read, so read now, while it is known to be the right one.
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

/// A number as a SQLite integer. All stored values are far below its limit.
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

/// The first rows above `after`, at most `rows_max`, with the earliest time in one of their columns.
fn span(
    transaction: &Transaction<'_>,
    table: &str,
    time: &str,
    after: i64,
    rows_max: usize,
) -> Result<Option<Span>, StoreError> {
    let sql = format!(
        "SELECT count(*), max(id), min({time}) FROM
            (SELECT id, {time} FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2)"
    );
    let mut statement = transaction.prepare_cached(&sql)?;
    let found = statement.query_row(params![after, rows(rows_max)], |row| {
        let count = usize::try_from(unsigned(row.get(0)?)).unwrap_or(usize::MAX);
        let last: Option<i64> = row.get(1)?;
        Ok(last.zip(time_if(row, 2)?).map(|(last, oldest)| Span { rows: count, last, oldest }))
    });
    Ok(found?)
}

/// A list as JSON, for statements that handle many rows at once.
fn list<T: serde::Serialize>(values: &[T]) -> Result<String, StoreError> {
    serde_json::to_string(values).map_err(|error| StoreError::Database(error.to_string()))
}

fn status_of(number: i64) -> DeviceStatus {
    match number {
        0 => DeviceStatus::Whitelisted,
        1 => DeviceStatus::Registered,
        _ => DeviceStatus::Revoked, // the CHECK allows 2 only; revoked is the safe default for anything else
    }
}

fn number_of(status: DeviceStatus) -> i64 {
    match status {
        DeviceStatus::Whitelisted => 0,
        DeviceStatus::Registered => 1,
        DeviceStatus::Revoked => 2,
    }
}

/// A text from the store as an identifier; an invalid one was not written by this program.
fn parsed<T: std::str::FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<T>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text: String = row.get(index)?;
    text.parse().map_err(|error: T::Err| {
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
    })
}

/// The same for a column that may be empty.
fn parsed_if<T: std::str::FromStr>(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<T>>
where
    T::Err: std::error::Error + Send + Sync + 'static,
{
    if row.get_ref(index)? == rusqlite::types::ValueRef::Null { Ok(None) } else { parsed(row, index).map(Some) }
}

/// A name from the store as an enum value; an unknown one was not written by this program.
fn word<T>(row: &Row<'_>, index: usize, of: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(index)?;
    of(&text).ok_or_else(|| {
        let wrong = format!("`{text}` is not a known value");
        rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, wrong.into())
    })
}

fn time(row: &Row<'_>, index: usize) -> rusqlite::Result<UnixMs> {
    row.get(index).map(|ms| UnixMs(unsigned(ms)))
}

fn time_if(row: &Row<'_>, index: usize) -> rusqlite::Result<Option<UnixMs>> {
    Ok(row.get::<_, Option<i64>>(index)?.map(|ms| UnixMs(unsigned(ms))))
}

#[cfg(test)]
mod tests {
    use super::*;

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
