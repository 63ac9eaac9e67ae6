//! The blast radius of a release in one sentence: how many devices it broke, and how its rollout ended.

use crate::number::{share, span};
use crate::run_folder::{ActionTime, RolloutSummary};

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
    /// The time is that of the decision that it names.
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
        format!("{} was installed on {installed} of {targets} and broke none{end}.", self.who())
    }

    /// For a release that broke something.
    fn harmful(&self, count: fn(u64) -> String) -> String {
        let percent = if self.installed_devices > 0 {
            format!(" ({})", share(self.broken_devices, self.installed_devices))
        } else {
            String::new() // the number of installed devices is unknown
        };
        let held_back = self.held_back();
        let end = match (self.end(), held_back.is_empty()) {
            (End::Completed, true) => " and was still completed: nothing stopped it".into(),
            (End::Completed, false) => format!(" and was still completed, although {held_back}"),
            (End::Stopped(word), _) => self.stopped(word),
            (End::Open(word), true) => format!(" and was never caught: it was {word} when the run ended"),
            (End::Open(word), false) => format!(" and was {word} when the run ended, although {held_back}"),
        };
        let (broken, installed) = (count(self.broken_devices), devices(self.installed_devices, count));
        let (who, targets) = (self.who(), count(self.targets));
        format!("{who} broke {broken} of {installed} that installed it{percent}{end}; it targeted {targets}.")
    }

    /// `Release 1.1.0`, and by which rollout if the run had several of it.
    fn who(&self) -> String {
        let by = if self.is_one_of_several { format!(", by the rollout {},", self.rollout_id) } else { String::new() };
        format!("Release {}{by}", self.release)
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

    /// The decision that stopped it, with its time, and before that the first one against it.
    fn stopped(&self, word: &str) -> String {
        let last = self.last_action.as_ref();
        let at_s = last.map_or(self.detected_at_s, |last| Some(last.at_s));
        let by = last.filter(|last| !is_gate(last)).map_or_else(String::new, |last| format!(" by {}", last.by));
        let when = at_s.and_then(|at_s| self.since_the_first_broke(at_s)).unwrap_or_default();
        let first = match &self.first_action {
            Some(first) if last.is_some_and(|last| last.at_s > first.at_s) => {
                format!("; before that, {}", self.held_back_by(first))
            }
            _ => String::new(),
        };
        // Not "before": devices that had it already may break later.
        let is_early = at_s.zip(self.first_broken_at_s).is_some_and(|(at_s, broken_at_s)| at_s < broken_at_s);
        let and = if is_early { ", although it" } else { " and" };
        format!("{and} was {word}{by}{when}{first}")
    }

    /// `gate 1 of all first paused it 2 h after the first one broke`; empty if nothing was done against it.
    fn held_back(&self) -> String {
        match (&self.first_action, self.detected_at_s) {
            (Some(first), _) => self.held_back_by(first),
            (None, Some(at_s)) => {
                format!("it was first held back{}", self.since_the_first_broke(at_s).unwrap_or_default())
            }
            (None, None) => String::new(),
        }
    }

    fn held_back_by(&self, first: &ActionTime) -> String {
        let did = match first.decision.as_str() {
            "alert" => "alerted people".to_owned(),
            decision => format!("{decision} it"),
        };
        format!("{} {did}{}", first.by, self.since_the_first_broke(first.at_s).unwrap_or_default())
    }

    /// A time seen from the first broken device: ` 2 h after the first one broke`; none if none broke.
    pub(crate) fn since_the_first_broke(&self, at_s: f64) -> Option<String> {
        let broken_at_s = self.first_broken_at_s?;
        let side = if at_s < broken_at_s { "before" } else { "after" };
        Some(format!(" {} {side} the first one broke", span((at_s - broken_at_s).abs())))
    }
}

/// Whether a gate made this decision: what is said without naming it.
fn is_gate(action: &ActionTime) -> bool {
    action.by.starts_with("gate ")
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

    fn without_actions(of: &mut RolloutSummary) {
        (of.detected_at_s, of.first_action, of.last_action) = (None, None, None);
    }

    #[test]
    fn a_release_that_was_caught_says_how_soon() {
        assert_eq!(
            sentence(|_| {}),
            "Release 1.1.0 broke 7 of 150 devices that installed it (4.67 %) and was aborted 2 h 10 min after the first one broke; \
             it targeted 3,000."
        );
        assert_eq!(
            sentence(|of| {
                without_actions(of);
                (of.state, of.broken_devices, of.installed_devices) = ("PAUSED".into(), 1, 1);
            }),
            "Release 1.1.0 broke 1 of 1 device that installed it (100 %) and was paused; it targeted 3,000."
        );
        assert_eq!(
            sentence(|of| (of.first_action, of.last_action) = (None, Some(sample::ended(3_000.0)))),
            "Release 1.1.0 broke 7 of 150 devices that installed it (4.67 %), although it was aborted 10 min before the first one broke; \
             it targeted 3,000."
        );
    }

    #[test]
    fn a_release_that_was_not_caught_says_so() {
        let all = |of: &mut RolloutSummary| {
            without_actions(of);
            (of.state, of.installed_devices) = ("COMPLETED".into(), 3_000);
        };
        assert_eq!(
            sentence(all),
            "Release 1.1.0 broke 7 of 3,000 devices that installed it (0.23 %) and was still completed: nothing stopped it; \
             it targeted 3,000."
        );
        assert_eq!(
            sentence(|of| {
                without_actions(of);
                of.state = "RUNNING".into();
            }),
            "Release 1.1.0 broke 7 of 150 devices that installed it (4.67 %) and was never caught: it was still running when the run ended; \
             it targeted 3,000."
        );
        assert_eq!(
            sentence(|of| {
                (of.state, of.last_action) = ("WAITING".into(), None);
                of.first_action = of.first_action.take().map(|first| ActionTime { decision: "paused".into(), ..first });
            }),
            "Release 1.1.0 broke 7 of 150 devices that installed it (4.67 %) and was waiting for approval when the run ended, although \
             gate 1 of all paused it 2 h 10 min after the first one broke; it targeted 3,000."
        );
    }

    /// What is said of a decision has the time of that decision and of no other.
    #[test]
    fn an_abort_by_a_person_after_a_pause_by_the_engine_has_its_own_time() {
        let action =
            |at_s: f64, decision: &str, by: &str| Some(ActionTime { at_s, decision: decision.into(), by: by.into() });
        let mut of = sample::rollout();
        of.first_action = action(1_800.0, "paused", "the engine");
        of.last_action = action(14_400.0, "aborted", "a person");
        assert_eq!(
            of.sentence(),
            "Release 1.1.0 broke 7 of 150 devices that installed it (4.67 %) and was aborted by a person 3 h after the first one broke; \
             before that, the engine paused it 30 min before the first one broke; it targeted 3,000."
        );
        let mut alerted = RolloutSummary { state: "COMPLETED".into(), detected_at_s: None, last_action: None, ..of };
        alerted.first_action = action(7_200.0, "alert", "gate 1 of all");
        assert!(
            alerted.sentence().contains(
                "and was still completed, although gate 1 of all alerted people 1 h after the first one broke;"
            )
        );
        alerted.first_action = action(7_200.0, "paused", "a person");
        assert!(alerted.sentence().contains("although a person paused it 1 h after the first one broke;"));
    }

    /// A summary from before these fields existed says what it can.
    #[test]
    fn an_older_summary_has_the_time_of_the_engines_first_action() {
        let old = |of: &mut RolloutSummary| (of.first_action, of.last_action) = (None, None);
        assert!(sentence(old).contains("and was aborted 2 h 10 min after the first one broke;"));
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
