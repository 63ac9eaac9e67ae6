//! All that a handler may hold: settings, clock, randomness, the store's queues, and what is kept in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    artifacts::Artifacts,
    bulk,
    clock::Clock,
    config::Config,
    keyring::{Keyring, KeyringError},
    limit::{AddressBudget, DEAR_FAILURES, FailureBudget, NEWCOMERS_DOUBTS, Throttle, Turns},
    metrics::Metrics,
    password::Passwords,
    registry::Registry,
    rng::ServerRng,
    rollout::driver::{self, Rollouts},
    rules, scrub,
    store::{
        Reader, StoreError, Writer,
        retention::{self, Kept},
    },
};

/// How often changes by other programs are looked for.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How often a commit is tried while they fail.
const RETRY_EVERY: Duration = Duration::from_secs(1);

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
    pub imports: tokio::sync::Mutex<()>,
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
            imports: tokio::sync::Mutex::default(),
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

    /// Microseconds since the start; never goes back.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The work that goes on beside requests; ends when the store is shut down.
    pub async fn background(self) {
        let kept = Kept {
            heartbeats: self.config.heartbeat_retention,
            logs: self.config.log_retention,
            commands: self.config.command_retention,
            firmware_history: self.config.firmware_history_retention,
        };
        let retention = retention::run(self.writer.clone(), self.reader.clone(), Arc::clone(&self.clock), kept);
        tokio::join!(
            retention,
            self.follow(),
            self.retry(),
            driver::run(&self),
            scrub::run(&self),
            bulk::finish_orders(&self)
        );
    }

    /// One write that changes nothing that anybody asked for: what an idle server writes each minute anyway.
    ///
    /// # Errors
    /// No commit succeeds.
    pub async fn try_commit(&self) -> Result<(), StoreError> {
        let now = self.clock.now();
        self.writer.write(move |store| rules::presence::alive(store, now, retention::GAP_MIN_MS)).await
    }

    /// Once commits fail, tries one every second, so that it shows soon that the store was mended, also where nobody writes.
    async fn retry(&self) {
        loop {
            tokio::time::sleep(RETRY_EVERY).await;
            if self.writer.trouble().is_some() && self.try_commit().await == Err(StoreError::Closed) {
                return;
            }
        }
    }

    /// Takes over, every second, what other programs changed: devices, keys, rollouts.
    async fn follow(&self) {
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            self.look_at_files().await;
            match self.take_over().await {
                Ok(()) | Err(KeyringError::Store(StoreError::Damaged(_))) => {} // damage was said when it was found
                Err(KeyringError::Store(StoreError::Closed)) => return,
                Err(error) => {
                    tracing::error!(%error, "what others changed can't be taken over; it will be tried again");
                }
            }
        }
    }

    /// Notices, also when nobody writes, that the store's files are not where they were: pages once, and says when they are back.
    async fn look_at_files(&self) {
        let found = self.reader.ask(|store| Ok((store.in_place()?, store.disk_free_bytes()))).await;
        self.metrics.store_damaged.set(i64::from(self.writer.damage().is_err()));
        if let Ok((wal_bytes, free_bytes)) = found {
            free_bytes.inspect(|free_bytes| self.keep_reserve(*free_bytes));
            self.metrics.store_wal_bytes.set(i64::try_from(wal_bytes).unwrap_or(i64::MAX));
        }
        let is_misplaced = matches!(found, Err(StoreError::Misplaced(_)));
        let was_misplaced = self.metrics.store_misplaced.set(i64::from(is_misplaced)) != 0;
        match found {
            Err(error @ StoreError::Misplaced(_)) if !was_misplaced => tracing::error!(%error, "the database is lost"),
            Ok(_) if was_misplaced => tracing::warn!("the database is where it was again"),
            _ => {}
        }
    }

    /// Says when the disk is nearly full, while there is still room for a revocation, and when it is no more.
    fn keep_reserve(&self, free_bytes: u64) {
        self.metrics.disk_free_bytes.set(i64::try_from(free_bytes).unwrap_or(i64::MAX));
        let reserve_bytes = self.config.disk_reserve_bytes;
        let is_short = free_bytes < reserve_bytes;
        match (self.is_short_of_disk.swap(is_short, Ordering::Relaxed), is_short) {
            (false, true) => tracing::error!(
                free_bytes,
                reserve_bytes,
                "the disk is nearly full: nothing more of devices is stored, what is left is for operators"
            ),
            (true, false) => tracing::warn!(free_bytes, "there is room on the disk again"),
            _ => {}
        }
    }

    async fn take_over(&self) -> Result<(), KeyringError> {
        let newest = self.reader.ask(|store| store.newest()).await?;
        let devices = self.registry.follow_to(newest, &self.reader).await;
        let at = self.clock.now();
        self.keyring.follow_to(newest.keyset_version, &self.writer, &self.reader, at).await?;
        self.count_decisions(newest.decision).await?;
        Ok(devices?)
    }
}
