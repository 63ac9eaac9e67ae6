//! Evaluates every open rollout: when a device's update makes progress, and at least every 30 seconds.
//!
//! An evaluation reads and decides inside one transaction ([`crate::rules::rollouts::evaluate`]); no state is kept in memory that a crash
//! could lose.

use std::time::Duration;

use crate::{
    app::App,
    clock::ms,
    rules::rollouts::{Evaluation, evaluate},
    store::{StoreError, rollouts::DecisionRecord},
};

/// Longest time between two evaluations.
const INTERVAL_MAX: Duration = Duration::from_secs(30);
/// Shortest time between two evaluations.
const INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Decisions read from the store at a time.
const PAGE: usize = 1_000;

/// Evaluates rollouts until the store is shut down.
pub async fn run(app: &App) {
    loop {
        match evaluate_all(app).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, "rollouts could not be evaluated; will retry"),
        }
        tokio::time::sleep(INTERVAL_MIN).await;
        app.rollouts.due(INTERVAL_MAX).await;
    }
}

async fn evaluate_all(app: &App) -> Result<(), StoreError> {
    let open = app.reader.ask(|store| store.open_rollout_ids()).await?;
    app.metrics.rollouts_open.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
    for rollout_id in open {
        let evaluation = evaluation_now(app);
        app.writer.write(move |store| evaluate(store, &rollout_id, evaluation)).await?;
    }
    Ok(())
}

/// Counts and logs the decisions up to row `newest`: this server's, and those of other processes on the same database.
///
/// # Errors
/// The store fails.
pub async fn count_decisions(app: &App, newest: i64) -> Result<(), StoreError> {
    let mut counted = app.rollouts.counted.lock().await;
    while *counted < newest {
        let after = *counted;
        let decisions = app.reader.ask(move |store| store.decided_after(after, PAGE)).await?;
        for (rollout_id, decision) in &decisions {
            let DecisionRecord { what, actor, stage, why, .. } = decision;
            tracing::info!(%rollout_id, what, actor, stage, why, "rollout");
            app.metrics.decided(what);
        }
        *counted = decisions.last().map_or(newest, |(_, last)| last.row);
    }
    Ok(())
}

/// The inputs of an evaluation at the current time.
pub fn evaluation_now(app: &App) -> Evaluation {
    Evaluation {
        at: app.clock.now(),
        heartbeat_interval_ms: ms(app.config.heartbeat_interval),
        seed: app.rng.bytes_32(),
    }
}
