//! One device's update: how its requests, the engine's evaluations and operators change it. Every transition of
//! [`crate::rollout::update`] is made here.

use std::collections::BTreeMap;

use ks_protocol::{
    id::DeviceId,
    message::{Heartbeat, Offer, UpdateStep},
    text::Text,
    time::UnixMs,
};

use crate::{
    rollout::{
        status::Status,
        update::{Timeouts, Update, UpdateEvent, UpdateState, step},
    },
    store::{
        StoreError, Transaction,
        audit::chain::Audited,
        heartbeats::Beat,
        releases::ReleaseState,
        rollouts::RolloutRecord,
        updates::{Offering, OpenUpdate, StatusReport, StatusTaken, UpdateRecord},
    },
};

/// Pending updates read at a time to find the next devices.
const WAITING_AT_ONCE: usize = 256;

impl OpenUpdate {
    /// The final check whether the release may be offered or continued now.
    fn may_go_on(&self) -> bool {
        !self.status.is_over() && self.release_state == ReleaseState::Active
    }

    fn after(&self, event: UpdateEvent, at: UnixMs) -> Update {
        step(&self.update, event, at, Timeouts::of(&self.policy))
    }

    fn to(&self, next: Update) -> Change {
        Change { rollout: self.rollout, device: self.device, before: self.update, next }
    }
}

/// A step of a device's update.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    pub(crate) rollout: i64,
    pub(crate) device: i64,
    pub(crate) before: Update,
    pub(crate) next: Update,
}

/// The offer due after a heartbeat, and whether the update made progress.
pub(super) type BeatResult = (Option<Offer>, bool);

/// Applies heartbeats to the open updates of their devices; results by the device's row. Each device occurs at most once.
pub(super) fn on_beats(
    store: &mut dyn Transaction,
    beats: &[(i64, &Beat)],
) -> Result<BTreeMap<i64, BeatResult>, StoreError> {
    let open = open_updates(store, beats.iter().map(|(device, _)| *device))?;
    let (mut changes, mut results) = (Vec::new(), BTreeMap::new());
    for (device, beat) in beats {
        let Some(now) = open.get(device) else { continue };
        let Heartbeat { firmware, boot_epoch, .. } = &beat.heartbeat;
        let event = UpdateEvent::Beat { release_counter: firmware.release_counter, boot_epoch: *boot_epoch };
        let next = now.after(event, beat.at);
        changes.push(now.to(next));
        results.insert(*device, (due_offer(now, &next), next != now.update));
    }
    save(store, &changes)?;
    Ok(results)
}

/// The offer, if it is due.
fn due_offer(now: &OpenUpdate, next: &Update) -> Option<Offer> {
    // A pause holds back offers that no device has accepted yet; downloads in progress go on.
    let is_due = match next.state {
        UpdateState::Offered => now.status != Status::Paused,
        UpdateState::Downloading => true,
        _ => false,
    };
    (is_due && now.is_image_sound && now.may_go_on()).then(|| Offer { manifest: Text::truncated(&now.manifest) })
}

/// Applies devices' reports of their updates, each with the row of its device; returns whether the device may go on, and whether
/// the update made progress.
pub(super) fn on_statuses(
    store: &mut dyn Transaction,
    reports: &[(i64, &StatusReport)],
) -> Result<Vec<StatusTaken>, StoreError> {
    let open = open_updates(store, reports.iter().map(|(device, _)| *device))?;
    let (mut changes, mut details, mut taken) = (Vec::new(), Vec::new(), Vec::with_capacity(reports.len()));
    for (device, StatusReport { status, at }) in reports {
        let Some(now) = open.get(device).filter(|open| open.release_id == status.release_id) else {
            taken.push(StatusTaken { go_on: false, has_changed: false });
            continue;
        };
        let event = UpdateEvent::Status { step: status.step, class: status.class, boot_epoch: status.boot_epoch };
        let next = now.after(event, *at);
        if next != now.update {
            changes.push(now.to(next));
            details.push((now.rollout, *device, status.detail.as_str()));
        }
        // Before the image is in a slot, the device asks whether to go on; after that it can't be stopped.
        let asks = matches!(status.step, UpdateStep::Downloading | UpdateStep::Installing);
        let go_on = !asks || (now.may_go_on() && next.state.is_in_flight());
        taken.push(StatusTaken { go_on, has_changed: next.state != now.update.state });
    }
    save(store, &changes)?;
    if !details.is_empty() {
        store.save_update_details(&details)?;
    }
    Ok(taken)
}

/// The open updates of these devices, by the device's row.
fn open_updates(
    store: &mut dyn Transaction,
    devices: impl Iterator<Item = i64>,
) -> Result<BTreeMap<i64, OpenUpdate>, StoreError> {
    let devices: Vec<i64> = devices.collect();
    let open = if devices.is_empty() { Vec::new() } else { store.open_updates(&devices)? };
    Ok(open.into_iter().map(|open| (open.device, open)).collect())
}

/// Applies an operator's change of devices to their open updates.
pub fn on_operator(
    store: &mut dyn Transaction,
    devices: &[i64],
    event: UpdateEvent,
    at: UnixMs,
) -> Result<(), StoreError> {
    let members = store.devices_in_rollouts(devices)?;
    let open = open_updates(store, members.into_iter().map(|member| member.device))?;
    let changes: Vec<Change> = open.values().map(|now| now.to(now.after(event, at))).collect();
    save(store, &changes)
}

/// Offers the release to the devices that are next; returns how many there were.
pub fn offer(store: &mut dyn Transaction, rollout: i64, offering: &Offering) -> Result<u32, StoreError> {
    let most = usize::try_from(offering.count).unwrap_or(usize::MAX);
    let is_unavailable = UpdateState::all_that(|state| state.is_in_flight() || state == UpdateState::Lost);
    let mut unavailable = store.updates_by_site(rollout, &is_unavailable)?;
    let targets = match offering.site_unavailable_max_bp {
        Some(_) => store.updates_by_site(rollout, &UpdateState::ALL)?,
        None => BTreeMap::new(),
    };
    let (mut offered, mut after) = (Vec::new(), None);
    while offered.len() < most {
        let waiting = store.waiting_updates(rollout, offering, after, WAITING_AT_ONCE)?;
        let is_last = waiting.len() < WAITING_AT_ONCE;
        for pending in waiting {
            after = Some(pending.turn);
            let site_max = offering.site_max(targets.get(&pending.site).copied().unwrap_or(0));
            let at_site = unavailable.entry(pending.site).or_default();
            if offered.len() < most && site_max.is_none_or(|most| *at_site < most) {
                *at_site += 1;
                let event = UpdateEvent::Offered { boot_epoch: pending.boot_epoch };
                // An offer does not depend on timeouts.
                offered.push((
                    rollout,
                    pending.turn.device,
                    step(&pending.update, event, offering.at, Timeouts::default()),
                ));
            }
        }
        if is_last {
            break;
        }
    }
    store.save_updates(&offered)?;
    let devices: Vec<i64> = offered.iter().map(|(_, device, _)| *device).collect();
    store.follow_beats(&devices, Some(rollout))?;
    Ok(u32::try_from(offered.len()).unwrap_or(u32::MAX))
}

/// Ends offers that no device has begun; returns the devices that are downloading, which can still be stopped.
pub fn abort(
    store: &mut dyn Transaction,
    rollout: i64,
    at: UnixMs,
    noted: &Audited,
) -> Result<Vec<DeviceId>, StoreError> {
    let offered = store.updates_in(rollout, &[UpdateState::Offered], None)?;
    let devices: Vec<i64> = offered.iter().map(|record| record.device_row).collect();
    store.follow_beats(&devices, None)?;
    let not_begun = UpdateState::all_that(UpdateState::ends_with_its_rollout);
    store.end_updates(rollout, &not_begun, UpdateState::Halted, at, noted)?;
    let downloading = store.updates_in(rollout, &[UpdateState::Downloading], None)?;
    Ok(downloading.into_iter().map(|record| record.device_id).collect())
}

/// Devices that took the rollout's release, or may have it in a slot: the targets of a rollback.
pub fn took(store: &mut dyn Transaction, rollout: i64) -> Result<Vec<DeviceId>, StoreError> {
    use UpdateState as S;
    let may_run = [S::Confirmed, S::Confirming, S::Installing, S::TimedOut, S::Lost, S::FalseSuccess, S::Withdrawn];
    let mut found = store.updates_in(rollout, &may_run, None)?;
    // A withdrawn device may have come back with another key and still run the release.
    found.retain(|record| record.update.state != S::Withdrawn || record.update.offered_at.is_some());
    Ok(found.into_iter().map(|record| record.device_id).collect())
}

/// Updates with timeouts: those in flight, and confirmed ones whose device was not seen since `silent_before`.
pub fn watched(
    store: &mut dyn Transaction,
    rollout: i64,
    silent_before: UnixMs,
) -> Result<Vec<UpdateRecord>, StoreError> {
    let mut watched = store.updates_in(rollout, &UpdateState::all_that(UpdateState::is_in_flight), None)?;
    watched.extend(store.updates_in(rollout, &[UpdateState::Confirmed], Some(silent_before))?);
    Ok(watched)
}

/// Applies timeouts to `watched`. Silence and lack of progress count from `listening_since` at the earliest.
pub fn on_timer(
    store: &mut dyn Transaction,
    rollout: &RolloutRecord,
    watched: &[UpdateRecord],
    listening_since: impl Fn(&UpdateRecord) -> UnixMs,
    at: UnixMs,
) -> Result<(), StoreError> {
    let timeouts = Timeouts::of(&rollout.policy);
    let changes = watched.iter().map(|record| {
        let last_seen_at = record.last_seen_at.unwrap_or_default();
        let event = UpdateEvent::Timer { last_seen_at, since: listening_since(record) };
        let next = step(&record.update, event, at, timeouts);
        Change { rollout: rollout.row, device: record.device_row, before: record.update, next }
    });
    save(store, &changes.collect::<Vec<_>>())
}

/// Stores the new states of updates, and applies the consequences for their devices.
pub(crate) fn save(store: &mut dyn Transaction, changes: &[Change]) -> Result<(), StoreError> {
    let changes: Vec<&Change> = changes.iter().filter(|change| change.next != change.before).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let updates: Vec<_> = changes.iter().map(|change| (change.rollout, change.device, change.next)).collect();
    store.save_updates(&updates)?;
    let ends = |change: &&&Change| change.before.state.follows_beats() && !change.next.state.follows_beats();
    let unfollowed: Vec<i64> = changes.iter().filter(ends).map(|change| change.device).collect();
    if !unfollowed.is_empty() {
        store.follow_beats(&unfollowed, None)?;
    }
    // If they come back, they may join another rollout.
    let withdrawn = changes.iter().filter(|change| change.next.state == UpdateState::Withdrawn);
    let freed: Vec<(i64, i64)> = withdrawn.map(|change| (change.rollout, change.device)).collect();
    if freed.is_empty() { Ok(()) } else { store.free_devices(&freed) }
}
