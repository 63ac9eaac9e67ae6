//! Temporary folders that go with their owner: when it ends, or, if it was killed, when the next one begins.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Once,
};

use rustix::fs::{FlockOperation, flock};
use tempfile::TempDir;

use crate::folder::NO_LINK;

/// What the names of all of them begin with.
const PREFIX: &str = "ks-fleet-";
/// Held by the owner as long as it lives.
const LOCK: &str = ".owner";

/// A temporary folder, held by this process.
#[derive(Debug)]
pub struct Temporary {
    folder: TempDir,
    /// Locked while it is open.
    _lock: File,
}

impl Temporary {
    /// Makes one for `what`; the first of a process removes those whose owner is dead.
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
        // It gets its name once it is locked: whoever sweeps never finds one that nobody holds yet.
        let unlocked = folder.path().join(".new");
        let lock = File::create(&unlocked)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
        fs::rename(&unlocked, folder.path().join(LOCK))?;
        Ok(Self { folder, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Removes the folders that nobody holds any more. What can't be read or removed, or is somebody else's, stays.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let is_ours = entry.file_name().to_string_lossy().starts_with(PREFIX);
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if !is_ours || !is_folder {
            continue;
        }
        // What anybody may have put there is neither followed nor waited for.
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
    fn what_a_killed_process_left_is_removed_and_what_is_held_stays() {
        let parent = tempfile::tempdir().unwrap();
        let held = Temporary::make_in(parent.path(), "trial").unwrap();
        // As `kill -9` leaves it: the folder is there, and nobody holds its lock.
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
