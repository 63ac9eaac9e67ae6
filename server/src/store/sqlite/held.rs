//! What keeps this user from writing a database: who holds it, which rights are missing. The system is asked; SQLite opens nothing,
//! and nothing is locked or written.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{Access, AtFlags, CWD, accessat},
    process::{Flock, FlockOffsetType, FlockType, fcntl_getlk},
};

use super::wal::{index_of, log_of};

/// Bytes of the database that SQLite locks: pending, reserved, shared (<https://www.sqlite.org/fileformat2.html>, the lock-byte page).
/// Who reads locks the last to read, which is in nobody's way.
const DATABASE_LOCKS: (u64, u64) = (0x4000_0000, 512);
/// The byte of the log's index that a writer locks (<https://www.sqlite.org/walformat.html>, `WAL_WRITE_LOCK`).
const WRITER_LOCK: (u64, u64) = (120, 1);

/// The program that has a database to itself, or writes it at this moment, in words; none if there is none. Must not be asked by a
/// process that has the database open: the system then lets go of the locks that it has.
pub fn holder(database: &Path) -> Option<String> {
    let in_the_way = |path: &Path, bytes| locked(path, bytes, FlockType::ReadLock);
    let found = in_the_way(database, DATABASE_LOCKS).or_else(|| in_the_way(&index_of(database), WRITER_LOCK))?;
    let Some(pid) = found.pid.map(|pid| pid.as_raw_nonzero().get()).filter(|pid| *pid > 0) else {
        return Some("another program, which is not to be seen from here".to_owned()); // it runs in another container
    };
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => Some(format!("`{}` (process {pid})", name.trim_end())),
        Err(_) => Some(format!("process {pid}")),
    }
}

/// Whether another program has a database open with SQLite's locks: in WAL mode each connection keeps its shared lock until it is closed.
/// Must not be asked by a process that has the database open, for the reason of [`holder`].
pub(super) fn is_open(database: &Path) -> bool {
    locked(database, DATABASE_LOCKS, FlockType::WriteLock).is_some()
}

/// The lock that stands in the way of one of this kind.
fn locked(path: &Path, (start, length): (u64, u64), kind: FlockType) -> Option<Flock> {
    let file = File::open(path).ok()?; // that it can't be opened is said by what opens it
    let wanted = Flock { start, length, offset_type: FlockOffsetType::Set, ..Flock::from(kind) };
    fcntl_getlk(&file, &wanted).ok().flatten()
}

/// What of a database this user may not write, and why: the files that are there, and the folder, in which SQLite makes them. Of a
/// database that is missing, the folder in which it would be made.
pub fn unwritable(database: &Path) -> Option<(PathBuf, io::Error)> {
    let whole = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let files = [whole.clone(), log_of(database), index_of(database)];
    files.into_iter().filter(|file| file.exists()).find_map(unwritable_file).or_else(|| {
        let folder = whole.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        unwritable_folder(folder)
    })
}

/// What keeps this user from making files in a folder, or below the last part of its path that is there.
pub fn unwritable_folder(folder: &Path) -> Option<(PathBuf, io::Error)> {
    let there = folder.ancestors().find(|folder| folder.symlink_metadata().is_ok()).unwrap_or(Path::new("."));
    if !there.is_dir() {
        return Some((there.to_owned(), io::ErrorKind::NotADirectory.into()));
    }
    let may = accessat(CWD, there, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS);
    may.err().map(|error| (there.to_owned(), error.into()))
}

fn unwritable_file(file: PathBuf) -> Option<(PathBuf, io::Error)> {
    let may = accessat(CWD, &file, Access::READ_OK | Access::WRITE_OK, AtFlags::EACCESS);
    may.err().map(|error| (file, error.into()))
}
