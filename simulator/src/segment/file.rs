//! `segment.ndjson.zst`: what one segment measured, exactly. A header, the scenario's text, a line for each tick, the ledger, and the end; one JSON
//! object a line, compressed with a checksum. `reader.rs` reads it.

use std::{collections::BTreeMap, fs::File, io, path::Path, time::Duration};

use ks_protocol::time::UnixMs;
use ks_reports::{
    EventLogWriter,
    run_folder::{ClockOffset, EventsKept, LateDevices, LimitCount, SEGMENT},
};
use serde::{Deserialize, Serialize};

use super::saved::SavedMeasurements;
use crate::{
    run::{ledger::Reconciled, measure::Measurements, outages::Outage},
    scenario::Overrides,
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
pub(super) struct SavedTick {
    /// From 0, without gaps.
    pub(super) number: u64,
    /// When it ended, since the start.
    pub(super) to: Duration,
    pub(super) used: GeneratorUse,
    pub(super) measured: SavedMeasurements,
}

/// What a generator used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct GeneratorUse {
    /// CPU seconds of its process so far.
    pub cpu_s: f64,
    /// Sockets that are open now.
    pub sockets: u64,
}

/// A tick as it is read.
#[derive(Debug, Clone)]
pub struct SegmentTick {
    pub to: Duration,
    pub used: GeneratorUse,
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
    /// In records of its own, before the end.
    #[serde(skip)]
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
    /// Whether it was caused by the same kind of step at the same site.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.what, self.site) == (&other.what, other.site)
    }

    /// The outage; none if no step of this program causes such a one.
    pub fn outage(&self) -> Option<Outage> {
        let what = KINDS.iter().map(|kind| kind.name).find(|name| *name == self.what)?;
        Some(Outage { what, site: self.site, from: self.from, to: self.to })
    }
}

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    Header(Box<Header>),
    /// A piece of the scenario's text.
    Scenario(String),
    Tick(Box<SavedTick>),
    /// A piece of the reconciliation.
    Ledger(Box<Reconciled>),
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
    pub fn tick(&mut self, to: Duration, used: GeneratorUse, measured: &Measurements) -> io::Result<()> {
        let measured = SavedMeasurements::of(measured).map_err(io::Error::other)?;
        let number = self.ticks;
        self.ticks += 1;
        self.write(&Record::Tick(Box::new(SavedTick { number, to, used, measured })))
    }

    /// Adds the end: without it the segment counts as unfinished.
    ///
    /// # Errors
    /// It can't be written.
    pub fn finish(mut self, mut end: SegmentEnd) -> io::Result<()> {
        for piece in std::mem::take(&mut end.reconciled).in_pieces() {
            self.write(&Record::Ledger(Box::new(piece)))?;
        }
        self.write(&Record::End(Box::new(end)))?;
        self.to.finish().map(|_| ())
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        self.to.write(&line)
    }
}

/// A header and an end for tests, which change what they are about.
#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    pub(crate) fn header(number: u32, of: u32) -> Header {
        Header {
            format: FORMAT,
            version: "0.1.0".to_owned(),
            number,
            of,
            scenario_path: "s.toml".to_owned(),
            overrides: SavedOverrides::default(),
            plan: PlanInShort {
                name: "s".to_owned(),
                seed: 42,
                devices: 9,
                duration: Duration::from_secs(30),
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

    pub(crate) fn end(lasted: Duration) -> SegmentEnd {
        SegmentEnd {
            lasted,
            interrupted: false,
            broken: None,
            failures: Vec::new(),
            unjudged: Vec::new(),
            reconciled: Reconciled::default(),
            late_devices: None,
            limits: Vec::new(),
            protection_max: None,
            outages: Vec::new(),
            cpu_s: 1.5,
            rss_bytes: 7,
        }
    }
}
