//! The state that handlers share: settings, clock, randomness, the store's queues, and what is held in memory.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, Notify, Semaphore, watch},
    time::Instant,
};

use crate::{
    applied_limits::AppliedLimits,
    artifacts::Artifacts,
    clock::{Clock, micros},
    config::Config,
    keys::Keyring,
    limit::{self, Ceiling, FailureBudget, Limits, Overload, Throttle, Turns},
    metrics::Metrics,
    password::Passwords,
    registry::{DeviceBudgets, Registry},
    rng::ServerRng,
    store::{Newest, Reader, StoreError, Writer},
};

/// Live event streams at a time: of all callers, and of each.
const EVENT_STREAMS_MAX: usize = 256;
const EVENT_STREAMS_OF_CALLER_MAX: usize = 16;

/// The server's state, shared by all handlers; cheap to clone.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// What an [`App`] is made of.
pub struct Parts {
    /// Settings, all in range.
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub rng: ServerRng,
    pub keyring: Keyring,
    /// Writes to the store.
    pub writer: Writer,
    /// Short queries of the store: those of devices, of the server itself, and of logins.
    pub reader: Reader,
    /// Queries of the admin API, which may be long: they delay each other and no device. Callers take turns.
    pub admin_reader: Reader,
    /// The turns of callers at `admin_reader`.
    pub turns: Turns,
    pub registry: Registry,
    pub artifacts: Artifacts,
    /// Triggers the evaluation of rollouts.
    pub rollouts: Rollouts,
    /// Held by the running import: one at a time.
    pub imports: Mutex<()>,
    /// The limits in force.
    pub limits: Arc<Limits>,
    /// Where the limits in force come from.
    pub applied_limits: AppliedLimits,
    /// Budgets for failed requests, by address; addresses of one IPv6 network share one.
    pub address_failures: FailureBudget<IpAddr>,
    /// The same by the network of a site.
    pub site_failures: FailureBudget<IpAddr>,
    /// Registrations, by address.
    pub address_registrations: FailureBudget<IpAddr>,
    /// Requests that nobody signs, by address.
    pub address_unsigned: FailureBudget<IpAddr>,
    /// Registrations of all devices.
    pub registrations: FailureBudget<()>,
    /// Verified requests of all devices.
    pub ceiling: Ceiling,
    /// Calls of the admin API, by the row of the token; 0 is ADMIN_TOKEN.
    pub token_calls: FailureBudget<i64>,
    /// The budget of all addresses together for failures that cost more than parsing.
    pub expensive_failures: FailureBudget<()>,
    /// The same for failures in the names of devices that never sent a request, while another budget is used up.
    pub new_device_failures: FailureBudget<()>,
    /// Hashing and checking passwords.
    pub passwords: Passwords,
    /// Throttles guessing of passwords and tokens.
    pub throttle: Throttle,
    /// Places of live event streams; closed once the server stops.
    pub event_streams: Arc<Semaphore>,
    /// The same for each caller.
    pub event_stream_turns: Turns,
    /// The newest positions that were applied here, for those who wait for changes.
    pub newest: watch::Sender<Newest>,
    /// The limit on writes in progress.
    pub overload: Arc<Overload>,
    /// Less disk space is free than is reserved for operators.
    is_short_of_disk: AtomicBool,
    pub metrics: Arc<Metrics>,
    /// When the server started, on the timer's clock.
    pub started: Instant,
}

/// What the edge provides to create an [`App`].
pub struct AppInputs {
    /// Settings, all in range.
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub rng: ServerRng,
    pub keyring: Keyring,
    /// Writes to the store.
    pub writer: Writer,
    /// Short queries of the store.
    pub reader: Reader,
    /// Queries of the admin API.
    pub admin_reader: Reader,
    pub artifacts: Artifacts,
    /// Hashing and checking passwords.
    pub passwords: Passwords,
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
    pub async fn new(with: AppInputs) -> Result<Self, StoreError> {
        let AppInputs { config, clock, rng, keyring, writer, reader, admin_reader, artifacts, passwords, metrics } =
            with;
        let registry = Registry::load(&reader).await?;
        let newest = reader.ask(|store| store.newest()).await?;
        let started = Instant::now();
        let limits = Arc::new(Limits::new(&config.limits, Arc::clone(&metrics.limits)));
        let applied_limits = AppliedLimits::new(config.limits.clone(), Arc::clone(&limits), clock.now(), started);
        applied_limits.follow_to(newest.limits_version, &reader).await?;
        let throttle = Throttle::new(Arc::clone(&limits));
        let overload = Arc::clone(writer.overload());
        Ok(Self(Arc::new(Parts {
            config,
            clock,
            rng,
            keyring,
            writer,
            reader,
            admin_reader,
            turns: Turns::new(1),
            registry,
            artifacts,
            rollouts: Rollouts::after(newest.decision),
            imports: Mutex::default(),
            limits,
            applied_limits,
            address_failures: FailureBudget::default(),
            site_failures: FailureBudget::default(),
            address_registrations: FailureBudget::default(),
            address_unsigned: FailureBudget::default(),
            registrations: FailureBudget::default(),
            ceiling: Ceiling::default(),
            token_calls: FailureBudget::default(),
            expensive_failures: FailureBudget::default(),
            new_device_failures: FailureBudget::default(),
            passwords,
            throttle,
            event_streams: Arc::new(Semaphore::new(EVENT_STREAMS_MAX)),
            event_stream_turns: Turns::new(EVENT_STREAMS_OF_CALLER_MAX),
            newest: watch::Sender::new(newest),
            overload,
            is_short_of_disk: AtomicBool::new(false),
            metrics,
            started,
        })))
    }

    /// How many addresses, networks, names and tokens the limits remember; each table is bounded.
    pub fn limit_subjects(&self) -> usize {
        self.subjects_of_requests() + self.throttle.subjects()
    }

    /// At most the bytes that the limits take now: what they remember, the budgets of each device, and their counters.
    pub fn limit_memory_bytes(&self) -> usize {
        let subjects = self.subjects_of_requests() * limit::SUBJECT_BYTES + self.throttle.bytes();
        subjects + self.registry.len() * size_of::<DeviceBudgets>() + self.limits.counters().bytes()
    }

    fn subjects_of_requests(&self) -> usize {
        let by_address =
            [&self.address_failures, &self.site_failures, &self.address_registrations, &self.address_unsigned];
        let by_address: usize = by_address.into_iter().map(FailureBudget::subjects).sum();
        by_address + self.token_calls.subjects()
    }

    /// Whether data of devices may no longer be stored, because the rest of the disk is reserved for operators.
    pub fn is_short_of_disk(&self) -> bool {
        self.is_short_of_disk.load(Ordering::Relaxed)
    }

    /// Sets [`App::is_short_of_disk`]; gives the value before.
    pub(crate) fn set_short_of_disk(&self, is_short: bool) -> bool {
        self.is_short_of_disk.swap(is_short, Ordering::Relaxed)
    }

    /// Microseconds since the start; never goes back.
    pub fn elapsed_us(&self) -> u64 {
        micros(self.started.elapsed())
    }
}

/// Triggers early evaluations of rollouts, and holds which decisions have been counted.
#[derive(Debug)]
pub struct Rollouts {
    early: Notify,
    /// Row of the last counted decision.
    pub(crate) counted: Mutex<i64>,
    /// Held by the running plan: one at a time.
    pub(crate) planning: Mutex<()>,
}

impl Rollouts {
    /// Counts decisions after this row: those before it were counted before the server started.
    pub fn after(decision: i64) -> Self {
        Self { early: Notify::new(), counted: Mutex::new(decision), planning: Mutex::default() }
    }

    /// Something happened on which a rollout may decide.
    pub fn wake(&self) {
        self.early.notify_one();
    }

    /// Waits until something happened, or until the time has passed.
    pub(crate) async fn due(&self, at_latest: Duration) {
        let _ = tokio::time::timeout(at_latest, self.early.notified()).await; // a timeout is due too
    }
}
