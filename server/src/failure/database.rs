//! The kinds of faults that make a database unusable, each with its own help text.
//!
//! No help text suggests another path: the server would begin an empty fleet there, in which all devices are unknown.

use std::{io, path::Path};

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Each has its own help text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseFault {
    /// It is damaged, or a part of it is missing.
    Damaged,
    /// The file is not a SQLite database.
    NotADatabase,
    /// The path is not a file but a folder, a pipe or a device.
    NotAFile,
    /// It was migrated by a build with other migrations.
    OtherHistory,
    /// This user may not read or write it, or its folder.
    Denied,
    /// It is on a read-only file system.
    ReadOnly,
    /// Another program has it locked.
    Locked,
    DiskFull,
    /// The disk fails.
    Disk,
    /// Its files were moved or replaced while it was used.
    Misplaced,
    /// Anything else; the message says what.
    Other,
}

impl DatabaseFault {
    /// How to fix it, one sentence.
    pub fn help(self, path: &Path) -> String {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let (path, folder) = (path.display(), folder.display());
        match self {
            Self::Damaged => {
                format!(
                    "stop every program that has it open, move {path}, its -wal and its -shm away (keep them), and restore a backup"
                )
            }
            Self::NotADatabase => format!(
                "set DATABASE_URL to the fleet's database; if that is {path}, move the file away and restore a backup"
            ),
            Self::NotAFile => format!("set DATABASE_URL to the database file; {path} is not a file"),
            Self::OtherHistory => {
                "use the build of this program that created it, or restore a backup that this build created".to_owned()
            }
            Self::Denied => format!(
                "give this user read and write access to {path}, its -wal and its -shm, and to their folder {folder} (`ls -ld {folder} {path}*`)"
            ),
            Self::ReadOnly => format!("mount the disk of {path} writable"),
            Self::Locked => {
                format!("wait until the other program has finished, or stop it (`fuser {path}` shows its process ID)")
            }
            Self::DiskFull => format!("free space on the disk of {path}"),
            Self::Disk => {
                format!(
                    "check the disk of {path} (`dmesg` shows what failed); copy the files before you repair anything"
                )
            }
            Self::Misplaced => format!("move {path} back, with its -wal, then try again"),
            Self::Other => format!("fix what the message says; {path} is unchanged"),
        }
    }

    /// From SQLite's error code.
    pub fn of_sqlite(error: &rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => Self::Damaged,
            Some(ErrorCode::NotADatabase) => Self::NotADatabase,
            Some(ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => Self::Denied,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed) => {
                Self::Locked
            }
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::SystemIoFailure) => Self::Disk,
            _ => Self::Other,
        }
    }

    /// From an error of its file.
    pub fn of_file(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Self::Denied,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            io::ErrorKind::NotFound => Self::Misplaced,
            io::ErrorKind::IsADirectory => Self::NotAFile,
            _ => Self::Other,
        }
    }

    /// The same after checking the file system: SQLite reports that it can't write, but not whether the disk or a permission is why.
    #[must_use]
    pub fn at(self, path: &Path) -> Self {
        match self {
            Self::ReadOnly if !is_mounted_read_only(path) => Self::Denied,
            other => other,
        }
    }
}

/// Whether the file system of a path is mounted read-only.
fn is_mounted_read_only(path: &Path) -> bool {
    rustix::fs::statvfs(path).is_ok_and(|disk| disk.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY))
}

impl From<&StoreError> for DatabaseFault {
    fn from(error: &StoreError) -> Self {
        match error {
            StoreError::Damaged(_) => Self::Damaged,
            StoreError::Misplaced(_) => Self::Misplaced,
            StoreError::Busy => Self::Locked,
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
    fn each_fault_has_its_own_help_and_none_suggests_an_empty_fleet() {
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
            DatabaseFault::NotAFile,
        ];
        let help_texts: std::collections::BTreeSet<String> =
            faults.iter().map(|fault| fault.help(Path::new("/data/ks.sqlite"))).collect();
        assert_eq!(help_texts.len(), faults.len(), "{help_texts:#?}");
        assert!(
            help_texts.iter().all(|help| !help.contains("new.sqlite") && !help.contains("file:")),
            "{help_texts:#?}"
        );
        assert_eq!(DatabaseFault::of_file(&io::ErrorKind::PermissionDenied.into()), of(ffi::SQLITE_CANTOPEN));
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(of(ffi::SQLITE_READONLY).at(folder.path()), DatabaseFault::Denied, "this disk can be written");
        assert_eq!(of(ffi::SQLITE_READONLY).at(Path::new("/proc/version")), DatabaseFault::Denied);
    }
}
