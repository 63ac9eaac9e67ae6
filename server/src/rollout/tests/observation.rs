//! Time without observation, and a clock that is wrong, count for nothing.

use super::{BEGIN, NO_DECISION, Rollout, at, decisions_of, seen, small};
use crate::rollout::{
    step::{GAP_MS, State},
    tally::Tally,
    update::UpdateState,
};

#[test]
fn a_gap_is_no_bake_time_and_three_minutes_are_none() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let gap_s = GAP_MS / 1_000;
    let mut rollout = Rollout::new(small());
    for second in [0, gap_s, 2 * gap_s, 3 * gap_s] {
        assert_eq!(decisions_of(&rollout.evaluate(second, &good)), Vec::<&str>::new(), "{second}");
    }
    assert_eq!(decisions_of(&rollout.evaluate(600, &good)), ["promoted"], "evaluations this far apart are not a gap");

    let mut rollout = Rollout::new(small());
    rollout.evaluate(0, &good);
    let gap = rollout.evaluate(10_000, &good);
    assert_eq!(decisions_of(&gap), ["gap"], "10,000 s without observation");
    assert!(gap.decisions[0].why.contains("10000 s"), "{:?}", gap.decisions);
    assert_eq!(rollout.state.silence_counts_from("north"), at(10_000));
    assert_eq!(rollout.watch(10_060..=10_599, &good), NO_DECISION);
    assert_eq!(decisions_of(&rollout.evaluate(10_600, &good)), ["promoted"]);
}

#[test]
fn silence_of_a_dark_site_counts_from_the_later_of_its_end_and_the_gap() {
    let mut rollout = Rollout::new(small());
    rollout.state.dark_until.insert("north".to_owned(), at(100));
    let from = |rollout: &Rollout| ["north", "south"].map(|site| rollout.state.silence_counts_from(site));
    assert_eq!(from(&rollout), [at(100), BEGIN]);
    rollout.evaluate(5_000, &Tally::default());
    assert_eq!(from(&rollout), [at(5_000); 2]);
    rollout.state.dark_until.insert("north".to_owned(), at(6_000));
    assert_eq!(from(&rollout), [at(6_000), at(5_000)]);
}

#[test]
fn a_clock_that_goes_back_adds_no_offers_and_no_bake_time() {
    let mut rollout = Rollout::new(small());
    let good = seen(&[(UpdateState::Confirmed, 10), (UpdateState::Pending, 500)]);
    rollout.evaluate(500, &good);
    rollout.state.offered(200);
    let back = rollout.evaluate(100, &good);
    assert_eq!((back.effects.as_slice(), decisions_of(&back).as_slice()), ([].as_slice(), ["gap"].as_slice()));
    assert_eq!(rollout.watch(120..=699, &good), NO_DECISION);
    assert_eq!(rollout.watch(700..=700, &good), [(700, "promoted")], "watched for the bake time since");
}

#[test]
fn a_small_step_back_changes_nothing() {
    let mut rollout = Rollout::new(small());
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    rollout.evaluate(60, &good);
    let before = rollout.state.clone();
    assert_eq!((decisions_of(&rollout.evaluate(30, &good)).len(), &rollout.state), (0, &before));
}

/// The clock ten days ahead for some minutes, and right again; the server may be down when it is set.
#[test]
fn a_clock_that_was_ahead_adds_no_bake_time_and_does_not_block() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let ten_days = 10 * 24 * 3_600;
    for evidence_while_ahead in [false, true] {
        let mut rollout = Rollout::new(small());
        let at_first = if evidence_while_ahead { seen(&[(UpdateState::Confirmed, 9)]) } else { good.clone() };
        assert_eq!(rollout.watch(0..=120, &at_first), NO_DECISION);
        let ahead = rollout.watch(ten_days + 180..=ten_days + 300, &good);
        assert_eq!(ahead, [(ten_days + 180, "gap")], "ten days without observation");
        assert_eq!(rollout.watch(360..=959, &good), [(360, "gap")]);
        assert_eq!(rollout.watch(960..=960, &good), [(960, "promoted")]);
    }
}

#[test]
fn a_clock_that_was_behind_adds_no_bake_time() {
    let good = seen(&[(UpdateState::Confirmed, 10)]);
    let ten_days = 10 * 24 * 3_600;
    let mut rollout = Rollout::new(small());
    rollout.state = State::new(at(ten_days));
    assert_eq!(rollout.watch(ten_days..=ten_days + 120, &good), NO_DECISION);
    assert_eq!(rollout.watch(180..=300, &good), [(180, "gap")]);
    let right = ten_days + 360;
    assert_eq!(rollout.watch(right..=right + 420, &good), [(right, "gap")], "only what was watched counts");
    assert_eq!(rollout.watch(right + 480..=right + 480, &good), [(right + 480, "promoted")]);
}
