//! Evaluates every open rollout: when a device's update progressed, and every half minute.
//!
//! An evaluation reads and decides inside one transaction ([`crate::rules::rollouts::look`]); no state is held in memory that a
//! crash could lose.

use std::time::Duration;

use crate::{
    app::App,
    clock::ms,
    rules::rollouts::{Look, look},
    store::{StoreError, rollouts::DecisionRecord},
};

/// The interval of evaluations when nothing happens.
const EVALUATION_INTERVAL: Duration = Duration::from_secs(30);
/// The least interval of evaluations when much happens.
const EVALUATION_INTERVAL_MIN: Duration = Duration::from_secs(1);

/// Decisions that are read at a time.
const DECISIONS_PAGE: usize = 1_000;

/// Evaluates rollouts until the store is shut down.
pub async fn run(app: &App) {
    loop {
        match evaluate_all(app).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, "rollouts could not be evaluated; retrying"),
        }
        tokio::time::sleep(EVALUATION_INTERVAL_MIN).await;
        app.rollouts.due(EVALUATION_INTERVAL).await;
    }
}

async fn evaluate_all(app: &App) -> Result<(), StoreError> {
    let open = app.reader.ask(|store| store.open_rollout_ids()).await?;
    app.metrics.rollouts_open.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
    for rollout_id in open {
        let with = evaluation_now(app);
        app.writer.write(move |store| look(store, &rollout_id, with)).await?;
    }
    Ok(())
}

/// Counts and logs the decisions up to this row: those of this server, and those of other processes on the same database.
///
/// # Errors
/// The store can't be read.
pub async fn count_decisions(app: &App, newest: i64) -> Result<(), StoreError> {
    let mut counted = app.rollouts.counted.lock().await;
    while *counted < newest {
        let after = *counted;
        let decided = app.reader.ask(move |store| store.decided_after(after, DECISIONS_PAGE)).await?;
        for (rollout_id, decision) in &decided {
            let DecisionRecord { what, actor, stage, why, .. } = decision;
            tracing::info!(%rollout_id, what, actor, stage, why, "rollout");
            app.metrics.decided(what);
        }
        *counted = decided.last().map_or(newest, |(_, last)| last.row);
    }
    Ok(())
}

/// The inputs of an evaluation, now.
pub fn evaluation_now(app: &App) -> Look {
    Look { at: app.clock.now(), heartbeat_interval_ms: ms(app.config.heartbeat_interval), dice: app.rng.bytes_32() }
}
