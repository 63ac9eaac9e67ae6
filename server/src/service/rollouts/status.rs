//! How far a rollout is, what it waits for, and which devices somebody should look at.

use std::time::Duration;

use ks_protocol::{
    id::{DeviceId, RolloutId},
    message::UpdateClass,
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Decision, Rollout, show};
use crate::{
    clock::ms,
    pace,
    rollout::{
        progress::{Confirming, Progress, progress},
        tally::Cell,
        update::{self, UpdateState},
    },
    store::{
        Reader, StoreError, StoreReader,
        rollouts::RolloutRecord,
        updates::{Notable, UpdateFilter, UpdateRecord},
    },
};

/// Most devices of each kind that a status names.
const NAMED_MAX: usize = 20;

/// How far a rollout is.
#[derive(Debug, Serialize, JsonSchema)]
pub struct RolloutStatus {
    /// When this was read.
    pub(crate) at: UnixMs,
    pub(crate) rollout: Rollout,
    pub(crate) progress: Progress,
    /// The last decision, and why it was made.
    pub(crate) last_decision: Option<Decision>,
    pub(crate) look_at: LookAt,
}

/// The devices to look at first; at most 20 of each kind. `/api/rollouts/{rollout_id}/updates` lists all.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LookAt {
    /// Devices whose update failed, the latest first.
    pub(crate) failed: Vec<DeviceUpdate>,
    /// Confirmed devices that are silent, the longest first.
    pub(crate) silent: Vec<DeviceUpdate>,
    /// Devices that are updating, the one without progress for longest first.
    pub(crate) waiting: Vec<DeviceUpdate>,
    /// Devices whose turn has come and that are not heard, the longest first.
    pub(crate) unreached: Vec<DeviceUpdate>,
}

/// Update of one device.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeviceUpdate {
    pub(crate) device_id: DeviceId,
    pub(crate) model: String,
    pub(crate) site: String,
    /// Stage of the device, from 0.
    pub(crate) stage: usize,
    pub(crate) state: UpdateState,
    pub(crate) offered_at: Option<UnixMs>,
    /// Time of the last progress.
    pub(crate) progress_at: Option<UnixMs>,
    pub(crate) confirming_since: Option<UnixMs>,
    pub(crate) ended_at: Option<UnixMs>,
    /// Error class that the device reported.
    pub(crate) class: Option<UpdateClass>,
    /// Last detail that the device reported.
    pub(crate) detail: String,
    pub(crate) last_seen_at: Option<UnixMs>,
}

impl From<UpdateRecord> for DeviceUpdate {
    fn from(record: UpdateRecord) -> Self {
        let UpdateRecord { device_id, model, site, stage, update, detail, last_seen_at, .. } = record;
        let update::Update { state, offered_at, progress_at, confirming_since, ended_at, class, .. } = update;
        Self {
            device_id,
            model,
            site,
            stage,
            state,
            offered_at,
            progress_at: (progress_at > UnixMs(0)).then_some(progress_at),
            confirming_since,
            ended_at,
            class,
            detail,
            last_seen_at,
        }
    }
}

/// Loads a rollout's status; none if it is unknown.
///
/// # Errors
/// The store fails.
pub async fn find(
    reader: &Reader,
    rollout_id: &RolloutId,
    now: UnixMs,
    heartbeat_interval: Duration,
) -> Result<Option<RolloutStatus>, StoreError> {
    let wanted = rollout_id.clone();
    let asked = reader.ask(move |store| {
        let Some(record) = store.rollout(&wanted)? else { return Ok(None) };
        status(store, record, now, heartbeat_interval).map(Some)
    });
    asked.await
}

fn status(
    store: &mut dyn StoreReader,
    record: RolloutRecord,
    now: UnixMs,
    heartbeat_interval: Duration,
) -> Result<RolloutStatus, StoreError> {
    let silent_before = pace::suspect_before(now, ms(heartbeat_interval));
    let row = record.row;
    let tally = store.tally(row, silent_before)?;
    let confirming = UpdateFilter { state: Some(UpdateState::Confirming), ..UpdateFilter::default() };
    let in_flight_max = usize::try_from(record.policy.in_flight_max).unwrap_or(usize::MAX);
    let confirming: Vec<Confirming> =
        store.updates(row, &confirming, 0, in_flight_max)?.into_iter().filter_map(confirming_at).collect();
    let progress = progress(&record.policy, &record.state, &tally, &confirming, now);
    let mut named = |which| -> Result<Vec<DeviceUpdate>, StoreError> {
        let found = store.notable_updates(row, which, silent_before, NAMED_MAX)?;
        Ok(found.into_iter().map(DeviceUpdate::from).collect())
    };
    let look_at = LookAt {
        failed: named(Notable::Failed)?,
        silent: named(Notable::Silent)?,
        waiting: named(Notable::Waiting)?,
        unreached: named(Notable::Unreached { stage: record.state.stage })?,
    };
    let last_decision = store.last_decision(row)?.map(Decision::from);
    let rollout = show(store, record, now, heartbeat_interval)?;
    Ok(RolloutStatus { at: now, rollout, progress, last_decision, look_at })
}

fn confirming_at(record: UpdateRecord) -> Option<Confirming> {
    let UpdateRecord { stage, model, site, update, .. } = record;
    let cell = Cell { stage, model, site, state: update.state, count: 1 };
    Some(Confirming { cell, since: update.confirming_since? })
}
