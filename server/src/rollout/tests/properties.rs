//! What holds in every scenario.

use std::collections::BTreeMap;

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{
    MINUTE, about,
    fleet::{SITES, once_lost, silent},
    scenarios::{Input, Transition, any_input, any_scenario, run},
};
use crate::rollout::{
    gate::{Verdict, judge},
    order::{InvalidTransition, Observed, OperatorOrder, Order},
    outcome::Outcome,
    policy::{Action, Approval, Gate, Policy, Scope},
    reading::read_gates,
    status::Status,
    step::{Effect, Event, GAP_MS, step, suspects_matter},
    tally::Tally,
    update::UpdateState,
};

/// The verdicts of a gate, computed independently: for each group its devices and the verdict.
pub(in crate::rollout) fn verdicts(gate: &Gate, stage: usize, tally: &Tally) -> Vec<(u32, Verdict)> {
    let mut groups: BTreeMap<(&str, &str), [u32; 3]> = BTreeMap::new();
    for cell in &tally.cells {
        let is_judged = if gate.scope == Scope::Stage { cell.stage == stage } else { cell.stage <= stage };
        if !is_judged {
            continue;
        }
        let of = match gate.scope {
            Scope::Stage | Scope::Cumulative => ("", ""),
            Scope::Model => (cell.model.as_str(), ""),
            Scope::Site => ("", cell.site.as_str()),
            Scope::Stratum => (cell.model.as_str(), cell.site.as_str()),
        };
        let [devices, executed, failed] = groups.entry(of).or_default();
        *devices += cell.count;
        *executed += cell.state.outcome().map_or(0, |_| cell.count);
        *failed += cell.state.outcome().filter(|outcome| gate.outcomes.contains(outcome)).map_or(0, |_| cell.count);
    }
    let judged = |[devices, executed, failed]: [u32; 3]| {
        (devices, judge(gate.test, gate.threshold_bp, gate.min_executed, failed, executed).unwrap().verdict)
    };
    groups.into_values().map(judged).collect()
}

/// The actions of the failed gates.
fn failing(policy: &Policy, stage: usize, tally: &Tally) -> Vec<Action> {
    let fails = |gate: &&Gate| verdicts(gate, stage, tally).iter().any(|(_, verdict)| *verdict == Verdict::Fail);
    policy.gates.iter().filter(fails).map(|gate| gate.action).collect()
}

fn executed(stage: usize, tally: &Tally) -> u32 {
    tally.count(|cell| cell.stage == stage && cell.state.outcome().is_some())
}

/// Goal: the scenarios are varied; otherwise the properties below would prove nothing.
#[test]
fn scenarios_reach_every_kind_of_decision() {
    let mut runner = TestRunner::deterministic();
    let mut decided: BTreeMap<&str, u32> = BTreeMap::new();
    for _ in 0..300 {
        let scenario = any_scenario().new_tree(&mut runner).unwrap().current();
        for transition in run(&scenario, false) {
            for decision in transition.decisions() {
                *decided.entry(decision.what).or_default() += 1;
            }
        }
    }
    for what in ["promoted", "completed", "aborted", "paused", "resumed", "waiting", "approved", "withdrawn", "gap"] {
        assert!(decided.get(what).is_some_and(|count| *count >= 30), "{what} of {decided:?}");
    }
    for what in ["watched", "late", "alert"] {
        assert!(decided.get(what).is_some_and(|count| *count >= 10), "{what} of {decided:?}");
    }
}

proptest! {
    /// Invariant (a): a share never shrinks, a stage never goes back, and only a promotion leads to the next, one at a time.
    #[test]
    fn a_share_never_shrinks_and_a_stage_never_goes_back(scenario in any_scenario()) {
        for Transition { before, after, step, .. } in run(&scenario, false) {
            prop_assert!(after.share_bp(&scenario.policy) >= before.share_bp(&scenario.policy));
            let promoted = step.map_or(0, |step| step.decisions.iter().filter(|decision| decision.what == "promoted").count());
            prop_assert!(promoted <= 1);
            prop_assert_eq!(after.stage, before.stage + promoted);
            prop_assert!(after.stage < scenario.policy.stages.len());
            prop_assert!(after.evaluated_at >= before.evaluated_at);
        }
    }

    /// Invariant (b): once it is aborted, it offers nothing, decides nothing but gaps and withdrawn devices, and accepts no order.
    #[test]
    fn an_aborted_rollout_offers_nothing_more(
        mut scenario in any_scenario(), cut in 0_usize..60, roll_back: bool, then in prop::collection::vec(any_input(), 1..60)
    ) {
        scenario.inputs.truncate(cut);
        let roll_back = roll_back && scenario.policy.roll_back_to.is_some(); // or it would be refused
        scenario.inputs.push(Input::Order(Order::Abort { roll_back }));
        scenario.inputs.extend(then);
        let transitions = run(&scenario, false);
        let aborted = transitions.iter().position(|transition| transition.decided("aborted").is_some());
        let over = transitions.iter().position(|transition| transition.after.status.is_over());
        prop_assert!(over.is_some(), "an order to abort ends what is not over yet");
        let Some(aborted) = aborted else { return Ok(()) }; // it had been completed
        let effects = transitions[aborted].effects();
        let halts = effects.iter().filter(|effect| **effect == Effect::Halt).count();
        prop_assert_eq!((halts, transitions[aborted].offered), (1, 0));
        prop_assert!(!effects.iter().any(|effect| matches!(effect, Effect::Offer(_))));
        let mut closed = usize::from(effects.contains(&Effect::Close));
        for transition in &transitions[aborted + 1..] {
            prop_assert_eq!(transition.after.status, Status::Aborted);
            prop_assert!(transition.order.is_none() || transition.step.is_err());
            prop_assert!(transition.decisions().iter().all(|decision| matches!(decision.what, "gap" | "withdrawn")));
            prop_assert!(transition.effects().iter().all(|effect| *effect == Effect::Close), "{:?}", transition.effects());
            closed += transition.effects().len();
        }
        prop_assert!(closed <= 1, "closed {closed} times");
        prop_assert_eq!(closed == 1, transitions.last().unwrap().after.is_closed);
    }

    /// Invariant (c): a stage is passed on enough outcomes, PASS of every gate, the whole bake time, and no silent device; a manual
    /// stage also requires an approval.
    #[test]
    fn nothing_is_promoted_without_evidence(scenario in any_scenario()) {
        let (mut evidence_at, mut gaps_ms, mut approved) = (None, 0, false);
        for transition in run(&scenario, false) {
            if transition.order == Some(Order::Approve) && transition.step.is_ok() {
                approved = true;
            }
            let passed = transition.decided("promoted").or(transition.decided("completed"));
            let Some(tally) = &transition.seen else {
                prop_assert!(passed.is_none(), "only an evaluation can promote");
                continue;
            };
            let stage_number = transition.before.stage;
            let stage = scenario.policy.stages[stage_number];
            let passed_ms = transition.at.since_ms(transition.before.evaluated_at);
            if evidence_at.is_some() && passed_ms > GAP_MS {
                gaps_ms += passed_ms;
            }
            if executed(stage_number, tally) >= stage.min_executed {
                evidence_at.get_or_insert(transition.at);
            }
            let Some(passed) = passed else { continue };
            prop_assert!(matches!(transition.before.status, Status::Running | Status::Waiting));
            prop_assert!(executed(stage_number, tally) >= stage.min_executed);
            let baked_ms = transition.at.since_ms(evidence_at.unwrap()).saturating_sub(gaps_ms);
            prop_assert!(baked_ms >= stage.bake_s * 1_000, "{baked_ms} of {} s", stage.bake_s);
            prop_assert!(stage.approval == Approval::Auto || approved);
            let lost = once_lost(tally);
            for (gate, tally) in scenario.policy.gates.iter().flat_map(|gate| [(gate, tally), (gate, &lost)]) {
                let said = verdicts(gate, stage_number, tally);
                prop_assert!(said.iter().any(|(_, verdict)| *verdict == Verdict::Pass), "{said:?}");
                prop_assert!(said.iter().all(|(_, verdict)| *verdict != Verdict::Fail), "{said:?}");
                let is_large = |devices: u32| devices >= gate.min_executed;
                prop_assert!(said.iter().all(|(devices, verdict)| !is_large(*devices) || *verdict == Verdict::Pass));
            }
            prop_assert_eq!(&passed.gates, &read_gates(&scenario.policy, stage_number, tally).unwrap(), "its numbers are kept");
            prop_assert_eq!(passed.stage, stage_number);
            if passed.what == "completed" {
                prop_assert_eq!(tally.count(|cell| cell.state.is_in_flight()), 0);
            }
            (evidence_at, gaps_ms, approved) = (None, 0, false);
        }
    }

    /// Silent devices decide nothing before they are counted, so that an evaluation need not read them.
    #[test]
    fn silent_devices_change_nothing_where_they_need_not_be_counted(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Some(tally) = &transition.seen else { continue };
            if !suspects_matter(&scenario.policy, &transition.before, transition.at) {
                let with = |suspects| {
                    let tally = silent(suspects, tally.clone());
                    step(&scenario.policy, &transition.before, &Event::Evaluation(&tally), transition.at)
                };
                prop_assert_eq!(with(0), with(u32::MAX));
            }
        }
    }

    /// Invariant (c), the other way round: a stage with all of that is promoted in the same evaluation, or waits for an approval.
    #[test]
    fn a_stage_with_all_its_evidence_is_promoted_immediately(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Transition { before, after, seen: Some(tally), .. } = &transition else { continue };
            let Some(evidence_at) = before.evidence_at else { continue };
            let stage = scenario.policy.stages[before.stage];
            let is_open = matches!(before.status, Status::Running | Status::Waiting);
            let is_last = before.stage + 1 == scenario.policy.stages.len();
            let passed_ms = transition.at.since_ms(before.evaluated_at);
            let gap_ms = if passed_ms > GAP_MS { passed_ms } else { 0 };
            let baked_ms = transition.at.since_ms(evidence_at).saturating_sub(before.unobserved_ms + gap_ms);
            let passes = scenario.policy.gates.iter().all(|gate| {
                verdicts(gate, before.stage, tally).iter().all(|(_, verdict)| *verdict == Verdict::Pass)
            });
            // Withdrawn devices may have left too few.
            let is_enough = executed(before.stage, tally) >= stage.min_executed;
            if is_open && !is_last && passes && is_enough && tally.suspects.is_empty() && baked_ms >= stage.bake_s * 1_000 {
                let failed = tally.count(|cell| cell.state.outcome().is_some_and(Outcome::is_failure));
                let is_approved = before.approved && failed <= before.failed_when_asked;
                if stage.approval == Approval::Auto || is_approved {
                    prop_assert!(transition.decided("promoted").is_some());
                } else {
                    prop_assert_eq!(after.status, Status::Waiting);
                }
            }
        }
    }

    /// Invariant (d): a server that is killed between any two events makes the same decisions as one that is not.
    #[test]
    fn a_restart_between_any_two_events_changes_nothing(scenario in any_scenario()) {
        let (whole, restarted) = (run(&scenario, false), run(&scenario, true));
        for (one, other) in whole.iter().zip(&restarted) {
            prop_assert_eq!(one, other);
        }
    }

    /// Invariant (e): a gap is time without observation, whatever the status: it is recorded, does not count as bake time, and
    /// silence counts from its end; without a gap none of that changes.
    #[test]
    fn a_gap_is_no_bake_time_and_excuses_silence(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Transition { before, after, .. } = &transition;
            let passed_ms = transition.at.since_ms(before.evaluated_at);
            let is_gap = transition.seen.is_some() && passed_ms > GAP_MS;
            prop_assert_eq!(transition.decided("gap").is_some(), is_gap);
            prop_assert_eq!(after.observing_since, if is_gap { transition.at } else { before.observing_since });
            if is_gap {
                prop_assert!(SITES.iter().all(|site| after.silence_counts_from(site) == transition.at));
            }
            if before.stage == after.stage {
                let lost_ms = if is_gap && before.evidence_at.is_some() { passed_ms } else { 0 };
                let is_completed = transition.decided("completed").is_some(); // its watch counts gaps anew
                prop_assert_eq!(after.unobserved_ms, if is_completed { 0 } else { before.unobserved_ms + lost_ms });
                prop_assert!(before.evidence_at.is_none() || after.evidence_at == before.evidence_at);
            } else {
                prop_assert_eq!((after.evidence_at, after.unobserved_ms, after.approved), (None, 0, false));
                prop_assert_eq!(after.stage_began_at, transition.at);
            }
        }
    }

    /// Invariant (f): a failed gate acts in the same evaluation, whatever the status of an open rollout; other gates do not act.
    #[test]
    fn a_failing_gate_acts_in_any_status(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Some(tally) = transition.seen.as_ref().filter(|_| !transition.before.status.is_over()) else { continue };
            let failing = failing(&scenario.policy, transition.before.stage, tally);
            if failing.is_empty() {
                prop_assert!(transition.decided("aborted").is_none());
                continue;
            }
            prop_assert_eq!((transition.offered, transition.after.stage), (0, transition.before.stage));
            prop_assert!(matches!(transition.after.status, Status::Paused | Status::Aborted));
            prop_assert!(!transition.effects().iter().any(|effect| matches!(effect, Effect::Offer(_))));
            if !failing.contains(&Action::Pause) {
                prop_assert_eq!(transition.after.status, Status::Aborted);
                prop_assert!(transition.effects().contains(&Effect::Halt));
            }
            let rolls_back = transition.effects().iter().any(|effect| matches!(effect, Effect::RollBack(_)));
            prop_assert!(!rolls_back || failing.contains(&Action::AbortAndRollBack));
        }
    }

    /// Invariant (i): the number of updates in flight and the number of starts in any minute stay within their limits.
    #[test]
    fn offers_respect_both_limits_in_every_scenario(scenario in any_scenario()) {
        let transitions = run(&scenario, false);
        for transition in &transitions {
            let Some(tally) = &transition.seen else { prop_assert_eq!(transition.offered, 0); continue };
            let in_flight = tally.count(|cell| cell.state.is_in_flight()) + transition.offered;
            prop_assert!(transition.offered == 0 || in_flight <= scenario.policy.in_flight_max, "{in_flight}");
            prop_assert!(transition.offered == 0 || matches!(transition.after.status, Status::Running | Status::Waiting));
        }
        for (first, begin) in transitions.iter().enumerate() {
            let within = transitions[first..].iter().take_while(|transition| transition.at.since_ms(begin.at) < MINUTE);
            let started: u32 = within.map(|transition| transition.offered).sum();
            prop_assert!(started <= scenario.policy.starts_per_min, "{started} within a minute of {:?}", begin.at);
        }
    }

    /// Invariant (k): the status and the release to roll back to decide whether an order is accepted; a refused one changes
    /// nothing.
    #[test]
    fn an_order_is_refused_unless_the_status_allows_it(scenario in any_scenario()) {
        use Status as S;
        let can_roll_back = scenario.policy.roll_back_to.is_some();
        for transition in run(&scenario, false) {
            let Some(order) = &transition.order else { continue };
            let status = transition.before.status;
            let fits = match order {
                Order::Pause => matches!(status, S::Running | S::Waiting),
                Order::Resume => status == S::Paused,
                Order::Approve => status == S::Waiting,
                Order::Abort { roll_back } => {
                    let is_watched = status == S::Completed && !transition.before.is_closed;
                    (!status.is_over() || is_watched) && (can_roll_back || !roll_back)
                }
            };
            prop_assert_eq!(transition.step.is_ok(), fits, "{:?} while {:?}", order, status);
            prop_assert!(!fits || transition.decisions().len() == 1, "every order is in the trace");
        }
    }

    /// Invariant (l): every decision has a revision of its own, one above the one before; an order for any other revision or
    /// stage is refused.
    #[test]
    fn an_order_is_about_the_revision_that_was_seen(scenario in any_scenario(), off_by in 1_u64..3) {
        let orders = [Order::Pause, Order::Resume, Order::Approve, Order::Abort { roll_back: false }];
        let mut revision = 1;
        for Transition { before, step: done, after, at, .. } in run(&scenario, false) {
            for decision in done.iter().flat_map(|step| &step.decisions) {
                revision += 1;
                prop_assert_eq!(decision.revision, revision);
            }
            prop_assert_eq!(after.revision, revision);
            let now = Observed::of(&before);
            let others = [
                Observed { revision: now.revision + off_by, ..now },
                Observed { revision: now.revision.wrapping_sub(off_by), ..now },
                Observed { stage: now.stage + 1, ..now },
            ];
            for order in &orders {
                for seen in others {
                    let stale = OperatorOrder { seen: Some(seen), ..about(&before, order) };
                    let refused = step(&scenario.policy, &before, &Event::Order(&stale), at);
                    prop_assert_eq!(refused, Err(InvalidTransition::Changed { order: order.as_str(), seen, now }));
                }
            }
        }
    }

    /// Invariant (m): all withdrawn devices are recorded in the trace, and count in no gate.
    #[test]
    fn withdrawn_devices_are_in_the_trace_and_in_no_gate(scenario in any_scenario()) {
        for transition in run(&scenario, false) {
            let Some(tally) = &transition.seen else { continue };
            let withdrawn = tally.count(|cell| cell.state == UpdateState::Withdrawn);
            prop_assert_eq!(transition.after.withdrawn, withdrawn);
            prop_assert_eq!(transition.decided("withdrawn").is_some(), withdrawn > transition.before.withdrawn);
            let stage = transition.before.stage;
            let others = tally.cells.iter().filter(|cell| cell.state != UpdateState::Withdrawn).cloned().collect();
            let without = Tally { cells: others, ..Tally::default() };
            prop_assert!(
                read_gates(&scenario.policy, stage, tally).unwrap().into_iter().filter(|reading| reading.judged.executed > 0).eq(
                    read_gates(&scenario.policy, stage, &without).unwrap().into_iter().filter(|reading| reading.judged.executed > 0)
                )
            );
        }
    }
}
