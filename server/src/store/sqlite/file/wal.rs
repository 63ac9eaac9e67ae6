//! Checks a write-ahead log before SQLite opens it: SQLite silently skips a damaged log with all its commits.
//!
//! A crash can tear the last transaction and nothing else, because each commit is synced before the next begins. So a log
//! whose header is invalid, or which has commits after an invalid frame, was damaged by something else, and opening it would
//! discard acknowledged writes.
//!
//! Source: the SQLite file format, section 4, "The Write-Ahead Log".

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use ks_protocol::text::counted;

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Most reads of one log.
const LOOKS_MAX: usize = 4;
/// The magic number of a log; its last bit says that checksums are big-endian.
const MAGIC: u32 = 0x377f_0682;

/// The result of checking a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store::sqlite) enum Log {
    /// It ends with a commit, or there is none.
    Sound,
    /// It has own frames after its last commit, which SQLite drops.
    Torn(Tail),
    /// It has commits after invalid data; with the details.
    Damaged(String),
}

/// The data after the last commit of a log, without frames from before its last restart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::store::sqlite) struct Tail {
    /// Frames, the last of which may be cut short.
    pub(in crate::store::sqlite) frames: u64,
    pub(in crate::store::sqlite) bytes: u64,
}

/// Checks the log of `database`. A server may be writing it: data written or restarted during the read looks torn or damaged once,
/// but not a second time in the same place.
///
/// # Errors
/// The log can't be read.
pub(in crate::store::sqlite) fn log(database: &Path) -> io::Result<Log> {
    let mut found = read_once(database)?;
    for _ in 1..LOOKS_MAX {
        if found == Log::Sound {
            break;
        }
        let before = found;
        found = read_once(database)?;
        if found == before {
            return Ok(found);
        }
    }
    Ok(Log::Sound) // a different place each time: another program is writing
}

/// Reads the log once.
fn read_once(database: &Path) -> io::Result<Log> {
    let name = log_of(database);
    let file = match File::open(&name) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Log::Sound);
        }
        Err(error) => return Err(error),
    };
    let bytes = file.metadata()?.len();
    if bytes < HEADER_BYTES as u64 {
        let tail = Tail { frames: 0, bytes }; // even the header, which SQLite writes in one piece, is incomplete
        return Ok(if bytes == 0 { Log::Sound } else { Log::Torn(tail) });
    }
    let frames = match Frames::open(BufReader::with_capacity(1 << 20, file)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Log::Sound), // it was truncated just now
        frames => frames?,
    };
    let Some(mut frames) = frames else {
        if bytes == HEADER_BYTES as u64 {
            return Ok(Log::Sound); // nothing was ever committed to it
        }
        let damage =
            format!("the header of its write-ahead log is damaged ({} in {})", counted(bytes, "byte"), name.display());
        return Ok(Log::Damaged(damage));
    };
    let (mut intact, mut commits_behind, mut tail) = (0_u64, 0_u64, Tail::default());
    while let Some(frame) = frames.next()? {
        if frame.is_own {
            tail = Tail { frames: tail.frames + 1, bytes: tail.bytes + frame.bytes };
        }
        if frame.is_intact {
            intact += 1;
            tail = if frame.is_commit { Tail::default() } else { tail };
        } else {
            // The first commit frame after a break may belong to the torn transaction.
            commits_behind += u64::from(frame.is_commit);
        }
    }
    Ok(match (commits_behind, tail.bytes) {
        (2.., _) => Log::Damaged(format!(
            "its write-ahead log is damaged after frame {intact}, with at least {} after the damage ({})",
            counted(commits_behind - 1, "commit"),
            name.display()
        )),
        (_, 0) => Log::Sound,
        _ => Log::Torn(tail),
    })
}

/// Whether a log of this many bytes can hold a frame with the smallest page size.
pub(in crate::store::sqlite) fn may_hold_a_page(log_bytes: u64) -> bool {
    log_bytes >= (HEADER_BYTES + FRAME_HEADER_BYTES + 512) as u64
}

/// Where SQLite keeps the log of a database.
pub(in crate::store::sqlite) fn log_of(database: &Path) -> PathBuf {
    sibling(database, "-wal")
}

/// Where SQLite keeps the index of the log.
pub(in crate::store::sqlite) fn index_of(database: &Path) -> PathBuf {
    sibling(database, "-shm")
}

/// A file next to the database itself: SQLite resolves a link before it names the others.
fn sibling(database: &Path, suffix: &str) -> PathBuf {
    let mut name = std::fs::canonicalize(database).unwrap_or_else(|_| database.to_owned()).into_os_string();
    name.push(suffix);
    name.into()
}

/// The frames of a log.
struct Frames<R> {
    log: R,
    is_big_endian: bool,
    salt: [u8; 8],
    checksum: (u32, u32),
    page: Vec<u8>,
    was_broken: bool,
}

struct Frame {
    bytes: u64,
    /// Whether it was written since the log's last restart, as far as can be determined.
    is_own: bool,
    /// Whether it and all earlier frames are valid.
    is_intact: bool,
    is_commit: bool,
}

impl<R: Read> Frames<R> {
    /// Reads the header; none if it is damaged.
    fn open(mut log: R) -> io::Result<Option<Self>> {
        let mut header = [0; HEADER_BYTES];
        log.read_exact(&mut header)?;
        let (magic, page_bytes) = (big_endian(&header, 0), big_endian(&header, 8));
        let is_big_endian = magic == MAGIC | 1;
        let checksum = sum((0, 0), header.get(..24).unwrap_or_default(), is_big_endian);
        let is_sound = magic | 1 == MAGIC | 1
            && page_bytes.is_power_of_two()
            && (512..=65_536).contains(&page_bytes)
            && checksum == (big_endian(&header, 24), big_endian(&header, 28));
        let mut salt = [0; 8];
        salt.copy_from_slice(header.get(16..24).unwrap_or(&[0; 8]));
        let page = vec![0; usize::try_from(page_bytes).unwrap_or(0)];
        Ok(is_sound.then_some(Self { log, is_big_endian, salt, checksum, page, was_broken: false }))
    }

    /// The next frame, which may be cut short; none at the end.
    fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; FRAME_HEADER_BYTES];
        let header_read = fill(&mut self.log, &mut header)?;
        let page_read = if header_read == header.len() { fill(&mut self.log, &mut self.page)? } else { 0 };
        if header_read == 0 {
            return Ok(None);
        }
        let bytes = (header_read + page_read) as u64;
        if header_read >= 16 && header.get(8..16) != Some(self.salt.as_slice()) {
            // From before the log's last restart, as all later ones then are; or its salt is damaged.
            self.was_broken = true;
            return Ok(Some(Frame { bytes, is_own: false, is_intact: false, is_commit: false }));
        }
        if page_read < self.page.len() {
            self.was_broken = true;
            return Ok(Some(Frame { bytes, is_own: true, is_intact: false, is_commit: false }));
        }
        let checksum = sum(self.checksum, header.get(..8).unwrap_or_default(), self.is_big_endian);
        let checksum = sum(checksum, &self.page, self.is_big_endian);
        let is_intact = !self.was_broken && checksum == (big_endian(&header, 16), big_endian(&header, 20));
        self.checksum = checksum;
        self.was_broken |= !is_intact;
        Ok(Some(Frame { bytes, is_own: true, is_intact, is_commit: big_endian(&header, 4) != 0 }))
    }
}

/// Reads until `into` is full or the file ends; returns the number of bytes read.
fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = into.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(bytes) => read += bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

/// Four bytes of a header as a number.
fn big_endian(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

/// The log's checksum, continued over `bytes`.
fn sum((mut first, mut second): (u32, u32), bytes: &[u8], is_big_endian: bool) -> (u32, u32) {
    for pair in bytes.as_chunks::<8>().0 {
        let word = |at: usize| {
            let four = pair.get(at..at + 4).and_then(|four| four.try_into().ok()).unwrap_or_default();
            if is_big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
        };
        first = first.wrapping_add(word(0)).wrapping_add(second);
        second = second.wrapping_add(word(4)).wrapping_add(first);
    }
    (first, second)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// A database with a log of twenty commits, copied as after a crash; and the copy's log.
    fn crashed() -> (tempfile::TempDir, std::path::PathBuf, Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let (live, copy) = (folder.path().join("live.sqlite"), folder.path().join("copy.sqlite"));
        let connection = Connection::open(&live).unwrap();
        connection.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x TEXT);").unwrap();
        for number in 0..20 {
            connection.execute("INSERT INTO t VALUES (?1)", [format!("{number:0>900}")]).unwrap();
        }
        std::fs::copy(&live, &copy).unwrap();
        let log = std::fs::read(folder.path().join("live.sqlite-wal")).unwrap();
        (folder, copy, log)
    }

    fn found(copy: &Path, bytes: &[u8]) -> Log {
        std::fs::write(log_of(copy), bytes).unwrap();
        log(copy).unwrap()
    }

    /// What SQLite reads with this log: rows of the table.
    fn rows(copy: &Path) -> i64 {
        let connection = Connection::open(copy).unwrap();
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap_or(0)
    }

    #[test]
    fn a_complete_log_is_sound_and_so_is_one_cut_at_a_commit() {
        let (_folder, copy, bytes) = crashed();
        assert_eq!(log(&copy).unwrap(), Log::Sound, "no log at all");
        for whole in [&bytes[..], &[], &bytes[..HEADER_BYTES]] {
            assert_eq!(found(&copy, whole), Log::Sound);
        }
        let last = bytes.len() - (FRAME_HEADER_BYTES + 4096);
        assert_eq!(found(&copy, &bytes[..last]), Log::Sound, "a lost commit of one page is undetectable");
    }

    #[test]
    fn data_after_the_last_commit_is_counted_and_sqlite_drops_it() {
        let (_folder, copy, bytes) = crashed();
        let frame = FRAME_HEADER_BYTES + 4096;
        let last = bytes.len() - frame;
        let mut flipped = bytes.clone();
        flipped[bytes.len() - 10] ^= 1;
        for (log, tail) in [
            (&bytes[..bytes.len() - 100], frame - 100), // cut within the page
            (&bytes[..last + FRAME_HEADER_BYTES], FRAME_HEADER_BYTES),
            (&bytes[..last + 20], 20), // within the header
            (&bytes[..=last], 1),
            (&flipped[..], frame), // complete, with a wrong checksum
        ] {
            let torn = Log::Torn(Tail { frames: 1, bytes: tail as u64 });
            assert_eq!(found(&copy, log), torn);
            assert_eq!(rows(&copy), 19, "the last row is dropped, and no other");
            let _ = std::fs::remove_file(index_of(&copy));
        }
        assert_eq!(found(&copy, &bytes[..10]), Log::Torn(Tail { frames: 0, bytes: 10 }), "not even a header");
    }

    #[test]
    fn complete_uncommitted_frames_are_a_tail() {
        let (_folder, copy, _) = crashed();
        let live = copy.with_file_name("large.sqlite");
        let connection = Connection::open(&live).unwrap();
        connection
            .execute_batch("PRAGMA journal_mode=WAL; PRAGMA cache_size=2; CREATE TABLE t (x TEXT); BEGIN;")
            .unwrap();
        for number in 0..200 {
            connection.execute("INSERT INTO t VALUES (?1)", [format!("{number:0>3000}")]).unwrap();
        }
        let bytes = std::fs::read(log_of(&live)).unwrap();
        let Log::Torn(tail) = found(&copy, &bytes) else { panic!("an open transaction is not a commit") };
        assert!(tail.frames > 1 && tail.bytes == tail.frames * (FRAME_HEADER_BYTES as u64 + 4096), "{tail:?}");
    }

    #[test]
    fn damage_before_commits_is_reported() {
        let (_folder, copy, bytes) = crashed();
        let damage_in = |bytes: &[u8]| match found(&copy, bytes) {
            Log::Damaged(damage) => damage,
            other => panic!("{other:?}"),
        };
        let mut header = bytes.clone();
        header[0] ^= 1;
        assert!(damage_in(&header).contains("header"));
        for at in [HEADER_BYTES + 2, HEADER_BYTES + 10, HEADER_BYTES + FRAME_HEADER_BYTES + 50, bytes.len() / 2] {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            assert!(damage_in(&broken).contains("commits after the damage"), "{at}");
        }
    }

    #[test]
    fn frames_from_before_a_restart_are_not_own_frames() {
        let (_folder, copy, _) = crashed();
        let name = copy.with_file_name("anew.sqlite");
        let live = Connection::open(&name).unwrap();
        live.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x TEXT);").unwrap();
        for _ in 0..20 {
            live.execute("INSERT INTO t VALUES ('old')", []).unwrap();
        }
        let before = std::fs::read(log_of(&name)).unwrap();
        live.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        live.execute("INSERT INTO t VALUES ('new')", []).unwrap();
        let bytes = std::fs::read(log_of(&name)).unwrap();
        assert_eq!(bytes.len(), before.len(), "it is overwritten from its start");
        // SQLite truncates a long log in the middle of an old frame; and space may be preallocated with zeros.
        let cut = [bytes.len(), bytes.len() - 100, bytes.len() - 4096, bytes.len() - 4096 - 8];
        for cut in cut {
            assert_eq!(found(&copy, &bytes[..cut]), Log::Sound, "{cut}");
        }
        assert_eq!(found(&copy, &[&bytes[..], &[0; 10_000]].concat()), Log::Sound);
    }
}
