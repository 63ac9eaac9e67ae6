//! Guarantees about records: punches, log lines, the audit, keysets, accounts, gaps.

use std::time::Duration;

use ks_protocol::{
    id::{Seq, Sequence},
    key::PrivateKey,
    message::{Direction, Heartbeat, LogLevel, LogLine, Punch, PunchMethod},
    text::Text,
    time::UnixMs,
};

use super::{AT, by, commit, hot, id, named, record, sample_beat, two_devices};
use crate::{
    role::Role,
    rules::{self, accounts},
    store::{
        Actor, Denied, Store, StoreReader,
        accounts::{NewToken, NewUser, TokenKind, TokenRecord, UserEdit, UserRefused},
        audit::{
            AuditFilter,
            chain::{Chain, ChainError, Head, note},
        },
        devices::Selector,
        keysets::{KeysetChange, KeysetHolders, ServerKeyRecord, ServerKeyStatus},
        logs::{LogBatch, LogFilter},
        presence::ObservationGap,
        punches::{PunchBatch, PunchFilter, PunchesTaken},
    },
};

fn seconds(seconds: u64) -> UnixMs {
    AT + Duration::from_secs(seconds)
}

fn number(number: u64) -> Seq {
    Sequence::new(0, number).seq
}

fn punch(punch_no: u64, badge: &str) -> Punch {
    Punch {
        punch_no: number(punch_no),
        at: seconds(punch_no),
        badge: Text::truncated(badge),
        direction: Direction::In,
        method: PunchMethod::Card,
    }
}

fn punch_in(store: &mut impl Store, device_id: &str, seq: u64, punches: Vec<Punch>) -> Result<PunchesTaken, Denied> {
    let batch = PunchBatch { device_id: id(device_id), sequence: Sequence::new(1, seq), punches, at: AT };
    commit(store, |store| hot(store, batch.clone()))
}

fn every_punch() -> PunchFilter {
    PunchFilter { site: None, device_id: None, since: AT, until: seconds(1_000) }
}

/// Guarantee: a punch is stored once under its number; a repeat is recognized, another punch is a conflict and changes nothing.
pub fn a_punch_is_stored_once(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let first = punch_in(store, "KS-1", 2, vec![punch(1, "anna"), punch(2, "ben")]).unwrap();
    assert_eq!((first.stored, first.known), (2, 0));
    let again = punch_in(store, "KS-1", 3, vec![punch(2, "ben"), punch(3, "cleo"), punch(1, "eve")]).unwrap();
    assert_eq!(again, PunchesTaken { stored: 1, known: 1, conflicts: vec![1] });
    let other = punch_in(store, "KS-2", 2, vec![punch(1, "dora")]).unwrap();
    assert_eq!(other.stored, 1, "each device has its own numbers");
    let stale = punch_in(store, "KS-1", 3, vec![punch(9, "anna")]);
    assert_eq!(stale, Err(Denied::Stale { kept: Sequence::new(1, 3) }));
    let numbers: Vec<_> = reader.punch_numbers((0, 0), 10).unwrap().into_iter().map(|(_, id, no)| (id, no)).collect();
    assert_eq!(numbers, [(id("KS-1"), 1), (id("KS-1"), 2), (id("KS-1"), 3), (id("KS-2"), 1)]);
    let (stored, _) = reader.punches(&every_punch(), None, 10).unwrap();
    assert_eq!(stored[0].badge, "anna");
    let batch =
        PunchBatch { device_id: id("KS-1"), sequence: Sequence::new(1, 4), punches: Vec::new(), at: seconds(60) };
    commit(store, |store| hot(store, batch.clone())).unwrap();
    let device = reader.device(&id("KS-1")).unwrap().unwrap();
    assert_eq!((device.sequence, device.last_seen_at), (Sequence::new(1, 4), Some(seconds(60))), "it was seen");
}

/// Guarantee: punches are paged in the order of time, each once.
pub fn punches_are_paged_in_the_order_of_time(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    punch_in(store, "KS-1", 2, [5, 1, 3].map(|no| punch(no, "anna")).to_vec()).unwrap();
    punch_in(store, "KS-2", 2, [1, 4, 3].map(|no| punch(no, "ben")).to_vec()).unwrap();
    let (mut paged, mut place) = (Vec::new(), None);
    loop {
        let (page, next) = reader.punches(&every_punch(), place, 2).unwrap();
        paged.extend(page.into_iter().map(|punch| (punch.device_id.to_string(), punch.punch_no)));
        place = next;
        if place.is_none() {
            break;
        }
    }
    let expected = [("KS-1", 1), ("KS-2", 1), ("KS-1", 3), ("KS-2", 3), ("KS-2", 4), ("KS-1", 5)];
    assert_eq!(paged, expected.map(|(device, no)| (device.to_owned(), no)));
    let of_one = PunchFilter { device_id: Some(id("KS-2")), since: seconds(3), ..every_punch() };
    assert_eq!(reader.punches(&of_one, None, 10).unwrap().0.len(), 2);
    let nowhere = PunchFilter { site: Some("south".to_owned()), ..every_punch() };
    assert_eq!(reader.punches(&nowhere, None, 10).unwrap().0, []);
}

fn send_logs(store: &mut impl Store, seq: u64, first: u64, messages: &[(LogLevel, &str)]) -> Result<u64, Denied> {
    let line = |(offset, (level, message)): (u64, &(LogLevel, &str))| LogLine {
        at: seconds(first + offset),
        level: *level,
        message: Text::truncated(message),
    };
    let batch = LogBatch {
        device_id: id("KS-1"),
        sequence: Sequence::new(1, seq),
        first_line_no: first,
        lines: (0..).zip(messages).map(line).collect(),
        at: AT,
    };
    commit(store, |store| hot(store, batch.clone())).map(|taken| taken.next_line_no)
}

fn messages(reader: &mut impl StoreReader, which: &LogFilter) -> Vec<String> {
    let page = reader.logs(which, i64::MAX, 10, 100).unwrap();
    page.lines.into_iter().map(|line| line.message).collect()
}

/// Guarantee: a line is stored once by its number, through retries and overlaps; lost ones leave a gap.
pub fn log_lines_are_stored_once_by_number(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let info = |message| (LogLevel::Info, message);
    assert_eq!(send_logs(store, 2, 1, &[info("a"), info("b")]), Ok(3));
    assert_eq!(send_logs(store, 3, 1, &[info("a"), info("b"), info("c")]), Ok(4));
    assert_eq!(send_logs(store, 4, 9, &[info("z")]), Ok(10));
    assert_eq!(send_logs(store, 5, 4, &[info("late")]), Ok(10), "numbers only increase");
    assert_eq!(messages(reader, &LogFilter::default()), ["z", "c", "b", "a"]);
}

/// Guarantee: lines are found by device, time, level and text, the newest first, page after page.
pub fn logs_are_searched_from_the_newest_back(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let lines = [
        (LogLevel::Error, "Disk full"),
        (LogLevel::Debug, "tick"),
        (LogLevel::Warn, "disk slow"),
        (LogLevel::Info, "door opened"),
    ];
    send_logs(store, 2, 1, &lines).unwrap();
    let text = |text: &str| LogFilter { text: Some(text.to_owned()), ..LogFilter::default() };
    assert_eq!(messages(reader, &text("DISK")), ["disk slow", "Disk full"]);
    let bad = LogFilter { level: Some(LogLevel::Warn), ..LogFilter::default() };
    assert_eq!(messages(reader, &bad), ["disk slow", "Disk full"]);
    let between = LogFilter { since: Some(seconds(2)), until: Some(seconds(4)), ..LogFilter::default() };
    assert_eq!(messages(reader, &between), ["disk slow", "tick"]);
    let of_another = LogFilter { device_id: Some(id("KS-2")), ..LogFilter::default() };
    assert_eq!(messages(reader, &of_another), Vec::<String>::new());
    let first = reader.logs(&LogFilter::default(), i64::MAX, 3, 100).unwrap();
    let rest = reader.logs(&LogFilter::default(), first.next_before.unwrap(), 3, 100).unwrap();
    assert_eq!((first.lines.len(), rest.lines.len(), rest.next_before), (3, 1, None));
    let read_two = reader.logs(&text("full"), i64::MAX, 3, 2).unwrap();
    assert!(read_two.lines.is_empty() && read_two.next_before.is_some(), "{read_two:?}");
}

/// Guarantee: lines received before a time are deleted in steps, and no others.
pub fn old_logs_are_pruned(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    send_logs(store, 2, 1, &[(LogLevel::Info, "a"), (LogLevel::Info, "b"), (LogLevel::Info, "c")]).unwrap();
    assert_eq!(commit(store, |store| rules::logs::prune(store, AT, 0, 2)).rows, 0);
    let first = commit(store, |store| rules::logs::prune(store, seconds(1), 0, 2));
    assert_eq!(first.rows, 2);
    assert_eq!(commit(store, |store| rules::logs::prune(store, seconds(1), first.next_after.unwrap(), 2)).rows, 1);
    assert_eq!(messages(reader, &LogFilter::default()), Vec::<String>::new());
}

/// Guarantee: each change adds a line, chained to the one before, and the head is that of the last line.
pub fn every_change_is_audited_and_chained(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    commit(store, |store| rules::devices::revoke(store, &named(&["KS-2"]), "stolen", &by()));
    commit(store, |store| {
        note(store, "login.failed", "anna", "wrong password", &Actor { address: None, ..by() }).map(|_| ())
    });
    let lines = reader.audit(&AuditFilter::default(), 0, 100).unwrap();
    let audited: Vec<_> = lines.iter().map(|line| (line.action.as_str(), line.subject.as_str())).collect();
    let registered = |device_id| ("device.register", device_id);
    let expected = [
        ("device.import", "2 devices"),
        registered("KS-1"),
        registered("KS-2"),
        ("device.revoke", "KS-2"),
        ("login.failed", "anna"),
    ];
    assert_eq!(audited, expected);
    assert_eq!(
        (lines[3].actor.as_str(), lines[3].address.as_str(), lines[3].detail.as_str()),
        ("test", "10.0.0.1", "stolen")
    );
    let mut chain = Chain::passing(reader.audit_head().unwrap().into_iter().collect());
    for line in &lines {
        chain.take(line).unwrap();
    }
    assert_eq!(chain.finish().unwrap().0, 5);
    let only = |which: AuditFilter| AuditFilter { since: Some(AT), until: Some(seconds(1)), ..which };
    let about = only(AuditFilter { subject: Some("KS-2".to_owned()), ..AuditFilter::default() });
    let actions = only(AuditFilter { action: Some("device.".to_owned()), ..AuditFilter::default() });
    assert_eq!(reader.audit(&about, 0, 100).unwrap().len(), 2);
    assert_eq!(reader.audit(&actions, 0, 100).unwrap().len(), 4);
    let newest_first = AuditFilter { newest_first: true, ..actions };
    let mut back = |before, limit| -> Vec<i64> {
        reader.audit(&newest_first, before, limit).unwrap().iter().map(|line| line.number).collect()
    };
    assert_eq!((back(i64::MAX, 3), back(2, 3)), (vec![4, 3, 2], vec![1]), "the newest first");
}

/// Guarantee: lines are pruned in pieces from the oldest on, and the rest stays a valid chain; any other deletion is detected.
pub fn a_pruned_audit_stays_valid(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store); // three lines
    let walk = |reader: &mut dyn StoreReader, base: Option<Head>| {
        let heads = reader.audit_head().unwrap().into_iter().collect();
        let mut chain = base.map_or_else(|| Chain::passing(Vec::new()), |base| Chain::behind(base, heads));
        reader.audit(&AuditFilter::default(), 0, 99).unwrap().iter().try_for_each(|line| chain.take(line))?;
        chain.finish()
    };
    let all = reader.audit(&AuditFilter::default(), 0, 99).unwrap();
    let mut prune = |last| commit(store, |store| rules::audit::prune(store, last, 1, &by()));
    assert_eq!((prune(0), prune(2), prune(2), prune(2)), (0, 1, 1, 0));
    let base = reader.audit_base().unwrap();
    assert_eq!(base, Some((2, all[1].hash)));
    assert_eq!(walk(reader, base).unwrap().0, 5, "two lines record it");
    let lines = reader.audit(&AuditFilter::default(), 0, 99).unwrap();
    let left: Vec<_> = lines.iter().map(|line| (line.number, line.subject.as_str())).collect();
    assert_eq!(left, [(3, "KS-2"), (4, "lines 1 to 1"), (5, "lines 2 to 2")]);
    assert_eq!(walk(reader, None), Err(ChainError::Missing { expected: 1, found: 3 }));
    let mut moved = Chain::behind((3, lines[0].hash), Vec::new());
    lines[1..].iter().for_each(|line| moved.take(line).unwrap());
    assert_eq!(moved.finish(), Err(ChainError::Unpruned(3)));
    let noted = |head: Head| {
        let mut chain = Chain::behind(base.unwrap(), vec![head]);
        lines.iter().try_for_each(|line| chain.take(line))?;
        chain.finish().map(|(last, _)| last)
    };
    assert_eq!(noted((2, all[1].hash)), Ok(5));
    assert_eq!(noted((2, [0; 32])), Err(ChainError::OtherHead(2)));
    assert_eq!(noted((1, all[0].hash)), Err(ChainError::Pruned { noted: 1, base: 2 }));
}

/// Guarantee: each keyset version is published only once, by whichever server is first; holders are counted by what they confirmed.
pub fn keysets_are_published_one_after_the_other(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    super::beat(store, "KS-1", (1, 2)).unwrap(); // reports version 1
    let public_key = PrivateKey::from_seed(&[40; 32]).public_key();
    let key = ServerKeyRecord {
        key_id: public_key.key_id(),
        public_key,
        status: ServerKeyStatus::Signing,
        announced_at: AT,
        signing_at: Some(AT),
        removed_at: None,
    };
    let change = |version, document: &str| KeysetChange {
        version,
        document: document.to_owned(),
        keys: vec![key.clone()],
        action: "key.announce",
        subject: key.key_id.clone(),
        detail: String::new(),
    };
    let mut publish = |change: &KeysetChange| commit(store, |store| rules::keysets::publish(store, change, &by()));
    assert!(publish(&change(1, "one")));
    assert!(!publish(&change(1, "other")));
    assert!(!publish(&change(3, "three")));
    assert!(publish(&change(2, "two")));
    assert_eq!(reader.newest().unwrap().keyset_version, 2);
    assert_eq!(reader.keyset_document(1).unwrap().as_deref(), Some("one"));
    assert_eq!(reader.keyset_document(3).unwrap(), None);
    assert_eq!(reader.server_keys().unwrap(), [key]);
    let mut holders = |newest, heard_since| {
        let found = reader.keyset_holders(newest, heard_since).unwrap();
        let KeysetHolders { active, confirmed, without_newest, unknown_keyset } = found;
        let names =
            |devices: Vec<ks_protocol::id::DeviceId>| devices.iter().map(ToString::to_string).collect::<Vec<_>>();
        (active, confirmed, names(without_newest), names(unknown_keyset))
    };
    let both = || vec!["KS-1".to_owned(), "KS-2".to_owned()];
    let one_confirmed = holders(1, AT);
    assert_eq!((one_confirmed.0, one_confirmed.1, one_confirmed.2.len(), one_confirmed.3.len()), (2, 1, 1, 0));
    assert_eq!(holders(2, AT), (2, 0, both(), vec![]));
    assert_eq!(holders(1, seconds(1)), (0, 0, vec![], vec![]), "no device was seen since");
    let misled = Heartbeat { keyset_version: 3, ..super::sample_beat("KS-1", (1, 9)) };
    commit(store, |store| record(store, &misled, AT)).unwrap();
    assert_eq!(
        holders(2, AT),
        (2, 0, both(), vec!["KS-1".to_owned()]),
        "a keyset that this server never published confirms nothing"
    );
    assert_eq!(holders(2, seconds(1)), (0, 0, vec![], vec!["KS-1".to_owned()]));
}

fn token(token_sha256: u8, kind: TokenKind, user: Option<&str>) -> NewToken {
    NewToken {
        token_sha256: [token_sha256; 32],
        kind,
        name: "anna".to_owned(),
        role: Role::Operator,
        user: user.map(str::to_owned),
        expires_at: seconds(100),
    }
}

fn new_user(name: &str, role: Role) -> NewUser {
    NewUser { name: name.to_owned(), role, password_hash: "hash".to_owned() }
}

/// Guarantee: a session is valid while its user is enabled, with the user's current role.
pub fn users_and_their_sessions(store: &mut impl Store, reader: &mut impl StoreReader) {
    let anna = new_user("anna", Role::Operator);
    let create = |store: &mut _| commit(store, |store| accounts::create_user(store, &anna, &by()));
    assert_eq!((create(store), create(store)), (Ok(()), Err(UserRefused::NameTaken)));
    commit(store, |store| accounts::add_token(store, &token(1, TokenKind::Session, Some("anna")), &by()));
    let edit = |store: &mut _, edit: &UserEdit, if_version| {
        commit(store, |store| accounts::edit_user(store, "anna", edit, if_version, &by()))
    };
    let promoted = UserEdit { role: Some(Role::Admin), ..UserEdit::default() };
    assert_eq!(edit(store, &promoted, Some(1)), Ok(2));
    assert_eq!(edit(store, &promoted, Some(1)), Err(UserRefused::Changed { version: 2 }));
    assert_eq!(reader.valid_token(&[1; 32], AT).unwrap().unwrap().role, Role::Admin);
    assert_eq!(reader.valid_token(&[1; 32], seconds(100)).unwrap(), None, "expired");
    let disabled = UserEdit { disabled: Some(true), ..UserEdit::default() };
    assert_eq!(edit(store, &disabled, None), Ok(3));
    assert_eq!(reader.valid_token(&[1; 32], AT).unwrap(), None);
    let enabled = UserEdit { disabled: Some(false), ..UserEdit::default() };
    assert_eq!(edit(store, &enabled, None), Ok(4));
    assert_eq!(reader.valid_token(&[1; 32], AT).unwrap(), None, "an ended session stays ended");
    let (user, hash) = reader.user("anna").unwrap().unwrap();
    assert_eq!((user.version, user.disabled_at, hash.as_str()), (4, None, "hash"));
    assert_eq!((reader.users(0, 10).unwrap().len(), reader.user("ben").unwrap()), (1, None));

    // A login that checked the old password, and completes after the change.
    let begin = |store: &mut _, number, hash: &'static str| {
        let session = token(number, TokenKind::Session, Some("anna"));
        commit(store, move |store| accounts::begin_session(store, &session, hash, &by()))
    };
    assert!(begin(store, 2, "hash").is_some());
    let changed = UserEdit { password_hash: Some("other".to_owned()), ..UserEdit::default() };
    assert_eq!(edit(store, &changed, None), Ok(5));
    assert_eq!((begin(store, 3, "hash"), begin(store, 4, "other").is_some()), (None, true));
    assert_eq!(edit(store, &disabled, None), Ok(6));
    assert_eq!(begin(store, 5, "other"), None);
}

/// Guarantee: a token that a user created is revoked when that user is disabled or gets another role, but not by a password change;
/// it keeps the role that it was created with, and stays revoked.
pub fn tokens_are_revoked_with_their_user(store: &mut impl Store, reader: &mut impl StoreReader) {
    commit(store, |store| accounts::create_user(store, &new_user("anna", Role::Admin), &by())).unwrap();
    let bearer = |store: &mut _, number, user| {
        commit(store, |store| accounts::add_token(store, &token(number, TokenKind::Bearer, user), &by()))
    };
    let good = |reader: &mut dyn StoreReader, number: u8| -> Option<TokenRecord> {
        reader.valid_token(&[number; 32], AT).unwrap()
    };
    let edit = |store: &mut _, edit: UserEdit| {
        commit(store, |store| accounts::edit_user(store, "anna", &edit, None, &by())).unwrap()
    };
    bearer(store, 1, None);
    bearer(store, 2, Some("anna"));
    let found = good(reader, 2).unwrap();
    assert_eq!((found.role, found.user.as_deref()), (Role::Operator, Some("anna")));
    edit(store, UserEdit { password_hash: Some("another".to_owned()), role: Some(Role::Admin), ..UserEdit::default() });
    assert!(good(reader, 2).is_some());
    edit(store, UserEdit { role: Some(Role::Viewer), ..UserEdit::default() });
    assert_eq!(good(reader, 2), None);
    bearer(store, 3, Some("anna"));
    edit(store, UserEdit { disabled: Some(true), ..UserEdit::default() });
    bearer(store, 4, Some("anna"));
    assert_eq!((good(reader, 3), good(reader, 4)), (None, None), "nor is one that was requested just before");
    edit(store, UserEdit { disabled: Some(false), ..UserEdit::default() });
    assert_eq!((good(reader, 3), good(reader, 4)), (None, None));
    assert_eq!(good(reader, 1).unwrap().user, None, "a token without an owner stays valid");
}

/// Guarantee: a token is valid until it expires or is revoked, and is deleted some time later.
pub fn tokens_end_when_expired_or_revoked(store: &mut impl Store, reader: &mut impl StoreReader) {
    let first = commit(store, |store| accounts::add_token(store, &token(1, TokenKind::Bearer, None), &by()));
    let second = commit(store, |store| accounts::add_token(store, &token(2, TokenKind::Bearer, None), &by()));
    assert_eq!(reader.valid_token(&[2; 32], AT).unwrap().unwrap().row, second);
    assert_eq!(reader.valid_token(&[3; 32], AT).unwrap(), None);
    assert!(commit(store, |store| accounts::revoke_token(store, first, &by())));
    assert!(!commit(store, |store| accounts::revoke_token(store, 99, &by())));
    assert_eq!(reader.valid_token(&[1; 32], AT).unwrap(), None);
    assert_eq!(reader.tokens(0, 10).unwrap().len(), 2);
    assert_eq!(commit(store, |store| store.forget_tokens(seconds(100), 10)), 0);
    assert_eq!(commit(store, |store| store.forget_tokens(seconds(101), 10)), 2);
}

/// Guarantee: a time without a live server is a gap, if it was long enough.
pub fn silence_of_the_server_is_a_gap(store: &mut impl Store, reader: &mut impl StoreReader) {
    for at in [0, 50, 110, 500, 520] {
        commit(store, |store| rules::presence::alive(store, seconds(at), 60_000));
    }
    let gap = ObservationGap { from: seconds(110), to: seconds(500) };
    assert_eq!(reader.gaps(AT).unwrap(), [gap]);
    assert_eq!(reader.gaps(seconds(500)).unwrap(), []);
    commit(store, |store| store.forget_gaps(seconds(501)));
    assert_eq!(reader.gaps(AT).unwrap(), []);
}

/// The time so many days and minutes after the first write.
fn after(days: u64, minutes: u64) -> UnixMs {
    AT + Duration::from_hours(24 * days) + Duration::from_mins(minutes)
}

/// When the first device was last seen.
fn last_seen_at(reader: &mut impl StoreReader) -> UnixMs {
    reader.last_seen(&Selector::default(), 0, 1).unwrap()[0].last_seen_at.unwrap()
}

/// The work that a running server does each minute.
fn listen(store: &mut impl Store, days: u64, minutes: u64) {
    commit(store, |store| rules::presence::alive(store, after(days, minutes), 120_000));
}

/// Guarantee: devices seen while the clock was ahead count as last seen when it went wrong, and the time since as a gap, whether
/// the clock is corrected while a server runs or while none does.
pub fn a_clock_that_was_ahead_is_no_evidence_of_presence(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    listen(store, 0, 0);
    listen(store, 10, 1); // ten days ahead, from one minute to the next
    commit(store, |store| record(store, &sample_beat("KS-1", (1, 10)), after(10, 2))).unwrap();
    listen(store, 10, 2);
    assert_eq!(last_seen_at(reader), after(10, 2));
    listen(store, 0, 4);
    assert_eq!(last_seen_at(reader), after(0, 0), "when it was right for the last time");
    assert_eq!(reader.gaps(AT.minus_ms(1)).unwrap(), [ObservationGap { from: after(0, 0), to: after(0, 4) }]);
    commit(store, |store| record(store, &sample_beat("KS-1", (1, 11)), after(0, 5))).unwrap();
    listen(store, 0, 5);
    listen(store, 0, 6);
    assert_eq!(last_seen_at(reader), after(0, 5));
    assert_eq!(reader.gaps(AT.minus_ms(1)).unwrap().len(), 1);
}

/// Guarantee: the same for a database that was created while the clock was ahead.
pub fn a_database_from_the_future_is_corrected(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    commit(store, |store| record(store, &sample_beat("KS-1", (1, 10)), AT)).unwrap();
    listen(store, 0, 0);
    let right = AT.minus_ms(10 * 24 * 3_600_000);
    commit(store, |store| rules::presence::alive(store, right, 120_000));
    assert_eq!(last_seen_at(reader), right.minus_ms(3_600_000));
    assert_eq!(reader.gaps(UnixMs(0)).unwrap().last().unwrap().to, right);
}

/// Guarantee: while the clock is behind, earlier times are not changed; once it is right again, devices seen meanwhile count as last
/// seen when it went wrong.
pub fn a_clock_that_was_behind_makes_no_device_lost(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    commit(store, |store| record(store, &sample_beat("KS-2", (1, 10)), after(0, 1))).unwrap();
    listen(store, 10, 0);
    commit(store, |store| record(store, &sample_beat("KS-1", (1, 10)), after(10, 0))).unwrap();
    for minutes in 1..4 {
        listen(store, 2, minutes); // eight days behind
        assert_eq!(last_seen_at(reader), after(10, 0));
    }
    commit(store, |store| record(store, &sample_beat("KS-1", (1, 11)), after(2, 4))).unwrap();
    assert_eq!(last_seen_at(reader), after(2, 4));
    listen(store, 10, 5);
    assert_eq!(last_seen_at(reader), after(10, 0));
    assert_eq!(reader.gaps(after(10, 0)).unwrap(), [ObservationGap { from: after(10, 0), to: after(10, 5) }]);
    assert_eq!(
        reader.last_seen(&Selector::default(), 0, 2).unwrap()[1].last_seen_at,
        Some(after(0, 1)),
        "silent all the while"
    );
    listen(store, 10, 6);
    assert_eq!(last_seen_at(reader), after(10, 0));
}

/// Guarantee: a token is valid only within its lifetime: not before its creation, as it could seem under a clock that was ahead then
/// or is behind now, and not after its end.
pub fn token_lifetime_holds_under_wrong_clocks(store: &mut impl Store, reader: &mut impl StoreReader) {
    let at = |days| Actor { at: after(days, 0), ..by() };
    let lasting = |number: u8, days| NewToken { expires_at: after(days, 0), ..token(number, TokenKind::Bearer, None) };
    commit(store, |store| accounts::add_token(store, &lasting(1, 11), &at(10))); // created ten days ahead, for a day
    commit(store, |store| accounts::add_token(store, &lasting(2, 30), &at(0)));
    let mut is_good = |number: u8, days| reader.valid_token(&[number; 32], after(days, 0)).unwrap().is_some();
    assert!(is_good(1, 10) && !is_good(1, 0) && !is_good(1, 11), "its lifetime is not ten days longer");
    assert!(is_good(2, 10) && is_good(2, 0) && !is_good(2, 31));
    let behind = AT.minus_ms(10 * 24 * 3_600_000);
    assert!(reader.valid_token(&[2; 32], behind).unwrap().is_none());
    assert!(reader.valid_token(&[2; 32], AT.minus_ms(1_000)).unwrap().is_some(), "clocks differ a little");
}
