//! Rollouts and the updates of their devices: who is in one, how far each is, what was decided and from which numbers.

use ks_protocol::{
    id::{DeviceId, ReleaseId, RolloutId, Sequence},
    message::FirmwareStatus,
    time::UnixMs,
};

use super::{By, Denied, StoreError, devices::Selector, releases::ReleaseRecord};
use crate::rollout::{
    policy::Policy,
    share::Place,
    step::{Decision, GateReading, State, Tally},
    update::{Update, UpdateState},
};

/// Outcomes other than CONFIRMED after which a device is left out of rollouts.
pub const QUARANTINE_FAILURES: u32 = 3;

/// A device that a rollout could be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The device's row.
    pub row: i64,
    /// Its name.
    pub device_id: DeviceId,
    /// Its model.
    pub model: String,
    /// Its site.
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
    /// Its place.
    pub place: Place,
    /// Its model when the rollout was made.
    pub model: String,
    /// Its site.
    pub site: String,
}

/// A rollout to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRollout {
    /// Name.
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
    /// Name.
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
    /// The device.
    pub device_id: DeviceId,
    /// Its model.
    pub model: String,
    /// Its site.
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
    /// The site.
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
    /// What.
    pub what: String,
    /// In which stage, from 0.
    pub stage: usize,
    /// The rollout's revision from then on.
    pub revision: u64,
    /// The order that it carried out.
    pub ordered: Option<String>,
    /// Why.
    pub why: String,
    /// What the gates said.
    pub gates: Vec<GateReading>,
}

/// What can be written of rollouts. The engine reads inside its transaction too, so that nothing comes between.
pub trait RolloutWrites {
    /// Makes a rollout, and settles who is in it.
    fn create_rollout(&mut self, new: &NewRollout, by: &By) -> Result<Result<(), RolloutRefused>, StoreError>;
    /// Names of the open rollouts of a release.
    fn open_rollouts_of(&mut self, release_id: &ReleaseId) -> Result<Vec<RolloutId>, StoreError>;
    /// A rollout, as this transaction sees it.
    fn rollout_now(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError>;
    /// How far its devices are. Confirmed devices not heard since `silent_before` are suspects.
    fn tally_now(&mut self, rollout: i64, silent_before: UnixMs) -> Result<Tally, StoreError>;
    /// Updates for which time matters: those under way, and the confirmed that were not heard since `silent_before`.
    fn watched(&mut self, rollout: i64, silent_before: UnixMs) -> Result<Vec<UpdateRecord>, StoreError>;
    /// Keeps how far an update is.
    fn save_update(&mut self, rollout: i64, device: i64, update: &Update) -> Result<(), StoreError>;
    /// How silent each site is that has an update under way, by its devices that were heard since `since`.
    fn silence(&mut self, rollout: i64, since: UnixMs, silent_before: UnixMs) -> Result<Vec<SiteSilence>, StoreError>;
    /// Offers the release to devices whose turn it is; gives how many there were.
    fn offer(&mut self, rollout: i64, offering: &Offering) -> Result<u32, StoreError>;
    /// Takes back what was offered and not begun, and names the devices that are downloading.
    fn halt(&mut self, rollout: i64, at: UnixMs) -> Result<Vec<DeviceId>, StoreError>;
    /// Candidates that took the rollout's release, or may have it in a slot: for a roll back.
    fn took(&mut self, rollout: i64) -> Result<Vec<DeviceId>, StoreError>;
    /// Devices that a rollout of a release could be for.
    fn candidates_now(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError>;
    /// The decision that made this revision of a rollout.
    fn decision_of_revision(&mut self, rollout: i64, revision: u64) -> Result<Option<DecisionRecord>, StoreError>;
    /// Keeps the engine's state.
    fn save_rollout(&mut self, rollout: i64, state: &State) -> Result<(), StoreError>;
    /// Adds a decision to the trace.
    fn decide(&mut self, rollout: i64, decision: &Decision, by: &By) -> Result<(), StoreError>;
    /// Watches no device of it any more.
    fn close_rollout(&mut self, rollout: i64) -> Result<(), StoreError>;
    /// Records what a device says of its update; gives whether it may go on, and whether anything changed.
    fn record_status(
        &mut self,
        sequence: Sequence,
        status: &FirmwareStatus,
        at: UnixMs,
    ) -> Result<Result<StatusTaken, Denied>, StoreError>;
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
    /// At this site.
    pub site: Option<String>,
    /// Of this model.
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
