//! The blast radius of a release in one sentence: how many devices it broke, and what became of it.

use crate::number::{share, span};
use crate::run_folder::RolloutSummary;

/// How the rollout stood when the run ended.
enum End {
    /// Every stage passed.
    Completed,
    /// Somebody or something acted against it: `aborted`.
    Stopped(&'static str),
    /// It went on: `still running`.
    Open(&'static str),
}

impl RolloutSummary {
    /// The blast radius in one sentence, for a terminal or a log line: plain spaces, commas between thousands.
    ///
    /// Its time is that of the first act against the release, whichever state it ended in.
    pub fn sentence(&self) -> String {
        self.told(commas).replace('\u{a0}', " ")
    }

    /// The sentence, with counts written by `count`.
    pub(crate) fn told(&self, count: fn(u64) -> String) -> String {
        if self.broken_devices == 0 { self.harmless(count) } else { self.harmful(count) }
    }

    /// Of a release that broke nothing.
    fn harmless(&self, count: fn(u64) -> String) -> String {
        let end = match self.end() {
            End::Completed => String::new(),
            End::Stopped(word) => format!("; it was {word} all the same"),
            End::Open(word) => format!("; it was {word} when the run ended"),
        };
        let (updated, targets) = (count(self.updated_devices), devices(self.targets, count));
        format!("Release {} reached {updated} of {targets} and broke none{end}.", self.release)
    }

    /// Of a release that broke something.
    fn harmful(&self, count: fn(u64) -> String) -> String {
        let percent = if self.targets > 0 {
            format!(" ({})", share(self.broken_devices, self.targets))
        } else {
            String::new() // nobody says of how many
        };
        let end = match (self.end(), self.detected_at_s) {
            (End::Completed, None) => " and was completed all the same: nothing stopped it".into(),
            (End::Completed, Some(_)) => {
                format!(" and was completed all the same, though it was first held back{}", self.when())
            }
            (End::Stopped(word), _) if self.is_early() => format!(", though it was {word}{}", self.when()),
            (End::Stopped(word), _) => format!(" before it was {word}{}", self.when()),
            (End::Open(word), None) => format!(" and was never caught: it was {word} when the run ended"),
            (End::Open(word), Some(_)) => {
                format!(" and was {word} when the run ended, though it was first held back{}", self.when())
            }
        };
        let (broken, targets) = (count(self.broken_devices), devices(self.targets, count));
        let updated = devices(self.updated_devices, count);
        format!("Release {} broke {broken} of {targets}{percent}{end}; {updated} had it.", self.release)
    }

    /// How it stood at the end.
    fn end(&self) -> End {
        match self.state.as_str() {
            "COMPLETED" => End::Completed,
            "ABORTED" => End::Stopped("aborted"),
            "PAUSED" => End::Stopped("paused"),
            "ROLLING_BACK" | "ROLLED_BACK" => End::Stopped("rolled back"),
            "WAITING" => End::Open("waiting for approval"),
            _ => End::Open("still running"),
        }
    }

    /// Whether the engine acted before any device broke: broken ones were on their way already.
    fn is_early(&self) -> bool {
        self.detected_at_s.zip(self.first_broken_at_s).is_some_and(|(detected, broken)| detected < broken)
    }

    /// When the engine first acted, seen from the first broken device; empty when either is not known.
    fn when(&self) -> String {
        let Some((detected, broken)) = self.detected_at_s.zip(self.first_broken_at_s) else {
            return String::new();
        };
        let side = if detected < broken { "before" } else { "after" };
        format!(" {} {side} the first one broke", span((detected - broken).abs()))
    }
}

/// `1 device`, `150 devices`.
fn devices(number: u64, count: fn(u64) -> String) -> String {
    format!("{} {}", count(number), if number == 1 { "device" } else { "devices" })
}

/// `1,234,567`.
fn commas(number: u64) -> String {
    crate::number::grouped(number).replace('\u{a0}', ",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// The sentence of the sample after a change.
    fn told(change: fn(&mut RolloutSummary)) -> String {
        let mut summary = sample::rollout();
        change(&mut summary);
        summary.sentence()
    }

    #[test]
    fn a_release_that_was_caught_says_how_soon() {
        assert_eq!(
            told(|_| {}),
            "Release 1.1.0 broke 7 of 3,000 devices (0.23 %) before it was aborted 2 h 10 min after the first one broke; \
             150 devices had it."
        );
        assert_eq!(
            told(|of| (of.state, of.detected_at_s, of.updated_devices) = ("PAUSED".into(), None, 1)),
            "Release 1.1.0 broke 7 of 3,000 devices (0.23 %) before it was paused; 1 device had it."
        );
        assert_eq!(
            told(|of| of.detected_at_s = Some(3_000.0)),
            "Release 1.1.0 broke 7 of 3,000 devices (0.23 %), though it was aborted 10 min before the first one broke; \
             150 devices had it."
        );
    }

    #[test]
    fn a_release_that_was_not_caught_says_so() {
        let all = |of: &mut RolloutSummary| {
            (of.state, of.detected_at_s, of.updated_devices) = ("COMPLETED".into(), None, 3_000);
        };
        assert_eq!(
            told(all),
            "Release 1.1.0 broke 7 of 3,000 devices (0.23 %) and was completed all the same: nothing stopped it; \
             3,000 devices had it."
        );
        assert_eq!(
            told(|of| (of.state, of.detected_at_s) = ("RUNNING".into(), None)),
            "Release 1.1.0 broke 7 of 3,000 devices (0.23 %) and was never caught: it was still running when the run ended; \
             150 devices had it."
        );
        assert_eq!(
            told(|of| of.state = "WAITING".into()),
            "Release 1.1.0 broke 7 of 3,000 devices (0.23 %) and was waiting for approval when the run ended, though it was \
             first held back 2 h 10 min after the first one broke; 150 devices had it."
        );
    }

    #[test]
    fn a_good_release_is_told_in_few_words() {
        let good = |of: &mut RolloutSummary| {
            (of.broken_devices, of.updated_devices, of.state) = (0, 3_000, "COMPLETED".into());
        };
        assert_eq!(told(good), "Release 1.1.0 reached 3,000 of 3,000 devices and broke none.");
        assert_eq!(
            told(|of| (of.broken_devices, of.state) = (0, "RUNNING".into())),
            "Release 1.1.0 reached 150 of 3,000 devices and broke none; it was still running when the run ended."
        );
        assert_eq!(
            told(|of| of.broken_devices = 0),
            "Release 1.1.0 reached 150 of 3,000 devices and broke none; it was aborted all the same."
        );
    }
}
