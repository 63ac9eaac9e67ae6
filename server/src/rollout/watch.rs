//! The watch over a completed rollout: devices that fail later are counted, reported, and judged by the same gates.
//!
//! | what is found | what happens |
//! | --- | --- |
//! | 1, 2, 4, 8, ... devices have failed since completion | a decision `late`: somebody should look, whatever the gates say |
//! | a gate fails, or one more of its groups does | a decision `alert`; with `abort_and_roll_back` the rollout is rolled back |
//! | devices are silent at a site that looks offline, for longer than they may be | a decision `alert`: they are not judged |
//! | the time is over | a decision `watched` with the numbers, and the devices are no longer followed |
//!
//! Time in which no server observed the devices does not count as watched.

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::{text::counted, time::UnixMs};

use super::{
    gate::Verdict,
    offline::not_judged_in_words,
    policy::{Action, Policy},
    reading::{GateReading, read_gates, strongest_failure},
    step::{State, Step},
    tally::{Tally, failed},
};
use crate::clock::ms;

impl State {
    /// When the watch over a completed rollout ends; none if it is not watched.
    pub fn watch_ends_at(&self, policy: &Policy) -> Option<UnixMs> {
        let watch = self.watch.as_ref().filter(|_| !self.is_closed && policy.watch_s() > 0)?;
        Some(watch.ends_at(policy, self.unobserved_ms))
    }
}

impl Step {
    /// Evaluates a completed rollout that is not closed yet.
    pub(super) fn keep_watch(mut self, policy: &Policy, tally: &Tally, at: UnixMs) -> Self {
        let Some(watch) = self.state.watch.clone().filter(|_| policy.watch_s() > 0) else { return self.close() };
        let late = watch.late(failed(tally));
        let readings = match read_gates(policy, self.state.stage, tally) {
            Ok(readings) => readings,
            Err(why) => {
                self.decide("alert", format!("the gates could not be judged: {why}"), Vec::new());
                return self.close();
            }
        };
        if let Some((Action::AbortAndRollBack, gate)) = strongest_failure(policy, &readings) {
            let why = format!("after completion, {gate}");
            return self.abort(policy, why, true, readings);
        }
        self.report_gates(&readings);
        self.report_late_failures(late, &readings);
        self.report_offline_sites(policy, tally, at);
        let watched_ms = at.since_ms(watch.since).saturating_sub(self.state.unobserved_ms);
        if watched_ms < ms(Duration::from_secs(policy.watch_s())) {
            return self;
        }
        let found = match late {
            0 => "no device failed".to_owned(),
            _ => format!("{} failed", counted(late, "device")),
        };
        let silent = match tally.silent() {
            0 => String::new(),
            silent => {
                let not_judged = not_judged_in_words(&self.state.offline_sites(tally, at));
                format!("; silent now: {}{not_judged}", counted(silent, "device"))
            }
        };
        let taken = match tally.taken {
            0 => String::new(),
            1 => "; 1 device has left for another rollout".to_owned(),
            taken => format!("; {} have left for another rollout", counted(taken, "device")),
        };
        let why = format!("watched for {} s after completion: {found}{silent}{taken}", watched_ms / 1_000);
        self.decide("watched", why, readings);
        self.close()
    }

    /// Reports each gate that fails, once, and again when more of its groups fail.
    fn report_gates(&mut self, readings: &[GateReading]) {
        let mut failing: BTreeMap<usize, Vec<&GateReading>> = BTreeMap::new();
        for reading in readings.iter().filter(|reading| reading.judged.verdict == Verdict::Fail) {
            failing.entry(reading.gate).or_default().push(reading);
        }
        for (gate, of_gate) in failing {
            let groups = u32::try_from(of_gate.len()).unwrap_or(u32::MAX);
            let Some(watch) = &mut self.state.watch else { return };
            let reported = watch.groups_reported.entry(gate).or_default();
            let Some(worst) =
                of_gate.iter().max_by_key(|reading| reading.judged.share_ppm).filter(|_| groups > *reported)
            else {
                continue;
            };
            *reported = groups;
            let others = match groups {
                1 => String::new(),
                _ => format!("; {} of this gate fail", counted(groups, "group")),
            };
            let why = format!("after completion, {worst}{others}; a person must decide whether to roll back");
            self.decide("alert", why, readings.to_vec());
        }
    }

    /// Reports devices that failed since completion: when there are 1, 2, 4, 8, ... of them.
    fn report_late_failures(&mut self, late: u32, readings: &[GateReading]) {
        let has_passed_a_power = |reported: u32| late.checked_ilog2() > reported.checked_ilog2();
        let Some(watch) = self.state.watch.as_mut().filter(|watch| has_passed_a_power(watch.late_reported)) else {
            return;
        };
        watch.late_reported = late;
        let verdict = match readings.iter().filter(|reading| reading.judged.verdict == Verdict::Fail).count() {
            0 => "no gate fails".to_owned(),
            failing => {
                format!("{} of the gates {}", counted(failing, "reading"), if failing == 1 { "fails" } else { "fail" })
            }
        };
        let why = format!("{} failed after completion; {verdict}", counted(late, "device"));
        self.decide("late", why, readings.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rollout::{
        order::{InvalidTransition, Order},
        policy::Scope,
        status::Status,
        step::Effect,
        tests::{Rollout, any_scenario, at, decisions_of, gate, run, seen, small, verdicts},
        update::UpdateState as S,
        watched::Watch,
    };

    /// A rollout of 200 devices that completed at second 0 of these cases with one failure, and is watched for an hour. Its gate
    /// tolerates 10 %.
    fn completed(action: Action) -> Rollout {
        let gates = vec![gate(Scope::Cumulative, action)];
        let mut rollout = Rollout::new(Policy {
            gates,
            watch_s: Some(3_600),
            roll_back_to: Some("fw-back".parse().unwrap()),
            ..small()
        });
        rollout.state.status = Status::Completed;
        rollout.state.stage = 1;
        rollout.state.evidence_at = Some(at(0));
        rollout.state.watch = Some(Watch::new(at(0), 1));
        rollout
    }

    fn lost(devices: u32) -> Tally {
        seen(&[(S::Confirmed, 200 - devices), (S::Lost, devices)])
    }

    #[test]
    fn a_watch_ends_when_its_time_is_over_and_not_a_second_before() {
        let mut rollout = completed(Action::Abort);
        assert_eq!(rollout.state.watch_ends_at(&rollout.policy), Some(at(3_600)));
        assert_eq!(rollout.watch(60..=3_599, &lost(1)), []);
        let last = rollout.evaluate(3_600, &lost(1));
        assert_eq!((decisions_of(&last), &last.effects[..]), (vec!["watched"], &[Effect::Close][..]));
        assert_eq!(last.decisions[0].why, "watched for 3600 s after completion: no device failed");
        assert_eq!((rollout.state.status, rollout.state.watch_ends_at(&rollout.policy)), (Status::Completed, None));
        assert_eq!(rollout.evaluate(3_601, &lost(30)).decisions, [], "it is closed");
        let refused = rollout.order(3_602, &Order::Abort { roll_back: true }).unwrap_err();
        assert!(matches!(refused, InvalidTransition::Status { status: Status::Completed, .. }));
        assert!(refused.to_string().contains("no longer watched"), "{refused}");
    }

    #[test]
    fn time_without_observation_is_not_watched() {
        let mut rollout = completed(Action::Abort);
        rollout.watch(60..=1_200, &lost(1));
        assert_eq!(decisions_of(&rollout.evaluate(2_200, &lost(1))), ["gap"], "1,000 s unobserved");
        assert_eq!(rollout.state.watch_ends_at(&rollout.policy), Some(at(4_600)));
        assert_eq!(rollout.watch(2_260..=4_599, &lost(1)), []);
        assert_eq!(decisions_of(&rollout.evaluate(4_600, &lost(1))), ["watched"]);
    }

    #[test]
    fn late_failures_are_reported_as_they_become_twice_as_many() {
        let mut rollout = completed(Action::Abort);
        let mut reported = Vec::new();
        for (second, devices) in (60..).step_by(60).zip(1..=17) {
            let step = rollout.evaluate(second, &lost(devices));
            reported.extend(step.decisions.into_iter().map(|decision| (devices - 1, decision.what, decision.why)));
        }
        let late: Vec<_> = reported.iter().map(|(late, what, _)| (*late, *what)).collect();
        assert_eq!(late, [(1, "late"), (2, "late"), (4, "late"), (8, "late"), (16, "late")]);
        assert_eq!(
            reported[4].2, "16 devices failed after completion; no gate fails",
            "17 of 200 are 8.5 %, 10 % are tolerated"
        );
    }

    #[test]
    fn a_gate_that_fails_after_completion_alerts_once_and_a_person_can_still_roll_back() {
        for action in [Action::Pause, Action::Abort] {
            let mut rollout = completed(action);
            let step = rollout.evaluate(60, &lost(20));
            assert_eq!(decisions_of(&step), ["late"], "20 of 200 are 10 %, which is tolerated");
            let step = rollout.evaluate(120, &lost(21));
            assert_eq!((decisions_of(&step), &step.effects[..]), (vec!["alert"], &[][..]));
            let why = &step.decisions[0].why;
            assert!(why.starts_with("after completion, gate 1 of all: 21 of 200 executed devices failed"), "{why}");
            assert_eq!(decisions_of(&rollout.evaluate(180, &lost(22))), [""; 0], "reported once");
            assert_eq!(rollout.state.status, Status::Completed);
            let back = rollout.order(181, &Order::Abort { roll_back: true }).unwrap();
            let release = "fw-back".parse().unwrap();
            assert_eq!(back.effects, [Effect::Halt, Effect::Close, Effect::RollBack(release)]);
            assert_eq!((rollout.state.status, rollout.state.is_closed), (Status::Aborted, true));
        }
    }

    #[test]
    fn a_gate_that_rolls_back_does_so_after_completion_too() {
        let mut rollout = completed(Action::AbortAndRollBack);
        let step = rollout.evaluate(60, &lost(21));
        assert_eq!(decisions_of(&step), ["aborted"]);
        assert!(step.effects.contains(&Effect::RollBack("fw-back".parse().unwrap())));
        assert!(rollout.state.is_closed);
    }

    #[test]
    fn without_a_watch_a_completed_rollout_closes_at_once() {
        let mut rollout = completed(Action::Abort);
        rollout.policy.watch_s = Some(0);
        assert_eq!(rollout.state.watch_ends_at(&rollout.policy), None);
        let step = rollout.evaluate(60, &lost(21));
        assert_eq!((decisions_of(&step), &step.effects[..]), (vec![], &[Effect::Close][..]));
    }

    proptest! {
        /// Invariant: a completed rollout offers nothing; each gate that fails then is reported or rolls back in that evaluation;
        /// it closes at the end of its watch, counted without gaps, and not before.
        #[test]
        fn a_completed_rollout_is_watched_to_the_end(scenario in any_scenario()) {
            let policy = &scenario.policy;
            let mut watched_ms = 0;
            for transition in run(&scenario, false) {
                let before = &transition.before;
                let Some(tally) = transition.seen.as_ref().filter(|_| before.status == Status::Completed) else { continue };
                prop_assert_eq!(transition.offered, 0);
                if before.is_closed {
                    prop_assert!(transition.effects().is_empty());
                    continue;
                }
                let passed_ms = transition.at.since_ms(before.evaluated_at);
                watched_ms += if passed_ms > 3 * 60_000 { 0 } else { passed_ms };
                let fails = |action: Option<Action>| {
                    let of_it = policy.gates.iter().filter(|gate| action.is_none_or(|action| gate.action == action));
                    of_it.flat_map(|gate| verdicts(gate, before.stage, tally)).filter(|(_, verdict)| *verdict == Verdict::Fail).count()
                };
                if policy.watch_s() > 0 && fails(Some(Action::AbortAndRollBack)) > 0 {
                    prop_assert_eq!(transition.after.status, Status::Aborted);
                    continue;
                }
                prop_assert_eq!(transition.after.status, Status::Completed);
                prop_assert_eq!(transition.after.is_closed, watched_ms >= policy.watch_s() * 1_000, "{} ms", watched_ms);
                if policy.watch_s() > 0 {
                    let reported: u32 = transition.after.watch.iter().flat_map(|watch| watch.groups_reported.values()).sum();
                    prop_assert!(reported as usize >= fails(None));
                    let late = tally.count(|cell| cell.state.is_failure()) - before.watch.as_ref().unwrap().failed_before;
                    let late_reported = transition.after.watch.as_ref().unwrap().late_reported;
                    prop_assert!(late_reported <= late);
                    prop_assert_eq!(late_reported.checked_ilog2(), late.checked_ilog2(), "1, 2, 4, 8, ...");
                }
            }
        }
    }
}
