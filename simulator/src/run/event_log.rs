//! The event log: what happened, in order, one JSON object a line. A rehearsal's holds every exchange and is hashed.
//!
//! It holds only what the run decided: no addresses, durations of real work, temporary paths or process ids. A thread of its
//! own hashes, compresses and writes the lines; nothing comes back from it before the end, so the run does not depend on it.

use std::{
    fs::File,
    io::{self, Write},
    path::Path,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use ks_reports::{
    EventLogWriter,
    run_folder::{EVENTS, EventsKept},
};
use serde_json::{Value, json};

/// Lines are handed to the thread in pieces of about this size, in bytes.
const PIECE_BYTES: usize = 1 << 18;
/// Most pieces that wait for the thread; the run waits then.
const PIECES_WAITING_MAX: usize = 4;

/// A log that is being written.
pub struct EventLog {
    kept: EventsKept,
    /// Lines not yet handed over.
    lines: Vec<u8>,
    /// None without a log.
    thread: Option<LogThread>,
}

struct LogThread {
    to: SyncSender<Piece>,
    ended: JoinHandle<io::Result<Option<String>>>,
}

/// What the thread is given.
enum Piece {
    /// Lines to write.
    Lines(Vec<u8>),
    /// Lines that are to be readable at once.
    Flushed(Vec<u8>),
    /// The last lines.
    Last(Vec<u8>),
}

impl EventLog {
    /// Creates the log in a run folder, of such events; an existing one is replaced. None at all for [`EventsKept::None`].
    ///
    /// # Errors
    /// The file can't be created, or this machine has no thread left.
    pub fn create(folder: &Path, kept: EventsKept) -> io::Result<Self> {
        if kept == EventsKept::None {
            return Ok(Self { kept, lines: Vec::new(), thread: None });
        }
        let file = ks_reports::create_new(&folder.join(EVENTS))?;
        let (to, pieces) = sync_channel(PIECES_WAITING_MAX);
        let ended = std::thread::Builder::new().name("event-log".to_owned()).spawn(move || write(file, &pieces))?;
        let mut log = Self { kept, lines: Vec::new(), thread: Some(LogThread { to, ended }) };
        if kept != EventsKept::All {
            // For readers of a log whose run did not come to a summary.
            log.event(Duration::ZERO, "kept", &[("events", json!(kept))]);
        }
        Ok(log)
    }

    /// Which events it has.
    pub fn kept(&self) -> EventsKept {
        self.kept
    }

    /// Appends an event at a time since the run's start; its name and those of its fields are plain identifiers. A write that
    /// fails is reported by [`EventLog::finish`].
    pub fn event(&mut self, at: Duration, event: &str, fields: &[(&str, Value)]) {
        if self.thread.is_none() {
            return;
        }
        // Written by hand, so that the field order does not depend on a JSON library's features.
        self.append(format_args!("{{\"at_ms\":{},\"event\":\"{event}\"", at.as_millis()));
        for (name, value) in fields {
            self.append(format_args!(",\"{name}\":{value}"));
        }
        self.append(format_args!("}}\n"));
        if self.lines.len() >= PIECE_BYTES {
            self.hand_over(Piece::Lines);
        }
    }

    /// The same for one of the few events that concern the whole run: it and all before it are written out now, so that a
    /// run in real time leaves them even if it is killed.
    pub fn event_at_once(&mut self, at: Duration, event: &str, fields: &[(&str, Value)]) {
        self.event(at, event, fields);
        self.hand_over(Piece::Flushed);
    }

    fn append(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.lines.write_fmt(text); // memory takes everything
    }

    fn hand_over(&mut self, piece: fn(Vec<u8>) -> Piece) {
        if let Some(thread) = &self.thread {
            let lines = std::mem::replace(&mut self.lines, Vec::with_capacity(PIECE_BYTES + (PIECE_BYTES >> 2)));
            // A thread that has ended had an error, which `finish` reports.
            let _ = thread.to.send(piece(lines));
        }
    }

    /// Ends the log; gives the SHA-256 of its lines in lower-case hex, or none if there is no log.
    ///
    /// # Errors
    /// A part of it could not be written.
    pub fn finish(mut self) -> io::Result<Option<String>> {
        self.hand_over(Piece::Last);
        match self.thread.take() {
            None => Ok(None),
            Some(LogThread { to, ended }) => {
                drop(to);
                ended.join().unwrap_or_else(|_| Err(io::Error::other("the thread that writes it panicked")))
            }
        }
    }
}

impl Drop for EventLog {
    /// A run that fails leaves what happened before, without an end.
    fn drop(&mut self) {
        self.hand_over(Piece::Flushed);
        if let Some(LogThread { to, ended }) = self.thread.take() {
            drop(to);
            let _ = ended.join(); // the run's own failure is reported
        }
    }
}

/// The thread: writes pieces until the last, and gives the hash then; none if the log was abandoned.
fn write(file: File, pieces: &Receiver<Piece>) -> io::Result<Option<String>> {
    let mut writer = EventLogWriter::new(file)?;
    for piece in pieces {
        match piece {
            Piece::Lines(lines) => writer.write(&lines)?,
            Piece::Flushed(lines) => {
                writer.write(&lines)?;
                writer.flush()?;
            }
            Piece::Last(lines) => {
                writer.write(&lines)?;
                return writer.finish().map(Some);
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use ks_protocol::text::hex;
    use ks_reports::{EventLogReader, LogEnd};
    use sha2::{Digest, Sha256};

    use super::*;

    const AT: Duration = Duration::from_millis(1_500);

    fn read(folder: &Path) -> (String, LogEnd) {
        let mut log = EventLogReader::open(folder).unwrap();
        let mut all = String::new();
        while let Some(lines) = log.next_lines().unwrap() {
            all += std::str::from_utf8(lines).unwrap();
        }
        (all, log.end())
    }

    #[test]
    fn the_hash_covers_the_lines() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::create(folder.path(), EventsKept::All).unwrap();
        log.event(AT, "heartbeat", &[("device_id", json!("SIM-1")), ("code", json!("OK"))]);
        let hash = log.finish().unwrap();
        let (text, end) = read(folder.path());
        assert_eq!(text, "{\"at_ms\":1500,\"event\":\"heartbeat\",\"device_id\":\"SIM-1\",\"code\":\"OK\"}\n");
        assert_eq!((hash, end), (Some(hex(&Sha256::digest(&text))), LogEnd::Whole));
    }

    #[test]
    fn an_abandoned_log_is_readable_and_has_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::create(folder.path(), EventsKept::Decisions).unwrap();
        log.event(AT, "a", &[]);
        drop(log);
        let expected = "{\"at_ms\":0,\"event\":\"kept\",\"events\":\"decisions\"}\n{\"at_ms\":1500,\"event\":\"a\"}\n";
        assert_eq!(read(folder.path()), (expected.to_owned(), LogEnd::CutShort));
    }

    #[test]
    fn without_a_log_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = EventLog::create(folder.path(), EventsKept::None).unwrap();
        log.event(AT, "a", &[]);
        assert_eq!(log.finish().unwrap(), None);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// Goal: a full disk is reported, and does not stop the run half-way. Method: the device that is always full.
    #[test]
    fn a_write_that_fails_is_reported_at_the_end() {
        let (to, pieces) = sync_channel(1);
        to.send(Piece::Last(b"{}\n".to_vec())).unwrap();
        let full = File::options().write(true).open("/dev/full").unwrap();
        assert_eq!(write(full, &pieces).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
