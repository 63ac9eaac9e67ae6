//! Conducts a run, in real or virtual time: plays the timeline, collects ticks, drains, reconciles.

mod collector;
pub mod merged;
mod replaced;
mod reports;
mod settlement;
mod stop_timeout;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ks_protocol::{id::DeviceId, time::UnixMs};
use ks_reports::run_folder::{LateDevices, Ledger, LimitCount, LimitVerdicts, PhaseFigures, RolloutSummary, Tick};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    device::pending::PendingPeriod,
    host::resources,
    invariants::{self, RunEnd, Violation},
    operator::{OperatorError, rollout_monitor::ObservedRollouts},
    review::{Confirmations, Notes, review},
    run::{
        expect::Judge,
        ledger::{DeviceAccount, ForeignRows, Reconciled, Reconciliation, StoredCommand},
        measure::Measurements,
        outages::Outage,
        silence::Silences,
    },
    scenario::Plan,
    segment::file::SegmentWriter,
    shard::RunTime,
    timeline::{self, RunContext},
};

use collector::{CollectedRun, Collector};
use reports::ShardClosed;
use settlement::Settlement;
use stop_timeout::StopTimeout;

pub use reports::Reports;

/// How often the run checks for a stop request or a dead server.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Real time for everything after the last beat, once the user has asked to stop.
const AFTER_STOP_MAX: Duration = Duration::from_secs(10);
/// Time limit for each of the two readings of the server's lists at the end.
const LISTS_MAX: Duration = Duration::from_mins(20);
/// Time limit for the timeline's last step after the end.
const LAST_STEP_MAX: Duration = Duration::from_secs(10);

/// Shows progress to the user while the run goes on.
pub trait Observer {
    /// A tick has ended; `registered` devices take part.
    fn tick(&mut self, tick: &Tick, planned_s: f64);
    /// The same tick: `total` is what has been measured since the start.
    fn measured(&mut self, _elapsed_s: f64, _total: &Measurements) {}
    /// The run entered another part: `waiting for answers`, `reconciling`.
    fn part(&mut self, what: &str);
    /// Whether the user has asked to stop.
    fn wants_to_stop(&self) -> bool;
    /// Sockets that are open now.
    fn open_sockets(&self) -> u64 {
        0
    }
    /// CPU seconds that the generator has used so far.
    fn cpu_s(&self) -> f64 {
        resources::own_cpu_s()
    }
}

/// A run to conduct.
pub struct Run<'a> {
    pub plan: &'a Plan,
    pub folder: &'a Path,
    pub time: RunTime,
    /// What the timeline acts through.
    pub run_context: RunContext,
    pub reports: Reports,
    /// Signals shards to finish.
    pub finish: watch::Sender<bool>,
    /// Signals devices to stop scheduling beats.
    pub stop: Arc<AtomicBool>,
    /// The newest stored heartbeat before the run.
    pub stored_before: i64,
    /// Whether the server belongs to this run alone, so that nothing else can have stored rows.
    pub is_alone: bool,
    /// Rehearsals running concurrently in this process.
    pub rehearsals: u64,
    /// One of many trials, of which only the summary counts: ticks are not written down.
    pub is_trial: bool,
    /// It ends once nothing can change its result any more.
    pub ends_when_settled: bool,
    /// The start of the run by the server's clock: the times of what it stored count from there.
    pub server_epoch: UnixMs,
    /// Where a segment of a fleet writes what it measured.
    pub segment_file: Option<SegmentWriter>,
}

/// The outcome of a run.
pub struct RunOutcome {
    /// Everything that was measured.
    pub total: Measurements,
    /// What was measured from the end of the ramp to the end of the run, and for how long.
    pub steady: (Measurements, Duration),
    pub ledger: Ledger,
    /// The same, before the parts that need the devices of all segments.
    pub reconciled: Reconciled,
    /// The judge, with every tick taken.
    pub judge: Judge,
    /// The rollouts as they were at the end.
    pub rollouts: ObservedRollouts,
    /// How each rollout ended, the worst first.
    pub rollout_summaries: Vec<RolloutSummary>,
    /// How long devices sent heartbeats, on the run's clock.
    pub lasted: Duration,
    /// It ended before its time, because nothing could change its result any more.
    pub is_settled: bool,
    /// Stopped by the user while devices were sending heartbeats.
    pub interrupted: bool,
    /// Waits that the user's stop cut short, a sentence each: their results are unknown.
    pub unjudged: Vec<String>,
    /// The expectation whose violation ended the run, in a sentence.
    pub aborted: Option<String>,
    /// Why the server or a part of the fleet ended early.
    pub broken: Option<String>,
    /// Other failures: failed steps, a ledger that could not be read.
    pub failures: Vec<String>,
    /// Open sockets at the peak.
    pub sockets_max: u64,
    /// Requests a second that no limit refused, in the busiest tick.
    pub let_through_per_s_max: f64,
    /// What each limit of the server has decided; empty if it can't be read.
    pub limits: Vec<LimitCount>,
    /// What they did against what they had to do; none if nothing predicted that.
    pub limit_verdicts: Option<LimitVerdicts>,
    /// The most writes in progress at the server, and the most bytes that its limits took; none if it can't be read.
    pub protection_max: Option<(u64, u64)>,
    /// Devices that the server heard too rarely; none if its heartbeats could not be read.
    pub late_devices: Option<LateDevices>,
    /// Resident memory of the server's process at its peak, in bytes.
    pub server_rss_bytes: Option<u64>,
    /// What was measured in each phase of the timeline, by its name.
    pub phases: BTreeMap<String, PhaseFigures>,
    /// Outages that ended within it.
    pub outages: Vec<Outage>,
    /// Violated invariants; none if nothing observed them.
    pub violations: Option<Vec<Violation>>,
}

/// Why the devices stopped.
enum EndReason {
    /// The planned time was over.
    Over,
    /// Nothing could change the result any more.
    Settled,
    /// The user stopped the run.
    Interrupted,
    /// An expectation that ends the run was violated.
    Aborted(String),
    /// The server or a part of the fleet has ended.
    Broken(String),
}

/// The devices that are alive at the end, and the waits that those have not ended.
fn alive_at_the_end(
    accounts: &BTreeMap<DeviceId, DeviceAccount>,
) -> (BTreeSet<DeviceId>, Vec<(DeviceId, PendingPeriod)>) {
    let alive = accounts.iter().filter(|(_, account)| account.is_alive);
    let periods = |(name, account): (&DeviceId, &DeviceAccount)| {
        account.pending_periods.iter().map(|wait| (name.clone(), *wait)).collect::<Vec<_>>()
    };
    (alive.clone().map(|(name, _)| name.clone()).collect(), alive.flat_map(periods).collect())
}

impl Run<'_> {
    /// Plays the run to its end.
    ///
    /// # Errors
    /// A file of the run folder can't be written.
    pub async fn play(mut self, observer: &mut dyn Observer) -> io::Result<RunOutcome> {
        let mut collector = Collector::new(self.collected(observer.cpu_s()))?;
        let mut end = self.play_timeline(&mut collector, observer).await?;
        self.stop.store(true, Ordering::Relaxed);
        let lasted = self.time.elapsed().min(self.plan.duration);
        collector.end = lasted;
        let mut stop_timeout = StopTimeout::of(AFTER_STOP_MAX);
        let mut accounts = self.stop_devices(&mut collector, &mut end, &mut stop_timeout, observer).await?;
        observer.part("reconciling with what the server stored");
        let (alive, pending_periods) = alive_at_the_end(&accounts);
        let notes =
            |(name, account): (&DeviceId, &mut DeviceAccount)| (name.clone(), std::mem::take(&mut account.releases));
        let notes: Notes = accounts.iter_mut().map(notes).collect();
        self.read_rollouts(&mut collector, lasted, &mut stop_timeout, observer).await;
        let mut confirmations = Confirmations::of(&collector.watch.seen);
        let mut silences = Silences::new(self.server_epoch, self.plan.ramp, self.plan.interval());
        let heard = &mut (&mut confirmations, &mut silences);
        let (reconciled, commands) = self.reconcile_within_limits(accounts, heard, &mut stop_timeout, observer).await;
        let ledger = reconciled.ledger();
        let limits = within(LISTS_MAX, self.run_context.limits());
        let limits = stop_timeout.wait(observer, "reading the limits", limits).await;
        let limits = limits.and_then(Result::ok).unwrap_or_default();
        let late = || silences.late(alive.iter(), self.server_epoch + lasted);
        let late_devices = ledger.reconciled.then(late);
        let reviewed = |seen: &ObservedRollouts| review(self.plan, seen, &notes, &confirmations, lasted);
        let rollout_summaries = collector.watch.write(self.folder, &collector.total, reviewed)?;
        let ending = RunEnd {
            plan: self.plan,
            epoch: self.time.epoch,
            lasted,
            alive: &alive,
            pending_periods: &pending_periods,
            commands: &commands,
            ledger: &ledger,
            rollouts: &collector.watch.seen,
            attacks: &collector.total.attacks,
            memory_bytes: Some((resources::peak_rss_bytes(), self.rehearsals)),
        };
        let judged = self.run_context.witness.as_ref().filter(|_| stop_timeout.lost.is_empty());
        let violations = judged.map(|witness| invariants::judge(witness, &ending));
        let limit_verdicts = self.run_context.witness.as_ref().map(|witness| witness.oracle().matrix().into());
        let (played, segment_file) = collector.finish(reconciled, lasted, end, self.run_context.failures.take())?;
        let outages = self.run_context.outages.all();
        let protection_max = self.run_context.protection_max.get();
        let played = RunOutcome {
            rollout_summaries,
            violations,
            late_devices,
            limits,
            limit_verdicts,
            protection_max,
            outages,
            unjudged: stop_timeout.lost,
            ..played
        };
        segment_file.map_or(Ok(()), |file| file.finish(merged::end_of(&played)))?;
        Ok(played)
    }

    /// Waits for the answers that are still due, and for the accounts of the devices. `end` becomes the reason if a part of the fleet
    /// ends meanwhile.
    async fn stop_devices(
        &mut self,
        collector: &mut Collector,
        end: &mut EndReason,
        stop_timeout: &mut StopTimeout,
        observer: &mut dyn Observer,
    ) -> io::Result<BTreeMap<DeviceId, DeviceAccount>> {
        if !matches!(end, EndReason::Broken(_)) {
            observer.part("waiting for answers");
            if let Some(broken) = self.drain(collector, stop_timeout, observer).await? {
                *end = EndReason::Broken(broken);
            }
        }
        self.bring_server_up().await;
        let _ = self.finish.send(true); // shards that have ended need not hear it
        let finished = stop_timeout.wait(observer, "waiting for the devices' accounts", self.reports.finish()).await;
        if matches!(finished, Some(Err(ShardClosed))) {
            *end = EndReason::Broken(ShardClosed.to_string());
        }
        let (accounts, rest) = finished.and_then(Result::ok).unwrap_or_default();
        collector.take(&rest, self.time.elapsed(), observer)?;
        Ok(accounts)
    }

    /// What the collector has to know.
    fn collected(&mut self, cpu_s: f64) -> CollectedRun<'_> {
        CollectedRun {
            plan: self.plan,
            folder: self.folder,
            epoch: self.time.epoch,
            server: self.run_context.server.clone(),
            cpu_s,
            is_trial: self.is_trial,
            segment_file: self.segment_file.take(),
        }
    }

    /// The ledger and every command, unless reading fails or the stop timeout ends.
    async fn reconcile_within_limits(
        &self,
        accounts: BTreeMap<DeviceId, DeviceAccount>,
        heard: &mut (&mut Confirmations, &mut Silences),
        stop_timeout: &mut StopTimeout,
        observer: &dyn Observer,
    ) -> (Reconciled, Vec<StoredCommand>) {
        let reconciled = within(LISTS_MAX, self.reconcile(accounts, heard));
        match stop_timeout.wait(observer, "reconciling", reconciled).await {
            Some(Ok(reconciled)) => return reconciled,
            Some(Err(why)) => {
                self.run_context.failures.borrow_mut().push(format!("the ledger could not be reconciled: {why}"));
            }
            None => {}
        }
        Default::default()
    }

    /// Reads the final rollouts, unless reading fails or the stop timeout ends.
    async fn read_rollouts(
        &self,
        collector: &mut Collector,
        lasted: Duration,
        stop_timeout: &mut StopTimeout,
        observer: &dyn Observer,
    ) {
        let watched = collector.watch.finish(&self.run_context.watcher, self.time.epoch, lasted, &collector.total);
        if let Some(Err(why)) = stop_timeout.wait(observer, "reading the rollouts", within(LISTS_MAX, watched)).await {
            self.run_context.failures.borrow_mut().push(format!("the rollouts' final states are unknown: {why}"));
        }
    }

    /// Compares the devices' accounts with the stored rows; also returns every command.
    async fn reconcile(
        &self,
        accounts: BTreeMap<DeviceId, DeviceAccount>,
        (confirmations, silences): &mut (&mut Confirmations, &mut Silences),
    ) -> Result<(Reconciled, Vec<StoredCommand>), OperatorError> {
        let (operator, witness) = (&self.run_context.operator, self.run_context.witness.as_ref());
        let mut reconciliation = Reconciliation::of(accounts, self.strangers());
        let mut commands = Vec::new(); // kept only if invariants are judged, which needs the run's own server
        let wants_times = !confirmations.is_empty();
        let each = |device_id: &DeviceId, sequence, received_at| {
            reconciliation.row(device_id, sequence);
            silences.heard(device_id, received_at);
            if wants_times {
                confirmations.heard(device_id, received_at);
            }
            if let Some(witness) = witness {
                witness.stored(device_id, sequence);
            }
        };
        operator.stored_heartbeats(self.stored_before, each).await?;
        operator
            .commands(|command| {
                reconciliation.command(command);
                if witness.is_some() {
                    commands.push(command.clone());
                }
            })
            .await?;
        operator.punches(|punch| reconciliation.punch(punch)).await?;
        Ok((reconciliation.finish(), commands))
    }

    /// Which rows of devices outside this process are misattributed.
    fn strangers(&self) -> ForeignRows {
        match (self.is_alone, self.run_context.orders_for_all()) {
            (true, _) => ForeignRows::All,
            (false, true) => ForeignRows::NamedByAdversaries,
            (false, false) => ForeignRows::None,
        }
    }

    /// Reconciliation needs the server, even if a step keeps it down, or its disk full, beyond the end.
    async fn bring_server_up(&self) {
        if let Some(disk) = &self.run_context.disk {
            disk.repair();
        }
        if let Some(server) = &self.run_context.server
            && let Err(why) = Rc::clone(server).ensure_running().await
        {
            self.run_context.failures.borrow_mut().push(format!("the server did not come back at the end: {why}"));
        }
    }

    /// Plays the timeline and collects ticks until the run's time is over, or something ends it sooner.
    async fn play_timeline(&mut self, collector: &mut Collector, observer: &mut dyn Observer) -> io::Result<EndReason> {
        let mut timeline = std::pin::pin!(timeline::play(self.plan, &self.run_context));
        let mut revoking = std::pin::pin!(replaced::revoke(&self.run_context));
        let (mut timeline_is_over, mut revoking_is_over) = (false, self.run_context.replacements.is_empty());
        let settlement = || Settlement::of(self.plan, self.run_context.witness.is_some());
        let mut settlement = self.ends_when_settled.then(settlement).flatten();
        while self.time.elapsed() < self.plan.duration {
            tokio::select! {
                biased;
                () = &mut timeline, if !timeline_is_over => timeline_is_over = true,
                () = &mut revoking, if !revoking_is_over => revoking_is_over = true,
                measured = self.reports.tick(collector.ticks) => {
                    let Ok(measured) = measured else { return Ok(EndReason::Broken(ShardClosed.to_string())) };
                    if let Some(violated) = collector.take(&measured, collector.next_end(), observer)? {
                        self.run_context.log.borrow_mut().event_at_once(self.time.elapsed(), "aborted", &[("expectation", json!(violated))]);
                        let at_s = self.time.elapsed().as_secs_f64();
                        return Ok(EndReason::Aborted(format!("ended early at {at_s:.0} s: `{violated}` was not met")));
                    }
                    let look = collector.watch.sample(&self.run_context.watcher, self.time.elapsed(), &collector.total);
                    // A slower target must not hold up the run: skip the sample.
                    let look = tokio::time::timeout_at(self.time.started + self.plan.duration, look);
                    if let Some(Ok(sampled)) = StopTimeout::of(Duration::ZERO).wait(observer, "", look).await {
                        sampled?;
                    }
                    let now = self.time.elapsed();
                    let is_settled = |settlement: &mut Settlement| settlement.is_reached(now, collector);
                    if settlement.as_mut().is_some_and(is_settled) && timeline_is_over {
                        self.run_context.log.borrow_mut().event(now, "settled", &[]);
                        return Ok(EndReason::Settled);
                    }
                }
                () = tokio::time::sleep(CHECK_INTERVAL) => {}
            }
            if observer.wants_to_stop() {
                return Ok(EndReason::Interrupted);
            }
            if let Some(why) = self.run_context.server_ended() {
                return Ok(EndReason::Broken(why));
            }
            if self.run_context.has_failed.get() {
                return Ok(EndReason::Over);
            }
        }
        if !timeline_is_over && tokio::time::timeout(LAST_STEP_MAX, timeline).await.is_err() {
            let unplayed = self.plan.timeline.get(self.run_context.played.get()..).unwrap_or_default();
            let names: Vec<String> = unplayed.iter().map(ToString::to_string).collect();
            let why = format!("the timeline was not played to its end: {} not done", names.join(", "));
            self.run_context.failures.borrow_mut().push(why);
        }
        Ok(EndReason::Over)
    }

    /// Waits for answers still in flight. Returns why it can't, if so.
    async fn drain(
        &mut self,
        collector: &mut Collector,
        stop_timeout: &mut StopTimeout,
        observer: &mut dyn Observer,
    ) -> io::Result<Option<String>> {
        let drain_ends = tokio::time::Instant::now() + self.plan.drain;
        while collector.total.in_flight > 0 {
            let tick = tokio::time::timeout_at(drain_ends, self.reports.tick(collector.ticks));
            match stop_timeout.wait(observer, "waiting for answers", tick).await {
                Some(Ok(Ok(measured))) => collector.take(&measured, collector.next_end(), observer).map(|_| ())?,
                Some(Ok(Err(ShardClosed))) => return Ok(Some(ShardClosed.to_string())),
                Some(Err(_)) | None => break, // timed out, or stopped
            }
        }
        Ok(None)
    }
}

/// The result of `work`, or a sentence that says why there is none within `limit`.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, OperatorError>>) -> Result<T, String> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the server's lists did not end within {} s", limit.as_secs())),
    }
}
