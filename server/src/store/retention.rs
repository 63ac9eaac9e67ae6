//! Retention: old rows go in small steps, each a write like any other, so that none stalls the rest; and what is overdue is
//! closed in the same way.
//!
//! Nothing is deleted or closed on the word of a clock that jumped: after one that went ahead by more than an hour between two looks, or
//! by more than a day while the server was down, retention rests for a day, so that people can set it right. A restart within
//! that day ends no rest: the jump stands in the database, as a gap in which no server listened.

use std::{sync::Arc, time::Duration};

use ks_protocol::time::UnixMs;
use tokio::time::Instant;

use super::{Reader, StoreError, Transaction, Writer, presence::ObservationGap};
use crate::{
    clock::{Clock, ms},
    rules,
};

/// Rows looked at in one step: about a millisecond of the writer's time.
const STEP_ROWS: usize = 1_000;
/// Pause between steps while there is more to look at.
const STEP_PAUSE: Duration = Duration::from_millis(50);
/// Pause between walks. Each begins with a write, so a store that failed is tried again at least this often.
const WALK_PAUSE: Duration = Duration::from_mins(1);
/// How long no server may say that it listens before that is a gap, in milliseconds.
pub const GAP_MIN_MS: u64 = 2 * 60_000;
/// How far the clock may go ahead of the timer between two looks.
const JUMP_MAX: Duration = Duration::from_hours(1);
/// How far it may have gone ahead of the newest heartbeat while the server was down.
const DOWN_MAX: Duration = Duration::from_hours(24);
/// How long nothing is deleted after a jump.
const REST: Duration = Duration::from_hours(24);
/// How long a device's change is kept for servers to follow, an ended token (a one-time token too) and a gap for people to look
/// at.
const TRACES_KEPT: Duration = Duration::from_hours(30 * 24);

/// How long rows are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    pub heartbeats: Duration,
    /// Log lines.
    pub logs: Duration,
    /// Commands that have ended.
    pub commands: Duration,
    /// What firmware devices ran before.
    pub firmware_history: Duration,
}

/// What a server that listens does once a minute at least, in one write with the first step of each walk.
pub async fn run(writer: Writer, reader: Reader, clock: Arc<dyn Clock>, kept: Retention) {
    let now = clock.now();
    let newest = reader.ask(|store| store.newest_heartbeat_at()).await.unwrap_or(None);
    let gaps = reader.ask(move |store| store.gaps(now.minus_ms(ms(REST)))).await.unwrap_or_default();
    let mut watch = ClockWatch::starting(now, newest, &gaps);
    // A start is a gap, however short: nobody listened just before.
    let mut gap_min_ms = 0;
    loop {
        let now = clock.now();
        let limits = watch.is_trusted(now).then(|| Limits::of(kept, now));
        match walk(&writer, now, gap_min_ms, limits).await {
            Err(StoreError::Closed) => return,
            Err(error) => tracing::warn!(%error, "retention failed; it will be tried again"),
            Ok(()) => gap_min_ms = GAP_MIN_MS,
        }
        tokio::time::sleep(WALK_PAUSE).await;
    }
}

/// Before which time rows go.
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

/// Where each walk is; none once it is over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Places {
    overdue: Option<i64>,
    heartbeats: Option<i64>,
    logs: Option<i64>,
    commands: Option<i64>,
    firmware_history: Option<i64>,
    traces: Option<i64>,
}

/// All walks side by side, a step of each in one write. Without limits nothing is closed or deleted.
async fn walk(writer: &Writer, now: UnixMs, gap_min_ms: u64, limits: Option<Limits>) -> Result<(), StoreError> {
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

/// Compares the clock with the timer, which knows no jumps.
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
    async fn a_restart_under_a_clock_that_jumped_ends_no_rest() {
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
