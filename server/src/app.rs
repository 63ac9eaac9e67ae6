//! All that a handler may hold: settings, clock, randomness, the store's queues, and what is kept in memory.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    admission::AddressBudget,
    clock::Clock,
    config::Config,
    keyring::Keyring,
    metrics::Metrics,
    registry::Registry,
    rng::ServerRng,
    store::{Reader, StoreError, Writer, retention},
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
    /// Questions to the store.
    pub reader: Reader,
    /// Devices in memory.
    pub registry: Registry,
    /// What failing requests cost their address.
    pub address_budget: AddressBudget,
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
        let Ingredients { config, clock, rng, keyring, writer, reader, metrics } = with;
        let registry = Registry::load(&reader).await?;
        let address_budget = AddressBudget::new(config.address_failure_rate);
        let started = Instant::now();
        Ok(Self(Arc::new(Parts {
            config,
            clock,
            rng,
            keyring,
            writer,
            reader,
            registry,
            address_budget,
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
        let keep = self.config.heartbeat_retention;
        retention::run(self.writer.clone(), self.reader.clone(), Arc::clone(&self.clock), keep).await;
    }
}
