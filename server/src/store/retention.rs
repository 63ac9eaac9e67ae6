//! Retention of heartbeats: old rows go in small steps, each a write like any other, so that none stalls the rest.
//!
//! Nothing is deleted on the word of a clock that jumped: after one that went ahead by more than an hour between two looks, or
//! by more than a day while the server was down, retention rests for a day, so that people can set it right.

use std::{sync::Arc, time::Duration};

use ks_protocol::time::UnixMs;
use tokio::time::Instant;

use super::{Outcome, Pruned, Reader, Write, Writer};
use crate::clock::Clock;

/// Rows looked at in one step: about a millisecond of the writer's time.
const STEP_ROWS: usize = 1_000;
/// Pause between steps while there is more to look at.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// Pause between walks. Each begins with a write, so a store that failed is tried again at least this often.
const WALK_PAUSE: Duration = Duration::from_mins(1);
/// How far the clock may go ahead of the timer between two looks.
const JUMP_MAX: Duration = Duration::from_hours(1);
/// How far it may have gone ahead of the newest heartbeat while the server was down.
const DOWN_MAX: Duration = Duration::from_hours(24);
/// How long nothing is deleted after a jump.
const REST: Duration = Duration::from_hours(24);

/// Deletes heartbeats older than `keep`, until the store is shut down.
pub async fn run(writer: Writer, reader: Reader, clock: Arc<dyn Clock>, keep: Duration) {
    let newest = reader.ask(|store| store.newest_heartbeat_at()).await.unwrap_or(None);
    let mut watch = ClockWatch::starting(clock.now(), newest);
    let mut after = 0;
    loop {
        let now = clock.now();
        let before = if watch.is_trusted(now) { now.minus_ms(ms(keep)) } else { UnixMs(0) };
        let pause = match writer.write(Write::Prune { before, now, after, rows_max: STEP_ROWS }).await {
            Ok(Outcome::Pruned(Pruned { next_after: Some(next), .. })) => {
                after = next;
                STEP_PAUSE
            }
            Err(super::StoreError::Closed) => return,
            outcome => {
                if let Err(error) = outcome {
                    tracing::warn!(%error, "a retention step failed; it will be tried again");
                }
                after = 0;
                WALK_PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Compares the clock with the timer, which knows no jumps.
struct ClockWatch {
    last: (UnixMs, Instant),
    rests_until: Option<Instant>,
}

impl ClockWatch {
    fn starting(now: UnixMs, newest_heartbeat: Option<UnixMs>) -> Self {
        let mut watch = Self { last: (now, Instant::now()), rests_until: None };
        if let Some(newest) = newest_heartbeat.filter(|newest| now.since_ms(*newest) > ms(DOWN_MAX)) {
            tracing::warn!(%now, %newest, "no heartbeat for more than a day, or the clock is wrong: retention rests for a day");
            watch.rest();
        }
        watch
    }

    fn rest(&mut self) {
        self.rests_until = Some(Instant::now() + REST);
    }

    fn is_trusted(&mut self, now: UnixMs) -> bool {
        let (then, at) = std::mem::replace(&mut self.last, (now, Instant::now()));
        let ahead_ms = now.since_ms(then).saturating_sub(ms(at.elapsed()));
        if ahead_ms > ms(JUMP_MAX) {
            tracing::warn!(%now, ahead_s = ahead_ms / 1_000, "the clock has jumped ahead: retention rests for a day");
            self.rest();
        }
        self.rests_until.is_none_or(|until| Instant::now() >= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMs = UnixMs(1_800_000_000_000);

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_jumped_is_not_trusted_for_a_day() {
        let mut watch = ClockWatch::starting(START, Some(START));
        tokio::time::advance(Duration::from_mins(1)).await;
        assert!(watch.is_trusted(START + Duration::from_mins(1)));
        let jumped = START + Duration::from_hours(40 * 24);
        assert!(!watch.is_trusted(jumped));
        tokio::time::advance(Duration::from_hours(12)).await;
        assert!(!watch.is_trusted(jumped + Duration::from_hours(12)));
        tokio::time::advance(Duration::from_hours(12)).await;
        assert!(watch.is_trusted(jumped + Duration::from_hours(24)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_long_silence_before_the_start_is_not_trusted_for_a_day() {
        let mut watch = ClockWatch::starting(START + Duration::from_hours(25), Some(START));
        assert!(!watch.is_trusted(START + Duration::from_hours(25)));
        let mut fresh = ClockWatch::starting(START, None);
        assert!(fresh.is_trusted(START));
    }
}
