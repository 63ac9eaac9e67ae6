//! Devices that have not registered under a ceiling: the last class, and a share of its own.

use super::*;

/// The ceiling of 60 a minute, 20 at once, as docs/rate-limits.md has it for heartbeats and for devices that have not registered.
#[derive(Default)]
struct Exact {
    all: u64,
    share: u64,
}

impl Exact {
    /// Whether a request is admitted; else the wait in seconds that it is asked for.
    fn decide(&mut self, at_us: u64, has_registered: bool) -> Option<u64> {
        let granted = at_us * 60 / 1_000;
        // Heartbeats leave 4 of 20, who has not registered 15; the share has all 20, and a request counts as ten.
        let missing_of = |due: u64, burst: u64| due.saturating_sub(60_000 * (burst - 1) + granted);
        let missing = missing_of(self.all, if has_registered { 16 } else { 5 });
        let of_share = missing_of(self.share, 20);
        if missing == 0 {
            self.all = self.all.max(granted) + 60_000;
            return None;
        }
        if !has_registered && of_share == 0 {
            self.share = self.share.max(granted) + 600_000;
            return None;
        }
        let missing = if has_registered { missing } else { missing.min(of_share) };
        Some((missing * 1_000).div_ceil(60).div_ceil(S).max(if has_registered { 30 } else { 60 }))
    }
}

/// Goal: the oracle predicts what devices that have not registered may send, and finds a server that lets them push others out.
/// Method: a flood of denied registrations beside heartbeats, evenly and in bursts, against numbers that are written here.
#[test]
fn a_flood_of_denied_registrations_is_predicted() {
    for is_faulty in [false, true] {
        let mut oracle = self::oracle(&[(LimitName::AllRequests, 60, 20)]);
        oracle.heartbeats_every(std::time::Duration::from_mins(1));
        (2..60).for_each(|number| oracle.imported(&format!("KS-{number}")));
        let (mut exact, mut admitted) = (Exact::default(), [0, 0]);
        let mut seq = 10;
        for step in 0..4_000_u64 {
            seq += 1;
            // Of ten requests one is a heartbeat; the first half is even, the second comes in bursts.
            let at_us = if step < 2_000 { step * 150_000 } else { 300 * S + (step / 50 - 40) * 8 * S };
            let has_registered = step % 10 == 0;
            let endpoint = if has_registered { Endpoint::Heartbeat } else { Endpoint::Register };
            let name = if has_registered { "KS-1".to_owned() } else { format!("KS-{}", 2 + step % 58) };
            let sent = Sent { endpoint, wire: None, named: Some((&name, Sequence::new(1, seq))), beat: None };
            let mut ticket = oracle.arrived(at_us, origin(1), &sent, None);
            // A server before this rule served registrations first.
            if let Some(wait_s) = exact.decide(at_us, has_registered || is_faulty) {
                oracle.answered(ticket, at_us, &sent, limited(LimitName::AllRequests, wait_s));
                continue;
            }
            admitted[usize::from(has_registered)] += 1;
            oracle.waits(&mut ticket, &sent);
            oracle.answered(ticket, at_us, &sent, if has_registered { OK } else { refused(C::OtrtUsed) });
        }
        let [rightly_admitted, rightly_refused, falsely_refused, falsely_admitted, undecidable] = counts(&oracle);
        if is_faulty {
            assert!(falsely_admitted > 0, "{:?}", counts(&oracle));
            continue;
        }
        assert_eq!((falsely_refused, falsely_admitted, undecidable), (0, 0, 0), "{:?}", oracle.wrong());
        assert!(rightly_refused > 1_000 && rightly_admitted > 400, "{:?}", counts(&oracle));
        assert!(admitted[1] > 390, "nearly no heartbeat is refused: {admitted:?}");
    }
}

/// Goal: whether a device has registered is not known while the answer to its registration is lost, and neither verdict is wrong then.
#[test]
fn a_registration_that_may_be_stored_is_undecidable_only_where_it_matters() {
    let mut oracle = self::oracle(&[(LimitName::AllRequests, 60, 20)]);
    oracle.imported("KS-2");
    let sent = |endpoint, seq| Sent { endpoint, wire: None, named: Some(("KS-2", Sequence::new(1, seq))), beat: None };
    let lost = sent(Endpoint::Register, 1);
    let mut ticket = oracle.arrived(0, origin(1), &lost, None);
    oracle.waits(&mut ticket, &lost);
    oracle.lost(&ticket, &lost);
    let limit = oracle.limit(LimitName::AllRequests);
    // Six of twenty are used up, and the share.
    oracle.ceiling.owes.charge(5, &limit, 0);
    oracle.ceiling.unproven.charge(20, &limit, 0);
    let again = sent(Endpoint::Register, 2);
    let ticket = oracle.arrived(0, origin(1), &again, None);
    oracle.answered(ticket, 0, &again, limited(LimitName::AllRequests, 60));
    assert_eq!(counts(&oracle), [0, 0, 0, 0, 1]);
    let ticket = oracle.arrived(0, origin(1), &again, None);
    oracle.answered(ticket, 0, &again, Answer::Accepted(Stored::Rows(1)));
    assert_eq!(counts(&oracle), [0, 0, 0, 0, 2]);
    let beat = sent(Endpoint::Heartbeat, 3);
    let ticket = oracle.arrived(0, origin(1), &beat, None);
    oracle.answered(ticket, 0, &beat, OK);
    assert_eq!(counts(&oracle), [1, 0, 0, 0, 2], "it has registered");
}

/// Goal: with a burst of less than four who has not registered has only the share, and the oracle finds a server that lets it use the rest.
#[test]
fn of_a_burst_below_four_who_has_not_registered_has_only_the_share() {
    for is_faulty in [false, true] {
        let mut oracle = self::oracle(&[(LimitName::AllRequests, 60, 3)]);
        oracle.imported("KS-2");
        let sent = |seq| Sent {
            endpoint: Endpoint::Register,
            wire: None,
            named: Some(("KS-2", Sequence::new(1, seq))),
            beat: None,
        };
        let mut register = |seq, at_us, answer| {
            let mut ticket = oracle.arrived(at_us, origin(1), &sent(seq), None);
            if !matches!(answer, Answer::Refused(Refused { code: C::RateLimited, .. })) {
                oracle.waits(&mut ticket, &sent(seq));
            }
            oracle.answered(ticket, at_us, &sent(seq), answer);
        };
        // One counts as ten, of which two may be borrowed: the next one after eight seconds, and it is asked to wait for sixty.
        register(1, 0, refused(C::OtrtUsed));
        let again = if is_faulty { refused(C::OtrtUsed) } else { limited(LimitName::AllRequests, 60) };
        register(2, 7_999_999, again);
        register(3, 8_000_000, refused(C::OtrtUsed));
        let expected = if is_faulty { [2, 0, 0, 1, 0] } else { [2, 1, 0, 0, 0] };
        assert_eq!(counts(&oracle), expected, "{:?}", oracle.wrong());
        // Of the three of all others nothing was used.
        let limit = oracle.limit(LimitName::AllRequests);
        assert!(oracle.ceiling.owes.is_whole(&limit, 8_000_000));
    }
}

/// Goal: a device that may have registered, and is refused whatever it is, makes no later verdict undecidable.
#[test]
fn what_is_refused_whatever_it_is_charges_nothing() {
    let mut oracle = self::oracle(&[(LimitName::AllRequests, 60, 20)]);
    oracle.imported("KS-2");
    let sent = |seq| Sent {
        endpoint: Endpoint::Register,
        wire: None,
        named: Some(("KS-2", Sequence::new(1, seq))),
        beat: None,
    };
    let mut ticket = oracle.arrived(0, origin(1), &sent(1), None);
    oracle.waits(&mut ticket, &sent(1));
    oracle.lost(&ticket, &sent(1));
    let limit = oracle.limit(LimitName::AllRequests);
    oracle.ceiling.owes.charge(20, &limit, 0);
    oracle.ceiling.unproven.charge(20, &limit, 0);
    let before = (oracle.ceiling.owes, oracle.ceiling.unproven);
    for seq in 2..20 {
        let ticket = oracle.arrived(0, origin(1), &sent(seq), None);
        oracle.answered(ticket, 0, &sent(seq), limited(LimitName::AllRequests, 60));
    }
    assert_eq!((oracle.ceiling.owes, oracle.ceiling.unproven), before);
    assert_eq!(counts(&oracle), [0, 18, 0, 0, 0], "it has to be refused, for 2 s or for 60 s");
}

/// Goal: while a tighter ceiling is being applied, a request that passes may have been charged to the share, and is not forgotten there.
#[test]
fn what_passes_during_a_change_may_be_owed_to_the_share() {
    let mut oracle = self::oracle(&[(LimitName::AllRequests, 600, 200)]);
    oracle.imported("KS-2");
    let sent =
        Sent { endpoint: Endpoint::Register, wire: None, named: Some(("KS-2", Sequence::new(1, 1))), beat: None };
    let mut ticket = oracle.arrived(0, origin(1), &sent, None);
    ticket.is_unsure = true;
    let limit = oracle.limit(LimitName::AllRequests);
    assert_eq!(oracle.spend_of_all(&mut ticket, &sent, &limit, super::super::ask::ShownVerdict::Passed), State::Left);
    assert!(!oracle.ceiling.unproven.is_whole(&limit, 0), "it may be owed");
}
