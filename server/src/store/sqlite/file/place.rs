//! Checks that the open files are still those at the database's path. A file that was moved, deleted or replaced can be written as
//! long as it is open, but the data written is lost.

use std::{
    fs::Metadata,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use ks_protocol::text::counted;

use super::wal::{index_of, log_of};
use crate::{config::Locking, store::StoreError};

/// Checks of a private database until one looks at the files again.
const PRIVATE_CHECKS: u64 = 256;

/// Device and inode: the identity of a file.
type Identity = (u64, u64);

/// The database, its write-ahead log and the log's index, as they were when they were opened.
pub(in crate::store::sqlite) struct Place {
    /// At the path that was given: changing a link in it replaces the database.
    database: (PathBuf, Identity),
    /// The database's length in bytes at the last check. It never shrinks: nothing vacuums it in place.
    database_bytes: AtomicU64,
    /// None for a copy that is only read.
    log: Option<(PathBuf, Identity)>,
    /// None where SQLite keeps it in memory.
    index: Option<(PathBuf, Identity)>,
    is_private: bool,
    checks: AtomicU64,
    /// The log's length in bytes when a check last looked.
    log_bytes: AtomicU64,
}

impl Place {
    /// The current files, which must be open already; `before` must be the result of [`Place::of_database`] before they were opened.
    ///
    /// # Errors
    /// The database was replaced while it was opened.
    pub(in crate::store::sqlite) fn opened(path: &Path, before: Identity, locking: Locking) -> io::Result<Self> {
        let found = std::fs::metadata(path)?;
        if identity(&found) != before {
            return Err(io::Error::other("it was replaced while it was opened"));
        }
        let index = match locking {
            Locking::Shared => if_there(index_of(path))?,
            Locking::Exclusive | Locking::Private => None, // an existing one was left by another program
        };
        let log = if_there(log_of(path))?;
        Ok(Self {
            database: (path.to_owned(), before),
            database_bytes: AtomicU64::new(found.len()),
            log,
            index,
            is_private: locking == Locking::Private,
            checks: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
        })
    }

    /// The same for a database opened for writing, which must have a log.
    ///
    /// # Errors
    /// The log is missing.
    pub(in crate::store::sqlite) fn with_log(self) -> io::Result<Self> {
        if self.log.is_some() {
            return Ok(self);
        }
        let log = log_of(&self.database.0);
        Err(io::Error::other(format!("its write-ahead log is not in {}", log.display())))
    }

    /// The identity of the file at the database's path.
    ///
    /// # Errors
    /// There is no such file.
    pub(in crate::store::sqlite) fn of_database(path: &Path) -> io::Result<Identity> {
        std::fs::metadata(path).map(|found| identity(&found))
    }

    /// Checks that all files are in place; returns the length of the write-ahead log in bytes. Three system calls, most
    /// of which a private database is spared.
    ///
    /// # Errors
    /// [`StoreError::Misplaced`], with what happened to which file.
    pub(in crate::store::sqlite) fn check(&self) -> Result<u64, StoreError> {
        if self.is_private && !self.checks.fetch_add(1, Relaxed).is_multiple_of(PRIVATE_CHECKS) {
            return Ok(self.log_bytes.load(Relaxed));
        }
        let bytes = check_file(&self.database)?;
        let before = self.database_bytes.fetch_max(bytes, Relaxed);
        if bytes < before {
            let path = self.database.0.display();
            return Err(StoreError::Misplaced(format!(
                "{path} was truncated from {before} to {}",
                counted(bytes, "byte")
            )));
        }
        self.index.as_ref().map_or(Ok(0), check_file)?;
        let log_bytes = self.log.as_ref().map_or(Ok(0), check_file)?;
        self.log_bytes.store(log_bytes, Relaxed);
        Ok(log_bytes)
    }

    /// Free bytes on the database's disk; none if unknown.
    pub(in crate::store::sqlite) fn free_bytes(&self) -> Option<u64> {
        free_bytes(&self.database.0).ok()
    }
}

/// What a path names that exists and is not a file, as text; none for a file or a missing path.
pub(in crate::store::sqlite) fn not_a_file(path: &Path) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = std::fs::metadata(path).ok()?.file_type();
    if kind.is_file() {
        None
    } else if kind.is_dir() {
        Some("a folder")
    } else if kind.is_fifo() || kind.is_socket() {
        Some("a pipe or a socket")
    } else {
        Some("a device")
    }
}

/// Bytes available to this user on the disk of a path.
///
/// # Errors
/// The system call failed.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let about = rustix::fs::statvfs(path)?;
    Ok(about.f_bavail.saturating_mul(about.f_frsize))
}

/// The file with its identity, if it exists.
fn if_there(path: PathBuf) -> io::Result<Option<(PathBuf, Identity)>> {
    match std::fs::metadata(&path) {
        Ok(found) => Ok(Some((path, identity(&found)))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Checks one file; returns its length in bytes.
fn check_file((path, opened): &(PathBuf, Identity)) -> Result<u64, StoreError> {
    let what = match std::fs::metadata(path) {
        Ok(found) if identity(&found) == *opened => return Ok(found.len()),
        Ok(_) => "was replaced by another file".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => "was moved or deleted".to_owned(),
        Err(error) => format!("can't be found: {error}"),
    };
    Err(StoreError::Misplaced(format!("{} {what}", path.display())))
}

fn identity(found: &Metadata) -> Identity {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf, Place) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ks.sqlite");
        std::fs::write(&path, "database").unwrap();
        std::fs::write(log_of(&path), "log").unwrap();
        std::fs::write(index_of(&path), "index").unwrap();
        let place = Place::opened(&path, Place::of_database(&path).unwrap(), Locking::Shared).unwrap();
        (folder, path, place)
    }

    #[test]
    fn each_missing_file_is_detected_until_it_is_back() {
        let (folder, path, place) = place();
        assert_eq!(place.check(), Ok(3), "the length of the log");
        for file in [path.clone(), log_of(&path), index_of(&path)] {
            let aside = folder.path().join("aside");
            std::fs::rename(&file, &aside).unwrap();
            let missed = place.check().unwrap_err().to_string();
            assert!(missed.contains(&format!("{} was moved or deleted", file.display())), "{missed}");
            std::fs::copy(&aside, &file).unwrap();
            assert!(place.check().unwrap_err().to_string().contains("was replaced"));
            std::fs::rename(&aside, &file).unwrap();
            assert_eq!(place.check(), Ok(3));
        }
    }

    #[test]
    fn a_file_that_is_replaced_while_it_is_opened_is_refused() {
        let (folder, path, _) = place();
        let before = Place::of_database(&path).unwrap();
        let other = folder.path().join("other");
        std::fs::write(&other, "another").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(Place::opened(&path, before, Locking::Shared).is_err());
    }

    #[test]
    fn a_database_truncated_in_place_is_detected() {
        let (_folder, path, place) = place();
        std::fs::write(&path, "a database").unwrap();
        assert_eq!(place.check(), Ok(3), "it may grow");
        std::fs::write(&path, "cut").unwrap();
        assert!(place.check().unwrap_err().to_string().contains("was truncated from 10 to 3 bytes"));
        assert!(place.check().is_err(), "and at every check");
    }

    #[test]
    fn a_link_is_watched_and_its_log_is_next_to_the_target() {
        let (folder, path, _) = place();
        let link = folder.path().join("links").join("link.sqlite");
        std::fs::create_dir(link.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let place = Place::opened(&link, Place::of_database(&link).unwrap(), Locking::Shared).unwrap();
        assert_eq!(place.check(), Ok(3));
        std::fs::remove_file(index_of(&path)).unwrap();
        assert!(place.check().unwrap_err().to_string().contains("-shm was moved or deleted"));
        std::fs::write(folder.path().join("other"), "database").unwrap();
        std::fs::remove_file(&link).unwrap();
        std::os::unix::fs::symlink(folder.path().join("other"), &link).unwrap();
        assert!(place.check().unwrap_err().to_string().contains("link.sqlite was replaced"));
    }
}
