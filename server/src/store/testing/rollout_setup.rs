//! Releases, rollouts and devices for the guarantees about them.

use std::time::Duration;

use ks_protocol::{
    id::Sequence,
    message::{FirmwareStatus, Heartbeat, Offer, UpdateStep},
    text::{Sha256, Text},
    time::UnixMs,
};

use super::{AT, by, commit, hot, id, named, new_device, record, registration, sample_beat, two_devices};
use crate::{
    rollout::{
        policy::Policy,
        share::Place,
        step::{Decision, State},
        update::{Update, UpdateState},
    },
    rules::{self, updates::Change},
    store::{
        Actor, Denied, Store, StoreError, StoreReader, Transaction,
        audit::chain::{Audited, note},
        devices::Part,
        heartbeats::Due,
        releases::{NewRelease, ReleaseChange, ReleaseRecord, ReleaseRefused, ReleaseState},
        rollouts::{NewRollout, NextState, RolloutRecord, RolloutRefused, Target},
        updates::{Offering, StatusReport, StatusTaken, UpdateFilter, UpdateRecord},
    },
};

/// The artifact of every release here.
pub(super) const ARTIFACT: Sha256 = Sha256([7; 32]);

pub(super) fn minutes(minutes: u64) -> UnixMs {
    AT + Duration::from_mins(minutes)
}

pub(super) fn by_at(at: UnixMs) -> Actor {
    Actor { at, ..by() }
}

/// The store does not parse manifests.
pub(super) fn manifest_of(release_id: &str) -> String {
    format!("manifest of {release_id}\nFW_SIG: signed")
}

/// The line of a change that is made without its rule.
pub(super) fn noted(store: &mut dyn Transaction) -> Result<Audited, StoreError> {
    note(store, "rollout.test", "r1", "", &by())
}

/// Gives a rollout a state, as a decision would.
pub(super) fn save(store: &mut impl Store, rollout: i64, state: &State) {
    commit(store, |store| {
        let noted = noted(store)?;
        store.save_rollout(rollout, NextState::decided(state, &noted))
    });
}

pub(super) fn close(store: &mut impl Store, rollout: i64) {
    let state = State { is_closed: true, ..State::new(AT) };
    commit(store, |store| {
        let noted = noted(store)?;
        store.close_rollout(rollout, NextState::decided(&state, &noted))
    });
}

/// Adds a decision to the trace of the rollout r1.
pub(super) fn decide(store: &mut impl Store, rollout: i64, decision: &Decision, by: &Actor) {
    commit(store, |store| {
        let noted = rules::rollouts::note_decision(store, &"r1".parse().unwrap(), decision, by)?;
        store.insert_decision(rollout, decision, by, &noted)
    });
}

pub(super) fn new_release(release_id: &str, release_counter: u64) -> NewRelease {
    NewRelease {
        release_id: release_id.parse().unwrap(),
        product: "ks-terminal".to_owned(),
        version: format!("{release_counter}.0.0"),
        release_counter,
        sha256: ARTIFACT,
        manifest: format!("draft of {release_id}"),
    }
}

pub(super) fn draft(store: &mut impl Store, new: &NewRelease) -> Result<(), ReleaseRefused> {
    commit(store, |store| rules::releases::draft(store, new, &by()))
}

pub(super) fn change_with(
    store: &mut impl Store,
    release_id: &str,
    state: ReleaseState,
    manifest: Option<&str>,
    at: UnixMs,
) -> Result<(), ReleaseRefused> {
    let reason = format!("to {}", state.as_str());
    let change =
        ReleaseChange { release_id: release_id.parse().unwrap(), state, manifest: manifest.map(str::to_owned), reason };
    commit(store, |store| rules::releases::change(store, &change, &by_at(at)))
}

pub(super) fn change(store: &mut impl Store, release_id: &str, state: ReleaseState) -> Result<(), ReleaseRefused> {
    let signed = manifest_of(release_id);
    change_with(store, release_id, state, (state == ReleaseState::Staged).then_some(signed.as_str()), AT)
}

pub(super) fn active(store: &mut impl Store, release_id: &str, release_counter: u64) {
    commit(store, |store| rules::releases::keep_artifact(store, ARTIFACT, 1_000, &by()));
    draft(store, &new_release(release_id, release_counter)).unwrap();
    change(store, release_id, ReleaseState::Staged).unwrap();
    change(store, release_id, ReleaseState::Active).unwrap();
}

/// Two stages; a quarter of an hour confirms.
pub(super) fn policy() -> Policy {
    serde_json::from_value(serde_json::json!({
        "stages": [
            { "share_bp": 5_000, "min_executed": 1, "bake_s": 60 },
            { "share_bp": 10_000, "min_executed": 1, "bake_s": 60 },
        ],
        "gates": [{ "threshold_bp": 1_000, "min_executed": 1, "test": { "kind": "raw" } }],
    }))
    .unwrap()
}

/// The row of a device, as the store returns it for planning a rollout.
pub(super) fn row_of(reader: &mut impl StoreReader, release_id: &str, device_id: &str) -> i64 {
    let release = stored_release(reader, release_id);
    let candidates = reader.candidates(&release, &named(&[device_id])).unwrap();
    assert_eq!(candidates.len(), 1, "{device_id}");
    candidates[0].row
}

/// A rollout to make: each device with its stage, and the share at which it enters.
pub(super) fn new_rollout(
    reader: &mut impl StoreReader,
    rollout_id: &str,
    release_id: &str,
    devices: &[(&str, usize, u16)],
) -> NewRollout {
    let mut targets = Vec::new();
    for (device_id, stage, enters_bp) in devices {
        let device = reader.device(&id(device_id)).unwrap().unwrap();
        targets.push(Target {
            row: row_of(reader, release_id, device_id),
            stage: *stage,
            place: Place { bucket: 5, enters_bp: *enters_bp },
            model: device.model,
            site: device.site,
        });
    }
    NewRollout {
        rollout_id: rollout_id.parse().unwrap(),
        release_id: release_id.parse().unwrap(),
        policy: policy(),
        state: State::new(AT),
        targets,
        why: "it is time".to_owned(),
    }
}

pub(super) fn create(store: &mut impl Store, new: &NewRollout) -> Result<(), RolloutRefused> {
    commit(store, |store| rules::rollouts::create(store, new, &by()))
}

/// A rollout, as it is stored.
pub(super) fn stored(reader: &mut impl StoreReader, rollout_id: &str) -> RolloutRecord {
    reader.rollout(&rollout_id.parse().unwrap()).unwrap().unwrap()
}

/// A release, as it is stored.
pub(super) fn stored_release(reader: &mut impl StoreReader, release_id: &str) -> ReleaseRecord {
    reader.release(&release_id.parse().unwrap()).unwrap().unwrap()
}

/// `KS-1` (first stage) and `KS-2` (second), seen at [`AT`], in the rollout `r1` of the ACTIVE release `fw-2`. Returns its row.
pub(super) fn rolled_out(store: &mut impl Store, reader: &mut impl StoreReader) -> i64 {
    two_devices(store);
    for device_id in ["KS-1", "KS-2"] {
        assert_eq!(send_beat(store, &old(device_id, (1, 2)), AT).firmware, None);
    }
    active(store, "fw-2", 2);
    let new = new_rollout(reader, "r1", "fw-2", &[("KS-1", 0, 100), ("KS-2", 1, 9_000)]);
    create(store, &new).unwrap();
    stored(reader, "r1").row
}

/// An offering to all devices.
pub(super) fn everybody() -> Offering {
    Offering {
        count: 100,
        stage: 1,
        site_unavailable_max: None,
        site_unavailable_max_bp: None,
        heard_since: AT,
        at: AT,
    }
}

pub(super) fn offer(store: &mut impl Store, rollout: i64, offering: Offering) -> u32 {
    commit(store, |store| rules::updates::offer(store, rollout, &offering))
}

/// A heartbeat of a device that runs the old firmware.
pub(super) fn old(device_id: &str, pair: (u32, u64)) -> Heartbeat {
    sample_beat(device_id, pair)
}

/// A heartbeat of a device that runs the new one.
pub(super) fn new(device_id: &str, pair: (u32, u64)) -> Heartbeat {
    let mut beat = sample_beat(device_id, pair);
    (beat.firmware.version, beat.firmware.release_counter) = (Text::truncated("2.0.0"), 2);
    beat
}

pub(super) fn send_beat(store: &mut impl Store, beat: &Heartbeat, at: UnixMs) -> Due {
    commit(store, |store| record(store, beat, at)).unwrap()
}

pub(super) fn the_offer() -> Offer {
    Offer { manifest: Text::truncated(&manifest_of("fw-2")) }
}

pub(super) fn status(device_id: &str, pair: (u32, u64), step: UpdateStep) -> FirmwareStatus {
    let Sequence { boot_epoch, seq } = Sequence::new(pair.0, pair.1);
    FirmwareStatus {
        kind: Default::default(),
        device_id: id(device_id),
        boot_epoch,
        seq,
        sent_at: AT,
        release_id: "fw-2".parse().unwrap(),
        step,
        received_bytes: 500,
        class: None,
        detail: Text::truncated(&format!("said {step:?}")),
    }
}

pub(super) fn send_status(store: &mut impl Store, status: &FirmwareStatus, at: UnixMs) -> Result<StatusTaken, Denied> {
    commit(store, |store| hot(store, StatusReport { status: status.clone(), at }))
}

/// A device reports a step at [`AT`]; returns whether it may go on.
pub(super) fn goes_on(store: &mut impl Store, device_id: &str, pair: (u32, u64), step: UpdateStep) -> bool {
    send_status(store, &status(device_id, pair, step), AT).unwrap().go_on
}

pub(super) fn updates(reader: &mut impl StoreReader, rollout: i64) -> Vec<UpdateRecord> {
    reader.updates(rollout, &UpdateFilter::default(), 0, 100).unwrap()
}

pub(super) fn states(reader: &mut impl StoreReader, rollout: i64) -> Vec<UpdateState> {
    updates(reader, rollout).into_iter().map(|record| record.update.state).collect()
}

/// Sets the states of devices' updates.
pub(super) fn put(store: &mut impl Store, reader: &mut impl StoreReader, rollout: i64, wanted: &[(&str, UpdateState)]) {
    for record in updates(reader, rollout) {
        if let Some((_, state)) = wanted.iter().find(|(device_id, _)| *device_id == record.device_id.as_str()) {
            let update = Update { state: *state, ..record.update };
            let change = Change { rollout, device: record.device_row, before: record.update, next: update };
            commit(store, |store| rules::updates::save(store, &[change]));
        }
    }
}

/// Whitelists and registers more devices, each at its site, seen at [`AT`].
pub(super) fn more_devices(store: &mut impl Store, devices: &[(&str, u8, &str)]) {
    for (device_id, seed, site) in devices {
        let new = crate::store::devices::NewDevice { site: (*site).to_owned(), ..new_device(device_id, *seed) };
        commit(store, |store| rules::devices::import(store, std::slice::from_ref(&new), Part::whole(1), &by()))
            .unwrap();
        commit(store, |store| rules::devices::register(store, &registration(device_id, *seed, 1), &by())).unwrap();
        send_beat(store, &old(device_id, (1, 2)), AT);
    }
}
