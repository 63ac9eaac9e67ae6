//! A run whose measurements come from the files of its segments: collected tick by tick, as those of shards are.

use std::{io, path::Path, time::Duration};

use ks_protocol::time::UnixMs;
use ks_reports::run_folder::{LateDevices, LimitCount, Tick};

use super::{
    EndReason, Observer, RunOutcome,
    collector::{Collected, Collector},
};
use crate::{
    failure::Failure,
    ledger::Reconciled,
    measure::Measurements,
    outages::Outage,
    resources,
    scenario::Plan,
    segment::{
        file::{SavedOutage, SegmentEnd, SegmentTick, Used},
        reader::SegmentReader,
    },
    ticks::Ticks,
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
    let collected = Collected { plan, folder, epoch, server: None, cpu_s: 0.0, is_trial: false, segment_file: None };
    let mut collector = Collector::new(collected).map_err(unwritten)?;
    let mut parts: Vec<Ticking> = readers.iter_mut().map(Ticking::of).collect::<Result<_, _>>()?;
    let ticks = Ticks::of(plan);
    let mut number = 0;
    while parts.iter().any(|part| part.next.is_some()) {
        let sum = next_tick(&mut parts)?;
        // A segment's last tick may have begun before the end of the run and ended after it; others have gone on.
        let to = if parts.iter().any(|part| part.next.is_some()) { ticks.end(number) } else { sum.to };
        number += 1;
        let mut observer = Summed { used: sum.used, quiet: &mut *quiet };
        collector.take(&sum.measured, to, &mut observer).map_err(unwritten)?;
    }
    let segments: Vec<PartOfRun> = parts.into_iter().filter_map(Ticking::part).collect();
    let outcome = conclude(collector, &segments).map_err(unwritten)?;
    Ok(Merged { outcome, segments })
}

/// A segment while its ticks are read.
struct Ticking<'a> {
    reader: &'a mut SegmentReader,
    next: Option<SegmentTick>,
    /// What its last tick said.
    used: Used,
    total: Measurements,
}

impl<'a> Ticking<'a> {
    fn of(reader: &'a mut SegmentReader) -> Result<Self, Failure> {
        let next = reader.next_tick()?;
        Ok(Self { reader, next, used: Used::default(), total: Measurements::default() })
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
fn next_tick(parts: &mut [Ticking<'_>]) -> Result<SegmentTick, Failure> {
    let mut sum = SegmentTick { to: Duration::ZERO, used: Used::default(), measured: Measurements::default() };
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
fn conclude(collector: Collector, segments: &[PartOfRun]) -> io::Result<RunOutcome> {
    let ends = || segments.iter().map(|part| &part.end);
    let lasted = ends().map(|end| end.lasted).max().unwrap_or_default();
    let of_each = |what: &dyn Fn(&SegmentEnd) -> Vec<String>| {
        let named = (1..)
            .zip(ends())
            .flat_map(|(number, end)| what(end).into_iter().map(move |why| format!("segment {number}: {why}")));
        named.collect::<Vec<_>>()
    };
    let broken = of_each(&|end: &SegmentEnd| end.broken.iter().cloned().collect());
    let end = match broken.into_iter().next() {
        Some(why) => EndReason::Broken(why),
        None if ends().any(|end| end.interrupted) => EndReason::Interrupted,
        None => EndReason::Over,
    };
    let mut reconciled = segments.first().map(|part| part.end.reconciled.clone()).unwrap_or_default();
    segments.iter().skip(1).for_each(|part| Reconciled::add(&mut reconciled, &part.end.reconciled));
    let failures = of_each(&|end: &SegmentEnd| end.failures.clone());
    let (outcome, _) = collector.finish(reconciled, lasted, end, failures)?;
    Ok(RunOutcome {
        late_devices: late_devices(ends()),
        limits: limits(ends()),
        protection_max: ends().filter_map(|end| end.protection_max).reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))),
        outages: outages(ends()),
        unjudged: of_each(&|end: &SegmentEnd| end.unjudged.clone()),
        ..outcome
    })
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
fn outages<'a>(ends: impl Iterator<Item = &'a SegmentEnd>) -> Vec<Outage> {
    let most = ends.map(|end| &end.outages).max_by_key(|outages| outages.len());
    most.into_iter().flatten().filter_map(SavedOutage::outage).collect()
}

/// Watches the collection: what was used is that of all generators.
struct Summed<'a> {
    used: Used,
    quiet: &'a mut dyn Observer,
}

impl Observer for Summed<'_> {
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
