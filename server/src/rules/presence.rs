//! Gaps in which no server listened, and the corrections after a wrong clock.

use std::time::Duration;

use ks_protocol::time::UnixMs;

use crate::{
    clock::{AHEAD_MAX, is_ahead, ms},
    store::{
        StoreError, Transaction,
        presence::{ObservationGap, ServerLiveness},
    },
};

/// How long before its correction a clock is assumed to have gone wrong, where nothing shows when it did.
const WRONG_FOR: Duration = Duration::from_hours(1);
/// How long before the first and after the last liveness record of a server under a wrong clock devices may have been seen.
const BETWEEN_RECORDS: Duration = Duration::from_mins(2);

/// A server listens at `at`. If none did for longer than `gap_min_ms`, that was a gap.
///
/// If the clock was ahead before, devices seen then count as last seen when it went wrong, and the time since as a gap. If it is
/// behind now, devices seen meanwhile count, once it is right again, as last seen when it went wrong.
pub fn alive(store: &mut dyn Transaction, at: UnixMs, gap_min_ms: u64) -> Result<(), StoreError> {
    let Some(last) = store.server_alive()? else { return store.save_server_alive(ServerLiveness { at, behind: None }) };
    if is_ahead(last.at, at) {
        return match went_wrong_at(store, at)? {
            Some(from) => was_ahead(store, from, at),
            None => is_behind(store, last, at),
        };
    }
    if let Some(behind) = last.behind {
        was_behind(store, behind, last.at)?;
    }
    if at.since_ms(last.at) > gap_min_ms {
        store.insert_gap(ObservationGap { from: last.at, to: at })?;
    }
    store.save_server_alive(ServerLiveness { at: at.max(last.at), behind: None })
}

/// When the clock that was ahead of `now` went wrong: at the start of the gap that its jump left. If the database itself was
/// created under the wrong clock, this is an assumption. None: the clock was right before and is wrong now.
fn went_wrong_at(store: &mut dyn Transaction, now: UnixMs) -> Result<Option<UnixMs>, StoreError> {
    if let Some(from) = store.gap_start(now, now + AHEAD_MAX)? {
        return Ok(Some(from));
    }
    let is_from_then = store.made_at()?.is_some_and(|made| is_ahead(made, now));
    Ok(is_from_then.then(|| now.minus_ms(ms(WRONG_FOR))))
}

/// The clock was ahead since `from`, and is right `now`. Devices seen meanwhile were seen at an unknown time.
fn was_ahead(store: &mut dyn Transaction, from: UnixMs, now: UnixMs) -> Result<(), StoreError> {
    let first_ahead = UnixMs((now + AHEAD_MAX).0.saturating_add(1));
    let devices = store.move_last_seen((first_ahead, UnixMs(u64::MAX)), from)?;
    store.delete_gaps_after(now)?;
    store.insert_gap(ObservationGap { from, to: now })?;
    store.save_server_alive(ServerLiveness { at: now, behind: None })?;
    tracing::warn!(%now, %from, devices, "the clock was ahead and was set back: when devices were last seen meanwhile is unknown");
    Ok(())
}

/// The clock is behind the newest recorded time; times recorded now are wrong.
fn is_behind(store: &mut dyn Transaction, last: ServerLiveness, now: UnixMs) -> Result<(), StoreError> {
    let (from, to) = last.behind.unwrap_or((now, now));
    store.save_server_alive(ServerLiveness { behind: Some((from.min(now), to.max(now))), ..last })?;
    if last.behind.is_none() {
        tracing::error!(%now, "the clock is behind the newest time in the database: correct it (`timedatectl set-ntp true`)");
    }
    Ok(())
}

/// The clock was behind within this span, and is right again: devices seen meanwhile count as last seen at `last`, when it went
/// wrong.
fn was_behind(store: &mut dyn Transaction, (from, to): (UnixMs, UnixMs), last: UnixMs) -> Result<(), StoreError> {
    let devices = store.move_last_seen((from.minus_ms(ms(BETWEEN_RECORDS)), to + BETWEEN_RECORDS), last)?;
    tracing::warn!(devices, "the clock was behind and is right again");
    Ok(())
}
