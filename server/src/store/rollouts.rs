//! Rollouts and the updates of their devices: who is in one, how far each is, what was decided and from which numbers.

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
        share::Place,
        step::{Decision, GateReading, State, Status, Tally},
        update::{Update, UpdateState},
    },
    store::audit::chain::Audited,
};

/// Outcomes other than CONFIRMED after which a device is left out of rollouts.
pub const QUARANTINE_FAILURES: u32 = 3;

/// A device that a rollout could be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The device's row.
    pub row: i64,
    pub device_id: DeviceId,
    pub model: String,
    pub site: String,
    /// Counter of what it last said it runs.
    pub release_counter: u64,
    /// The open rollout that has it.
    pub open_rollout: Option<RolloutId>,
    /// Updates of it that ended in a failure.
    pub failures: u32,
    /// Whether an update to this very release has failed before.
    pub has_failed_this: bool,
}

/// A device that is in a new rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The device's row.
    pub row: i64,
    /// The stage that adds it.
    pub stage: usize,
    pub place: Place,
    /// Its model when the rollout was made.
    pub model: String,
    pub site: String,
}

/// A rollout to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRollout {
    pub rollout_id: RolloutId,
    /// What it rolls out.
    pub release_id: ReleaseId,
    /// How.
    pub policy: Policy,
    /// As it begins.
    pub state: State,
    /// To whom.
    pub targets: Vec<Target>,
    /// Why, for the trace.
    pub why: String,
}

/// Why a rollout can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutRefused {
    /// The name stands for another one.
    #[error("there is a rollout {0} already")]
    NameTaken(RolloutId),
    /// The release may not be offered.
    #[error("release {0} is not ACTIVE")]
    NotActive(ReleaseId),
    /// Somebody was quicker.
    #[error("a device is in another open rollout by now; plan again")]
    InAnother,
}

/// A rollout as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRecord {
    /// Row; rollouts are paged by it.
    pub row: i64,
    pub rollout_id: RolloutId,
    /// What it rolls out.
    pub release: ReleaseRecord,
    /// How.
    pub policy: Policy,
    /// How far it is.
    pub state: State,
    /// When it was made.
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
    /// The stage that adds it.
    pub stage: usize,
    /// How far it is.
    pub update: Update,
    /// What the device said last.
    pub detail: String,
    /// When the device was last heard.
    pub last_seen_at: Option<UnixMs>,
}

/// Whom to offer a release to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offering {
    /// So many devices at most.
    pub count: u32,
    /// Of this stage and those before.
    pub stage: usize,
    /// Devices of one site that may be under way or lost at most.
    pub site_unavailable_max: Option<u32>,
    /// Heard since then: who is away can't take an offer.
    pub heard_since: UnixMs,
    /// Now.
    pub at: UnixMs,
}

/// How silent a site is, leaving out devices that have begun to update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteSilence {
    pub site: String,
    /// Devices there that were heard lately.
    pub devices: u32,
    /// Of these, those that are silent now.
    pub silent: u32,
}

/// A decision as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Row; decisions are paged by it.
    pub row: i64,
    /// When.
    pub at: UnixMs,
    /// Who: a person, or `engine`.
    pub actor: String,
    pub what: String,
    /// In which stage, from 0.
    pub stage: usize,
    /// The rollout's revision from then on.
    pub revision: u64,
    /// The order that it carried out.
    pub ordered: Option<String>,
    pub why: String,
    /// What the gates said.
    pub gates: Vec<GateReading>,
}

/// A device's update in an open rollout, with what decides whether it may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpdate {
    /// Row of the device.
    pub device: i64,
    /// The rollout's row.
    pub rollout: i64,
    /// What it rolls out.
    pub release_id: ReleaseId,
    /// Where that release is in its life.
    pub release_state: ReleaseState,
    /// Its signed manifest.
    pub manifest: String,
    /// Whether nothing is wrong with the image.
    pub is_image_sound: bool,
    /// How.
    pub policy: Policy,
    /// Whether the rollout goes on.
    pub status: Status,
    /// How far the update is.
    pub update: Update,
}

/// A waiting update's place in the order of offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    /// The share at which the device enters, in basis points.
    pub enters_bp: u16,
    /// Its place among those of the same share; an order, and no number that means anything.
    pub bucket: i64,
    /// The device's row.
    pub device: i64,
}

/// A device whose update waits for its turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its place.
    pub turn: Turn,
    pub site: String,
    /// The boot that it was in when last heard.
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

/// The rows of rollouts and of their devices' updates. Within a transaction, [`crate::rules::rollouts`] and
/// [`crate::rules::updates`] decide over them.
pub trait RolloutRows {
    /// A rollout by its name.
    fn rollout(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError>;
    /// Names of the open rollouts of a release, the oldest first.
    fn open_rollouts_of(&mut self, release_id: &ReleaseId) -> Result<Vec<RolloutId>, StoreError>;
    /// Devices that a rollout of a release could be for.
    fn candidates(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError>;
    /// Adds a rollout, whose name none has; gives its row.
    fn insert_rollout(&mut self, new: &NewRollout, release: &ReleaseRecord, at: UnixMs) -> Result<i64, StoreError>;
    /// Stores the state of a rollout.
    fn save_rollout(&mut self, rollout: i64, state: &State) -> Result<(), StoreError>;
    /// Marks a rollout and its updates closed; no device's heartbeats follow it from then on.
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

    /// Those of these devices that are in an open rollout.
    fn devices_in_rollouts(&mut self, devices: &[i64]) -> Result<Vec<i64>, StoreError>;
    /// Adds an update for each target, PENDING.
    fn insert_updates(&mut self, rollout: i64, targets: &[Target]) -> Result<(), StoreError>;
    /// How far a rollout's devices are. Confirmed devices not heard since `silent_before` are suspects.
    fn tally(&mut self, rollout: i64, silent_before: UnixMs) -> Result<Tally, StoreError>;
    /// Updates in one of these states; with `silent_before`, of devices that were not heard since.
    fn updates_in(
        &mut self,
        rollout: i64,
        states: &[UpdateState],
        silent_before: Option<UnixMs>,
    ) -> Result<Vec<UpdateRecord>, StoreError>;
    /// How many updates are in one of these states, by site.
    fn updates_by_site(&mut self, rollout: i64, states: &[UpdateState]) -> Result<BTreeMap<String, u32>, StoreError>;
    /// How silent each site is, by those of its registered devices that were heard since `since` and whose update in this rollout,
    /// if they have one, is in one of these states.
    fn silence(
        &mut self,
        rollout: i64,
        states: &[UpdateState],
        since: UnixMs,
        silent_before: UnixMs,
    ) -> Result<Vec<SiteSilence>, StoreError>;
    /// Registered devices that wait for their turn, of the offering's stage or an earlier one, heard since its `heard_since`: those
    /// behind `after`, at most `limit`, in the order of their turns.
    fn waiting_updates(
        &mut self,
        rollout: i64,
        offering: &Offering,
        after: Option<Turn>,
        limit: usize,
    ) -> Result<Vec<Waiting>, StoreError>;
    /// The open updates of these devices, in any order.
    fn open_updates(&mut self, devices: &[i64]) -> Result<Vec<OpenUpdate>, StoreError>;
    /// Stores how far updates are, each by its rollout's and its device's row.
    fn save_updates(&mut self, updates: &[(i64, i64, Update)]) -> Result<(), StoreError>;
    /// Stores what devices reported last of their updates, each by its rollout's and its device's row.
    fn save_update_details(&mut self, details: &[(i64, i64, &str)]) -> Result<(), StoreError>;
    /// Ends all updates that are in one of these states in another.
    fn end_updates(
        &mut self,
        rollout: i64,
        states: &[UpdateState],
        ended: UpdateState,
        at: UnixMs,
    ) -> Result<(), StoreError>;
    /// From now on, heartbeats of these devices look for the update in this rollout, or for none.
    fn follow_beats(&mut self, devices: &[i64], rollout: Option<i64>) -> Result<(), StoreError>;
    /// Frees devices for other rollouts, each given with the row of the rollout that it leaves.
    fn free_devices(&mut self, devices: &[(i64, i64)]) -> Result<(), StoreError>;
}

/// What became of a device's word on its update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StatusTaken {
    /// Whether the device may go on.
    pub go_on: bool,
    /// Whether the update got anywhere by it.
    pub has_changed: bool,
}

/// Which updates.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UpdateFilter {
    /// That are so far.
    pub state: Option<UpdateState>,
    pub site: Option<String>,
    pub model: Option<String>,
}

/// What can be asked of rollouts.
pub trait RolloutReads {
    /// Names of the open rollouts, the oldest first.
    fn open_rollout_ids(&mut self) -> Result<Vec<RolloutId>, StoreError>;
    /// A rollout by its name.
    fn rollout(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError>;
    /// Rollouts with a row above `after`, at most `limit`, in the order they were made.
    fn rollouts(&mut self, after: i64, limit: usize) -> Result<Vec<RolloutRecord>, StoreError>;
    /// How far its devices are.
    fn tally(&mut self, rollout: i64, silent_before: UnixMs) -> Result<Tally, StoreError>;
    /// Its devices by the firmware version that they say they run.
    fn versions(&mut self, rollout: i64) -> Result<Vec<(String, u64)>, StoreError>;
    /// Updates of a rollout with a device's row above `after`, at most `limit`.
    fn updates(
        &mut self,
        rollout: i64,
        which: &UpdateFilter,
        after: i64,
        limit: usize,
    ) -> Result<Vec<UpdateRecord>, StoreError>;
    /// The trace of a rollout: decisions above `after`, at most `limit`, the oldest first.
    fn decisions(&mut self, rollout: i64, after: i64, limit: usize) -> Result<Vec<DecisionRecord>, StoreError>;
    /// Decisions of all rollouts above `after`, at most `limit`, the oldest first, each with the rollout's name.
    fn decided_after(&mut self, after: i64, limit: usize) -> Result<Vec<(RolloutId, DecisionRecord)>, StoreError>;
    /// Devices that a rollout of a release could be for.
    fn candidates(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError>;
}
