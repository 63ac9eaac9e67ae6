//! A slow scan of the firmware images that may be offered: it detects a corrupt, truncated or missing image before devices do.
//!
//! The scan only records its findings. As a consequence, no device is offered a release with a broken image
//! (`store/sqlite/rollouts.rs`) or can download it (`data_plane/artifact.rs`), and its rollouts pause at their next evaluation
//! (`service/rollouts/driver.rs`). A restored image is found intact by the next scan; operators resume the rollouts.

use std::time::Duration;

use ks_protocol::text::Sha256;

use crate::{
    app::App,
    rules,
    store::{Actor, StoreError},
};

/// Recounts between two scans. The first scan begins when the server starts.
const RECOUNTS: u32 = 6 * 60;
/// Interval of the count of broken images: operators can restore them with the command line between two scans.
const RECOUNT_INTERVAL: Duration = Duration::from_mins(1);

/// Scans until the store is shut down.
pub async fn run(app: &App) {
    loop {
        let mut done = scan(app).await;
        for _ in 0..RECOUNTS {
            match done {
                Ok(()) => {}
                Err(StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "firmware images could not be checked; will retry"),
            }
            tokio::time::sleep(RECOUNT_INTERVAL).await;
            done = count_broken(app).await;
        }
    }
}

async fn scan(app: &App) -> Result<(), StoreError> {
    count_broken(app).await?;
    let mut after = None;
    while let Some(image) = app.reader.ask(move |store| store.offered_artifact_after(after)).await? {
        after = Some(image.sha256);
        let bytes_per_s = app.config.artifact_limits.scrub_bytes_per_s;
        match app.artifacts.fault(image.sha256, image.size_bytes, bytes_per_s).await {
            Ok(fault) if fault != image.fault => record(app, image.sha256, fault).await?,
            Ok(_) => {}
            Err(error) => tracing::warn!(sha256 = %image.sha256, %error, "a firmware image can't be checked now"),
        }
        app.metrics.artifact_checks.inc();
    }
    Ok(())
}

async fn record(app: &App, sha256: Sha256, fault: Option<String>) -> Result<(), StoreError> {
    if let Some(fault) = &fault {
        tracing::error!(
            %sha256,
            fault,
            "a firmware image is broken: it is no longer offered, and its rollouts pause; upload the same image again"
        );
    } else {
        tracing::warn!(%sha256, "a firmware image is intact again; resume its rollouts");
    }
    let by = Actor { name: "ks-server".to_owned(), address: None, at: app.clock.now() };
    app.writer.write(move |store| rules::releases::note_artifact(store, sha256, fault.as_deref(), &by)).await?;
    app.rollouts.wake();
    count_broken(app).await
}

/// Updates the metric of broken images.
///
/// # Errors
/// The store failed.
pub async fn count_broken(app: &App) -> Result<(), StoreError> {
    let broken = app.reader.ask(|store| store.broken_artifacts()).await?.len();
    app.metrics.artifacts_broken.set(i64::try_from(broken).unwrap_or(i64::MAX));
    Ok(())
}
