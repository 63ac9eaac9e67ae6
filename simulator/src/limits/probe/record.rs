//! Calls a limit until it is used up, and goes on calling until the way in which it comes back shows.

use std::time::Duration;

use ks_server::clock::micros;
use tokio::time::Instant;

use super::ProbeBounds;

/// After the first call. Calls that came through before and after a pause come back before and after one where each is counted until
/// it is a window old.
pub(super) const SPLIT: Duration = Duration::from_secs(1);
/// A used up limit is asked again after this part of the time since it was: a wait is measured to 5 %.
const POLL_PART: u32 = 20;
const POLL_MIN: Duration = Duration::from_millis(10);
/// Less than half of [`SPLIT`], whose two sides must be distinguished.
const POLL_MAX: Duration = Duration::from_millis(400);
/// How often calls of others are repeated because the limit came back meanwhile.
const OTHERS_TRIED_MAX: u32 = 5;
/// A limit that comes back quickly is watched for so long once it is used up, in microseconds: its rate is measured better.
const WATCHED_US: u64 = 2_000_000;
/// Refusals by another limit after which this one can't be measured.
const OTHER_LIMIT_MAX: usize = 50;

/// Who makes a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CallerKind {
    /// The probe, to use up the limit.
    Own,
    /// Another device at the same address.
    OtherDevice,
    /// The same as the probe, from another address of the same network.
    Neighbor,
    /// The same as the probe, from an address elsewhere.
    Elsewhere,
}

/// The result of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The limit let it through.
    Admitted,
    /// The limit, or something in front of the server, refused it.
    Refused {
        /// The wait that the refusal asks for; none if it asks for none.
        retry_after_s: Option<u64>,
        /// Devices verify it.
        is_signed: bool,
    },
    /// Another limit of the server refused it, with this name; this limit may have been charged.
    OtherLimit(&'static str),
}

/// One call, in microseconds since the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) by: CallerKind,
    pub(super) sent_us: u64,
    pub(super) answered_us: u64,
    pub(super) outcome: Outcome,
}

impl Attempt {
    pub(super) fn is_admitted(&self) -> bool {
        self.outcome == Outcome::Admitted
    }

    pub(super) fn is_refused(&self) -> bool {
        matches!(self.outcome, Outcome::Refused { .. })
    }
}

/// Makes calls that one limit counts.
pub(super) trait Caller {
    /// One call.
    ///
    /// # Errors
    /// There is no answer, or one that no limit gives.
    async fn call(&mut self, by: CallerKind) -> Result<Outcome, String>;

    /// Those besides [`CallerKind::Own`] who can call.
    fn others(&self) -> Vec<CallerKind>;
}

/// Calls until enough is known, or the bounds are reached; every call is in `attempts`, also if this is dropped meanwhile.
///
/// # Errors
/// As [`Caller::call`].
pub(super) async fn record(
    caller: &mut impl Caller,
    bounds: ProbeBounds,
    attempts: &mut Vec<Attempt>,
) -> Result<(), String> {
    let started = Instant::now();
    let others = caller.others();
    // Others have called `tried` times, each time while the limit was used up; `are_done` once it still was after them.
    let (mut refused_since, mut tried, mut have_called, mut are_done) = (None, 0, false, false);
    while attempts.len() < bounds.calls_max && started.elapsed() < bounds.budget {
        let attempt = made(caller, CallerKind::Own, started).await?;
        attempts.push(attempt);
        if attempt.is_admitted() {
            (refused_since, have_called) = (None, false);
            if attempts.len() == 1 {
                tokio::time::sleep(SPLIT).await;
            }
            continue;
        }
        if attempt.is_refused() {
            are_done |= have_called;
            if !are_done && tried < OTHERS_TRIED_MAX {
                (tried, have_called) = (tried + 1, true);
                for by in &others {
                    let attempt = made(caller, *by, started).await?;
                    attempts.push(attempt);
                }
                continue;
            }
        }
        if is_enough(attempts) {
            break;
        }
        let since = *refused_since.get_or_insert_with(Instant::now);
        tokio::time::sleep((since.elapsed() / POLL_PART).clamp(POLL_MIN, POLL_MAX)).await;
    }
    Ok(())
}

async fn made(caller: &mut impl Caller, by: CallerKind, started: Instant) -> Result<Attempt, String> {
    let sent_us = micros(started.elapsed());
    let outcome = caller.call(by).await?;
    Ok(Attempt { by, sent_us, answered_us: micros(started.elapsed()), outcome })
}

/// The probe's own calls that the limit decided.
pub(super) fn own(attempts: &[Attempt]) -> Vec<Attempt> {
    let is_own =
        |attempt: &&Attempt| attempt.by == CallerKind::Own && !matches!(attempt.outcome, Outcome::OtherLimit(_));
    attempts.iter().filter(is_own).copied().collect()
}

/// Calls that came through one after the other, after the limit had been used up: how many, and when the first was sent.
pub(super) fn groups(own: &[Attempt]) -> Vec<(u64, u64)> {
    let mut groups: Vec<(u64, u64)> = Vec::new();
    let mut was_admitted = true; // what came through before the first refusal is no group
    for attempt in own {
        match (attempt.is_admitted(), was_admitted) {
            (true, false) => groups.push((1, attempt.sent_us)),
            (true, true) => {
                if let Some((count, _)) = groups.last_mut() {
                    *count += 1;
                }
            }
            (false, _) => {}
        }
        was_admitted = attempt.is_admitted();
    }
    groups
}

/// Whether a limit that gives back one at a time did so six times, or one that gives back many did so twice after the first; or another
/// limit is in the way.
fn is_enough(attempts: &[Attempt]) -> bool {
    let is_by_another = |attempt: &&Attempt| matches!(attempt.outcome, Outcome::OtherLimit(_));
    if attempts.iter().filter(is_by_another).count() >= OTHER_LIMIT_MAX {
        return true;
    }
    let own = own(attempts);
    let groups = groups(&own);
    let wanted = if groups.iter().any(|(count, _)| *count > 1) { 3 } else { 7 };
    let used_up_us = own.iter().find(|attempt| attempt.is_refused()).map_or(0, |attempt| attempt.sent_us);
    let watched_us = own.last().map_or(0, |last| last.sent_us.saturating_sub(used_up_us));
    groups.len() >= wanted && watched_us >= WATCHED_US
}
