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

/// What is wrong with the log beside `database`, if it was damaged. A server may be writing it: what is begun anew while it is read
/// looks damaged once, and not a second time in the same place.
///
/// # Errors
/// The log can't be read.
pub(super) fn damage(database: &Path) -> io::Result<Option<String>> {
    let mut found = look(database)?;
    for _ in 1..LOOKS_MAX {
        let before = found;
        found = if before.is_some() { look(database)? } else { None };
        if found == before {
            return Ok(found);
        }
    }
    Ok(None) // another place each time: somebody writes there
}

/// One look through the log.
fn look(database: &Path) -> io::Result<Option<String>> {
    let name = log_of(database);
    let file = match File::open(&name) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let bytes = file.metadata()?.len();
    if bytes <= HEADER_BYTES as u64 {
        return Ok(None); // nothing was ever committed to it
    }
    let frames = match Frames::open(BufReader::with_capacity(1 << 20, file)) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None), // it was cut to nothing just now
        frames => frames?,
    };
    let Some(mut frames) = frames else {
        return Ok(Some(format!("the header of its write-ahead log is damaged ({bytes} bytes in {})", name.display())));
    };
    let (mut intact, mut commits_behind) = (0_u64, 0_u64);
    while let Some(frame) = frames.next()? {
        if frame.is_intact && commits_behind == 0 {
            intact += 1;
        } else {
            // The first commit frame behind a break may be the torn transaction's own.
            commits_behind += u64::from(frame.is_commit);
        }
    }
    Ok((commits_behind > 1).then(|| {
        let name = name.display();
        format!(
            "its write-ahead log is damaged behind frame {intact}, and at least {} commits stand there ({name})",
            commits_behind - 1
        )
    }))
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

    /// The next frame; none at the end. A frame that is cut short is no frame.
    fn next(&mut self) -> io::Result<Option<Frame>> {
        let mut header = [0; FRAME_HEADER_BYTES];
        for part in [header.as_mut_slice(), self.page.as_mut_slice()] {
            match self.log.read_exact(part) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        if header.get(8..16) != Some(self.salt.as_slice()) {
            // Left from before the log was begun anew, as all behind it then are; or it is the salt that is damaged.
            self.was_broken = true;
            return Ok(Some(Frame { is_intact: false, is_commit: false }));
        }
        let checksum = sum(self.checksum, header.get(..8).unwrap_or_default(), self.is_big_endian);
        let checksum = sum(checksum, &self.page, self.is_big_endian);
        let is_intact = !self.was_broken && checksum == (big_endian(&header, 16), big_endian(&header, 20));
        self.checksum = checksum;
        self.was_broken |= !is_intact;
        Ok(Some(Frame { is_intact, is_commit: big_endian(&header, 4) != 0 }))
    }
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

    fn told(copy: &Path, log: &[u8]) -> Option<String> {
        std::fs::write(log_of(copy), log).unwrap();
        damage(copy).unwrap()
    }

    #[test]
    fn a_whole_log_and_one_whose_end_is_torn_are_no_damage() {
        let (_folder, copy, mut log) = crashed();
        assert_eq!(damage(&copy).unwrap(), None, "no log at all");
        assert_eq!(told(&copy, &log), None);
        assert_eq!(told(&copy, &log[..log.len() - 100]), None, "cut short");
        let last = log.len() - 10;
        log[last] ^= 1;
        assert_eq!(told(&copy, &log), None, "the last frame is torn");
    }

    #[test]
    fn damage_in_front_of_commits_is_told() {
        let (_folder, copy, log) = crashed();
        let mut header = log.clone();
        header[0] ^= 1;
        assert!(told(&copy, &header).unwrap().contains("header"));
        for at in [HEADER_BYTES + 2, HEADER_BYTES + 10, HEADER_BYTES + FRAME_HEADER_BYTES + 50, log.len() / 2] {
            let mut broken = log.clone();
            broken[at] ^= 1;
            assert!(told(&copy, &broken).unwrap().contains("commits stand there"), "{at}");
        }
    }

    #[test]
    fn frames_from_before_the_log_was_begun_anew_are_not_its_own() {
        let (folder, copy, _) = crashed();
        let live = Connection::open(folder.path().join("live.sqlite")).unwrap();
        live.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(())).unwrap();
        live.execute("INSERT INTO t VALUES ('new')", []).unwrap();
        let log = std::fs::read(folder.path().join("live.sqlite-wal")).unwrap();
        assert_eq!(told(&copy, &log), None);
    }
}
