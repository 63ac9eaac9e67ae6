//! A load run: real time, sockets, an embedded server or somebody else's, devices spread over threads.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    net::{Ipv4Addr, SocketAddr, ToSocketAddrs},
    path::Path,
    rc::Rc,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use actix::{Arbiter, System};
use ks_protocol::{id::DeviceId, number::digits, text::hex};
use ks_reports::run_folder::{EVENTS, Mode, Summary};
use ks_server::clock::{Clock, SystemClock};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};

use crate::{
    adversary::HELD_MAX,
    conductor::{Reports, Run},
    console::{Console, devices},
    embedded::EmbeddedServer,
    event_log::EventLog,
    failure::Failure,
    fleet::{self, Caller, DeviceSpec, Provisioned, ShardPlan, ShardReport},
    folder,
    link::{
        Network,
        faults::Weather,
        socket::{SocketNetwork, source_address},
    },
    measure::Measurements,
    operator::{AnswerTimeouts, Operator, OperatorError},
    scenario::{self, Addresses, AdversaryKind, Connections, HeartbeatInterval, Otrt, Plan},
    self_watch::{self, Resources, Stopwatch},
    server_process::ServerProcess,
    shard::{RunTime, Shard},
    summary::{About, summarise},
    ticks::Ticks,
    timeline::{Punch, Stage, Step},
    timer::{self, Timer},
    truth::Truth,
};

/// Files that a process of a run has open besides its connections, at most.
const OTHER_FILES: u64 = 64;

/// How long a target may take to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// After how long the next address of a target is tried too.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);
/// Addresses of a target that are tried at most.
const ADDRESSES_MAX: usize = 16;

/// Somebody else's server.
#[derive(Debug, Clone)]
pub struct Target {
    /// `http://HOST:PORT`.
    pub url: String,
    /// Its admin token.
    pub admin_token: String,
    /// How long its answers are waited for.
    pub timeouts: AnswerTimeouts,
    /// Where it may be; the one that answers, once that is known.
    addresses: Vec<SocketAddr>,
}

impl Target {
    /// A server at a URL.
    ///
    /// # Errors
    /// The URL is not `http://HOST:PORT`, or its host has no address, which is a target that can't be reached.
    pub fn new(url: String, admin_token: String) -> Result<Self, Failure> {
        let bad = |why: &str| Failure::BadRequest(format!("--target is `{url}`: {why}; expected http://HOST:PORT"));
        let uri: hyper::Uri = url.parse().map_err(|_| bad("it is not a URL"))?;
        let authority = uri.authority().ok_or_else(|| bad("it names no host"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(bad("TLS ends at a proxy, and devices are simulated behind it")),
            _ => return Err(bad("it does not begin with http://")),
        }
        if authority.as_str().contains('@') {
            return Err(bad("it has a user in it; the admin token goes into ADMIN_TOKEN"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(bad("it has a path in it"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let port = match authority.as_str().rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) {
            Some((_, port)) => digits::<u16>(port).filter(|port| *port > 0).ok_or_else(|| bad("its port is none"))?,
            None => 80,
        };
        let unreachable = |why: String| Failure::Unreachable { target: url.clone(), why };
        let resolved = (host, port).to_socket_addrs();
        let resolved = resolved.map_err(|error| unreachable(format!("its host `{host}` has no address ({error})")))?;
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in resolved {
            if !addresses.contains(&address) && addresses.len() < ADDRESSES_MAX {
                addresses.push(address);
            }
        }
        if addresses.is_empty() {
            return Err(unreachable(format!("its host `{host}` has no address")));
        }
        Ok(Self { url, admin_token, timeouts: AnswerTimeouts::DEFAULT, addresses })
    }

    /// The target at the first of its addresses that takes a connection.
    ///
    /// # Errors
    /// None does; each is named.
    pub fn reached(mut self) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|cause| Failure::Machine { what: "start a runtime", cause })?;
        match runtime.block_on(first_to_answer(&self.addresses)) {
            Ok(address) => self.addresses = vec![address],
            Err(why) => return Err(Failure::Unreachable { target: self.url, why }),
        }
        Ok(self)
    }
}

/// The address whose connection is made first; each is tried a moment after the one before it, which is what RFC 8305 asks of
/// who meets a host of several addresses.
///
/// # Errors
/// What became of each.
async fn first_to_answer(addresses: &[SocketAddr]) -> Result<SocketAddr, String> {
    let mut attempts = JoinSet::new();
    for (number, address) in (0..).zip(addresses.iter().copied()) {
        attempts.spawn(async move {
            tokio::time::sleep(NEXT_ADDRESS_AFTER * number).await;
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
            let why = match connected {
                Ok(Ok(_)) => None,
                Ok(Err(error)) => Some(format!("{address}: {error}")),
                Err(_) => Some(format!("{address}: no connection within {} s", CONNECT_TIMEOUT.as_secs())),
            };
            (address, why)
        });
    }
    let mut failed = BTreeMap::new();
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok((address, None)) => return Ok(address),
            Ok((address, Some(why))) => drop(failed.insert(address, why)),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(failed.into_values().collect::<Vec<_>>().join("; "))
}

/// Settings that a run gives its own server: the scenario's, and what follows from its fleet.
pub fn server_settings(plan: &Plan, admin_token: &str) -> BTreeMap<String, String> {
    let mut settings = plan.server.clone();
    if let HeartbeatInterval::Fixed(interval) = plan.fleet.heartbeat_interval {
        settings.entry("HEARTBEAT_INTERVAL_MS".to_owned()).or_insert_with(|| interval.as_millis().to_string());
    }
    // Retention would take away what the ledger still has to find.
    let days = plan.duration.as_secs() / 86_400 + 2;
    settings.entry("HEARTBEAT_RETENTION_DAYS".to_owned()).or_insert_with(|| days.max(30).to_string());
    settings.entry("OTRT_REQUIRED".to_owned()).or_insert_with(|| (plan.fleet.otrt != Otrt::None).to_string());
    settings.insert("ADMIN_TOKEN".to_owned(), admin_token.to_owned());
    settings
}

/// Runs the plan under load and gives its summary; the run folder has everything else.
pub fn run(
    plan: &Plan,
    target: Option<&Target>,
    out: &Path,
    replay: String,
    interrupted: Arc<AtomicBool>,
    quiet: bool,
) -> Result<Summary, Failure> {
    ks_server::edge::raise_open_files_limit();
    check_open_files(plan)?;
    let stopwatch = Stopwatch::started();
    let server = Server::find(plan, target, out)?;
    let network = Arc::new(SocketNetwork::new(server.address));
    let mut console = Console::new(quiet, interrupted, network.open_sockets());
    console.say(&format!("{}: {} against {}", plan.name, devices(plan.fleet.devices.into()), server.described));
    let log = EventLog::create(&out.join(EVENTS));
    let log = log.map_err(|cause| Failure::File { what: "write", path: out.join(EVENTS), cause })?;
    let log = Rc::new(RefCell::new(log));
    let (cpu_before, server_cpu_before) = (self_watch::own_cpu_s(), server.cpu_s());

    let played = System::new().block_on(async {
        let waiting_for = RefCell::new(String::new());
        let mut run = tokio::select! {
            biased;
            prepared = prepare(plan, &server, network, out, &log, &waiting_for) => prepared?,
            () = console.interrupted(&waiting_for) => return Err(Failure::Interrupted("the fleet was being provisioned")),
        };
        run.stage.server = server.process.clone().map(|process| process as Rc<dyn ServerProcess>);
        let epoch = run.time.epoch;
        let played = run.play(&mut console).await;
        played.map(|played| (played, epoch)).map_err(|cause| Failure::File {
            what: "write",
            path: out.to_owned(),
            cause,
        })
    });
    let (played, started_at) = played?;
    let finished = Rc::into_inner(log).map(|log| log.into_inner().finish());
    if let Some(Err(cause)) = finished {
        return Err(Failure::File { what: "write", path: out.join(EVENTS), cause });
    }
    let resources = Resources {
        cpu_s: self_watch::own_cpu_s() - cpu_before,
        server_cpu_s: server.cpu_s().zip(server_cpu_before).map(|(after, before)| after - before),
        server_rss_bytes: played.server_rss_bytes,
        sockets_max: played.sockets_max,
    };
    let about = About {
        plan,
        mode: Mode::Load,
        target: server.described.clone(),
        started_at,
        wall: stopwatch.elapsed(),
        resources,
        event_log_sha256: None,
        replay,
        notes: notes(plan, target),
    };
    Ok(summarise(about, played))
}

/// Refuses a run that this machine has too few sockets for, before anything starts. The server's process has the same limit.
fn check_open_files(plan: &Plan) -> Result<(), Failure> {
    let adversaries: u64 = plan.adversaries.iter().map(connections_of).sum();
    let connections = match plan.fleet.connections {
        Connections::PerDevice => u64::from(plan.fleet.devices),
        Connections::Shared(count) => count.into(),
    };
    let needed = connections + adversaries + OTHER_FILES;
    match self_watch::open_files_max() {
        Some(max) if max < needed => Err(Failure::OpenFiles { needed, max }),
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

/// What a reader of the report must know.
fn notes(plan: &Plan, target: Option<&Target>) -> Vec<String> {
    let is_ignored = target.is_some() && !plan.server.is_empty();
    let names = || plan.server.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let note =
        || format!("The scenario's [server] settings ({}) did not apply: the target has settings of its own.", names());
    is_ignored.then(note).into_iter().collect()
}

/// The server of a run.
struct Server {
    described: String,
    address: SocketAddr,
    admin_token: String,
    timeouts: AnswerTimeouts,
    process: Option<Rc<EmbeddedServer>>,
}

impl Server {
    fn find(plan: &Plan, target: Option<&Target>, out: &Path) -> Result<Self, Failure> {
        if let Some(Target { url, admin_token, timeouts, addresses }) = target.cloned() {
            let nowhere = || Failure::Unreachable { target: url.clone(), why: "its host has no address".to_owned() };
            let address = *addresses.first().ok_or_else(nowhere)?;
            return Ok(Self { described: url, address, admin_token, timeouts, process: None });
        }
        let seed = ks_server::edge::os_randomness().map_err(|error| Failure::Server(error.to_string()))?;
        let admin_token = hex(&seed);
        let settings = server_settings(plan, &admin_token);
        let process = EmbeddedServer::start(settings, out.join(folder::SERVER_LOG)).map_err(Failure::Server)?;
        let address = process.address();
        let described = "embedded server, a process of its own".to_owned();
        let timeouts = AnswerTimeouts::DEFAULT;
        Ok(Self { described, address, admin_token, timeouts, process: Some(Rc::new(process)) })
    }

    fn cpu_s(&self) -> Option<f64> {
        self.process.as_ref().and_then(|process| process.cpu_s())
    }
}

/// Addresses over sockets: devices share loopback, each adversary has one of its own.
fn addresses(target: SocketAddr, caller: Caller) -> SocketAddr {
    match caller {
        Caller::Operator => source_address(target, 0),
        Caller::Device(number) => source_address(target, number),
        Caller::Adversary(number) => {
            let mut address = source_address(target, 0);
            if address.ip().is_loopback() {
                address.set_ip(Ipv4Addr::from_bits(0x7f42_0001 + number).into()); // 127.66.0.1 and on
            }
            address
        }
    }
}

/// Provisions the fleet and starts its shards, each on a thread of its own.
async fn prepare<'a>(
    plan: &'a Plan,
    server: &Server,
    network: Arc<SocketNetwork>,
    out: &'a Path,
    log: &Rc<RefCell<EventLog>>,
    waiting_for: &RefCell<String>,
) -> Result<Run<'a>, Failure> {
    let unusable = |error: OperatorError| {
        let (target, why) = (server.described.clone(), error.to_string());
        match error {
            OperatorError::Unreachable { .. } => Failure::Unreachable { target, why },
            OperatorError::TimedOut { .. } => Failure::TooSlow { target, why },
            OperatorError::Unintelligible { .. } | OperatorError::Refused { status: 300..400 | 404 | 405, .. } => {
                Failure::NotOurs { target, why }
            }
            OperatorError::Refused { status: 500.., .. } => Failure::TargetFailed { target, why },
            OperatorError::Refused { .. } => Failure::Target { target, why },
        }
    };
    let from = addresses(server.address, Caller::Operator);
    let operator = Operator::new(&*network, from, &server.admin_token).waiting(server.timeouts);
    let watcher = Operator::new(&*network, from, &server.admin_token).waiting(server.timeouts);
    let devices = fleet::devices(plan).map_err(|error| Failure::BadRequest(error.to_string()))?;
    let tell = |what| drop(waiting_for.replace(what));
    let mad_devices = fleet::mad_devices(plan).map_err(|error| Failure::BadRequest(error.to_string()))?;
    let provisioned = fleet::provision(plan, &devices, &mad_devices, &operator, SystemClock.now(), tell).await;
    let provisioned = Arc::new(provisioned.map_err(unusable)?);
    let stored_before = operator.last_heartbeat_row().await.map_err(unusable)?;
    let time = RunTime { started: Instant::now(), epoch: SystemClock.now() };
    let weather = Arc::new(Weather::fair(plan.fleet.sites.len()));
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, reports) = mpsc::unbounded_channel();
    let (finish, finishing) = watch::channel(false);
    let names: Vec<DeviceId> = devices.iter().map(|device| device.device_id.clone()).collect();
    let shards = split(plan, devices, &names, &provisioned, network, server.address);
    let count = shards.len();
    for shard_plan in shards {
        let surroundings = Surroundings { time, weather: Arc::clone(&weather), stop: Arc::clone(&stop) };
        start_shard(plan, shard_plan, surroundings, sender.clone(), finishing.clone());
    }
    let stage = Stage {
        time,
        operator: Rc::new(operator),
        watcher,
        weather,
        devices: Rc::new(names),
        server: None,
        disk: None,
        witness: None,
        log: Rc::clone(log),
        failures: Rc::default(),
        played: Cell::default(),
        has_failed: Cell::default(),
    };
    let (reports, is_alone) = (Reports::of(reports, count), server.process.is_some());
    Ok(Run {
        plan,
        folder: out,
        time,
        stage,
        reports,
        finish,
        stop,
        stored_before,
        is_alone,
        rehearsals: 1,
        is_trial: false,
    })
}

/// One shard for each core, the devices dealt out in turn, so that each has its part of the ramp; and one for adversaries, so
/// that no honest device waits for one of them. Those that listen in are among devices.
fn split(
    plan: &Plan,
    devices: Vec<DeviceSpec>,
    names: &[DeviceId],
    provisioned: &Arc<Provisioned>,
    network: Arc<SocketNetwork>,
    target: SocketAddr,
) -> Vec<ShardPlan> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let connections = match plan.fleet.connections {
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
    let network: Arc<dyn Network> = network;
    let (listening, apart): (Vec<_>, Vec<_>) =
        fleet::adversaries(plan).into_iter().partition(|adversary| adversary.part.kind.listens_in());
    let mut adversaries = BTreeMap::from([(0, listening)]);
    if !apart.is_empty() {
        dealt.push(Vec::new());
        adversaries.insert(count, apart);
    }
    let shard = |(number, devices): (usize, Vec<DeviceSpec>)| ShardPlan {
        number,
        devices,
        adversaries: adversaries.remove(&number).unwrap_or_default(),
        victims: if number == 0 || number == count { names.to_vec() } else { Vec::new() },
        provisioned: Arc::clone(provisioned),
        network: Arc::clone(&network),
        addresses,
        target,
        seed: plan.seed,
        id_prefix: plan.fleet.id_prefix.clone(),
        firmware_version: plan.fleet.firmware_version.clone(),
        models: fleet::names(&plan.fleet.models),
        sites: fleet::names(&plan.fleet.sites),
        connections: plan.fleet.connections,
        shards: count,
        ticks: Ticks::of(plan),
    };
    dealt.into_iter().enumerate().map(shard).collect()
}

/// What all shards share.
pub struct Surroundings {
    /// The run's time.
    pub time: RunTime,
    /// The network's weather.
    pub weather: Arc<Weather>,
    /// Tells devices to schedule no more beats.
    pub stop: Arc<AtomicBool>,
}

/// The surroundings of one shard's devices.
pub fn shard(
    plan: &Plan,
    with: Surroundings,
    timer: Rc<dyn Timer>,
    log: Option<Rc<RefCell<EventLog>>>,
    is_overheard: bool,
) -> Shard {
    let Surroundings { time, weather, stop } = with;
    Shard {
        time,
        timer,
        ends_at: time.started + plan.duration,
        interval: plan.fleet.heartbeat_interval,
        answer_timeout: plan.fleet.answer_timeout,
        shifts: shifts(plan),
        trusted: RefCell::default(),
        truth: Truth::of(plan),
        weather,
        measurements: RefCell::new(Measurements::default()),
        stopped: stop,
        log,
        is_overheard,
        overheard: RefCell::new(VecDeque::new()),
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

fn start_shard(
    plan: &Plan,
    shard_plan: ShardPlan,
    with: Surroundings,
    reports: mpsc::UnboundedSender<ShardReport>,
    finish: watch::Receiver<bool>,
) {
    let plan = plan.clone();
    // The arbiter lives on its thread until the system ends; the handle need not be kept.
    let arbiter = Arbiter::new();
    arbiter.spawn_fn(move || {
        let is_overheard = shard_plan.adversaries.iter().any(|adversary| adversary.part.kind.listens_in());
        let shard = Rc::new(shard(&plan, with, timer::finest(), None, is_overheard));
        actix::spawn(fleet::run_shard(shard_plan, shard, reports, finish));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_address_of_a_target_is_tried_and_named() {
        let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let closed = tokio::net::TcpListener::bind("127.0.0.2:0").await.unwrap();
        let (there, nobody) = (listening.local_addr().unwrap(), closed.local_addr().unwrap());
        drop(closed);
        assert_eq!(first_to_answer(&[nobody, there]).await, Ok(there));
        drop(listening);
        let why = first_to_answer(&[nobody, there]).await.unwrap_err();
        assert!(why.contains(&nobody.to_string()) && why.contains(&there.to_string()), "{why}");
    }
}
