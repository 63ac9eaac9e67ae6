//! What keeps a database from being used, as far as it decides what is to be done about it.
//!
//! None of the remedies is another path: what begins there is an empty fleet, whose devices would be strangers.

use std::{io, path::Path};

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Each has a remedy of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFault {
    /// It is damaged, or a part of it is missing.
    Damaged,
    /// The file is no SQLite database.
    NoDatabase,
    /// What has its name is no file: a folder, a pipe, a device.
    NoFile,
    /// It was migrated by a build whose migrations are not this one's.
    OtherHistory,
    /// This user may not read or write it, or its folder.
    Denied,
    /// It lies where nothing can be written.
    ReadOnly,
    /// Another program holds it.
    Held,
    /// The disk is full.
    DiskFull,
    /// The disk fails.
    Disk,
    /// Its files were moved or replaced while it was used.
    Misplaced,
    /// Anything else; the message says what.
    Other,
}

impl DatabaseFault {
    /// What to do, one sentence.
    pub fn remedy(self, path: &Path) -> String {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (path, folder) = (path.display(), folder.display());
        match self {
            Self::Damaged => {
                format!("stop whatever has it open, put {path}, its -wal and its -shm aside, and restore a backup")
            }
            Self::NoDatabase => format!(
                "set DATABASE_URL to the fleet's database; if {path} is where it was, put the file aside and restore a backup"
            ),
            Self::NoFile => format!("set DATABASE_URL to the database itself, a file; {path} is none"),
            Self::OtherHistory => {
                "use the build of this program that made it, or restore a backup that this one made".to_owned()
            }
            Self::Denied => format!(
                "give the user that runs this the right to read and to write {path}, its -wal and its -shm, and their folder {folder} (`ls -ld {folder} {path}*`)"
            ),
            Self::ReadOnly => format!("mount the disk of {path} so that it can be written"),
            Self::Held => format!("wait until the other program is done, or end it (`fuser {path}` names it)"),
            Self::DiskFull => format!("make room on the disk of {path}"),
            Self::Disk => {
                format!(
                    "look after the disk of {path} (`dmesg` says what failed); copy the files before you mend anything"
                )
            }
            Self::Misplaced => format!("put {path} back, with its -wal, then try again"),
            Self::Other => format!("mend what the message says; {path} is left as it was found"),
        }
    }

    /// Of what SQLite says.
    pub fn of_sqlite(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged,
            Some(ErrorCode::NotADatabase) => Self::NoDatabase,
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::Denied,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Self::Held
            }
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::SystemIoFailure) => Self::Disk,
            _ => Self::Other,
        }
    }

    /// Of what the system says of its file.
    pub fn of_file(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::NotFound => Self::Misplaced,
            io::ErrorKind::IsADirectory => Self::NoFile,
            _ => Self::Other,
        }
    }

    /// The same with a look at where the file is: SQLite says that it can't write, and not whether that is the disk or a right.
    #[must_use]
    pub fn at(self, path: &Path) -> Self {
        match self {
            Self::ReadOnly if !is_mounted_read_only(path) => Self::Denied,
            other => other,
        }
    }
}

/// Whether the disk of a path takes no writes from anybody.
fn is_mounted_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

impl From<&StoreError> for DatabaseFault {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Damaged(_) => Self::Damaged,
            StoreError::Misplaced(_) => Self::Misplaced,
            StoreError::Busy => Self::Held,
            StoreError::Database(_)
            | StoreError::Retry(_)
            | StoreError::TooLong { .. }
            | StoreError::QueueFull
            | StoreError::Closed => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    #[test]
    fn each_cause_has_its_own_remedy_and_none_is_an_empty_fleet() {
        let of = |code| DatabaseFault::of_sqlite(&rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        let faults = [
            of(ffi::SQLITE_CORRUPT),
            of(ffi::SQLITE_NOTADB),
            of(ffi::SQLITE_CANTOPEN),
            of(ffi::SQLITE_READONLY),
            of(ffi::SQLITE_BUSY),
            of(ffi::SQLITE_FULL),
            of(ffi::SQLITE_IOERR),
            of(ffi::SQLITE_ERROR),
            DatabaseFault::OtherHistory,
            DatabaseFault::Misplaced,
            DatabaseFault::NoFile,
        ];
        let remedies: std::collections::BTreeSet<String> =
            faults.iter().map(|fault| fault.remedy(Path::new("/data/ks.sqlite"))).collect();
        assert_eq!(remedies.len(), faults.len(), "{remedies:#?}");
        assert!(
            remedies.iter().all(|remedy| !remedy.contains("new.sqlite") && !remedy.contains("file:")),
            "{remedies:#?}"
        );
        assert_eq!(DatabaseFault::of_file(&io::ErrorKind::PermissionDenied.into()), of(ffi::SQLITE_CANTOPEN));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of(ffi::SQLITE_READONLY).at(folder.path()), DatabaseFault::Denied, "this disk can be written");
        assert_eq!(of(ffi::SQLITE_READONLY).at(Path::new("/proc/version")), DatabaseFault::Denied);
    }
}
