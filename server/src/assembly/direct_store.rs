//! The store opened directly by a command, while a server may be running.

use std::sync::Arc;

use crate::{
    clock::{Clock, SystemClock},
    config::{Config, refuse_emptied, refuse_missing},
    edge::complain,
    failure::StartError,
    metrics::Metrics,
    store::{
        Damage, SqliteReader, SqliteStore, torn_log,
        writer::{self, Reader, Writer},
    },
};

/// Warns on standard error of data after the last commit in the database's log, before a command overwrites it or reads without it.
pub fn warn_of_torn_log(config: &Config) {
    if let Some(torn) = torn_log(&config.database) {
        complain(&format!("warning: {torn}"));
    }
}

/// Opens the store, while a server may be running, and runs `work` with it on this thread.
pub fn with_store<T>(
    config: &Config,
    work: impl AsyncFnOnce(Writer, Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    refuse_emptied(config).and_then(|()| refuse_missing(config))?;
    warn_of_torn_log(config);
    let store = SqliteStore::open_beside(&config.database, config.sqlite, SystemClock.now())?;
    let reading = SqliteReader::open(&config.database, config.sqlite.locking)?;
    let damage = Damage::default();
    let (writer, writes) = writer::writer(config.store_queue_max, &damage);
    let (reader, queries) = writer::reader(super::QUERIES_MAX, &damage);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    runtime.block_on(async {
        let writing = writer::drive_writes(store, writes, config.commit_group_max, Arc::new(Metrics::default()));
        let reading = writer::drive_reads(reading, queries);
        // The loops end after `work`, which drops the last writer and reader.
        tokio::join!(work(writer, reader), writing, reading).0
    })
}

/// Opens the store read-only, of a running server or of a backup, and runs `work` with it on this thread. Nothing is written. Data
/// that the log lost is reported on standard error, because the result may lack it.
pub fn with_reader<T>(
    config: &Config,
    work: impl AsyncFnOnce(Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    warn_of_torn_log(config);
    with_silent_reader(config, work)
}

/// The same for a command that reports itself what the log lost.
pub fn with_silent_reader<T>(
    config: &Config,
    work: impl AsyncFnOnce(Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    refuse_emptied(config).and_then(|()| refuse_missing(config))?;
    let (reading, alone) = SqliteReader::open_as_it_lies(&config.database, config.sqlite.locking)?;
    let (reader, queries) = writer::reader(super::QUERIES_MAX, &Damage::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    let done = runtime.block_on(async { tokio::join!(work(reader), writer::drive_reads(reading, queries)).0 });
    alone.check()?;
    done
}
