//! A slow walk over the firmware images that may be offered: one that rots, is cut or is gone is noticed here, and not by a fleet.
//!
//! What is found is written down, and all else follows from that: a device is offered no release whose image is broken
//! (`store/sqlite/rollouts.rs`), nobody can fetch it (`data_plane/artifact.rs`), and its rollouts pause at their next look
//! (`service/rollouts/driver.rs`). An image that is put back is found sound by the next walk; people resume the rollouts.

use std::time::Duration;

use ks_protocol::text::Sha256;

use crate::{
    app::App,
    rules,
    store::{By, StoreError},
};

/// Walks begin with the server, and this many recounts after each.
const RECOUNTS: u32 = 6 * 60;
/// How often broken images are counted: people put them back between two walks by the command line.
const RECOUNT_EVERY: Duration = Duration::from_mins(1);

/// Walks until the store is shut down.
pub async fn run(app: &App) {
    loop {
        let mut done = walk(app).await;
        for _ in 0..RECOUNTS {
            match done {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "firmware images could not be checked; it will be tried again"),
            }
            tokio::time::sleep(RECOUNT_EVERY).await;
            done = count_broken(app).await;
        }
    }
}

async fn walk(app: &App) -> Result<(), StoreError> {
    count_broken(app).await?;
    let mut after = None;
    while let Some(image) = app.reader.ask(move |store| store.offered_artifact_after(after)).await? {
        after = Some(image.sha256);
        let bytes_per_s = app.config.artifact_limits.scrub_bytes_per_s;
        match app.artifacts.fault(image.sha256, image.size_bytes, bytes_per_s).await {
            Ok(fault) if fault != image.fault => note(app, image.sha256, fault).await?,
            Ok(_) => {}
            Err(error) => tracing::warn!(sha256 = %image.sha256, %error, "a firmware image can't be checked now"),
        }
        app.metrics.artifact_checks.inc();
    }
    Ok(())
}

async fn note(app: &App, sha256: Sha256, fault: Option<String>) -> Result<(), StoreError> {
    if let Some(fault) = &fault {
        tracing::error!(
            %sha256,
            fault,
            "a firmware image is broken: it is offered no more, and its rollouts pause; upload the very image again"
        );
    } else {
        tracing::warn!(%sha256, "a firmware image is sound again; resume its rollouts");
    }
    let by = By { name: "ks-server".to_owned(), address: None, at: app.clock.now() };
    app.writer.write(move |store| rules::releases::note_artifact(store, sha256, fault.as_deref(), &by)).await?;
    app.rollouts.wake();
    count_broken(app).await
}

/// Counts images that are broken, for /metrics.
///
/// # Errors
/// The store failed.
pub async fn count_broken(app: &App) -> Result<(), StoreError> {
    let broken = app.reader.ask(|store| store.broken_artifacts()).await?.len();
    app.metrics.artifacts_broken.set(i64::try_from(broken).unwrap_or(i64::MAX));
    Ok(())
}
