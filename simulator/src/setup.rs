//! Sets up a run, in real or virtual time: the server's settings, the provisioned fleet, what its shards share, and
//! the conductor. A driver provides the server's address and the timer, and starts the shards.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    net::SocketAddr,
    path::Path,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ks_protocol::{
    id::{DeviceId, InvalidId},
    modelled,
    time::UnixMs,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    conductor::{Reports, Run},
    drive::rehearse::disk::Disk,
    fleet::{
        self, AdversarySpec, Caller, DeviceSpec, Provisioned, ShardPlan, ShardReport, churn::Schedule,
        ground_truth::GroundTruth,
    },
    host::timer::Timer,
    invariants::Witness,
    link::{Network, faults::NetworkFaults},
    operator::{AnswerTimeouts, Operator, OperatorError, revocations::Revocations},
    run::{event_log::EventLog, measure::Measurements, outages::Outages, ticks::Ticks},
    scenario::{Connections, Plan, Retry},
    segment::{Segment, file::SegmentWriter},
    server_under_test::process::ServerProcess,
    shard::{RunTime, Shard},
    timeline::{Punch, RunContext, Step},
};

/// How to reach a run's server.
#[derive(Clone)]
pub struct ServerAccess {
    pub network: Arc<dyn Network>,
    pub target: SocketAddr,
    /// Which address a caller has.
    pub addresses: fn(SocketAddr, Caller) -> SocketAddr,
    pub admin_token: String,
    /// Timeouts for answers of the admin API.
    pub timeouts: AnswerTimeouts,
}

impl ServerAccess {
    /// An operator on a link of its own.
    pub fn operator(&self) -> Operator {
        let from = (self.addresses)(self.target, Caller::Operator);
        Operator::new(&*self.network, from, &self.admin_token).waiting(self.timeouts)
    }
}

/// Why a fleet could not be provisioned.
#[derive(Debug)]
pub enum ProvisionError {
    /// The scenario's `id_prefix` gives no valid device ID.
    Name(InvalidId),
    /// A call of the admin API failed.
    Operator(OperatorError),
}

/// A provisioned fleet before its devices are switched on.
pub struct Setup<'a> {
    plan: &'a Plan,
    way: ServerAccess,
    pub operator: Operator,
    watcher: Operator,
    /// Names of the fleet, in its order.
    names: Vec<DeviceId>,
    /// The devices that take the place of others.
    replacements: Vec<DeviceSpec>,
    /// Those of its devices that this process has.
    devices: Vec<DeviceSpec>,
    provisioned: Arc<Provisioned>,
    segment: Option<Segment>,
}

impl<'a> Setup<'a> {
    /// Provisions the plan's fleet, or the devices of one segment of it; `progress` receives what it is waiting for.
    ///
    /// # Errors
    /// A call of the admin API failed.
    pub async fn provision(
        plan: &'a Plan,
        segment: Option<Segment>,
        way: ServerAccess,
        now: UnixMs,
        progress: impl Fn(String),
    ) -> Result<Self, ProvisionError> {
        let (operator, watcher) = (way.operator(), way.operator());
        let mut devices = fleet::with_replacements(plan).map_err(ProvisionError::Name)?;
        let others = u32::try_from(devices.len()).unwrap_or(u32::MAX);
        let (replacements, fleet): (Vec<_>, Vec<_>) = devices.iter().partition(|device| device.replaces.is_some());
        let names = fleet.into_iter().map(|device| device.device_id.clone()).collect();
        let replacements = replacements.into_iter().cloned().collect();
        devices.retain(|device| segment.is_none_or(|segment| segment.has(device.number)));
        devices.sort_by_key(|device| device.starts_after); // stable
        let mut faulty_devices = fleet::faulty_devices(plan, others).map_err(ProvisionError::Name)?;
        faulty_devices.retain(|_| segment.is_none_or(Segment::is_first));
        let provisioned = fleet::provision(plan, &devices, &faulty_devices, &operator, now, progress).await;
        let provisioned = Arc::new(provisioned.map_err(ProvisionError::Operator)?);
        Ok(Self { plan, way, operator, watcher, names, replacements, devices, provisioned, segment })
    }

    /// Begins the run, at the wall-clock time `epoch`. Returns its devices too, to be divided among shards.
    pub fn begin(self, epoch: UnixMs) -> (StartedRun<'a>, Vec<DeviceSpec>) {
        let Self { plan, way, operator, watcher, names, replacements, devices, provisioned, segment } = self;
        let (reporting, reports) = mpsc::unbounded_channel();
        let (finish, finishing) = watch::channel(false);
        let shared = SharedState {
            time: RunTime { started: Instant::now(), epoch },
            network_faults: Arc::new(NetworkFaults::none(plan.fleet.sites.len())),
            outages: Arc::default(),
            revocations: Arc::default(),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let started = StartedRun {
            plan,
            way,
            operator,
            watcher,
            names,
            replacements,
            provisioned,
            segment,
            shared,
            reporting,
            reports,
            finish,
            finishing,
        };
        (started, devices)
    }
}

/// A run that has started, while its shards are started.
pub struct StartedRun<'a> {
    plan: &'a Plan,
    way: ServerAccess,
    operator: Operator,
    watcher: Operator,
    /// Names of the fleet, in its order.
    pub names: Vec<DeviceId>,
    /// The devices that take the place of others.
    replacements: Vec<DeviceSpec>,
    provisioned: Arc<Provisioned>,
    segment: Option<Segment>,
    /// What all shards share.
    pub shared: SharedState,
    /// Where shards send their reports.
    pub reporting: mpsc::UnboundedSender<ShardReport>,
    reports: mpsc::UnboundedReceiver<ShardReport>,
    finish: watch::Sender<bool>,
    /// Signals shards to finish.
    pub finishing: watch::Receiver<bool>,
}

/// What only the driver of a run can provide.
pub struct DriverParts<'a> {
    pub folder: &'a Path,
    pub log: Rc<RefCell<EventLog>>,
    /// The server, where it can be restarted.
    pub server: Option<Rc<dyn ServerProcess>>,
    /// Its disk, where failures can be injected.
    pub disk: Option<Arc<Disk>>,
    /// Observes the server's answers, where it runs in this process.
    pub witness: Option<Arc<Witness>>,
    /// How many shards were started.
    pub shards: usize,
    /// The newest stored heartbeat before the run.
    pub stored_before: i64,
    /// Whether the server belongs to the run, so that everything it stores is from the run.
    pub is_alone: bool,
    /// Concurrent rehearsals in this process.
    pub rehearsals: u64,
    pub is_trial: bool,
    pub ends_when_settled: bool,
    /// The start of the run by the server's clock.
    pub server_epoch: UnixMs,
    /// Where a segment of a fleet writes what it measured.
    pub segment_file: Option<SegmentWriter>,
}

impl<'a> StartedRun<'a> {
    /// The plan of one of `shards` shards, without adversaries.
    pub fn shard_plan(&self, number: usize, devices: Vec<DeviceSpec>, shards: usize) -> ShardPlan {
        let (plan, way) = (self.plan, &self.way);
        ShardPlan {
            number,
            devices,
            adversaries: Vec::new(),
            victims: Vec::new(),
            provisioned: Arc::clone(&self.provisioned),
            network: Arc::clone(&way.network),
            addresses: way.addresses,
            target: way.target,
            seed: plan.seed,
            id_prefix: plan.fleet.id_prefix.clone(),
            firmware_version: plan.fleet.firmware_version.clone(),
            uptime_at_start: plan.fleet.uptime_at_start,
            models: fleet::names(&plan.fleet.models),
            sites: fleet::names(&plan.fleet.sites),
            behind: plan.fleet.addresses,
            verify_percent: plan.verify_percent,
            connections: self.connections(),
            shards,
            segment: self.segment,
            ticks: Ticks::of(plan),
        }
    }

    /// The adversaries in this process.
    pub fn adversaries(&self) -> Vec<AdversarySpec> {
        if self.segment.is_none_or(Segment::is_first) { fleet::adversaries(self.plan) } else { Vec::new() }
    }

    /// The connections of the devices in this process.
    pub fn connections(&self) -> Connections {
        let of_fleet = self.plan.fleet.connections;
        self.segment.map_or(of_fleet, |segment| segment.connections(of_fleet))
    }

    /// The run, after its shards have been started.
    pub fn conducted(self, parts: DriverParts<'a>) -> Run<'a> {
        let DriverParts {
            folder,
            log,
            server,
            disk,
            witness,
            shards,
            stored_before,
            is_alone,
            rehearsals,
            is_trial,
            ends_when_settled,
            server_epoch,
            segment_file,
        } = parts;
        let SharedState { time, network_faults, outages, revocations, stop } = self.shared;
        let run_context = RunContext {
            time,
            operator: Rc::new(self.operator),
            watcher: self.watcher,
            network_faults,
            outages,
            revocations,
            devices: Rc::new(self.names),
            replacements: self.replacements,
            segment: self.segment,
            server,
            disk,
            witness,
            log,
            failures: Rc::default(),
            limits_before: RefCell::default(),
            protection_max: Cell::default(),
            played: Cell::default(),
            has_failed: Cell::default(),
        };
        Run {
            plan: self.plan,
            folder,
            time,
            run_context,
            reports: Reports::of(self.reports, shards),
            finish: self.finish,
            stop,
            stored_before,
            is_alone,
            rehearsals,
            is_trial,
            ends_when_settled,
            server_epoch,
            segment_file,
        }
    }
}

/// What all shards share.
#[derive(Clone)]
pub struct SharedState {
    pub time: RunTime,
    pub network_faults: Arc<NetworkFaults>,
    /// Outages that have ended.
    pub outages: Arc<Outages>,
    /// Devices that operators have revoked.
    pub revocations: Arc<Revocations>,
    /// Stops devices from scheduling further heartbeats.
    pub stop: Arc<AtomicBool>,
}

/// The state that one shard's devices share.
pub fn shard(
    plan: &Plan,
    with: SharedState,
    timer: Rc<dyn Timer>,
    log: Option<Rc<RefCell<EventLog>>>,
    is_captured: bool,
) -> Shard {
    let SharedState { time, network_faults, outages, revocations, stop } = with;
    Shard {
        time,
        timer,
        ends_at: time.started + plan.duration,
        interval: plan.fleet.heartbeat_interval,
        answer_timeout: plan.fleet.answer_timeout,
        retries: plan.fleet.cohorts.iter().map(|cohort| cohort.retry).chain([Retry::DEFAULT]).collect(),
        abused_sites: fleet::abused_sites(plan),
        named_victims: fleet::named_victims(plan),
        shifts: shifts(plan),
        trusted: RefCell::default(),
        ground_truth: GroundTruth::of(plan),
        churn: Schedule::of(plan, time.epoch),
        network_faults,
        outages,
        revocations,
        measurements: RefCell::new(Measurements::default()),
        stopped: stop,
        log,
        hands_beats_over: modelled::is_on() && !is_captured,
        is_captured,
        captured: RefCell::new(VecDeque::new()),
    }
}

/// When employees punch at every device, and how often at each.
fn shifts(plan: &Plan) -> Vec<(Duration, u32)> {
    let punches = plan.timeline.iter().filter_map(|timed| match &timed.step {
        Step::Punch(Punch { per_device }) => Some((timed.at, *per_device)),
        _ => None,
    });
    punches.collect()
}
