//! What a limit does, against what the server says it does.

use ks_server::limit::Limit;
use serde::Serialize;

use super::{Measured, RetryAfter, Shape, Subject};
use crate::operator::ObservedLimit;

/// Errors of a measured rate that are no difference.
const RATE_SLACK: f64 = 0.02;

/// The differences between what was measured and what the server declares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Comparison {
    /// A sentence each.
    pub differences: Vec<String>,
    /// What could not be measured, a sentence each.
    pub unknown: Vec<String>,
}

impl Comparison {
    /// Compares one limit.
    pub(super) fn of(measured: &Measured, (limit, subject): (Limit, Subject), declared: &ObservedLimit) -> Self {
        let mut found = Self::default();
        let per_min = f64::from(declared.per_min.unwrap_or(0));
        let burst = u64::from(declared.burst.unwrap_or(0));
        if declared.mode != "enforce" {
            if !matches!(measured.shape, Shape::NeverRefused { .. }) {
                found.differences.push(format!(
                    "it is in mode {} and must refuse nothing, and calls were refused: another limit, or something in front of the server",
                    declared.mode
                ));
            }
            return found;
        }
        found.shape(measured, per_min, burst);
        if let Some((least, most)) = measured.burst
            && !(least..=most).contains(&burst)
        {
            let shown = if least == most { least.to_string() } else { format!("{least} to {most}") };
            found.differences.push(format!("{shown} calls come through at once; it declares a burst of {burst}"));
        }
        found.subject(measured, limit, subject);
        found.retry_after(measured.retry_after);
        found
    }

    fn shape(&mut self, measured: &Measured, per_min: f64, burst: u64) {
        let declared = format!("it declares one each {:.3} s ({per_min} a minute)", 60.0 / per_min);
        match measured.shape {
            Shape::Even { per_min_least, per_min_most } => {
                let is_as_declared =
                    per_min >= per_min_least * (1.0 - RATE_SLACK) && per_min <= per_min_most * (1.0 + RATE_SLACK);
                if !is_as_declared {
                    let found = format!("{per_min_least:.2} to {per_min_most:.2} a minute come back");
                    self.differences.push(format!("{found}; {declared}"));
                }
            }
            Shape::FixedWindow { window_s, count } => {
                self.differences
                    .push(format!("{count} come back at once each {window_s:.1} s (a fixed window); {declared}"));
            }
            Shape::SlidingWindow { window_s, count } => self
                .differences
                .push(format!("each of {count} calls comes back after {window_s:.1} s (a sliding window); {declared}")),
            Shape::Irregular { per_min } => {
                self.differences.push(format!("calls come back unevenly, about {per_min:.1} a minute; {declared}"));
            }
            Shape::OnceAgain { after_s } => {
                self.unknown
                    .push(format!("one came back, after {after_s:.1} s; {declared}: give it a longer --budget"));
            }
            Shape::NothingAgain { waited_s } if waited_s > 2.0 * 60.0 / per_min => {
                self.differences.push(format!("nothing came back for {waited_s:.1} s; {declared}"));
            }
            Shape::NothingAgain { waited_s } => {
                self.unknown
                    .push(format!("nothing came back for {waited_s:.1} s; {declared}: give it a longer --budget"));
            }
            Shape::NeverRefused { calls, took_s } => {
                let most = burst as f64 + took_s * per_min / 60.0 + 1.0;
                if calls as f64 > most * (1.0 + RATE_SLACK) {
                    self.differences.push(format!(
                        "all of {calls} calls in {took_s:.1} s came through; it declares at most {most:.0}"
                    ));
                } else {
                    self.unknown.push(format!(
                        "all of {calls} calls in {took_s:.1} s came through, which it allows: give it more --calls or a longer --budget"
                    ));
                }
            }
        }
    }

    fn subject(&mut self, measured: &Measured, limit: Limit, subject: Subject) {
        if matches!(measured.shape, Shape::NeverRefused { .. }) {
            return;
        }
        let declared = if limit == Limit::DeviceRequests { Subject::Device } else { Subject::Address };
        if subject == Subject::Unknown {
            self.unknown.push(
                "whose budget it is can only be seen from several addresses: probe from the server's machine"
                    .to_owned(),
            );
        } else if subject != declared {
            let (found, declared) = (subject.as_str(), declared.as_str());
            self.differences.push(format!("the budget is of the {found}; it declares one of the {declared}"));
        }
    }

    fn retry_after(&mut self, found: RetryAfter) {
        let RetryAfter { refusals, missing, too_short, too_long } = found;
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                self.differences.push(format!("{count} of {refusals} refusals {what}"));
            }
        };
        say(missing, "have no retry_after_s: they may come from something in front of the server");
        say(too_short, "have a retry_after_s after which calls are still refused");
        say(too_long, "have a retry_after_s that is longer than the wait and its spread");
    }
}
