//! When a stage is promoted, the last one completes, and an overdue one pauses.

use ks_protocol::time::UnixMs;

use super::{
    NO_DECISION, Rollout, at, cell, decisions_of,
    fleet::{MODELS, silent},
    gate, seen, small, stage,
};
use crate::rollout::{
    gate::{Test, Verdict},
    order::Order,
    policy::{Action, Policy, Scope, WHOLE_BP},
    reading::read_gates,
    status::Status,
    step::{Effect, Event, State, suspects_matter},
    tally::Tally,
    update::UpdateState,
};

#[test]
fn a_stage_is_promoted_when_its_bake_time_is_over_and_not_a_millisecond_before() {
    let mut rollout = Rollout::new(small());
    assert_eq!(rollout.watch(0..=60, &seen(&[(UpdateState::Confirmed, 9)])), NO_DECISION);
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    assert_eq!(rollout.watch(120..=719, &good), NO_DECISION);
    assert_eq!(rollout.handle(&Event::Evaluation(&good), UnixMs(at(720).0 - 1)).unwrap().decisions, []);
    let promoted = rollout.evaluate(720, &good);
    assert_eq!(decisions_of(&promoted), ["promoted"]);
    let why = &promoted.decisions[0].why;
    assert!(why.contains("10 devices") && why.contains("600 s"), "{why}");
    assert_eq!((rollout.state.stage, rollout.state.share_bp(&rollout.policy)), (1, WHOLE_BP));
    assert_eq!(rollout.watch(721..=9_000, &good), NO_DECISION, "the outcomes of a stage promote no other");
}

#[test]
fn completion_alone_promotes_nothing() {
    let mut policy = small();
    policy.gates[0].test = Test::ClopperPearson { confidence_bp: 9_500 };
    let mut rollout = Rollout::new(policy);
    let all_done = seen(&[(UpdateState::Confirmed, 20)]);
    let readings = read_gates(&rollout.policy, 0, &all_done).unwrap();
    assert_eq!(readings[0].judged.verdict, Verdict::Inconclusive, "20 devices prove nothing about a tenth");
    assert_eq!(rollout.watch(0..=86_400, &all_done), NO_DECISION);
    assert_eq!((rollout.state.stage, rollout.state.status), (0, Status::Running));
    assert_eq!(rollout.watch(86_460..=86_460, &seen(&[(UpdateState::Confirmed, 40)])), [(86_460, "promoted")]);
}

#[test]
fn silent_devices_matter_once_the_bake_time_or_the_longest_time_is_over() {
    let policy = small();
    let mut state = State::new(at(0));
    let matters = |state: &State, seconds| suspects_matter(&policy, state, at(seconds));
    let (bake_s, longest_s) = (policy.stages[0].bake_s, policy.max_wait_s);
    assert!(bake_s > 0 && longest_s > 1 + bake_s);
    assert!(!matters(&state, longest_s - 1) && matters(&state, longest_s), "without evidence");
    state.evidence_at = Some(at(1));
    assert!(!matters(&state, bake_s) && matters(&state, 1 + bake_s), "with it");
}

#[test]
fn silent_devices_hold_a_promotion_that_would_not_be_if_they_were_lost() {
    let good = seen(&[(UpdateState::Confirmed, 12)]); // 10 % are tolerated: one of 12, not two
    let mut rollout = Rollout::new(small());
    rollout.watch(0..=540, &good);
    let promoted = rollout.evaluate(600, &silent(1, good.clone()));
    assert_eq!(decisions_of(&promoted), ["promoted"]);
    let why = &promoted.decisions[0].why;
    assert!(why.starts_with("every gate passes, even if 1 device that is silent is lost, 12 devices"), "{why}");
    assert_eq!(promoted.decisions[0].silent, 1, "for programs, which need not read the sentence");
    let mut rollout = Rollout::new(small());
    let suspicious = silent(2, good);
    assert_eq!(rollout.watch(0..=7_200, &suspicious), NO_DECISION);
    assert_eq!(rollout.watch(7_260..=7_260, &Tally { suspects: Vec::new(), ..suspicious }), [(7_260, "promoted")]);
}

#[test]
fn devices_that_are_silent_while_they_install_hold_a_promotion_too() {
    let mut installing = seen(&[(UpdateState::Confirmed, 12), (UpdateState::Installing, 2)]);
    let mut rollout = Rollout::new(small());
    rollout.watch(0..=540, &installing);
    installing.suspects =
        installing.cells.iter().filter(|cell| cell.state == UpdateState::Installing).cloned().collect();
    assert_eq!(rollout.watch(600..=3_600, &installing), NO_DECISION, "two of 14 would be more than 10 %");
    installing.suspects.clear();
    assert_eq!(rollout.watch(3_660..=3_660, &installing), [(3_660, "promoted")], "both were heard again");
}

#[test]
fn an_overdue_last_stage_with_devices_still_updating_pauses() {
    let mut policy = small();
    policy.stages.remove(0);
    let longest_s = policy.max_wait_s;
    let mut rollout = Rollout::new(policy);
    let stuck = seen(&[(UpdateState::Confirmed, 30), (UpdateState::Installing, 1)]);
    assert_eq!(rollout.watch(0..=longest_s, &stuck), NO_DECISION);
    rollout.state.mark_offline(["north".to_owned()], at(longest_s));
    let paused = rollout.evaluate(longest_s + 60, &stuck);
    assert_eq!(decisions_of(&paused), ["paused"]);
    let why = format!(
        "the last stage is not complete after {} s: 1 device still updating, 1 site offline (north since {})",
        longest_s + 60,
        at(longest_s)
    );
    assert_eq!(paused.decisions[0].why, why);
}

#[test]
fn the_last_stage_waits_for_all_devices_and_then_completes_and_closes() {
    let mut policy = small();
    policy.stages.remove(0);
    let mut rollout = Rollout::new(policy);
    let one_left = |state| seen(&[(UpdateState::Confirmed, 30), (state, 1)]);
    assert_eq!(rollout.watch(0..=3_600, &one_left(UpdateState::Pending)), NO_DECISION);
    assert_eq!(rollout.watch(3_660..=7_200, &one_left(UpdateState::Confirming)), NO_DECISION);
    let done = one_left(UpdateState::Confirmed);
    assert_eq!(rollout.watch(7_260..=7_260, &done), [(7_260, "completed")]);
    assert_eq!(rollout.evaluate(7_290, &done).effects, [Effect::Close]);
    assert_eq!(rollout.evaluate(7_320, &done).effects, []);
}

#[test]
fn a_last_stage_that_never_reaches_a_device_completes_when_it_is_overdue_and_says_so() {
    let policy = Policy { max_wait_s: 7_200, stages: vec![stage(WHOLE_BP, 10, 600)], ..small() };
    let mut rollout = Rollout::new(policy);
    let one_away = seen(&[(UpdateState::Confirmed, 30), (UpdateState::Pending, 1)]);
    assert_eq!(rollout.watch(0..=7_200, &one_away), NO_DECISION);
    let completed = rollout.evaluate(7_201, &one_away);
    assert!(completed.decisions[0].why.contains("; 1 device never reached"), "{:?}", completed.decisions);
    assert_eq!((decisions_of(&completed), rollout.state.status), (vec!["completed"], Status::Completed));
}

#[test]
fn a_group_that_loses_devices_does_not_become_too_small_to_hold_a_stage() {
    let mut policy = Policy { gates: vec![gate(Scope::Model, Action::Abort)], ..small() };
    policy.gates[0].test = Test::ClopperPearson { confidence_bp: 9_500 };
    policy.gates[0].min_executed = 29;
    let with = |executed: u32, withdrawn: u32| {
        let other = (MODELS[1], "north");
        let cells = vec![
            cell(0, (MODELS[0], "north"), UpdateState::Confirmed, 60),
            cell(0, other, UpdateState::Confirmed, executed - 2),
            cell(0, other, UpdateState::Lost, 2),
            cell(0, other, UpdateState::Withdrawn, withdrawn),
        ];
        Tally { cells, ..Tally::default() }
    };
    let mut rollout = Rollout::new(policy);
    assert_eq!(rollout.watch(0..=1_200, &with(30, 0)), NO_DECISION, "2 of 30 prove nothing");
    assert_eq!(rollout.watch(1_260..=3_000, &with(24, 6)), [(1_260, "withdrawn")]);
}

#[test]
fn an_overdue_stage_pauses_and_a_resume_restarts_its_time() {
    let mut rollout = Rollout::new(Policy { max_wait_s: 3_600, ..small() });
    let few = seen(&[(UpdateState::Confirmed, 9), (UpdateState::Pending, 1)]);
    assert_eq!(rollout.watch(0..=3_600, &few), NO_DECISION);
    let paused = rollout.evaluate(3_601, &few);
    assert_eq!((decisions_of(&paused), paused.effects.as_slice()), (vec!["paused"], [].as_slice()));
    assert!(paused.decisions[0].why.contains("not decided after 3601 s"), "{:?}", paused.decisions);
    assert_eq!(rollout.watch(3_660..=9_000, &few), NO_DECISION, "recorded once");
    assert_eq!(decisions_of(&rollout.order(9_001, &Order::Resume).unwrap()), ["resumed"]);
    assert_eq!(rollout.watch(9_060..=12_600, &few), NO_DECISION, "it has its time again");
    assert_eq!(rollout.watch(12_660..=12_720, &few), [(12_660, "paused")]);
}

#[test]
fn withdrawn_devices_are_neither_failures_nor_evidence() {
    let with = |withdrawn| seen(&[(UpdateState::Confirmed, 9), (UpdateState::Withdrawn, withdrawn)]);
    let mut rollout = Rollout::new(small());
    assert_eq!(rollout.evaluate(0, &with(0)).decisions, []);
    let taken_out = rollout.evaluate(60, &with(3));
    let why = "3 devices were revoked or re-provisioned before a failure was known; no gate counts 3 of this rollout";
    assert_eq!((decisions_of(&taken_out), taken_out.decisions[0].why.as_str()), (vec!["withdrawn"], why));
    assert_eq!(rollout.watch(120..=7_200, &with(3)), NO_DECISION, "9 outcomes are not 10");
    assert_eq!(rollout.watch(7_260..=7_260, &with(4)), [(7_260, "withdrawn")], "once for each that is new");
    let mut policy = small();
    policy.gates[0].min_executed = 5;
    let mut baked = Rollout::new(policy);
    assert_eq!(baked.watch(0..=540, &seen(&[(UpdateState::Confirmed, 10)])), NO_DECISION);
    let fewer = seen(&[(UpdateState::Confirmed, 9), (UpdateState::Withdrawn, 1)]);
    assert_eq!(baked.watch(600..=1_200, &fewer), [(600, "withdrawn")], "the stage has lost its evidence");
    let replaced = seen(&[(UpdateState::Confirmed, 8), (UpdateState::Lost, 2), (UpdateState::Withdrawn, 4)]);
    assert_eq!(rollout.watch(7_320..=7_320, &replaced), [(7_320, "aborted")], "a failure that was known stays one");
}
