//! Reading a database in place, even a backup in a read-only folder: nothing is written next to it.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use ks_protocol::text::counted;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::time::Instant;

use super::{
    super::{
        migrations,
        reader::{READ_MAX, SqliteReader, open_read_only},
    },
    connection::{set_up, vfs},
    integrity::check_integrity,
    place::Place,
    refusal::{not_there, refuse_lost, refused, unusable},
    wal::{index_of, log_of},
};
use crate::{config::Locking, failure::StartError};

/// A read without locks, valid only while no other program opens the database.
pub struct UnlockedRead(Option<PathBuf>);

impl UnlockedRead {
    /// Checks again after everything was read.
    ///
    /// # Errors
    /// Another program has opened the database meanwhile, so the data read may be inconsistent.
    pub fn check(&self) -> Result<(), StartError> {
        match &self.0 {
            Some(path) if is_in_use(path) => Err(StartError::Unreadable {
                path: path.clone(),
                why: "another program opened it while it was read".to_owned(),
                help: "run the command again".to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl SqliteReader {
    /// Opens the file for a command that only reads. A database that another program has open, or that a crash left with its
    /// log, is read with SQLite's locks, as usual. One without a log is read as an immutable file, so that neither file nor
    /// folder needs to be writable, and no file is left behind.
    ///
    /// # Errors
    /// There is no database, it is not of this program and schema, or its log can't be read.
    pub fn open_as_it_lies(path: &Path, locking: Locking) -> Result<(Self, UnlockedRead), StartError> {
        let invalid = |error: rusqlite::Error| unusable(path, &error);
        refuse_lost(path)?;
        if !path.exists() {
            return Err(StartError::no_database(path));
        }
        let lost = |error: std::io::Error| not_there(path, &error);
        let before = Place::of_database(path).map_err(lost)?;
        let until = Arc::new(Mutex::new(Instant::now() + READ_MAX));
        let (connection, alone) = if is_in_use(path) {
            match open_read_only(path, locking, Arc::clone(&until)).and_then(with_one_read) {
                Ok(connection) => (connection, UnlockedRead(None)),
                Err(error) if !needs_writing(&error) => return Err(invalid(error)),
                Err(_) if log_bytes(path) > 0 => return Err(log_unread(path)),
                Err(_) => (open_immutable(path, locking).map_err(invalid)?, UnlockedRead(Some(path.to_owned()))),
            }
        } else {
            (open_immutable(path, locking).map_err(invalid)?, UnlockedRead(Some(path.to_owned())))
        };
        check_integrity(&connection).map_err(|unsound| unsound.refused(path))?;
        migrations::refuse_other(&connection).map_err(|error| refused(path, error))?;
        let place = Place::opened(path, before, locking).map_err(lost)?;
        Ok((Self { connection, place, read_max: READ_MAX, until }, alone))
    }
}

/// Makes SQLite read the file, which it defers when it opens it.
fn with_one_read(connection: Connection) -> rusqlite::Result<Connection> {
    connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    Ok(connection)
}

fn log_bytes(path: &Path) -> u64 {
    log_of(path).metadata().map_or(0, |about| about.len())
}

/// Whether a program has the database open or has left its log: then there is a nonempty log, or the index of one.
fn is_in_use(path: &Path) -> bool {
    log_bytes(path) > 0 || index_of(path).exists()
}

/// Whether SQLite failed because it would have to write a file here.
fn needs_writing(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied))
}

fn log_unread(path: &Path) -> StartError {
    let log = log_of(path);
    StartError::Unreadable {
        path: path.to_owned(),
        why: format!(
            "its newest data, {}, is in {}, which SQLite reads only in a writable folder",
            counted(log_bytes(path), "byte"),
            log.display()
        ),
        help: format!("copy {} and {} to a writable folder, and read them there", path.display(), log.display()),
    }
}

/// Opens a file that no program changes: SQLite takes no locks and looks for no log (<https://www.sqlite.org/uri.html>).
fn open_immutable(path: &Path, locking: Locking) -> rusqlite::Result<Connection> {
    use std::os::unix::ffi::OsStrExt as _;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-~".contains(&byte);
    let encode = |byte: &u8| if is_plain(*byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
    let encoded: String =
        std::path::absolute(path).unwrap_or(path.to_owned()).as_os_str().as_bytes().iter().map(encode).collect();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let connection = Connection::open_with_flags_and_vfs(format!("file:{encoded}?immutable=1"), flags, vfs(locking))?;
    set_up(&connection)?;
    with_one_read(connection)
}
