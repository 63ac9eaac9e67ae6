//! Guarantees about heartbeats, and about groups of writes.

use std::time::Duration;

use ks_protocol::{
    id::Sequence,
    message::{Firmware, Heartbeat},
    text::Text,
    time::UnixMs,
};

use super::{AT, NOTHING_DUE, beat, by, commit, id, new_device, record, registration, sample_beat, two_devices};
use crate::{
    rules,
    store::{Denied, PruneStep, Store, StoreError, StoreReader, devices::Part, heartbeats::LastHeartbeat},
};

fn seconds(seconds: u64) -> UnixMs {
    AT + Duration::from_secs(seconds)
}

/// Guarantee: an answered heartbeat is one row with the reported values.
pub fn beat_is_stored_once_and_read_back(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    assert_eq!([beat(store, "KS-1", (1, 2)), beat(store, "KS-2", (1, 2))], [NOTHING_DUE, NOTHING_DUE]);
    let rows = reader.heartbeats(0, 10).unwrap();
    let pairs: Vec<_> = rows.iter().map(|row| (row.device_id.as_str(), row.sequence, row.uptime_s)).collect();
    assert_eq!(pairs, [("KS-1", Sequence::new(1, 2), 120), ("KS-2", Sequence::new(1, 2), 120)]);
    assert_eq!(reader.heartbeats(rows[0].row, 10).unwrap(), rows[1..], "paged by row");
    assert_eq!(reader.last_heartbeat_row().unwrap(), rows[1].row);
    let device = reader.device(&id("KS-1")).unwrap().unwrap();
    assert_eq!((device.sequence, device.last_seen_at), (Sequence::new(1, 2), Some(AT)));
    let last = reader.last_heartbeat(&id("KS-2")).unwrap().unwrap();
    assert_eq!((last.sequence, last.cpu_temp_c, last.rssi_dbm), (Sequence::new(1, 2), 41.5, Some(-60)));
}

/// Guarantee: the history of a device has its heartbeats and no other device's, page by page, as far back as they are kept.
pub fn the_history_of_a_device_is_read_backwards(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    for seq in 2..8 {
        for device_id in ["KS-1", "KS-2"] {
            let at = AT + Duration::from_mins(seq);
            commit(store, |store| record(store, &sample_beat(device_id, (1, seq)), at)).unwrap();
        }
    }
    let seqs = |beats: &[LastHeartbeat]| beats.iter().map(|beat| beat.sequence.seq.get()).collect::<Vec<_>>();
    let (newest, next) = reader.heartbeats_of(&id("KS-1"), None, 4).unwrap();
    assert_eq!(seqs(&newest), [7, 6, 5, 4]);
    let (older, end) = reader.heartbeats_of(&id("KS-1"), next, 4).unwrap();
    assert_eq!((seqs(&older), end), (vec![3, 2], None));
    assert_eq!(reader.heartbeats_of(&id("KS-2"), next, 4).unwrap(), (vec![], None), "a row of another device");
    assert_eq!(reader.heartbeats_of(&id("KS-9"), None, 4).unwrap(), (vec![], None));
    prune(store, AT + Duration::from_mins(5), AT + Duration::from_hours(1));
    let (kept, next) = reader.heartbeats_of(&id("KS-2"), None, 9).unwrap();
    assert_eq!((seqs(&kept), next), (vec![7, 6, 5], None), "older ones were deleted");
}

/// Guarantee: old firmware history is deleted in steps, but never a device's current firmware.
pub fn old_firmware_history_is_deleted(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let run = |store: &mut _, device_id, seq, version, at| {
        let firmware = Firmware { version: Text::truncated(version), release_counter: seq };
        let beat = Heartbeat { firmware, ..sample_beat(device_id, (1, seq)) };
        commit(store, |store| record(store, &beat, at)).unwrap();
    };
    for (seq, version) in [(2, "1"), (3, "2"), (4, "3")] {
        run(store, "KS-1", seq, version, seconds(seq));
    }
    run(store, "KS-2", 2, "1", seconds(2));
    let prune = |store: &mut _, before, after| {
        commit(store, |store| rules::heartbeats::prune_firmware_history(store, before, after, 2))
    };
    assert_eq!(prune(store, seconds(2), 0), PruneStep::default(), "nothing is older");
    assert_eq!(prune(store, seconds(100), 0), PruneStep { rows: 2, next_after: Some(2) });
    assert_eq!(prune(store, seconds(100), 2), PruneStep { rows: 0, next_after: Some(4) });
    assert_eq!(prune(store, seconds(100), 4), PruneStep::default());
    for (device_id, version) in [("KS-1", "3"), ("KS-2", "1")] {
        let history = reader.firmware_history(&id(device_id), 9).unwrap();
        let versions: Vec<_> = history.iter().map(|run| run.firmware_version.as_str()).collect();
        assert_eq!(versions, [version]);
    }
}

/// Guarantee: a replay is refused with the stored pair and changes nothing, in the same group or a later one.
pub fn replayed_beat_is_stale(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let stale = Err(Denied::Stale { kept: Sequence::new(1, 9) });
    let twice = commit(store, |store| {
        let replayed = sample_beat("KS-1", (1, 9));
        Ok([record(store, &replayed, AT)?, record(store, &replayed, AT)?])
    });
    assert_eq!(twice, [NOTHING_DUE, stale.clone()]);
    assert_eq!([beat(store, "KS-1", (1, 8)), beat(store, "KS-1", (0, 99))], [stale.clone(), stale]);
    assert_eq!(reader.heartbeats(0, 10).unwrap().len(), 1);
}

/// Guarantee: (boot_epoch, seq) is compared as a pair.
pub fn a_later_boot_starts_seq_again(store: &mut impl Store, _: &mut impl StoreReader) {
    two_devices(store);
    let stale = Err(Denied::Stale { kept: Sequence::new(2, 1) });
    let outcomes = [(1, 900), (2, 1), (1, 901)].map(|pair| beat(store, "KS-1", pair));
    assert_eq!(outcomes, [NOTHING_DUE, NOTHING_DUE, stale]);
}

/// Guarantee: only registered devices write.
pub fn unknown_and_unregistered_devices_are_denied(store: &mut impl Store, reader: &mut impl StoreReader) {
    commit(store, |store| rules::devices::import(store, &[new_device("KS-1", 1)], Part::whole(1), &by())).unwrap();
    assert_eq!(beat(store, "KS-1", (1, 1)), Err(Denied::NotRegistered));
    assert_eq!(beat(store, "KS-9", (1, 1)), Err(Denied::Unknown));
    let register = |device_id: &'static str, seed| {
        move |store: &mut dyn crate::store::Transaction| {
            rules::devices::register(store, &registration(device_id, seed, 1), &by())
        }
    };
    assert_eq!(commit(store, register("KS-9", 9)), Err(Denied::Unknown));
    assert_eq!(commit(store, register("KS-1", 7)), Err(Denied::KeyMismatch));
    assert_eq!(reader.heartbeats(0, 10).unwrap(), []);
}

/// Guarantee: each write of a group sees those before it.
pub fn writes_of_one_group_come_in_order(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let outcomes = commit(store, |store| {
        (2..200)
            .map(|seq| record(store, &sample_beat(if seq % 2 == 0 { "KS-1" } else { "KS-9" }, (1, seq)), AT))
            .collect::<Result<Vec<_>, _>>()
    });
    for (seq, outcome) in (2..200).zip(outcomes) {
        assert_eq!(outcome, if seq % 2 == 0 { NOTHING_DUE } else { Err(Denied::Unknown) }, "{seq}");
    }
    assert_eq!(reader.heartbeats(0, 999).unwrap().len(), 99);
}

/// Guarantee: when a write of a group fails, nothing of the group is stored, and later writes succeed.
pub fn a_failed_group_leaves_nothing(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    let failed = store.commit(&mut |transaction| {
        record(transaction, &sample_beat("KS-1", (1, 2)), AT)?.unwrap();
        Err(StoreError::Closed)
    });
    assert_eq!(failed, Err(StoreError::Closed));
    assert_eq!(reader.heartbeats(0, 10).unwrap(), []);
    assert_eq!(beat(store, "KS-1", (1, 2)), NOTHING_DUE);
}

/// Guarantee: the firmware that a device reports is kept with its start time, one row for each change.
pub fn reported_firmware_is_kept_as_history(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    for (seq, version, counter) in [(2, "1.0.0", 1), (3, "1.0.0", 1), (4, "1.1.0", 2), (5, "1.1.0", 2)] {
        let mut beat = sample_beat("KS-1", (1, seq));
        beat.firmware.version = Text::truncated(version);
        beat.firmware.release_counter = counter;
        commit(store, |store| record(store, &beat, AT + Duration::from_secs(seq))).unwrap();
    }
    let history = reader.firmware_history(&id("KS-1"), 10).unwrap();
    let listed: Vec<_> =
        history.iter().map(|row| (row.firmware_version.as_str(), row.release_counter, row.since)).collect();
    let since = |seconds| AT + Duration::from_secs(seconds);
    assert_eq!(listed, [("1.1.0", 2, since(4)), ("1.0.0", 1, since(2))]);
    let device = reader.device(&id("KS-1")).unwrap().unwrap();
    assert_eq!((device.firmware_version.as_str(), device.release_counter, device.keyset_version), ("1.1.0", 2, 1));
}

/// Scans all heartbeats once in steps of three, and returns what each step deleted.
fn prune(store: &mut impl Store, before: UnixMs, now: UnixMs) -> Vec<usize> {
    let (mut deleted, mut next) = (Vec::new(), Some(0));
    while let Some(after) = next {
        let swept = commit(store, |store| rules::heartbeats::prune(store, before, now, after, 3));
        deleted.push(swept.rows);
        next = swept.next_after;
    }
    deleted
}

fn beats_at(store: &mut impl Store, minutes: &[u64]) {
    for (seq, minute) in (2..).zip(minutes) {
        let at = AT + Duration::from_mins(*minute);
        commit(store, |store| record(store, &sample_beat("KS-1", (1, seq)), at)).unwrap();
    }
}

fn seqs_left(reader: &mut impl StoreReader) -> Vec<u64> {
    reader.heartbeats(0, 99).unwrap().into_iter().map(|row| row.sequence.seq.get()).collect()
}

/// Guarantee: pruning deletes rows older than the limit in steps, the oldest first, and ends at the first step with nothing to delete.
pub fn pruning_takes_the_oldest_in_steps(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    beats_at(store, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let minute = |minute| AT + Duration::from_mins(minute);
    assert_eq!(prune(store, minute(5), minute(9)), [3, 2, 0]);
    assert_eq!(seqs_left(reader), [7, 8, 9, 10, 11]);
}

/// Guarantee: rows that a wrong clock stamped in the future stay, and do not stop the deletion of older rows after them.
pub fn pruning_goes_on_past_rows_from_the_future(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    beats_at(store, &[900, 900, 900, 900, 0, 1, 2, 3, 8, 9]);
    let minute = |minute| AT + Duration::from_mins(minute);
    assert_eq!(prune(store, minute(5), minute(9)), [0, 2, 2, 0]);
    assert_eq!(seqs_left(reader), [2, 3, 4, 5, 10, 11]);
}

/// Guarantee: the newest row is kept however old, and no row number is reused.
pub fn pruning_leaves_the_newest_row(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    beats_at(store, &[0, 1, 2, 3]);
    let last = reader.last_heartbeat_row().unwrap();
    prune(store, AT + Duration::from_hours(1), AT + Duration::from_hours(1));
    assert_eq!(seqs_left(reader), [5]);
    beat(store, "KS-1", (2, 1)).unwrap();
    assert!(reader.last_heartbeat_row().unwrap() > last);
    assert_eq!(reader.newest_heartbeat_at().unwrap(), Some(AT));
}
