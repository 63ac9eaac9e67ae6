//! The updates of rollouts' devices: which are in one, what they have been offered, how far each has come.

use std::collections::BTreeMap;

use ks_protocol::{
    id::{DeviceId, ReleaseId},
    message::FirmwareStatus,
    time::UnixMs,
};

use super::{StoreError, audit::chain::Audited, releases::ReleaseState, rollouts::Target};
use crate::rollout::{
    policy::{self, Policy},
    status::Status,
    tally::Tally,
    update::{Update, UpdateState},
};

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
    /// The same as a share of the rollout's devices at each site, in basis points, rounded up.
    pub site_unavailable_max_bp: Option<u16>,
    /// Only devices seen since then: absent ones can't accept an offer.
    pub heard_since: UnixMs,
    pub at: UnixMs,
}

impl Offering {
    /// Most devices that may be under way or lost at a site with so many devices of the rollout; none if there is no limit.
    pub fn site_max(&self, targets: u32) -> Option<u32> {
        policy::site_max((self.site_unavailable_max, self.site_unavailable_max_bp), targets)
    }
}

/// Devices that were seen recently, and how many of them are silent now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Silence {
    pub devices: u32,
    pub silent: u32,
}

/// Silence of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SiteSilence {
    pub site: String,
    /// By the devices there that have nothing of the release.
    pub unaffected: Silence,
    /// By these and those with the release that are [`UpdateState::Confirmed`].
    pub with_confirmed: Silence,
    /// Registered devices of the site that were seen within a longer time, whatever they have of the release.
    pub known: u32,
    /// How many of these are heard now.
    pub heard: u32,
}

/// The times that a site's silence is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SilenceTimes {
    /// Devices whose silence counts were seen since then.
    pub since: UnixMs,
    /// Devices of the site that are known were seen since then.
    pub known_since: UnixMs,
    /// Devices that were not seen since then are silent.
    pub silent_before: UnixMs,
}

/// A device's update in an open rollout, with what determines whether it may go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenUpdate {
    /// Row of the device.
    pub device: i64,
    pub rollout: i64,
    pub release_id: ReleaseId,
    pub release_state: ReleaseState,
    pub manifest: String,
    /// Whether the image has no fault.
    pub is_image_sound: bool,
    pub policy: Policy,
    /// Whether the rollout goes on.
    pub status: Status,
    pub update: Update,
}

/// A device in an open rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    pub device: i64,
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

/// The rows of the updates of rollouts' devices. The decisions are in [`crate::rules::updates`].
pub trait UpdateRows {
    /// Those of these devices that are in an open rollout, in the order of their rows.
    fn devices_in_rollouts(&mut self, devices: &[i64]) -> Result<Vec<Member>, StoreError>;
    /// Adds an update for each target, PENDING.
    fn insert_updates(&mut self, rollout: i64, targets: &[Target], noted: &Audited) -> Result<(), StoreError>;
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
    /// How silent each site is, judged by those of its registered devices that were seen since `times.since` and whose update in this
    /// rollout, if they have one, has not begun (see [`UpdateState::has_begun`]). A device that was never offered the release although
    /// its turn has passed does not count: it was passed over because it was silent.
    fn silence(&mut self, rollout: i64, times: SilenceTimes) -> Result<Vec<SiteSilence>, StoreError>;
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
        noted: &Audited,
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

pub trait UpdateReads {
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
}
