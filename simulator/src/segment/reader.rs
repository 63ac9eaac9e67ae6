//! Reads the file of a segment, tick by tick, and says what is wrong with it.

use std::path::{Path, PathBuf};

use ks_reports::{
    EventLogReader, LogEnd, ReportError,
    run_folder::{SEGMENT, SUMMARY},
};

use serde_json::Value;

use super::{
    Segment,
    file::{FORMAT, Header, Record, SavedTick, SegmentEnd, SegmentTick},
};
use crate::{run::ledger::Reconciled, scenario::FILE_BYTES_MAX};

/// Greatest count of one tick: 3,600 ticks of 256 segments with it add up without overflow.
const TICK_COUNT_MAX: u64 = 1 << 40;
/// The same of an end, of which there are 256; numbers of heartbeats are up to this.
const END_COUNT_MAX: u64 = 1 << 53;

/// Why a segment's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// There is none.
    #[error("{folder} has no {SEGMENT}: it is not the folder of a segment, or that has not started yet")]
    Missing { folder: PathBuf },
    /// The segment did not finish.
    #[error("{folder}: the segment did not finish: its {SEGMENT} has no end")]
    Unfinished { folder: PathBuf },
    /// It finished, and its file has no end.
    #[error("{folder}: its {SEGMENT} is cut short, although the segment finished")]
    CutShort { folder: PathBuf },
    /// It is of another format.
    #[error("{folder}: its {SEGMENT} has format {found}, and this program reads {FORMAT}")]
    Format { folder: PathBuf, found: u32 },
    /// It can't be read, or is damaged.
    #[error("{folder}: {why}")]
    Damaged { folder: PathBuf, why: String },
}

impl SegmentError {
    /// How to fix it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Missing { .. } => {
                "name the folders of `ks-fleet run --segment`, and wait until all have finished (--wait 10m)"
            }
            Self::Unfinished { .. } => {
                "wait until it has finished (--wait 10m); if it was killed, run all segments again, together"
            }
            Self::Format { .. } => "merge with the version of this program that ran the segments",
            Self::CutShort { .. } | Self::Damaged { .. } => {
                "copy the folder again, or run all segments again, together"
            }
        }
    }
}

/// The lines of a segment's file, one at a time.
struct Lines {
    folder: PathBuf,
    log: EventLogReader,
    /// Whole lines, and how much of them is used.
    block: Vec<u8>,
    used: usize,
    number: usize,
}

impl Lines {
    fn damaged(&self, why: impl std::fmt::Display) -> SegmentError {
        SegmentError::Damaged { folder: self.folder.clone(), why: why.to_string() }
    }

    fn next(&mut self) -> Result<Record, SegmentError> {
        if self.used >= self.block.len() {
            let Some(block) = self.log.next_lines().map_err(|error| unreadable(&self.folder, error))? else {
                let folder = self.folder.clone();
                // A run writes its summary last.
                let is_finished = folder.join(SUMMARY).exists();
                return Err(if is_finished {
                    SegmentError::CutShort { folder }
                } else {
                    SegmentError::Unfinished { folder }
                });
            };
            (self.block, self.used) = (block.to_vec(), 0);
        }
        let rest = self.block.get(self.used..).unwrap_or_default();
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let (first, number) = (self.number == 0, self.number + 1);
        if let (true, Some(found)) = (first, other_format(line)) {
            return Err(SegmentError::Format { folder: self.folder.clone(), found });
        }
        let wrong = |why: String| self.damaged(format!("line {number} of {SEGMENT}: {why}"));
        let value: Value = serde_json::from_slice(line).map_err(|error| wrong(error.to_string()))?;
        if let Some(count) = too_great(&value) {
            return Err(wrong(format!("{count} is more than any run counts")));
        }
        let record = serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?;
        (self.used, self.number) = (self.used + line.len() + 1, number);
        Ok(record)
    }

    /// Whether nothing follows, and the file was written to its end.
    fn is_whole(&mut self) -> Result<bool, SegmentError> {
        let is_used = self.used >= self.block.len();
        let unreadable = |error| unreadable(&self.folder, error);
        let follows = !is_used || self.log.next_lines().map_err(unreadable)?.is_some();
        Ok(!follows && self.log.end() == LogEnd::Whole)
    }
}

/// A file that can't be read, in the words of a segment.
fn unreadable(folder: &Path, error: ReportError) -> SegmentError {
    let folder = folder.to_owned();
    let why = match error {
        ReportError::Missing { .. } => return SegmentError::Missing { folder },
        ReportError::Damaged { line, cause, .. } => format!("line {line} of {SEGMENT}: {cause}"),
        other => other.to_string(),
    };
    SegmentError::Damaged { folder, why }
}

/// A number in a record with which sums over ticks and segments would overflow; none if there is none.
fn too_great(record: &Value) -> Option<u64> {
    fn greatest(value: &Value) -> u64 {
        match value {
            Value::Number(number) => number.as_i64().map_or_else(|| number.as_u64().unwrap_or(0), i64::unsigned_abs),
            Value::Array(items) => items.iter().map(greatest).max().unwrap_or(0),
            Value::Object(fields) => fields.values().map(greatest).max().unwrap_or(0),
            _ => 0,
        }
    }
    let of = |name: &str, max: u64| record.get(name).map(greatest).filter(|greatest| *greatest > max);
    of("tick", TICK_COUNT_MAX).or_else(|| of("ledger", END_COUNT_MAX)).or_else(|| of("end", END_COUNT_MAX))
}

/// The format of a header, if it is another one.
fn other_format(line: &[u8]) -> Option<u32> {
    let header: Value = serde_json::from_slice(line).ok()?;
    let found = header.pointer("/header/format")?.as_u64().and_then(|format| u32::try_from(format).ok())?;
    (found != FORMAT).then_some(found)
}

/// The file of a finished segment, read tick by tick.
pub struct SegmentReader {
    pub segment: Segment,
    pub header: Header,
    pub scenario: String,
    lines: Lines,
    /// The record after the scenario.
    next: Option<Record>,
    ticks: u64,
    reconciled: Option<Reconciled>,
    /// Once everything was read.
    pub end: Option<SegmentEnd>,
}

impl SegmentReader {
    /// Opens the file of a segment's folder, and reads its header and its scenario.
    ///
    /// # Errors
    /// It is missing, cut short or something else.
    pub fn open(folder: &Path) -> Result<Self, SegmentError> {
        let folder = folder.to_owned();
        let log = EventLogReader::open_file(folder.join(SEGMENT)).map_err(|error| unreadable(&folder, error))?;
        let mut lines = Lines { folder, log, block: Vec::new(), used: 0, number: 0 };
        let Record::Header(header) = lines.next()? else {
            return Err(lines.damaged(format!("{SEGMENT} does not begin with a header")));
        };
        let segment = Segment::new(header.number, header.of);
        let segment =
            segment.ok_or_else(|| lines.damaged(format!("there is no segment {} of {}", header.number, header.of)))?;
        let mut scenario = String::new();
        let next = loop {
            match lines.next()? {
                Record::Scenario(piece) if scenario.len() + piece.len() <= FILE_BYTES_MAX => scenario += &piece,
                other => break Some(other),
            }
        };
        Ok(Self { segment, header: *header, scenario, lines, next, ticks: 0, reconciled: None, end: None })
    }

    /// The folder that it is in.
    pub fn folder(&self) -> &Path {
        &self.lines.folder
    }

    /// The next tick; none after the last, and then `end` is known.
    ///
    /// # Errors
    /// The file is damaged, or the segment did not finish.
    pub fn next_tick(&mut self) -> Result<Option<SegmentTick>, SegmentError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let record = loop {
            match self.next.take().map_or_else(|| self.lines.next(), Ok)? {
                Record::Ledger(piece) => match &mut self.reconciled {
                    Some(sum) => sum.add(&piece),
                    None => self.reconciled = Some(*piece),
                },
                other => break other,
            }
        };
        match record {
            Record::Tick(tick) if tick.number == self.ticks => {
                self.ticks += 1;
                let SavedTick { number, to, used, measured } = *tick;
                let measured = measured.measurements();
                let measured = measured.map_err(|why| self.lines.damaged(format!("tick {number}: {why}")))?;
                Ok(Some(SegmentTick { to, used, measured }))
            }
            Record::Tick(tick) => {
                Err(self.lines.damaged(format!("tick {} where tick {} was expected", tick.number, self.ticks)))
            }
            Record::End(end) if self.lines.is_whole()? => {
                let reconciled = self.reconciled.take().unwrap_or_default();
                self.end = Some(SegmentEnd { reconciled, ..*end });
                Ok(None)
            }
            Record::End(_) => Err(self.lines.damaged("something follows its end, or the end was cut off")),
            Record::Header(_) | Record::Scenario(_) | Record::Ledger(_) => Err(self.lines.damaged("it begins twice")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        device::exchange::MessageType,
        run::measure::{Measurements, OK},
        segment::file::{GeneratorUse, SavedOverrides, SegmentWriter, sample},
    };

    fn header() -> Header {
        Header { overrides: SavedOverrides { devices: Some(9), ..SavedOverrides::default() }, ..sample::header(2, 4) }
    }

    fn end() -> SegmentEnd {
        SegmentEnd {
            reconciled: Reconciled::of_lost(20_000),
            protection_max: Some((1, 2)),
            ..sample::end(Duration::from_secs(2))
        }
    }

    fn written(folder: &Path, header: Header, is_finished: bool) {
        let mut writer = SegmentWriter::create(folder, header, &"# ü\n".repeat(20_000)).unwrap();
        for tick in 1..=2 {
            let mut measured = Measurements::default();
            (0..tick).for_each(|_| measured.of_mut(MessageType::Heartbeat).end(OK, 1_000, None));
            writer.tick(Duration::from_secs(tick), GeneratorUse { cpu_s: 0.5, sockets: 3 }, &measured).unwrap();
        }
        if is_finished {
            writer.finish(end()).unwrap();
        } else {
            drop(writer);
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path(), header(), true);
        let mut reader = SegmentReader::open(folder.path()).unwrap();
        assert_eq!((&reader.header, reader.scenario.as_str()), (&header(), "# ü\n".repeat(20_000).as_str()));
        let mut acked = Vec::new();
        while let Some(tick) = reader.next_tick().unwrap() {
            acked.push((tick.to.as_secs(), tick.used.sockets, tick.measured.of(MessageType::Heartbeat).code(OK)));
        }
        assert_eq!(acked, [(1, 3, 1), (2, 3, 2)]);
        assert_eq!(reader.end, Some(end()));
        assert!(reader.next_tick().unwrap().is_none());
    }

    /// The error of a folder, after its ticks were read.
    fn error(folder: &Path) -> String {
        let read = SegmentReader::open(folder).and_then(|mut reader| {
            while reader.next_tick()?.is_some() {}
            Ok(())
        });
        read.unwrap_err().to_string()
    }

    #[test]
    fn an_unfinished_or_damaged_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(error(folder.path()).contains("it is not the folder of a segment"));
        written(folder.path(), header(), false);
        assert!(error(folder.path()).contains("did not finish"), "{}", error(folder.path()));
        written(folder.path(), Header { format: 9, ..header() }, true);
        assert!(error(folder.path()).contains("has format 9, and this program reads 1"), "{}", error(folder.path()));
        written(folder.path(), Header { number: 5, ..header() }, true);
        assert!(error(folder.path()).contains("there is no segment 5 of 4"), "{}", error(folder.path()));
        written(folder.path(), header(), true);
        let path = folder.path().join(SEGMENT);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        assert!(error(folder.path()).contains("did not finish"), "{}", error(folder.path()));
        std::fs::write(folder.path().join(SUMMARY), "{}").unwrap();
        assert!(error(folder.path()).contains("is cut short"), "{}", error(folder.path()));
        let count = Measurements { punches_made: 1 << 50, ..Measurements::default() };
        let mut writer = SegmentWriter::create(folder.path(), header(), "").unwrap();
        writer.tick(Duration::from_secs(1), GeneratorUse::default(), &count).unwrap();
        writer.finish(end()).unwrap();
        let why = error(folder.path());
        assert!(why.contains("1125899906842624 is more than any run counts"), "{why}");
        let mut changed = whole;
        let middle = changed.len() / 2;
        changed[middle] ^= 0xff;
        std::fs::write(&path, &changed).unwrap();
        let error = error(folder.path());
        assert!(error.contains(SEGMENT), "{error}");
    }
}
