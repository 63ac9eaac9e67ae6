//! Has every open rollout looked at: when a device's update got anywhere, and every half minute.
//!
//! A look reads and decides inside one transaction ([`crate::rules::rollouts::look`]); nothing is kept in memory that a crash could
//! lose.

use std::time::Duration;

use crate::{
    app::App,
    clock::ms,
    rules::rollouts::{Look, look},
    store::{StoreError, rollouts::DecisionRecord},
};

/// How often a rollout is looked at when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked at most when much happens.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Decisions read at a time to be counted.
const DECISIONS_AT_ONCE: usize = 1_000;

/// Looks at rollouts until the store is shut down.
pub async fn run(app: &App) {
    loop {
        match look_at_all(app).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, "rollouts could not be looked at; it will be tried again"),
        }
        tokio::time::sleep(LOOK_AT_MOST_EVERY).await;
        app.rollouts.due(LOOK_EVERY).await;
    }
}

async fn look_at_all(app: &App) -> Result<(), StoreError> {
    let open = app.reader.ask(|store| store.open_rollout_ids()).await?;
    app.metrics.rollouts_open.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
    for rollout_id in open {
        let with = look_now(app);
        app.writer.write(move |store| look(store, &rollout_id, with)).await?;
    }
    Ok(())
}

/// Counts and logs the decisions up to this row: this server's, and those that another process ordered on the same database.
///
/// # Errors
/// The store can't be asked.
pub async fn count_decisions(app: &App, newest: i64) -> Result<(), StoreError> {
    let mut counted = app.rollouts.counted.lock().await;
    while *counted < newest {
        let after = *counted;
        let decided = app.reader.ask(move |store| store.decided_after(after, DECISIONS_AT_ONCE)).await?;
        for (rollout_id, decision) in &decided {
            let DecisionRecord { what, actor, stage, why, .. } = decision;
            tracing::info!(%rollout_id, what, actor, stage, why, "rollout");
            app.metrics.decided(what);
        }
        *counted = decided.last().map_or(newest, |(_, last)| last.row);
    }
    Ok(())
}

/// What a look at a rollout needs, now.
pub fn look_now(app: &App) -> Look {
    Look { at: app.clock.now(), heartbeat_interval_ms: ms(app.config.heartbeat_interval), dice: app.rng.bytes_32() }
}
