//! What prevents this user from writing a database: a lock by another program, or missing rights. It queries the operating system;
//! SQLite opens nothing, and nothing is locked or written.

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
/// Readers take a shared lock on the last, which blocks no writer.
const DATABASE_LOCKS: (u64, u64) = (0x4000_0000, 512);
/// The byte of the log's index that a writer locks (<https://www.sqlite.org/walformat.html>, `WAL_WRITE_LOCK`).
const WRITER_LOCK: (u64, u64) = (120, 1);

/// The program that has a database locked exclusively, or is writing it, as text; none if there is none. Must not be called by a
/// process that has the database open: the system would release that process's locks.
pub fn holder(database: &Path) -> Option<String> {
    let in_the_way = |path: &Path, bytes| locked(path, bytes, FlockType::ReadLock);
    let found = in_the_way(database, DATABASE_LOCKS).or_else(|| in_the_way(&index_of(database), WRITER_LOCK))?;
    let Some(pid) = found.pid.map(|pid| pid.as_raw_nonzero().get()).filter(|pid| *pid > 0) else {
        return Some("another program, not visible from here".to_owned()); // it runs in another container
    };
    match std::fs::read_to_string(format!("/proc/{pid}/comm")) {
        Ok(name) => Some(format!("`{}` (process {pid})", name.trim_end())),
        Err(_) => Some(format!("process {pid}")),
    }
}

/// Whether another program has a database open with SQLite's locks: in WAL mode each connection keeps its shared lock until it is closed.
/// Must not be called by a process that has the database open, for the same reason as [`holder`].
pub(in crate::store::sqlite) fn is_open(database: &Path) -> bool {
    locked(database, DATABASE_LOCKS, FlockType::WriteLock).is_some()
}

/// The lock that conflicts with one of this kind.
fn locked(path: &Path, (start, length): (u64, u64), kind: FlockType) -> Option<Flock> {
    let file = File::open(path).ok()?; // a file that can't be opened is reported where it is opened
    let wanted = Flock { start, length, offset_type: FlockOffsetType::Set, ..Flock::from(kind) };
    fcntl_getlk(&file, &wanted).ok().flatten()
}

/// The file or folder of a database that this user may not write, and why: the existing files, and the folder, in which SQLite
/// creates them. For a missing database, the folder in which it would be created.
pub fn unwritable(database: &Path) -> Option<(PathBuf, io::Error)> {
    let whole = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned());
    let files = [whole.clone(), log_of(database), index_of(database)];
    files.into_iter().filter(|file| file.exists()).find_map(unwritable_file).or_else(|| {
        let folder = whole.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        unwritable_folder(folder)
    })
}

/// What prevents this user from creating files in a folder, or below the deepest existing part of its path.
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
