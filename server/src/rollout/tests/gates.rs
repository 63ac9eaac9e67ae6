//! What a gate judges, and what it does when it fails.

use super::{
    NO_DECISION, Rollout, cell, decisions_of,
    fleet::{MODELS, SITES},
    gate, manual, seen, small, stage,
};
use crate::rollout::{
    gate::Verdict,
    order::Order,
    outcome::Outcome,
    policy::{Action, Gate, Policy, Scope, WHOLE_BP},
    reading::{GateReading, read_gates},
    status::Status,
    step::{Decision, Effect},
    tally::Tally,
    update::UpdateState,
};

#[test]
fn gates_act_while_it_is_paused_or_waits() {
    let bad = seen(&[(UpdateState::Confirmed, 10), (UpdateState::Lost, 3)]);
    let mut paused = Rollout::new(small());
    paused.order(0, &Order::Pause).unwrap();
    assert_eq!(paused.watch(0..=600, &Tally::default()), NO_DECISION);
    let mut waiting = Rollout::new(manual());
    assert_eq!(waiting.watch(0..=600, &seen(&[(UpdateState::Confirmed, 10)])), [(600, "waiting")]);
    for rollout in [&mut paused, &mut waiting] {
        let aborted = rollout.evaluate(660, &bad);
        assert_eq!(aborted.effects, [Effect::Halt]);
        let [decision] = aborted.decisions.as_slice() else { panic!("{:?}", aborted.decisions) };
        assert_eq!((decision.what, decision.gates[0].judged.failed), ("aborted", 3));
        assert!(decision.why.contains("3 of 13") && decision.why.contains("10.00 %"), "{}", decision.why);
        assert_eq!(rollout.state.status, Status::Aborted);
    }
}

/// A fleet in which the second model, at the south, fails; the cumulative share stays low.
fn one_model_breaks(failed: u32) -> Tally {
    let (old, new) = ((MODELS[0], "north"), (MODELS[1], "south"));
    let cells = vec![
        cell(0, old, UpdateState::Confirmed, 180),
        cell(0, (MODELS[1], "north"), UpdateState::Confirmed, 20),
        cell(0, new, UpdateState::Confirmed, 20 - failed),
        cell(0, new, UpdateState::FalseSuccess, failed),
    ];
    Tally { cells, ..Tally::default() }
}

#[test]
fn a_gate_by_model_or_stratum_catches_what_breaks_one_kind() {
    let with =
        |scope| Policy { gates: vec![gate(Scope::Cumulative, Action::Abort), gate(scope, Action::Pause)], ..small() };
    let mut cumulative = Rollout::new(small());
    assert_eq!(cumulative.watch(0..=600, &one_model_breaks(6)), [(600, "promoted")], "6 of 220 are fine");
    for (scope, of, failed) in
        [(Scope::Model, "KS-200", 6), (Scope::Stratum, "KS-200 at south", 3), (Scope::Site, "south", 3)]
    {
        let mut rollout = Rollout::new(with(scope));
        let paused = rollout.evaluate(60, &one_model_breaks(failed));
        assert_eq!(decisions_of(&paused), ["paused"], "{scope:?}");
        let Decision { why, gates, .. } = &paused.decisions[0];
        assert!(why.starts_with(&format!("gate 2 of {of}: {failed} of")), "{why}");
        assert_eq!(gates[0].judged.verdict, Verdict::Pass, "the cumulative gate still passes");
        let is_fail = |reading: &&GateReading| reading.judged.verdict == Verdict::Fail;
        assert_eq!(gates.iter().filter(is_fail).count(), 1);
    }
    let mut by_model = Rollout::new(with(Scope::Model));
    assert_eq!(by_model.watch(0..=600, &one_model_breaks(3)), [(600, "promoted")], "3 of 40 are a model's fine share");
}

#[test]
fn a_stage_gate_sees_the_stage_only() {
    let policy = Policy { gates: vec![gate(Scope::Stage, Action::Abort)], ..small() };
    let mut rollout = Rollout::new(policy.clone());
    rollout.state.stage = 1;
    let kind = (MODELS[0], SITES[0]);
    let cells = |failed| {
        vec![
            cell(0, kind, UpdateState::Confirmed, 500),
            cell(1, kind, UpdateState::Confirmed, 10),
            cell(1, kind, UpdateState::Failed, failed),
        ]
    };
    let read = |failed| read_gates(&policy, 1, &Tally { cells: cells(failed), ..Tally::default() }).unwrap().remove(0);
    assert_eq!((read(1).of.as_str(), read(1).judged.verdict), ("stage 2", Verdict::Pass));
    assert_eq!((read(2).judged.executed, read(2).judged.verdict), (12, Verdict::Fail));
}

#[test]
fn a_group_too_small_to_judge_can_only_fail() {
    let policy = Policy { gates: vec![gate(Scope::Model, Action::Abort)], ..small() };
    let with = |of_small: &[(UpdateState, u32)]| {
        let mut cells = vec![cell(0, (MODELS[0], "north"), UpdateState::Confirmed, 50)];
        cells.extend(of_small.iter().map(|(state, count)| cell(0, (MODELS[1], "north"), *state, *count)));
        Tally { cells, ..Tally::default() }
    };
    let watch = |tally: &Tally| Rollout::new(policy.clone()).watch(0..=600, tally);
    let (confirmed, failed, waiting) = (UpdateState::Confirmed, UpdateState::Failed, UpdateState::Pending);
    assert_eq!(watch(&with(&[(confirmed, 9)])), [(600, "promoted")], "9 can't be judged, and do not hold up the stage");
    assert_eq!(watch(&with(&[(waiting, 9)])), [(600, "promoted")]);
    assert_eq!(watch(&with(&[(confirmed, 8), (failed, 1)])), [(600, "promoted")], "one failure of ten would be fine");
    assert_eq!(watch(&with(&[(confirmed, 7), (failed, 2)])), [(0, "aborted")], "two are too many even of ten");
    assert_eq!(
        watch(&with(&[(confirmed, 9), (waiting, 1)])),
        NO_DECISION,
        "10 will prove something: it waits for them"
    );
    let small_only = Tally { cells: with(&[(confirmed, 9)]).cells.split_off(1), ..Tally::default() };
    let policy = Policy { stages: vec![stage(5_000, 5, 600), stage(WHOLE_BP, 5, 600)], ..policy.clone() };
    assert_eq!(Rollout::new(policy).watch(0..=7_200, &small_only), NO_DECISION, "one group must have proven something");
}

#[test]
fn only_the_outcomes_that_a_gate_names_count() {
    let mut policy = small();
    policy.gates[0].outcomes = vec![Outcome::Lost];
    let mut rollout = Rollout::new(policy);
    let others = seen(&[(UpdateState::Confirmed, 1), (UpdateState::TimedOut, 20), (UpdateState::Halted, 9)]);
    assert_eq!(rollout.watch(0..=60, &others), NO_DECISION);
    let lost = seen(&[(UpdateState::Confirmed, 10), (UpdateState::Lost, 2)]);
    assert_eq!(rollout.watch(120..=120, &lost), [(120, "aborted")]);
}

/// A pause of one gate must not keep another from aborting.
#[test]
fn a_gate_that_aborts_is_not_shadowed_by_one_that_pauses() {
    let strict = Gate { threshold_bp: 5_000, ..gate(Scope::Cumulative, Action::Abort) };
    let policy = Policy { gates: vec![gate(Scope::Cumulative, Action::Pause), strict], ..small() };
    let mut rollout = Rollout::new(policy);
    assert_eq!(rollout.watch(0..=60, &seen(&[(UpdateState::Confirmed, 8), (UpdateState::Lost, 2)])), [(0, "paused")]);
    let disaster = seen(&[(UpdateState::Confirmed, 2), (UpdateState::Lost, 98)]);
    assert_eq!(rollout.watch(120..=240, &disaster), [(120, "aborted")]);
    assert_eq!(rollout.state.status, Status::Aborted);
}
