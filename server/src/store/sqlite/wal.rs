//! A look at a write-ahead log before SQLite opens it: SQLite passes over a damaged log in silence, with all it holds.
//!
//! A crash can tear the last transaction and nothing else, because each commit is synced before the next begins. So a log
//! whose header is broken, or in which commits stand behind a broken frame, was damaged by something else, and opening it
//! would throw acknowledged writes away.
//!
//! Source: the SQLite file format, section 4, "The Write-Ahead Log".

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

const HEADER_BYTES: usize = 32;
const FRAME_HEADER_BYTES: usize = 24;
/// Looks through one log at most.
const LOOKS_MAX: usize = 4;
/// The magic number of a log; its last bit says that checksums are big-endian.
const MAGIC: u32 = 0x377f_0682;

/// What a look through a log finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Log {
    /// It ends with a commit, or there is none.
    Sound,
    /// Something of its own stands behind its last commit, which SQLite drops.
    Torn(Tail),
    /// Commits stand behind what is broken; with what is wrong.
    Damaged(String),
}

/// What stands behind the last commit of a log. Frames from before the log was begun anew are none of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tail {
    /// Frames, the last of which may be cut short.
    pub(super) frames: u64,
    pub(super) bytes: u64,
}

/// Looks through the log beside `database`. A server may be writing it: what is written or begun anew while it is read looks torn or
/// damaged once, and not a second time in the same place.
///
/// # Errors
/// The log can't be read.
pub(super) fn log(database: &Path) -> io::Result<Log> {
    let mut found = look(database)?;
    for _ in 1..LOOKS_MAX {
        if found == Log::Sound {
            break;
        }
        let before = found;
        found = look(database)?;
        if found == before {
            return Ok(found);
        }
    }
    Ok(Log::Sound) // another place each time: somebody writes there
}

/// One look through the log.
fn look(database: &Path) -> io::Result<Log> {
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
        let tail = Tail { frames: 0, bytes }; // not even the header, which SQLite writes at once, is whole
        return Ok(if bytes == 0 { Log::Sound } else { Log::Torn(tail) });
    }
    let frames = match Frames::open(BufReader::with_capacity(1 << 20, file)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Log::Sound), // it was cut just now
        frames => frames?,
    };
    let Some(mut frames) = frames else {
        if bytes == HEADER_BYTES as u64 {
            return Ok(Log::Sound); // nothing was ever committed to it
        }
        let damage = format!("the header of its write-ahead log is damaged ({bytes} bytes in {})", name.display());
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
            // The first commit frame behind a break may be the torn transaction's own.
            commits_behind += u64::from(frame.is_commit);
        }
    }
    Ok(match (commits_behind, tail.bytes) {
        (2.., _) => Log::Damaged(format!(
            "its write-ahead log is damaged behind frame {intact}, and at least {} commits stand there ({})",
            commits_behind - 1,
            name.display()
        )),
        (_, 0) => Log::Sound,
        _ => Log::Torn(tail),
    })
}

/// Whether a log of so many bytes is long enough for one frame, with the smallest page that there is.
pub(super) fn may_hold_a_page(log_bytes: u64) -> bool {
    log_bytes >= (HEADER_BYTES + FRAME_HEADER_BYTES + 512) as u64
}

/// Where SQLite keeps the log of a database.
pub(super) fn log_of(database: &Path) -> PathBuf {
    beside(database, "-wal")
}

/// Where SQLite keeps the index of the log.
pub(super) fn index_of(database: &Path) -> PathBuf {
    beside(database, "-shm")
}

/// A file beside the database itself: SQLite follows a link before it names the others.
fn beside(database: &Path, suffix: &str) -> PathBuf {
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
    /// How much of it there is.
    bytes: u64,
    /// Whether it was written since the log was begun anew, so far as can be seen.
    is_own: bool,
    /// Whether it and all before it are whole.
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
            // Left from before the log was begun anew, as all behind it then are; or it is the salt that is damaged.
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

/// Reads until `into` is full or the file ends; gives how many bytes it read.
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

/// The log's checksum, gone on with over `bytes`.
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

    /// A database with a log of twenty commits, copied as a crash leaves it; and the copy's log.
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
    fn a_whole_log_is_sound_and_one_that_is_cut_at_a_commit_looks_so() {
        let (_folder, copy, bytes) = crashed();
        assert_eq!(log(&copy).unwrap(), Log::Sound, "no log at all");
        for whole in [&bytes[..], &[], &bytes[..HEADER_BYTES]] {
            assert_eq!(found(&copy, whole), Log::Sound);
        }
        let last = bytes.len() - (FRAME_HEADER_BYTES + 4096);
        assert_eq!(found(&copy, &bytes[..last]), Log::Sound, "a commit of one page is gone, and nobody can see it");
    }

    #[test]
    fn what_stands_behind_the_last_commit_is_counted_and_is_what_sqlite_drops() {
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
            (&flipped[..], frame), // whole, and its checksum is wrong
        ] {
            let torn = Log::Torn(Tail { frames: 1, bytes: tail as u64 });
            assert_eq!(found(&copy, log), torn);
            assert_eq!(rows(&copy), 19, "the last row is dropped, and no other");
            let _ = std::fs::remove_file(index_of(&copy));
        }
        assert_eq!(found(&copy, &bytes[..10]), Log::Torn(Tail { frames: 0, bytes: 10 }), "not even a header");
    }

    #[test]
    fn frames_that_are_whole_and_were_never_committed_are_a_tail() {
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
        let Log::Torn(tail) = found(&copy, &bytes) else { panic!("a transaction that goes on is no commit") };
        assert!(tail.frames > 1 && tail.bytes == tail.frames * (FRAME_HEADER_BYTES as u64 + 4096), "{tail:?}");
    }

    #[test]
    fn damage_in_front_of_commits_is_told() {
        let (_folder, copy, bytes) = crashed();
        let told = |bytes: &[u8]| match found(&copy, bytes) {
            Log::Damaged(damage) => damage,
            other => panic!("{other:?}"),
        };
        let mut header = bytes.clone();
        header[0] ^= 1;
        assert!(told(&header).contains("header"));
        for at in [HEADER_BYTES + 2, HEADER_BYTES + 10, HEADER_BYTES + FRAME_HEADER_BYTES + 50, bytes.len() / 2] {
            let mut broken = bytes.clone();
            broken[at] ^= 1;
            assert!(told(&broken).contains("commits stand there"), "{at}");
        }
    }

    #[test]
    fn frames_from_before_the_log_was_begun_anew_are_not_its_own() {
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
        assert_eq!(bytes.len(), before.len(), "it is written over from its start");
        // SQLite cuts a long log in the middle of an old frame; and a place may be taken in advance, with zeros.
        let cut = [bytes.len(), bytes.len() - 100, bytes.len() - 4096, bytes.len() - 4096 - 8];
        for cut in cut {
            assert_eq!(found(&copy, &bytes[..cut]), Log::Sound, "{cut}");
        }
        assert_eq!(found(&copy, &[&bytes[..], &[0; 10_000]].concat()), Log::Sound);
    }
}
