//! Guarantees about completed rollouts whose devices are still watched.

use std::time::Duration;

use ks_protocol::time::UnixMs;

use super::{
    AT, by, commit, named,
    rollout_setup::{active, create, more_devices, new, new_rollout, old, put, save, send_beat, states, stored},
};
use crate::{
    rollout::{
        order::{OperatorOrder, Order},
        status::Status,
        step::State,
        update::UpdateState as S,
        watched::Watch,
    },
    rules::{
        self,
        rollouts::{Evaluation, evaluate},
    },
    store::{Actor, Store, StoreReader, devices::Selector},
};

const INTERVAL_MS: u64 = 60_000;

fn minutes(minutes: u64) -> UnixMs {
    AT + Duration::from_mins(minutes)
}

fn evaluation(at: UnixMs) -> Evaluation {
    Evaluation { at, heartbeat_interval_ms: INTERVAL_MS, seed: [1; 32] }
}

/// The rollout `r1` of `fw-2` to these devices: completed at [`AT`], all confirmed, and watched for a day. Returns its row.
fn completed(store: &mut impl Store, reader: &mut impl StoreReader, devices: &[(&str, &str)]) -> i64 {
    let (mut seeded, mut targets, mut confirmed) = (Vec::new(), Vec::new(), Vec::new());
    for (seed, (device_id, site)) in (1..).zip(devices) {
        seeded.push((*device_id, seed, *site));
        targets.push((*device_id, 1, 9_000));
        confirmed.push((*device_id, S::Confirmed));
    }
    more_devices(store, &seeded);
    active(store, "fw-2", 2);
    create(store, &new_rollout(reader, "r1", "fw-2", &targets)).unwrap();
    let rollout = stored(reader, "r1").row;
    put(store, reader, rollout, &confirmed);
    let rows: Vec<i64> =
        reader.updates(rollout, &Default::default(), 0, 99).unwrap().iter().map(|it| it.device_row).collect();
    let watch = Some(Watch::new(AT, 0));
    let state = State { status: Status::Completed, stage: 1, evidence_at: Some(AT), watch, ..State::new(AT) };
    commit(store, |store| store.follow_beats(&rows, Some(rollout)));
    save(store, rollout, &state);
    rollout
}

/// These devices beat each minute from the first to the last, and the rollout is evaluated after each; the decisions made.
fn live(store: &mut impl Store, devices: &[&str], range: std::ops::RangeInclusive<u64>) -> Vec<&'static str> {
    let mut decided = Vec::new();
    for minute in range {
        for device_id in devices {
            send_beat(store, &new(device_id, (2, minute)), minutes(minute));
        }
        let now = evaluation(minutes(minute));
        decided.extend(commit(store, |store| evaluate(store, &"r1".parse().unwrap(), now)));
    }
    decided
}

/// Guarantee: devices that only a watch holds are free for the next rollout, which ends the watch over them: what happens to them
/// later is not blamed on the first release, and what they had proven before stays.
pub fn a_watched_device_is_free_for_the_next_rollout(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = completed(store, reader, &[("KS-1", "n"), ("KS-2", "n")]);
    active(store, "fw-3", 3);
    let release = reader.release(&"fw-3".parse().unwrap()).unwrap().unwrap();
    assert!(reader.candidates(&release, &named(&["KS-1"])).unwrap()[0].open_rollout.is_none());
    create(store, &new_rollout(reader, "r2", "fw-3", &[("KS-1", 0, 100)])).unwrap();
    let taken = reader.candidates(&release, &Selector::default()).unwrap();
    let taken: Vec<_> = taken.into_iter().map(|device| device.open_rollout.map(|id| id.to_string())).collect();
    assert_eq!(taken, [Some("r2".to_owned()), None]);
    assert_eq!(reader.tally(rollout, minutes(10)).unwrap().silent(), 1, "KS-2 alone");
    let watched = commit(store, |store| rules::updates::watched(store, rollout, minutes(10)));
    assert_eq!(watched.iter().map(|record| record.device_id.as_str()).collect::<Vec<_>>(), ["KS-2"]);
    assert!(!send_beat(store, &old("KS-1", (3, 1)), minutes(1)).is_update_further);
    assert!(send_beat(store, &old("KS-2", (3, 1)), minutes(1)).is_update_further);
    assert_eq!(states(reader, rollout), [S::Confirmed, S::RolledBack], "KS-1 has left");
    assert_eq!(reader.open_rollout_ids().unwrap().len(), 2, "the watch goes on");
}

/// Guarantee: a device that falls silent after completion is a late failure, and is reported.
pub fn a_device_that_dies_after_completion_is_a_late_failure(store: &mut impl Store, reader: &mut impl StoreReader) {
    let devices = [("KS-1", "n"), ("KS-2", "n"), ("KS-3", "n"), ("KS-4", "s"), ("KS-5", "s"), ("KS-6", "s")];
    let rollout = completed(store, reader, &devices);
    let others = ["KS-2", "KS-3", "KS-4", "KS-5", "KS-6"];
    assert_eq!(live(store, &others, 1..=60), [""; 0], "an hour of silence is allowed");
    assert_eq!(live(store, &others, 61..=62), ["alert", "late"], "one of six is above 10 %");
    assert_eq!(states(reader, rollout)[0], S::Lost);
    let decided = reader.decisions(rollout, 0, 99).unwrap();
    assert!(
        decided.iter().any(|decision| decision.why == "1 device failed after completion; 1 reading of the gates fails")
    );
    let audit = reader.audit(&crate::store::audit::AuditFilter::default(), 0, 99).unwrap();
    assert!(audit.iter().any(|line| line.action == "rollout.alert"), "{audit:?}");
}

/// Guarantee: after completion, when hardly a device without the release is left, a site whose devices are all silent is offline and
/// excused; if most sites are, it is the release.
pub fn an_offline_site_is_excused_after_completion(store: &mut impl Store, reader: &mut impl StoreReader) {
    let devices = [("KS-1", "n"), ("KS-2", "n"), ("KS-3", "n"), ("KS-4", "s"), ("KS-5", "s"), ("KS-6", "s")];
    let rollout = completed(store, reader, &devices);
    let south = ["KS-4", "KS-5", "KS-6"];
    assert_eq!(live(store, &south, 1..=62), [""; 0], "an hour of silence is allowed");
    assert_eq!(live(store, &south, 63..=180), ["alert"], "what is not judged is said, once");
    assert_eq!(states(reader, rollout), [S::Confirmed; 6]);
    let State { dark_since, dark_until, .. } = stored(reader, "r1").state;
    assert_eq!((dark_since["n"], dark_until["n"]), (minutes(3), minutes(180)));
    let decided = reader.decisions(rollout, 0, 99).unwrap();
    let said = format!("3 of 3 devices with the release at n since {};", minutes(3));
    assert!(decided.iter().any(|decision| decision.what == "alert" && decision.why.contains(&said)), "{decided:?}");
    // Then the other site as well: that is no network outage.
    assert!(live(store, &[], 181..=245).contains(&"alert"));
    assert_eq!(states(reader, rollout)[3..], [S::Lost; 3]);
}

/// Guarantee: a completed rollout can be aborted as long as its devices are watched, and not later.
pub fn a_watched_rollout_can_be_aborted_until_its_watch_ends(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = completed(store, reader, &[("KS-1", "n"), ("KS-2", "n")]);
    let abort = |store: &mut _, minute| {
        let order =
            OperatorOrder { order: Order::Abort { roll_back: false }, seen: None, why: "it reboots".to_owned() };
        let by = Actor { at: minutes(minute), ..by() };
        let now = evaluation(minutes(minute));
        commit(store, |store| rules::rollouts::order(store, &"r1".parse().unwrap(), &order, &by, now)).unwrap()
    };
    live(store, &["KS-1", "KS-2"], 1..=2);
    assert_eq!(abort(store, 3).unwrap(), ["aborted"]);
    live(store, &["KS-1", "KS-2"], 4..=4);
    assert!(stored(reader, "r1").state.is_closed);
    let state = State { status: Status::Completed, ..stored(reader, "r1").state };
    save(store, rollout, &state);
    assert!(abort(store, 5).is_err(), "it is closed");
}
