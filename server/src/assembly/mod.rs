//! From settings to a running [`crate::app::App`]: the same for a process that serves and for a rehearsal, which differ in what
//! they hand in and in how they run the loops that they get; and the store for commands beside a server.

mod beside;
mod images;
mod keys;

use std::{pin::Pin, sync::Arc};

use ks_protocol::time::UnixMs;

pub use beside::{complain_of_torn_log, with_reader, with_silent_reader, with_store};
pub use images::artifacts;
pub use keys::{MayMake, PAST_KEY_REMEDY, bad_keys, firmware_key, signing_key};

use crate::{
    config::Config,
    failure::StartError,
    keys::{Keyring, KeyringError, Vault},
    metrics::Metrics,
    store::{
        By, Damage, Store, StoreError, StoreReader,
        writer::{self, Reader, Writer},
    },
};

/// Questions to the store that may wait.
const QUESTIONS_MAX: usize = 1_024;

/// A loop that empties a queue, and ends when all who could fill it are gone.
pub struct Loop {
    /// What it is called as a thread.
    pub name: &'static str,
    start: Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()>>> + Send>,
}

impl Loop {
    fn of<F: Future<Output = ()> + 'static>(name: &'static str, start: impl FnOnce() -> F + Send + 'static) -> Self {
        Self { name, start: Box::new(move || Box::pin(start())) }
    }

    /// Its work, for the thread or the task that runs it.
    pub fn drive(self) -> Pin<Box<dyn Future<Output = ()>>> {
        (self.start)()
    }
}

/// The queues of a store.
pub struct Queues {
    /// Writes.
    pub writer: Writer,
    /// Questions with short answers.
    pub reader: Reader,
    /// Questions of operators, which may be long.
    pub admin_reader: Reader,
}

impl Queues {
    /// The queues of a store, and the loops that empty them. Without a reader for operators, they ask the same one as devices.
    pub fn over<R: StoreReader + Send + 'static>(
        config: &Config,
        metrics: &Arc<Metrics>,
        store: impl Store + 'static,
        reads: R,
        admin_reads: Option<R>,
    ) -> (Self, Vec<Loop>) {
        let damage = Damage::default();
        let (writer, writes) = writer::writer(config.store_queue_max, &damage);
        let (group_max, metrics) = (config.commit_group_max, Arc::clone(metrics));
        let mut loops = vec![Loop::of("store-writer", move || writer::drive_writes(store, writes, group_max, metrics))];
        let mut reader_of = |name, reads| {
            let (reader, questions) = writer::reader(QUESTIONS_MAX, &damage);
            loops.push(Loop::of(name, move || writer::drive_reads(reads, questions)));
            reader
        };
        let reader = reader_of("store-reader", reads);
        let admin_reader = admin_reads.map_or_else(|| reader.clone(), |reads| reader_of("admin-reader", reads));
        (Self { writer, reader, admin_reader }, loops)
    }

    /// The keys in force; of a database that has none, the key that the settings name is the first.
    ///
    /// # Errors
    /// As [`Keyring::start`].
    pub async fn keyring(&self, vault: Vault, now: UnixMs) -> Result<Keyring, KeyringError> {
        let by = By { name: "ks-server".to_owned(), address: None, at: now };
        Keyring::start(vault, &self.writer, &self.reader, &by).await
    }
}

/// Whether the database has devices, which would not believe a new signing key.
///
/// # Errors
/// The store can't be asked.
pub async fn has_devices(reader: &Reader) -> Result<bool, StoreError> {
    reader.ask(|store| Ok(!store.standings(0, 1)?.is_empty())).await
}

/// What to tell whoever runs a command that the store failed.
pub fn bad_database(config: &Config, error: &StoreError) -> StartError {
    StartError::BadDatabase { path: config.database.clone(), fault: error.into(), why: error.to_string() }
}
