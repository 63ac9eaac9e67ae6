//! A stage that a person must approve.

use super::{NO_DECISION, Rollout, about, at, decisions_of, fleet::silent, manual, seen};
use crate::rollout::{
    order::Order,
    policy::{Approval, Policy},
    status::Status,
    step::Event,
    update::UpdateState,
};

#[test]
fn a_manual_stage_waits_for_a_person_and_goes_on_when_one_approves() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let mut rollout = Rollout::new(manual());
    assert_eq!(rollout.watch(0..=3_600, &good), [(600, "waiting")], "recorded once");
    assert_eq!((rollout.state.status, rollout.state.stage), (Status::Waiting, 0));
    let approved = rollout.order(3_601, &Order::Approve).unwrap();
    assert_eq!(
        (decisions_of(&approved), rollout.state.status, rollout.state.stage),
        (vec!["approved"], Status::Running, 0)
    );
    assert_eq!(rollout.watch(3_602..=3_602, &good), [(3_602, "promoted")]);
    assert!(!rollout.state.approved, "an approval is for one stage");
}

#[test]
fn an_approval_does_not_replace_evidence() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let mut early = Rollout::new(manual());
    let refused = early.order(0, &Order::Approve).unwrap_err().to_string();
    assert!(refused.contains("RUNNING") && refused.contains("expected WAITING"), "{refused}");
    assert_eq!(early.watch(0..=660, &good), [(600, "waiting")], "a stage without evidence can't be approved");

    let mut late = Rollout::new(manual());
    late.watch(0..=600, &good);
    late.order(601, &Order::Approve).unwrap();
    let suspicious = silent(u32::MAX, good.clone());
    assert_eq!(late.watch(610..=1_200, &suspicious), NO_DECISION, "what passed at the request no longer does");
    assert_eq!(late.watch(1_260..=1_260, &good), [(1_260, "promoted")]);
}

#[test]
fn an_approval_covers_only_what_was_seen() {
    let with = |lost| seen(&[(UpdateState::Confirmed, 40), (UpdateState::Lost, lost)]);
    let mut rollout = Rollout::new(manual());
    assert_eq!(rollout.watch(0..=600, &with(1)), [(600, "waiting")]);
    let with_one_failure = about(&rollout.state, &Order::Approve);
    let asked_again = rollout.evaluate(660, &with(2));
    assert_eq!(decisions_of(&asked_again), ["waiting"]);
    assert!(asked_again.decisions[0].why.starts_with("1 more device failed since; "), "{asked_again:?}");
    assert!(
        rollout.handle(&Event::Order(&with_one_failure), at(661)).is_err(),
        "it is about one failure, and there are two"
    );
    rollout.order(662, &Order::Approve).unwrap();
    assert_eq!(rollout.watch(720..=720, &with(3)), [(720, "waiting")], "one more failed after the approval");
    assert_eq!((rollout.state.status, rollout.state.approved), (Status::Waiting, false));
    rollout.order(721, &Order::Approve).unwrap();
    assert_eq!(rollout.watch(780..=780, &with(3)), [(780, "promoted")]);
}

#[test]
fn a_stage_that_loses_its_evidence_no_longer_waits_for_approval() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let fewer = seen(&[(UpdateState::Confirmed, 9), (UpdateState::Withdrawn, 1)]);
    let mut rollout = Rollout::new(manual());
    rollout.watch(0..=600, &good);
    assert_eq!(rollout.watch(660..=660, &fewer), [(660, "withdrawn"), (660, "lapsed")]);
    assert_eq!(rollout.state.status, Status::Running);
    assert!(rollout.order(661, &Order::Approve).is_err());
    let mut approved = Rollout::new(manual());
    approved.watch(0..=600, &good);
    approved.order(601, &Order::Approve).unwrap();
    assert_eq!(approved.watch(660..=660, &fewer), [(660, "withdrawn"), (660, "lapsed")]);
    let enough = seen(&[(UpdateState::Confirmed, 10), (UpdateState::Withdrawn, 1)]);
    assert_eq!(approved.watch(720..=720, &enough), [(720, "waiting")], "it is asked again");
}

#[test]
fn time_waiting_for_approval_does_not_count_for_the_stage() {
    let mut rollout = Rollout::new(Policy { max_wait_s: 3_600, ..manual() });
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let silent = silent(u32::MAX, good.clone());
    assert_eq!(rollout.watch(0..=600, &good), [(600, "waiting")]);
    assert_eq!(rollout.watch(660..=9_000, &silent), NO_DECISION, "overdue by far, and waiting for a person");
    rollout.order(9_001, &Order::Approve).unwrap();
    assert_eq!(rollout.watch(9_060..=9_120, &silent), NO_DECISION);
    assert_eq!(rollout.watch(9_180..=9_180, &good), [(9_180, "promoted")]);
}

#[test]
fn a_second_approval_is_not_for_the_next_stage() {
    let mut policy = manual();
    policy.stages[1].approval = Approval::Manual;
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let mut rollout = Rollout::new(policy);
    rollout.watch(0..=600, &good);
    let clicked = about(&rollout.state, &Order::Approve);
    rollout.handle(&Event::Order(&clicked), at(601)).unwrap();
    assert!(rollout.order(602, &Order::Approve).is_err(), "approved already, and not promoted yet");
    assert_eq!(rollout.watch(603..=603, &good), [(603, "promoted")]);
    let twice = rollout.handle(&Event::Order(&clicked), at(604)).unwrap_err().to_string();
    assert_eq!(
        twice,
        "the order to approve is for stage 1 at revision 2, but the rollout is in stage 2 at revision 4: check it again"
    );
    assert!(rollout.order(605, &Order::Approve).is_err(), "stage 2 has no outcome yet");
    assert!(!rollout.state.approved);
}

/// A rollout that waits for an approval does not pause for being overdue.
#[test]
fn an_unapproved_stage_keeps_waiting() {
    let mut rollout = Rollout::new(Policy { max_wait_s: 3_600, ..manual() });
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    assert_eq!(rollout.watch(0..=7_200, &good), [(600, "waiting")]);
}
