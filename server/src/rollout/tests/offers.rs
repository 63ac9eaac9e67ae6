//! How many devices are offered the release at once, and within a minute.

use super::{
    Rollout, cell,
    fleet::{MODELS, SITES},
    seen, small,
};
use crate::rollout::{order::Order, policy::Policy, step::Effect, tally::Tally, update::UpdateState};

#[test]
fn offers_respect_starts_per_min_and_in_flight_max() {
    let mut rollout = Rollout::new(Policy { starts_per_min: 60, in_flight_max: 100, ..small() });
    let fleet = |in_flight| seen(&[(UpdateState::Pending, 500), (UpdateState::Downloading, in_flight)]);
    assert_eq!(rollout.evaluate(0, &fleet(0)).effects, [Effect::Offer(60)], "all that a minute may see");
    rollout.state.offered(50);
    assert_eq!(rollout.evaluate(10, &fleet(50)).effects, [Effect::Offer(10)], "what was not offered is still there");
    rollout.state.offered(10);
    assert_eq!(rollout.evaluate(59, &fleet(60)).effects, [], "the minute is not over");
    assert_eq!(
        rollout.evaluate(60, &fleet(60)).effects,
        [Effect::Offer(40)],
        "50 may start, and in_flight_max leaves 40"
    );
    rollout.state.offered(40);
    assert_eq!(rollout.evaluate(130, &fleet(100)).effects, [], "in_flight_max is reached");
    assert_eq!(rollout.evaluate(100_000, &fleet(0)).effects, [Effect::Offer(60)], "a gap earns nothing");
    let waiting = seen(&[(UpdateState::Pending, 3)]);
    assert_eq!(rollout.evaluate(100_001, &waiting).effects, [Effect::Offer(3)], "only as many as there are");
    let later = Tally { cells: vec![cell(1, (MODELS[0], SITES[0]), UpdateState::Pending, 9)], ..Tally::default() };
    assert_eq!(rollout.evaluate(100_002, &later).effects, [], "the next stage's turn has not come");
}

#[test]
fn nothing_is_offered_while_it_is_paused() {
    let mut rollout = Rollout::new(Policy { starts_per_min: 60, ..small() });
    let waiting = seen(&[(UpdateState::Pending, 500)]);
    rollout.evaluate(0, &waiting);
    rollout.state.offered(60);
    rollout.order(1, &Order::Pause).unwrap();
    for second in [60, 120] {
        assert_eq!(rollout.evaluate(second, &waiting).effects, []);
    }
    rollout.order(121, &Order::Resume).unwrap();
    assert_eq!(rollout.evaluate(122, &waiting).effects, [Effect::Offer(60)]);
}

/// The policy's doc: "The most updates started within a minute."
#[test]
fn at_most_starts_per_min_begin_within_any_minute() {
    let mut rollout = Rollout::new(Policy { starts_per_min: 200, in_flight_max: 10_000, ..small() });
    let waiting = seen(&[(UpdateState::Pending, 10_000)]);
    let mut started = 0;
    for second in [0, 30, 59] {
        for effect in rollout.evaluate(second, &waiting).effects {
            let Effect::Offer(count) = effect else { panic!("{effect:?}") };
            rollout.state.offered(count);
            started += count;
        }
    }
    assert!(started <= 200, "{started} within 59 s");
}
