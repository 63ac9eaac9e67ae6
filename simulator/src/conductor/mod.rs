//! Conducts a run, in real or virtual time alike: plays the timeline, gathers ticks, drains, reconciles.

mod gathered;
mod patience;
mod reports;

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use ks_protocol::id::DeviceId;
use ks_reports::run_folder::{Ledger, PhaseFigures, RolloutSummary, Tick};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    device::waits::Wait,
    expect::Judge,
    invariants::{self, Ending, Violation},
    ledger::{DeviceAccount, Reconciliation, StoredCommand},
    measure::Measurements,
    operator::OperatorError,
    resources,
    rollout_monitor::ObservedRollouts,
    scenario::Plan,
    shard::RunTime,
    timeline::{self, Stage},
};

use gathered::Gathered;
use patience::Patience;
use reports::ShardGone;

pub use reports::Reports;

/// How often it is looked whether a person or a dead server ends the run.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Real time that all that comes after the last beat may take, once a person asked to end the run.
const AFTER_STOP_MAX: Duration = Duration::from_secs(10);
/// How long the server's lists may take to be read at the end, each of the two times that they are.
const LISTS_MAX: Duration = Duration::from_mins(20);
/// How long the timeline may take to finish its last step after the end.
const LAST_STEP_MAX: Duration = Duration::from_secs(10);

/// What a person sees while the run goes on.
pub trait Observer {
    /// A tick has ended; `registered` devices take part.
    fn tick(&mut self, tick: &Tick, planned_s: f64);
    /// The run is in another part: `waiting for answers`, `reconciling`.
    fn part(&mut self, what: &str);
    /// Whether a person asked to end the run.
    fn wants_to_stop(&self) -> bool;
    /// Sockets that are open now.
    fn open_sockets(&self) -> u64 {
        0
    }
}

/// What the conductor holds of a run.
pub struct Run<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The run folder.
    pub folder: &'a Path,
    /// The run's time.
    pub time: RunTime,
    /// What the timeline acts through.
    pub stage: Stage,
    /// What shards report.
    pub reports: Reports,
    /// Tells shards to finish.
    pub finish: watch::Sender<bool>,
    /// Tells devices to schedule no more beats.
    pub stop: Arc<AtomicBool>,
    /// The newest stored heartbeat before the run.
    pub stored_before: i64,
    /// Whether the server is the run's own, so that nobody else can have stored anything.
    pub is_alone: bool,
    /// Rehearsals that go on in this process at a time.
    pub rehearsals: u64,
    /// One of many trials, of which only the summary counts: ticks are not written down, and it ends once its rollouts are
    /// over, unless firmware kills devices later.
    pub is_trial: bool,
}

/// What a run came to.
pub struct Played {
    /// Everything that was measured.
    pub total: Measurements,
    /// What was measured from the end of the ramp to the end of the run, and for how long.
    pub steady: (Measurements, Duration),
    /// The reconciliation.
    pub ledger: Ledger,
    /// The judge, with every tick taken.
    pub judge: Judge,
    /// The rollouts as they were at the end.
    pub rollouts: ObservedRollouts,
    /// The one that matters most, in a sentence or two.
    pub rollout: Option<RolloutSummary>,
    /// How long devices beat, on the run's clock.
    pub lasted: Duration,
    /// Ended by a person while devices were beating.
    pub interrupted: bool,
    /// What a person did not wait for after that, in a sentence each: nothing is known of it.
    pub unjudged: Vec<String>,
    /// The expectation whose breach ended the run, in a sentence.
    pub aborted: Option<String>,
    /// Why the server or a part of the fleet was gone before its time.
    pub broken: Option<String>,
    /// What went wrong besides: failed steps, a ledger that could not be asked for.
    pub failures: Vec<String>,
    /// Open sockets at the peak.
    pub sockets_max: u64,
    /// Resident memory of the server's process at its peak, in bytes.
    pub server_rss_bytes: Option<u64>,
    /// What was measured in each phase of the timeline, by its name.
    pub phases: BTreeMap<String, PhaseFigures>,
    /// Promises that were not kept; none where nobody could see it.
    pub violations: Option<Vec<Violation>>,
}

/// Why the devices stopped.
enum End {
    /// Their time was up.
    Over,
    /// A person asked for it.
    Interrupted,
    /// An expectation that must not be breached was.
    Aborted(String),
    /// The server or a part of the fleet is gone.
    Broken(String),
}

impl Run<'_> {
    /// Plays the run to its end.
    ///
    /// # Errors
    /// A file of the run folder can't be written.
    pub async fn play(mut self, observer: &mut dyn Observer) -> io::Result<Played> {
        let mut gathered = Gathered::new(&self)?;
        let mut end = self.play_timeline(&mut gathered, observer).await?;
        self.stop.store(true, Ordering::Relaxed);
        let lasted = self.time.elapsed().min(self.plan.duration);
        gathered.end = lasted;
        let mut patience = Patience::of(AFTER_STOP_MAX);
        if !matches!(end, End::Broken(_)) {
            observer.part("waiting for answers");
            end = self.drain(&mut gathered, &mut patience, observer).await?.map_or(end, End::Broken);
        }
        self.bring_server_up().await;
        let _ = self.finish.send(true); // shards that have ended need not hear it
        let finished = patience.wait(observer, "waiting for the devices' accounts", self.reports.finish()).await;
        if matches!(finished, Some(Err(ShardGone))) {
            end = End::Broken(ShardGone.to_string());
        }
        let (accounts, rest) = finished.and_then(Result::ok).unwrap_or_default();
        gathered.take(&rest, self.time.elapsed(), observer)?;
        observer.part("reconciling with what the server stored");
        let alive = accounts.iter().filter(|(_, account)| account.is_alive).map(|(name, _)| name.clone()).collect();
        let waits = |(name, account): (&DeviceId, &DeviceAccount)| {
            let of_it = account.waits.iter().filter(|_| account.is_alive);
            of_it.map(|wait| (name.clone(), *wait)).collect::<Vec<_>>()
        };
        let waits: Vec<(DeviceId, Wait)> = accounts.iter().flat_map(waits).collect();
        let (ledger, commands) = self.reckon(accounts, &mut patience, observer).await;
        self.ask_for_rollouts(&mut gathered, lasted, &mut patience, observer).await;
        let rollout = gathered.watch.write(self.folder, &gathered.total)?;
        let ending = Ending {
            plan: self.plan,
            epoch: self.time.epoch,
            lasted,
            alive: &alive,
            waits: &waits,
            commands: &commands,
            ledger: &ledger,
            rollouts: &gathered.watch.seen,
            attacks: &gathered.total.attacks,
            memory_bytes: Some((resources::peak_rss_bytes(), self.rehearsals)),
        };
        let judged = self.stage.witness.as_ref().filter(|_| patience.lost.is_empty());
        let violations = judged.map(|witness| invariants::judge(witness, &ending));
        let played = gathered.finish(ledger, lasted, end, self.stage.failures.take())?;
        Ok(Played { rollout, violations, unjudged: patience.lost, ..played })
    }

    /// The ledger and every command, as far as the server says and a person waits.
    async fn reckon(
        &self,
        accounts: BTreeMap<DeviceId, DeviceAccount>,
        patience: &mut Patience,
        observer: &dyn Observer,
    ) -> (Ledger, Vec<StoredCommand>) {
        let reconciled = within(LISTS_MAX, self.reconcile(accounts));
        match patience.wait(observer, "in the reconciliation", reconciled).await {
            Some(Ok(reconciled)) => return reconciled,
            Some(Err(why)) => {
                self.stage.failures.borrow_mut().push(format!("the ledger could not be reconciled: {why}"));
            }
            None => {}
        }
        Default::default()
    }

    /// What became of the rollouts, as far as the server says and a person waits.
    async fn ask_for_rollouts(
        &self,
        gathered: &mut Gathered,
        lasted: Duration,
        patience: &mut Patience,
        observer: &dyn Observer,
    ) {
        let watched = gathered.watch.finish(&self.stage.watcher, self.time.epoch, lasted, &gathered.total);
        if let Some(Err(why)) = patience.wait(observer, "asking for the rollouts", within(LISTS_MAX, watched)).await {
            self.stage.failures.borrow_mut().push(format!("what became of the rollouts is not known: {why}"));
        }
    }

    /// Compares what devices know with what is stored; also gives every command.
    async fn reconcile(
        &self,
        accounts: BTreeMap<DeviceId, DeviceAccount>,
    ) -> Result<(Ledger, Vec<StoredCommand>), OperatorError> {
        let (operator, witness) = (&self.stage.operator, self.stage.witness.as_ref());
        let mut reconciliation = Reconciliation::of(accounts, self.is_alone);
        let mut commands = Vec::new(); // kept where promises are judged, which the run's own server made alone
        let each = |device_id: &DeviceId, sequence| {
            reconciliation.row(device_id, sequence);
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

    /// Whoever reckons up needs the server, also when it was to be down, or its disk full, beyond the end.
    async fn bring_server_up(&self) {
        if let Some(disk) = &self.stage.disk {
            disk.mend();
        }
        if let Some(server) = &self.stage.server
            && let Err(why) = Rc::clone(server).ensure_running().await
        {
            self.stage.failures.borrow_mut().push(format!("the server did not come back at the end: {why}"));
        }
    }

    /// Plays the timeline and gathers ticks until the run's time is up, or something ends it sooner.
    async fn play_timeline(&mut self, gathered: &mut Gathered, observer: &mut dyn Observer) -> io::Result<End> {
        let mut timeline = std::pin::pin!(timeline::play(self.plan, &self.stage));
        let mut timeline_is_over = false;
        let ends_when_settled = self.is_trial && self.plan.firmware.iter().all(|firmware| firmware.dies_bp == 0);
        while self.time.elapsed() < self.plan.duration {
            tokio::select! {
                biased;
                () = &mut timeline, if !timeline_is_over => timeline_is_over = true,
                measured = self.reports.tick(gathered.ticks) => {
                    let Ok(measured) = measured else { return Ok(End::Broken(ShardGone.to_string())) };
                    if let Some(breach) = gathered.take(&measured, gathered.next_end(), observer)? {
                        self.stage.log.borrow_mut().event(self.time.elapsed(), "aborted", &[("expectation", json!(breach))]);
                        let at_s = self.time.elapsed().as_secs_f64();
                        return Ok(End::Aborted(format!("ended early at {at_s:.0} s: `{breach}` was not met")));
                    }
                    let look = gathered.watch.sample(&self.stage.watcher, self.time.elapsed(), &gathered.total);
                    // A target that takes longer than that holds the run no longer: it is no sample.
                    let look = tokio::time::timeout_at(self.time.started + self.plan.duration, look);
                    if let Some(Ok(looked)) = Patience::of(Duration::ZERO).wait(observer, "", look).await {
                        looked?;
                    }
                    if ends_when_settled && gathered.watch.is_settled {
                        return Ok(End::Over);
                    }
                }
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
            if observer.wants_to_stop() {
                return Ok(End::Interrupted);
            }
            if let Some(why) = self.stage.server_ended() {
                return Ok(End::Broken(why));
            }
            if self.stage.has_failed.get() {
                return Ok(End::Over);
            }
        }
        if !timeline_is_over && tokio::time::timeout(LAST_STEP_MAX, timeline).await.is_err() {
            let unplayed = self.plan.timeline.get(self.stage.played.get()..).unwrap_or_default();
            let names: Vec<String> = unplayed.iter().map(ToString::to_string).collect();
            let why = format!("the timeline was not played to its end: {} not done", names.join(", "));
            self.stage.failures.borrow_mut().push(why);
        }
        Ok(End::Over)
    }

    /// Waits for answers that are still on their way. Gives why nobody can be waited for, if so.
    async fn drain(
        &mut self,
        gathered: &mut Gathered,
        patience: &mut Patience,
        observer: &mut dyn Observer,
    ) -> io::Result<Option<String>> {
        let drain_ends = tokio::time::Instant::now() + self.plan.drain;
        while gathered.total.in_flight > 0 {
            let tick = tokio::time::timeout_at(drain_ends, self.reports.tick(gathered.ticks));
            match patience.wait(observer, "waiting for answers", tick).await {
                Some(Ok(Ok(measured))) => gathered.take(&measured, gathered.next_end(), observer).map(|_| ())?,
                Some(Ok(Err(ShardGone))) => return Ok(Some(ShardGone.to_string())),
                Some(Err(_)) | None => break, // time is up, or nobody waits
            }
        }
        Ok(None)
    }
}

/// What `work` comes to, or a sentence that says why nothing did within `limit`.
async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, OperatorError>>) -> Result<T, String> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the server's lists did not end within {} s", limit.as_secs())),
    }
}
