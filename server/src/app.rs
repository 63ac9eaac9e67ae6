//! All that a handler may hold: settings, clock, randomness, the store's queues, and what is kept in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify},
    time::Instant,
};

use crate::{
    artifacts::Artifacts,
    clock::Clock,
    config::Config,
    keys::Keyring,
    limit::{AddressBudget, DEAR_FAILURES, FailureBudget, NEWCOMERS_DOUBTS, Throttle, Turns},
    metrics::Metrics,
    password::Passwords,
    registry::Registry,
    rng::ServerRng,
    store::{Reader, StoreError, Writer},
};

/// The server's state, shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
pub struct Parts {
    /// Settings, all in range.
    pub config: Config,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: ServerRng,
    /// The server's keys.
    pub keyring: Keyring,
    /// Writes to the store.
    pub writer: Writer,
    /// Questions to the store that have short answers: those of devices, of the server itself, and who calls.
    pub reader: Reader,
    /// Questions of people, which may be long: they hold up one another and no device. A caller asks in turn.
    pub admin_reader: Reader,
    /// Whose turn it is to ask.
    pub turns: Turns,
    /// Devices in memory.
    pub registry: Registry,
    /// Firmware images.
    pub artifacts: Artifacts,
    /// Has rollouts looked at.
    pub rollouts: Rollouts,
    /// Held by the import that is made: one at a time.
    pub imports: Mutex<()>,
    /// What failing requests cost their address.
    pub address_budget: AddressBudget,
    /// What all may fail together in ways that cost more than reading.
    pub dear_failures: FailureBudget<()>,
    /// The same of what fails in the names of devices that were never heard, while a budget is used up.
    pub newcomers_doubts: FailureBudget<()>,
    /// Hashing and checking passwords.
    pub passwords: Passwords,
    /// What it costs to guess passwords and tokens.
    pub throttle: Throttle,
    /// Less is free on the disk than is kept for operators.
    is_short_of_disk: AtomicBool,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// When the server started, on the timer's clock.
    pub started: Instant,
}

/// What the edge hands in to make an [`App`].
pub struct Ingredients {
    /// Settings, all in range.
    pub config: Config,
    /// Wall-clock time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: ServerRng,
    /// The server's keys.
    pub keyring: Keyring,
    /// Writes to the store.
    pub writer: Writer,
    /// Questions to the store that have short answers.
    pub reader: Reader,
    /// Questions of people.
    pub admin_reader: Reader,
    /// Firmware images.
    pub artifacts: Artifacts,
    /// Hashing and checking passwords.
    pub passwords: Passwords,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl std::ops::Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Reads the devices into memory and is ready to serve.
    pub async fn new(with: Ingredients) -> Result<Self, StoreError> {
        let Ingredients { config, clock, rng, keyring, writer, reader, admin_reader, artifacts, passwords, metrics } =
            with;
        let registry = Registry::load(&reader).await?;
        let decision = reader.ask(|store| store.newest()).await?.decision;
        let address_budget = AddressBudget::new(config.address_failure_rate);
        let throttle = Throttle::new(config.address_failure_rate);
        let started = Instant::now();
        Ok(Self(Arc::new(Parts {
            config,
            clock,
            rng,
            keyring,
            writer,
            reader,
            admin_reader,
            turns: Turns::default(),
            registry,
            artifacts,
            rollouts: Rollouts::after(decision),
            imports: Mutex::default(),
            address_budget,
            dear_failures: FailureBudget::new(DEAR_FAILURES),
            newcomers_doubts: FailureBudget::new(NEWCOMERS_DOUBTS),
            passwords,
            throttle,
            is_short_of_disk: AtomicBool::new(false),
            metrics,
            started,
        })))
    }

    /// Whether nothing more of devices may be stored, because what is left of the disk is kept for operators.
    pub fn is_short_of_disk(&self) -> bool {
        self.is_short_of_disk.load(Ordering::Relaxed)
    }

    /// Notes whether it is so; gives what was noted before.
    pub(crate) fn note_short_of_disk(&self, is_short: bool) -> bool {
        self.is_short_of_disk.swap(is_short, Ordering::Relaxed)
    }

    /// Microseconds since the start; never goes back.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// Has rollouts looked at before their time, and knows which decisions are counted.
#[derive(Debug)]
pub struct Rollouts {
    early: Notify,
    /// Row of the last decision that is counted.
    pub(crate) counted: Mutex<i64>,
    /// Held by the one plan that is made at a time.
    pub(crate) planning: Mutex<()>,
}

impl Rollouts {
    /// Counts decisions after this row: of a server that starts, those before were counted by the one before.
    pub fn after(decision: i64) -> Self {
        Self { early: Notify::new(), counted: Mutex::new(decision), planning: Mutex::default() }
    }

    /// Something happened that a rollout may decide on.
    pub fn wake(&self) {
        self.early.notify_one();
    }

    /// Waits until something happened, or until it is time anyway.
    pub(crate) async fn due(&self, at_latest: Duration) {
        let _ = tokio::time::timeout(at_latest, self.early.notified()).await; // then it is time anyway
    }
}
