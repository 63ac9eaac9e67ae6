//! A load run: real time, sockets, an embedded server or an external one, devices spread over threads.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    net::SocketAddr,
    path::Path,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
};

use actix::{Arbiter, System};
use ks_protocol::text::hex;
use ks_reports::run_folder::{ClockOffset, EVENTS, EventsKept, Mode, Summary};
use ks_server::clock::{Clock, SystemClock};
use tokio::sync::{mpsc, watch};

use super::target::Target;
use crate::{
    adversary::HELD_MAX,
    conductor::Run,
    console::Console,
    failure::Failure,
    fleet::{self, Caller, DeviceSpec, ShardPlan, ShardReport},
    host::{resources, stopwatch::Stopwatch, timer},
    link::{
        endpoint::Endpoint,
        socket::{SocketNetwork, loopback_address, source_address},
    },
    number::counted,
    operator::{AnswerTimeouts, ObservedLimits, Operator, OperatorError},
    run::{
        event_log::EventLog,
        folder,
        generator::Resources,
        live_metrics::LiveMetrics,
        summary::{RunFacts, summarise},
    },
    scenario::{self, Addresses, AdversaryKind, Connections, Plan, Timing},
    segment::{
        Segment,
        running::{self, SegmentRun},
        start,
    },
    server_under_test::{
        embedded::EmbeddedServer,
        process::ServerProcess,
        samples::{self, Samples},
    },
    setup::{DriverParts, ProvisionError, ServerAccess, Setup, SharedState, StartedRun, shard},
};

/// Limit of files a run's process has open besides its connections.
const OTHER_FILES: u64 = 64;

pub struct LoadRun<'a> {
    pub plan: &'a Plan,
    /// An external server; none to start one for the run.
    pub target: Option<&'a Target>,
    pub out: &'a Path,
    /// The command that repeats the run.
    pub replay: String,
    pub events: EventsKept,
    /// Set by the user to stop the run.
    pub interrupted: Arc<AtomicBool>,
    pub quiet: bool,
    /// What the run is a part of, before each line of progress; may be empty.
    pub progress: String,
    /// Where samples of the server go, if any are wanted.
    pub samples: Option<Samples>,
    /// Where the run's own metrics are served meanwhile.
    pub metrics_listen: Option<SocketAddr>,
    /// The segment of a fleet that it is, if it is not all of it; only with a target.
    pub segment: Option<SegmentRun<'a>>,
}

/// Runs the plan under load and returns its summary; everything else is in the run folder.
///
/// # Errors
/// The run could not begin, or a file of its folder can't be written.
pub fn run(of: LoadRun<'_>) -> Result<Summary, Failure> {
    let LoadRun { plan, target, out, replay, events, interrupted, quiet, progress, samples, metrics_listen, segment } =
        of;
    ks_server::edge::raise_open_files_limit();
    let part = segment.as_ref().map(|of| of.segment);
    check_open_files(plan, part)?;
    let stopwatch = Stopwatch::started();
    let server = Server::find(plan, target, out)?;
    refuse_raw_sockets(plan, &server.endpoint)?;
    let network = Arc::new(SocketNetwork::new(server.endpoint.clone()));
    let console = Console::new(quiet, interrupted, network.open_sockets()).of_part(progress);
    let devices = part.map_or(plan.fleet.devices, |part| part.devices(plan.fleet.devices));
    let which = part.map_or_else(String::new, |part| format!(" (segment {} of {})", part.number(), part.of()));
    console.print(&format!("{}{which}: {} against {}", plan.name, counted(devices, "device"), server.described));
    let log = EventLog::create(out, events);
    let log = log.map_err(|cause| Failure::File { what: "write", path: out.join(EVENTS), cause })?;
    let log = Rc::new(RefCell::new(log));
    let (cpu_before, server_cpu_before) = (resources::own_cpu_s(), server.cpu_s());

    let played = System::new().block_on(async {
        let live = metrics_listen.map(|listen| LiveMetrics::serve(listen, plan)).transpose()?;
        if let Some(live) = &live {
            console.print(&format!("metrics of this run: http://{}/metrics", live.address));
        }
        let mut console = console.with_metrics(live);
        let waiting_for = RefCell::new(String::new());
        let (run, clock) = tokio::select! {
            biased;
            prepared = prepare(plan, &server, network, (out, &log), (samples, segment), &waiting_for) => prepared?,
            () = console.interrupted(&waiting_for) => return Err(Failure::Interrupted("the fleet was being provisioned, or waited for its start")),
        };
        let epoch = run.time.epoch;
        let played = run.play(&mut console).await;
        played.map(|played| (played, epoch, clock)).map_err(|cause| Failure::File {
            what: "write",
            path: out.to_owned(),
            cause,
        })
    });
    let (played, started_at, clock) = played?;
    let finished = Rc::into_inner(log).map(|log| log.into_inner().finish());
    if let Some(Err(cause)) = finished {
        return Err(Failure::File { what: "write", path: out.join(EVENTS), cause });
    }
    let resources = Resources {
        cpu_s: resources::own_cpu_s() - cpu_before,
        server_cpu_s: server.cpu_s().zip(server_cpu_before).map(|(after, before)| after - before),
        server_rss_bytes: played.server_rss_bytes,
        sockets_max: played.sockets_max,
        rss_bytes: resources::peak_rss_bytes(),
    };
    let about = RunFacts {
        plan,
        mode: Mode::Load,
        target: server.described.clone(),
        started_at,
        wall: stopwatch.elapsed(),
        resources,
        events_kept: events,
        event_log_sha256: None,
        replay,
        notes: notes(plan, target, clock.filter(|_| part.is_none())),
        doubts: Vec::new(),
    };
    let summary = summarise(about, played);
    Ok(match part {
        Some(part) => running::described(part, clock, &server.described, summary),
        None => summary,
    })
}

/// The limits that are in force at a server, in a system of actix.
///
/// # Errors
/// It does not answer, or not as a server of this version.
pub async fn limits_at(target: &Target) -> Result<ObservedLimits, OperatorError> {
    let Ok(endpoint) = target.endpoint() else { return Ok(ObservedLimits::default()) };
    let address = endpoint.address;
    let network = SocketNetwork::new(endpoint);
    let operator = target.operator(&network, address);
    let limits = operator.limits().await;
    operator.close();
    limits
}

/// The most devices that this machine has open files for, each with a connection of its own; none if there is no limit.
pub fn devices_max(plan: &Plan) -> Option<u64> {
    ks_server::edge::raise_open_files_limit();
    match plan.fleet.connections {
        Connections::PerDevice => resources::open_files_max().map(|max| max.saturating_sub(OTHER_FILES)),
        Connections::Shared(_) => None,
    }
}

/// Refuses a run for which this machine has too few sockets, before anything starts. The server's process has the same limit.
fn check_open_files(plan: &Plan, part: Option<Segment>) -> Result<(), Failure> {
    let has_adversaries = part.is_none_or(Segment::is_first);
    let adversaries: u64 = plan.adversaries.iter().filter(|_| has_adversaries).map(connections_of).sum();
    let connections = part.map_or(plan.fleet.connections, |part| part.connections(plan.fleet.connections));
    let connections = match connections {
        Connections::PerDevice => u64::from(part.map_or(plan.fleet.devices, |part| part.devices(plan.fleet.devices))),
        Connections::Shared(count) => count.into(),
    };
    let needed = connections + adversaries + OTHER_FILES;
    match resources::open_files_max() {
        Some(max) if max < needed => Err(Failure::OpenFiles { needed, max }),
        _ => Ok(()),
    }
}

/// Refuses adversaries that write to the server's own socket, where something else is before it: they would attack that.
fn refuse_raw_sockets(plan: &Plan, endpoint: &Endpoint) -> Result<(), Failure> {
    let is_raw =
        |part: &&scenario::Adversary| matches!(part.kind, AdversaryKind::HalfRequest | AdversaryKind::SlowBody);
    match plan.adversaries.iter().find(is_raw) {
        Some(part) if !endpoint.is_bare() => Err(Failure::Impossible {
            why: format!(
                "the adversary `{}` writes unfinished requests to the server's own port, without TLS",
                part.kind.as_str()
            ),
            help: "give --target the server's own http://HOST:PORT, or leave this adversary out",
        }),
        _ => Ok(()),
    }
}

/// Connections that the adversaries of one table have open, about: one from each address, or all that they hold.
fn connections_of(part: &scenario::Adversary) -> u64 {
    let holds = matches!(part.kind, AdversaryKind::HalfRequest | AdversaryKind::SlowBody);
    let each = if holds { u64::try_from(HELD_MAX).unwrap_or(u64::MAX) } else { 1 };
    let addresses = if let Addresses::Some(addresses) = part.addresses { addresses.into() } else { 0 };
    (u64::from(part.count) * each).max(addresses)
}

/// A clock that is further away from the target's than this is noted.
const CLOCKS_APART_MS: u64 = 1_000;

/// Notes for readers of the report.
fn notes(plan: &Plan, target: Option<&Target>, clock: Option<ClockOffset>) -> Vec<String> {
    let is_ignored = target.is_some() && !plan.server.is_empty();
    let names = || plan.server.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let settings =
        || format!("The scenario's [server] settings ({}) did not apply: the target has settings of its own.", names());
    let clock = clock.filter(|clock| clock.ahead_ms.unsigned_abs() > CLOCKS_APART_MS);
    let clock = clock.map(|clock| {
        format!("The clock of this machine was {clock}; times that the server stored are taken as its own.")
    });
    is_ignored.then(settings).into_iter().chain(clock).collect()
}

/// The server of a run.
struct Server {
    described: String,
    endpoint: Endpoint,
    admin_token: String,
    timeouts: AnswerTimeouts,
    process: Option<Rc<EmbeddedServer>>,
}

impl Server {
    fn find(plan: &Plan, target: Option<&Target>, out: &Path) -> Result<Self, Failure> {
        if let Some(target) = target {
            let Target { url, admin_token, timeouts, .. } = target.clone();
            return Ok(Self { described: url, endpoint: target.endpoint()?, admin_token, timeouts, process: None });
        }
        let seed = ks_server::edge::os_randomness().map_err(|error| Failure::Server(error.to_string()))?;
        let admin_token = hex(&seed);
        let settings = plan.server_settings(&admin_token);
        let process = EmbeddedServer::start(settings, out.join(folder::SERVER_LOG)).map_err(Failure::Server)?;
        let endpoint = Endpoint::plain(process.address());
        let described = "embedded server, a process of its own".to_owned();
        let timeouts = AnswerTimeouts::DEFAULT;
        Ok(Self { described, endpoint, admin_token, timeouts, process: Some(Rc::new(process)) })
    }

    /// Why the server is unusable, from its answer to provisioning.
    fn unusable(&self, error: &OperatorError) -> Failure {
        let (target, why) = (self.described.clone(), error.to_string());
        match error {
            OperatorError::Unreachable { .. } => Failure::Unreachable { target, why },
            OperatorError::TimedOut { .. } => Failure::TooSlow { target, why },
            OperatorError::Unintelligible { .. } | OperatorError::Refused { status: 300..400 | 404 | 405, .. } => {
                Failure::NotOurs { target, why }
            }
            OperatorError::Refused { status: 500.., .. } => Failure::TargetFailed { target, why },
            OperatorError::Refused { .. } => Failure::Target { target, why },
        }
    }

    /// An operator of it, on a link of its own.
    fn operator(&self, network: &SocketNetwork) -> Operator {
        Operator::new(network, source_address(self.endpoint.address, 0), &self.admin_token).waiting(self.timeouts)
    }

    fn cpu_s(&self) -> Option<f64> {
        self.process.as_ref().and_then(|process| process.cpu_s())
    }
}

/// Addresses over sockets: devices share loopback addresses, each adversary has its own.
fn addresses(target: SocketAddr, caller: Caller) -> SocketAddr {
    match caller {
        Caller::Operator => source_address(target, 0),
        Caller::Device(number) => source_address(target, number),
        Caller::Adversary(number) => loopback_address(target, 0x7f42_0001 + number), // 127.66.0.1 and on
        Caller::Site(number) => loopback_address(target, 0x7f43_0001 + number),      // 127.67.0.1 and on
    }
}

/// Provisions the fleet and starts its shards, each on a thread of its own.
async fn prepare<'a>(
    plan: &'a Plan,
    server: &Server,
    network: Arc<SocketNetwork>,
    (out, log): (&'a Path, &Rc<RefCell<EventLog>>),
    (samples, segment): (Option<Samples>, Option<SegmentRun<'a>>),
    waiting_for: &RefCell<String>,
) -> Result<(Run<'a>, Option<ClockOffset>), Failure> {
    let sampler = samples.map(|samples| (server.operator(&network), samples));
    let way = ServerAccess {
        network,
        target: server.endpoint.address,
        addresses,
        admin_token: server.admin_token.clone(),
        timeouts: server.timeouts,
    };
    let report = |what| drop(waiting_for.replace(what));
    let part = segment.as_ref().map(|of| of.segment);
    let mut joining = match segment {
        Some(segment) => Some(
            segment
                .look(&way.operator(), report)
                .await
                .map_err(|error| error.failure(|error| server.unusable(error)))?,
        ),
        None => None,
    };
    let setup = Setup::provision(plan, part, way, SystemClock.now(), report).await.map_err(|error| match error {
        ProvisionError::Name(error) => Failure::BadRequest(error.to_string()),
        ProvisionError::Operator(error) => server.unusable(&error),
    })?;
    let stored_before = setup.operator.last_heartbeat_row().await.map_err(|error| server.unusable(&error))?;
    if let Some(joining) = &mut joining {
        let waited = joining.wait(&setup.operator, report).await;
        waited.map_err(|error| error.failure(|error| server.unusable(error)))?;
    }
    let clock = match &joining {
        Some(joining) => Some(joining.clock),
        // Times that the server stores are by its clock; one that does not say its time is taken to be right.
        None if server.process.is_none() => start::clock_offset(&setup.operator).await.ok(),
        None => None,
    };
    let (begun, devices) = setup.begin(SystemClock.now());
    let segment_file = joining.as_ref().map(|joining| joining.file(out, plan, begun.shared.time.epoch)).transpose()?;
    if let Some((operator, samples)) = sampler {
        actix::spawn(samples::take(operator, begun.shared.time, samples)); // ends with the system
    }
    let shards = split(&begun, devices);
    let count = shards.len();
    for shard_plan in shards {
        start_shard(plan, shard_plan, begun.shared.clone(), begun.reporting.clone(), begun.finishing.clone());
    }
    let epoch = begun.shared.time.epoch;
    let server_epoch = clock.map_or(epoch, |clock| start::by_target_clock(epoch, clock));
    let run = begun.conducted(DriverParts {
        folder: out,
        log: Rc::clone(log),
        server: server.process.clone().map(|process| process as Rc<dyn ServerProcess>),
        disk: None,
        witness: None,
        shards: count,
        stored_before,
        is_alone: server.process.is_some(),
        rehearsals: 1,
        is_trial: false,
        // A run that measures times is as long as it says.
        ends_when_settled: plan.timing == Timing::Ignored,
        server_epoch,
        segment_file,
    });
    Ok((run, clock))
}

/// One shard for each core, the devices dealt out in turn, so that each has its part of the ramp; and one for adversaries, so
/// that no honest device waits for one of them. Adversaries that eavesdrop run among devices.
fn split(begun: &StartedRun<'_>, devices: Vec<DeviceSpec>) -> Vec<ShardPlan> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let connections = match begun.connections() {
        Connections::PerDevice => devices.len(),
        Connections::Shared(count) => count.into(), // a shard has at least one
    };
    let count = cores.min(devices.len()).min(connections).max(1);
    let mut dealt: Vec<Vec<DeviceSpec>> = vec![Vec::new(); count];
    for (device, shard) in devices.into_iter().zip((0..count).cycle()) {
        if let Some(hand) = dealt.get_mut(shard) {
            hand.push(device);
        }
    }
    let (listening, separate): (Vec<_>, Vec<_>) =
        begun.adversaries().into_iter().partition(|adversary| adversary.part.kind.needs_captured());
    let mut adversaries = BTreeMap::from([(0, listening)]);
    if !separate.is_empty() {
        dealt.push(Vec::new());
        adversaries.insert(count, separate);
    }
    let shard = |(number, devices): (usize, Vec<DeviceSpec>)| ShardPlan {
        adversaries: adversaries.remove(&number).unwrap_or_default(),
        victims: if number == 0 || number == count { begun.names.clone() } else { Vec::new() },
        ..begun.shard_plan(number, devices, count)
    };
    dealt.into_iter().enumerate().map(shard).collect()
}

fn start_shard(
    plan: &Plan,
    shard_plan: ShardPlan,
    with: SharedState,
    reports: mpsc::UnboundedSender<ShardReport>,
    finish: watch::Receiver<bool>,
) {
    let plan = plan.clone();
    // The arbiter lives on its thread until the system ends; the handle need not be kept.
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(move || {
        let is_captured = shard_plan.adversaries.iter().any(|adversary| adversary.part.kind.needs_captured());
        let shard = Rc::new(shard(&plan, with, timer::finest(), None, is_captured));
        actix::spawn(fleet::run_shard(shard_plan, shard, reports, finish));
    });
}
