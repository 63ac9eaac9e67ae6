//! The server of a rehearsal: the real one, on tasks of this runtime. When it crashes its memory is gone and its disk is not.
//!
//! Nothing in the server knows of it: what production has its edge do is done here with another clock, another seed, and the
//! store's two loops as tasks of one runtime instead of on threads.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use ks_protocol::{key::PrivateKey, time::UnixMs};
use ks_server::{
    app::{App, Ingredients},
    artifacts::{Artifacts, InMemory},
    clock::{Clock, TimerClock},
    config::Config,
    keyring::Keyring,
    metrics::Metrics,
    password,
    rng::ServerRng,
    router::router,
    store::{By, Damage, SqliteReader, SqliteStore, writer},
    vault::Vault,
};
use tokio::task::JoinHandle;

use super::disk::{Disk, OnDisk};
use crate::{
    link::in_process::InProcess,
    seed,
    server_process::{ServerAction, ServerProcess, StopPoint},
};

/// How long a supervisor waits before it starts a server again that did not come up.
const START_AGAIN_AFTER: Duration = Duration::from_secs(5);

/// A server that can crash and come back.
pub(super) struct VirtualServer {
    config: Config,
    root_seed: u64,
    network: InProcess,
    clock: Arc<dyn Clock>,
    // What survives a crash.
    vault: Vault,
    artifacts: Arc<InMemory>,
    /// Its disk.
    pub(super) disk: Arc<Disk>,
    // What does not.
    tasks: RefCell<Vec<JoinHandle<()>>>,
    starts: Cell<u32>,
}

impl VirtualServer {
    /// A server that is down; must be made on the runtime whose timer it follows, when its clock shows `epoch`.
    pub(super) fn new(config: Config, root_seed: u64, network: InProcess, epoch: UnixMs) -> Self {
        Self {
            config,
            root_seed,
            disk: Arc::new(Disk::sound(network.clone(), root_seed)),
            network,
            clock: Arc::new(TimerClock::starting_at(epoch)),
            vault: Vault::in_memory(PrivateKey::from_seed(&seed::bytes(root_seed, "server", "key"))),
            artifacts: Arc::new(InMemory::new()),
            tasks: RefCell::default(),
            starts: Cell::new(0),
        }
    }

    /// Starts it on what the disk holds; one that is up stays as it is.
    ///
    /// # Errors
    /// A sentence that says why it did not come up.
    pub(super) async fn start(&self) -> Result<(), String> {
        if self.network.is_up() {
            return Ok(());
        }
        self.stop().await; // what is left of one that crashed
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let Config { database, sqlite, .. } = &self.config;
        let now = self.clock.now();
        let store = SqliteStore::open(database, *sqlite, now).map_err(|error| said(&error))?;
        let reading = SqliteReader::open(database, sqlite.locking).map_err(|error| said(&error))?;
        let metrics = Arc::new(Metrics::default());
        let damage = Damage::default();
        let (writer, writes) = writer::writer(self.config.store_queue_max, &damage);
        let (reader, questions) = writer::reader(1_024, &damage);
        let store = OnDisk { store, disk: Arc::clone(&self.disk) };
        let writing = writer::drive_writes(store, writes, self.config.commit_group_max, Arc::clone(&metrics));
        let (passwords, hashing) = password::passwords();
        let loops = [
            actix::spawn(writing),
            actix::spawn(writer::drive_reads(reading, questions)),
            actix::spawn(password::drive(hashing)),
        ];
        self.tasks.borrow_mut().extend(loops);
        let by = By { name: "ks-server".to_owned(), address: None, at: now };
        let keyring = Keyring::start(self.vault.clone(), &writer, &reader, &by).await.map_err(|error| said(&error))?;
        self.starts.set(self.starts.get() + 1);
        let randomness = format!("randomness {}", self.starts.get());
        let ingredients = Ingredients {
            clock: Arc::clone(&self.clock),
            rng: ServerRng::from_seed(seed::bytes(self.root_seed, "server", &randomness)),
            keyring,
            artifacts: Artifacts::new(Arc::clone(&self.artifacts) as _, self.config.artifact_limits),
            config: self.config.clone(),
            writer,
            admin_reader: reader.clone(),
            reader,
            passwords,
            metrics,
        };
        let app = App::new(ingredients).await.map_err(|error| said(&error))?;
        self.tasks.borrow_mut().push(actix::spawn(app.clone().background()));
        self.network.bring_up(router(app));
        Ok(())
    }

    /// Starts it, as often as it takes: what a supervisor does.
    async fn start_by_all_means(&self) {
        while self.start().await.is_err() {
            tokio::time::sleep(START_AGAIN_AFTER).await;
        }
    }

    /// Ends it at once, with all that it holds in memory.
    async fn stop(&self) {
        self.network.take_down();
        let tasks = self.tasks.take();
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            let _ = task.await; // it was told to end
        }
    }
}

impl ServerProcess for VirtualServer {
    /// Always as by `kill -9`: what a server does when it is stopped in peace is its edge's, which a rehearsal has none of.
    fn restart(self: Rc<Self>, _kill: bool, moment: StopPoint, down_for: Duration) -> ServerAction {
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
                self.start_by_all_means().await;
            });
            Ok(())
        })
    }

    fn ensure_running(self: Rc<Self>) -> ServerAction {
        Box::pin(async move { self.start().await })
    }

    fn ended(&self) -> Option<String> {
        None // nobody but the run ends it
    }
}
