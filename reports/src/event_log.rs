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
        let path = folder.join(EVENTS);
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

    /// Lines before those returned last.
    pub fn lines_before(&self) -> usize {
        self.lines
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
