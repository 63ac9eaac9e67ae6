//! The promises of every store, as functions that any store can be run against: `conformance!(name, open)`.
//!
//! `open` gives a fresh store and a way to read it. One function a promise, named after it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "test support: a failure is a failed test"
)]

use std::time::Duration;

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PrivateKey,
    message::{Ack, AckState, Firmware, Heartbeat, Network},
    text::{Rows, Text},
    time::UnixMs,
};

use super::{Denied, Due, FirstRegistered, Imported, NewDevice, Outcome, Revoked, Store, StoreReader, Write};
use crate::command::CommandState;

/// The time of the first write.
pub const AT: UnixMs = UnixMs(1_800_000_000_000);

/// Expands to one test for each promise, each on a fresh store from `$open`, which gives `(store, reader, keep_alive)`.
#[macro_export]
macro_rules! conformance {
    ($name:ident, $open:expr) => {
        mod $name {
            use super::*;
            $crate::conformance!(@each $open;
                beat_is_stored_once_and_read_back, replayed_beat_is_stale, a_later_boot_starts_seq_again,
                stranger_and_unregistered_are_denied, revoked_device_writes_nothing, revoking_is_idempotent,
                import_is_all_or_nothing, import_twice_changes_nothing, a_key_serves_one_device,
                registering_again_gives_the_first_answer, otrt_serves_one_device, otrt_expires_and_is_bound,
                command_is_delivered_until_acked, command_times_out, acks_of_strangers_change_nothing,
                pruning_takes_the_oldest_in_steps, pruning_goes_on_past_rows_from_the_future,
                pruning_leaves_the_newest_row, outcomes_come_in_the_order_of_writes,
            );
        }
    };
    (@each $open:expr; $($promise:ident),+ $(,)?) => {
        $(#[test] fn $promise() {
            let (mut store, mut reader, _keep_alive) = $open;
            $crate::store::conformance::$promise(&mut store, &mut reader);
        })+
    };
}

fn id(text: &str) -> DeviceId {
    text.parse().expect("an identifier")
}

fn new_device(device_id: &str, seed: u8) -> NewDevice {
    NewDevice {
        line: u64::from(seed),
        device_id: id(device_id),
        public_key: PrivateKey::from_seed(&[seed; 32]).public_key(),
        serial: format!("S{seed}"),
        manufacturer: "Acme".to_owned(),
        model: "KS-100".to_owned(),
        site: "north".to_owned(),
    }
}

fn import(devices: Vec<NewDevice>) -> Write {
    Write::Import { devices, actor: "test".to_owned(), at: AT }
}

fn register(
    device_id: &str,
    seed: u8,
    seq: u64,
    otrt_sha256: Option<[u8; 32]>,
    otrt_required: bool,
    at: UnixMs,
) -> Write {
    let public_key = PrivateKey::from_seed(&[seed; 32]).public_key();
    Write::Register {
        device_id: id(device_id),
        public_key,
        sequence: Sequence::new(1, seq),
        otrt_sha256,
        otrt_required,
        at,
    }
}

/// A heartbeat for tests.
pub fn sample_beat(device_id: &str, pair: (u32, u64)) -> Heartbeat {
    let Sequence { boot_epoch, seq } = Sequence::new(pair.0, pair.1);
    Heartbeat {
        kind: Default::default(),
        device_id: id(device_id),
        boot_epoch,
        seq,
        sent_at: AT,
        keyset_version: 1,
        firmware: Firmware { version: Text::truncated("1.0.0"), release_counter: 1 },
        uptime_s: 60 * pair.1,
        cpu_temp_c: 41.5,
        free_mem_kib: 100_000,
        network: Network::Wifi,
        rssi_dbm: Some(-60),
        acks: Rows::default(),
    }
}

fn beat(device_id: &str, pair: (u32, u64)) -> Write {
    Write::Beat { beat: Box::new(sample_beat(device_id, pair)), at: AT }
}

fn commit(store: &mut impl Store, group: &[Write]) -> Vec<Outcome> {
    store.commit(group).expect("a healthy store commits")
}

/// Imports and registers `KS-1` (key 1) and `KS-2` (key 2) with the pair (1, 1).
fn two_devices(store: &mut impl Store) {
    let group = [
        import(vec![new_device("KS-1", 1), new_device("KS-2", 2)]),
        register("KS-1", 1, 1, None, false, AT),
        register("KS-2", 2, 1, None, false, AT),
    ];
    let outcomes = commit(store, &group);
    let registered = Outcome::Register(Ok(FirstRegistered(AT)));
    let imported = Outcome::Import(Ok(Imported { added: 2, unchanged: 0 }));
    assert_eq!(outcomes, [imported, registered.clone(), registered]);
}

const STORED: Outcome = Outcome::Beat(Ok(Due { commands: Vec::new() }));

/// Promise: an answered heartbeat is one row, with what the device said.
pub fn beat_is_stored_once_and_read_back(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    assert_eq!(commit(store, &[beat("KS-1", (1, 2)), beat("KS-2", (1, 2))]), [STORED, STORED]);
    let rows = reader.heartbeats(0, 10).unwrap();
    let pairs: Vec<_> = rows.iter().map(|row| (row.device_id.as_str(), row.sequence, row.uptime_s)).collect();
    assert_eq!(pairs, [("KS-1", Sequence::new(1, 2), 120), ("KS-2", Sequence::new(1, 2), 120)]);
    assert_eq!(reader.heartbeats(rows[0].row, 10).unwrap(), rows[1..], "paged by row");
    assert_eq!(reader.last_heartbeat_row().unwrap(), rows[1].row);
    let device = reader.device(&id("KS-1")).unwrap().unwrap();
    assert_eq!((device.sequence, device.last_seen_at), (Sequence::new(1, 2), Some(AT)));
}

/// Promise: a replay is told the pair that is kept, and changes nothing, in the same group or a later one.
pub fn replayed_beat_is_stale(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let stale = Outcome::Beat(Err(Denied::Stale { kept: Sequence::new(1, 9) }));
    assert_eq!(commit(store, &[beat("KS-1", (1, 9)), beat("KS-1", (1, 9))]), [STORED, stale.clone()]);
    assert_eq!(commit(store, &[beat("KS-1", (1, 8)), beat("KS-1", (0, 99))]), [stale.clone(), stale]);
    assert_eq!(reader.heartbeats(0, 10).unwrap().len(), 1);
}

/// Promise: (boot_epoch, seq) is compared as a pair.
pub fn a_later_boot_starts_seq_again(store: &mut impl Store, _: &mut impl StoreReader) {
    two_devices(store);
    let stale = Outcome::Beat(Err(Denied::Stale { kept: Sequence::new(2, 1) }));
    let group = [beat("KS-1", (1, 900)), beat("KS-1", (2, 1)), beat("KS-1", (1, 901))];
    assert_eq!(commit(store, &group), [STORED, STORED, stale]);
}

/// Promise: only registered devices write.
pub fn stranger_and_unregistered_are_denied(store: &mut impl Store, reader: &mut impl StoreReader) {
    commit(store, &[import(vec![new_device("KS-1", 1)])]);
    let outcomes =
        commit(store, &[beat("KS-1", (1, 1)), beat("KS-9", (1, 1)), register("KS-9", 9, 1, None, false, AT)]);
    let denied = [Outcome::Beat(Err(Denied::NotRegistered)), Outcome::Beat(Err(Denied::Unknown))];
    assert_eq!(outcomes[..2], denied);
    assert_eq!(outcomes[2], Outcome::Register(Err(Denied::Unknown)));
    let other_key = commit(store, &[register("KS-1", 7, 1, None, false, AT)]);
    assert_eq!(other_key, [Outcome::Register(Err(Denied::KeyMismatch))]);
    assert_eq!(reader.heartbeats(0, 10).unwrap(), []);
}

fn revoke(device_ids: &[&str]) -> Write {
    let device_ids = device_ids.iter().map(|text| id(text)).collect();
    Write::Revoke { device_ids, reason: "stolen".to_owned(), actor: "test".to_owned(), at: AT }
}

/// Promise: a revocation holds for every later write, even in the same group.
pub fn revoked_device_writes_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let outcomes = commit(store, &[revoke(&["KS-1"]), beat("KS-1", (1, 2)), register("KS-1", 1, 3, None, false, AT)]);
    assert_eq!(outcomes[1..], [Outcome::Beat(Err(Denied::Revoked)), Outcome::Register(Err(Denied::Revoked))]);
    let acks = Write::Acks { device_id: id("KS-1"), sequence: Sequence::new(1, 5), acks: Vec::new(), at: AT };
    assert_eq!(commit(store, &[acks]), [Outcome::Acks(Err(Denied::Revoked))]);
    assert_eq!(reader.heartbeats(0, 10).unwrap(), []);
    assert_eq!(commit(store, &[beat("KS-2", (1, 2))]), [STORED], "others go on");
}

/// Promise: revoking says who was revoked now, who before, and who is nobody.
pub fn revoking_is_idempotent(store: &mut impl Store, _: &mut impl StoreReader) {
    two_devices(store);
    commit(store, &[revoke(&["KS-1"])]);
    let again = Revoked { revoked: vec![id("KS-2")], already: 1, unknown: vec![id("KS-9")] };
    assert_eq!(commit(store, &[revoke(&["KS-1", "KS-2", "KS-9"])]), [Outcome::Revoke(again)]);
}

/// Promise: one bad row keeps the whole inventory out, and is named by its line.
pub fn import_is_all_or_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let bad = NewDevice { line: 3, site: "south".to_owned(), ..new_device("KS-2", 2) };
    let outcomes = commit(store, &[import(vec![new_device("KS-3", 3), bad])]);
    let Outcome::Import(Err(problems)) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert_eq!((problems[0].line, problems[0].field), (3, "site"));
    assert_eq!(reader.device(&id("KS-3")).unwrap(), None);
}

/// Promise: importing the same inventory again is harmless.
pub fn import_twice_changes_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let before = reader.devices(0, 10).unwrap();
    let outcomes = commit(store, &[import(vec![new_device("KS-1", 1), new_device("KS-2", 2)])]);
    assert_eq!(outcomes, [Outcome::Import(Ok(Imported { added: 0, unchanged: 2 }))]);
    assert_eq!(reader.devices(0, 10).unwrap(), before);
}

/// Promise: no two devices share a public key.
pub fn a_key_serves_one_device(store: &mut impl Store, _: &mut impl StoreReader) {
    two_devices(store);
    let outcomes = commit(store, &[import(vec![new_device("KS-3", 1)])]);
    assert!(
        matches!(&outcomes[0], Outcome::Import(Err(problems)) if problems[0].field == "public_key"),
        "{outcomes:?}"
    );
}

/// Promise: registering again is harmless and gives the first time; the pair still only grows.
pub fn registering_again_gives_the_first_answer(store: &mut impl Store, _: &mut impl StoreReader) {
    two_devices(store);
    let later = AT + Duration::from_mins(1);
    let outcomes =
        commit(store, &[register("KS-1", 1, 5, None, true, later), register("KS-1", 1, 5, None, false, later)]);
    let stale = Denied::Stale { kept: Sequence::new(1, 5) };
    assert_eq!(outcomes, [Outcome::Register(Ok(FirstRegistered(AT))), Outcome::Register(Err(stale))]);
}

fn add_otrts(tokens_sha256: Vec<[u8; 32]>, device_id: Option<&str>, model: Option<&str>) -> Write {
    let expires_at = AT + Duration::from_hours(1);
    let (device_id, model) = (device_id.map(id), model.map(str::to_owned));
    Write::AddOtrts { tokens_sha256, expires_at, device_id, model, actor: "test".to_owned(), at: AT }
}

/// Promise: a token serves the one device that used it first, also when two race in one group, and that device again.
pub fn otrt_serves_one_device(store: &mut impl Store, _: &mut impl StoreReader) {
    let token = Some([7; 32]);
    commit(store, &[import(vec![new_device("KS-1", 1), new_device("KS-2", 2)]), add_otrts(vec![[7; 32]], None, None)]);
    let group = [
        register("KS-1", 1, 1, None, true, AT),
        register("KS-1", 1, 1, token, true, AT),
        register("KS-2", 2, 1, token, true, AT),
        register("KS-1", 1, 2, token, true, AT),
    ];
    let expected = [
        Outcome::Register(Err(Denied::OtrtRequired)),
        Outcome::Register(Ok(FirstRegistered(AT))),
        Outcome::Register(Err(Denied::OtrtUsed)),
        Outcome::Register(Ok(FirstRegistered(AT))),
    ];
    assert_eq!(commit(store, &group), expected);
}

/// Promise: a token is good for its time and for whom it is bound to.
pub fn otrt_expires_and_is_bound(store: &mut impl Store, _: &mut impl StoreReader) {
    let tokens = [
        add_otrts(vec![[1; 32]], None, None),
        add_otrts(vec![[2; 32]], Some("KS-2"), None),
        add_otrts(vec![[3; 32]], None, Some("KS-900")),
    ];
    commit(store, &[import(vec![new_device("KS-1", 1), new_device("KS-2", 2)])]);
    commit(store, &tokens);
    let late = AT + Duration::from_hours(1);
    let group = [
        register("KS-1", 1, 1, Some([1; 32]), true, late),
        register("KS-1", 1, 1, Some([2; 32]), true, AT),
        register("KS-1", 1, 1, Some([3; 32]), true, AT),
        register("KS-1", 1, 1, Some([9; 32]), true, AT),
    ];
    assert_eq!(commit(store, &group), vec![Outcome::Register(Err(Denied::OtrtInvalid)); 4]);
    let bound = commit(store, &[register("KS-2", 2, 1, Some([2; 32]), true, AT)]);
    assert_eq!(bound, [Outcome::Register(Ok(FirstRegistered(AT)))]);
}

fn enqueue(command_id: &str, device_id: &str) -> Write {
    Write::Enqueue {
        commands: vec![(command_id.parse().unwrap(), id(device_id))],
        kind: "reboot".to_owned(),
        argument: String::new(),
        deadline_at: AT + Duration::from_hours(1),
        actor: "test".to_owned(),
        at: AT,
    }
}

fn ack(command_id: &str, state: AckState) -> Ack {
    Ack { command_id: command_id.parse().unwrap(), state, detail: Text::default() }
}

fn due(outcome: &Outcome) -> Vec<String> {
    let Outcome::Beat(Ok(due)) = outcome else { panic!("{outcome:?}") };
    due.commands.iter().map(|command| command.command_id.to_string()).collect()
}

/// Promise: a command comes with every beat until it is ACKed; its end is final.
pub fn command_is_delivered_until_acked(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    commit(store, &[enqueue("c1", "KS-1"), enqueue("c2", "KS-1")]);
    let outcomes = commit(store, &[beat("KS-1", (1, 2)), beat("KS-1", (1, 3)), beat("KS-2", (1, 3))]);
    assert_eq!(outcomes.iter().map(due).collect::<Vec<_>>(), [vec!["c1", "c2"], vec!["c1", "c2"], vec![]]);
    let mut with_ack = sample_beat("KS-1", (1, 4));
    with_ack.acks = Rows::truncated(vec![ack("c1", AckState::Succeeded)]);
    let outcomes = commit(store, &[Write::Beat { beat: Box::new(with_ack), at: AT }]);
    assert_eq!(due(&outcomes[0]), ["c2"]);
    let late = vec![ack("c1", AckState::Failed), ack("c2", AckState::Received), ack("c2", AckState::Rejected)];
    let late = Write::Acks { device_id: id("KS-1"), sequence: Sequence::new(1, 5), acks: late, at: AT };
    let states = [CommandState::Succeeded, CommandState::Received, CommandState::Rejected].map(Some).to_vec();
    assert_eq!(commit(store, &[late]), [Outcome::Acks(Ok(states))]);
    assert_eq!(commit(store, &[beat("KS-1", (1, 6))]), [STORED]);
    let stored: Vec<_> = reader.commands(0, 10).unwrap().into_iter().map(|command| command.state).collect();
    assert_eq!(stored, [CommandState::Succeeded, CommandState::Rejected]);
}

/// Promise: after its deadline a command is not delivered.
pub fn command_times_out(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    commit(store, &[enqueue("c1", "KS-1")]);
    let late = Write::Beat { beat: Box::new(sample_beat("KS-1", (1, 2))), at: AT + Duration::from_hours(2) };
    assert_eq!(commit(store, &[late]), [STORED]);
    assert_eq!(reader.commands(0, 10).unwrap()[0].state, CommandState::TimedOut);
}

/// Promise: a device ACKs its own commands only.
pub fn acks_of_strangers_change_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    commit(store, &[enqueue("c1", "KS-1")]);
    let acks = vec![ack("c1", AckState::Succeeded), ack("c9", AckState::Succeeded)];
    let acks = Write::Acks { device_id: id("KS-2"), sequence: Sequence::new(1, 2), acks, at: AT };
    assert_eq!(commit(store, &[acks]), [Outcome::Acks(Ok(vec![None, None]))]);
    assert_eq!(reader.commands(0, 10).unwrap()[0].state, CommandState::Queued);
}

/// Walks once over all heartbeats in steps of three, and gives what each step deleted.
fn prune(store: &mut impl Store, before: UnixMs, now: UnixMs) -> Vec<usize> {
    let (mut deleted, mut next) = (Vec::new(), Some(0));
    while let Some(after) = next {
        let outcomes = commit(store, &[Write::Prune { before, now, after, rows_max: 3 }]);
        let [Outcome::Pruned(pruned)] = outcomes.as_slice() else { panic!("{outcomes:?}") };
        deleted.push(pruned.deleted);
        next = pruned.next_after;
    }
    deleted
}

fn beats_at(store: &mut impl Store, minutes: &[u64]) {
    for (seq, minute) in (2..).zip(minutes) {
        let at = AT + Duration::from_mins(*minute);
        commit(store, &[Write::Beat { beat: Box::new(sample_beat("KS-1", (1, seq))), at }]);
    }
}

fn seqs_left(reader: &mut impl StoreReader) -> Vec<u64> {
    reader.heartbeats(0, 99).unwrap().into_iter().map(|row| row.sequence.seq.get()).collect()
}

/// Promise: pruning deletes rows older than asked in steps, the oldest first, and ends at the first step with nothing to delete.
pub fn pruning_takes_the_oldest_in_steps(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    beats_at(store, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let minute = |minute| AT + Duration::from_mins(minute);
    assert_eq!(prune(store, minute(5), minute(9)), [3, 2, 0]);
    assert_eq!(seqs_left(reader), [7, 8, 9, 10, 11]);
}

/// Promise: rows that a wrong clock stamped in the future do not keep the old ones behind them, and stay.
pub fn pruning_goes_on_past_rows_from_the_future(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    beats_at(store, &[900, 900, 900, 900, 0, 1, 2, 3, 8, 9]);
    let minute = |minute| AT + Duration::from_mins(minute);
    assert_eq!(prune(store, minute(5), minute(9)), [0, 2, 2, 0]);
    assert_eq!(seqs_left(reader), [2, 3, 4, 5, 10, 11]);
}

/// Promise: the newest row is kept however old, and no row number is given twice.
pub fn pruning_leaves_the_newest_row(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    beats_at(store, &[0, 1, 2, 3]);
    let last = reader.last_heartbeat_row().unwrap();
    prune(store, AT + Duration::from_hours(1), AT + Duration::from_hours(1));
    assert_eq!(seqs_left(reader), [5]);
    commit(store, &[beat("KS-1", (2, 1))]);
    assert!(reader.last_heartbeat_row().unwrap() > last);
    assert_eq!(reader.newest_heartbeat_at().unwrap(), Some(AT));
}

/// Promise: the n-th outcome is the n-th write's.
pub fn outcomes_come_in_the_order_of_writes(store: &mut impl Store, _: &mut impl StoreReader) {
    two_devices(store);
    let group: Vec<Write> = (2..200).map(|seq| beat(if seq % 2 == 0 { "KS-1" } else { "KS-9" }, (1, seq))).collect();
    for (seq, outcome) in (2..200).zip(commit(store, &group)) {
        assert_eq!(outcome, if seq % 2 == 0 { STORED } else { Outcome::Beat(Err(Denied::Unknown)) }, "{seq}");
    }
}
