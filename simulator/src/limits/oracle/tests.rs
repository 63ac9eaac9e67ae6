//! The oracle against verdicts that were worked out by hand.

mod lost;
mod slow_disk;
mod unproven;

use ks_protocol::refusal::RefusalCode as C;

use super::*;

const S: u64 = 1_000_000;

fn limit(per_min: u64, burst: u64, mode: Mode) -> Value {
    Value { per_min, burst, mode }
}

/// An oracle with these limits enforced and the device KS-1, which the server has heard up to the pair (1, 10).
fn oracle(limits: &[(LimitName, u64, u64)]) -> Oracle {
    let mut values = Values::all_off();
    for (name, per_min, burst) in limits {
        values.set(*name, limit(*per_min, *burst, Mode::Enforce));
    }
    let mut oracle = Oracle::new(Values::all_off());
    oracle.imported("KS-1");
    ask(&mut oracle, 0, "KS-1", 10, OK);
    oracle.changed(0, values);
    oracle.matrix = Matrix::default();
    oracle
}

/// An operator's order of commands, and its answer.
fn commands(oracle: &mut Oracle, at_us: u64) {
    oracle.commands_ordered(at_us);
    oracle.commands_order_ended(at_us, OrderEnd::Done);
}

const OK: Answer = Answer::Accepted(Stored::Beat { has_commands: false });

fn refused(code: C) -> Answer {
    Answer::Refused(Refused { code, retry_after_s: None, limit: None, is_overload: false, kept: None })
}

fn limited(by: LimitName, retry_after_s: u64) -> Answer {
    Answer::Refused(Refused {
        code: C::RateLimited,
        retry_after_s: Some(retry_after_s),
        limit: Some(by),
        is_overload: false,
        kept: None,
    })
}

fn origin(last: u8) -> Origin {
    Origin::of([203, 0, 113, last].into(), SitePrefixes { ipv4: 24, ipv6: 56 })
}

/// A heartbeat in a device's name with the pair (1, `seq`) from one address, and the server's answer at once.
fn ask(oracle: &mut Oracle, at_us: u64, device_id: &str, seq: u64, answer: Answer) {
    ask_from(oracle, 1, at_us, device_id, seq, answer);
}

fn ask_from(oracle: &mut Oracle, from: u8, at_us: u64, device_id: &str, seq: u64, answer: Answer) {
    let named = Some((device_id, Sequence::new(1, seq)));
    let sent = Sent { endpoint: Endpoint::Heartbeat, wire: None, named, beat: None };
    let ticket = oracle.arrived(at_us, origin(from), &sent, None);
    oracle.answered(ticket, at_us, &sent, answer);
}

/// Rightly admitted, rightly refused, falsely refused, falsely admitted, undecidable.
fn counts(oracle: &Oracle) -> [u64; 5] {
    use Comparison as V;
    [V::RightlyAdmitted, V::RightlyRefused, V::FalselyRefused, V::FalselyAdmitted, V::Undecidable]
        .map(|comparison| oracle.matrix().all(comparison))
}

/// Two of 60 a minute at once; the third has to wait a second, and 1 or 2 are asked of it, spread by name.
#[test]
fn a_devices_third_request_of_a_burst_of_two_has_to_wait_a_second() {
    let limits = [(LimitName::DeviceRequests, 60, 2)];
    let mut oracle = self::oracle(&limits);
    (11..13).for_each(|seq| ask(&mut oracle, 5 * S, "KS-1", seq, OK));
    ask(&mut oracle, 5 * S, "KS-1", 13, limited(LimitName::DeviceRequests, 2));
    ask(&mut oracle, 6 * S - 1, "KS-1", 13, limited(LimitName::DeviceRequests, 1));
    ask(&mut oracle, 6 * S, "KS-1", 13, OK);
    assert_eq!((counts(&oracle), oracle.wrong()), ([3, 2, 0, 0, 0], &[][..]));
    ask(&mut oracle, 6 * S, "KS-1", 14, OK);
    ask(&mut oracle, 7 * S, "KS-1", 15, limited(LimitName::DeviceRequests, 1));
    assert_eq!(counts(&oracle), [3, 2, 1, 1, 0]);
    let what: Vec<&str> = oracle.wrong().iter().map(|wrong| wrong.what.as_str()).collect();
    assert_eq!(
        what,
        [
            "KS-1 from 203.0.113.1: /heartbeat was let through; device_requests was used up",
            "KS-1 from 203.0.113.1: /heartbeat was refused by device_requests; no limit was used up",
        ]
    );
    assert_eq!(oracle.matrix().of(LimitName::DeviceRequests, Comparison::FalselyRefused), 1);
}

/// A wait of 80 s may be spread by 20; 101 s and 79 s are wrong.
#[test]
fn a_wait_is_the_limits_own_and_at_most_a_quarter_more() {
    for (given, is_right) in [(79, false), (80, true), (100, true), (101, false)] {
        let mut oracle = self::oracle(&[(LimitName::DeviceRequests, 3, 1)]);
        let device = oracle.device(0).unwrap();
        let limit = super::budget::Limit::from_start(limit(3, 1, Mode::Enforce));
        device.owes.requests.charge(4, &limit, 0); // 20 s each
        ask(&mut oracle, 0, "KS-1", 11, limited(LimitName::DeviceRequests, given));
        assert_eq!(counts(&oracle), [0, u64::from(is_right), u64::from(!is_right), 0, 0], "{given}");
    }
}

/// Failures of an address refuse everybody behind it but a device with a sign of its own; another address is free.
#[test]
fn an_addresss_failures_refuse_who_shows_no_sign() {
    let by = LimitName::AddressFailures;
    let mut oracle = self::oracle(&[(by, 60, 2)]);
    (0..2).for_each(|_| ask(&mut oracle, 0, "GHOST-1", 1, refused(C::UnknownDevice)));
    ask(&mut oracle, 0, "GHOST-1", 1, limited(by, 1));
    ask(&mut oracle, 0, "KS-1", 10, limited(by, 1)); // not one of its next pairs
    ask(&mut oracle, 0, "KS-1", 11, OK);
    ask_from(&mut oracle, 2, 0, "GHOST-1", 1, refused(C::UnknownDevice));
    assert_eq!((counts(&oracle), oracle.wrong()), ([4, 2, 0, 0, 0], &[][..]));
    ask(&mut oracle, 0, "KS-1", 12, limited(by, 1));
    ask(&mut oracle, 0, "GHOST-1", 1, refused(C::UnknownDevice));
    assert_eq!(counts(&oracle), [4, 2, 1, 1, 0]);
    oracle.started(S);
    ask(&mut oracle, S, "GHOST-1", 1, refused(C::UnknownDevice));
    assert_eq!(counts(&oracle), [5, 2, 1, 1, 0], "a restart forgets all budgets");
}

/// All 256 addresses of a /24 share the budget of their site; each has its own besides.
#[test]
fn failures_of_one_site_add_up_over_its_addresses() {
    let by = LimitName::SiteFailures;
    let mut oracle = self::oracle(&[(LimitName::AddressFailures, 60, 2), (by, 60, 3)]);
    (1..4).for_each(|from| ask_from(&mut oracle, from, 0, "GHOST-1", 1, refused(C::UnknownDevice)));
    ask_from(&mut oracle, 4, 0, "GHOST-1", 1, limited(by, 1));
    assert_eq!((counts(&oracle), oracle.wrong()), ([3, 1, 0, 0, 0], &[][..]));
}

/// With a budget used up, forged requests with an expected pair are checked until the device's budget of them is used up; then they
/// are refused with the wait of the address.
#[test]
fn forgeries_with_expected_pairs_have_a_budget_of_their_own() {
    let (by, of_pairs) = (LimitName::AddressFailures, LimitName::DevicePairFailures);
    let mut oracle = self::oracle(&[(by, 1, 1), (of_pairs, 60, 2)]);
    ask(&mut oracle, 0, "GHOST-1", 1, refused(C::UnknownDevice));
    (0..2).for_each(|_| ask(&mut oracle, 0, "KS-1", 11, refused(C::BadSignature)));
    ask(&mut oracle, 0, "KS-1", 11, limited(by, 60));
    assert_eq!((counts(&oracle), oracle.wrong()), ([3, 1, 0, 0, 0], &[][..]));
    assert_eq!(oracle.matrix().of(of_pairs, Comparison::RightlyRefused), 1, "it is the limit that decides");
}

/// A limit in shadow refuses nobody, and spends what it would.
#[test]
fn a_limit_in_shadow_admits_all() {
    let mut oracle = self::oracle(&[]);
    let mut values = Values::all_off();
    values.set(LimitName::DeviceRequests, limit(60, 1, Mode::Shadow));
    oracle.changed(0, values.clone());
    (11..14).for_each(|seq| ask(&mut oracle, 0, "KS-1", seq, OK));
    values.set(LimitName::DeviceRequests, limit(60, 1, Mode::Enforce));
    oracle.changed(0, values);
    ask(&mut oracle, 0, "KS-1", 14, limited(LimitName::DeviceRequests, 1));
    assert_eq!((counts(&oracle), oracle.wrong()), ([3, 1, 0, 0, 0], &[][..]));
}

/// What is stored is charged when it is stored: 128 bytes a heartbeat, 8 heartbeats a KiB. 1,024 bytes in a burst and one a minute:
/// the ninth heartbeat has to wait for one byte.
#[test]
fn stored_bytes_are_charged_when_they_are_stored() {
    let by = LimitName::DeviceStoredBytes;
    let mut oracle = self::oracle(&[(by, 1, 1_024)]);
    (11..19).for_each(|seq| ask(&mut oracle, 0, "KS-1", seq, OK));
    ask(&mut oracle, 0, "KS-1", 19, limited(by, 60));
    assert_eq!((counts(&oracle), oracle.wrong()), ([8, 1, 0, 0, 0], &[][..]));
}

/// A heartbeat of KS-1 that was given up while the server worked on it.
fn give_up(oracle: &mut Oracle, seq: u64) {
    let named = Some(("KS-1", Sequence::new(1, seq)));
    let sent = Sent { endpoint: Endpoint::Heartbeat, wire: None, named, beat: None };
    let mut ticket = oracle.arrived(0, origin(1), &sent, None);
    oracle.waits(&mut ticket, &sent);
    oracle.lost(&ticket, &sent);
}

/// Another request may bring it into the server's memory, so whether the same pair shows a sign of the device again is not known.
#[test]
fn a_pair_of_a_request_that_was_given_up_is_undecidable() {
    let by = LimitName::AddressFailures;
    let mut oracle = self::oracle(&[(by, 60, 1)]);
    give_up(&mut oracle, 11);
    ask(&mut oracle, 0, "GHOST-1", 1, refused(C::UnknownDevice));
    ask(&mut oracle, 0, "KS-1", 11, limited(by, 1));
    assert_eq!((counts(&oracle), oracle.wrong()), ([1, 0, 0, 0, 1], &[][..]));
}

/// What a request that was given up has spent is known, whatever became of it.
#[test]
fn a_device_is_judged_after_a_request_of_it_was_given_up() {
    let by = LimitName::DeviceRequests;
    let mut oracle = self::oracle(&[(by, 60, 2)]);
    give_up(&mut oracle, 11);
    ask(&mut oracle, 0, "KS-1", 12, OK);
    ask(&mut oracle, 0, "KS-1", 13, limited(by, 1));
    assert_eq!(counts(&oracle), [1, 1, 0, 0, 0]);
    ask(&mut oracle, 0, "KS-1", 13, OK);
    assert_eq!(counts(&oracle), [1, 1, 0, 1, 0]);
}

/// Whether it was stored is not known: eight rows of 128 bytes fit, and of eight one may not be there.
#[test]
fn what_a_request_that_was_given_up_has_stored_makes_only_the_last_row_undecidable() {
    let by = LimitName::DeviceStoredBytes;
    let mut oracle = self::oracle(&[(by, 1, 1_024)]);
    give_up(&mut oracle, 11);
    (12..19).for_each(|seq| ask(&mut oracle, 0, "KS-1", seq, OK));
    assert_eq!(counts(&oracle), [7, 0, 0, 0, 0]);
    ask(&mut oracle, 0, "KS-1", 19, limited(by, 60));
    ask(&mut oracle, 0, "KS-1", 19, OK);
    assert_eq!(counts(&oracle), [7, 0, 0, 0, 2]);
    ask(&mut oracle, 0, "KS-1", 20, limited(by, 60));
    assert_eq!(counts(&oracle), [7, 0, 0, 0, 3], "perhaps the one at 19 was charged");
}

/// A request whose answer a crash cut off may be stored: until the device is heard again, that pair alone is unsure.
#[test]
fn a_pair_that_a_crash_cut_off_is_unsure_only_where_it_matters() {
    let by = LimitName::AddressFailures;
    let mut oracle = self::oracle(&[(by, 60, 1)]);
    let sent = |seq| Sent {
        endpoint: Endpoint::Heartbeat,
        wire: None,
        named: Some(("KS-1", Sequence::new(1, seq))),
        beat: None,
    };
    let mut ticket = oracle.arrived(0, origin(1), &sent(11), None);
    oracle.waits(&mut ticket, &sent(11));
    oracle.lost(&ticket, &sent(11));
    oracle.started(S);
    ask(&mut oracle, S, "GHOST-1", 1, refused(C::UnknownDevice));
    ask(&mut oracle, S, "KS-1", 11, limited(by, 1));
    assert_eq!(counts(&oracle), [1, 0, 0, 0, 1]);
    ask(&mut oracle, S, "KS-1", 12, OK);
    assert_eq!((counts(&oracle), oracle.wrong()), ([2, 0, 0, 0, 1], &[][..]));
}

/// A registration that the limit of all devices refuses is none of its address.
#[test]
fn registrations_are_spent_together_or_not_at_all() {
    let (of_address, of_all) = (LimitName::AddressRegistrations, LimitName::Registrations);
    let mut oracle = self::oracle(&[(of_address, 60, 2), (of_all, 1, 1)]);
    let mut register = |at_us, answer| {
        let sent =
            Sent { endpoint: Endpoint::Register, wire: None, named: Some(("KS-1", Sequence::new(1, 11))), beat: None };
        let ticket = oracle.arrived(at_us, origin(1), &sent, None);
        oracle.answered(ticket, at_us, &sent, answer);
        counts(&oracle)
    };
    register(0, OK);
    for _ in 0..3 {
        register(0, limited(of_all, 60));
    }
    assert_eq!(register(60 * S, OK), [2, 3, 0, 0, 0]);
}

/// Ten of 60 a minute for all devices, of which log lines leave five and heartbeats two; what is refused waits at least a minute,
/// half an interval of 20 s, or 2 s.
#[test]
fn the_ceiling_leaves_a_part_to_higher_classes() {
    use Endpoint::{Attendance, Heartbeat, Logs};

    let by = LimitName::AllRequests;
    let mut oracle = self::oracle(&[(by, 60, 10)]);
    oracle.heartbeats_every(std::time::Duration::from_secs(20));
    let mut seq = 10;
    let mut send = |oracle: &mut Oracle, endpoint, count: u32, answer| {
        for _ in 0..count {
            seq += 1;
            let sent = Sent { endpoint, wire: None, named: Some(("KS-1", Sequence::new(1, seq))), beat: None };
            let ticket = oracle.arrived(0, origin(1), &sent, None);
            oracle.answered(ticket, 0, &sent, answer);
        }
        counts(oracle)
    };
    assert_eq!(send(&mut oracle, Logs, 5, OK), [5, 0, 0, 0, 0]);
    assert_eq!(send(&mut oracle, Logs, 1, limited(by, 60)), [5, 1, 0, 0, 0]);
    assert_eq!(send(&mut oracle, Heartbeat, 3, OK), [8, 1, 0, 0, 0]);
    assert_eq!(send(&mut oracle, Heartbeat, 1, limited(by, 10)), [8, 2, 0, 0, 0]);
    assert_eq!(send(&mut oracle, Heartbeat, 1, limited(by, 2)), [8, 2, 1, 0, 0], "too short");
    assert_eq!(send(&mut oracle, Attendance, 1, OK), [9, 2, 1, 0, 0]);
    commands(&mut oracle, 0);
    assert_eq!(send(&mut oracle, Heartbeat, 1, OK), [9, 2, 1, 0, 1], "a command may wait for it");
    assert_eq!(send(&mut oracle, Attendance, 1, limited(by, 2)), [9, 3, 1, 0, 1], "it was the last one");
    assert_eq!(send(&mut oracle, Attendance, 1, OK), [9, 3, 1, 1, 1]);
}

/// A server's ceiling of 60 a minute, 10 at once, as docs/rate-limits.md has it, in exact numbers and with a fault, if one is planted.
struct Planted {
    due: u64,
    fault: Fault,
    /// Commands wait for these devices.
    awaited: Vec<bool>,
    admitted: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// Each seventh request that is admitted is not charged.
    ForgetsCharges,
    /// Requests that are refused are charged.
    ChargesRefusals,
    /// Heartbeats may use the whole burst, whether commands wait or not.
    AllAreFirst,
    /// No heartbeat may, though commands wait.
    NoneIsFirst,
}

impl Planted {
    /// Whether a heartbeat of a device, or something that is always first, is admitted; else the wait that it is asked for.
    fn decide(&mut self, at_us: u64, heartbeat_of: Option<usize>) -> Option<u64> {
        let is_awaited = |device: usize| self.awaited[device];
        let is_first = heartbeat_of.is_none_or(|device| match self.fault {
            Fault::AllAreFirst => true,
            Fault::NoneIsFirst => false,
            _ => is_awaited(device),
        });
        let granted = at_us * 60 / 1_000;
        let borrowed = 60_000 * if is_first { 9 } else { 7 };
        let missing = self.due.saturating_sub(borrowed + granted);
        let charges = if missing > 0 {
            self.fault == Fault::ChargesRefusals
        } else {
            self.admitted += 1;
            self.fault != Fault::ForgetsCharges || !self.admitted.is_multiple_of(7)
        };
        if charges {
            self.due = self.due.max(granted) + 60_000;
        }
        (missing > 0).then(|| (missing * 1_000).div_ceil(60).div_ceil(S).max(if is_first { 2 } else { 30 }))
    }
}

/// Three devices and punches meet a ceiling that stays full; commands are ordered for the first device in the middle. Gives the counts, and
/// those once it is known who had commands.
fn full_ceiling(seed: u64, fault: Fault) -> ([u64; 5], [u64; 5]) {
    let mut oracle = self::oracle(&[(LimitName::AllRequests, 60, 10)]);
    (2..4).for_each(|number| oracle.imported(&format!("KS-{number}")));
    (1..3).for_each(|place| oracle.device(place).unwrap().has_stored = true);
    oracle.heartbeats_every(std::time::Duration::from_mins(1));
    let mut planted = Planted { due: 0, fault, awaited: vec![false; 3], admitted: 0 };
    let (mut random, mut seqs) = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1, [10_u64; 3]);
    let mut below = move |bound: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % bound
    };
    let (mut at_us, ordered_us) = (0, 120 * S);
    let mut is_ordered = false;
    while at_us < 300 * S {
        at_us += below(1_200_000);
        if at_us >= ordered_us && !std::mem::replace(&mut is_ordered, true) {
            commands(&mut oracle, at_us);
            planted.awaited[0] = true;
        }
        let device = usize::try_from(below(3)).unwrap();
        let is_beat = below(3) > 0;
        seqs[device] += 1;
        let (endpoint, name) =
            (if is_beat { Endpoint::Heartbeat } else { Endpoint::Attendance }, format!("KS-{}", device + 1));
        let sent = Sent { endpoint, wire: None, named: Some((&name, Sequence::new(1, seqs[device]))), beat: None };
        let mut ticket = oracle.arrived(at_us, origin(1), &sent, None);
        if let Some(wait_s) = planted.decide(at_us, is_beat.then_some(device)) {
            oracle.answered(ticket, at_us, &sent, limited(LimitName::AllRequests, wait_s));
            continue;
        }
        oracle.waits(&mut ticket, &sent);
        // Commands wait for a minute, then heartbeats bring none.
        let has_commands = is_beat && planted.awaited[device] && at_us < ordered_us + 60 * S;
        planted.awaited[device] &= !is_beat || has_commands;
        let stored = if is_beat { Stored::Beat { has_commands } } else { Stored::Punches(0) };
        oracle.answered(ticket, at_us, &sent, Answer::Accepted(stored));
    }
    let at_first = counts(&oracle);
    oracle.decide_doubts(&[("KS-1", vec![ordered_us])].into());
    (at_first, counts(&oracle))
}

/// Goal: while the ceiling is full, an order of commands makes few verdicts undecidable and none wrong, and hides no fault.
/// Method: 100 random streams of requests against a ceiling that is written here; the same with a fault planted.
#[test]
fn an_order_of_commands_does_not_blind_the_oracle_to_a_full_ceiling() {
    let mut found = std::collections::BTreeMap::new();
    for seed in 1..=100 {
        let (at_first, decided) = full_ceiling(seed, Fault::None);
        let [admitted, refused, falsely_refused, falsely_admitted, undecidable] = decided;
        assert_eq!((falsely_refused, falsely_admitted), (0, 0), "{seed}: {at_first:?}, {decided:?}");
        assert!(admitted > 250 && refused > 100, "the ceiling is full: {decided:?}");
        // Heartbeats within two seconds of the order, and then each device's next one.
        assert!(at_first[4] <= 12 && undecidable <= at_first[4], "{seed}: {at_first:?}, {decided:?}");
        for fault in [Fault::ForgetsCharges, Fault::ChargesRefusals, Fault::AllAreFirst, Fault::NoneIsFirst] {
            let (_, [_, _, falsely_refused, falsely_admitted, _]) = full_ceiling(seed, fault);
            *found.entry(format!("{fault:?}")).or_insert(0) += u32::from(falsely_refused + falsely_admitted > 0);
        }
    }
    assert_eq!(found["ForgetsCharges"] + found["ChargesRefusals"] + found["AllAreFirst"], 300, "{found:?}");
    assert!(found["NoneIsFirst"] > 0, "{found:?}");
}

/// Goal: what hung on commands is decided at the end, where no command was ever ordered for the device. Method: a rollout, which may order
/// commands at any time; a ceiling of one, so that a heartbeat is let through beyond it only if commands wait.
#[test]
fn what_hung_on_commands_is_decided_once_they_are_known() {
    let by = LimitName::AllRequests;
    let mut oracle = self::oracle(&[(by, 60, 5)]);
    oracle.rollout_ordered(0);
    oracle.commands_order_ended(0, OrderEnd::Done);
    (11..15).for_each(|seq| ask(&mut oracle, 0, "KS-1", seq, OK)); // four of five: heartbeats leave one
    ask(&mut oracle, 0, "KS-1", 15, limited(by, 1));
    assert_eq!(counts(&oracle), [4, 0, 0, 0, 1]);
    ask(&mut oracle, 0, "KS-1", 15, OK);
    assert_eq!(counts(&oracle), [4, 0, 0, 0, 2]);
    let mut has_command = oracle;
    has_command.decide_doubts(&[("KS-1", vec![0])].into());
    assert_eq!(counts(&has_command), [4, 0, 0, 0, 2], "it may have been first");
    let mut oracle = self::oracle(&[(by, 60, 5)]);
    oracle.rollout_ordered(0);
    oracle.commands_order_ended(0, OrderEnd::Done);
    (11..15).for_each(|seq| ask(&mut oracle, 0, "KS-1", seq, OK));
    ask(&mut oracle, 0, "KS-1", 15, limited(by, 1));
    ask(&mut oracle, 0, "KS-1", 15, limited(by, 59));
    ask(&mut oracle, 0, "KS-1", 15, OK);
    oracle.decide_doubts(&[("KS-1", vec![1])].into());
    assert_eq!(counts(&oracle), [4, 1, 1, 1, 0], "one with a wrong wait");
    let what: Vec<&str> = oracle.wrong().iter().map(|wrong| wrong.what.as_str()).collect();
    assert!(what[1].ends_with("all_requests was used up, and no command waited for the device"), "{what:?}");
}

/// The limit on writes in progress refuses before a device's own limits are asked, a full queue after them.
#[test]
fn a_refusal_by_the_limit_on_writes_in_progress_is_charged_to_no_budget() {
    let overloaded = |is_overload| {
        Answer::Refused(Refused { code: C::Overloaded, retry_after_s: Some(5), limit: None, is_overload, kept: None })
    };
    let mut oracle = self::oracle(&[(LimitName::DeviceRequests, 60, 1)]);
    (0..3).for_each(|_| ask(&mut oracle, 0, "KS-1", 11, overloaded(true)));
    ask(&mut oracle, 0, "KS-1", 11, overloaded(false));
    ask(&mut oracle, 0, "KS-1", 12, limited(LimitName::DeviceRequests, 1));
    assert_eq!((counts(&oracle), oracle.wrong()), ([4, 1, 0, 0, 0], &[][..]));
}

/// Two of ten are left to what is first. A device is first while commands wait for it: from two seconds after they were ordered that is
/// known from its own heartbeats.
#[test]
fn the_ceiling_knows_which_devices_commands_wait_for() {
    let by = LimitName::AllRequests;
    let mut oracle = self::oracle(&[(by, 60, 10)]);
    commands(&mut oracle, 0);
    ask(&mut oracle, S, "KS-1", 11, OK); // too soon: it may not know yet
    assert_eq!(oracle.device(0).unwrap().awaited, ceiling::WaitingCommands::Unsure);
    ask(&mut oracle, 60 * S, "KS-1", 12, Answer::Accepted(Stored::Beat { has_commands: true }));
    (13..22)
        .for_each(|seq| ask(&mut oracle, 60 * S, "KS-1", seq, Answer::Accepted(Stored::Beat { has_commands: true })));
    assert_eq!((counts(&oracle), oracle.wrong()), ([11, 0, 0, 0, 0], &[][..]));
    ask(&mut oracle, 120 * S, "KS-1", 22, OK);
    (23..30).for_each(|seq| ask(&mut oracle, 120 * S, "KS-1", seq, OK));
    ask(&mut oracle, 120 * S, "KS-1", 30, limited(by, 1));
    assert_eq!((counts(&oracle), oracle.wrong()), ([19, 1, 0, 0, 0], &[][..]), "eight, and none waits any more");
}

/// Goal: while an operator's change is under way nobody can say which values decide; afterwards the new ones do.
#[test]
fn a_request_during_a_change_is_undecidable_only_where_it_differs() {
    let mut oracle = oracle(&[(LimitName::DeviceRequests, 60, 1)]);
    let mut values = Values::all_off();
    values.set(LimitName::DeviceRequests, limit(60, 2, Mode::Enforce));
    ask(&mut oracle, 0, "KS-1", 11, OK);
    let ticket = oracle.limits_ordered(0, LimitSet::ALL);
    ask(&mut oracle, 0, "KS-1", 12, OK);
    assert_eq!(counts(&oracle), [1, 0, 0, 0, 1]);
    oracle.limits_order_ended(ticket, 0, OrderEnd::Done, Some(values));
    ask(&mut oracle, 1_000_000, "KS-1", 13, OK);
    assert_eq!(counts(&oracle), [2, 0, 0, 0, 1], "two at once now");
    ask(&mut oracle, 1_000_000, "KS-1", 14, limited(LimitName::DeviceRequests, 1));
    assert_eq!(counts(&oracle), [2, 0, 0, 0, 2], "the one during the change was spent if the new values decided");
    let ticket = oracle.limits_ordered(0, LimitSet::ALL);
    oracle.limits_order_ended(ticket, 3_000_000, OrderEnd::Refused, None);
    (14..17).for_each(|seq| ask(&mut oracle, 3_000_000, "KS-1", seq, OK));
    assert_eq!(counts(&oracle), [4, 0, 0, 1, 2], "a refused order changes nothing, and what is owed is known again");
}
