//! Whether a limit of one rate and burst explains what was seen, whatever the delays between the probe and the server. Pure.
//!
//! A call is decided at some moment between its sending and its answer. What a budget owes is kept as the interval of everything that is
//! possible, so a limit that does what it declares is never contradicted, however late calls and answers are.

use super::record::{Attempt, Outcome};

/// A limit: calls a minute, and calls at once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Gcra {
    pub(super) per_min: f64,
    pub(super) burst: f64,
}

/// What a limit can't explain: the call at this time, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Contradiction {
    /// It came through, and there was nothing left.
    Admitted { at_us: u64 },
    /// It was refused, and there was something left.
    Refused { at_us: u64 },
}

/// Every value that explains what was seen, with the other one as it is declared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Fit {
    /// Calls a minute; without an upper bound, infinite.
    pub(super) per_min: (f64, f64),
    /// Calls at once; without an upper bound, [`u64::MAX`].
    pub(super) burst: (u64, u64),
}

/// Two clocks run as fast as each other, but for this part.
pub(super) const DRIFT: f64 = 1e-3;
/// Errors of the calculation, in calls.
const ROUNDING: f64 = 1e-3;
/// Beyond this multiple of a declared value there is no bound.
const UNBOUNDED: f64 = 1e3;
/// Steps of a search: to a millionth of the value.
const STEPS: u32 = 32;

impl Gcra {
    /// Whether it explains the calls, if at most `owed_max` calls were owed at the start.
    ///
    /// # Errors
    /// The first call that it can't explain.
    pub(super) fn explains<'a>(
        self,
        calls: impl IntoIterator<Item = &'a Attempt>,
        owed_max: f64,
    ) -> Result<(), Contradiction> {
        let per_us = self.per_min / 60e6;
        let borrowed = self.burst - 1.0;
        // When the next call is due in theory, in calls granted since the first was sent: at least and at most.
        let (mut least, mut most) = (0.0_f64, owed_max.min(self.burst));
        for call in calls {
            let (from, to) = (call.sent_us as f64 * per_us, call.answered_us as f64 * per_us);
            match call.outcome {
                Outcome::Admitted => {
                    most = most.min(to + borrowed);
                    if least > most + ROUNDING {
                        return Err(Contradiction::Admitted { at_us: call.sent_us });
                    }
                    (least, most) = (least.max(from) + 1.0, most.max(to) + 1.0);
                }
                Outcome::Refused { .. } => {
                    least = least.max(from + borrowed);
                    if least > most + ROUNDING {
                        return Err(Contradiction::Refused { at_us: call.sent_us });
                    }
                }
                Outcome::OtherLimit(_) => most = most.max(to) + 1.0, // it may have been charged
            }
        }
        Ok(())
    }

    /// The same limit as the probe's clock sees it: the server's may run a little faster or slower.
    ///
    /// # Errors
    /// As [`Gcra::explains`].
    pub(super) fn explains_nearly(self, calls: &[Attempt], owed_max: f64) -> Result<Self, Contradiction> {
        let of = |part: f64| Self { per_min: self.per_min * part, ..self };
        let contradiction = match self.explains(calls, owed_max) {
            Ok(()) => return Ok(self),
            Err(contradiction) => contradiction,
        };
        let (mut slow, mut fast) = (1.0 - DRIFT, 1.0 + DRIFT);
        for _ in 0..STEPS {
            let middle = f64::midpoint(slow, fast);
            match of(middle).explains(calls, owed_max) {
                Ok(()) => return Ok(of(middle)),
                // More was given back than that, or less.
                Err(Contradiction::Admitted { .. }) => slow = middle,
                Err(Contradiction::Refused { .. }) => fast = middle,
            }
        }
        Err(contradiction)
    }

    /// Everything that explains the calls, which this limit does.
    pub(super) fn fit(self, calls: &[Attempt], owed_max: f64) -> Fit {
        let rate = |per_min: f64| Self { per_min, ..self }.explains(calls, owed_max).is_ok();
        let burst = |burst: f64| Self { burst: burst.round(), ..self }.explains(calls, owed_max).is_ok();
        let (slowest, fastest) =
            (furthest(self.per_min, 1.0 / UNBOUNDED, rate), furthest(self.per_min, UNBOUNDED, rate));
        let (fewest, most) = (furthest(self.burst, 1.0 / self.burst, burst), furthest(self.burst, UNBOUNDED, burst));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts of calls, at least 1")]
        let whole = |count: Option<f64>, otherwise: u64| count.map_or(otherwise, |count| count.round() as u64);
        Fit {
            per_min: (
                slowest.map_or(0.0, |slowest| slowest * (1.0 - DRIFT)),
                fastest.map_or(f64::INFINITY, |fastest| fastest * (1.0 + DRIFT)),
            ),
            burst: (whole(fewest, 1), whole(most, u64::MAX)),
        }
    }
}

/// The value between `from`, which explains, and `factor` times that, up to which all explain; none if they do all the way.
fn furthest(from: f64, factor: f64, explains: impl Fn(f64) -> bool) -> Option<f64> {
    if explains(from * factor) {
        return None;
    }
    let (mut good, mut bad) = (0.0_f64, factor.ln());
    for _ in 0..STEPS {
        let middle = f64::midpoint(good, bad);
        if explains(from * middle.exp()) { good = middle } else { bad = middle }
    }
    Some(from * good.exp())
}
