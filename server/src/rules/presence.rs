//! Times in which no server listened, and what is set right when a clock was wrong.

use std::time::Duration;

use ks_protocol::time::UnixMs;

use crate::{
    clock::{AHEAD_MAX, is_ahead, ms},
    store::{
        StoreError, Transaction,
        presence::{ObservationGap, ServerLiveness},
    },
};

/// How long before a clock was set right what was heard under it counts as heard, where nothing says when it went wrong.
const WRONG_FOR: Duration = Duration::from_hours(1);
/// How long before and after the first and last word of a server under a wrong clock devices may have been heard under it.
const BETWEEN_WORDS: Duration = Duration::from_mins(2);

/// A server listens at `at`. If none did for longer than `gap_min_ms`, that was a gap.
///
/// If the clock was ahead before, what was heard then counts as heard when it went wrong, and the time since as a gap. If it
/// is behind now, what is heard meanwhile counts, once it is right again, as heard when it went wrong.
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

/// When the clock went wrong that was ahead of `now`: where the gap begins by which it got there. If the database itself is from
/// then, nobody knows. None: it was right, and it is now that it is wrong.
fn went_wrong_at(store: &mut dyn Transaction, now: UnixMs) -> Result<Option<UnixMs>, StoreError> {
    if let Some(from) = store.gap_start(now, now + AHEAD_MAX)? {
        return Ok(Some(from));
    }
    let is_from_then = store.made_at()?.is_some_and(|made| is_ahead(made, now));
    Ok(is_from_then.then(|| now.minus_ms(ms(WRONG_FOR))))
}

/// The clock was ahead since `from`, and is right `now`. Who was heard meanwhile was heard, and nobody knows when.
fn was_ahead(store: &mut dyn Transaction, from: UnixMs, now: UnixMs) -> Result<(), StoreError> {
    let first_ahead = UnixMs((now + AHEAD_MAX).0.saturating_add(1));
    let devices = store.move_last_seen((first_ahead, UnixMs(u64::MAX)), from)?;
    store.delete_gaps_after(now)?;
    store.insert_gap(ObservationGap { from, to: now })?;
    store.save_server_alive(ServerLiveness { at: now, behind: None })?;
    tracing::warn!(%now, %from, devices, "the clock was ahead and was set back: what was heard meanwhile is no evidence of life");
    Ok(())
}

/// The clock is behind what was known before; what is heard now has wrong times.
fn is_behind(store: &mut dyn Transaction, last: ServerLiveness, now: UnixMs) -> Result<(), StoreError> {
    let (from, to) = last.behind.unwrap_or((now, now));
    store.save_server_alive(ServerLiveness { behind: Some((from.min(now), to.max(now))), ..last })?;
    if last.behind.is_none() {
        tracing::error!(%now, "the clock is behind what the database knows: set it right (`timedatectl set-ntp true`)");
    }
    Ok(())
}

/// The clock was behind from then to then, and is right again: who was heard meanwhile counts as heard `last`, when it went wrong.
fn was_behind(store: &mut dyn Transaction, (from, to): (UnixMs, UnixMs), last: UnixMs) -> Result<(), StoreError> {
    let devices = store.move_last_seen((from.minus_ms(ms(BETWEEN_WORDS)), to + BETWEEN_WORDS), last)?;
    tracing::warn!(devices, "the clock was behind and is right again");
    Ok(())
}
