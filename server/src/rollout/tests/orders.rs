//! What a person may order, and what an order ends.

use super::{Rollout, about, at, manual, seen, small};
use crate::rollout::{
    order::{OperatorOrder, Order},
    policy::{Action, Policy},
    status::Status,
    step::{Effect, Event},
    update::UpdateState,
};

#[test]
fn an_aborted_rollout_is_watched_until_nothing_is_in_flight() {
    let mut rollout = Rollout::new(small());
    assert_eq!(rollout.order(0, &Order::Abort { roll_back: false }).unwrap().effects, [Effect::Halt]);
    let in_flight = seen(&[(UpdateState::Installing, 1), (UpdateState::Halted, 9)]);
    assert_eq!(rollout.evaluate(60, &in_flight).effects, []);
    assert_eq!(rollout.evaluate(120, &seen(&[(UpdateState::Confirmed, 1)])).effects, [Effect::Close]);
    assert_eq!(rollout.evaluate(180, &seen(&[(UpdateState::Confirmed, 1)])).effects, []);
}

#[test]
fn a_roll_back_hands_over_the_devices_immediately() {
    let mut policy = Policy { roll_back_to: Some("fw-back".parse().unwrap()), ..small() };
    policy.gates[0].action = Action::AbortAndRollBack;
    let back = [Effect::Halt, Effect::Close, Effect::RollBack("fw-back".parse().unwrap())];
    let bad = seen(&[(UpdateState::Confirmed, 8), (UpdateState::RolledBack, 5), (UpdateState::Installing, 2)]);
    let mut by_gate = Rollout::new(policy.clone());
    assert_eq!(by_gate.evaluate(60, &bad).effects, back);
    let mut by_order = Rollout::new(policy.clone());
    assert_eq!(by_order.order(60, &Order::Abort { roll_back: true }).unwrap().effects, back);
    for rollout in [&mut by_gate, &mut by_order] {
        assert!(rollout.state.is_closed);
        assert_eq!(rollout.evaluate(120, &bad).effects, [], "closed once");
    }
    let mut without = Rollout::new(policy);
    assert_eq!(without.order(60, &Order::Abort { roll_back: false }).unwrap().effects, [Effect::Halt]);
}

#[test]
fn an_invalid_order_is_refused_with_the_reason() {
    use Status as S;
    let orders = [Order::Pause, Order::Resume, Order::Approve, Order::Abort { roll_back: false }];
    for (status, fitting) in [
        (S::Running, [true, false, false, true]),
        (S::Waiting, [true, false, true, true]),
        (S::Paused, [false, true, false, true]),
        (S::Aborted, [false; 4]),
        (S::Completed, [false, false, false, true]), // as long as it is not closed
    ] {
        for (order, fits) in orders.iter().zip(fitting) {
            let mut rollout = Rollout::new(small());
            rollout.state.status = status;
            let done = rollout.order(60, order);
            assert_eq!(done.is_ok(), fits, "{order:?} while {status:?}");
            if let Err(refused) = done {
                let expected = format!("the rollout is {}: order to {} refused", status.as_str(), order.as_str());
                assert!(refused.to_string().starts_with(&expected), "{refused}");
            }
        }
    }
}

#[test]
fn only_orders_that_advance_the_release_require_a_revision() {
    for (order, fits) in [(Order::Pause, true), (Order::Abort { roll_back: false }, true), (Order::Approve, false)] {
        let mut rollout = Rollout::new(manual());
        rollout.watch(0..=600, &seen(&[(UpdateState::Confirmed, 10)]));
        let unseen = OperatorOrder { seen: None, ..about(&rollout.state, &order) };
        assert_eq!(rollout.handle(&Event::Order(&unseen), at(601)).is_ok(), fits, "{order:?}");
    }
}
