//! What the oracle knows after an operator's order whose answer never came, and from when on it knows it again.

use super::*;

/// A minute, and a moment more.
const LATER: u64 = 61 * S;

fn per_min(count: u64) -> Values {
    let mut values = Values::all_off();
    values.set(LimitName::DeviceRequests, limit(count, 1, Mode::Enforce));
    values
}

fn started(values: &Values) -> Oracle {
    let mut oracle = oracle(&[]);
    oracle.server_started(0, values.clone());
    oracle
}

/// Goal: a crash in the middle of an order blinds the oracle until the server is back, and no longer.
/// Method: one request a minute before; the order of sixty was stored, and is in force from the start that follows.
#[test]
fn a_restart_ends_the_doubt_of_an_order_that_got_no_answer() {
    let mut oracle = started(&per_min(1));
    let ticket = oracle.limits_ordered(0, LimitSet::ALL);
    ask(&mut oracle, 0, "KS-1", 11, OK);
    oracle.limits_order_ended(ticket, 0, OrderEnd::Lost, None);
    ask(&mut oracle, S, "KS-1", 12, OK);
    assert_eq!(counts(&oracle), [1, 0, 0, 0, 1]);
    oracle.server_started(10 * S, per_min(60));
    (13..15).for_each(|seq| ask(&mut oracle, seq * S, "KS-1", seq, OK));
    ask(&mut oracle, 14 * S, "KS-1", 15, limited(LimitName::DeviceRequests, 1));
    assert_eq!((counts(&oracle), oracle.wrong()), ([3, 1, 0, 0, 1], &[][..]));
    ask(&mut oracle, 14 * S, "KS-1", 15, OK);
    assert_eq!(counts(&oracle), [3, 1, 0, 1, 1], "it decides again");
}

/// Goal: an order whose failure is noticed only after the server has started again changes nothing: what is in force is known.
#[test]
fn an_order_to_a_server_that_was_stopped_leaves_no_doubt_of_the_next_one() {
    let mut oracle = started(&per_min(1));
    let ticket = oracle.limits_ordered(0, LimitSet::ALL);
    oracle.server_started(S, per_min(60));
    assert!(oracle.are_limits_open(), "until its failure is seen");
    oracle.limits_order_ended(ticket, S, OrderEnd::Lost, None);
    assert!(!oracle.are_limits_open());
}

/// Goal: if the server goes on, it is asked what is in force once the order can't be at work any more; what was owed is learned from
/// verdicts. Method: the order was carried out unseen.
#[test]
fn an_order_that_a_server_lost_is_found_by_asking_it_again() {
    let mut oracle = started(&per_min(1));
    let ticket = oracle.limits_ordered(0, LimitSet::ALL);
    oracle.limits_order_ended(ticket, 0, OrderEnd::Lost, None);
    oracle.limits_read(S, S, per_min(1));
    assert!(oracle.are_limits_open(), "it may be carried out yet");
    ask(&mut oracle, LATER, "KS-1", 11, OK); // stored after it, if it was stored at all
    oracle.limits_read(LATER + S, LATER + S, per_min(1));
    assert!(oracle.are_limits_open(), "servers follow within two seconds");
    oracle.limits_read(LATER + 2 * S, LATER + 2 * S, per_min(60));
    assert!(!oracle.are_limits_open());
    let before = counts(&oracle);
    ask(&mut oracle, LATER + 2 * S, "KS-1", 12, OK);
    assert_eq!(counts(&oracle)[4], before[4] + 1, "what it owes is not known");
    ask(&mut oracle, LATER + 2 * S, "KS-1", 13, limited(LimitName::DeviceRequests, 1));
    ask(&mut oracle, LATER + 3 * S, "KS-1", 13, OK);
    ask(&mut oracle, LATER + 3 * S, "KS-1", 14, OK);
    let [admitted, refused, falsely_refused, falsely_admitted, undecidable] = counts(&oracle);
    assert_eq!((admitted, refused, falsely_refused), (before[0] + 1, before[1] + 1, 0));
    assert_eq!((falsely_admitted, undecidable), (1, before[4] + 1), "and then it is: {:?}", oracle.wrong());
}

/// Goal: a budget of an address that nobody was charged to while it was off may be used up after a change that was not seen.
#[test]
fn what_subjects_owe_to_a_limit_that_was_turned_on_unseen_is_not_known_at_first() {
    let by = LimitName::AddressFailures;
    let mut oracle = started(&Values::all_off());
    let ticket = oracle.limits_ordered(0, LimitSet::ALL);
    oracle.limits_order_ended(ticket, 0, OrderEnd::Lost, None);
    ask(&mut oracle, LATER, "KS-1", 11, OK);
    let mut values = Values::all_off();
    values.set(by, limit(60, 2, Mode::Enforce));
    let at_us = LATER + 3 * S;
    oracle.limits_read(at_us, at_us, values);
    let before = counts(&oracle);
    ask_from(&mut oracle, 9, at_us, "GHOST-1", 1, limited(by, 1));
    assert_eq!(counts(&oracle)[4], before[4] + 1);
    // Two and a charge of two more are paid in four seconds.
    (0..2).for_each(|_| ask_from(&mut oracle, 9, at_us + 4 * S, "GHOST-1", 1, refused(C::UnknownDevice)));
    ask_from(&mut oracle, 9, at_us + 4 * S, "GHOST-1", 1, limited(by, 1));
    let after = counts(&oracle);
    assert_eq!([after[0] - before[0], after[1], after[2], after[3]], [2, 1, 0, 0], "{:?}", oracle.wrong());
}

/// Goal: an order that the server says it failed with is not at work any more: two seconds later it says what is in force.
#[test]
fn an_order_that_failed_is_found_sooner_than_one_that_got_no_answer() {
    let mut oracle = started(&per_min(1));
    let ticket = oracle.limits_ordered(0, LimitSet::ALL);
    oracle.limits_order_ended(ticket, 0, OrderEnd::of_status(500), None);
    ask(&mut oracle, S, "KS-1", 11, OK);
    oracle.limits_read(2 * S - 1, 2 * S, per_min(1));
    assert!(oracle.are_limits_open(), "servers follow within two seconds");
    oracle.limits_read(2 * S, 2 * S, per_min(1));
    assert!(!oracle.are_limits_open());
    ask(&mut oracle, 4 * S, "KS-1", 12, OK);
    assert_eq!(counts(&oracle), [1, 0, 0, 0, 1], "what was spent meanwhile is not known before a verdict shows it");
    ask(&mut oracle, 5 * S, "KS-1", 13, limited(LimitName::DeviceRequests, 59));
    ask(&mut oracle, 5 * S, "KS-1", 13, OK);
    assert_eq!(counts(&oracle), [1, 1, 0, 1, 1], "{:?}", oracle.wrong());
}

/// The address's budget is used up for ten minutes, so that only the device's own sign lets it pass.
fn with_a_used_up_address() -> Oracle {
    let mut oracle = oracle(&[(LimitName::AddressFailures, 1, 1)]);
    let limit = oracle.limit(LimitName::AddressFailures);
    oracle.address_failures.budget(origin(1).address, &limit, 0).unwrap().charge(10, &limit, 0);
    oracle
}

/// Goal: an order to revoke a device that was refused, or got lost, leaves the device undecidable only until the device shows how it ended.
#[test]
fn a_revocation_that_failed_is_in_doubt_until_the_device_shows_it() {
    let mut oracle = with_a_used_up_address();
    oracle.revocation_ordered("KS-1");
    ask(&mut oracle, S, "KS-1", 11, OK);
    assert_eq!(counts(&oracle)[4], 1, "while it is with the server");
    let ticket = oracle.order(0);
    oracle.revocation_ended("KS-1", ticket, S, OrderEnd::Refused);
    ask(&mut oracle, 2 * S, "KS-1", 12, OK);
    assert_eq!(counts(&oracle)[4], 1, "refused: nothing has changed");

    oracle.revocation_ordered("KS-1");
    oracle.revocation_ended("KS-1", ticket, 3 * S, OrderEnd::Lost);
    ask(&mut oracle, 4 * S, "KS-1", 13, OK);
    ask(&mut oracle, 4 * S + LATER, "KS-1", 14, OK);
    assert_eq!(counts(&oracle)[4], 3, "it may have been at work for a minute");
    ask(&mut oracle, 5 * S + LATER, "KS-1", 15, OK);
    assert_eq!(counts(&oracle)[4], 3, "it is not revoked");

    oracle.revocation_ordered("KS-1");
    oracle.revocation_ended("KS-1", ticket, 80 * S, OrderEnd::Lost);
    let mut revoked_by_a_crash = oracle;
    let values = revoked_by_a_crash.values.clone();
    revoked_by_a_crash.server_started(90 * S, values);
    ask_from(&mut revoked_by_a_crash, 2, 91 * S, "KS-1", 16, refused(C::Revoked));
    assert!(revoked_by_a_crash.device(0).unwrap().is_revoked, "its own refusal shows it");
}

/// Goal: where it is not known whether a budget of failures is used up, a refusal by another limit is judged all the same.
/// Method: a pair that may be stored; then the ceiling refuses, rightly and wrongly, and budgets that nobody has used.
#[test]
fn a_refusal_by_another_limit_is_judged_where_the_first_one_is_in_doubt() {
    let (ceiling, address) = (LimitName::AllRequests, LimitName::AddressFailures);
    let in_doubt = || {
        let mut oracle = self::oracle(&[(address, 1, 1), (LimitName::SiteFailures, 1, 9), (ceiling, 60, 1)]);
        oracle.heartbeats_every(std::time::Duration::from_secs(2));
        let limit = oracle.limit(address);
        oracle.address_failures.budget(origin(1).address, &limit, 0).unwrap().charge(10, &limit, 0);
        oracle.device(0).unwrap().kept.perhaps(Sequence::new(1, 11));
        oracle
    };
    for (used, refused_by, expected) in [
        (true, ceiling, [0, 1, 0, 0, 0]),
        (false, ceiling, [0, 0, 1, 0, 0]),
        (false, LimitName::SiteFailures, [0, 0, 1, 0, 0]),
        (false, address, [0, 0, 0, 0, 1]),
    ] {
        let mut oracle = in_doubt();
        let limit = oracle.limit(ceiling);
        oracle.ceiling.owes.charge(u64::from(used), &limit, 0);
        ask(&mut oracle, 0, "KS-1", 11, limited(refused_by, 1));
        assert_eq!(counts(&oracle), expected, "{used}, {refused_by:?}: {:?}", oracle.wrong());
    }
    let mut oracle = in_doubt();
    let nameless = Refused { limit: None, ..refused_as(limited(address, 60)) };
    ask(&mut oracle, 0, "KS-1", 11, Answer::Refused(nameless));
    ask(&mut oracle, 0, "GHOST-1", 1, Answer::Refused(nameless));
    assert_eq!(counts(&oracle), [0, 0, 2, 0, 0], "a refusal names its limit");
}

fn refused_as(answer: Answer) -> Refused {
    match answer {
        Answer::Refused(refused) => refused,
        Answer::Accepted(_) => unreachable!("it is a refusal"),
    }
}

/// Goal: once no rollout is open any more, heartbeats that bring no commands show that none waits.
/// Method: a ceiling of five of which heartbeats leave one: what is beyond four is let through only if a command waits.
#[test]
fn rollouts_that_are_over_leave_no_doubt_who_is_first() {
    let by = LimitName::AllRequests;
    let mut oracle = self::oracle(&[(by, 60, 5)]);
    oracle.rollout_ordered(0);
    let before = oracle.orders_before_reading();
    oracle.commands_order_ended(0, OrderEnd::Done);
    oracle.rollouts_are_over(10 * S, before);
    ask(&mut oracle, 20 * S, "KS-1", 11, OK);
    assert_eq!(
        oracle.device(0).unwrap().awaited,
        ceiling::WaitingCommands::Unsure,
        "the list was read while the order was open"
    );
    let before = oracle.orders_before_reading();
    oracle.rollouts_are_over(30 * S, before);
    ask(&mut oracle, 40 * S, "KS-1", 12, OK);
    assert_eq!(oracle.device(0).unwrap().awaited, ceiling::WaitingCommands::No);
    (13..17).for_each(|seq| ask(&mut oracle, 60 * S, "KS-1", seq, OK));
    ask(&mut oracle, 60 * S, "KS-1", 17, limited(by, 1));
    ask(&mut oracle, 60 * S, "KS-1", 17, OK);
    assert_eq!(counts(&oracle), [6, 1, 0, 1, 0], "{:?}", oracle.wrong());
}

/// Goal: at the end, verdicts of a device that had commands are decided too, if an answer brought none since they were ordered.
#[test]
fn what_hung_on_commands_is_decided_between_two_orders() {
    let by = LimitName::AllRequests;
    let mut oracle = self::oracle(&[(by, 60, 5)]);
    oracle.rollout_ordered(0);
    oracle.commands_order_ended(0, OrderEnd::Done);
    ask(&mut oracle, 1_000 * S, "KS-1", 11, Answer::Accepted(Stored::Beat { has_commands: true }));
    ask(&mut oracle, 1_060 * S, "KS-1", 12, OK);
    (13..17).for_each(|seq| ask(&mut oracle, 1_120 * S, "KS-1", seq, OK));
    ask(&mut oracle, 1_120 * S, "KS-1", 17, limited(by, 1));
    assert_eq!(counts(&oracle)[4], 1);
    let mut later = started(&per_min(1));
    std::mem::swap(&mut later.matrix, &mut oracle.matrix);
    std::mem::swap(&mut later.doubts, &mut oracle.doubts);
    later.decide_doubts(&[("KS-1", vec![700 * S, 1_200 * S])].into());
    assert_eq!(later.matrix().all(Comparison::RightlyRefused), 1, "ordered long before, and after");
    let mut oracle = self::oracle(&[(by, 60, 5)]);
    oracle.rollout_ordered(0);
    oracle.commands_order_ended(0, OrderEnd::Done);
    (11..15).for_each(|seq| ask(&mut oracle, 1_120 * S, "KS-1", seq, OK));
    ask(&mut oracle, 1_120 * S, "KS-1", 15, limited(by, 1));
    oracle.decide_doubts(&[("KS-1", vec![1_119 * S])].into());
    assert_eq!(counts(&oracle)[4], 1, "that one may have waited");
}

/// Goal: a start that loses the limits that an operator applied is found. Method: the same values, others after an order without an answer,
/// and others after none.
#[test]
fn limits_that_a_restart_lost_are_wrong() {
    let mut oracle = started(&per_min(60));
    oracle.server_started(S, per_min(60));
    let ticket = oracle.limits_ordered(0, LimitSet::ALL);
    oracle.limits_order_ended(ticket, 2 * S, OrderEnd::Lost, None);
    oracle.server_started(3 * S, per_min(90));
    assert_eq!(oracle.wrong(), []);
    oracle.server_started(4 * S, per_min(60));
    assert_eq!(oracle.wrong().len(), 1);
    assert!(oracle.wrong()[0].what.contains("other limits are in force than before"), "{:?}", oracle.wrong());
}

/// Goal: a debt that was made under the old burst is no false refusal under the new one, which was found late.
#[test]
fn a_debt_from_before_a_tighter_burst_is_not_taken_for_paid() {
    let of = |per_min, burst| {
        let mut values = Values::all_off();
        values.set(LimitName::DeviceRequests, limit(per_min, burst, Mode::Enforce));
        values
    };
    let mut oracle = started(&of(120, 30));
    (11..39).for_each(|seq| ask(&mut oracle, 0, "KS-1", seq, OK));
    let ticket = oracle.limits_ordered(0, LimitSet::ALL);
    oracle.limits_order_ended(ticket, S, OrderEnd::Failed, None);
    oracle.limits_read(4 * S, 4 * S, of(2, 5));
    // 26 or so are owed beyond what was granted, of which 2 a minute are paid.
    ask(&mut oracle, 150 * S, "KS-1", 39, limited(LimitName::DeviceRequests, 510));
    assert_eq!((counts(&oracle)[2], oracle.wrong()), (0, &[][..]));
}

/// Goal: a refusal by a limit of which something is left is wrong, although nobody can say what the ceiling would have said next.
#[test]
fn a_false_refusal_is_found_while_the_ceiling_is_in_doubt() {
    let mut values = Values::all_off();
    values.set(LimitName::DeviceRequests, limit(6_000, 1_000, Mode::Enforce));
    values.set(LimitName::AllRequests, limit(60, 10, Mode::Enforce));
    let mut oracle = started(&values);
    (11..19).for_each(|seq| ask(&mut oracle, 0, "KS-1", seq, OK));
    commands(&mut oracle, 0);
    ask(&mut oracle, 0, "KS-1", 19, limited(LimitName::DeviceRequests, 1));
    assert_eq!((counts(&oracle)[2], oracle.wrong().len()), (1, 1), "{:?}", oracle.wrong());
}

/// Goal: a registration that the limit of all devices refuses is none of its address, also where it was not known what that limit had to
/// say; and the refusal shows what was owed to it.
/// Method: none to three of three are owed; the address may send one a minute. A second later one may come from all, and did.
#[test]
fn a_registration_that_was_refused_in_doubt_is_none_of_its_address() {
    let (of_address, of_all) = (LimitName::AddressRegistrations, LimitName::Registrations);
    let mut oracle = self::oracle(&[(of_address, 1, 1), (of_all, 60, 3)]);
    let limit = oracle.limit(of_all);
    oracle.registrations.perhaps_charge(3, &limit, 0);
    let mut register = |from, at_us, answer| {
        let sent =
            Sent { endpoint: Endpoint::Register, wire: None, named: Some(("KS-1", Sequence::new(1, 11))), beat: None };
        let ticket = oracle.arrived(at_us, origin(from), &sent, None);
        oracle.answered(ticket, at_us, &sent, answer);
        counts(&oracle)
    };
    assert_eq!(register(1, 0, limited(of_all, 1)), [0, 0, 0, 0, 1]);
    assert_eq!(register(1, S, OK), [1, 0, 0, 0, 1], "its address has spent nothing");
    assert_eq!(register(2, S, limited(of_all, 1)), [1, 1, 0, 0, 1], "all three were owed");
}

/// An oracle of a server whose settings are these; a flood uses up the budget of an address, of which one is left each second.
fn flooded(values: &Values) -> Oracle {
    let mut oracle = started(values);
    (0..10).for_each(|_| ask_from(&mut oracle, 9, 0, "GHOST-1", 1, refused(C::UnknownDevice)));
    oracle
}

/// A second of the flood: a failure, and ten that are refused.
fn flood_for_a_second(oracle: &mut Oracle, second: u64) {
    let by = LimitName::AddressFailures;
    ask_from(oracle, 9, second * S, "GHOST-1", 1, refused(C::UnknownDevice));
    (0..10).for_each(|_| ask_from(oracle, 9, second * S, "GHOST-1", 1, limited(by, 1)));
}

/// Goal: an order of other limits that failed leaves a budget of failures as it is known, also while nobody knows what was changed.
/// Method: a flood before, during and after an order that names another limit; nothing was changed.
#[test]
fn a_failed_order_of_another_limit_does_not_blind_a_budget_of_failures() {
    let mut values = per_min(60);
    values.set(LimitName::AddressFailures, limit(60, 10, Mode::Enforce));
    let mut oracle = flooded(&values);
    let ticket = oracle.limits_ordered(S, LimitSet::named_in(b"[device_requests]\nper_min = 90\n"));
    flood_for_a_second(&mut oracle, 1);
    oracle.limits_order_ended(ticket, S, OrderEnd::of_status(500), None);
    (2..4).for_each(|second| flood_for_a_second(&mut oracle, second));
    oracle.limits_read(3 * S, 3 * S, values);
    let undecidable = counts(&oracle)[4];
    (4..60).for_each(|second| flood_for_a_second(&mut oracle, second));
    assert_eq!(counts(&oracle)[4], undecidable, "nothing is in doubt any more");
    assert_eq!(counts(&oracle)[2..4], [0, 0], "{:?}", oracle.wrong());
    ask_from(&mut oracle, 9, 59 * S, "GHOST-1", 1, refused(C::UnknownDevice));
    assert_eq!(counts(&oracle)[3], 1, "it was used up");
}

/// Goal: what a flood owes to a limit that an order may have changed is learned from the first answers after it.
/// Method: an order of the budget of failures itself, that failed: carried out, and not.
#[test]
fn answers_show_what_a_flood_owes_after_a_failed_order() {
    for is_done in [false, true] {
        let of = |burst| {
            let mut values = Values::all_off();
            values.set(LimitName::AddressFailures, limit(60, burst, Mode::Enforce));
            values
        };
        let mut oracle = flooded(&of(10));
        let ticket = oracle.limits_ordered(S, LimitSet::named_in(b"[address_failures]\nburst = 11\n"));
        oracle.limits_order_ended(ticket, S, OrderEnd::of_status(500), None);
        if is_done {
            ask_from(&mut oracle, 9, S, "GHOST-1", 1, refused(C::UnknownDevice)); // the eleventh
        }
        (1..4).for_each(|second| flood_for_a_second(&mut oracle, second));
        oracle.limits_read(3 * S, 3 * S, of(if is_done { 11 } else { 10 }));
        (4..6).for_each(|second| flood_for_a_second(&mut oracle, second));
        let undecidable = counts(&oracle)[4];
        (6..60).for_each(|second| flood_for_a_second(&mut oracle, second));
        assert_eq!(counts(&oracle)[4], undecidable, "nothing is in doubt any more ({is_done})");
        assert_eq!(counts(&oracle)[2..4], [0, 0], "{:?}", oracle.wrong());
        ask_from(&mut oracle, 9, 59 * S, "GHOST-1", 1, refused(C::UnknownDevice));
        assert_eq!(counts(&oracle)[3], 1, "it was used up");
    }
}

/// Goal: limits whose order is answered late may have been in force before: the server follows its store.
/// Method: five seconds between an order of 600 a minute and its answer; the server had them from the second on, or from the fifth.
#[test]
fn limits_that_are_answered_late_may_have_been_in_force_before() {
    for since in [1, 5] {
        let mut oracle = started(&per_min(1));
        ask(&mut oracle, 0, "KS-1", 11, OK);
        let ticket = oracle.limits_ordered(S, LimitSet::ALL);
        oracle.limits_order_ended(ticket, 5 * S, OrderEnd::Done, Some(per_min(6)));
        // One is owed, of which a sixtieth was paid in the first second. At the new rate the rest takes 9.83 s, at the old one 59.
        let paid_s = 10 + since;
        ask(&mut oracle, paid_s * S - S, "KS-1", 12, limited(LimitName::DeviceRequests, 1));
        ask(&mut oracle, paid_s * S, "KS-1", 12, OK);
        assert_eq!((counts(&oracle)[2], counts(&oracle)[3]), (0, 0), "{since}: {:?}", oracle.wrong());
    }
}
