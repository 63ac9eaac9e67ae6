//! What a limit does, against what the server says it does: a difference is what the declared limit can't explain. Pure.

use ks_protocol::text::counted;
use ks_server::limit::Limit;
use serde::Serialize;

use super::{
    Measured, RetryAfter, Shape, Subject,
    evidence::DeclaredLimits,
    fit::{Contradiction, Gcra},
    record::{Attempt, CallerKind, Outcome, own},
};

/// A range whose ends differ by more than this factor says too little about a rate.
const RATE_KNOWN: f64 = 1.5;
/// The same of a burst, by this part of it.
const BURST_KNOWN_PART: u64 = 5;
const BURST_KNOWN_MIN: u64 = 2;

/// The differences between what was measured and what the server declares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Comparison {
    /// A sentence each.
    pub differences: Vec<String>,
    /// What could not be measured, a sentence each.
    pub unknown: Vec<String>,
}

impl Comparison {
    /// Of one limit in this mode, from every call; and what was measured.
    pub(super) fn of(attempts: &[Attempt], known: &DeclaredLimits, mode: &str) -> (Measured, Subject, Self) {
        let mut found = Self::default();
        found.other_limits(attempts);
        let Some(declared) = known.declared else {
            let measured = Measured::of(attempts, None);
            if measured.retry_after.refusals > 0 {
                found.differences.push(format!(
                    "it is in mode {mode} and must refuse nothing, and calls were refused: another limit, or something in front of the server"
                ));
            }
            return (measured, known.subject(attempts), found);
        };
        let subject = known.subject(attempts);
        // A device that has a budget at each address does not spend this one elsewhere.
        let is_apart = subject == Subject::DeviceAndAddress;
        let calls = if is_apart { own(attempts) } else { known.calls_of(CallerKind::Own, attempts) };
        let explained = declared.explains_nearly(&calls, known.owed_max);
        let fit = explained.ok().map(|nearly| {
            // A budget that need not have been whole says nothing about the burst, unless as much came through as from a whole one.
            let owed_max = if nearly.explains(&calls, 0.0).is_ok() { 0.0 } else { known.owed_max };
            nearly.fit(&calls, owed_max)
        });
        let measured = Measured::of(attempts, fit);
        match explained {
            Ok(nearly) if nearly.explains(&calls, 0.0).is_ok() => found.unmeasured(&measured, declared),
            Ok(_) => found.was_not_whole(&calls, declared),
            Err(contradiction) => found.shape(&measured, declared, contradiction),
        }
        found.subject(&measured, known.limit, subject);
        found.retry_after(measured.retry_after);
        if known.owed_max > 0.0 && !found.differences.is_empty() {
            found.unknown.push(
                "others at the address of the probe may have failed meanwhile: probe from the server's machine to be sure".to_owned(),
            );
        }
        (measured, subject, found)
    }

    /// Refusals that say nothing about this limit.
    fn other_limits(&mut self, attempts: &[Attempt]) {
        let mut names: Vec<&str> = attempts
            .iter()
            .filter_map(|attempt| if let Outcome::OtherLimit(name) = attempt.outcome { Some(name) } else { None })
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        if count > 0 {
            self.unknown.push(format!(
                "{} of another limit ({}) came first: this one can't be measured while that refuses",
                counted(count, "refusal"),
                names.join(", ")
            ));
        }
    }

    /// What the declared limit explains, and others would too.
    fn unmeasured(&mut self, measured: &Measured, declared: Gcra) {
        let Gcra { per_min, burst } = declared;
        let says = format!("it declares one every {:.3} s ({per_min} a minute)", 60.0 / per_min);
        let late_ms = measured.answer_ms_max;
        match measured.shape {
            Shape::NeverRefused { calls, took_s } => self.unknown.push(format!(
                "all of {calls} calls in {took_s:.1} s came through, which {per_min} a minute and a burst of {burst} allow when an answer takes up to {late_ms} ms: give it more --calls or a longer --budget, or probe from closer"
            )),
            Shape::OnceAgain { after_s } => {
                self.unknown.push(format!("one came back, after {after_s:.1} s; {says}: give it a longer --budget"));
            }
            Shape::NothingAgain { waited_s } => {
                self.unknown.push(format!("nothing came back for {waited_s:.1} s; {says}: give it a longer --budget"));
            }
            Shape::Even { per_min_least, per_min_most } => {
                if per_min_most > per_min_least * RATE_KNOWN {
                    self.unknown.push(format!(
                        "its rate, too fast to be measured when an answer takes up to {late_ms} ms, or seen for too short a time: {}; {says}",
                        range(per_min_least, per_min_most)
                    ));
                }
            }
            Shape::FixedWindow { .. } | Shape::SlidingWindow { .. } | Shape::Irregular { .. } => {}
        }
        if let Some((least, most)) = measured.burst
            && most - least > BURST_KNOWN_MIN.max(least / BURST_KNOWN_PART)
        {
            let shown = if most == u64::MAX { format!("{least} or more") } else { format!("{least} to {most}") };
            self.unknown.push(format!("its burst, when an answer takes up to {late_ms} ms: {shown} would do the same"));
        }
    }

    /// The budget need not have been whole at the start, and then less comes through at once.
    fn was_not_whole(&mut self, calls: &[Attempt], declared: Gcra) {
        let at_once = calls.iter().take_while(|attempt| attempt.is_admitted()).count();
        let whole_after_s = (declared.burst * 60.0 / declared.per_min).ceil();
        self.unknown.push(format!(
            "the budget of this address was not full, after failing requests of the last minutes: {} came through at once, of a burst of {}. It is full {whole_after_s} s after the last failing request; wait that long, then probe again",
            counted(at_once, "call"),
            declared.burst
        ));
    }

    /// What the declared limit can't explain.
    fn shape(&mut self, measured: &Measured, declared: Gcra, contradiction: Contradiction) {
        let Gcra { per_min, burst } = declared;
        let says = format!("it declares one every {:.3} s ({per_min} a minute)", 60.0 / per_min);
        let before = self.differences.len();
        let mut differs = |what: String| self.differences.push(what);
        match measured.shape {
            Shape::Even { per_min_least, per_min_most } if !(per_min_least..=per_min_most).contains(&per_min) => {
                differs(format!("{} come back; {says}", range(per_min_least, per_min_most)));
            }
            Shape::FixedWindow { window_s, count } => {
                differs(format!("{count} come back at once every {window_s:.1} s (a fixed window); {says}"));
            }
            Shape::SlidingWindow { window_s, count } => {
                differs(format!("each of {count} calls comes back after {window_s:.1} s (a sliding window); {says}"));
            }
            Shape::Irregular { per_min } => {
                differs(format!("calls come back unevenly, about {per_min:.1} a minute; {says}"));
            }
            Shape::NothingAgain { waited_s } if waited_s > 60.0 / per_min => {
                differs(format!("nothing came back for {waited_s:.1} s; {says}"));
            }
            Shape::NeverRefused { calls, took_s } => {
                let most = (burst + took_s * per_min / 60.0).floor();
                differs(format!("all of {calls} calls in {took_s:.1} s came through; it declares at most {most:.0}"));
            }
            Shape::Even { .. } | Shape::OnceAgain { .. } | Shape::NothingAgain { .. } => {}
        }
        if let Some((least, most)) = measured.burst
            && !(least as f64..=most as f64).contains(&burst)
        {
            let shown = if least == most { least.to_string() } else { format!("{least} to {most}") };
            differs(format!("{shown} calls come through at once; it declares a burst of {burst}"));
        }
        if self.differences.len() == before {
            let (at_us, what, would) = match contradiction {
                Contradiction::Admitted { at_us } => (at_us, "came through", "refuses it"),
                Contradiction::Refused { at_us } => (at_us, "was refused", "lets it through"),
            };
            let at_s = at_us as f64 / 1e6;
            self.differences.push(format!(
                "a call after {at_s:.3} s {what}; a limit of {per_min} a minute and a burst of {burst} {would}, whatever the delays"
            ));
        }
    }

    fn subject(&mut self, measured: &Measured, limit: Limit, subject: Subject) {
        if measured.retry_after.refusals == 0 {
            return;
        }
        let declared = if limit == Limit::DeviceRequests { Subject::Device } else { Subject::Address };
        if subject == Subject::Unknown {
            self.unknown.push(
                "whose budget it is: that shows only from the server's machine, where the probe can choose its address, and if the limit stays used up for the time of a few calls"
                    .to_owned(),
            );
        } else if subject != declared {
            let (found, declared) = (subject.as_str(), declared.as_str());
            self.differences.push(format!("the budget is of the {found}; it declares one of the {declared}"));
        }
    }

    fn retry_after(&mut self, found: RetryAfter) {
        let RetryAfter { refusals, unsigned, missing, too_short, too_long } = found;
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                self.differences.push(format!("{count} of {refusals} refusals {what}"));
            }
        };
        say(
            unsigned,
            "are not signed by the server: something in front of it refuses, or changes what it answers; devices don't follow them",
        );
        say(missing, "have no retry_after_s");
        say(too_short, "have a retry_after_s after which calls are still refused");
        say(too_long, "have a retry_after_s that is longer than the wait and its spread");
    }
}

/// A rate in words.
pub(crate) fn range(per_min_least: f64, per_min_most: f64) -> String {
    match (per_min_least > 0.0, per_min_most.is_finite()) {
        (true, true) => format!("{per_min_least:.1} to {per_min_most:.1} a minute"),
        (true, false) => format!("{per_min_least:.1} a minute or more"),
        (false, true) => format!("{per_min_most:.1} a minute or less"),
        (false, false) => "any rate".to_owned(),
    }
}
