//! One device's update: what its requests, the engine's looks and people do to it. Every transition of
//! [`crate::rollout::update`] is made here.

use ks_protocol::{
    id::{DeviceId, Sequence},
    message::{FirmwareStatus, Heartbeat, Offer, UpdateStep},
    text::Text,
    time::UnixMs,
};

use super::devices;
use crate::{
    rollout::{
        step::Status,
        update::{Patience, Update, UpdateEvent, UpdateState, step},
    },
    store::{
        Denied, StoreError, Transaction,
        releases::ReleaseState,
        rollouts::{Offering, OpenUpdate, RolloutRecord, StatusTaken, UpdateRecord},
    },
};

/// Waiting updates read at a time to find whose turn it is.
const WAITING_AT_ONCE: usize = 256;

impl OpenUpdate {
    /// Whether the release may be offered, or gone on with, now: the last word on it.
    fn may_go_on(&self) -> bool {
        !self.status.is_over() && self.release_state == ReleaseState::Active
    }

    fn after(&self, event: UpdateEvent, at: UnixMs) -> Update {
        step(&self.update, event, at, Patience::of(&self.policy))
    }
}

/// What a device's heartbeat comes to for its update: the offer, if it is to be made, and whether the update got anywhere.
pub fn on_beat(
    store: &mut dyn Transaction,
    device: i64,
    beat: &Heartbeat,
    at: UnixMs,
) -> Result<(Option<Offer>, bool), StoreError> {
    let Some(now) = store.open_update(device)? else { return Ok((None, false)) };
    let event = UpdateEvent::Beat { release_counter: beat.firmware.release_counter, boot_epoch: beat.boot_epoch };
    let next = now.after(event, at);
    let has_changed = next != now.update;
    if has_changed {
        save(store, now.rollout, device, &now.update, &next)?;
    }
    // A pause holds back offers that nobody has taken up yet; what is being downloaded goes on.
    let is_due = match next.state {
        UpdateState::Offered => now.status != Status::Paused,
        UpdateState::Downloading => true,
        _ => false,
    };
    let offer =
        (is_due && now.is_image_sound && now.may_go_on()).then(|| Offer { manifest: Text::truncated(&now.manifest) });
    Ok((offer, has_changed))
}

/// Takes a device's own report of its update; gives whether it may go on, and whether the update got anywhere.
pub fn record_status(
    store: &mut dyn Transaction,
    sequence: Sequence,
    status: &FirmwareStatus,
    at: UnixMs,
) -> Result<Result<StatusTaken, Denied>, StoreError> {
    match devices::advance(store, &status.device_id, sequence, at)? {
        Ok(device) => on_status(store, device, sequence, status, at).map(Ok),
        Err(denied) => Ok(Err(denied)),
    }
}

fn on_status(
    store: &mut dyn Transaction,
    device: i64,
    sequence: Sequence,
    status: &FirmwareStatus,
    at: UnixMs,
) -> Result<StatusTaken, StoreError> {
    let open = store.open_update(device)?.filter(|open| open.release_id == status.release_id);
    let Some(now) = open else { return Ok(StatusTaken { go_on: false, has_changed: false }) };
    let event = UpdateEvent::Status { step: status.step, class: status.class, boot_epoch: sequence.boot_epoch };
    let next = now.after(event, at);
    if next != now.update {
        save(store, now.rollout, device, &now.update, &next)?;
        store.save_update_detail(now.rollout, device, status.detail.as_str())?;
    }
    // Nothing is in a slot yet: the device asks whether to go on. Later it can't be stopped.
    let asks = matches!(status.step, UpdateStep::Downloading | UpdateStep::Installing);
    let go_on = !asks || (now.may_go_on() && next.state.is_in_flight());
    Ok(StatusTaken { go_on, has_changed: next.state != now.update.state })
}

/// Applies what a person did to devices to the open updates that they have.
pub fn on_person(
    store: &mut dyn Transaction,
    devices: &[i64],
    event: UpdateEvent,
    at: UnixMs,
) -> Result<(), StoreError> {
    for device in store.devices_in_rollouts(devices)? {
        if let Some(now) = store.open_update(device)? {
            save(store, now.rollout, device, &now.update, &now.after(event, at))?;
        }
    }
    Ok(())
}

/// Offers the release to devices whose turn it is; gives how many there were.
pub fn offer(store: &mut dyn Transaction, rollout: i64, offering: &Offering) -> Result<u32, StoreError> {
    let most = usize::try_from(offering.count).unwrap_or(usize::MAX);
    let is_unavailable = UpdateState::all_that(|state| state.is_in_flight() || state == UpdateState::Lost);
    let mut unavailable = store.updates_by_site(rollout, &is_unavailable)?;
    let (mut offered, mut after) = (Vec::new(), None);
    while offered.len() < most {
        let waiting = store.waiting_updates(rollout, offering, after, WAITING_AT_ONCE)?;
        let is_last = waiting.len() < WAITING_AT_ONCE;
        for waits in waiting {
            after = Some(waits.turn);
            let at_site = unavailable.entry(waits.site).or_default();
            if offered.len() < most && offering.site_unavailable_max.is_none_or(|most| *at_site < most) {
                *at_site += 1;
                let event = UpdateEvent::Offered { boot_epoch: waits.boot_epoch };
                // No patience is needed: an offer waits for nothing.
                offered.push((waits.turn.device, step(&waits.update, event, offering.at, Patience::default())));
            }
        }
        if is_last {
            break;
        }
    }
    store.save_updates(rollout, &offered)?;
    let devices: Vec<i64> = offered.iter().map(|(device, _)| *device).collect();
    store.follow_beats(&devices, Some(rollout))?;
    Ok(u32::try_from(offered.len()).unwrap_or(u32::MAX))
}

/// Ends what was offered and not begun; gives the devices that are downloading, which can still be stopped.
pub fn abort(store: &mut dyn Transaction, rollout: i64, at: UnixMs) -> Result<Vec<DeviceId>, StoreError> {
    let offered = store.updates_in(rollout, &[UpdateState::Offered], None)?;
    let devices: Vec<i64> = offered.iter().map(|record| record.device_row).collect();
    store.follow_beats(&devices, None)?;
    store.end_updates(rollout, &UpdateState::all_that(UpdateState::ends_with_its_rollout), UpdateState::Halted, at)?;
    let downloading = store.updates_in(rollout, &[UpdateState::Downloading], None)?;
    Ok(downloading.into_iter().map(|record| record.device_id).collect())
}

/// Devices that took the rollout's release, or may have it in a slot: those that a roll back is for.
pub fn took(store: &mut dyn Transaction, rollout: i64) -> Result<Vec<DeviceId>, StoreError> {
    use UpdateState as S;
    let may_run = [S::Confirmed, S::Confirming, S::Installing, S::TimedOut, S::Lost, S::FalseSuccess, S::Withdrawn];
    let mut found = store.updates_in(rollout, &may_run, None)?;
    // A device that was taken out may have come back with another key, and run the release still.
    found.retain(|record| record.update.state != S::Withdrawn || record.update.offered_at.is_some());
    Ok(found.into_iter().map(|record| record.device_id).collect())
}

/// Updates for which time matters: those in flight, and the confirmed of devices that were not heard since `silent_before`.
pub fn watched(
    store: &mut dyn Transaction,
    rollout: i64,
    silent_before: UnixMs,
) -> Result<Vec<UpdateRecord>, StoreError> {
    let mut watched = store.updates_in(rollout, &UpdateState::all_that(UpdateState::is_in_flight), None)?;
    watched.extend(store.updates_in(rollout, &[UpdateState::Confirmed], Some(silent_before))?);
    Ok(watched)
}

/// Applies the time that has passed to `watched`. Silence and standstill count from `listening_since` on at the earliest.
pub fn on_timer(
    store: &mut dyn Transaction,
    rollout: &RolloutRecord,
    watched: &[UpdateRecord],
    listening_since: impl Fn(&UpdateRecord) -> UnixMs,
    at: UnixMs,
) -> Result<(), StoreError> {
    let patience = Patience::of(&rollout.policy);
    for record in watched {
        let heard_at = record.last_seen_at.unwrap_or_default();
        let event = UpdateEvent::Timer { last_seen_at: heard_at, since: listening_since(record) };
        let next = step(&record.update, event, at, patience);
        save(store, rollout.row, record.device_row, &record.update, &next)?;
    }
    Ok(())
}

/// Stores an update, and what follows from its new state for the device.
pub(crate) fn save(
    store: &mut dyn Transaction,
    rollout: i64,
    device: i64,
    before: &Update,
    next: &Update,
) -> Result<(), StoreError> {
    if next == before {
        return Ok(());
    }
    store.save_updates(rollout, &[(device, *next)])?;
    if before.state.follows_beats() && !next.state.follows_beats() {
        store.follow_beats(&[device], None)?;
    }
    if next.state == UpdateState::Withdrawn {
        // It may be in another rollout from now on, should it come back.
        store.free_device(rollout, device)?;
    }
    Ok(())
}
