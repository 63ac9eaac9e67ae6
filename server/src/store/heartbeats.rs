//! Heartbeats: one row each, in the order of commits.

use ks_protocol::{
    id::{DeviceId, Sequence},
    message::{Command, Heartbeat, Offer},
    time::UnixMs,
};

use super::{Span, StoreError, devices::Sender};

/// The part of a stored heartbeat that reconciliation and the measurement of background failures need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRecord {
    /// Row; heartbeats are paged by it.
    pub row: i64,
    pub device_id: DeviceId,
    pub sequence: Sequence,
    /// Seconds since boot, as reported.
    pub uptime_s: u64,
    /// When it was received.
    pub received_at: UnixMs,
    /// Counter of the firmware that runs.
    pub release_counter: u64,
}

/// A heartbeat of a device, with all fields.
#[derive(Debug, Clone, PartialEq)]
pub struct LastHeartbeat {
    /// When it was received.
    pub received_at: UnixMs,
    /// When it was sent, by the device's clock.
    pub sent_at: UnixMs,
    pub sequence: Sequence,
    /// Seconds since boot.
    pub uptime_s: u64,
    /// Temperature of the processor, in degrees Celsius.
    pub cpu_temp_c: f64,
    /// Free memory, in KiB.
    pub free_mem_kib: u64,
    /// How the device reaches the network.
    pub network: String,
    /// Strength of the radio signal, in dBm.
    pub rssi_dbm: Option<i64>,
    /// The firmware that runs.
    pub firmware_version: String,
}

/// When a device first reported a firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareRecord {
    pub firmware_version: String,
    pub release_counter: u64,
    pub since: UnixMs,
}

/// A verified heartbeat, and when it was received.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    pub heartbeat: Heartbeat,
    pub at: UnixMs,
}

/// What a device is due in the answer to its heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Open commands, urgent ones first, then the oldest.
    pub commands: Vec<Command>,
    /// A release to update to, if it is the device's turn.
    pub firmware: Option<Offer>,
    /// Whether the heartbeat advanced the device's update.
    pub is_update_further: bool,
}

/// A device whose heartbeat was accepted, as it was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BeatTaken {
    pub row: i64,
    /// Version of the keyset that it last reported.
    pub keyset_version: u64,
    /// Counter of the firmware that it last reported.
    pub release_counter: u64,
    pub firmware_version: String,
    /// Whether it has open commands.
    pub has_open_commands: bool,
    /// Whether its heartbeats affect an update of an open rollout.
    pub is_updating: bool,
}

/// The rows of heartbeats. The decisions are in [`crate::rules::heartbeats`].
pub trait HeartbeatRows {
    /// For each heartbeat whose device is registered and has the sender's key, and whose pair is greater than the stored one: stores the pair and when the
    /// device was last seen, adds the heartbeat, and marks it as the device's last. Returns the device as it was before; none where
    /// nothing was changed. Heartbeats are added in this order; each device occurs at most once.
    fn take_beats(&mut self, beats: &[(Sender, &Beat)]) -> Result<Vec<Option<BeatTaken>>, StoreError>;
    /// Stores the keyset and firmware that devices report, each by its row.
    fn save_reported(&mut self, reported: &[(i64, &Heartbeat)]) -> Result<(), StoreError>;
    /// Adds the firmware that devices report to their histories, each by its row, in this order.
    fn insert_firmware(&mut self, reported: &[(i64, &Beat)]) -> Result<(), StoreError>;
    /// The first heartbeats above `after` except the newest of all, at most `rows_max`, and the latest time at which one of them was
    /// received.
    fn span_of_heartbeats(&mut self, after: i64, rows_max: usize) -> Result<Option<(Span, UnixMs)>, StoreError>;
    /// Deletes heartbeats from above `after` up to `last` that were received before a time; returns how many.
    fn delete_heartbeats(&mut self, after: i64, last: i64, before: UnixMs) -> Result<usize, StoreError>;
    /// The first rows of the firmware history above `after`, at most `rows_max`.
    fn span_of_firmware(&mut self, after: i64, rows_max: usize) -> Result<Option<Span>, StoreError>;
    /// Deletes rows of the firmware history from above `after` up to `last` from before a time, except each device's newest; returns
    /// how many.
    fn delete_firmware(&mut self, after: i64, last: i64, before: UnixMs) -> Result<usize, StoreError>;
}

pub trait HeartbeatReads {
    /// Heartbeats with a row above `after`, at most `limit`, in the order of commits.
    fn heartbeats(&mut self, after: i64, limit: usize) -> Result<Vec<HeartbeatRecord>, StoreError>;
    /// The newest heartbeat's row; 0 when there is none.
    fn last_heartbeat_row(&mut self) -> Result<i64, StoreError>;
    /// When the newest heartbeat was received.
    fn newest_heartbeat_at(&mut self) -> Result<Option<UnixMs>, StoreError>;
    /// Heartbeats of a device, the newest first, at most `limit`, from the row `first` on if it is given; and the row of the next one.
    /// Those from before the schema's version 2 are not found, nor those before a deleted one.
    fn heartbeats_of(
        &mut self,
        device_id: &DeviceId,
        first: Option<i64>,
        limit: usize,
    ) -> Result<(Vec<LastHeartbeat>, Option<i64>), StoreError>;
    /// The last heartbeat of a device, if it is still kept.
    fn last_heartbeat(&mut self, device_id: &DeviceId) -> Result<Option<LastHeartbeat>, StoreError>;
    /// The firmware history of a device, the newest first, at most `limit`.
    fn firmware_history(&mut self, device_id: &DeviceId, limit: usize) -> Result<Vec<FirmwareRecord>, StoreError>;
}
