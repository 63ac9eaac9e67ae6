//! A run whose measurements come from the files of its segments: collected tick by tick, as those of shards are.

use std::{collections::BTreeMap, io, path::Path, time::Duration};

use ks_protocol::time::UnixMs;
use ks_reports::run_folder::{LateDevices, LimitCount, Tick};

use super::{
    EndReason, Observer, RunOutcome,
    collector::{CollectedRun, Collector},
};
use crate::{
    failure::Failure,
    host::resources,
    run::{
        ledger::Reconciled,
        measure::Measurements,
        outages::{Outage, Recovered},
        ticks::Ticks,
        total_failure,
    },
    scenario::Plan,
    segment::{
        file::{GeneratorUse, SavedOutage, SegmentEnd, SegmentTick},
        reader::SegmentReader,
    },
};

/// A merged run, and what its segments measured each.
pub struct Merged {
    pub outcome: RunOutcome,
    /// In the order of the segments.
    pub segments: Vec<PartOfRun>,
}

/// One segment of a merged run.
pub struct PartOfRun {
    /// Everything that it measured.
    pub total: Measurements,
    pub end: SegmentEnd,
}

/// The end of a segment, from its outcome.
pub(super) fn end_of(played: &RunOutcome) -> SegmentEnd {
    SegmentEnd {
        lasted: played.lasted,
        interrupted: played.interrupted,
        broken: played.broken.clone(),
        failures: played.failures.clone(),
        unjudged: played.unjudged.clone(),
        reconciled: played.reconciled.clone(),
        late_devices: played.late_devices,
        limits: played.limits.clone(),
        protection_max: played.protection_max,
        outages: played.outages.iter().map(Into::into).collect(),
        cpu_s: resources::own_cpu_s(),
        rss_bytes: resources::peak_rss_bytes(),
    }
}

/// Collects the ticks of all segments and judges them as those of one run.
///
/// # Errors
/// A segment's file can't be read to its end, or a file of the run folder can't be written.
pub fn collect(
    plan: &Plan,
    folder: &Path,
    epoch: UnixMs,
    readers: &mut [SegmentReader],
    quiet: &mut dyn Observer,
) -> Result<Merged, Failure> {
    let unwritten = |cause: io::Error| Failure::File { what: "write", path: folder.to_owned(), cause };
    let collected = CollectedRun { plan, folder, epoch, server: None, cpu_s: 0.0, is_trial: false, segment_file: None };
    let mut collector = Collector::new(collected).map_err(unwritten)?;
    let mut parts: Vec<SegmentTicks> = readers.iter_mut().map(SegmentTicks::of).collect::<Result<_, _>>()?;
    let ticks = Ticks::of(plan);
    let mut number = 0;
    while parts.iter().any(|part| part.next.is_some()) {
        let sum = next_tick(&mut parts)?;
        // A segment's last tick may have begun before the end of the run and ended after it; others have gone on.
        let to = if parts.iter().any(|part| part.next.is_some()) { ticks.end(number) } else { sum.to };
        number += 1;
        let mut observer = SummedObserver { used: sum.used, quiet: &mut *quiet };
        collector.take(&sum.measured, to, &mut observer).map_err(unwritten)?;
    }
    let segments: Vec<PartOfRun> = parts.into_iter().filter_map(SegmentTicks::part).collect();
    let outcome = conclude(collector, plan.duration, &segments).map_err(unwritten)?;
    Ok(Merged { outcome, segments })
}

/// A segment while its ticks are read.
struct SegmentTicks<'a> {
    reader: &'a mut SegmentReader,
    next: Option<SegmentTick>,
    /// What its last tick said.
    used: GeneratorUse,
    total: Measurements,
}

impl<'a> SegmentTicks<'a> {
    fn of(reader: &'a mut SegmentReader) -> Result<Self, Failure> {
        let next = reader.next_tick()?;
        Ok(Self { reader, next, used: GeneratorUse::default(), total: Measurements::default() })
    }

    /// Its next tick, if it has one.
    fn take(&mut self) -> Result<Option<SegmentTick>, Failure> {
        let Some(tick) = self.next.take() else { return Ok(None) };
        self.next = self.reader.next_tick()?;
        self.used = tick.used;
        self.total.add(&tick.measured);
        Ok(Some(tick))
    }

    fn part(self) -> Option<PartOfRun> {
        self.reader.end.clone().map(|end| PartOfRun { total: self.total, end })
    }
}

/// The next tick of all segments together.
fn next_tick(parts: &mut [SegmentTicks<'_>]) -> Result<SegmentTick, Failure> {
    let mut sum = SegmentTick { to: Duration::ZERO, used: GeneratorUse::default(), measured: Measurements::default() };
    for part in parts {
        if let Some(tick) = part.take()? {
            sum.to = sum.to.max(tick.to);
            sum.measured.add(&tick.measured);
            sum.used.sockets += tick.used.sockets;
        }
        sum.used.cpu_s += part.used.cpu_s; // also of one that has ended: it counts from the start
    }
    Ok(sum)
}

/// The outcome of all segments, after their ticks were collected.
fn conclude(collector: Collector, planned: Duration, segments: &[PartOfRun]) -> io::Result<RunOutcome> {
    let ends = || segments.iter().map(|part| &part.end);
    let lasted = ends().map(|end| end.lasted).max().unwrap_or_default();
    let of_each = |what: &dyn Fn(&SegmentEnd) -> Vec<String>| {
        let named = (1..)
            .zip(ends())
            .flat_map(|(number, end)| what(end).into_iter().map(move |why| format!("segment {number}: {why}")));
        named.collect::<Vec<_>>()
    };
    let broken = of_each(&|end: &SegmentEnd| end.broken.iter().cloned().collect());
    let end = broken.into_iter().next().map_or(EndReason::Over, EndReason::Broken);
    let mut reconciled = segments.first().map(|part| part.end.reconciled.clone()).unwrap_or_default();
    segments.iter().skip(1).for_each(|part| Reconciled::add(&mut reconciled, &part.end.reconciled));
    let mut failures = of_each(&|end: &SegmentEnd| end.failures.clone());
    // Of a segment that failed as a whole: what others achieved must not hide it.
    let nothing = (1..).zip(segments).filter_map(|(number, part)| Some((number, total_failure::reason(&part.total)?)));
    failures.extend(nothing.map(|(number, why)| format!("segment {number}: {why}")));
    let (mut outcome, _) = collector.finish(reconciled, lasted, end, failures)?;
    outcome.total.recovered = recovered(segments);
    Ok(RunOutcome {
        late_devices: late_devices(ends()),
        limits: limits(ends()),
        protection_max: ends().filter_map(|end| end.protection_max).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))),
        outages: outages(ends()),
        unjudged: of_each(&|end: &SegmentEnd| unjudged(end, planned)),
        ..outcome
    })
}

/// What of a segment was not judged, because the user stopped it.
fn unjudged(end: &SegmentEnd, planned: Duration) -> Vec<String> {
    let (lasted_s, planned_s) = (end.lasted.as_secs_f64(), planned.as_secs_f64());
    let interrupted = end.interrupted.then(|| format!("it was ended after {lasted_s:.0} s of {planned_s:.0} s"));
    interrupted.into_iter().chain(end.unjudged.iter().cloned()).collect()
}

/// Late devices of all segments; none if one could not read its heartbeats.
fn late_devices<'a>(ends: impl Iterator<Item = &'a SegmentEnd>) -> Option<LateDevices> {
    let each: Option<Vec<LateDevices>> = ends.map(|end| end.late_devices).collect();
    each?
        .into_iter()
        .reduce(|a, b| LateDevices { devices: a.devices + b.devices, deadline_s: a.deadline_s.max(b.deadline_s) })
}

/// What the server's limits had decided when the last segment asked: its counts only grow.
fn limits<'a>(ends: impl Iterator<Item = &'a SegmentEnd>) -> Vec<LimitCount> {
    let mut last: Vec<LimitCount> = Vec::new();
    for count in ends.flat_map(|end| &end.limits) {
        match last.iter_mut().find(|limit| limit.name == count.name) {
            Some(limit) if limit.checked <= count.checked => *limit = count.clone(),
            Some(_) => {}
            None => last.push(count.clone()),
        }
    }
    last
}

/// The outages that every segment had; of one that ended early, those of another.
fn most_outages<'a>(ends: impl Iterator<Item = &'a SegmentEnd>) -> &'a [SavedOutage] {
    ends.map(|end| end.outages.as_slice()).max_by_key(|outages| outages.len()).unwrap_or_default()
}

fn outages<'a>(ends: impl Iterator<Item = &'a SegmentEnd>) -> Vec<Outage> {
    most_outages(ends).iter().filter_map(SavedOutage::outage).collect()
}

/// How devices recovered, by outage. Each segment numbers outages in the order in which they ended for it; those that end together may have
/// another order in another one.
fn recovered(segments: &[PartOfRun]) -> BTreeMap<usize, Recovered> {
    let all = most_outages(segments.iter().map(|part| &part.end));
    let mut sum: BTreeMap<usize, Recovered> = BTreeMap::new();
    for PartOfRun { total, end } in segments {
        for (number, recovered) in &total.recovered {
            let place = same_outage(&end.outages, *number, all).unwrap_or(*number);
            sum.entry(place).or_default().add(recovered);
        }
    }
    sum
}

/// The place in `all` of an outage of one segment: the first of its kind there is the first here, and so on.
fn same_outage(of_segment: &[SavedOutage], number: usize, all: &[SavedOutage]) -> Option<usize> {
    let of = of_segment.get(number)?;
    let earlier = of_segment.iter().take(number).filter(|other| other.is_like(of)).count();
    let alike = all.iter().enumerate().filter(|(_, other)| other.is_like(of));
    alike.map(|(place, _)| place).nth(earlier)
}

/// Watches the collection: what was used is that of all generators.
struct SummedObserver<'a> {
    used: GeneratorUse,
    quiet: &'a mut dyn Observer,
}

impl Observer for SummedObserver<'_> {
    fn tick(&mut self, _: &Tick, _: f64) {}

    fn part(&mut self, what: &str) {
        self.quiet.part(what);
    }

    fn wants_to_stop(&self) -> bool {
        self.quiet.wants_to_stop()
    }

    fn open_sockets(&self) -> u64 {
        self.used.sockets
    }

    fn cpu_s(&self) -> f64 {
        self.used.cpu_s
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use ks_reports::run_folder::{EventsKept, LATENCY, Mode, Summary, TICKS};

    use super::*;
    use crate::{
        device::exchange::MessageType,
        run::{
            generator::Resources,
            measure::{OK, record},
            summary::{RunFacts, summarise},
        },
        scenario,
        scenario_settings::ScenarioSettings,
        seed,
        segment::file::{Header, PlanInShort, SegmentWriter, sample},
    };

    const SCENARIO: &str = "name = \"t\"\ngoal = \"Merging.\"\nduration = \"10s\"\nramp = \"1s\"\n[fleet]\ndevices = 9\n\
        [[timeline]]\nat = \"4s\"\ndo = \"phase\"\nname = \"busy\"\n\
        [[expect]]\nmetric = \"heartbeat.p99_ms\"\nmax = 50\nevery = \"2s\"\n\
        [[expect]]\nmetric = \"heartbeat.p99_ms\"\nmax = 50\nduring = \"busy\"\n\
        [[expect]]\nmetric = \"heartbeat.per_min\"\nmin = 1\nevery = \"3s\"\n\
        [[expect]]\nmetric = \"errors\"\nequals = 0\n[[expect]]\nmetric = \"devices.registered\"\nmin = 1\n";

    /// Random measurements of one tick.
    fn measured(random: &mut rand_chacha::ChaCha8Rng) -> Measurements {
        let mut measured = Measurements { registered: 1, due: 40, ..Measurements::default() };
        for _ in 0..seed::below(random, 60) {
            let micros = 500 + seed::below(random, 70_000);
            let code = if seed::below(random, 30) == 0 { "TIMEOUT" } else { OK };
            measured.of_mut(MessageType::Heartbeat).sent += 1;
            measured.of_mut(MessageType::Heartbeat).end(code, micros, Some(micros / 2));
            record(&mut measured.send_lag_us, micros / 100);
        }
        measured
    }

    fn plan() -> Plan {
        scenario::check("t.toml", SCENARIO.as_bytes(), &ScenarioSettings).unwrap()
    }

    fn used(segment: u32, tick: u32) -> GeneratorUse {
        GeneratorUse { cpu_s: f64::from(tick) + f64::from(segment) / 4.0, sockets: u64::from(segment * 10 + tick % 3) }
    }

    /// The file of a segment with these ticks, in a folder of its own.
    fn segment(into: &Path, number: u32, plan: &Plan, ticks: &[Measurements]) -> SegmentReader {
        let folder: PathBuf = into.join(number.to_string());
        std::fs::create_dir(&folder).unwrap();
        let header = Header { plan: PlanInShort::of(plan), ..sample::header(number, 3) };
        let mut file = SegmentWriter::create(&folder, header, SCENARIO).unwrap();
        for (tick, measured) in (0..).zip(ticks) {
            file.tick(Duration::from_secs(u64::from(tick) + 1), used(number, tick), measured).unwrap();
        }
        file.finish(sample::end(plan.duration)).unwrap();
        SegmentReader::open(&folder).unwrap()
    }

    struct Nobody;

    impl Observer for Nobody {
        fn tick(&mut self, _: &Tick, _: f64) {}
        fn part(&mut self, _: &str) {}
        fn wants_to_stop(&self) -> bool {
            false
        }
    }

    fn summary(plan: &Plan, outcome: RunOutcome) -> Summary {
        let about = RunFacts {
            plan,
            mode: Mode::Load,
            target: String::new(),
            started_at: UnixMs(0),
            wall: Duration::ZERO,
            resources: Resources { sockets_max: outcome.sockets_max, ..Resources::default() },
            events_kept: EventsKept::None,
            event_log_sha256: None,
            replay: String::new(),
            notes: Vec::new(),
            doubts: Vec::new(),
        };
        summarise(about, outcome)
    }

    /// Goal: a merged run is the run. Method: random ticks of three segments, one of which ends two ticks sooner; collected from their files,
    /// and collected as the sums that one process would have had. Summaries with windows and phases, and the files, are equal.
    #[test]
    fn a_merged_run_is_the_run_of_all_its_devices() {
        let (plan, place) = (plan(), tempfile::tempdir().unwrap());
        let mut random = seed::stream(1, "ticks", "test");
        let counts = [12, 10, 12];
        let segments: Vec<Vec<Measurements>> =
            counts.iter().map(|count| (0..*count).map(|_| measured(&mut random)).collect()).collect();
        let mut readers: Vec<SegmentReader> =
            (1..).zip(&segments).map(|(number, ticks)| segment(place.path(), number, &plan, ticks)).collect();
        let [merged_in, whole_in] = ["merged", "whole"].map(|name| place.path().join(name));
        for folder in [&merged_in, &whole_in] {
            std::fs::create_dir(folder).unwrap();
        }
        let merged = collect(&plan, &merged_in, UnixMs(0), &mut readers, &mut Nobody).unwrap();

        let parts = CollectedRun {
            plan: &plan,
            folder: &whole_in,
            epoch: UnixMs(0),
            server: None,
            cpu_s: 0.0,
            is_trial: false,
            segment_file: None,
        };
        let mut collector = Collector::new(parts).unwrap();
        for tick in 0..12_u32 {
            let place = usize::try_from(tick).unwrap();
            let mut sum = Measurements::default();
            segments.iter().filter_map(|ticks| ticks.get(place)).for_each(|measured| sum.add(measured));
            let here = (1..).zip(&counts).filter(|(_, count)| tick < **count);
            let sockets = here.map(|(number, _)| used(number, tick).sockets).sum();
            let cpu_s = (1..).zip(&counts).map(|(number, count)| used(number, tick.min(count - 1)).cpu_s).sum();
            let mut observer = SummedObserver { used: GeneratorUse { cpu_s, sockets }, quiet: &mut Nobody };
            collector.take(&sum, Duration::from_secs(u64::from(tick) + 1), &mut observer).unwrap();
        }
        let (whole, _) = collector.finish(Reconciled::default(), plan.duration, EndReason::Over, Vec::new()).unwrap();

        let read = |folder: &Path, name: &str| std::fs::read(folder.join(name)).unwrap();
        for name in [TICKS, LATENCY] {
            assert!(read(&merged_in, name) == read(&whole_in, name), "{name}");
        }
        let [merged, whole] = [merged.outcome, whole].map(|outcome| summary(&plan, outcome));
        assert!(whole.heartbeats.acked > 500 && whole.expectations.iter().all(|of| of.actual.is_some()), "{whole:#?}");
        assert_eq!(merged, whole);
    }

    #[test]
    fn a_segment_that_the_user_ended_makes_the_run_inconclusive() {
        let (plan, place) = (plan(), tempfile::tempdir().unwrap());
        let mut readers: Vec<SegmentReader> =
            (1..=3).map(|number| segment(place.path(), number, &plan, &[Measurements::default()])).collect();
        let mut merged = collect(&plan, place.path(), UnixMs(0), &mut readers, &mut Nobody).unwrap();
        let of_two = &mut merged.segments[1].end;
        (of_two.interrupted, of_two.lasted) = (true, Duration::from_secs(6));
        assert_eq!(unjudged(of_two, plan.duration), ["it was ended after 6 s of 10 s"]);
        assert!(unjudged(&merged.segments[0].end, plan.duration).is_empty());
    }

    fn ended(outages: &[usize]) -> SegmentEnd {
        let of_site = |site: &usize| {
            let (from, to) = (Duration::from_secs(1), Duration::from_secs(2));
            SavedOutage::from(&Outage { what: "outage", site: Some(*site), from, to })
        };
        SegmentEnd { outages: outages.iter().map(of_site).collect(), ..sample::end(Duration::from_secs(9)) }
    }

    /// Goal: a device is counted for the outage of its own site, in whatever order a segment saw them end.
    #[test]
    fn outages_that_end_together_are_matched_by_their_sites() {
        let recovered = |each: &[(usize, u64)]| {
            let of =
                |(number, devices): &(usize, u64)| (*number, Recovered { after_ms: [(5, *devices)].into(), never: 0 });
            Measurements { recovered: each.iter().map(of).collect(), ..Measurements::default() }
        };
        let segments = [
            PartOfRun { total: recovered(&[(0, 1), (1, 2), (2, 4)]), end: ended(&[7, 8, 7]) },
            PartOfRun { total: recovered(&[(0, 10), (1, 20), (2, 40)]), end: ended(&[8, 7, 7]) },
        ];
        let sum = super::recovered(&segments);
        let devices: Vec<u64> = sum.values().map(Recovered::devices_served).collect();
        let sites: Vec<Option<usize>> =
            super::outages(segments.iter().map(|part| &part.end)).iter().map(|of| of.site).collect();
        assert_eq!(sites, [Some(8), Some(7), Some(7)]);
        assert_eq!(devices, [2 + 10, 1 + 20, 4 + 40]);
    }
}
