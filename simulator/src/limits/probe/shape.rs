//! What calls and their outcomes say about a limit. Pure.

use ks_server::clock::micros;
use serde::Serialize;

use super::{
    fit::Fit,
    record::{Attempt, CallerKind, Outcome, SPLIT, groups, own},
};

/// How a limit comes back once it is used up.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Shape {
    /// One at a time and evenly: GCRA, or a token bucket. The rate is between these; infinite, and null in JSON, if nothing bounds it.
    Even { per_min_least: f64, per_min_most: f64 },
    /// All at once, at the end of a window.
    FixedWindow { window_s: f64, count: u64 },
    /// Each call when it is a window old.
    SlidingWindow { window_s: f64, count: u64 },
    /// In no order that this program knows; on average so many.
    Irregular { per_min: f64 },
    /// One came through again after this time, and no other one.
    OnceAgain { after_s: f64 },
    /// Nothing came through again in this time.
    NothingAgain { waited_s: f64 },
    /// It was never used up.
    NeverRefused { calls: u64, took_s: f64 },
}

/// Whether `retry_after_s` of the refusals was true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct RetryAfter {
    /// Refusals by this limit, or by something in front of the server.
    pub refusals: u64,
    /// Refusals that the server has not signed, or that were changed on the way. Devices don't follow them; neither are they counted below.
    pub unsigned: u64,
    /// Refusals without it.
    pub missing: u64,
    /// Calls were still refused after it.
    pub too_short: u64,
    /// It asked for more than the wait, rounded up, and the spread of a quarter that avoids a return in step.
    pub too_long: u64,
}

/// What is known of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Measured {
    pub calls: u64,
    /// Calls that come through at once, at least and at most; none if that is unknown.
    pub burst: Option<(u64, u64)>,
    /// The longest time from a call to its answer, in milliseconds: every time is known to so much.
    pub answer_ms_max: u64,
    pub shape: Shape,
    pub retry_after: RetryAfter,
}

/// A call is measured late by up to a poll and the machine's own delays, whatever the interval, in microseconds.
const LATE_US: f64 = 30_000.0;
/// Errors of times, as parts of a call.
const SLACK: f64 = 0.05;

impl Measured {
    /// From every call, in order. What the server declares is not looked at, unless it explains the calls: then by which values.
    pub(super) fn of(attempts: &[Attempt], declared: Option<Fit>) -> Self {
        let own = own(attempts);
        let recognized = shape(&own);
        let has_come_back = groups(&own).iter().map(|(count, _)| count).sum::<u64>() > 1;
        let (shape, burst) = match declared {
            Some(Fit { per_min: (per_min_least, per_min_most), burst }) if has_come_back => {
                (Shape::Even { per_min_least, per_min_most }, Some(burst))
            }
            Some(fit) => (recognized, own.iter().any(Attempt::is_refused).then_some(fit.burst)),
            None => (recognized, recognized_burst(&own, recognized)),
        };
        let late_us = attempts.iter().map(|attempt| attempt.answered_us - attempt.sent_us).max();
        let calls = attempts.iter().filter(|attempt| attempt.by == CallerKind::Own).count();
        Self {
            calls: count_of(calls),
            burst,
            answer_ms_max: late_us.unwrap_or(0).div_ceil(1_000),
            shape,
            retry_after: retry_after(attempts),
        }
    }
}

fn recognized_burst(own: &[Attempt], shape: Shape) -> Option<(u64, u64)> {
    match shape {
        Shape::Even { per_min_least, per_min_most } => burst(own, per_min_least, per_min_most),
        Shape::FixedWindow { count, .. } | Shape::SlidingWindow { count, .. } => Some((count, count)),
        Shape::NothingAgain { .. } | Shape::OnceAgain { .. } => {
            let before = own.iter().take_while(|attempt| attempt.is_admitted()).count();
            Some((count_of(before), count_of(before)))
        }
        Shape::Irregular { .. } | Shape::NeverRefused { .. } => None,
    }
}

fn count_of(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn shape(attempts: &[Attempt]) -> Shape {
    let took_s = attempts.last().map_or(0.0, |last| seconds(last.answered_us));
    let Some(first_refused) = attempts.iter().position(|attempt| !attempt.is_admitted()) else {
        return Shape::NeverRefused { calls: count_of(attempts.len()), took_s };
    };
    let refused_at_s = attempts.get(first_refused).map_or(0.0, |attempt| seconds(attempt.sent_us));
    let groups = groups(attempts);
    let (counts, starts): (Vec<u64>, Vec<u64>) = groups.iter().copied().unzip();
    let (Some(&first_back), Some(&last_back)) = (starts.first(), starts.last()) else {
        return Shape::NothingAgain { waited_s: took_s - refused_at_s };
    };
    if let Some(even) = even(attempts, first_refused) {
        return even;
    }
    match counts.as_slice() {
        [1] => Shape::OnceAgain { after_s: seconds(first_back) - refused_at_s },
        // Each came back when it was a window old: the first call alone, the others after the pause that followed it.
        [1, rest, ..] if is_split(&starts) => Shape::SlidingWindow { window_s: seconds(first_back), count: 1 + rest },
        // Only one window was seen: it is at most as long as since the first call.
        [count] => Shape::FixedWindow { window_s: seconds(first_back), count: *count },
        // The last may not be complete.
        [whole @ .., _] if whole.iter().all(|count| *count > 1 && whole.first() == Some(count)) => {
            let window_s = seconds(last_back - first_back) / whole.len() as f64;
            Shape::FixedWindow { window_s, count: counts.first().copied().unwrap_or_default() }
        }
        counts => {
            let came = counts.iter().sum::<u64>() as f64;
            Shape::Irregular { per_min: came * 60.0 / (took_s - refused_at_s).max(1e-6) }
        }
    }
}

/// Whether what came back second came as long after the first as the second call was sent after the first, to half of that: the first
/// may have been noticed late.
fn is_split(starts: &[u64]) -> bool {
    let split_us = micros(SPLIT);
    matches!(starts, [first, second, ..] if (second - first).abs_diff(split_us) < split_us / 2)
}

/// The rate of calls that come back evenly; none if they do not.
fn even(attempts: &[Attempt], first_refused: usize) -> Option<Shape> {
    // When each came through, and how long before that the limit was last seen used up.
    let mut came: Vec<(u64, u64)> = Vec::new();
    let mut free_since = attempts.get(first_refused)?.sent_us;
    for attempt in attempts.iter().skip(first_refused) {
        if attempt.is_admitted() {
            came.push((attempt.answered_us, attempt.answered_us.saturating_sub(free_since)));
            free_since = attempt.answered_us;
        } else {
            free_since = attempt.sent_us;
        }
    }
    let ((first, first_late_us), rest) = came.split_first()?;
    let (last, late_us) = (rest.last()?.0, rest.iter().map(|(_, late)| *late).sum::<u64>());
    let (span_us, count) = ((last - first) as f64, rest.len() as f64);
    let interval_us = span_us / count;
    let latest_us = came.iter().map(|(_, late)| *late).max().unwrap_or_default();
    let tolerated_us = (interval_us / 2.0).max(LATE_US).max(latest_us as f64);
    let is_on_time = |(number, (at, _)): (usize, &(u64, u64))| {
        ((at - first) as f64 - interval_us * number as f64).abs() <= tolerated_us
    };
    // Where most of the time is delay, nothing is known of the rate.
    if span_us < LATE_US.max(2.0 * late_us as f64) || !came.iter().enumerate().all(is_on_time) {
        return None;
    }
    let per_min = |span_us: f64| count * 60e6 / span_us.max(1.0);
    let (least, most) = (per_min(span_us), per_min(span_us - late_us as f64));
    // With a burst of one, each call that is made late delays those after it. Otherwise only the first and the last one matter.
    let owes = burst(attempts, least, most).is_some_and(|(burst, _)| burst > 1);
    let (first_late_us, last_late_us) = (*first_late_us as f64, rest.last()?.1 as f64);
    let ends = (per_min(span_us + first_late_us), per_min(span_us - last_late_us));
    let (per_min_least, per_min_most) = if owes { ends } else { (least, most) };
    Some(Shape::Even { per_min_least, per_min_most })
}

/// The burst of a limit with an even rate: the least number that explains what came through until it was used up, and the greatest.
fn burst(attempts: &[Attempt], per_min_least: f64, per_min_most: f64) -> Option<(u64, u64)> {
    let of = |per_min: f64| {
        let mut owed = 0.0_f64;
        let (mut before_us, mut most_owed) = (0, 0.0_f64);
        for attempt in attempts {
            let at_us = u64::midpoint(attempt.sent_us, attempt.answered_us);
            owed = (owed - seconds(at_us - before_us) * per_min / 60.0).max(0.0);
            before_us = at_us;
            if attempt.is_admitted() {
                owed += 1.0;
                most_owed = most_owed.max(owed);
            } else {
                return Some(((most_owed - SLACK).ceil(), (owed + 1.0 + SLACK).ceil() - 1.0));
            }
        }
        None
    };
    let ((least, most), (least_too, most_too)) = (of(per_min_least)?, of(per_min_most)?);
    let least = least.min(least_too).max(1.0);
    let most = most.max(most_too).max(least);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of calls, at least 1")]
    Some((least as u64, most as u64))
}

/// Two clocks differ by at most this part of a wait.
const DRIFT_PER_WAIT: u64 = 1_000;

/// Checks the wait that each refusal asks for against what came later.
fn retry_after(attempts: &[Attempt]) -> RetryAfter {
    let mut found = RetryAfter::default();
    for (number, attempt) in attempts.iter().enumerate().filter(|(_, attempt)| attempt.by == CallerKind::Own) {
        let Outcome::Refused { retry_after_s, is_signed } = attempt.outcome else { continue };
        found.refusals += 1;
        if !is_signed {
            found.unsigned += 1;
            continue;
        }
        let Some(asked_s) = retry_after_s else {
            found.missing += 1;
            continue;
        };
        let wait_us = asked_s.saturating_mul(1_000_000);
        let until_us = attempt.answered_us.saturating_add(wait_us).saturating_add(wait_us / DRIFT_PER_WAIT);
        let later = attempts.get(number + 1..).unwrap_or_default();
        // Until something may have spent what had come back: a call of the probe, also from elsewhere.
        let still_refused =
            later.iter().take_while(|later| !may_have_spent(later)).filter(|later| later.by == CallerKind::Own);
        found.too_short += u64::from(still_refused.clone().any(|later| later.sent_us >= until_us));
        if let Some(came) = later.iter().find(|later| later.by == CallerKind::Own && later.is_admitted()) {
            let wait_s = seconds(came.answered_us - attempt.sent_us).ceil();
            let spread_s = (wait_s / 4.0).clamp(1.0, 60.0);
            found.too_long += u64::from(asked_s as f64 > wait_s + spread_s + 1.0);
        }
    }
    found
}

/// Whether a call may have been charged to the budget of the probe.
fn may_have_spent(attempt: &Attempt) -> bool {
    !attempt.is_refused() && attempt.by != CallerKind::OtherDevice
}
