//! The blast radius of a release in one sentence: how many devices it broke, and how its rollout ended.

use crate::number::{share, span};
use crate::run_folder::RolloutSummary;

/// The rollout's state when the run ended.
enum End {
    /// Every stage passed.
    Completed,
    /// An operator or the engine acted against it: `aborted`.
    Stopped(&'static str),
    /// Not finished: `still running`.
    Open(&'static str),
}

impl RolloutSummary {
    /// The blast radius in one sentence, for a terminal or a log line: plain spaces, commas between thousands.
    ///
    /// The time is that of the first action against the release, in whichever state it ended.
    pub fn sentence(&self) -> String {
        self.sentence_with(commas).replace('\u{a0}', " ")
    }

    /// The sentence, with counts written by `count`.
    pub(crate) fn sentence_with(&self, count: fn(u64) -> String) -> String {
        if self.broken_devices == 0 { self.harmless(count) } else { self.harmful(count) }
    }

    /// For a release that broke nothing.
    fn harmless(&self, count: fn(u64) -> String) -> String {
        let end = match self.end() {
            End::Completed => String::new(),
            End::Stopped(word) => format!("; it was {word} nevertheless"),
            End::Open(word) => format!("; it was {word} when the run ended"),
        };
        let (installed, targets) = (count(self.installed_devices), devices(self.targets, count));
        format!("Release {} was installed on {installed} of {targets} and broke none{end}.", self.release)
    }

    /// For a release that broke something.
    fn harmful(&self, count: fn(u64) -> String) -> String {
        let percent = if self.installed_devices > 0 {
            format!(" ({})", share(self.broken_devices, self.installed_devices))
        } else {
            String::new() // the number of installed devices is unknown
        };
        let end = match (self.end(), self.detected_at_s) {
            (End::Completed, None) => " and was still completed: nothing stopped it".into(),
            (End::Completed, Some(_)) => {
                format!(" and was still completed, although it was first held back{}", self.when())
            }
            (End::Stopped(word), _) if self.is_early() => format!(", although it was {word}{}", self.when()),
            // Not "before": devices that had it already may break later.
            (End::Stopped(word), _) => format!(" and was {word}{}", self.when()),
            (End::Open(word), None) => format!(" and was never caught: it was {word} when the run ended"),
            (End::Open(word), Some(_)) => {
                format!(" and was {word} when the run ended, although it was first held back{}", self.when())
            }
        };
        let (broken, installed) = (count(self.broken_devices), devices(self.installed_devices, count));
        let (release, targets) = (&self.release, count(self.targets));
        format!(
            "Release {release} broke {broken} of {installed} that installed it{percent}{end}; it targeted {targets}."
        )
    }

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

    /// Whether the engine acted before any device broke: the broken ones were already updating.
    fn is_early(&self) -> bool {
        self.detected_at_s.zip(self.first_broken_at_s).is_some_and(|(detected, broken)| detected < broken)
    }

    /// When the engine first acted, seen from the first broken device: ` 2 h after the first one broke`; none if either is
    /// unknown.
    pub(crate) fn since_the_first_broke(&self) -> Option<String> {
        let (detected, broken) = self.detected_at_s.zip(self.first_broken_at_s)?;
        let side = if detected < broken { "before" } else { "after" };
        Some(format!(" {} {side} the first one broke", span((detected - broken).abs())))
    }

    /// The same; empty if unknown.
    fn when(&self) -> String {
        self.since_the_first_broke().unwrap_or_default()
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
    fn sentence(change: fn(&mut RolloutSummary)) -> String {
        let mut summary = sample::rollout();
        change(&mut summary);
        summary.sentence()
    }

    #[test]
    fn a_release_that_was_caught_says_how_soon() {
        assert_eq!(
            sentence(|_| {}),
            "Release 1.1.0 broke 7 of 150 devices that installed it (4.66 %) and was aborted 2 h 10 min after the first one broke; \
             it targeted 3,000."
        );
        assert_eq!(
            sentence(|of| (of.state, of.detected_at_s, of.broken_devices, of.installed_devices) =
                ("PAUSED".into(), None, 1, 1)),
            "Release 1.1.0 broke 1 of 1 device that installed it (100 %) and was paused; it targeted 3,000."
        );
        assert_eq!(
            sentence(|of| of.detected_at_s = Some(3_000.0)),
            "Release 1.1.0 broke 7 of 150 devices that installed it (4.66 %), although it was aborted 10 min before the first one broke; \
             it targeted 3,000."
        );
    }

    #[test]
    fn a_release_that_was_not_caught_says_so() {
        let all = |of: &mut RolloutSummary| {
            (of.state, of.detected_at_s, of.installed_devices) = ("COMPLETED".into(), None, 3_000);
        };
        assert_eq!(
            sentence(all),
            "Release 1.1.0 broke 7 of 3,000 devices that installed it (0.23 %) and was still completed: nothing stopped it; \
             it targeted 3,000."
        );
        assert_eq!(
            sentence(|of| (of.state, of.detected_at_s) = ("RUNNING".into(), None)),
            "Release 1.1.0 broke 7 of 150 devices that installed it (4.66 %) and was never caught: it was still running when the run ended; \
             it targeted 3,000."
        );
        assert_eq!(
            sentence(|of| of.state = "WAITING".into()),
            "Release 1.1.0 broke 7 of 150 devices that installed it (4.66 %) and was waiting for approval when the run ended, although it was \
             first held back 2 h 10 min after the first one broke; it targeted 3,000."
        );
    }

    #[test]
    fn a_good_release_gets_a_short_sentence() {
        let good = |of: &mut RolloutSummary| {
            (of.broken_devices, of.installed_devices, of.state) = (0, 3_000, "COMPLETED".into());
        };
        assert_eq!(sentence(good), "Release 1.1.0 was installed on 3,000 of 3,000 devices and broke none.");
        assert_eq!(
            sentence(|of| (of.broken_devices, of.state) = (0, "RUNNING".into())),
            "Release 1.1.0 was installed on 150 of 3,000 devices and broke none; it was still running when the run ended."
        );
        assert_eq!(
            sentence(|of| of.broken_devices = 0),
            "Release 1.1.0 was installed on 150 of 3,000 devices and broke none; it was aborted nevertheless."
        );
    }
}
