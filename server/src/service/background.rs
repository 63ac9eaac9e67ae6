//! The work that goes on beside requests: retention, rollouts, images looked over, orders finished, and what other programs changed
//! on the same database.

use std::{sync::Arc, time::Duration};

use super::{bulk, rollouts::driver, scrub};
use crate::{
    app::App,
    keys::KeyringError,
    rules,
    store::{
        StoreError,
        retention::{self, Kept},
    },
};

/// How often changes by other programs are looked for.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);
/// How often a commit is tried while they fail.
const RETRY_EVERY: Duration = Duration::from_secs(1);

/// The work that goes on beside requests; ends when the store is shut down.
pub async fn run(app: App) {
    let kept = Kept {
        heartbeats: app.config.heartbeat_retention,
        logs: app.config.log_retention,
        commands: app.config.command_retention,
        firmware_history: app.config.firmware_history_retention,
    };
    let retention = retention::run(app.writer.clone(), app.reader.clone(), Arc::clone(&app.clock), kept);
    tokio::join!(retention, follow(&app), retry(&app), driver::run(&app), scrub::run(&app), bulk::finish_orders(&app));
}

/// One write that changes nothing that anybody asked for: what an idle server writes each minute anyway.
///
/// # Errors
/// No commit succeeds.
pub async fn try_commit(app: &App) -> Result<(), StoreError> {
    let now = app.clock.now();
    app.writer.write(move |store| rules::presence::alive(store, now, retention::GAP_MIN_MS)).await
}

/// Once commits fail, tries one every second, so that it shows soon that the store was mended, also where nobody writes.
async fn retry(app: &App) {
    loop {
        tokio::time::sleep(RETRY_EVERY).await;
        if app.writer.trouble().is_some() && try_commit(app).await == Err(StoreError::Closed) {
            return;
        }
    }
}

/// Takes over, every second, what other programs changed: devices, keys, rollouts.
async fn follow(app: &App) {
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        look_at_files(app).await;
        match take_over(app).await {
            Ok(()) | Err(KeyringError::Store(StoreError::Damaged(_))) => {} // damage was said when it was found
            Err(KeyringError::Store(StoreError::Closed)) => return,
            Err(error) => {
                tracing::error!(%error, "what others changed can't be taken over; it will be tried again");
            }
        }
    }
}

/// Notices, also when nobody writes, that the store's files are not where they were: pages once, and says when they are back.
async fn look_at_files(app: &App) {
    let found = app.reader.ask(|store| Ok((store.in_place()?, store.disk_free_bytes()))).await;
    app.metrics.store_damaged.set(i64::from(app.writer.damage().is_err()));
    if let Ok((wal_bytes, free_bytes)) = found {
        free_bytes.inspect(|free_bytes| keep_reserve(app, *free_bytes));
        app.metrics.store_wal_bytes.set(i64::try_from(wal_bytes).unwrap_or(i64::MAX));
    }
    let is_misplaced = matches!(found, Err(StoreError::Misplaced(_)));
    let was_misplaced = app.metrics.store_misplaced.set(i64::from(is_misplaced)) != 0;
    match found {
        Err(error @ StoreError::Misplaced(_)) if !was_misplaced => tracing::error!(%error, "the database is lost"),
        Ok(_) if was_misplaced => tracing::warn!("the database is where it was again"),
        _ => {}
    }
}

/// Says when the disk is nearly full, while there is still room for a revocation, and when it is no more.
fn keep_reserve(app: &App, free_bytes: u64) {
    app.metrics.disk_free_bytes.set(i64::try_from(free_bytes).unwrap_or(i64::MAX));
    let reserve_bytes = app.config.disk_reserve_bytes;
    let is_short = free_bytes < reserve_bytes;
    match (app.set_short_of_disk(is_short), is_short) {
        (false, true) => tracing::error!(
            free_bytes,
            reserve_bytes,
            "the disk is nearly full: nothing more of devices is stored, what is left is for operators"
        ),
        (true, false) => tracing::warn!(free_bytes, "there is room on the disk again"),
        _ => {}
    }
}

async fn take_over(app: &App) -> Result<(), KeyringError> {
    let newest = app.reader.ask(|store| store.newest()).await?;
    let devices = app.registry.follow_to(newest, &app.reader).await;
    let at = app.clock.now();
    app.keyring.follow_to(newest.keyset_version, &app.writer, &app.reader, at).await?;
    driver::count_decisions(app, newest.decision).await?;
    Ok(devices?)
}
