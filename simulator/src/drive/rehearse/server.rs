//! The server of a rehearsal: the real one, on tasks of this runtime. A crash loses its memory, not its disk.
//!
//! The server does not know of it: this file replaces the production edge, with another clock, another seed, and the
//! store's two loops as tasks of one runtime instead of threads.

use std::{
    cell::{Cell, RefCell},
    net::SocketAddr,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use ks_protocol::key::PrivateKey;
use ks_server::{
    app::{App, AppInputs},
    artifacts::{Artifacts, InMemory},
    assembly::Queues,
    clock::{Clock, TimerClock},
    config::Config,
    keys::Vault,
    metrics::Metrics,
    password,
    rng::ServerRng,
    service::background,
    store::{SqliteReader, SqliteStore},
};
use tokio::task::JoinHandle;

use super::disk::{Disk, OnDisk};
use crate::{
    fleet::Caller,
    invariants::Witness,
    link::in_process::InProcess,
    operator::{ObservedLimits, Operator, OperatorError},
    scenario::Plan,
    seed,
    server_under_test::process::{Restart, ServerAction, ServerProcess, StopPoint},
};

/// Pause of the supervisor before it retries a failed start.
const START_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A server that can crash and come back.
pub(super) struct VirtualServer {
    config: Config,
    root_seed: u64,
    network: InProcess,
    witness: Arc<Witness>,
    operator: SocketAddr,
    clock: Arc<dyn Clock>,
    // What survives a crash.
    vault: Vault,
    artifacts: Arc<InMemory>,
    pub(super) disk: Arc<Disk>,
    // What does not.
    tasks: RefCell<Vec<JoinHandle<()>>>,
    starts: Cell<u32>,
}

impl VirtualServer {
    /// A server that is down. Make it on the runtime whose timer it follows, when its clock shows the plan's start. `witness` notes
    /// when it starts.
    pub(super) fn new(config: Config, plan: &Plan, network: InProcess, witness: Arc<Witness>) -> Self {
        let (root_seed, epoch) = (plan.seed, plan.starts_at);
        Self {
            config,
            root_seed,
            disk: Arc::new(Disk::healthy(network.clone(), root_seed)),
            network,
            witness,
            operator: super::addresses(super::NOWHERE, Caller::Operator),
            clock: Arc::new(TimerClock::starting_at(epoch)),
            vault: Vault::in_memory(PrivateKey::from_seed(&seed::bytes(root_seed, "server", "key"))),
            artifacts: Arc::new(InMemory::new()),
            tasks: RefCell::default(),
            starts: Cell::new(0),
        }
    }

    /// Starts it on the current disk; no effect if it is up. Says whether it was down.
    ///
    /// # Errors
    /// A sentence that says why it did not start.
    pub(super) async fn start(&self) -> Result<bool, String> {
        if self.network.is_up() {
            return Ok(false);
        }
        self.stop().await; // what is left of one that crashed
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let Config { database, sqlite, .. } = &self.config;
        let now = self.clock.now();
        let store = SqliteStore::open(database, *sqlite, now).map_err(|error| said(&error))?;
        let reading = SqliteReader::open(database, sqlite.locking).map_err(|error| said(&error))?;
        let metrics = Arc::new(Metrics::default());
        let store = OnDisk { store, disk: Arc::clone(&self.disk) };
        let (queues, loops) = Queues::over(&self.config, &metrics, store, reading, None);
        let (passwords, hashing) = password::passwords();
        self.tasks.borrow_mut().extend(loops.into_iter().map(|each| actix::spawn(each.drive())));
        self.tasks.borrow_mut().push(actix::spawn(password::drive(hashing)));
        let keyring = queues.keyring(self.vault.clone(), now).await.map_err(|error| said(&error))?;
        self.starts.set(self.starts.get() + 1);
        let randomness = format!("randomness {}", self.starts.get());
        let Queues { writer, reader, admin_reader } = queues;
        let ingredients = AppInputs {
            clock: Arc::clone(&self.clock),
            rng: ServerRng::from_seed(seed::bytes(self.root_seed, "server", &randomness)),
            keyring,
            artifacts: Artifacts::new(Arc::clone(&self.artifacts) as _, self.config.artifact_limits),
            config: self.config.clone(),
            writer,
            admin_reader,
            reader,
            passwords,
            metrics,
        };
        let app = App::new(ingredients).await.map_err(|error| said(&error))?;
        self.tasks.borrow_mut().push(actix::spawn(background::run(app.clone())));
        let limits = self.limits_of(&app).await.map_err(|error| said(&error))?;
        self.witness.server_started(app.started, &limits);
        self.network.bring_up(app);
        Ok(true)
    }

    /// The limits in force, by the admin API, before anybody else reaches it.
    async fn limits_of(&self, app: &App) -> Result<ObservedLimits, OperatorError> {
        let alone = InProcess::down();
        alone.bring_up(app.clone());
        Operator::new(&alone, self.operator, super::ADMIN_TOKEN).limits().await
    }

    /// Starts it, with retries, as a supervisor does. Says whether it was down.
    async fn start_with_retries(&self) -> bool {
        loop {
            match self.start().await {
                Ok(was_down) => return was_down,
                Err(_) => tokio::time::sleep(START_AGAIN_AFTER).await,
            }
        }
    }

    /// Stops it immediately; everything in memory is lost.
    async fn stop(&self) {
        self.network.take_down();
        let tasks = self.tasks.take();
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            let _ = task.await; // it was aborted above
        }
    }
}

impl ServerProcess for VirtualServer {
    /// Always like `kill -9`: a graceful stop belongs to the server's edge, which a rehearsal replaces.
    fn restart(self: Rc<Self>, Restart { moment, down_for, back, .. }: Restart) -> ServerAction {
        Box::pin(async move {
            if moment == StopPoint::Now {
                self.stop().await;
            } else {
                self.disk.crash_at(moment);
            }
            actix::spawn(async move {
                if moment != StopPoint::Now {
                    self.disk.crashed().await;
                }
                tokio::time::sleep(down_for).await;
                if self.start_with_retries().await {
                    back();
                }
            });
            Ok(())
        })
    }

    fn ensure_running(self: Rc<Self>) -> ServerAction {
        Box::pin(async move { self.start().await.map(|_| ()) })
    }

    fn ended(&self) -> Option<String> {
        None // only the run ends it
    }
}
