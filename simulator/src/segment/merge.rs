//! Merges the segments of a run: checks that they belong together, has their ticks collected as those of one run, and describes each.

use std::{
    cmp::Ordering,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use ks_protocol::time::UnixMs;
use ks_reports::{
    EventLogReader,
    run_folder::{self, EVENTS, EventsKept, Mode, Summary},
};
use serde_json::{Map, Value};

use super::{
    agreement::{self, Candidate, START_SPREAD_MAX},
    file::PlanInShort,
    reader::SegmentReader,
};
use crate::{
    conductor::{
        Observer,
        merged::{self, PartOfRun},
    },
    device::exchange::MessageType,
    failure::Failure,
    number::counted,
    run::{
        event_log::EventLog,
        generator::{self, Resources},
        summary::{RunFacts, summarise},
    },
    scenario::{self, Plan, Timing},
    scenario_settings::ScenarioSettings,
};

/// Most events of all segments: theirs are about the run, not about devices.
const EVENTS_MAX: usize = 100_000;

/// The segments of one run, each once and in order, and their plan.
pub struct Segments {
    readers: Vec<SegmentReader>,
    pub plan: Plan,
}

impl Segments {
    /// Opens the folders of a run's segments, in any order.
    ///
    /// # Errors
    /// One can't be read, is missing, there twice, or of another run.
    pub fn open(folders: &[PathBuf]) -> Result<Self, Failure> {
        let mut readers = folders.iter().map(|folder| SegmentReader::open(folder)).collect::<Result<Vec<_>, _>>()?;
        let candidate = |reader: &SegmentReader| (reader.segment, reader.header.clone(), reader.folder().to_owned());
        let known: Vec<_> = readers.iter().map(candidate).collect();
        let candidates = known.iter().map(|(segment, header, folder)| Candidate { folder, segment: *segment, header });
        agreement::check(&candidates.collect::<Vec<_>>())?;
        readers.sort_by_key(|reader| reader.segment.number());
        let plan = readers.first().map(plan).transpose()?;
        let plan = plan.ok_or_else(|| Failure::BadRequest("name the folder of each segment".to_owned()))?;
        Ok(Self { readers, plan })
    }

    /// Merges them into a run folder; returns the summary of the run.
    ///
    /// # Errors
    /// A segment did not finish or is damaged, or a file of the folder can't be written.
    pub fn merge(mut self, out: &Path, progress: &mut dyn Observer) -> Result<Summary, Failure> {
        let starts = self.readers.iter().map(|reader| agreement::start_by_target_ms(&reader.header));
        let started_at = UnixMs(starts.min().and_then(|at| u64::try_from(at).ok()).unwrap_or(0));
        let merged = merged::collect(&self.plan, out, started_at, &mut self.readers, progress)?;
        let (events_kept, left_out) = self.events(out)?;
        let (ends, outcome) = (|| merged.segments.iter().map(|part| &part.end), merged.outcome);
        let resources = Resources {
            cpu_s: ends().map(|end| end.cpu_s).sum(),
            rss_bytes: ends().map(|end| end.rss_bytes).sum(),
            sockets_max: outcome.sockets_max,
            ..Resources::default()
        };
        let spread = agreement::start_spread(self.readers.iter().map(|reader| &reader.header));
        let about = RunFacts {
            plan: &self.plan,
            mode: Mode::Load,
            target: self.readers.first().map(|reader| reader.header.target.url.clone()).unwrap_or_default(),
            started_at,
            wall: outcome.lasted,
            resources,
            events_kept,
            event_log_sha256: None,
            replay: self.replay(),
            notes: self.notes(spread, left_out),
            doubts: self.doubts(spread, &merged.segments),
        };
        let segments = self.described(&merged.segments);
        Ok(Summary { segments, ..summarise(about, outcome) })
    }

    /// What the reader of the report must know.
    fn notes(&self, spread: Duration, events_left_out: u64) -> Vec<String> {
        let clocks = self.readers.iter().map(|reader| reader.header.clock);
        let (first, last) =
            (clocks.clone().min_by_key(|clock| clock.ahead_ms), clocks.max_by_key(|clock| clock.ahead_ms));
        let clocks = match (first, last) {
            (Some(first), Some(last)) if first == last => format!("The clock of each was {first}."),
            (Some(first), Some(last)) => format!("Their clocks were from {first} to {last}."),
            _ => String::new(),
        };
        let count = self.readers.len() as u64;
        let merged = format!(
            "Merged from {}, which started within {} ms of each other by the target's clock. {clocks}",
            counted(count, "segment"),
            spread.as_millis()
        );
        let mut notes = vec![merged];
        if events_left_out > 0 {
            notes.push(format!(
                "The event log has {EVENTS_MAX} events; {events_left_out} more are in those of the segments."
            ));
        }
        for note in self.readers.iter().flat_map(|reader| &reader.header.notes) {
            if !notes.contains(note) {
                notes.push(note.clone());
            }
        }
        notes
    }

    /// Why what one generator measured is unreliable, although that of all together may not show it.
    fn doubts(&self, spread: Duration, parts: &[PartOfRun]) -> Vec<String> {
        let mut doubts = Vec::new();
        if self.plan.timing == Timing::Measured {
            let lagged = |(number, part): (usize, &PartOfRun)| {
                generator::lagged(&part.total).map(|why| format!("segment {number}: {why}"))
            };
            doubts.extend((1..).zip(parts).filter_map(lagged));
        }
        let is_silent = |part: &PartOfRun| part.total.of(MessageType::Heartbeat).sent == 0;
        let silent = (1..).zip(parts).filter(|(_, part): &(usize, _)| is_silent(part));
        doubts.extend(silent.map(|(number, _)| format!("segment {number} sent no heartbeat")));
        // What two clocks may be wrong by, at most.
        let unsure = self.readers.iter().map(|reader| reader.header.clock.within_ms).max().unwrap_or(0);
        let unsure = Duration::from_millis(unsure.saturating_mul(2));
        if spread > START_SPREAD_MAX {
            doubts.push(format!(
                "the segments started {:.1} s apart, so the load was not the scenario's; give all of them the same --start-at",
                spread.as_secs_f64()
            ));
        } else if spread + unsure > START_SPREAD_MAX {
            doubts.push(format!(
                "the segments may have started {:.1} s apart: the target's time reached them so slowly that it is known to ± {:.1} s only",
                (spread + unsure).as_secs_f64(),
                unsure.as_secs_f64() / 2.0
            ));
        }
        doubts
    }

    /// Each segment for the summary.
    fn described(&self, parts: &[PartOfRun]) -> Vec<run_folder::Segment> {
        let each = self.readers.iter().zip(parts).map(|(reader, part)| {
            let used = Resources { cpu_s: part.end.cpu_s, rss_bytes: part.end.rss_bytes, ..Resources::default() };
            let generator = generator::figures(&part.total, &part.total, used);
            run_folder::Segment {
                number: reader.segment.number(),
                of: reader.segment.of(),
                devices: reader.segment.devices(self.plan.fleet.devices).into(),
                target: reader.header.target.url.clone(),
                started_at: reader.header.started_at.to_string(),
                clock: reader.header.clock,
                cpu_s: generator.cpu_s,
                rss_bytes: generator.rss_bytes,
                late_sends: generator.late_sends,
                send_lag_p99_ms: generator.send_lag_p99_ms,
            }
        });
        each.collect()
    }

    /// Commands that repeat the run, for one machine.
    fn replay(&self) -> String {
        let Some(first) = self.readers.first() else { return String::new() };
        let of = first.segment.of();
        let one = first.header.replay.replace(&format!(" --segment {}", first.segment), "");
        format!(
            "START=$(($(date +%s) + 30)); for I in $(seq {of}); do {one} --segment $I/{of} --start-at $START --out segment-$I & done; wait; \
             ks-fleet merge $(seq -f segment-%g {of}) --out merged"
        )
    }

    /// Writes the events of all segments in the order of their times, each with its segment; returns which events there are, and how
    /// many were too many.
    fn events(&self, out: &Path) -> Result<(EventsKept, u64), Failure> {
        let rank = |kept: EventsKept| match kept {
            EventsKept::All => 0,
            EventsKept::Decisions => 1,
            EventsKept::None => 2,
        };
        let kept = self.readers.iter().map(|reader| reader.header.events_kept).max_by_key(|kept| rank(*kept));
        let kept = kept.unwrap_or_default();
        if kept == EventsKept::None {
            return Ok((kept, 0));
        }
        let mut events: Vec<(u64, u32, Map<String, Value>)> = Vec::new();
        let mut left_out = 0;
        for reader in &self.readers {
            let mut log = EventLogReader::open(reader.folder())?;
            while let Some(lines) = log.next_lines()? {
                for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let Ok(Value::Object(event)) = serde_json::from_slice(line) else { continue };
                    let at_ms = event.get("at_ms").and_then(Value::as_u64).unwrap_or(0);
                    if events.len() < EVENTS_MAX {
                        events.push((at_ms, reader.segment.number(), event));
                    } else {
                        left_out += 1;
                    }
                }
            }
        }
        events.sort_by(|(at, number, _), (other, of, _)| at.cmp(other).then(number.cmp(of)).then(Ordering::Equal));
        let unwritten = |cause: io::Error| Failure::File { what: "write", path: out.join(EVENTS), cause };
        let mut log = EventLog::create(out, kept).map_err(unwritten)?;
        for (at_ms, number, event) in &events {
            let Some(name) = event.get("event").and_then(Value::as_str) else { continue };
            let others = event.iter().filter(|(key, _)| !matches!(key.as_str(), "at_ms" | "event"));
            let own = [("segment", Value::from(*number))];
            let fields: Vec<(&str, Value)> =
                own.into_iter().chain(others.map(|(key, value)| (key.as_str(), value.clone()))).collect();
            log.event(Duration::from_millis(*at_ms), name, &fields);
        }
        log.finish().map_err(unwritten)?;
        Ok((kept, left_out))
    }
}

/// The plan of a segment, checked again from the text in its file.
fn plan(reader: &SegmentReader) -> Result<Plan, Failure> {
    let header = &reader.header;
    let refused = |why: String| Failure::Segments {
        why: format!("{}: {why}", reader.folder().display()),
        help: "merge with the version of this program that ran the segments".to_owned(),
    };
    let plan = scenario::check(&header.scenario_path, reader.scenario.as_bytes(), &ScenarioSettings);
    let plan = plan.map_err(|_| refused("its scenario is invalid for this version".to_owned()))?;
    let plan = plan.with_overrides(header.overrides.clone().into()).map_err(|wrong| refused(wrong.join("; ")))?;
    if PlanInShort::of(&plan) != header.plan {
        return Err(refused("its scenario means something else to this version".to_owned()));
    }
    Ok(plan)
}
