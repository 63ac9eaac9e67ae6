//! The event log as a file: one JSON object a line, in one zstd frame with a checksum, written and read as a stream.
//!
//! Any tool for zstd reads it (`zstd -dc`). A process that dies leaves a frame without an end, whose beginning is readable.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Take, Write};
use std::path::{Path, PathBuf};

use memchr::{memchr, memchr_iter, memrchr};
use sha2::{Digest, Sha256};
use zstd::stream::{read::Decoder, write::Encoder};

use crate::bounded::{self, EVENTS_BYTES_MAX};
use crate::error::ReportError;
use crate::files::{hex, unread};
use crate::run_folder::EVENTS;

/// Level of compression: higher ones take longer and find no more, since a heartbeat resembles the device's previous one.
const LEVEL: i32 = 1;
/// How far back repetitions are found, as a power of 2 in bytes: 8 MiB are one interval of a fleet of 60,000. Reading takes as
/// much memory; a file that demands more is refused.
const WINDOW_LOG: u32 = 23;
/// The first bytes of a zstd frame.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Content that is read at a time, in bytes.
const PIECE_BYTES: usize = 1 << 20;
/// A line that is longer may be refused, in bytes.
const LINE_MAX: usize = 1 << 20;

/// An event log that is being written.
pub struct EventLogWriter<W: Write> {
    encoder: Encoder<'static, W>,
    hash: Sha256,
}

impl<W: Write> EventLogWriter<W> {
    /// Begins a log.
    ///
    /// # Errors
    /// There is no memory for the compression.
    pub fn new(to: W) -> io::Result<Self> {
        let mut encoder = Encoder::new(to, LEVEL)?;
        encoder.window_log(WINDOW_LOG)?;
        encoder.include_checksum(true)?;
        Ok(Self { encoder, hash: Sha256::new() })
    }

    /// Appends whole lines.
    ///
    /// # Errors
    /// They can't be written.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.hash.update(lines);
        self.encoder.write_all(lines)
    }

    /// Writes everything so far, so that it is readable although the log has no end yet.
    ///
    /// # Errors
    /// It can't be written.
    pub fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }

    /// Ends the log; returns the SHA-256 of its lines, uncompressed, in lower-case hex.
    ///
    /// # Errors
    /// The end can't be written.
    pub fn finish(self) -> io::Result<String> {
        self.encoder.finish()?.flush()?;
        Ok(hex(&self.hash.finalize()))
    }
}

/// How an event log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEnd {
    /// With its last event.
    Whole,
    /// In the middle: the run was killed or is still running, or the file was cut short.
    CutShort,
}

/// Reads an event log, piece by piece, within bounds.
pub struct EventLogReader {
    path: PathBuf,
    /// None once the log has ended.
    from: Option<Decoder<'static, BufReader<Take<File>>>>,
    buffer: Vec<u8>,
    /// Where the lines end that were returned last, and the bytes read.
    taken: usize,
    filled: usize,
    /// Lines and bytes before `taken`.
    lines: usize,
    content_bytes: u64,
    end: LogEnd,
}

impl EventLogReader {
    /// Opens the event log of a run folder.
    ///
    /// # Errors
    /// It is missing, can't be read, or is not compressed with zstd.
    pub fn open(folder: &Path) -> Result<Self, ReportError> {
        Self::open_file(folder.join(EVENTS))
    }

    /// The same of another file that an [`EventLogWriter`] wrote.
    ///
    /// # Errors
    /// It is missing, can't be read, or is not compressed with zstd.
    pub fn open_file(path: PathBuf) -> Result<Self, ReportError> {
        let unreadable = |cause| unread(&path, cause);
        let mut file = BufReader::with_capacity(1 << 17, bounded::open(&path, EVENTS_BYTES_MAX).map_err(unreadable)?);
        let start = file.fill_buf().map_err(unreadable)?;
        let is_begun = MAGIC.iter().zip(start).all(|(expected, found)| expected == found);
        if !is_begun {
            return Err(damaged(&path, 1, "it is something else"));
        }
        let mut from = None;
        if !start.is_empty() {
            let mut decoder = Decoder::with_buffer(file).map_err(unreadable)?.single_frame();
            decoder.window_log_max(WINDOW_LOG).map_err(unreadable)?;
            from = Some(decoder);
        }
        let buffer = vec![0; PIECE_BYTES + LINE_MAX];
        Ok(Self { path, from, buffer, taken: 0, filled: 0, lines: 0, content_bytes: 0, end: LogEnd::CutShort })
    }

    /// The next lines, whole ones, with their ends; none after the last.
    ///
    /// # Errors
    /// The file is damaged or can't be read, or a line is too long. Lines before the damage were returned.
    pub fn next_lines(&mut self) -> Result<Option<&[u8]>, ReportError> {
        let before = self.buffer.get(..self.taken).unwrap_or_default();
        self.lines += memchr_iter(b'\n', before).count();
        self.buffer.copy_within(self.taken..self.filled, 0);
        self.filled -= self.taken;
        self.taken = 0;
        self.fill()?;
        let read = self.buffer.get(..self.filled).unwrap_or_default();
        self.taken = match memrchr(b'\n', read) {
            Some(last) => last + 1,
            None if self.from.is_some() => return Err(self.wrong(&format!("it is longer than {} KiB", LINE_MAX >> 10))),
            // The rest of a line whose end was never written is not an event.
            None if self.end == LogEnd::CutShort => 0,
            None => self.filled,
        };
        Ok(self.buffer.get(..self.taken).filter(|lines| !lines.is_empty()))
    }

    /// Reads until the buffer has a piece, or more while that has no end of a line, or the log ends.
    fn fill(&mut self) -> Result<(), ReportError> {
        while let Some(from) = &mut self.from {
            let has_piece = self.filled >= PIECE_BYTES;
            let has_line = || self.buffer.get(..self.filled).is_some_and(|read| memchr(b'\n', read).is_some());
            if (has_piece && has_line()) || self.filled == self.buffer.len() {
                break;
            }
            match from.read(self.buffer.get_mut(self.filled..).unwrap_or_default()) {
                Ok(0) => self.end_whole()?,
                Ok(read) => {
                    self.filled += read;
                    self.content_bytes += u64::try_from(read).unwrap_or(u64::MAX);
                    if self.content_bytes > EVENTS_BYTES_MAX {
                        return Err(self.wrong(&format!("its content is more than {} GiB", EVENTS_BYTES_MAX >> 30)));
                    }
                }
                Err(cause) if cause.kind() == ErrorKind::UnexpectedEof => self.from = None,
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) if cause.raw_os_error().is_some() => return Err(unread(&self.path, cause)),
                Err(cause) => {
                    let read = self.buffer.get(..self.filled).unwrap_or_default();
                    self.lines += memchr_iter(b'\n', read).count();
                    return Err(self.wrong(&format!("what follows can't be decompressed: {cause}")));
                }
            }
        }
        Ok(())
    }

    /// The frame has ended: so must the file.
    fn end_whole(&mut self) -> Result<(), ReportError> {
        let Some(decoder) = self.from.take() else { return Ok(()) };
        let mut rest = decoder.finish();
        match rest.fill_buf() {
            Ok([]) => self.end = LogEnd::Whole,
            Ok(_) => return Err(self.wrong("something follows the end of the log")),
            Err(cause) => return Err(unread(&self.path, cause)),
        }
        Ok(())
    }

    /// How the log ended; valid once [`Self::next_lines`] has returned none.
    pub fn end(&self) -> LogEnd {
        self.end
    }

    fn wrong(&self, cause: &str) -> ReportError {
        damaged(&self.path, self.lines + 1, cause)
    }
}

/// The SHA-256 of an event log's lines in lower-case hex, and how it ends.
///
/// # Errors
/// As for reading it.
pub fn content_sha256(folder: &Path) -> Result<(String, LogEnd), ReportError> {
    let mut log = EventLogReader::open(folder)?;
    let mut hash = Sha256::new();
    while let Some(lines) = log.next_lines()? {
        hash.update(lines);
    }
    Ok((hex(&hash.finalize()), log.end()))
}

fn damaged(path: &Path, line: usize, cause: &str) -> ReportError {
    ReportError::Damaged {
        file: path.to_owned(),
        line,
        expected: "an event log compressed with zstd, as a run writes it",
        cause: cause.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;

    /// What is read of a log: its lines, and how it ends.
    fn read(folder: &Path) -> Result<(Vec<u8>, LogEnd), ReportError> {
        let mut log = EventLogReader::open(folder)?;
        let mut all = Vec::new();
        while let Some(lines) = log.next_lines()? {
            all.extend_from_slice(lines);
        }
        Ok((all, log.end()))
    }

    fn read_bytes(bytes: &[u8]) -> Result<(Vec<u8>, LogEnd), ReportError> {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(EVENTS), bytes).unwrap();
        read(folder.path())
    }

    /// A log of these pieces, each flushed if so marked; with its hash.
    fn written(pieces: &[(Vec<u8>, bool)]) -> (Vec<u8>, String) {
        let mut bytes = Vec::new();
        let mut log = EventLogWriter::new(&mut bytes).unwrap();
        for (lines, is_flushed) in pieces {
            log.write(lines).unwrap();
            if *is_flushed {
                log.flush().unwrap();
            }
        }
        let hash = log.finish().unwrap();
        (bytes, hash)
    }

    /// Whole lines, of any bytes.
    fn any_pieces() -> impl Strategy<Value = Vec<(Vec<u8>, bool)>> {
        let line = proptest::collection::vec(any::<u8>().prop_filter("no end of line", |byte| *byte != b'\n'), 0..40);
        let lines = proptest::collection::vec(line, 0..6);
        let lines =
            lines.prop_map(|lines| lines.into_iter().flat_map(|line| [line, b"\n".to_vec()].concat()).collect());
        proptest::collection::vec((lines, any::<bool>()), 0..6)
    }

    proptest! {
        /// What was written is read, and hashed as any other program would.
        #[test]
        fn a_log_reads_back_as_it_was_written(pieces in any_pieces()) {
            let content: Vec<u8> = pieces.iter().flat_map(|(lines, _)| lines.clone()).collect();
            let (bytes, hash) = written(&pieces);
            prop_assert_eq!(hash, hex(&Sha256::digest(&content)));
            prop_assert_eq!(read_bytes(&bytes).unwrap(), (content, LogEnd::Whole));
        }

        /// Cut anywhere, a log gives whole lines of its beginning and says that it is cut short.
        #[test]
        fn a_log_cut_anywhere_is_readable_up_to_there(pieces in any_pieces()) {
            let content: Vec<u8> = pieces.iter().flat_map(|(lines, _)| lines.clone()).collect();
            let (bytes, _) = written(&pieces);
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join(EVENTS), &bytes).unwrap();
            let file = fs::OpenOptions::new().write(true).open(folder.path().join(EVENTS)).unwrap();
            let mut shortest = content.len();
            for length in (0..bytes.len()).rev() {
                file.set_len(u64::try_from(length).unwrap()).unwrap();
                let (beginning, end) = read(folder.path()).unwrap();
                prop_assert_eq!(end, LogEnd::CutShort);
                prop_assert!(content.starts_with(&beginning) && beginning.len() <= shortest);
                prop_assert!(beginning.is_empty() || beginning.ends_with(b"\n"));
                shortest = beginning.len();
            }
        }

        /// With one bit changed, it is refused, looks cut short, or says the same: never anything else.
        #[test]
        fn a_changed_bit_is_not_read_as_an_event(pieces in any_pieces(), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
            let (mut bytes, _) = written(&pieces);
            let unchanged = read_bytes(&bytes).unwrap();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok((content, LogEnd::Whole)) = read_bytes(&bytes) {
                prop_assert_eq!(content, unchanged.0);
            }
        }
    }

    #[test]
    fn what_was_flushed_is_readable_although_the_process_died() {
        let mut bytes = Vec::new();
        let mut log = EventLogWriter::new(&mut bytes).unwrap();
        log.write(b"{\"at_ms\":1}\n").unwrap();
        log.flush().unwrap();
        std::mem::forget(log); // as a killed process leaves it
        assert_eq!(read_bytes(&bytes).unwrap(), (b"{\"at_ms\":1}\n".to_vec(), LogEnd::CutShort));
    }

    /// Goal: a long log, in pieces whose borders fall anywhere, is whole, and takes a small part of its size.
    #[test]
    fn a_long_log_is_read_in_pieces_of_whole_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut content = Vec::new();
        for at_ms in 0..60_000_u64 {
            let device = at_ms % 997;
            content.extend(format!("{{\"at_ms\":{at_ms},\"device_id\":\"T-{device:06}\",\"code\":\"OK\"}}\n").bytes());
        }
        let (bytes, hash) = written(&[(content.clone(), false)]);
        assert!(content.len() > 2 * PIECE_BYTES && bytes.len() < content.len() / 10, "{} bytes", bytes.len());
        fs::write(folder.path().join(EVENTS), bytes).unwrap();
        assert_eq!(content_sha256(folder.path()).unwrap(), (hash, LogEnd::Whole));
        let mut log = EventLogReader::open(folder.path()).unwrap();
        let mut pieces = 0;
        while let Some(lines) = log.next_lines().unwrap() {
            assert!(lines.ends_with(b"}\n"));
            pieces += 1;
        }
        assert!((2..20).contains(&pieces), "{pieces}");
    }

    #[test]
    fn foreign_damaged_and_demanding_files_are_refused_with_the_line() {
        let refused = |bytes: &[u8]| read_bytes(bytes).unwrap_err().to_string();
        let foreign = refused(b"{\"at_ms\":1}\n");
        assert!(foreign.contains("events.ndjson.zst, line 1") && foreign.contains("it is something else"), "{foreign}");

        let (whole, _) = written(&[(b"1\n2\n".to_vec(), true), (vec![b'x'; 3_000], true), (b"\n".to_vec(), true)]);
        let followed = refused(&[whole.as_slice(), whole.as_slice()].concat());
        assert!(followed.contains("something follows the end of the log"), "{followed}");
        let mut changed = whole.clone();
        *changed.last_mut().unwrap() ^= 1; // the checksum
        let damaged = refused(&changed);
        assert!(damaged.contains("can't be decompressed: Restored data doesn't match checksum"), "{damaged}");

        let mut encoder = Encoder::new(Vec::new(), LEVEL).unwrap();
        encoder.window_log(WINDOW_LOG + 1).unwrap();
        encoder.write_all(b"{}\n").unwrap();
        let demanding = refused(&encoder.finish().unwrap());
        assert!(demanding.contains("too much memory"), "{demanding}");

        // 64 MiB without an end of a line are a few KiB in the file, and 2 MiB in memory.
        let piece = vec![b'x'; 1 << 20];
        let mut bomb = EventLogWriter::new(Vec::new()).unwrap();
        for _ in 0..64 {
            bomb.write(&piece).unwrap();
        }
        let bomb = bomb.encoder.finish().unwrap();
        assert!(bomb.len() < 20_000, "{}", bomb.len());
        let too_long = refused(&bomb);
        assert!(too_long.contains("line 1") && too_long.contains("longer than 1024 KiB"), "{too_long}");
    }

    #[test]
    fn an_empty_file_is_a_log_cut_short_and_a_missing_one_is_missing() {
        assert_eq!(read_bytes(b"").unwrap(), (Vec::new(), LogEnd::CutShort));
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(ReportError::Missing { .. })));
    }
}
