//! Guarantees about what the status of a rollout is made from.

use std::time::Duration;

use super::{
    AT, by, commit,
    rollout_setup::{active, create, decide, more_devices, new, new_rollout, put, send_beat, stored},
};
use crate::{
    rollout::update::UpdateState as S,
    rollout::{step::State, update::Update},
    rules::updates::Change,
    store::{Store, StoreReader, updates::Notable},
};

/// Guarantee: the devices to look at come in their order, each only in the list of its state, and at most so many.
pub fn devices_to_look_at_come_in_their_order(store: &mut impl Store, reader: &mut impl StoreReader) {
    let names = ["KS-1", "KS-2", "KS-3", "KS-4", "KS-5", "KS-6", "KS-7"];
    let devices: Vec<(&str, u8, &str)> = names.into_iter().zip(1..).map(|(name, seed)| (name, seed, "n")).collect();
    more_devices(store, &devices);
    active(store, "fw-2", 2);
    let targets: Vec<(&str, usize, u16)> =
        names.into_iter().zip([0, 0, 0, 0, 0, 0, 1]).map(|(name, stage)| (name, stage, 100)).collect();
    create(store, &new_rollout(reader, "r1", "fw-2", &targets)).unwrap();
    let rollout = stored(reader, "r1").row;
    let states = [S::Lost, S::Failed, S::Confirmed, S::Confirming, S::Installing];
    put(store, reader, rollout, &names.into_iter().zip(states).collect::<Vec<_>>());
    let minutes = |minutes| AT + Duration::from_mins(minutes);
    for (record, minute) in reader.updates(rollout, &Default::default(), 0, 5).unwrap().into_iter().zip(1..) {
        let next = Update { ended_at: Some(minutes(minute)), progress_at: minutes(10 - minute), ..record.update };
        commit(store, |store| {
            crate::rules::updates::save(
                store,
                &[Change { rollout, device: record.device_row, before: record.update, next }],
            )
        });
    }
    let mut named = |which, silent_before, limit| {
        let found = reader.notable_updates(rollout, which, silent_before, limit).unwrap();
        found.into_iter().map(|record| record.device_id.to_string()).collect::<Vec<_>>()
    };
    let later = minutes(1);
    assert_eq!(named(Notable::Failed, AT, 9), ["KS-2", "KS-1"], "the latest first");
    assert_eq!(named(Notable::Failed, AT, 1), ["KS-2"]);
    assert_eq!(named(Notable::Waiting, AT, 9), ["KS-5", "KS-4"], "KS-5 made progress at 5 min, KS-4 at 6 min");
    assert_eq!(named(Notable::Silent, later, 9), ["KS-3"]);
    assert_eq!(named(Notable::Silent, AT, 9), [""; 0]);
    assert_eq!(named(Notable::Unreached { stage: 0 }, later, 9), ["KS-6"]);
    assert_eq!(named(Notable::Unreached { stage: 1 }, later, 9), ["KS-6", "KS-7"]);
    send_beat(store, &new("KS-6", (2, 1)), minutes(2));
    let found = reader.notable_updates(rollout, Notable::Unreached { stage: 1 }, later, 9).unwrap();
    assert_eq!(found.len(), 1, "KS-6 was heard");
}

/// Guarantee: the last updates that came to CONFIRMING tell how long one takes; the last decision is the newest.
pub fn update_times_and_the_last_decision_are_the_newest(store: &mut impl Store, reader: &mut impl StoreReader) {
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n")]);
    active(store, "fw-2", 2);
    let targets = [("KS-1", 0, 1), ("KS-2", 0, 2), ("KS-3", 0, 3)];
    create(store, &new_rollout(reader, "r1", "fw-2", &targets)).unwrap();
    let rollout = stored(reader, "r1").row;
    assert_eq!(reader.update_times_ms(9).unwrap(), [0; 0]);
    for (record, seconds) in reader.updates(rollout, &Default::default(), 0, 2).unwrap().into_iter().zip([400, 700]) {
        let since = Some(AT + Duration::from_secs(seconds));
        let next = Update { state: S::Confirming, offered_at: Some(AT), confirming_since: since, ..record.update };
        commit(store, |store| {
            crate::rules::updates::save(
                store,
                &[Change { rollout, device: record.device_row, before: record.update, next }],
            )
        });
    }
    assert_eq!(reader.update_times_ms(9).unwrap(), [700_000, 400_000]);
    assert_eq!(reader.update_times_ms(1).unwrap(), [700_000]);
    assert_eq!(reader.failed_since(AT).unwrap(), [0; 0]);
    let last = reader.updates(rollout, &Default::default(), 0, 9).unwrap().pop().unwrap();
    let next = Update { state: S::Lost, ended_at: Some(AT), ..last.update };
    commit(store, |store| {
        let change = Change { rollout, device: last.device_row, before: last.update, next };
        crate::rules::updates::save(store, &[change])
    });
    let failed_since = |since| reader.failed_since(since).unwrap();
    assert_eq!([AT, AT + Duration::from_secs(1)].map(failed_since), [vec![last.device_row], vec![]]);
    assert_eq!(reader.last_decision(rollout).unwrap().unwrap().what, "created");
    let paused = State::new(AT).decision("paused", "lunch".to_owned(), Vec::new());
    decide(store, rollout, &paused, &by());
    assert_eq!(reader.last_decision(rollout).unwrap().unwrap().why, "lunch");
    assert_eq!(reader.last_decision(rollout + 1).unwrap(), None);
}
