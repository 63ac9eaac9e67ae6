//! Guarantees about releases, rollouts and the updates of their devices.

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::{
    id::{ReleaseId, RolloutId, Sequence},
    message::{FirmwareStatus, Heartbeat, Offer, UpdateClass, UpdateStep},
    text::{Sha256, Text},
    time::UnixMs,
};

use super::{AT, by, commit, hot, id, named, new_device, record, registration, sample_beat, two_devices};
use crate::{
    rollout::{
        gate::{Judged, Verdict},
        policy::Policy,
        reading::GateReading,
        share::Place,
        status::Status,
        step::{Decision, State},
        tally::{Cell, Tally},
        update::{Update, UpdateState},
    },
    rules::{self, updates::Change},
    store::{
        Actor, Denied, Store, StoreReader,
        audit::AuditFilter,
        devices::{Part, Selector},
        heartbeats::Due,
        releases::{NewRelease, ReleaseChange, ReleaseRecord, ReleaseRefused, ReleaseState},
        rollouts::{
            NewRollout, Offering, RolloutRecord, RolloutRefused, StatusReport, StatusTaken, Target, UpdateFilter,
            UpdateRecord,
        },
    },
};

/// The artifact of every release here.
const ARTIFACT: Sha256 = Sha256([7; 32]);

fn minutes(minutes: u64) -> UnixMs {
    AT + Duration::from_mins(minutes)
}

fn by_at(at: UnixMs) -> Actor {
    Actor { at, ..by() }
}

/// The store does not parse manifests.
fn manifest_of(release_id: &str) -> String {
    format!("manifest of {release_id}\nFW_SIG: signed")
}

fn new_release(release_id: &str, release_counter: u64) -> NewRelease {
    NewRelease {
        release_id: release_id.parse().unwrap(),
        product: "ks-terminal".to_owned(),
        version: format!("{release_counter}.0.0"),
        release_counter,
        sha256: ARTIFACT,
        manifest: format!("draft of {release_id}"),
    }
}

fn draft(store: &mut impl Store, new: &NewRelease) -> Result<(), ReleaseRefused> {
    commit(store, |store| rules::releases::draft(store, new, &by()))
}

fn change_with(
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

fn change(store: &mut impl Store, release_id: &str, state: ReleaseState) -> Result<(), ReleaseRefused> {
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
fn policy() -> Policy {
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
fn row_of(reader: &mut impl StoreReader, release_id: &str, device_id: &str) -> i64 {
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
fn stored_release(reader: &mut impl StoreReader, release_id: &str) -> ReleaseRecord {
    reader.release(&release_id.parse().unwrap()).unwrap().unwrap()
}

/// `KS-1` (first stage) and `KS-2` (second), seen at [`AT`], in the rollout `r1` of the ACTIVE release `fw-2`. Returns its row.
fn rolled_out(store: &mut impl Store, reader: &mut impl StoreReader) -> i64 {
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
    Offering { count: 100, stage: 1, site_unavailable_max: None, heard_since: AT, at: AT }
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

fn the_offer() -> Offer {
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

fn send_status(store: &mut impl Store, status: &FirmwareStatus, at: UnixMs) -> Result<StatusTaken, Denied> {
    commit(store, |store| hot(store, StatusReport { status: status.clone(), at }))
}

/// A device reports a step at [`AT`]; returns whether it may go on.
fn goes_on(store: &mut impl Store, device_id: &str, pair: (u32, u64), step: UpdateStep) -> bool {
    send_status(store, &status(device_id, pair, step), AT).unwrap().go_on
}

fn updates(reader: &mut impl StoreReader, rollout: i64) -> Vec<UpdateRecord> {
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

/// Guarantee: a release goes through DRAFT, STAGED, ACTIVE and REVOKED in this order; its name is unique, and once it is staged
/// nothing of it changes. A repeated request changes nothing.
pub fn a_release_keeps_its_order_of_states_and_never_changes(store: &mut impl Store, reader: &mut impl StoreReader) {
    use ReleaseState as S;
    let name: ReleaseId = "fw-2".parse().unwrap();
    let refused = |is, wanted| Err(ReleaseRefused::State { release_id: "fw-2".parse().unwrap(), is, wanted });
    assert_eq!(change(store, "fw-2", S::Staged), Err(ReleaseRefused::Unknown(name.clone())));
    commit(store, |store| rules::releases::keep_artifact(store, ARTIFACT, 1_000, &by()));
    assert_eq!([draft(store, &new_release("fw-2", 2)), draft(store, &new_release("fw-2", 2))], [Ok(()), Ok(())]);
    let taken = Err(ReleaseRefused::NameTaken(name.clone()));
    assert_eq!(draft(store, &NewRelease { manifest: "another".to_owned(), ..new_release("fw-2", 3) }), taken);
    assert_eq!(change(store, "fw-2", S::Active), refused(S::Draft, S::Active), "unsigned");
    assert_eq!(change_with(store, "fw-2", S::Staged, Some("signed"), minutes(1)), Ok(()));
    let staged = reader.release(&name).unwrap().unwrap();
    assert_eq!((staged.state, staged.manifest.as_str(), staged.reason.as_str()), (S::Staged, "signed", "to STAGED"));
    assert_eq!((staged.created_at, staged.changed_at), (AT, minutes(1)));
    assert_eq!(change_with(store, "fw-2", S::Staged, Some("signed anew"), minutes(2)), Ok(()), "said again");
    assert_eq!(draft(store, &NewRelease { manifest: "another".to_owned(), ..new_release("fw-2", 2) }), taken);
    assert_eq!(reader.release(&name).unwrap().unwrap(), staged);
    assert_eq!(change(store, "fw-2", S::Draft), refused(S::Staged, S::Draft));
    assert_eq!(change(store, "fw-2", S::Active), Ok(()));
    for back in [S::Draft, S::Staged] {
        assert_eq!(change(store, "fw-2", back), refused(S::Active, back));
    }
    assert_eq!(change_with(store, "fw-2", S::Revoked, None, minutes(3)), Ok(()));
    for back in [S::Draft, S::Staged, S::Active] {
        assert_eq!(change(store, "fw-2", back), refused(S::Revoked, back));
    }
    let revoked = reader.release(&name).unwrap().unwrap();
    assert_eq!((revoked.state, revoked.changed_at), (S::Revoked, minutes(3)));
    assert_eq!((revoked.manifest, revoked.release_counter, revoked.sha256), ("signed".to_owned(), 2, ARTIFACT));
    let steps = AuditFilter { action: Some("release.".to_owned()), ..AuditFilter::default() };
    assert_eq!(reader.audit(&steps, 0, 99).unwrap().len(), 4, "one line per change, none for repeats");
    draft(store, &new_release("fw-3", 3)).unwrap();
    assert_eq!(change(store, "fw-3", S::Revoked), Ok(()), "a draft can be revoked too");
    let listed = reader.releases(0, 9).unwrap();
    assert_eq!(listed.iter().map(|release| release.release_id.as_str()).collect::<Vec<_>>(), ["fw-2", "fw-3"]);
    assert_eq!(reader.releases(listed[0].row, 9).unwrap(), listed[1..], "paged by row");
}

/// Guarantee: a counter of a product belongs to one release, even after that is revoked.
pub fn a_counter_serves_one_release(store: &mut impl Store, reader: &mut impl StoreReader) {
    draft(store, &new_release("fw-2", 2)).unwrap();
    let taken = Err(ReleaseRefused::CounterTaken("fw-2".parse().unwrap()));
    assert_eq!(draft(store, &new_release("fw-2b", 2)), taken);
    change(store, "fw-2", ReleaseState::Revoked).unwrap();
    assert_eq!(draft(store, &new_release("fw-2b", 2)), taken);
    assert_eq!(reader.release(&"fw-2b".parse().unwrap()).unwrap(), None);
    let of_another = NewRelease { product: "ks-gate".to_owned(), ..new_release("gate-2", 2) };
    assert_eq!([draft(store, &of_another), draft(store, &new_release("fw-3", 3))], [Ok(()), Ok(())]);
}

/// Guarantee: a release is staged only if its artifact is stored; an artifact is stored once.
pub fn staging_requires_the_artifact(store: &mut impl Store, reader: &mut impl StoreReader) {
    draft(store, &new_release("fw-2", 2)).unwrap();
    commit(store, |store| rules::releases::keep_artifact(store, Sha256([8; 32]), 5, &by()));
    assert_eq!(change(store, "fw-2", ReleaseState::Staged), Err(ReleaseRefused::NoArtifact(ARTIFACT)));
    assert_eq!(reader.release(&"fw-2".parse().unwrap()).unwrap().unwrap().state, ReleaseState::Draft);
    assert_eq!(reader.artifact_bytes(ARTIFACT).unwrap(), None);
    for _ in 0..2 {
        commit(store, |store| rules::releases::keep_artifact(store, ARTIFACT, 1_000, &by()));
    }
    assert_eq!(reader.artifact_bytes(ARTIFACT).unwrap(), Some(1_000));
    assert_eq!(change(store, "fw-2", ReleaseState::Staged), Ok(()));
    let uploads = AuditFilter { action: Some("artifact.".to_owned()), ..AuditFilter::default() };
    assert_eq!(reader.audit(&uploads, 0, 99).unwrap().len(), 2, "one line for each artifact");
}

/// Guarantee: devices may fetch an artifact while a release that needs it is ACTIVE, and at no other time.
pub fn an_artifact_is_offered_only_while_a_release_is_active(store: &mut impl Store, reader: &mut impl StoreReader) {
    use ReleaseState as S;
    commit(store, |store| rules::releases::keep_artifact(store, ARTIFACT, 1_000, &by()));
    assert_eq!(reader.offered_artifact_bytes(ARTIFACT).unwrap(), None);
    draft(store, &new_release("fw-2", 2)).unwrap();
    for (state, offered) in [(S::Staged, None), (S::Active, Some(1_000)), (S::Revoked, None)] {
        change(store, "fw-2", state).unwrap();
        assert_eq!(reader.offered_artifact_bytes(ARTIFACT).unwrap(), offered, "{state:?}");
    }
    assert_eq!(reader.artifact_bytes(ARTIFACT).unwrap(), Some(1_000), "it stays stored");
    active(store, "fw-3", 3);
    assert_eq!(reader.offered_artifact_bytes(ARTIFACT).unwrap(), Some(1_000), "another release needs it too");
}

/// Guarantee: a device is in one open rollout at most; a second rollout with it is not created at all. Nor is one with a used name,
/// or of a release that is not ACTIVE.
pub fn a_device_is_never_in_two_rollouts(store: &mut impl Store, reader: &mut impl StoreReader) {
    two_devices(store);
    active(store, "fw-2", 2);
    active(store, "fw-3", 3);
    let first = new_rollout(reader, "r1", "fw-2", &[("KS-1", 0, 100)]);
    assert_eq!(
        [create(store, &first), create(store, &first)],
        [Ok(()), Err(RolloutRefused::NameTaken("r1".parse().unwrap()))]
    );
    let release = reader.release(&"fw-3".parse().unwrap()).unwrap().unwrap();
    let candidates = reader.candidates(&release, &Selector::default()).unwrap();
    let taken: Vec<_> =
        candidates.iter().map(|device| (device.device_id.as_str(), device.open_rollout.is_some())).collect();
    assert_eq!(taken, [("KS-1", true), ("KS-2", false)]);
    let both = new_rollout(reader, "r2", "fw-3", &[("KS-2", 0, 100), ("KS-1", 0, 200)]);
    assert_eq!(create(store, &both), Err(RolloutRefused::InAnother));
    assert_eq!(reader.rollout(&"r2".parse().unwrap()).unwrap(), None, "nothing of it is stored");
    assert!(reader.candidates(&release, &named(&["KS-2"])).unwrap()[0].open_rollout.is_none());
    draft(store, &new_release("fw-4", 4)).unwrap();
    let other = new_rollout(reader, "r2", "fw-4", &[("KS-2", 0, 100)]);
    assert_eq!(create(store, &other), Err(RolloutRefused::NotActive("fw-4".parse().unwrap())));
    assert_eq!(create(store, &new_rollout(reader, "r2", "fw-3", &[("KS-2", 0, 100)])), Ok(()));
    let open = reader.open_rollout_ids().unwrap();
    assert_eq!(open.iter().map(RolloutId::as_str).collect::<Vec<_>>(), ["r1", "r2"]);
    let of_one = commit(store, |store| store.open_rollouts_of(&"fw-3".parse().unwrap()));
    assert_eq!(of_one, ["r2".parse().unwrap()]);
    let rollouts = reader.rollouts(0, 9).unwrap();
    assert_eq!(rollouts[0], stored(reader, "r1"));
    assert_eq!((&rollouts[0].policy, &rollouts[0].state), (&first.policy, &first.state), "as they were given");
    assert_eq!(reader.rollouts(rollouts[0].row, 9).unwrap(), rollouts[1..], "paged by row");
}

/// Guarantee: offers go by stage, then by share, up to a limit; at each site a limited number of devices is under way or lost.
pub fn offers_follow_the_order_and_the_site_budget(store: &mut impl Store, reader: &mut impl StoreReader) {
    use UpdateState as S;
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "s"), ("KS-5", 5, "s")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 300), ("KS-2", 0, 200), ("KS-3", 0, 100), ("KS-4", 0, 400), ("KS-5", 1, 9_000)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    let first_stage = Offering { stage: 0, ..everybody() };
    assert_eq!(offer(store, rollout, Offering { count: 2, ..first_stage }), 2);
    let (no, yes) = (S::Pending, S::Offered);
    assert_eq!(states(reader, rollout), [no, yes, yes, no, no], "the least share comes first");
    let budget = |most| Offering { site_unavailable_max: Some(most), ..first_stage };
    assert_eq!(offer(store, rollout, budget(2)), 1, "the north is at its limit, the south is not");
    assert_eq!(states(reader, rollout), [no, yes, yes, yes, no]);
    put(store, reader, rollout, &[("KS-2", S::Confirmed), ("KS-3", S::Lost)]);
    assert_eq!(offer(store, rollout, budget(1)), 0, "a lost device counts as out of service");
    for under_way in [S::Downloading, S::Installing, S::Confirming] {
        put(store, reader, rollout, &[("KS-3", under_way)]);
        assert_eq!(offer(store, rollout, budget(1)), 0, "{under_way:?}");
    }
    put(store, reader, rollout, &[("KS-3", S::Failed)]);
    assert_eq!(offer(store, rollout, budget(1)), 1, "a failed device runs the old firmware");
    assert_eq!(states(reader, rollout), [yes, S::Confirmed, S::Failed, yes, no]);
    assert_eq!(offer(store, rollout, first_stage), 0, "the stage of the last one has not begun");
    let at = minutes(5);
    assert_eq!(offer(store, rollout, Offering { at, ..everybody() }), 1);
    let last = updates(reader, rollout).remove(4);
    let Update { state, offered_at, progress_at, boot_epoch, to_counter, .. } = last.update;
    assert_eq!((state, offered_at, progress_at, boot_epoch, to_counter), (S::Offered, Some(at), at, 1, 2));
}

/// Guarantee: a device that was not seen recently, or that is revoked, is skipped in favour of the next one.
pub fn absent_devices_get_no_offer(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    more_devices(store, &[("KS-3", 3, "north")]); // registered, and in no rollout
    send_beat(store, &old("KS-2", (1, 3)), minutes(10));
    let one = Offering { count: 1, heard_since: minutes(9), at: minutes(10), ..everybody() };
    assert_eq!(offer(store, rollout, one), 1);
    assert_eq!(states(reader, rollout), [UpdateState::Pending, UpdateState::Offered], "KS-1 is away");
    assert_eq!(offer(store, rollout, one), 0);
    send_beat(store, &old("KS-1", (1, 3)), minutes(10));
    commit(store, |store| rules::devices::revoke(store, &named(&["KS-1"]), "stolen", &by()));
    assert_eq!(offer(store, rollout, one), 0, "a revoked device gets no offer");
    assert_eq!(states(reader, rollout), [UpdateState::Withdrawn, UpdateState::Offered]);
}

/// Guarantee: every heartbeat of a device with an offer is answered with the signed manifest, byte for byte, until it has begun to
/// install; other heartbeats are not.
pub fn a_heartbeat_carries_the_offer_until_installation(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    assert_eq!(send_beat(store, &old("KS-1", (1, 3)), AT).firmware, None, "its turn has not come");
    assert_eq!(offer(store, rollout, Offering { stage: 0, ..everybody() }), 1);
    for seq in [4, 5] {
        assert_eq!(send_beat(store, &old("KS-1", (1, seq)), AT), Due { firmware: Some(the_offer()), ..Due::default() });
    }
    assert_eq!(send_beat(store, &old("KS-2", (1, 4)), AT).firmware, None, "of the next stage");
    assert!(goes_on(store, "KS-1", (1, 6), UpdateStep::Downloading));
    assert_eq!(
        send_beat(store, &old("KS-1", (1, 7)), AT).firmware,
        Some(the_offer()),
        "its download may have been interrupted"
    );
    assert!(goes_on(store, "KS-1", (1, 8), UpdateStep::Installing));
    assert_eq!(send_beat(store, &old("KS-1", (1, 9)), AT).firmware, None);
    assert_eq!(states(reader, rollout), [UpdateState::Installing, UpdateState::Pending]);
}

/// Guarantee: while a rollout is paused, offers that no device has accepted are held back and downloads continue; a revoked release
/// is not offered and no device goes on with it, whatever the rollout's state.
pub fn a_paused_rollout_makes_no_new_offer_and_a_revoked_release_none(
    store: &mut impl Store,
    reader: &mut impl StoreReader,
) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    assert!(goes_on(store, "KS-2", (1, 3), UpdateStep::Downloading));
    let save = |store: &mut _, status| {
        let state = State { status, ..State::new(AT) };
        commit(store, |store| store.save_rollout(rollout, &state));
    };
    let asked =
        |store: &mut _, seq| ["KS-1", "KS-2"].map(|device| send_beat(store, &old(device, (1, seq)), AT).firmware);
    assert_eq!(asked(store, 4), [Some(the_offer()), Some(the_offer())]);
    save(store, Status::Paused);
    assert_eq!(asked(store, 5), [None, Some(the_offer())]);
    assert_eq!(stored(reader, "r1").state.status, Status::Paused);
    save(store, Status::Waiting);
    assert_eq!(asked(store, 6), [Some(the_offer()), Some(the_offer())]);
    save(store, Status::Aborted);
    assert_eq!(asked(store, 7), [None, None]);
    assert!(!goes_on(store, "KS-2", (1, 8), UpdateStep::Downloading));
    save(store, Status::Running);
    assert_eq!(asked(store, 9), [Some(the_offer()), Some(the_offer())]);
    change(store, "fw-2", ReleaseState::Revoked).unwrap();
    assert_eq!(asked(store, 10), [None, None]);
    assert!(!goes_on(store, "KS-1", (1, 11), UpdateStep::Downloading));
    assert!(!goes_on(store, "KS-2", (1, 11), UpdateStep::Downloading));
    assert!(!goes_on(store, "KS-2", (1, 12), UpdateStep::Installing), "nothing is in a slot yet");
    assert!(goes_on(store, "KS-2", (1, 13), UpdateStep::Rebooting), "a device that boots into it can't be stopped");
}

/// Guarantee: a device's report advances its update and is stored; heartbeats with the new counter after a boot confirm it, and the
/// heartbeat that advances it reports so. A report on another release changes nothing.
pub fn beats_confirm_and_statuses_advance_an_update(store: &mut impl Store, reader: &mut impl StoreReader) {
    use UpdateState as S;
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    let taken = |has_changed| Ok(StatusTaken { go_on: true, has_changed });
    assert_eq!(send_status(store, &status("KS-1", (1, 3), UpdateStep::Downloading), minutes(1)), taken(true));
    assert_eq!(
        send_status(store, &status("KS-1", (1, 4), UpdateStep::Downloading), minutes(2)),
        taken(false),
        "no further"
    );
    let of_another =
        FirmwareStatus { release_id: "fw-9".parse().unwrap(), ..status("KS-1", (1, 5), UpdateStep::Failed) };
    assert_eq!(send_status(store, &of_another, minutes(2)), Ok(StatusTaken { go_on: false, has_changed: false }));
    assert_eq!(states(reader, rollout), [S::Downloading, S::Offered]);
    assert_eq!(updates(reader, rollout)[0].update.progress_at, minutes(2), "progress was recorded all the same");
    assert_eq!(send_status(store, &status("KS-1", (1, 6), UpdateStep::Installing), minutes(3)), taken(true));
    let first = send_beat(store, &new("KS-1", (2, 1)), minutes(4));
    assert_eq!((first.firmware, first.is_update_further), (None, true));
    assert!(!send_beat(store, &new("KS-1", (2, 2)), minutes(18)).is_update_further);
    assert_eq!(states(reader, rollout), [S::Confirming, S::Offered]);
    assert!(send_beat(store, &new("KS-1", (2, 3)), minutes(19)).is_update_further, "a quarter of an hour");
    let failed =
        FirmwareStatus { class: Some(UpdateClass::BadSignature), ..status("KS-2", (1, 3), UpdateStep::Rejected) };
    assert!(send_status(store, &failed, minutes(20)).unwrap().has_changed);
    let [one, other] = updates(reader, rollout).try_into().unwrap();
    assert_eq!((one.update.state, one.update.ended_at, one.stage), (S::Confirmed, Some(minutes(19)), 0));
    assert_eq!((one.update.confirming_since, one.last_seen_at), (Some(minutes(4)), Some(minutes(19))));
    assert_eq!((other.update.state, other.update.class), (S::Rejected, Some(UpdateClass::BadSignature)));
    assert_eq!((other.update.ended_at, other.detail.as_str(), other.stage), (Some(minutes(20)), "said Rejected", 1));
    assert_eq!(reader.versions(rollout).unwrap(), [("1.0.0".to_owned(), 1), ("2.0.0".to_owned(), 1)]);
    let which = |state| UpdateFilter { state: Some(state), ..UpdateFilter::default() };
    assert_eq!(reader.updates(rollout, &which(S::Rejected), 0, 9).unwrap(), std::slice::from_ref(&other));
    assert_eq!(reader.updates(rollout, &UpdateFilter::default(), one.device_row, 9).unwrap(), [other], "paged by row");
    let at_site = |site: &str| UpdateFilter { site: Some(site.to_owned()), ..UpdateFilter::default() };
    assert_eq!(reader.updates(rollout, &at_site("south"), 0, 9).unwrap(), []);
    assert_eq!(reader.updates(rollout, &at_site("north"), 0, 1).unwrap(), [one]);
    assert_eq!(send_beat(store, &old("KS-2", (1, 4)), minutes(21)).firmware, None, "an outcome is final");
    assert_eq!(states(reader, rollout), [S::Confirmed, S::Rejected]);
}

/// Guarantee: a confirmed device that comes back with the old firmware has rolled back, as long as its rollout is open.
pub fn a_confirmed_device_is_watched_while_the_rollout_is_open(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    put(store, reader, rollout, &[("KS-1", UpdateState::Confirmed), ("KS-2", UpdateState::Confirmed)]);
    assert!(send_beat(store, &old("KS-1", (2, 1)), minutes(60)).is_update_further);
    assert_eq!(states(reader, rollout), [UpdateState::RolledBack, UpdateState::Confirmed]);
    commit(store, |store| store.close_rollout(rollout));
    assert!(!send_beat(store, &old("KS-2", (2, 1)), minutes(60)).is_update_further);
    assert_eq!(states(reader, rollout), [UpdateState::RolledBack, UpdateState::Confirmed]);
}

/// Guarantee: a tally counts every device in its cell; those that are silent since they began to install are suspects. Devices with running timeouts
/// are watched.
pub fn a_tally_counts_all_devices_and_the_silent_ones(store: &mut impl Store, reader: &mut impl StoreReader) {
    use UpdateState as S;
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "s"), ("KS-4", 4, "s"), ("KS-5", 5, "s")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 1), ("KS-2", 0, 2), ("KS-3", 0, 3), ("KS-4", 1, 4), ("KS-5", 1, 5)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    put(
        store,
        reader,
        rollout,
        &[("KS-1", S::Confirmed), ("KS-2", S::Confirmed), ("KS-3", S::Lost), ("KS-4", S::Installing)],
    );
    send_beat(store, &new("KS-2", (2, 1)), minutes(30));
    let tally = reader.tally(rollout, minutes(30)).unwrap();
    let cell = |stage, site: &str, state, count| Cell {
        stage,
        model: "KS-100".to_owned(),
        site: site.to_owned(),
        state,
        count,
    };
    let mut cells = tally.cells.clone();
    cells.sort_by_key(|cell| (cell.stage, cell.state));
    assert_eq!(
        cells,
        [
            cell(0, "n", S::Confirmed, 2),
            cell(0, "s", S::Lost, 1),
            cell(1, "s", S::Pending, 1),
            cell(1, "s", S::Installing, 1)
        ]
    );
    let suspects = [cell(0, "n", S::Confirmed, 1), cell(1, "s", S::Installing, 1)];
    assert_eq!(tally.suspects, suspects, "KS-1 and KS-4, last seen at the beginning; what was not begun can't be lost");
    assert_eq!(reader.tally(rollout, AT).unwrap().suspects, []);
    assert_eq!(commit(store, |store| store.tally(rollout, Some(minutes(30)))), tally);
    assert_eq!(commit(store, |store| store.tally(rollout, None)), Tally { suspects: Vec::new(), ..tally });
    let watched = |store: &mut _, silent_before| {
        let watched = commit(store, |store| rules::updates::watched(store, rollout, silent_before));
        watched.into_iter().map(|record| record.device_id.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(watched(store, minutes(30)), ["KS-4", "KS-1"]);
    assert_eq!(watched(store, AT), ["KS-4"], "devices seen recently need no watching");
    // However an update moves on, and back, the tally is what the list of updates says.
    put(store, reader, rollout, &[("KS-1", S::RolledBack), ("KS-3", S::Confirmed)]);
    counts_as_listed(reader, rollout);
    put(store, reader, rollout, &[("KS-3", S::Lost), ("KS-4", S::Installing)]);
    commit(store, |store| store.end_updates(rollout, &[S::Pending, S::Installing], S::Halted, minutes(40)));
    counts_as_listed(reader, rollout);
}

/// Compares a rollout's tally with its updates, counted one by one.
fn counts_as_listed(reader: &mut impl StoreReader, rollout: i64) {
    let mut listed: BTreeMap<(usize, String, String, UpdateState), u32> = BTreeMap::new();
    for of in reader.updates(rollout, &UpdateFilter::default(), 0, 1_000).unwrap() {
        *listed.entry((of.stage, of.model, of.site, of.update.state)).or_default() += 1;
    }
    let cells = reader.tally(rollout, AT).unwrap().cells.into_iter();
    let counted = cells.map(|cell| ((cell.stage, cell.model, cell.site, cell.state), cell.count));
    assert_eq!(counted.collect::<BTreeMap<_, _>>(), listed);
}

/// Guarantee: a site's silence is judged by its devices that were seen recently and have not begun to update.
pub fn a_site_is_judged_by_its_bystanders(store: &mut impl Store, reader: &mut impl StoreReader) {
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "n")]);
    active(store, "fw-2", 2);
    create(store, &new_rollout(reader, "r1", "fw-2", &[("KS-1", 0, 1), ("KS-2", 0, 2)])).unwrap();
    let rollout = stored(reader, "r1").row;
    put(store, reader, rollout, &[("KS-1", UpdateState::Installing)]);
    send_beat(store, &old("KS-3", (1, 3)), minutes(10));
    let bystanders = UpdateState::all_that(|state| !state.has_begun());
    let silence = |store: &mut _, since| {
        let silence = commit(store, |store| store.silence(rollout, &bystanders, (since, AT), minutes(5)));
        silence.into_iter().map(|site| (site.site, site.devices, site.silent)).collect::<Vec<_>>()
    };
    assert_eq!(
        silence(store, AT),
        [("n".to_owned(), 3, 2)],
        "KS-2 waits, KS-4 is in no rollout; KS-1 may be rebooting"
    );
    assert_eq!(silence(store, minutes(1)), [("n".to_owned(), 1, 0)], "devices absent before do not count");
}

/// Guarantee: a device that was passed over because it was silent says nothing about its site. How many of all devices of a site are
/// heard is known even if none can tell.
pub fn a_device_that_was_passed_over_is_no_bystander(store: &mut impl Store, reader: &mut impl StoreReader) {
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "n"), ("KS-5", 5, "s")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 1), ("KS-2", 0, 2), ("KS-3", 0, 3), ("KS-4", 1, 4), ("KS-5", 1, 5)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    let bystanders = UpdateState::all_that(|state| !state.has_begun());
    let silence = |store: &mut _| {
        let silence = commit(store, |store| store.silence(rollout, &bystanders, (AT, AT), minutes(5)));
        silence
            .into_iter()
            .map(|site| (site.site, [site.devices, site.silent, site.known, site.heard]))
            .collect::<Vec<_>>()
    };
    let south = ("s".to_owned(), [1, 1, 1, 0]);
    assert_eq!(silence(store), [("n".to_owned(), [4, 4, 4, 0]), south.clone()], "no turn has come yet");
    send_beat(store, &old("KS-1", (1, 3)), minutes(10));
    send_beat(store, &old("KS-3", (1, 3)), minutes(10));
    let first_stage = Offering { stage: 0, heard_since: minutes(9), at: minutes(10), ..everybody() };
    assert_eq!(offer(store, rollout, first_stage), 2, "KS-1 and KS-3");
    let north = ("n".to_owned(), [3, 1, 4, 2]);
    assert_eq!(silence(store), [north, south], "KS-1, KS-3 and KS-4, whose turn comes later; KS-2 was passed over");
}

/// Guarantee: an abort withdraws offers not yet begun, and returns the devices that are downloading; installations continue.
pub fn an_abort_withdraws_offers_and_returns_downloading_devices(
    store: &mut impl Store,
    reader: &mut impl StoreReader,
) {
    use UpdateState as S;
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "n"), ("KS-5", 5, "n")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 1), ("KS-2", 0, 2), ("KS-3", 0, 3), ("KS-4", 0, 4), ("KS-5", 1, 9_000)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    assert_eq!(offer(store, rollout, Offering { stage: 0, ..everybody() }), 4);
    assert!(goes_on(store, "KS-2", (1, 3), UpdateStep::Downloading));
    assert!(goes_on(store, "KS-3", (1, 3), UpdateStep::Installing));
    put(store, reader, rollout, &[("KS-4", S::Failed)]);
    let state = State { status: Status::Aborted, ..State::new(AT) };
    let named = commit(store, |store| {
        store.save_rollout(rollout, &state)?;
        rules::updates::abort(store, rollout, minutes(1))
    });
    assert_eq!(named, [id("KS-2")]);
    let after = [S::Halted, S::Downloading, S::Installing, S::Failed, S::Halted];
    assert_eq!(states(reader, rollout), after);
    assert_eq!(updates(reader, rollout)[0].update.ended_at, Some(minutes(1)));
    for (device_id, seq) in [("KS-1", 4), ("KS-2", 4), ("KS-5", 4)] {
        assert_eq!(send_beat(store, &old(device_id, (1, seq)), minutes(2)).firmware, None, "{device_id}");
    }
    assert!(!goes_on(store, "KS-1", (1, 5), UpdateStep::Downloading), "its offer was withdrawn");
    assert!(!goes_on(store, "KS-2", (1, 5), UpdateStep::Downloading), "not installed yet: it must stop");
    assert!(goes_on(store, "KS-3", (1, 5), UpdateStep::Rebooting), "too late to stop");
    assert_eq!(states(reader, rollout), after);
    send_status(store, &status("KS-2", (1, 6), UpdateStep::Halted), minutes(3)).unwrap();
    assert!(send_beat(store, &new("KS-3", (2, 1)), minutes(3)).is_update_further, "it is watched to its end");
    assert_eq!(states(reader, rollout), [S::Halted, S::Halted, S::Confirming, S::Failed, S::Halted]);
    let took = commit(store, |store| rules::updates::took(store, rollout));
    assert_eq!(took, [id("KS-3")]);
    assert_eq!(offer(store, rollout, everybody()), 0, "no update is pending");
}

/// Guarantee: once a rollout is closed its devices are free for another, their heartbeats no longer change it, and their outcomes
/// are kept.
pub fn closing_frees_the_devices_for_another_rollout(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    active(store, "fw-3", 3);
    offer(store, rollout, everybody());
    assert!(goes_on(store, "KS-1", (1, 3), UpdateStep::Downloading));
    send_status(store, &status("KS-2", (1, 3), UpdateStep::Failed), AT).unwrap();
    let next = new_rollout(reader, "r2", "fw-3", &[("KS-1", 0, 100), ("KS-2", 0, 200)]);
    assert_eq!(create(store, &next), Err(RolloutRefused::InAnother));
    commit(store, |store| store.close_rollout(rollout));
    assert_eq!(reader.open_rollout_ids().unwrap(), []);
    assert_eq!(send_beat(store, &old("KS-1", (1, 4)), AT).firmware, None);
    assert!(!goes_on(store, "KS-1", (1, 5), UpdateStep::Installing), "nothing of it is to be installed");
    assert_eq!(states(reader, rollout), [UpdateState::Downloading, UpdateState::Failed]);
    let mut outcomes = |release_id: &str| {
        let release = stored_release(reader, release_id);
        let candidates = reader.candidates(&release, &Selector::default()).unwrap();
        candidates.iter().map(|device| (device.failures, device.has_failed_this)).collect::<Vec<_>>()
    };
    assert_eq!(outcomes("fw-2"), [(0, false), (1, true)]);
    assert_eq!(outcomes("fw-3"), [(0, false), (1, false)]);
    assert_eq!(create(store, &next), Ok(()));
    let second = stored(reader, "r2").row;
    assert_eq!(offer(store, second, everybody()), 2);
    let offered = send_beat(store, &old("KS-2", (1, 4)), AT).firmware.unwrap();
    assert_eq!(offered.manifest.as_str(), manifest_of("fw-3"));
    assert_eq!(states(reader, rollout), [UpdateState::Downloading, UpdateState::Failed], "the old one is as it was");
}

/// Guarantee: decisions are kept in the order they were made, each with actor, time, reason and all numbers, and are in the audit.
pub fn decisions_are_kept_in_order_with_their_numbers(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    let judged = Judged {
        verdict: Verdict::Pass,
        failed: 1,
        executed: 300,
        share_ppm: 3_333,
        lower_ppm: 170,
        upper_ppm: 15_712,
    };
    let reading = |gate, of: &str| GateReading { gate, of: of.to_owned(), threshold_bp: 250, judged };
    let gates = vec![reading(0, "all"), reading(1, "KS-100 at north")];
    let mut revision = 1;
    let mut decide = |store: &mut _, what, stage, gates: &[GateReading], name: &str, at| {
        revision += 1;
        let why = format!("why it was {what}");
        let decision = Decision { what, stage, revision, ordered: Some("pause"), why, gates: gates.to_vec() };
        let by = Actor { name: name.to_owned(), ..by_at(at) };
        commit(store, |store| rules::rollouts::decide(store, rollout, &"r1".parse().unwrap(), &decision, &by));
    };
    decide(store, "promoted", 0, &gates, "rollout-engine", minutes(1));
    decide(store, "paused", 1, &[], "alice", minutes(2));
    let trace = reader.decisions(rollout, 0, 99).unwrap();
    let listed: Vec<_> =
        trace.iter().map(|line| (line.what.as_str(), line.stage, line.actor.as_str(), line.at)).collect();
    assert_eq!(
        listed,
        [("created", 0, "test", AT), ("promoted", 0, "rollout-engine", minutes(1)), ("paused", 1, "alice", minutes(2))]
    );
    assert!(trace[0].why.contains("fw-2 to 2 devices: it is time"), "{}", trace[0].why);
    assert_eq!((trace[1].why.as_str(), &trace[1].gates), ("why it was promoted", &gates));
    assert_eq!(reader.decisions(rollout, trace[0].row, 1).unwrap(), trace[1..2], "paged by row");
    assert_eq!(reader.decisions(rollout + 1, 0, 99).unwrap(), [], "of this rollout");
    assert_eq!((trace[0].revision, trace[0].ordered.as_deref()), (1, None));
    let third = commit(store, |store| store.decision_of_revision(rollout, 3));
    assert_eq!(third.as_ref(), Some(&trace[2]));
    assert_eq!(third.unwrap().ordered.as_deref(), Some("pause"));
    assert_eq!(commit(store, |store| store.decision_of_revision(rollout, 4)), None);
    let which = AuditFilter { subject: Some("r1".to_owned()), ..AuditFilter::default() };
    let mut audited: Vec<_> = reader.audit(&which, 0, 99).unwrap().into_iter().map(|line| line.action).collect();
    audited.sort_unstable();
    assert_eq!(audited, ["rollout.created", "rollout.paused", "rollout.promoted"]);
}

/// Guarantee: a status with a replayed pair is denied and changes nothing; so is one of a device that may not write.
pub fn a_status_of_a_replayed_pair_is_denied(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    assert!(goes_on(store, "KS-1", (1, 9), UpdateStep::Downloading));
    let stale = Err(Denied::Stale { kept: Sequence::new(1, 9) });
    for pair in [(1, 9), (1, 8), (0, 99)] {
        assert_eq!(send_status(store, &status("KS-1", pair, UpdateStep::Failed), AT), stale, "{pair:?}");
    }
    assert_eq!(states(reader, rollout), [UpdateState::Downloading, UpdateState::Offered]);
    let beat = commit(store, |store| record(store, &old("KS-1", (1, 9)), AT));
    assert_eq!(beat.unwrap_err(), Denied::Stale { kept: Sequence::new(1, 9) }, "the pair is shared with heartbeats");
    assert_eq!(send_status(store, &status("KS-9", (1, 9), UpdateStep::Failed), AT), Err(Denied::Unknown));
    commit(store, |store| rules::devices::revoke(store, &named(&["KS-2"]), "stolen", &by()));
    assert_eq!(send_status(store, &status("KS-2", (1, 9), UpdateStep::Failed), AT), Err(Denied::Revoked));
    assert_eq!(states(reader, rollout)[1], UpdateState::Withdrawn);
}

/// Guarantee: a device that is revoked or gets another key leaves the rollout in the same commit, counts as no failure, and is free for
/// another rollout; a known failure stays, and a pending device keeps its place for its new key.
pub fn withdrawn_devices_leave_the_rollout(store: &mut impl Store, reader: &mut impl StoreReader) {
    use UpdateState as S;
    more_devices(store, &[("KS-1", 1, "n"), ("KS-2", 2, "n"), ("KS-3", 3, "n"), ("KS-4", 4, "n"), ("KS-5", 5, "n")]);
    active(store, "fw-2", 2);
    let devices = [("KS-1", 0, 1), ("KS-2", 0, 2), ("KS-3", 0, 3), ("KS-4", 1, 9_000), ("KS-5", 1, 9_001)];
    create(store, &new_rollout(reader, "r1", "fw-2", &devices)).unwrap();
    let rollout = stored(reader, "r1").row;
    assert_eq!(offer(store, rollout, Offering { stage: 0, ..everybody() }), 3);
    assert!(goes_on(store, "KS-1", (1, 3), UpdateStep::Installing));
    assert!(goes_on(store, "KS-2", (1, 3), UpdateStep::Downloading));
    send_status(store, &status("KS-3", (1, 3), UpdateStep::Failed), AT).unwrap();
    commit(store, |store| {
        rules::devices::revoke(store, &named(&["KS-1", "KS-3", "KS-4"]), "stolen", &by_at(minutes(2)))
    });
    for (device_id, key) in [("KS-2", 12), ("KS-5", 15)] {
        commit(store, |store| {
            rules::devices::reprovision(
                store,
                &id(device_id),
                &new_device(device_id, key).public_key,
                "a new board",
                &by_at(minutes(2)),
            )
        })
        .unwrap();
    }
    assert_eq!(states(reader, rollout), [S::Withdrawn, S::Withdrawn, S::Failed, S::Withdrawn, S::Pending]);
    assert_eq!(updates(reader, rollout)[0].update.ended_at, Some(minutes(2)));
    let release = stored_release(reader, "fw-2");
    commit(store, |store| rules::devices::register(store, &registration("KS-2", 12, 1), &by())).unwrap();
    let candidates = reader.candidates(&release, &named(&["KS-2"])).unwrap();
    assert_eq!((&candidates[0].open_rollout, candidates[0].failures), (&None, 0));
    assert_eq!(send_beat(store, &old("KS-2", (9, 9)), minutes(3)).firmware, None, "its offer was withdrawn");
    let took = commit(store, |store| rules::updates::took(store, rollout));
    assert_eq!(took, [id("KS-1"), id("KS-2")], "they may still run the release");
}

/// Guarantee: a device that does not accept its offer in time becomes pending again and loses the offer until its next turn.
pub fn an_offer_that_lapsed_is_made_again(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    put(store, reader, rollout, &[("KS-1", UpdateState::Pending)]);
    assert_eq!(send_beat(store, &old("KS-1", (2, 1)), minutes(1)).firmware, None);
    assert_eq!(offer(store, rollout, Offering { at: minutes(2), ..everybody() }), 1);
    assert_eq!(send_beat(store, &old("KS-1", (2, 2)), minutes(2)).firmware, Some(the_offer()));
    let update = updates(reader, rollout)[0].update;
    assert_eq!((update.boot_epoch, update.offered_at), (2, Some(minutes(2))), "a boot after this offer must show it");
}

/// Guarantee: once it is staged, nothing of a release changes, as [`ReleaseState::Staged`] states.
pub fn a_staged_manifest_is_not_changed_by_activation(store: &mut impl Store, reader: &mut impl StoreReader) {
    commit(store, |store| rules::releases::keep_artifact(store, ARTIFACT, 1_000, &by()));
    draft(store, &new_release("fw-2", 2)).unwrap();
    change(store, "fw-2", ReleaseState::Staged).unwrap();
    for state in [ReleaseState::Active, ReleaseState::Revoked] {
        let _ = change_with(store, "fw-2", state, Some("another manifest"), AT); // refused or ignored
        assert_eq!(stored_release(reader, "fw-2").manifest, manifest_of("fw-2"), "{state:?}");
    }
}

/// Guarantee: a device that holds no offer (its turn has not come, or its offer lapsed) may not go on: no timeout would watch it.
pub fn devices_without_an_offer_may_not_go_on(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, Offering { stage: 0, ..everybody() });
    put(store, reader, rollout, &[("KS-1", UpdateState::Pending)]); // its offer lapsed
    assert!(!goes_on(store, "KS-2", (1, 3), UpdateStep::Downloading), "its turn has not come");
    assert!(!goes_on(store, "KS-1", (1, 3), UpdateStep::Downloading), "its offer lapsed");
    assert_eq!(states(reader, rollout), [UpdateState::Pending; 2]);
}

/// Guarantee: a rollback targets all devices that took the release or may have it in a slot, including those that fell silent with it.
pub fn a_lost_device_is_rolled_back_too(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    put(store, reader, rollout, &[("KS-1", UpdateState::Confirmed), ("KS-2", UpdateState::Lost)]);
    assert_eq!(commit(store, |store| rules::updates::took(store, rollout)), [id("KS-1"), id("KS-2")]);
}

/// Guarantee: a repeated offer starts over: a device's reports under the lapsed offer do not count under the new one.
pub fn a_repeated_offer_ignores_earlier_reports(store: &mut impl Store, reader: &mut impl StoreReader) {
    let rollout = rolled_out(store, reader);
    offer(store, rollout, everybody());
    assert!(goes_on(store, "KS-1", (1, 3), UpdateStep::Succeeded));
    put(store, reader, rollout, &[("KS-1", UpdateState::Pending)]);
    assert_eq!(offer(store, rollout, everybody()), 1);
    assert_eq!(send_beat(store, &old("KS-1", (1, 4)), minutes(1)).firmware, Some(the_offer()));
    assert_eq!(states(reader, rollout)[0], UpdateState::Offered);
}
