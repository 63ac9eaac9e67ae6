//! All that a handler may hold: settings, clock, randomness, the store's queues, and what is kept in memory.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    admin::login,
    admission::{AddressBudget, FailureBudget},
    artifacts::Artifacts,
    clock::Clock,
    config::Config,
    keyring::{Keyring, KeyringError},
    metrics::Metrics,
    password::Passwords,
    registry::Registry,
    rng::ServerRng,
    rollout::driver::{self, Rollouts},
    store::{
        Reader, StoreError, Writer,
        retention::{self, Kept},
    },
};

/// How often changes by other programs are looked for.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

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
    /// Questions to the store.
    pub reader: Reader,
    /// Devices in memory.
    pub registry: Registry,
    /// Firmware images.
    pub artifacts: Artifacts,
    /// Has rollouts looked at.
    pub rollouts: Rollouts,
    /// What failing requests cost their address.
    pub address_budget: AddressBudget,
    /// Hashing and checking passwords.
    pub passwords: Passwords,
    /// What logins that fail cost.
    pub login_throttle: LoginThrottle,
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
    /// Questions to the store.
    pub reader: Reader,
    /// Firmware images.
    pub artifacts: Artifacts,
    /// Hashing and checking passwords.
    pub passwords: Passwords,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// What logins that fail cost: the address they come from, and the name they are for.
pub struct LoginThrottle {
    /// By address.
    pub addresses: AddressBudget,
    /// By name.
    pub names: FailureBudget<String>,
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
        let Ingredients { config, clock, rng, keyring, writer, reader, artifacts, passwords, metrics } = with;
        let registry = Registry::load(&reader).await?;
        let address_budget = AddressBudget::new(config.address_failure_rate);
        let login_throttle = LoginThrottle {
            addresses: AddressBudget::new(login::FAILURES_OF_ADDRESS),
            names: FailureBudget::new(login::FAILURES_OF_NAME),
        };
        let started = Instant::now();
        Ok(Self(Arc::new(Parts {
            config,
            clock,
            rng,
            keyring,
            writer,
            reader,
            registry,
            artifacts,
            rollouts: Rollouts::default(),
            address_budget,
            passwords,
            login_throttle,
            metrics,
            started,
        })))
    }

    /// Microseconds since the start; never goes back.
    pub fn elapsed_us(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// The work that goes on beside requests; ends when the store is shut down.
    pub async fn background(self) {
        let kept = Kept { heartbeats: self.config.heartbeat_retention, logs: self.config.log_retention };
        let retention = retention::run(self.writer.clone(), self.reader.clone(), Arc::clone(&self.clock), kept);
        tokio::join!(retention, self.follow(), driver::run(&self));
    }

    /// Takes over, every second, what other programs changed: devices and keys.
    async fn follow(&self) {
        loop {
            tokio::time::sleep(FOLLOW_EVERY).await;
            match self.take_over().await {
                Ok(()) => {}
                Err(KeyringError::Store(StoreError::Closed)) => return,
                Err(error) => {
                    tracing::error!(%error, "what others changed can't be taken over; it will be tried again");
                }
            }
        }
    }

    async fn take_over(&self) -> Result<(), KeyringError> {
        let newest = self.reader.ask(|store| store.newest()).await?;
        let devices = self.registry.follow_to(newest.device_change, &self.reader).await;
        let at = self.clock.now();
        self.keyring.follow_to(newest.keyset_version, &self.writer, &self.reader, at).await?;
        Ok(devices?)
    }
}
