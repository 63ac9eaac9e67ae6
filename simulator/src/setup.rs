//! What comes before any run, in real or virtual time: the server's settings, the provisioned fleet, what its shards share, and
//! what conducts it. A driver says where the server is and what wakes devices, and starts the shards.

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
    id::{BadId, DeviceId},
    time::UnixMs,
};
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use crate::{
    conductor::{Reports, Run},
    drive::rehearse::disk::Disk,
    event_log::EventLog,
    fleet::{self, Caller, DeviceSpec, Provisioned, ShardPlan, ShardReport},
    ground_truth::GroundTruth,
    invariants::Witness,
    link::{Network, faults::NetworkFaults},
    measure::Measurements,
    operator::{AnswerTimeouts, Operator, OperatorError},
    scenario::Plan,
    server_process::ServerProcess,
    shard::{RunTime, Shard},
    ticks::Ticks,
    timeline::{Punch, RunContext, Step},
    timer::Timer,
};

/// The way to a run's server.
#[derive(Clone)]
pub struct Way {
    /// Makes links.
    pub network: Arc<dyn Network>,
    /// Where the server is.
    pub target: SocketAddr,
    /// Which address a caller has.
    pub addresses: fn(SocketAddr, Caller) -> SocketAddr,
    /// The operator's token.
    pub admin_token: String,
    /// How long answers of the admin API are waited for.
    pub timeouts: AnswerTimeouts,
}

impl Way {
    fn operator(&self) -> Operator {
        let from = (self.addresses)(self.target, Caller::Operator);
        Operator::new(&*self.network, from, &self.admin_token).waiting(self.timeouts)
    }
}

/// Why a fleet could not be provisioned.
#[derive(Debug)]
pub enum NotProvisioned {
    /// The scenario's names make no names of devices.
    Name(BadId),
    /// The server did not do as it was asked.
    Operator(OperatorError),
}

/// A fleet that the server knows, and none of whose devices is switched on.
pub struct Setup<'a> {
    plan: &'a Plan,
    way: Way,
    /// The admin API.
    pub operator: Operator,
    watcher: Operator,
    devices: Vec<DeviceSpec>,
    provisioned: Arc<Provisioned>,
}

impl<'a> Setup<'a> {
    /// Provisions the plan's fleet; `tell` hears what is waited for.
    ///
    /// # Errors
    /// The server did not do as it was asked.
    pub async fn provision(
        plan: &'a Plan,
        way: Way,
        now: UnixMs,
        tell: impl Fn(String),
    ) -> Result<Self, NotProvisioned> {
        let (operator, watcher) = (way.operator(), way.operator());
        let devices = fleet::devices(plan).map_err(NotProvisioned::Name)?;
        let misbehaving_devices = fleet::misbehaving_devices(plan).map_err(NotProvisioned::Name)?;
        let provisioned = fleet::provision(plan, &devices, &misbehaving_devices, &operator, now, tell).await;
        let provisioned = Arc::new(provisioned.map_err(NotProvisioned::Operator)?);
        Ok(Self { plan, way, operator, watcher, devices, provisioned })
    }

    /// The run begins now, on a wall that shows `epoch`. Gives its devices too, to be dealt out among shards.
    pub fn begin(self, epoch: UnixMs) -> (Begun<'a>, Vec<DeviceSpec>) {
        let Self { plan, way, operator, watcher, devices, provisioned } = self;
        let (reporting, reports) = mpsc::unbounded_channel();
        let (finish, finishing) = watch::channel(false);
        let surroundings = Surroundings {
            time: RunTime { started: Instant::now(), epoch },
            network_faults: Arc::new(NetworkFaults::none(plan.fleet.sites.len())),
            stop: Arc::new(AtomicBool::new(false)),
        };
        let names = devices.iter().map(|device| device.device_id.clone()).collect();
        let begun = Begun {
            plan,
            way,
            operator,
            watcher,
            names,
            provisioned,
            surroundings,
            reporting,
            reports,
            finish,
            finishing,
        };
        (begun, devices)
    }
}

/// A run that has begun, while its shards are started.
pub struct Begun<'a> {
    plan: &'a Plan,
    way: Way,
    operator: Operator,
    watcher: Operator,
    /// Names of the fleet, in its order.
    pub names: Vec<DeviceId>,
    provisioned: Arc<Provisioned>,
    /// What all shards share.
    pub surroundings: Surroundings,
    /// What shards report by.
    pub reporting: mpsc::UnboundedSender<ShardReport>,
    reports: mpsc::UnboundedReceiver<ShardReport>,
    finish: watch::Sender<bool>,
    /// What tells shards to finish.
    pub finishing: watch::Receiver<bool>,
}

/// What a driver knows of its run that the other does not.
pub struct Driven<'a> {
    /// The run folder.
    pub folder: &'a Path,
    /// Where steps are logged.
    pub log: Rc<RefCell<EventLog>>,
    /// The server, where it can be restarted.
    pub server: Option<Rc<dyn ServerProcess>>,
    /// Its disk, where that can be made to fail.
    pub disk: Option<Arc<Disk>>,
    /// Who sees what the server answers, where it is in this process.
    pub witness: Option<Arc<Witness>>,
    /// How many shards were started.
    pub shards: usize,
    /// The newest stored heartbeat before the run.
    pub stored_before: i64,
    /// Whether the server is the run's own, so that nobody else can have stored anything.
    pub is_alone: bool,
    /// Rehearsals that go on in this process at a time.
    pub rehearsals: u64,
    /// As of [`Run::is_trial`].
    pub is_trial: bool,
}

impl<'a> Begun<'a> {
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
            models: fleet::names(&plan.fleet.models),
            sites: fleet::names(&plan.fleet.sites),
            connections: plan.fleet.connections,
            shards,
            ticks: Ticks::of(plan),
        }
    }

    /// The run, once its shards are started.
    pub fn conducted(self, driven: Driven<'a>) -> Run<'a> {
        let Driven { folder, log, server, disk, witness, shards, stored_before, is_alone, rehearsals, is_trial } =
            driven;
        let Surroundings { time, network_faults, stop } = self.surroundings;
        let run_context = RunContext {
            time,
            operator: Rc::new(self.operator),
            watcher: self.watcher,
            network_faults,
            devices: Rc::new(self.names),
            server,
            disk,
            witness,
            log,
            failures: Rc::default(),
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
        }
    }
}

/// What all shards share.
#[derive(Clone)]
pub struct Surroundings {
    /// The run's time.
    pub time: RunTime,
    pub network_faults: Arc<NetworkFaults>,
    /// Tells devices to schedule no more beats.
    pub stop: Arc<AtomicBool>,
}

/// The surroundings of one shard's devices.
pub fn shard(
    plan: &Plan,
    with: Surroundings,
    timer: Rc<dyn Timer>,
    log: Option<Rc<RefCell<EventLog>>>,
    is_captured: bool,
) -> Shard {
    let Surroundings { time, network_faults, stop } = with;
    Shard {
        time,
        timer,
        ends_at: time.started + plan.duration,
        interval: plan.fleet.heartbeat_interval,
        answer_timeout: plan.fleet.answer_timeout,
        shifts: shifts(plan),
        trusted: RefCell::default(),
        ground_truth: GroundTruth::of(plan),
        network_faults,
        measurements: RefCell::new(Measurements::default()),
        stopped: stop,
        log,
        is_captured,
        captured: RefCell::new(VecDeque::new()),
    }
}

/// When people punch at every device, and how often at each.
fn shifts(plan: &Plan) -> Vec<(Duration, u32)> {
    let punches = plan.timeline.iter().filter_map(|timed| match &timed.step {
        Step::Punch(Punch { per_device }) => Some((timed.at, *per_device)),
        _ => None,
    });
    punches.collect()
}
