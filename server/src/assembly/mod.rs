//! Builds a [`crate::app::App`] from the settings, for the server and for a rehearsal, which pass in different parts and run the
//! returned loops differently; and opens the store for commands, while a server may be running.

mod direct_store;
mod images;
mod keys;

use std::{pin::Pin, sync::Arc};

use ks_protocol::time::UnixMs;

pub use direct_store::{warn_of_torn_log, with_reader, with_silent_reader, with_store};
pub use images::artifacts;
pub use keys::{KeyCreation, PAST_KEY_HELP, firmware_key, keys_error, signing_key};

use crate::{
    config::Config,
    failure::StartError,
    keys::{Keyring, KeyringError, Vault},
    limit::Overload,
    metrics::Metrics,
    store::{
        Actor, Damage, Store, StoreError, StoreReader,
        writer::{self, Reader, Writer},
    },
};

/// Most queries to the store that may wait.
const QUERIES_MAX: usize = 1_024;

/// A loop that processes a queue, and ends when all its senders are dropped.
pub struct Loop {
    /// Its name as a thread.
    pub name: &'static str,
    start: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>,
}

impl Loop {
    fn of<F: Future<Output = ()> + 'static>(name: &'static str, start: impl FnOnce() -> F + Send + 'static) -> Self {
        Self { name, start: Box::new(move || Box::pin(start())) }
    }

    /// Its future, for the thread or task that runs it.
    pub fn drive(self) -> Pin<Box<dyn Future<Output = ()>>> {
        (self.start)()
    }
}

/// The queues of a store.
pub struct Queues {
    pub writer: Writer,
    /// Short queries.
    pub reader: Reader,
    /// Operators' queries, which may take long.
    pub admin_reader: Reader,
}

impl Queues {
    /// The queues of a store, and the loops that process them. Without `admin_reads`, operators and devices share a reader.
    pub fn over<R: StoreReader + Send + 'static>(
        config: &Config,
        metrics: &Arc<Metrics>,
        store: impl Store + 'static,
        reads: R,
        admin_reads: Option<R>,
    ) -> (Self, Vec<Loop>) {
        let damage = Damage::default();
        let (writer, writes) = writer::writer(config.store_queue_max, &damage);
        // Only a limit that has been lowered refuses before the queue is full.
        let limit_max = config.store_queue_max.saturating_mul(2);
        let overload = Overload::new(config.overload_target, config.commit_group_max, limit_max);
        let writer = writer.measured_by(overload);
        let (group_max, metrics) = (config.commit_group_max, Arc::clone(metrics));
        let mut loops = vec![Loop::of("store-writer", move || writer::drive_writes(store, writes, group_max, metrics))];
        let mut reader_of = |name, reads| {
            let (reader, queries) = writer::reader(QUERIES_MAX, &damage);
            loops.push(Loop::of(name, move || writer::drive_reads(reads, queries)));
            reader
        };
        let reader = reader_of("store-reader", reads);
        let admin_reader = admin_reads.map_or_else(|| reader.clone(), |reads| reader_of("admin-reader", reads));
        (Self { writer, reader, admin_reader }, loops)
    }

    /// The current keys. If the database has none, the key in the settings becomes the first.
    ///
    /// # Errors
    /// As [`Keyring::start`].
    pub async fn keyring(&self, vault: Vault, now: UnixMs) -> Result<Keyring, KeyringError> {
        let by = Actor { name: "ks-server".to_owned(), address: None, at: now };
        Keyring::start(vault, &self.writer, &self.reader, &by).await
    }
}

/// Whether the database has devices, which would not trust a new signing key.
///
/// # Errors
/// The store can't be read.
pub async fn has_devices(reader: &Reader) -> Result<bool, StoreError> {
    reader.ask(|store| Ok(!store.auth_records(0, 1)?.is_empty())).await
}

/// The error of a command whose store failed.
pub fn database_error(config: &Config, error: &StoreError) -> StartError {
    StartError::UnusableDatabase { path: config.database.clone(), fault: error.into(), why: error.to_string() }
}
