//! Retention: old rows go in small steps, each a write like any other, so that none stalls the rest; and what is overdue is
//! closed in the same way.
//!
//! Nothing is deleted on the word of a clock that jumped: after one that went ahead by more than an hour between two looks, or
//! by more than a day while the server was down, retention rests for a day, so that people can set it right.

use std::{sync::Arc, time::Duration};

use ks_protocol::time::UnixMs;
use tokio::time::Instant;

use super::{Reader, StoreError, Transaction, Writer};
use crate::clock::{Clock, ms};

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
/// How long a device's change is kept for servers to follow, an ended token and a gap for people to look at.
const TRACES_KEPT: Duration = Duration::from_hours(30 * 24);

/// How long rows are kept.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// Heartbeats.
    pub heartbeats: Duration,
    /// Log lines.
    pub logs: Duration,
}

/// What a server that listens does once a minute at least, in one write with the first step of each walk.
pub async fn run(writer: Writer, reader: Reader, clock: Arc<dyn Clock>, kept: Kept) {
    let newest = reader.ask(|store| store.newest_heartbeat_at()).await.unwrap_or(None);
    let mut watch = ClockWatch::starting(clock.now(), newest);
    // A start is a gap, however short: nobody listened just before.
    let mut gap_min_ms = 0;
    loop {
        let now = clock.now();
        let limits = watch.is_trusted(now).then(|| Limits::of(kept, now));
        match walk(&writer, now, gap_min_ms, limits).await {
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "retention failed; it will be tried again"),
            Ok(()) => gap_min_ms = 2 * ms(WALK_PAUSE),
        }
        tokio::time::sleep(WALK_PAUSE).await;
    }
}

/// Before which time rows go.
#[derive(Debug, Clone, Copy)]
struct Limits {
    heartbeats: UnixMs,
    logs: UnixMs,
    traces: UnixMs,
}

impl Limits {
    fn of(kept: Kept, now: UnixMs) -> Self {
        let before = |kept: Duration| now.minus_ms(ms(kept));
        Self { heartbeats: before(kept.heartbeats), logs: before(kept.logs), traces: before(TRACES_KEPT) }
    }
}

/// Where each walk is; none once it is over.
#[derive(Debug, Clone, Copy)]
struct Places {
    overdue: Option<i64>,
    heartbeats: Option<i64>,
    logs: Option<i64>,
    traces: Option<i64>,
}

/// All walks side by side, a step of each in one write. Without limits nothing is deleted.
async fn walk(writer: &Writer, now: UnixMs, gap_min_ms: u64, limits: Option<Limits>) -> Result<(), StoreError> {
    let start = limits.map(|_| 0);
    let mut places = Places { overdue: Some(0), heartbeats: start, logs: start, traces: start };
    loop {
        places = writer
            .write(move |store| {
                store.alive(now, gap_min_ms)?;
                step(store, now, limits, places)
            })
            .await?;
        if let Places { overdue: None, heartbeats: None, logs: None, traces: None } = places {
            return Ok(());
        }
        tokio::time::sleep(STEP_PAUSE).await;
    }
}

fn step(
    store: &mut dyn Transaction,
    now: UnixMs,
    limits: Option<Limits>,
    places: Places,
) -> Result<Places, StoreError> {
    let again = |rows: usize| (rows == STEP_ROWS).then_some(0);
    let mut next = Places { overdue: None, heartbeats: None, logs: None, traces: None };
    if places.overdue.is_some() {
        next.overdue = again(store.close_overdue(now, STEP_ROWS)?);
    }
    let Some(limits) = limits else { return Ok(next) };
    if let Some(after) = places.heartbeats {
        next.heartbeats = store.prune_heartbeats(limits.heartbeats, now, after, STEP_ROWS)?.next_after;
    }
    if let Some(after) = places.logs {
        next.logs = store.prune_logs(limits.logs, after, STEP_ROWS)?.next_after;
    }
    if places.traces.is_some() {
        store.forget_gaps(limits.traces)?;
        let rows = store.forget_changes(limits.traces, STEP_ROWS)?;
        next.traces = again(rows.max(store.forget_tokens(limits.traces, STEP_ROWS)?));
    }
    Ok(next)
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
