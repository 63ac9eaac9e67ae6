//! Which databases are refused before they are opened, and the error for one that can't be used.

use std::{path::Path, time::Duration};

use ks_protocol::text::counted;

use super::{
    place,
    wal::{self, Log, Tail},
    write_access,
};
use crate::{
    failure::{DatabaseFault, StartError},
    store::sqlite::{in_short, migrations::MigrateError},
};

/// Pause between the two reads of the data after the last commit of a log.
const TORN_PAUSE: Duration = Duration::from_millis(250);

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
pub(in crate::store::sqlite) fn refused(path: &Path, error: MigrateError) -> StartError {
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
pub(in crate::store::sqlite) fn unusable(path: &Path, error: &rusqlite::Error) -> StartError {
    StartError::UnusableDatabase {
        path: path.to_owned(),
        fault: DatabaseFault::of_sqlite(error).at(path),
        why: in_short(error),
    }
}

/// The start error for a database whose files the system can't open or find.
pub(in crate::store::sqlite) fn not_there(path: &Path, error: &std::io::Error) -> StartError {
    StartError::UnusableDatabase { path: path.to_owned(), fault: DatabaseFault::of_file(error), why: error.to_string() }
}
