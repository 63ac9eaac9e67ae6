//! What the server's memory may know before a request is answered, while commits take long.

use super::*;

fn sent(endpoint: Endpoint, device_id: &str, seq: u64) -> Sent<'_> {
    Sent { endpoint, wire: None, named: Some((device_id, Sequence::new(1, seq))), beat: None }
}

/// KS-1, which has registered, and KS-2, which has not. Their address is flooded: who shows no sign of the device waits for ten minutes.
fn flooded() -> Oracle {
    let mut oracle = oracle(&[(LimitName::AddressFailures, 1, 1), (LimitName::NewDeviceFailures, 60, 100)]);
    oracle.imported("KS-2");
    let limit = oracle.limit(LimitName::AddressFailures);
    oracle.address_failures.budget(origin(1).address, &limit, 0).unwrap().charge(10, &limit, 0);
    oracle
}

fn begun(oracle: &mut Oracle, at_us: u64, sent: &Sent<'_>) -> Ticket {
    let mut ticket = oracle.arrived(at_us, origin(1), sent, None);
    oracle.waits(&mut ticket, sent);
    ticket
}

/// A forged request with this pair: checked because of its pair, or refused with the flood.
fn forged(oracle: &mut Oracle, at_us: u64, device_id: &str, seq: u64, is_checked: bool) {
    let wait_s = (600 * S - at_us).div_ceil(S);
    let answer = if is_checked { refused(C::BadSignature) } else { limited(LimitName::AddressFailures, wait_s) };
    ask(oracle, at_us, device_id, seq, answer);
}

/// Goal: a server that follows a registration from its store before the answer, and one that does not, are both right.
#[test]
fn a_registration_over_a_slow_commit_may_be_known_before_its_answer() {
    for is_followed in [false, true] {
        let (mut oracle, register) = (flooded(), sent(Endpoint::Register, "KS-2", 5));
        let ticket = begun(&mut oracle, 0, &register);
        forged(&mut oracle, S, "KS-2", 5, !is_followed);
        assert_eq!((counts(&oracle), oracle.wrong()), ([0, 0, 0, 0, 1], &[][..]), "{is_followed}");
        forged(&mut oracle, S, "KS-2", 6, true);
        assert_eq!(counts(&oracle), [1, 0, 0, 0, 1], "the pair after it is one of the next in both");
        oracle.answered(ticket, 5 * S, &register, Answer::Accepted(Stored::Rows(1)));
        forged(&mut oracle, 8 * S, "KS-2", 5, false);
        assert_eq!(counts(&oracle), [2, 1, 0, 0, 1], "{:?}", oracle.wrong());
    }
}

/// Goal: with the registration the class is in doubt too, and neither verdict of the ceiling is wrong.
#[test]
fn a_device_whose_registration_is_in_progress_may_be_of_either_class() {
    for is_known in [false, true] {
        let mut oracle = self::oracle(&[(LimitName::AllRequests, 60, 20)]);
        oracle.imported("KS-2");
        let register = sent(Endpoint::Register, "KS-2", 1);
        let ticket = begun(&mut oracle, 0, &register);
        let limit = oracle.limit(LimitName::AllRequests);
        oracle.ceiling.owes.charge(6, &limit, 0);
        oracle.ceiling.unproven.charge(20, &limit, 0);
        let again = sent(Endpoint::Register, "KS-2", 2);
        let answer = if is_known { refused(C::OtrtUsed) } else { limited(LimitName::AllRequests, 60) };
        let second = oracle.arrived(0, origin(1), &again, None);
        oracle.answered(second, 0, &again, answer);
        oracle.answered(ticket, 9 * S, &register, Answer::Accepted(Stored::Rows(1)));
        assert_eq!((counts(&oracle), oracle.wrong()), ([1, 0, 0, 0, 1], &[][..]), "{is_known}");
    }
}

/// Goal: what is loaded with a registration is all that is stored by then: a heartbeat in progress too, that was sent after it was answered.
#[test]
fn a_heartbeat_may_come_to_memory_with_the_registration_before_it() {
    for is_followed in [false, true] {
        let mut oracle = flooded();
        let register = sent(Endpoint::Register, "KS-2", 5);
        let ticket = begun(&mut oracle, 0, &register);
        oracle.answered(ticket, S, &register, Answer::Accepted(Stored::Rows(1)));
        let beat = sent(Endpoint::Heartbeat, "KS-2", 6);
        let ticket = begun(&mut oracle, 2 * S, &beat);
        forged(&mut oracle, 3 * S, "KS-2", 6, !is_followed);
        assert_eq!((counts(&oracle), oracle.wrong()), ([1, 0, 0, 0, 1], &[][..]), "{is_followed}");
        oracle.answered(ticket, 4 * S, &beat, OK);
        // Three seconds after the registration was answered nothing is loaded any more.
        let beat = sent(Endpoint::Heartbeat, "KS-2", 7);
        let _in_progress = begun(&mut oracle, 5 * S, &beat);
        forged(&mut oracle, 5 * S, "KS-2", 7, true);
        assert_eq!(counts(&oracle), [3, 0, 0, 0, 1], "{:?}", oracle.wrong());
    }
}

/// Goal: a key change is loaded in the place of what memory had, which forgets a download's pair, at an unknown moment.
#[test]
fn a_key_change_over_a_slow_commit_may_reset_memory_before_its_answer() {
    for is_followed in [false, true] {
        let mut oracle = flooded();
        let rotate = sent(Endpoint::RotateKey, "KS-1", 11);
        let ticket = begun(&mut oracle, 0, &rotate);
        let download = sent(Endpoint::Artifact, "KS-1", 20);
        let taken = oracle.arrived(S, origin(1), &download, None);
        oracle.answered(taken, S, &download, Answer::Accepted(Stored::Nothing));
        forged(&mut oracle, 2 * S, "KS-1", 20, is_followed);
        assert_eq!((counts(&oracle), oracle.wrong()), ([1, 0, 0, 0, 1], &[][..]), "{is_followed}");
        oracle.answered(ticket, 5 * S, &rotate, Answer::Accepted(Stored::Rows(1)));
        forged(&mut oracle, 6 * S, "KS-1", 11, false);
        forged(&mut oracle, 6 * S, "KS-1", 21, true);
        assert_eq!(counts(&oracle), [3, 1, 0, 0, 1], "{:?}", oracle.wrong());
    }
}

/// Goal: an answer that shows what memory has does not hide what may come to it next.
#[test]
fn a_stale_pair_that_is_answered_meanwhile_changes_no_doubt() {
    for is_followed in [false, true] {
        let mut oracle = flooded();
        let logs = sent(Endpoint::Logs, "KS-1", 11);
        let _in_progress = begun(&mut oracle, 0, &logs);
        let stale = Refused {
            code: C::StaleSequence,
            retry_after_s: None,
            limit: None,
            is_overload: false,
            kept: Some(Sequence::new(1, 10)),
        };
        ask_from(&mut oracle, 2, S, "KS-1", 9, Answer::Refused(stale));
        forged(&mut oracle, 2 * S, "KS-1", 11, !is_followed);
        assert_eq!((counts(&oracle), oracle.wrong()), ([1, 0, 0, 0, 1], &[][..]), "{is_followed}");
    }
}

/// Goal: once a registration is denied, its pair is as before: nothing of it was stored.
#[test]
fn a_denied_registration_leaves_no_doubt() {
    let (mut oracle, register) = (flooded(), sent(Endpoint::Register, "KS-2", 5));
    let ticket = begun(&mut oracle, 0, &register);
    oracle.answered(ticket, S, &register, refused(C::OtrtUsed));
    forged(&mut oracle, 2 * S, "KS-2", 5, true);
    forged(&mut oracle, 2 * S, "KS-2", 5, false);
    assert_eq!(counts(&oracle), [2, 0, 1, 0, 0], "the second one is wrong");
}
