//! Calls a limit until it is used up, and goes on calling until the way in which it comes back shows.

use std::time::Duration;

use ks_server::clock::micros;
use tokio::time::Instant;

use super::{Other, ProbeBounds};

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

/// The result of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The limit let it through.
    Admitted,
    /// The limit, or something in front of the server, refused it.
    Refused {
        /// The wait that the refusal asks for; none if it asks for none.
        retry_after_s: Option<u64>,
    },
}

/// One call, in microseconds since the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Attempt {
    pub(super) sent_us: u64,
    pub(super) answered_us: u64,
    pub(super) outcome: Outcome,
}

impl Attempt {
    pub(super) fn is_admitted(&self) -> bool {
        self.outcome == Outcome::Admitted
    }
}

/// Makes calls that one limit counts.
pub(super) trait Caller {
    /// One call.
    ///
    /// # Errors
    /// There is no answer, or one that no limit gives.
    async fn call(&mut self) -> Result<Outcome, String>;

    /// Calls in other names and from other addresses, and whether each was refused.
    ///
    /// # Errors
    /// As [`Caller::call`].
    async fn others(&mut self) -> Result<Vec<(Other, bool)>, String>;
}

/// Every call, and whether others were refused while the limit was used up.
#[derive(Debug, Default)]
pub(super) struct Recording {
    pub(super) attempts: Vec<Attempt>,
    pub(super) others: Vec<(Other, bool)>,
}

/// Calls until enough is known, or the bounds are reached.
///
/// # Errors
/// As [`Caller::call`].
pub(super) async fn record(caller: &mut impl Caller, bounds: ProbeBounds) -> Result<Recording, String> {
    let started = Instant::now();
    let mut recording = Recording::default();
    let (mut refused_since, mut others, mut tried) = (None, None, 0);
    while recording.attempts.len() < bounds.calls_max && started.elapsed() < bounds.budget {
        let sent_us = micros(started.elapsed());
        let outcome = caller.call().await?;
        let attempt = Attempt { sent_us, answered_us: micros(started.elapsed()), outcome };
        recording.attempts.push(attempt);
        if attempt.is_admitted() {
            (refused_since, others) = (None, None);
            if recording.attempts.len() == 1 {
                tokio::time::sleep(SPLIT).await;
            }
            continue;
        }
        // The limit was used up before the others called, and still is.
        if let Some(others) = others.take() {
            recording.others = others;
        } else if recording.others.is_empty() && tried < OTHERS_TRIED_MAX {
            tried += 1;
            others = Some(caller.others().await?);
            continue;
        }
        if is_enough(&recording.attempts) {
            break;
        }
        let since = *refused_since.get_or_insert_with(Instant::now);
        tokio::time::sleep((since.elapsed() / POLL_PART).clamp(POLL_MIN, POLL_MAX)).await;
    }
    Ok(recording)
}

/// Calls that came through one after the other, after the limit had been used up: how many, and when the first was sent.
pub(super) fn groups(attempts: &[Attempt]) -> Vec<(u64, u64)> {
    let mut groups: Vec<(u64, u64)> = Vec::new();
    let mut was_admitted = true; // what came through before the first refusal is no group
    for attempt in attempts {
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

/// Whether a limit that gives back one at a time did so six times, or one that gives back many did so twice after the first.
fn is_enough(attempts: &[Attempt]) -> bool {
    let groups = groups(attempts);
    let wanted = if groups.iter().any(|(count, _)| *count > 1) { 3 } else { 7 };
    groups.len() >= wanted
}
