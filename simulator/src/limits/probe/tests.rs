//! Goal: the probe recognizes limits by what they do, not by who made them.
//! Method: limiters of the usual kinds, written here, called under a virtual clock in which each call takes a millisecond.

mod delays;

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

use super::{
    Comparison, Measured, ProbeBounds, Shape, Subject,
    evidence::{DeclaredLimits, subject_of_address, subject_of_device},
    fit::Gcra,
    record::{Attempt, Caller, CallerKind, Outcome, record},
};
use ks_server::limit::Limit;

/// A limiter: whether a call at this time, in seconds, is let through, and otherwise how long it must wait.
trait Limiter {
    fn wait_s(&mut self, now_s: f64) -> Option<f64>;
}

/// `burst` at once, then one each `interval_s`.
struct TokenBucket {
    burst: f64,
    interval_s: f64,
    tokens: f64,
    at_s: f64,
}

fn token_bucket(burst: f64, interval_s: f64) -> TokenBucket {
    TokenBucket { burst, interval_s, tokens: burst, at_s: 0.0 }
}

impl Limiter for TokenBucket {
    fn wait_s(&mut self, now_s: f64) -> Option<f64> {
        self.tokens = (self.tokens + (now_s - self.at_s) / self.interval_s).min(self.burst);
        self.at_s = now_s;
        if self.tokens < 1.0 {
            return Some((1.0 - self.tokens) * self.interval_s);
        }
        self.tokens -= 1.0;
        None
    }
}

/// `count` in each window of the clock.
struct FixedWindow {
    count: u64,
    window_s: f64,
    used: (u64, u64),
}

impl Limiter for FixedWindow {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count of windows")]
    fn wait_s(&mut self, now_s: f64) -> Option<f64> {
        let window = (now_s / self.window_s) as u64;
        if self.used.0 != window {
            self.used = (window, 0);
        }
        if self.used.1 == self.count {
            return Some((window + 1) as f64 * self.window_s - now_s);
        }
        self.used.1 += 1;
        None
    }
}

/// At most `count` in the last `window_s`, at any time.
struct SlidingWindow {
    count: usize,
    window_s: f64,
    calls: VecDeque<f64>,
}

impl Limiter for SlidingWindow {
    fn wait_s(&mut self, now_s: f64) -> Option<f64> {
        while self.calls.front().is_some_and(|call| now_s - call >= self.window_s) {
            self.calls.pop_front();
        }
        if self.calls.len() == self.count {
            return self.calls.front().map(|call| self.window_s - (now_s - call));
        }
        self.calls.push_back(now_s);
        None
    }
}

/// Calls one limiter, whose refusals say what `retry_after_s` makes of the wait.
struct Probe<L> {
    limiter: L,
    started: Instant,
    retry_after_s: fn(f64) -> Option<u64>,
}

impl<L: Limiter> Caller for Probe<L> {
    async fn call(&mut self, by: CallerKind) -> Result<Outcome, String> {
        if by == CallerKind::OtherDevice {
            return Ok(Outcome::Admitted);
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
        let wait_s = self.limiter.wait_s(self.started.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_micros(500)).await;
        let refused = |wait_s| Outcome::Refused { retry_after_s: (self.retry_after_s)(wait_s), is_signed: true };
        Ok(wait_s.map_or(Outcome::Admitted, refused))
    }

    fn others(&self) -> Vec<CallerKind> {
        vec![CallerKind::OtherDevice, CallerKind::Elsewhere]
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a wait in a test")]
#[expect(clippy::unnecessary_wraps, reason = "some limiters say nothing")]
fn rounded_up(wait_s: f64) -> Option<u64> {
    Some(wait_s.ceil().max(1.0) as u64)
}

/// Every call; the limiter is in the middle of its first window when the probe begins.
async fn calls(limiter: impl Limiter, retry_after_s: fn(f64) -> Option<u64>) -> Vec<Attempt> {
    let started = Instant::now().checked_sub(Duration::from_millis(1_700)).unwrap_or_else(Instant::now);
    let bounds = ProbeBounds { budget: Duration::from_mins(10), calls_max: 5_000 };
    let mut attempts = Vec::new();
    record(&mut Probe { limiter, started, retry_after_s }, bounds, &mut attempts).await.unwrap();
    attempts
}

async fn measured(limiter: impl Limiter, retry_after_s: fn(f64) -> Option<u64>) -> Measured {
    Measured::of(&calls(limiter, retry_after_s).await, None)
}

fn known(per_min: u32, burst: u32) -> DeclaredLimits {
    let declared = Gcra { per_min: f64::from(per_min), burst: f64::from(burst) };
    DeclaredLimits {
        limit: Limit::DeviceRequests,
        declared: Some(declared),
        of_devices: Some(declared),
        owed_max: 0.0,
        owed_max_of_other_device: 1.0,
    }
}

fn compared(calls: &[Attempt], per_min: u32, burst: u32) -> (Measured, Subject, Comparison) {
    Comparison::of(calls, &known(per_min, burst), "enforce")
}

fn differences(calls: &[Attempt], per_min: u32, burst: u32) -> Vec<String> {
    compared(calls, per_min, burst).2.differences
}

/// Goal: burst and rate of token buckets are found, fast and slow ones, and agree with what is declared.
#[tokio::test(start_paused = true)]
async fn a_token_bucket_is_recognized_with_its_burst_and_rate() {
    for (per_min, burst) in [(120, 30), (120, 1), (60, 120), (1, 5), (6, 2), (1_200, 300), (3_000, 50)] {
        let calls = calls(token_bucket(f64::from(burst), 60.0 / f64::from(per_min)), rounded_up).await;
        let (measured, subject, comparison) = compared(&calls, per_min, burst);
        assert_eq!(comparison, Comparison::default(), "{per_min} {burst}: {measured:?}");
        assert_eq!(subject, Subject::Device);
        let Shape::Even { per_min_least, per_min_most } = measured.shape else { panic!("{measured:?}") };
        assert!(per_min_most / per_min_least < 1.2, "{per_min}: {measured:?}");
        let (least, most) = measured.burst.unwrap();
        assert!(most - least <= 2, "{burst}: {measured:?}");
        let (half, twice) = (per_min.div_ceil(2), per_min * 2);
        assert!(per_min == 1 || !differences(&calls, half, burst).is_empty(), "{per_min}: {measured:?}");
        assert!(!differences(&calls, twice, burst).is_empty(), "{per_min}: {measured:?}");
        assert!(!differences(&calls, per_min, burst + 3).is_empty(), "{burst}: {measured:?}");
    }
}

/// Goal: a limit "of one a second" that means "ten each ten seconds" is found, and named with its window.
#[tokio::test(start_paused = true)]
async fn windows_are_recognized_with_their_length() {
    for (count, window_s) in [(10, 10.0), (60, 60.0), (2, 5.0), (300, 3.0)] {
        let fixed_calls = calls(FixedWindow { count, window_s, used: (0, 0) }, rounded_up).await;
        let fixed = Measured::of(&fixed_calls, None);
        let Shape::FixedWindow { window_s: found_s, count: found } = fixed.shape else { panic!("{fixed:?}") };
        assert!(found == count && (found_s / window_s - 1.0).abs() < 0.06, "{fixed:?}");
        let [difference, ..] = &differences(&fixed_calls, 60, 10)[..] else { panic!("{fixed:?}") };
        assert!(difference.contains("(a fixed window); it declares one every 1.000 s"), "{difference}");

        let limiter = SlidingWindow { count: usize::try_from(count).unwrap(), window_s, calls: VecDeque::new() };
        let sliding = measured(limiter, rounded_up).await;
        let Shape::SlidingWindow { window_s: found_s, count: found } = sliding.shape else { panic!("{sliding:?}") };
        assert!(found == count && (found_s / window_s - 1.0).abs() < 0.06, "{sliding:?}");
    }
    let each_ten_seconds = calls(FixedWindow { count: 1, window_s: 10.0, used: (0, 0) }, rounded_up).await;
    let found = differences(&each_ten_seconds, 60, 1);
    assert!(
        found.iter().any(|difference| difference.contains("a minute come back") || difference.contains("was refused")),
        "{found:?}"
    );
}

/// Goal: a `retry_after_s` that is missing, too short or too long is counted.
#[tokio::test(start_paused = true)]
async fn retry_after_is_checked_against_what_comes_after_it() {
    let bucket = || token_bucket(3.0, 10.0);
    let honest = measured(bucket(), rounded_up).await.retry_after;
    assert!(honest.refusals > 50 && [honest.missing, honest.too_short, honest.too_long] == [0; 3], "{honest:?}");
    let missing = measured(bucket(), |_| None).await.retry_after;
    assert_eq!(missing.missing, missing.refusals);
    let short = measured(bucket(), |_| Some(1)).await.retry_after;
    assert!(short.too_short > 0 && short.too_long == 0, "{short:?}");
    let long = measured(bucket(), |_| Some(60)).await.retry_after;
    assert!(long.too_long > 0 && long.too_short == 0, "{long:?}");
}

/// Goal: a limit that is not reached, or does not come back within the budget, is not judged; one that should have been reached is.
#[tokio::test(start_paused = true)]
async fn what_was_not_seen_is_not_judged() {
    let never = calls(token_bucket(1e9, 1.0), rounded_up).await;
    let (measured, _, comparison) = compared(&never, 60, 100_000);
    assert!(matches!(measured.shape, Shape::NeverRefused { calls: 5_000, .. }), "{measured:?}");
    assert_eq!((comparison.differences.len(), comparison.unknown.len()), (0, 1), "{comparison:?}");
    assert!(differences(&never, 60, 100)[0].contains("declares at most"), "{measured:?}");
    let slow = calls(token_bucket(5.0, 3_600.0), rounded_up).await;
    let (measured, ..) = compared(&slow, 1, 5);
    assert!(matches!(measured.shape, Shape::NothingAgain { .. }) && measured.burst == Some((5, 5)), "{measured:?}");
    assert!(differences(&slow, 1, 5)[0].contains("nothing came back"), "{measured:?}");
}

#[test]
fn others_tell_whose_budget_it_is() {
    use Subject as S;
    let device = [(false, true), (false, false), (true, false), (true, true)]
        .map(|(other, elsewhere)| subject_of_device(Some(other), Some(elsewhere)));
    assert_eq!(device, [S::Device, S::DeviceAndAddress, S::Address, S::Server]);
    let address = [(false, false), (true, false), (true, true)]
        .map(|(neighbor, elsewhere)| subject_of_address(Some(neighbor), Some(elsewhere)));
    assert_eq!(address, [S::Address, S::Network, S::Server]);
    assert_eq!([subject_of_device(Some(false), None), subject_of_address(None, None)], [S::Unknown; 2]);
}
