//! Background work: retention, rollouts, firmware image checks, unfinished orders, and changes that other processes made to the same
//! database.

use std::{sync::Arc, time::Duration};

use super::{bulk, rollouts::driver, scrub};
use crate::{
    app::App,
    config::Locking,
    keys::KeyringError,
    rules,
    store::{
        StoreError,
        retention::{self, Retention},
    },
};

/// Interval of the check for changes by other processes.
const FOLLOW_INTERVAL: Duration = Duration::from_secs(1);
/// Interval of commit attempts while commits fail.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Runs all background work until the store is shut down.
pub async fn run(app: App) {
    let retained = Retention {
        heartbeats: app.config.heartbeat_retention,
        logs: app.config.log_retention,
        commands: app.config.command_retention,
        firmware_history: app.config.firmware_history_retention,
    };
    let retention = retention::run(app.writer.clone(), app.reader.clone(), Arc::clone(&app.clock), retained);
    tokio::join!(retention, follow(&app), retry(&app), driver::run(&app), scrub::run(&app), bulk::finish_orders(&app));
}

/// Tries a harmless commit: the liveness record that an idle server writes each minute anyway.
///
/// # Errors
/// The commit fails.
pub async fn try_commit(app: &App) -> Result<(), StoreError> {
    let now = app.clock.now();
    app.writer.write(move |store| rules::presence::alive(store, now, retention::GAP_MIN_MS)).await
}

/// While commits fail, tries one every second, so that recovery is noticed soon even without other writes.
async fn retry(app: &App) {
    loop {
        tokio::time::sleep(RETRY_INTERVAL).await;
        if app.writer.trouble().is_some() && try_commit(app).await == Err(StoreError::Closed) {
            return;
        }
    }
}

/// Every second, applies what changed devices, keys and rollouts: other processes, and this server's own background work.
async fn follow(app: &App) {
    let locking = app.config.sqlite.locking;
    let mut applied_writes = None;
    loop {
        tokio::time::sleep(FOLLOW_INTERVAL).await;
        if locking != Locking::Private && check_files(app).await == Err(StoreError::Closed) {
            return;
        }
        // Where no other process writes, nothing has changed unless this one wrote.
        let cold_writes = Some(app.writer.cold_writes());
        if locking != Locking::Shared && cold_writes == applied_writes {
            continue;
        }
        let applied = apply_changes(app).await;
        applied_writes = applied.is_ok().then_some(cold_writes).flatten();
        match applied {
            Ok(()) | Err(KeyringError::Store(StoreError::Damaged(_))) => {} // damage was logged when it was found
            Err(KeyringError::Store(StoreError::Closed)) => return,
            Err(error) => {
                tracing::error!(%error, "changes by other processes can't be applied; will retry");
            }
        }
    }
}

/// Detects moved or deleted store files even without writes. Logs an error once, and a warning when the files are back.
///
/// # Errors
/// The files can't be checked.
async fn check_files(app: &App) -> Result<(), StoreError> {
    let found = app.reader.ask(|store| Ok((store.in_place()?, store.disk_free_bytes()))).await;
    app.metrics.store_damaged.set(i64::from(app.writer.damage().is_err()));
    if let Ok((wal_bytes, free_bytes)) = found.clone() {
        free_bytes.inspect(|free_bytes| check_reserve(app, *free_bytes));
        app.metrics.store_wal_bytes.set(i64::try_from(wal_bytes).unwrap_or(i64::MAX));
    }
    let is_misplaced = matches!(found, Err(StoreError::Misplaced(_)));
    let was_misplaced = app.metrics.store_misplaced.set(i64::from(is_misplaced)) != 0;
    match &found {
        Err(error @ StoreError::Misplaced(_)) if !was_misplaced => {
            tracing::error!(%error, "the database files are missing");
        }
        Ok(_) if was_misplaced => tracing::warn!("the database files are back"),
        _ => {}
    }
    found.map(|_| ())
}

/// Logs when the disk is nearly full, while there is still room for a revocation, and when there is space again.
fn check_reserve(app: &App, free_bytes: u64) {
    app.metrics.disk_free_bytes.set(i64::try_from(free_bytes).unwrap_or(i64::MAX));
    let reserve_bytes = app.config.disk_reserve_bytes;
    let is_short = free_bytes < reserve_bytes;
    match (app.set_short_of_disk(is_short), is_short) {
        (false, true) => tracing::error!(
            free_bytes,
            reserve_bytes,
            "the disk is nearly full: device data is no longer stored; the remaining space is reserved for operators"
        ),
        (true, false) => tracing::warn!(free_bytes, "the disk has free space again"),
        _ => {}
    }
}

async fn apply_changes(app: &App) -> Result<(), KeyringError> {
    let newest = app.reader.ask(|store| store.newest()).await?;
    let devices = app.registry.follow_to(newest, &app.reader).await;
    let at = app.clock.now();
    app.keyring.follow_to(newest.keyset_version, &app.writer, &app.reader, at).await?;
    app.applied_limits.follow_to(newest.limits_version, &app.reader).await?;
    driver::count_decisions(app, newest.decision).await?;
    app.newest.send_if_modified(|known| std::mem::replace(known, newest) != newest);
    Ok(devices?)
}
