//! Collects a run's measurements tick by tick: totals, record, expectations.

use std::{io, path::Path, rc::Rc, time::Duration};

use ks_protocol::time::UnixMs;
use ks_reports::run_folder::Tick;

use super::{EndReason, Observer, RunOutcome};
use crate::{
    device::exchange::MessageType,
    operator::rollout_monitor::RolloutMonitor,
    run::{
        expect::Judge,
        ledger::Reconciled,
        measure::{Measurements, OK},
        phase_recorder::PhaseRecorder,
        record::Record,
        ticks::Ticks,
    },
    scenario::Plan,
    segment::file::{GeneratorUse, SegmentWriter},
    server_under_test::process::ServerProcess,
};

pub(super) struct Collector {
    /// Where ticks are written; none in a trial.
    record: Option<Record>,
    segment_file: Option<SegmentWriter>,
    judge: Judge,
    pub(super) watch: RolloutMonitor,
    phases: PhaseRecorder,
    pub(super) total: Measurements,
    steady: (Measurements, Duration),
    pub(super) ticks: u64,
    /// When each tick ends.
    ends: Ticks,
    ramp: Duration,
    duration: Duration,
    /// From here on devices schedule nothing; only answers to earlier requests arrive.
    pub(super) end: Duration,
    sockets_max: u64,
    /// Requests a second that no limit refused, in the busiest tick.
    let_through_per_s_max: f64,
}

/// Whose measurements are collected.
pub(super) struct CollectedRun<'a> {
    pub(super) plan: &'a Plan,
    pub(super) folder: &'a Path,
    /// The start of the run on the wall clock.
    pub(super) epoch: UnixMs,
    /// The run's own server, if it has one.
    pub(super) server: Option<Rc<dyn ServerProcess>>,
    /// CPU seconds that the generator has used so far.
    pub(super) cpu_s: f64,
    pub(super) is_trial: bool,
    /// Where a segment of a fleet writes what it measured.
    pub(super) segment_file: Option<SegmentWriter>,
}

impl Collector {
    pub(super) fn new(run: CollectedRun<'_>) -> io::Result<Self> {
        Ok(Self {
            record: (!run.is_trial).then(|| Record::begin(run.folder, run.epoch)).transpose()?,
            judge: if run.segment_file.is_some() { Judge::of_segment() } else { Judge::new(run.plan) },
            watch: RolloutMonitor::new(run.plan, run.folder, !run.is_trial)?,
            phases: PhaseRecorder::of(run.plan, run.cpu_s, run.server),
            segment_file: run.segment_file,
            total: Measurements::default(),
            steady: (Measurements::default(), Duration::ZERO),
            ticks: 0,
            ends: Ticks::of(run.plan),
            ramp: run.plan.ramp,
            duration: run.plan.duration,
            end: run.plan.duration,
            sockets_max: 0,
            let_through_per_s_max: 0.0,
        })
    }

    /// When the next tick begins.
    fn next_start(&self) -> Duration {
        self.ends.start(self.ticks)
    }

    /// When the next tick ends, if it is a full one.
    pub(super) fn next_end(&self) -> Duration {
        self.ends.end(self.ticks)
    }

    /// Takes the next tick, which lasted until `to`. Returns a violated expectation that ends the run, if there is one.
    pub(super) fn take(
        &mut self,
        measured: &Measurements,
        to: Duration,
        observer: &mut dyn Observer,
    ) -> io::Result<Option<String>> {
        let from = self.next_start();
        let to = to.max(from);
        self.ticks += 1;
        self.total.add(measured);
        if from >= self.ramp && to <= self.end {
            self.steady.0.add(measured);
            self.steady.1 += to.saturating_sub(from);
        }
        let used = GeneratorUse { cpu_s: observer.cpu_s(), sockets: observer.open_sockets() };
        // The last tick may come with what came after the end.
        self.phases.take(from, if from < self.end { to.min(self.end) } else { to }, measured, used.cpu_s);
        if let Some(file) = &mut self.segment_file {
            file.tick(to, used, measured)?;
        }
        let width_s = to.saturating_sub(from).as_secs_f64();
        if from < self.end && width_s > 0.0 {
            self.let_through_per_s_max = self.let_through_per_s_max.max(measured.let_through() as f64 / width_s);
        }
        let tick = self.tick((from, to), measured);
        if let Some(record) = &mut self.record {
            record.write(&tick, measured)?;
        }
        self.sockets_max = self.sockets_max.max(used.sockets);
        observer.tick(&tick, self.duration.as_secs_f64());
        observer.measured(to.as_secs_f64(), &self.total);
        if from >= self.end {
            self.judge.take_tail(self.end, measured);
            return Ok(None);
        }
        Ok(self.judge.take(from, to.min(self.end), measured, &self.total))
    }

    fn tick(&self, (from, to): (Duration, Duration), measured: &Measurements) -> Tick {
        let beats = measured.of(MessageType::Heartbeat);
        let ms = |histogram: &hdrhistogram::Histogram<u64>, quantile| {
            (!histogram.is_empty()).then(|| histogram.value_at_quantile(quantile) as f64 / 1_000.0)
        };
        let accepted = |quantile| beats.accepted().and_then(|times| ms(&times.response_us, quantile));
        Tick {
            at_s: from.as_secs_f64(),
            width_s: to.saturating_sub(from).as_secs_f64(),
            offered: measured.offered(),
            sent: beats.sent,
            acked: beats.code(OK),
            codes: measured.codes().into_iter().map(|(code, count)| (code.to_owned(), count)).collect(),
            registered: u64::try_from(self.total.registered).unwrap_or(0),
            in_flight: u64::try_from(self.total.in_flight).unwrap_or(0),
            send_lag_p99_ms: ms(&measured.send_lag_us, 0.99),
            p50_ms: accepted(0.5),
            p99_ms: accepted(0.99),
            max_ms: accepted(1.0),
        }
    }

    pub(super) fn finish(
        self,
        reconciled: Reconciled,
        lasted: Duration,
        end: EndReason,
        failures: Vec<String>,
    ) -> io::Result<(RunOutcome, Option<SegmentWriter>)> {
        self.record.map_or(Ok(()), Record::finish)?;
        let (phases, server_rss_bytes) = self.phases.finish();
        let (interrupted, is_settled) = (matches!(end, EndReason::Interrupted), matches!(end, EndReason::Settled));
        let (aborted, broken) = match end {
            EndReason::Aborted(why) => (Some(why), None),
            EndReason::Broken(why) => (None, Some(why)),
            EndReason::Over | EndReason::Settled | EndReason::Interrupted => (None, None),
        };
        let outcome = RunOutcome {
            total: self.total,
            steady: self.steady,
            ledger: reconciled.ledger(),
            reconciled,
            judge: self.judge,
            rollouts: self.watch.seen,
            rollout_summaries: Vec::new(),
            violations: None,
            outages: Vec::new(),
            lasted,
            is_settled,
            interrupted,
            unjudged: Vec::new(),
            aborted,
            broken,
            failures,
            sockets_max: self.sockets_max,
            let_through_per_s_max: self.let_through_per_s_max,
            late_devices: None,
            limits: Vec::new(),
            limit_verdicts: None,
            protection_max: None,
            server_rss_bytes,
            phases,
        };
        Ok((outcome, self.segment_file))
    }
}
