//! Temporary folders that are removed when their owner ends, or, if it was killed, when the next process starts.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Once,
};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::host::no_link::NO_LINK;

/// Prefix of their names.
const PREFIX: &str = "ks-fleet-";
/// Locked by the owner while it runs.
const LOCK: &str = ".owner";

/// A temporary folder, locked by this process.
#[derive(Debug)]
pub struct Temporary {
    folder: TempDir,
    /// Locked while it is open.
    _lock: File,
}

impl Temporary {
    /// Creates one for `what`; the first of a process removes those whose owner is dead.
    ///
    /// # Errors
    /// It can't be made.
    pub fn make(what: &str) -> io::Result<Self> {
        static SWEPT: Once = Once::new();
        SWEPT.call_once(|| sweep(&std::env::temp_dir()));
        Self::make_in(&std::env::temp_dir(), what)
    }

    fn make_in(parent: &Path, what: &str) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(&format!("{PREFIX}{what}-")).tempdir_in(parent)?;
        // It gets its name once it is locked, so that a concurrent sweep never finds an unlocked new one.
        let unlocked = folder.path().join(".new");
        let lock = File::create(&unlocked)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(&unlocked, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes folders that no process locks. Those that can't be read or removed, or belong to another user, stay.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_ours || !is_folder {
            continue;
        }
        // Other users can write here: symbolic links are not followed, and pipes do not block.
        let lock = File::options().read(true).custom_flags(NO_LINK).open(entry.path().join(LOCK));
        if lock.is_ok_and(|lock| flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_killed_processes_are_removed_and_locked_ones_stay() {
        let parent = tempfile::tempdir().unwrap();
        let held = Temporary::make_in(parent.path(), "trial").unwrap();
        // As `kill -9` leaves it: the folder exists and its lock is free.
        let killed = Temporary::make_in(parent.path(), "trial").unwrap();
        let Temporary { folder, _lock: lock } = killed;
        let left = folder.keep();
        drop(lock);
        fs::write(left.join("ks.sqlite"), "rows").unwrap();
        let foreign = parent.path().join("ks-fleet-notes");
        fs::create_dir(&foreign).unwrap();
        sweep(parent.path());
        assert!(held.path().exists() && foreign.exists() && !left.exists());
    }
}
