//! Collects a run's measurements tick by tick: totals, record, expectations.

use std::{io, time::Duration};

use ks_reports::run_folder::{Ledger, Tick};

use super::{EndReason, Observer, Run, RunOutcome};
use crate::{
    device::exchange::MessageType,
    expect::Judge,
    measure::{Measurements, OK},
    phase_recorder::PhaseRecorder,
    record::Record,
    rollout_monitor::RolloutMonitor,
    ticks::Ticks,
};

pub(super) struct Collector {
    /// Where ticks are written; none in a trial.
    record: Option<Record>,
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

impl Collector {
    pub(super) fn new(run: &Run<'_>) -> io::Result<Self> {
        Ok(Self {
            record: (!run.is_trial).then(|| Record::begin(run.folder, run.time.epoch)).transpose()?,
            judge: Judge::new(run.plan),
            watch: RolloutMonitor::new(run.plan, run.folder, !run.is_trial)?,
            phases: PhaseRecorder::of(run.plan, run.run_context.server.clone()),
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
        // The last tick may come with what came after the end.
        self.phases.take(from, if from < self.end { to.min(self.end) } else { to }, measured);
        let width_s = to.saturating_sub(from).as_secs_f64();
        if from < self.end && width_s > 0.0 {
            self.let_through_per_s_max = self.let_through_per_s_max.max(measured.let_through() as f64 / width_s);
        }
        let tick = self.tick((from, to), measured);
        if let Some(record) = &mut self.record {
            record.write(&tick, measured)?;
        }
        self.sockets_max = self.sockets_max.max(observer.open_sockets());
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
        ledger: Ledger,
        lasted: Duration,
        end: EndReason,
        failures: Vec<String>,
    ) -> io::Result<RunOutcome> {
        self.record.map_or(Ok(()), Record::finish)?;
        let (phases, server_rss_bytes) = self.phases.finish();
        let (interrupted, is_settled) = (matches!(end, EndReason::Interrupted), matches!(end, EndReason::Settled));
        let (aborted, broken) = match end {
            EndReason::Aborted(why) => (Some(why), None),
            EndReason::Broken(why) => (None, Some(why)),
            EndReason::Over | EndReason::Settled | EndReason::Interrupted => (None, None),
        };
        Ok(RunOutcome {
            total: self.total,
            steady: self.steady,
            ledger,
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
        })
    }
}
