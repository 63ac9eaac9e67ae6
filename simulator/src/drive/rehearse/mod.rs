//! A rehearsal: the server's own router, limiter and store in this process, one thread, tokio's paused clock.

pub mod disk;
mod server;

use std::{
    cell::RefCell,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    rc::Rc,
    sync::Arc,
};

use actix::System;
use ks_protocol::modelled;
use ks_reports::run_folder::{EVENTS, EventsKept, Mode, Summary};
use ks_server::config::{Config, Locking};

use server::VirtualServer;

use crate::{
    conductor::RunOutcome,
    console::Console,
    failure::Failure,
    fleet::{self, Caller, ShardPlan},
    host::{resources, stopwatch::Stopwatch, temporary::Temporary, timer::SteppedTimer},
    invariants::Witness,
    limits::oracle::{SitePrefixes, Values},
    link::{in_process::InProcess, witnessed::Witnessed},
    number::counted,
    operator::AnswerTimeouts,
    run::{
        event_log::EventLog,
        generator::Resources,
        summary::{RunFacts, summarise},
    },
    scenario::{Addresses, Adversary, FleetAddresses, Plan},
    setup::{DriverParts, ProvisionError, ServerAccess, Setup, shard},
};

/// The operator's token; no outside caller can reach a router in this process.
const ADMIN_TOKEN: &str = "rehearsal-operator";
/// The address of a server that has none.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
const DATABASE: &str = "ks.sqlite";
/// A note for readers of every rehearsal's report.
const NOTE: &str = "A rehearsal calls the server's router in process: keep-alive, header time-outs and TCP backpressure are not part of it; load runs test those. Virtual latency is 0 where nothing delays it.";
/// The note for real signatures.
const REAL: &str = "Signatures are real: Ed25519, made and verified by both sides.";
/// The note for modelled signatures.
const MODELLED: &str =
    "Signatures are MODELLED: a keyed hash replaces Ed25519. What is signed and checked is the same; the cost is not.";

/// How documents are signed in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Signatures {
    /// Ed25519.
    Real,
    /// A keyed hash: several times as fast, for trials.
    Modelled,
}

impl Signatures {
    /// Makes this process sign this way; call once, before any key is made.
    pub fn choose(self) {
        if self == Self::Modelled {
            modelled::switch_on();
        }
    }

    /// How this process signs.
    pub fn chosen() -> Self {
        if modelled::is_on() { Self::Modelled } else { Self::Real }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::Modelled => "modelled",
        }
    }
}

/// A rehearsal to run.
#[derive(Debug)]
pub struct Rehearsal<'a> {
    pub plan: &'a Plan,
    pub out: &'a Path,
    /// A command that repeats this run.
    pub replay: String,
    /// Rehearsals running concurrently in this process, including this one.
    pub concurrent: u64,
    /// One of many, of which only the summary counts: ticks are not written down.
    pub is_trial: bool,
    /// It ends once nothing can change its result any more.
    pub ends_when_settled: bool,
    /// Which events are logged.
    pub events: EventsKept,
    /// The server's database is kept in the run folder.
    pub keeps_database: bool,
}

/// Rehearses the plan and returns its summary; everything else is in the run folder.
///
/// # Errors
/// The server did not start, or a file can't be written.
pub fn rehearse(rehearsal: Rehearsal<'_>, console: Console) -> Result<Summary, Failure> {
    rehearse_expecting(rehearsal, console, |in_force| in_force)
}

/// The same, with the limits that the oracle is to expect, given those in force: others than these are a planted bug.
fn rehearse_expecting(
    rehearsal: Rehearsal<'_>,
    mut console: Console,
    expected: fn(Values) -> Values,
) -> Result<Summary, Failure> {
    let Rehearsal { plan, out, .. } = rehearsal;
    let stopwatch = Stopwatch::started();
    let cpu_before = resources::own_cpu_s();
    let database = Temporary::make("rehearsal");
    let database = database.map_err(|cause| Failure::File { what: "create", path: std::env::temp_dir(), cause })?;
    let config = config(plan, database.path())?;
    let log = EventLog::create(out, rehearsal.events);
    let cannot_log = |cause| Failure::File { what: "write", path: out.join(EVENTS), cause };
    let log = Rc::new(RefCell::new(log.map_err(cannot_log)?));
    console.print(&format!("{}: rehearsing {}, seed {}", plan.name, counted(plan.fleet.devices, "device"), plan.seed));

    let paused = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.unwrap_or_else(|_| unreachable!("a runtime without I/O needs nothing from the system"))
    };
    let played = System::with_tokio_rt(paused).block_on(play(&rehearsal, config, expected, &log, &mut console))?;
    if rehearsal.keeps_database {
        keep(database.path(), out)?;
    }
    let finished = Rc::into_inner(log).map(|log| log.into_inner().finish()).transpose();
    let event_log_sha256 = finished.map_err(cannot_log)?.flatten();
    let resources = Resources {
        cpu_s: resources::own_cpu_s() - cpu_before,
        rss_bytes: resources::peak_rss_bytes(),
        ..Resources::default()
    };
    let about = RunFacts {
        plan,
        mode: Mode::Rehearse,
        target: "in process".to_owned(),
        started_at: plan.starts_at,
        wall: stopwatch.elapsed(),
        resources,
        events_kept: rehearsal.events,
        event_log_sha256,
        replay: rehearsal.replay,
        notes: vec![NOTE.to_owned(), if modelled::is_on() { MODELLED } else { REAL }.to_owned()],
        doubts: Vec::new(),
    };
    Ok(summarise(about, played))
}

/// Copies the database into the run folder, with its log if it has one.
fn keep(from: &Path, out: &Path) -> Result<(), Failure> {
    for name in [DATABASE.to_owned(), format!("{DATABASE}-wal")] {
        if from.join(&name).exists() {
            let kept = out.join(&name);
            std::fs::copy(from.join(&name), &kept).map_err(|cause| Failure::File {
                what: "write",
                path: kept,
                cause,
            })?;
        }
    }
    Ok(())
}

/// The server's settings: the scenario's, on a database that need not survive a power cut and that only this process uses.
fn config(plan: &Plan, database: &Path) -> Result<Config, Failure> {
    let mut settings = plan.server_settings(ADMIN_TOKEN);
    settings.insert("DATABASE_URL".to_owned(), format!("file:{}", database.join(DATABASE).display()));
    for (name, value) in [("STORE_SYNCHRONOUS", "off"), ("STORE_LOCKING", "exclusive")] {
        settings.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    let mut config = Config::from_map(&settings)
        .map_err(|wrong| Failure::Server(wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
    if config.sqlite.locking == Locking::Exclusive {
        config.sqlite.locking = Locking::Private; // the folder is new, and this process's own
    }
    Ok(config)
}

/// Addresses of a virtual network: the fleet shares one where it has neighbors behind the same NAT.
fn addresses_of(plan: &Plan) -> fn(SocketAddr, Caller) -> SocketAddr {
    let is_shared = |part: &Adversary| part.addresses == Addresses::Fleet;
    let has_neighbors = plan.fleet.addresses == FleetAddresses::Own && plan.adversaries.iter().any(is_shared);
    if has_neighbors { behind_one_address } else { addresses }
}

fn behind_one_address(nowhere: SocketAddr, caller: Caller) -> SocketAddr {
    addresses(nowhere, if let Caller::Device(_) = caller { Caller::Device(0) } else { caller })
}

/// Every device and adversary has its own address.
fn addresses(_: SocketAddr, caller: Caller) -> SocketAddr {
    let bits = match caller {
        Caller::Operator => 0x7f00_0001,                   // 127.0.0.1
        Caller::Device(number) => 0x0a00_0001 + number,    // 10.0.0.1 and on
        Caller::Site(number) => 0x0b00_0001 + number,      // 11.0.0.1 and on
        Caller::Adversary(number) => 0xc612_0001 + number, // 198.18.0.1 and on
    };
    SocketAddr::new(Ipv4Addr::from_bits(bits).into(), 0)
}

async fn play(
    rehearsal: &Rehearsal<'_>,
    config: Config,
    expected: fn(Values) -> Values,
    log: &Rc<RefCell<EventLog>>,
    console: &mut Console,
) -> Result<RunOutcome, Failure> {
    let &Rehearsal { plan, out, concurrent, is_trial, ends_when_settled, .. } = rehearsal;
    let prefixes = SitePrefixes { ipv4: config.site_prefixes.ipv4, ipv6: config.site_prefixes.ipv6 };
    let witness = Arc::new(Witness::at_the_start(prefixes).with_settings(plan.server.clone()).expecting(expected));
    witness.oracle().heartbeats_every(config.heartbeat_interval);
    let reached = InProcess::down();
    let server = Rc::new(VirtualServer::new(config, plan, reached.clone(), Arc::clone(&witness)));
    server.start().await.map_err(Failure::Server)?;
    let way = ServerAccess {
        network: Arc::new(Witnessed::new(reached, Arc::clone(&witness))),
        target: NOWHERE,
        addresses: addresses_of(plan),
        admin_token: ADMIN_TOKEN.to_owned(),
        timeouts: AnswerTimeouts::DEFAULT,
    };
    let setup = Setup::provision(plan, None, way, plan.starts_at, drop).await.map_err(|error| match error {
        ProvisionError::Name(error) => Failure::BadRequest(error.to_string()),
        ProvisionError::Operator(error) => Failure::Server(error.to_string()),
    })?;
    let (begun, devices) = setup.begin(plan.starts_at);
    let exchanges = (rehearsal.events != EventsKept::None).then(|| Rc::clone(log));
    let surroundings = begun.shared.clone();
    let timer = Rc::new(SteppedTimer::new(begun.shared.time.started, plan.interval(), plan.fleet.devices));
    let shard = Rc::new(shard(plan, surroundings, timer, exchanges, !plan.adversaries.is_empty()));
    let shard_plan = ShardPlan {
        adversaries: fleet::adversaries(plan),
        victims: begun.names.clone(),
        ..begun.shard_plan(0, devices, 1)
    };
    actix::spawn(fleet::run_shard(shard_plan, shard, begun.reporting.clone(), begun.finishing.clone()));
    let run = begun.conducted(DriverParts {
        folder: out,
        log: Rc::clone(log),
        disk: Some(Arc::clone(&server.disk)),
        server: Some(server),
        witness: Some(witness),
        shards: 1,
        stored_before: 0,
        is_alone: true,
        rehearsals: concurrent,
        is_trial,
        ends_when_settled,
        server_epoch: plan.starts_at,
        segment_file: None,
    });
    run.play(console).await.map_err(|cause| Failure::File { what: "write", path: out.to_owned(), cause })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::{
        limits::oracle::{LimitName, Value},
        scenario,
        scenario_settings::ScenarioSettings,
    };

    /// Forgers with an address each that fail ten times as often as they may, and a device gone mad.
    const SCENARIO: &str = r#"
name = "limited"
goal = "Limits refuse."
mode = "rehearse"
duration = "2m"
[fleet]
devices = 3
heartbeat_interval = "10s"
[server]
RATE_LIMIT_ADDRESS_FAILURES_PER_MIN = 7
RATE_LIMIT_ADDRESS_FAILURES_BURST = 5
RATE_LIMIT_DEVICE_PER_MIN = 13
RATE_LIMIT_DEVICE_BURST = 4
[[adversary]]
kind = "forger"
count = 2
interval = "1s"
[[adversary]]
kind = "faulty_device"
count = 1
interval = "1s"
[[expect]]
metric = "limits.rightly_refused"
min = 1
"#;

    /// The false verdicts of a rehearsal, and the requests that were rightly refused.
    fn false_verdicts(expected: fn(Values) -> Values) -> (Vec<String>, u64) {
        let plan = scenario::check("limited.toml", SCENARIO.as_bytes(), &ScenarioSettings).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let rehearsal = Rehearsal {
            plan: &plan,
            out: folder.path(),
            replay: String::new(),
            concurrent: 1,
            is_trial: false,
            ends_when_settled: false,
            events: EventsKept::None,
            keeps_database: false,
        };
        let console = Console::rehearsing(true, Arc::new(AtomicBool::new(false)));
        let summary = rehearse_expecting(rehearsal, console, expected).unwrap();
        let judged = summary.invariants.unwrap();
        let judged = judged.into_iter().find(|judged| judged.invariant == "limits decide as documented").unwrap();
        (judged.violations, summary.limit_verdicts.unwrap().all.rightly_refused)
    }

    #[test]
    fn the_servers_limits_decide_as_documented() {
        let (wrong, rightly_refused) = false_verdicts(|in_force| in_force);
        assert_eq!(wrong, [""; 0]);
        assert!(rightly_refused > 200, "{rightly_refused}");
    }

    /// Goal: a limiter that is off by one is found, whichever way.
    #[test]
    fn a_limit_that_is_off_by_one_is_found() {
        let (wrong, _) = false_verdicts(|mut in_force| {
            let value = in_force.get(LimitName::AddressFailures);
            in_force.set(LimitName::AddressFailures, Value { burst: value.burst + 1, ..value });
            in_force
        });
        assert!(wrong[0].ends_with("was refused by address_failures; no limit was used up"), "{wrong:?}");
        let (wrong, _) = false_verdicts(|mut in_force| {
            let value = in_force.get(LimitName::DeviceRequests);
            in_force.set(LimitName::DeviceRequests, Value { per_min: value.per_min - 1, ..value });
            in_force
        });
        assert!(wrong[0].contains("device_requests"), "{wrong:?}");
    }
}
