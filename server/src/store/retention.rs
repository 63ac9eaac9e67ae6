//! Retention: deletes old rows in small steps, each an ordinary write, so that none blocks others; and closes overdue commands in
//! the same way.
//!
//! Nothing is deleted or closed after the clock jumped: if it went ahead by more than an hour between two checks, or by more than a
//! day while the server was down, retention rests for a day, so that operators can correct it. A restart within that day does not
//! end the rest: the database records the jump as a gap in which no server was running.

use std::{sync::Arc, time::Duration};

use ks_protocol::time::UnixMs;
use tokio::time::Instant;

use super::{Reader, StoreError, Transaction, Writer, presence::ObservationGap};
use crate::{
    clock::{Clock, ms},
    rules,
};

/// Rows read in one step: about a millisecond of the writer's time.
const STEP_ROWS: usize = 1_000;
/// Pause between steps while rows remain.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// Pause between scans. Each begins with a write, so a failed store is retried at least this often.
const SCAN_PAUSE: Duration = Duration::from_mins(1);
/// Time without a liveness record that counts as a gap, in milliseconds.
pub const GAP_MIN_MS: u64 = 2 * 60_000;
/// How far the clock may go ahead of the timer between two checks.
const JUMP_MAX: Duration = Duration::from_hours(1);
/// How far it may have gone ahead of the newest heartbeat while the server was down.
const DOWN_MAX: Duration = Duration::from_hours(24);
/// How long nothing is deleted after a jump.
const REST: Duration = Duration::from_hours(24);
/// How long device changes are kept for servers to follow, and ended tokens (one-time tokens too) and gaps for operators to
/// inspect.
const TRACES_KEPT: Duration = Duration::from_hours(30 * 24);

/// How long rows are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    pub heartbeats: Duration,
    pub logs: Duration,
    /// Commands that have ended.
    pub commands: Duration,
    /// Earlier firmware of devices.
    pub firmware_history: Duration,
}

/// A running server's periodic work, at least once a minute: the liveness record, in one write with the first step of each scan.
pub async fn run(writer: Writer, reader: Reader, clock: Arc<dyn Clock>, kept: Retention) {
    let now = clock.now();
    let newest = reader.ask(|store| store.newest_heartbeat_at()).await.unwrap_or(None);
    let gaps = reader.ask(move |store| store.gaps(now.minus_ms(ms(REST)))).await.unwrap_or_default();
    let mut watch = ClockWatch::starting(now, newest, &gaps);
    // A start always records a gap, however short: no server was running just before.
    let mut gap_min_ms = 0;
    loop {
        let now = clock.now();
        let limits = watch.is_trusted(now).then(|| Limits::of(kept, now));
        match scan(&writer, now, gap_min_ms, limits).await {
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "retention failed; it will be tried again"),
            Ok(()) => gap_min_ms = GAP_MIN_MS,
        }
        tokio::time::sleep(SCAN_PAUSE).await;
    }
}

/// The times before which rows are deleted.
#[derive(Debug, Clone, Copy)]
struct Limits {
    heartbeats: UnixMs,
    logs: UnixMs,
    commands: UnixMs,
    firmware_history: UnixMs,
    traces: UnixMs,
}

impl Limits {
    fn of(kept: Retention, now: UnixMs) -> Self {
        let before = |kept: Duration| now.minus_ms(ms(kept));
        Self {
            heartbeats: before(kept.heartbeats),
            logs: before(kept.logs),
            commands: before(kept.commands),
            firmware_history: before(kept.firmware_history),
            traces: before(TRACES_KEPT),
        }
    }
}

/// Position of each scan; none once it is complete.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Places {
    overdue: Option<i64>,
    heartbeats: Option<i64>,
    logs: Option<i64>,
    commands: Option<i64>,
    firmware_history: Option<i64>,
    traces: Option<i64>,
}

/// Runs all scans together, one step of each per write. Without limits nothing is closed or deleted.
async fn scan(writer: &Writer, now: UnixMs, gap_min_ms: u64, limits: Option<Limits>) -> Result<(), StoreError> {
    let start = limits.map(|_| 0);
    let mut places = Places {
        overdue: start,
        heartbeats: start,
        logs: start,
        commands: start,
        firmware_history: start,
        traces: start,
    };
    loop {
        places = writer
            .write(move |store| {
                rules::presence::alive(store, now, gap_min_ms)?;
                step(store, now, limits, places)
            })
            .await?;
        if places == Places::default() {
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
    let mut next = Places::default();
    let Some(limits) = limits else { return Ok(next) };
    if places.overdue.is_some() {
        next.overdue = again(rules::commands::close_overdue(store, now, STEP_ROWS)?);
    }
    if let Some(after) = places.heartbeats {
        next.heartbeats = rules::heartbeats::prune(store, limits.heartbeats, now, after, STEP_ROWS)?.next_after;
    }
    if let Some(after) = places.logs {
        next.logs = rules::logs::prune(store, limits.logs, after, STEP_ROWS)?.next_after;
    }
    if let Some(after) = places.commands {
        next.commands = rules::commands::prune(store, limits.commands, after, STEP_ROWS)?.next_after;
    }
    if let Some(after) = places.firmware_history {
        next.firmware_history =
            rules::heartbeats::prune_firmware_history(store, limits.firmware_history, after, STEP_ROWS)?.next_after;
    }
    if places.traces.is_some() {
        store.forget_gaps(limits.traces)?;
        let rows = store.forget_changes(limits.traces, STEP_ROWS)?;
        let rows = rows.max(store.forget_tokens(limits.traces, STEP_ROWS)?);
        next.traces = again(rows.max(store.forget_otrts(limits.traces, STEP_ROWS)?));
    }
    Ok(next)
}

/// Compares the clock with the timer, which never jumps.
struct ClockWatch {
    last: (UnixMs, Instant),
    rests_until: Option<Instant>,
}

impl ClockWatch {
    /// `gaps` are those that ended within the last [`REST`].
    fn starting(now: UnixMs, newest_heartbeat: Option<UnixMs>, gaps: &[ObservationGap]) -> Self {
        let mut watch = Self { last: (now, Instant::now()), rests_until: None };
        if let Some(newest) = newest_heartbeat.filter(|newest| now.since_ms(*newest) > ms(DOWN_MAX)) {
            tracing::warn!(%now, %newest, "no heartbeat for more than a day, or the clock is wrong: retention rests for a day");
            watch.rest(REST);
        } else if let Some(gap) = gaps.iter().rfind(|gap| gap.to.since_ms(gap.from) > ms(DOWN_MAX)) {
            tracing::warn!(from = %gap.from, to = %gap.to, "the clock has jumped ahead, or no server ran: retention rests for a day since");
            watch.rest(REST.saturating_sub(Duration::from_millis(now.since_ms(gap.to))));
        }
        watch
    }

    fn rest(&mut self, duration: Duration) {
        self.rests_until = Some(Instant::now() + duration);
    }

    fn is_trusted(&mut self, now: UnixMs) -> bool {
        let (then, at) = std::mem::replace(&mut self.last, (now, Instant::now()));
        let ahead_ms = now.since_ms(then).saturating_sub(ms(at.elapsed()));
        if ahead_ms > ms(JUMP_MAX) {
            tracing::warn!(%now, ahead_s = ahead_ms / 1_000, "the clock has jumped ahead: retention rests for a day");
            self.rest(REST);
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
        let mut watch = ClockWatch::starting(START, Some(START), &[]);
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
        let mut watch = ClockWatch::starting(START + Duration::from_hours(25), Some(START), &[]);
        assert!(!watch.is_trusted(START + Duration::from_hours(25)));
        let mut fresh = ClockWatch::starting(START, None, &[]);
        assert!(fresh.is_trusted(START));
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_after_a_clock_jump_does_not_end_the_rest() {
        let jumped = START + Duration::from_hours(240);
        let gaps = [ObservationGap { from: START, to: jumped }];
        let mut now = jumped + Duration::from_hours(20);
        let mut watch = ClockWatch::starting(now, Some(now), &gaps);
        assert!(!watch.is_trusted(now), "the newest heartbeat is as wrong as the clock");
        tokio::time::advance(Duration::from_hours(3)).await;
        now = now + Duration::from_hours(3);
        assert!(!watch.is_trusted(now));
        tokio::time::advance(Duration::from_hours(1)).await;
        assert!(watch.is_trusted(now + Duration::from_hours(1)), "a day after the jump");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_was_ahead_or_behind_and_is_right_is_trusted() {
        let ten_days = Duration::from_hours(240);
        for (wrong, right, is_rest) in [(START + ten_days, START, false), (START, START + ten_days, true)] {
            let mut watch = ClockWatch::starting(wrong, Some(wrong), &[]);
            assert!(watch.is_trusted(wrong));
            assert_eq!(watch.is_trusted(right), !is_rest, "only a jump ahead can delete too much");
            let mut restarted = ClockWatch::starting(right, Some(wrong), &[]);
            assert_eq!(restarted.is_trusted(right), !is_rest);
        }
    }
}
