//! The store opened by a command, beside a server that may be running.

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

/// Says on standard error what stands behind the last commit of the database's log, before a command writes over it or reads without it.
pub fn complain_of_torn_log(config: &Config) {
    if let Some(torn) = torn_log(&config.database) {
        complain(&format!("warning: {torn}"));
    }
}

/// Opens the store beside a server that may be running, and does something with it, on this thread.
pub fn with_store<T>(
    config: &Config,
    work: impl AsyncFnOnce(Writer, Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    refuse_emptied(config).and_then(|()| refuse_missing(config))?;
    complain_of_torn_log(config);
    let store = SqliteStore::open_beside(&config.database, config.sqlite, SystemClock.now())?;
    let reading = SqliteReader::open(&config.database, config.sqlite.locking)?;
    let damage = Damage::default();
    let (writer, writes) = writer::writer(config.store_queue_max, &damage);
    let (reader, questions) = writer::reader(1_024, &damage);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    runtime.block_on(async {
        let writing = writer::drive_writes(store, writes, config.commit_group_max, Arc::new(Metrics::default()));
        let reading = writer::drive_reads(reading, questions);
        // The loops end with the work, which takes the last writer and reader with it.
        tokio::join!(work(writer, reader), writing, reading).0
    })
}

/// Opens the store only to read it, beside a server that may be running or where a backup lies, and does something with it, on
/// this thread. Nothing is written; what the log lost is said on standard error, since what is read then may be short of it.
pub fn with_reader<T>(
    config: &Config,
    work: impl AsyncFnOnce(Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    complain_of_torn_log(config);
    with_silent_reader(config, work)
}

/// The same for a command that says itself what the log lost.
pub fn with_silent_reader<T>(
    config: &Config,
    work: impl AsyncFnOnce(Reader) -> Result<T, StartError>,
) -> Result<T, StartError> {
    refuse_emptied(config).and_then(|()| refuse_missing(config))?;
    let (reading, alone) = SqliteReader::open_as_it_lies(&config.database, config.sqlite.locking)?;
    let (reader, questions) = writer::reader(1_024, &Damage::default());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.map_err(|cause| StartError::System { what: "start the runtime", cause })?;
    let done = runtime.block_on(async { tokio::join!(work(reader), writer::drive_reads(reading, questions)).0 });
    alone.check()?;
    done
}
