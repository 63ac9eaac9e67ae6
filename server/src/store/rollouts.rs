//! Rollouts and the updates of their devices: their devices, their progress, and their decisions with the numbers behind them.

use std::collections::BTreeMap;

use ks_protocol::{
    id::{DeviceId, ReleaseId, RolloutId, Sequence},
    message::FirmwareStatus,
    time::UnixMs,
};

use super::{
    Actor, StoreError,
    devices::{Pair, Selector},
    releases::{ReleaseRecord, ReleaseState},
};
use crate::{
    rollout::{
        policy::Policy,
        reading::GateReading,
        share::Place,
        status::Status,
        step::{Decision, State},
        tally::Tally,
        update::{Update, UpdateState},
    },
    store::audit::chain::Audited,
};

/// Outcomes other than CONFIRMED after which a device is left out of rollouts.
pub const QUARANTINE_FAILURES: u32 = 3;

/// A device that could join a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The device's row.
    pub row: i64,
    pub device_id: DeviceId,
    pub model: String,
    pub site: String,
    /// Counter of the firmware that it last reported.
    pub release_counter: u64,
    /// The open rollout that it is in; none if that one only watches it.
    pub open_rollout: Option<RolloutId>,
    /// Number of its failed updates.
    pub failures: u32,
    /// Whether an update to this release has failed before.
    pub has_failed_this: bool,
}

/// A device that is in a new rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The device's row.
    pub row: i64,
    /// The stage that includes it.
    pub stage: usize,
    pub place: Place,
    /// Its model when the rollout was created.
    pub model: String,
    pub site: String,
}

/// A rollout to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRollout {
    pub rollout_id: RolloutId,
    pub release_id: ReleaseId,
    /// How.
    pub policy: Policy,
    /// The initial state.
    pub state: State,
    /// The devices.
    pub targets: Vec<Target>,
    /// The reason, for the trace.
    pub why: String,
}

/// Why a rollout can't be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutRefused {
    /// The name is in use.
    #[error("there is a rollout {0} already")]
    NameTaken(RolloutId),
    /// The release may not be offered.
    #[error("release {0} is not ACTIVE")]
    NotActive(ReleaseId),
    /// Another rollout took a device in the meantime.
    #[error("a device has joined another open rollout meanwhile; plan again")]
    InAnother,
}

/// A rollout as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRecord {
    /// Row; rollouts are paged by it.
    pub row: i64,
    pub rollout_id: RolloutId,
    pub release: ReleaseRecord,
    /// How.
    pub policy: Policy,
    pub state: State,
    /// When it was created.
    pub created_at: UnixMs,
}

/// A device's update as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpdateRecord {
    /// The device's row; updates are paged by it.
    pub device_row: i64,
    pub device_id: DeviceId,
    pub model: String,
    pub site: String,
    /// The stage that includes it.
    pub stage: usize,
    /// Its state.
    pub update: Update,
    /// The detail that the device reported last.
    pub detail: String,
    /// When the device was last seen.
    pub last_seen_at: Option<UnixMs>,
}

/// Which devices to offer a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offering {
    /// Most devices.
    pub count: u32,
    /// Up to this stage.
    pub stage: usize,
    /// Most devices of one site that may be under way or lost.
    pub site_unavailable_max: Option<u32>,
    /// Only devices seen since then: absent ones can't accept an offer.
    pub heard_since: UnixMs,
    /// Now.
    pub at: UnixMs,
}

/// Silence of a site, by those of its devices that can tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteSilence {
    pub site: String,
    /// Devices there that can tell and were seen recently.
    pub devices: u32,
    /// How many of these are silent now.
    pub silent: u32,
    /// Registered devices of the site that were seen within a longer time, whatever they can tell.
    pub known: u32,
    /// How many of these are heard now.
    pub heard: u32,
}

/// A decision as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Row; decisions are paged by it.
    pub row: i64,
    /// When.
    pub at: UnixMs,
    /// Who: an operator or the engine.
    pub actor: String,
    pub what: String,
    /// The stage, from 0.
    pub stage: usize,
    /// The rollout's revision after it.
    pub revision: u64,
    /// The order that it carried out.
    pub ordered: Option<String>,
    pub why: String,
    /// The gate readings.
    pub gates: Vec<GateReading>,
}

/// A device's update in an open rollout, with what determines whether it may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpdate {
    /// Row of the device.
    pub device: i64,
    /// The rollout's row.
    pub rollout: i64,
    pub release_id: ReleaseId,
    pub release_state: ReleaseState,
    /// Its signed manifest.
    pub manifest: String,
    /// Whether the image has no fault.
    pub is_image_sound: bool,
    /// How.
    pub policy: Policy,
    /// Whether the rollout goes on.
    pub status: Status,
    pub update: Update,
}

/// A device in an open rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// The device's row.
    pub device: i64,
    /// The rollout's row.
    pub rollout: i64,
    /// The rollout's status: one that is COMPLETED only watches its devices.
    pub status: Status,
}

/// A waiting update's place in the order of offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// The share at which the device enters, in basis points.
    pub enters_bp: u16,
    /// Its position among those of the same share; only the order matters.
    pub bucket: i64,
    /// The device's row.
    pub device: i64,
}

/// A device whose update is pending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    pub turn: Turn,
    pub site: String,
    /// Its boot when last seen.
    pub boot_epoch: u32,
    /// Its update, PENDING.
    pub update: Update,
}

/// A verified report of a device on its update.
#[derive(Debug, Clone, PartialEq)]
pub struct StatusReport {
    pub status: FirmwareStatus,
    /// When it was received.
    pub at: UnixMs,
}

impl StatusReport {
    /// Which device sends it, and its replay pair.
    pub fn pair(&self) -> Pair<'_> {
        let FirmwareStatus { device_id, boot_epoch, seq, .. } = &self.status;
        Pair { device_id, sequence: Sequence { boot_epoch: *boot_epoch, seq: *seq }, at: self.at }
    }
}

/// The rows of rollouts and of their devices' updates. The decisions are in [`crate::rules::rollouts`] and
/// [`crate::rules::updates`].
pub trait RolloutRows {
    /// A rollout by its name.
    fn rollout(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError>;
    /// Names of the open rollouts of a release, the oldest first.
    fn open_rollouts_of(&mut self, release_id: &ReleaseId) -> Result<Vec<RolloutId>, StoreError>;
    /// Devices that could join a rollout of a release.
    fn candidates(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError>;
    /// Adds a rollout, whose name must be unused; returns its row.
    fn insert_rollout(&mut self, new: &NewRollout, release: &ReleaseRecord, at: UnixMs) -> Result<i64, StoreError>;
    /// Stores the state of a rollout.
    fn save_rollout(&mut self, rollout: i64, state: &State) -> Result<(), StoreError>;
    /// Marks a rollout and its updates closed; heartbeats no longer affect it.
    fn close_rollout(&mut self, rollout: i64) -> Result<(), StoreError>;
    /// Adds a decision to the trace.
    fn insert_decision(
        &mut self,
        rollout: i64,
        decision: &Decision,
        by: &Actor,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    /// The decision that made this revision of a rollout.
    fn decision_of_revision(&mut self, rollout: i64, revision: u64) -> Result<Option<DecisionRecord>, StoreError>;

    /// Those of these devices that are in an open rollout, in the order of their rows.
    fn devices_in_rollouts(&mut self, devices: &[i64]) -> Result<Vec<Member>, StoreError>;
    /// Adds an update for each target, PENDING.
    fn insert_updates(&mut self, rollout: i64, targets: &[Target]) -> Result<(), StoreError>;
    /// Counts a rollout's devices by state. Confirmed devices in it that were not seen since `silent_before` are
    /// suspects; without such a time none are counted, which spares reading every confirmed device.
    fn tally(&mut self, rollout: i64, silent_before: Option<UnixMs>) -> Result<Tally, StoreError>;
    /// Updates in one of these states; with `silent_before`, of devices that were not seen since and have not left the rollout.
    fn updates_in(
        &mut self,
        rollout: i64,
        states: &[UpdateState],
        silent_before: Option<UnixMs>,
    ) -> Result<Vec<UpdateRecord>, StoreError>;
    /// How many updates are in one of these states, by site.
    fn updates_by_site(&mut self, rollout: i64, states: &[UpdateState]) -> Result<BTreeMap<String, u32>, StoreError>;
    /// How silent each site is, judged by those of its registered devices that were seen since `since` and whose update in this rollout,
    /// if they have one, is in one of these states. A device that was never offered the release although its turn has passed does not
    /// count: it was passed over because it was silent. `known_since` is for all devices of the site.
    fn silence(
        &mut self,
        rollout: i64,
        states: &[UpdateState],
        since_and_known_since: (UnixMs, UnixMs),
        silent_before: UnixMs,
    ) -> Result<Vec<SiteSilence>, StoreError>;
    /// Registered devices with a pending update, of the offering's stage or an earlier one, seen since its `heard_since`: those
    /// after `after`, at most `limit`, in the order of their turns.
    fn waiting_updates(
        &mut self,
        rollout: i64,
        offering: &Offering,
        after: Option<Turn>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError>;
    /// The open updates of these devices, in any order.
    fn open_updates(&mut self, devices: &[i64]) -> Result<Vec<OpenUpdate>, StoreError>;
    /// Stores updates, each by its rollout's and its device's row.
    fn save_updates(&mut self, updates: &[(i64, i64, Update)]) -> Result<(), StoreError>;
    /// Stores what devices reported last of their updates, each by its rollout's and its device's row.
    fn save_update_details(&mut self, details: &[(i64, i64, &str)]) -> Result<(), StoreError>;
    /// Moves all updates in one of these states to another state, as their end.
    fn end_updates(
        &mut self,
        rollout: i64,
        states: &[UpdateState],
        ended: UpdateState,
        at: UnixMs,
    ) -> Result<(), StoreError>;
    /// Makes heartbeats of these devices apply to their update in this rollout, or to none.
    fn follow_beats(&mut self, devices: &[i64], rollout: Option<i64>) -> Result<(), StoreError>;
    /// Frees devices for other rollouts, each given with the row of the rollout that it leaves.
    fn free_devices(&mut self, devices: &[(i64, i64)]) -> Result<(), StoreError>;
}

/// The result of a device's report of its update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusTaken {
    /// Whether the device may go on.
    pub go_on: bool,
    /// Whether the update changed.
    pub has_changed: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateFilter {
    pub state: Option<UpdateState>,
    pub site: Option<String>,
    pub model: Option<String>,
}

/// Updates that somebody should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notable {
    /// Failed; the latest first.
    Failed,
    /// Confirmed, still in the rollout, and silent; the longest first.
    Silent,
    /// In flight; the one without progress for longest first.
    Waiting,
    /// Pending up to this stage, and silent or never seen; the longest first.
    Unreached {
        /// The stage, from 0.
        stage: usize,
    },
}

/// Queries about rollouts.
pub trait RolloutReads {
    /// Names of the open rollouts, the oldest first.
    fn open_rollout_ids(&mut self) -> Result<Vec<RolloutId>, StoreError>;
    /// A rollout by its name.
    fn rollout(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError>;
    /// Rollouts with a row above `after`, at most `limit`, in the order of creation.
    fn rollouts(&mut self, after: i64, limit: usize) -> Result<Vec<RolloutRecord>, StoreError>;
    /// Counts its devices by state.
    fn tally(&mut self, rollout: i64, silent_before: UnixMs) -> Result<Tally, StoreError>;
    /// Its devices by reported firmware version.
    fn versions(&mut self, rollout: i64) -> Result<Vec<(String, u64)>, StoreError>;
    /// Updates of a rollout with a device's row above `after`, at most `limit`.
    fn updates(
        &mut self,
        rollout: i64,
        which: &UpdateFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<UpdateRecord>, StoreError>;
    /// At most `limit` updates of a kind; devices not seen since `silent_before` are silent.
    fn notable_updates(
        &mut self,
        rollout: i64,
        which: Notable,
        silent_before: UnixMs,
        limit: usize,
    ) -> Result<Vec<UpdateRecord>, StoreError>;
    /// Of the last updates that came to CONFIRMING, at most `limit`: milliseconds from the offer until then.
    fn update_times_ms(&mut self, limit: usize) -> Result<Vec<u64>, StoreError>;
    /// Rows of the devices whose update failed since a time, in order.
    fn failed_since(&mut self, since: UnixMs) -> Result<Vec<i64>, StoreError>;
    /// The last decision of a rollout.
    fn last_decision(&mut self, rollout: i64) -> Result<Option<DecisionRecord>, StoreError>;
    /// The trace of a rollout: decisions above `after`, at most `limit`, the oldest first.
    fn decisions(&mut self, rollout: i64, after: i64, limit: usize) -> Result<Vec<DecisionRecord>, StoreError>;
    /// Decisions of all rollouts above `after`, at most `limit`, the oldest first, each with the rollout's name.
    fn decided_after(&mut self, after: i64, limit: usize) -> Result<Vec<(RolloutId, DecisionRecord)>, StoreError>;
    /// Devices that could join a rollout of a release.
    fn candidates(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError>;
}
