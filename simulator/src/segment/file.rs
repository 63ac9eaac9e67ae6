//! `segment.ndjson.zst`: what one segment measured, exactly. A header, the scenario's text, a line for each tick, and the end; one JSON
//! object a line, compressed with a checksum.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use ks_protocol::time::UnixMs;
use ks_reports::{
    EventLogReader, EventLogWriter, LogEnd, ReportError,
    run_folder::{ClockOffset, EventsKept, LateDevices, LimitCount, SEGMENT},
};
use serde::{Deserialize, Serialize};

use super::{Segment, saved::SavedMeasurements};
use crate::{
    ledger::Reconciled,
    measure::Measurements,
    outages::Outage,
    scenario::{FILE_BYTES_MAX, Overrides},
    timeline::KINDS,
};

/// Version of this format; another is refused.
pub const FORMAT: u32 = 1;
/// Characters of the scenario in one line.
const PIECE_CHARS: usize = 1 << 15;

/// Which segment it is, of what, and against which server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Version of this format.
    pub format: u32,
    /// Version of the program that wrote it.
    pub version: String,
    pub number: u32,
    pub of: u32,
    /// The scenario's file, as it was named.
    pub scenario_path: String,
    /// What the command line changed.
    pub overrides: SavedOverrides,
    /// The plan in short, to say in which way two segments differ.
    pub plan: PlanInShort,
    pub target: TargetSeen,
    /// The common start that was asked for, by the target's clock.
    pub start_at: Option<UnixMs>,
    /// The start by the generator's own clock.
    pub started_at: UnixMs,
    pub clock: ClockOffset,
    /// A command that repeats the segment.
    pub replay: String,
    pub events_kept: EventsKept,
    /// Notes for readers of its report.
    pub notes: Vec<String>,
}

/// [`Overrides`] of a load run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedOverrides {
    pub id_prefix: Option<String>,
    pub devices: Option<u32>,
    pub duration: Option<Duration>,
    pub seed: Option<u64>,
    pub verify_percent: Option<u8>,
}

impl From<SavedOverrides> for Overrides {
    fn from(SavedOverrides { id_prefix, devices, duration, seed, verify_percent }: SavedOverrides) -> Self {
        Self { mode: None, id_prefix, devices, duration, seed, verify_percent }
    }
}

/// What of a plan is named when two segments differ, and a digest of all of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanInShort {
    pub name: String,
    pub seed: u64,
    pub devices: u32,
    pub duration: Duration,
    pub id_prefix: String,
    pub verify_percent: u8,
    /// SHA-256 of every value of the plan, in lower-case hex.
    pub sha256: String,
}

/// The server as a segment found it before the run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetSeen {
    /// As it was named; segments on different machines may name it differently.
    pub url: String,
    /// SHA-256 of the server's public keys, in lower-case hex: which server it is.
    pub keys_sha256: String,
    /// The limits in force, by name.
    pub limits: BTreeMap<String, SeenLimit>,
}

/// A limit in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenLimit {
    pub per_min: Option<u32>,
    pub per_day: Option<u32>,
    pub burst: Option<u32>,
    pub mode: String,
}

/// What was measured in one tick.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SavedTick {
    /// From 0, without gaps.
    number: u64,
    /// When it ended, since the start.
    to: Duration,
    used: Used,
    measured: SavedMeasurements,
}

/// What a generator used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Used {
    /// CPU seconds of its process so far.
    pub cpu_s: f64,
    /// Sockets that are open now.
    pub sockets: u64,
}

/// A tick as it is read.
#[derive(Debug, Clone)]
pub struct SegmentTick {
    pub to: Duration,
    pub used: Used,
    pub measured: Measurements,
}

/// How a segment ended, and what is known only then.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentEnd {
    pub lasted: Duration,
    pub interrupted: bool,
    /// Why the target or a part of the segment ended early.
    pub broken: Option<String>,
    pub failures: Vec<String>,
    /// Waits that the user's stop cut short.
    pub unjudged: Vec<String>,
    pub reconciled: Reconciled,
    pub late_devices: Option<LateDevices>,
    /// What each limit of the server had decided then.
    pub limits: Vec<LimitCount>,
    pub protection_max: Option<(u64, u64)>,
    pub outages: Vec<SavedOutage>,
    pub cpu_s: f64,
    pub rss_bytes: u64,
}

/// An [`Outage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SavedOutage {
    what: String,
    site: Option<usize>,
    from: Duration,
    to: Duration,
}

impl From<&Outage> for SavedOutage {
    fn from(Outage { what, site, from, to }: &Outage) -> Self {
        Self { what: (*what).to_owned(), site: *site, from: *from, to: *to }
    }
}

impl SavedOutage {
    /// The outage; none if no step of this program causes such a one.
    pub fn outage(&self) -> Option<Outage> {
        let what = KINDS.iter().map(|kind| kind.name).find(|name| *name == self.what)?;
        Some(Outage { what, site: self.site, from: self.from, to: self.to })
    }
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Record {
    Header(Box<Header>),
    /// A piece of the scenario's text.
    Scenario(String),
    Tick(Box<SavedTick>),
    End(Box<SegmentEnd>),
}

/// Writes the file while the segment runs.
pub struct SegmentWriter {
    to: EventLogWriter<File>,
    ticks: u64,
}

impl SegmentWriter {
    /// Creates the file in a run folder.
    ///
    /// # Errors
    /// It can't be written.
    pub fn create(folder: &Path, header: Header, scenario: &str) -> io::Result<Self> {
        let to = EventLogWriter::new(ks_reports::create_new(&folder.join(SEGMENT))?)?;
        let mut writer = Self { to, ticks: 0 };
        writer.write(&Record::Header(Box::new(header)))?;
        let mut rest = scenario;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE_CHARS));
            writer.write(&Record::Scenario(piece.to_owned()))?;
            rest = after;
        }
        Ok(writer)
    }

    /// Adds the next tick.
    ///
    /// # Errors
    /// It can't be written.
    pub fn tick(&mut self, to: Duration, used: Used, measured: &Measurements) -> io::Result<()> {
        let measured = SavedMeasurements::of(measured).map_err(io::Error::other)?;
        let number = self.ticks;
        self.ticks += 1;
        self.write(&Record::Tick(Box::new(SavedTick { number, to, used, measured })))
    }

    /// Adds the end: without it the segment counts as unfinished.
    ///
    /// # Errors
    /// It can't be written.
    pub fn finish(mut self, end: SegmentEnd) -> io::Result<()> {
        self.write(&Record::End(Box::new(end)))?;
        self.to.finish().map(|_| ())
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.to.write(&line)
    }
}

/// Why a segment's file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// There is none.
    #[error("{folder} has no {SEGMENT}: it is not the folder of a segment")]
    Missing { folder: PathBuf },
    /// The segment did not finish.
    #[error("{folder}: the segment did not finish: its {SEGMENT} has no end")]
    Unfinished { folder: PathBuf },
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
            Self::Missing { .. } => "name the folders of `ks-fleet run --segment`",
            Self::Unfinished { .. } => {
                "wait until it has finished (--wait 10m); if it was killed, run all segments again, together"
            }
            Self::Format { .. } => "merge with the version of this program that ran the segments",
            Self::Damaged { .. } => "copy the folder again, or run all segments again, together",
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

    /// The next record.
    fn next(&mut self) -> Result<Record, SegmentError> {
        if self.used >= self.block.len() {
            let damaged =
                |error: ReportError| SegmentError::Damaged { folder: self.folder.clone(), why: error.to_string() };
            let Some(block) = self.log.next_lines().map_err(damaged)? else {
                return Err(SegmentError::Unfinished { folder: self.folder.clone() });
            };
            (self.block, self.used) = (block.to_vec(), 0);
        }
        let rest = self.block.get(self.used..).unwrap_or_default();
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let (first, number) = (self.number == 0, self.number + 1);
        if let (true, Some(found)) = (first, other_format(line)) {
            return Err(SegmentError::Format { folder: self.folder.clone(), found });
        }
        let record = serde_json::from_slice(line);
        let record = record.map_err(|error| self.damaged(format!("line {number} of {SEGMENT}: {error}")))?;
        (self.used, self.number) = (self.used + line.len() + 1, number);
        Ok(record)
    }

    /// Whether nothing follows, and the file was written to its end.
    fn is_whole(&mut self) -> Result<bool, SegmentError> {
        let is_used = self.used >= self.block.len();
        let damaged =
            |error: ReportError| SegmentError::Damaged { folder: self.folder.clone(), why: error.to_string() };
        let follows = !is_used || self.log.next_lines().map_err(damaged)?.is_some();
        Ok(!follows && self.log.end() == LogEnd::Whole)
    }
}

/// The format of a header, if it is another one.
fn other_format(line: &[u8]) -> Option<u32> {
    let header: serde_json::Value = serde_json::from_slice(line).ok()?;
    let found = header.pointer("/header/format")?.as_u64().and_then(|format| u32::try_from(format).ok())?;
    (found != FORMAT).then_some(found)
}

/// The file of a finished segment, read tick by tick.
pub struct SegmentReader {
    pub segment: Segment,
    pub header: Header,
    /// The scenario's text.
    pub scenario: String,
    lines: Lines,
    /// The record after the scenario.
    next: Option<Record>,
    ticks: u64,
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
        let log = EventLogReader::open_file(folder.join(SEGMENT)).map_err(|error| match error {
            ReportError::Missing { .. } => SegmentError::Missing { folder: folder.clone() },
            other => SegmentError::Damaged { folder: folder.clone(), why: other.to_string() },
        })?;
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
        Ok(Self { segment, header: *header, scenario, lines, next, ticks: 0, end: None })
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
        let record = match self.next.take() {
            Some(record) => record,
            None => self.lines.next()?,
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
                self.end = Some(*end);
                Ok(None)
            }
            Record::End(_) => Err(self.lines.damaged("something follows its end, or the end was cut off")),
            Record::Header(_) | Record::Scenario(_) => Err(self.lines.damaged("it begins twice")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{device::exchange::MessageType, measure::OK};

    fn header() -> Header {
        Header {
            format: FORMAT,
            version: "0.1.0".to_owned(),
            number: 2,
            of: 4,
            scenario_path: "s.toml".to_owned(),
            overrides: SavedOverrides {
                id_prefix: None,
                devices: Some(9),
                duration: None,
                seed: None,
                verify_percent: None,
            },
            plan: PlanInShort {
                name: "s".to_owned(),
                seed: 1,
                devices: 9,
                duration: Duration::from_secs(2),
                id_prefix: "SIM".to_owned(),
                verify_percent: 100,
                sha256: "00".to_owned(),
            },
            target: TargetSeen { url: "http://a".to_owned(), keys_sha256: "11".to_owned(), limits: BTreeMap::new() },
            start_at: None,
            started_at: UnixMs(1_800_000_000_000),
            clock: ClockOffset::default(),
            replay: "ks-fleet run s.toml".to_owned(),
            events_kept: EventsKept::All,
            notes: Vec::new(),
        }
    }

    fn end() -> SegmentEnd {
        SegmentEnd {
            lasted: Duration::from_secs(2),
            interrupted: false,
            broken: None,
            failures: Vec::new(),
            unjudged: Vec::new(),
            reconciled: Reconciled::default(),
            late_devices: None,
            limits: Vec::new(),
            protection_max: Some((1, 2)),
            outages: Vec::new(),
            cpu_s: 1.5,
            rss_bytes: 7,
        }
    }

    fn written(folder: &Path, header: Header, is_finished: bool) {
        let mut writer = SegmentWriter::create(folder, header, &"# ü\n".repeat(20_000)).unwrap();
        for tick in 1..=2 {
            let mut measured = Measurements::default();
            (0..tick).for_each(|_| measured.of_mut(MessageType::Heartbeat).end(OK, 1_000, None));
            writer.tick(Duration::from_secs(tick), Used { cpu_s: 0.5, sockets: 3 }, &measured).unwrap();
        }
        if is_finished {
            writer.finish(end()).unwrap();
        } else {
            writer.to.flush().unwrap();
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
        let mut changed = whole;
        let middle = changed.len() / 2;
        changed[middle] ^= 0xff;
        std::fs::write(&path, &changed).unwrap();
        let error = error(folder.path());
        assert!(error.contains(SEGMENT), "{error}");
    }
}
