//! Retention of heartbeats: old rows go in small steps, each a write like any other, so that none stalls the rest.

use std::{sync::Arc, time::Duration};

use super::{Outcome, Write, Writer};
use crate::clock::Clock;

/// Rows deleted in one step: about a millisecond of the writer's time.
const STEP_ROWS: usize = 1_000;
/// Pause between steps while there is more to delete.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// Pause between looks when there is nothing to delete.
const LOOK_PAUSE: Duration = Duration::from_mins(1);

/// Deletes heartbeats older than `keep`, until the store is shut down.
pub async fn run(writer: Writer, clock: Arc<dyn Clock>, keep: Duration) {
    let keep_ms = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    loop {
        let before = clock.now().minus_ms(keep_ms);
        let pause = match writer.write(Write::Prune { before, rows_max: STEP_ROWS }).await {
            Ok(Outcome::Pruned(rows)) if rows == STEP_ROWS => STEP_PAUSE,
            Err(super::StoreError::Closed) => return,
            Ok(_) => LOOK_PAUSE,
            Err(error) => {
                tracing::warn!(%error, "a retention step failed; it will be tried again");
                LOOK_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}
