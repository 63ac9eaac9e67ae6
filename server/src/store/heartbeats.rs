//! Heartbeats: one row each, in the order of commits.

use ks_protocol::{
    id::{DeviceId, Sequence},
    message::{Command, Heartbeat, Offer},
    time::UnixMs,
};

use super::{Denied, StoreError, Swept};

/// A stored heartbeat, as far as a reconciliation needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRecord {
    /// Row; heartbeats are paged by it.
    pub row: i64,
    /// Who sent it.
    pub device_id: DeviceId,
    /// Its replay pair.
    pub sequence: Sequence,
    /// Seconds since boot, as the device said.
    pub uptime_s: u64,
    /// When it was received.
    pub received_at: UnixMs,
}

/// The last heartbeat of a device, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct LastHeartbeat {
    /// When it was received.
    pub received_at: UnixMs,
    /// When the device says that it sent it.
    pub sent_at: UnixMs,
    /// Its replay pair.
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

/// From when on a device said that it runs a firmware.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareRecord {
    /// Version.
    pub firmware_version: String,
    /// Release counter.
    pub release_counter: u64,
    /// Since when.
    pub since: UnixMs,
}

/// What a device must be told after its heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Open commands, urgent ones first, then the oldest.
    pub commands: Vec<Command>,
    /// A release to update to, if its turn has come.
    pub firmware: Option<Offer>,
    /// Whether the heartbeat took the device's update any further.
    pub is_update_further: bool,
}

/// What can be written of heartbeats.
pub trait HeartbeatWrites {
    /// Takes the pair, appends the row, applies the ACKs that came along, and gives what is due.
    fn record_beat(&mut self, beat: &Heartbeat, at: UnixMs) -> Result<Result<Due, Denied>, StoreError>;
    /// One step of retention: looks at `rows_max` rows above `after`, and deletes those received before `before`. Rows from
    /// the future of `now`, which a wrong clock stamped, stay, and say nothing of the rows behind them. The newest row
    /// always stays, so that no row number is ever given twice.
    fn prune_heartbeats(
        &mut self,
        before: UnixMs,
        now: UnixMs,
        after: i64,
        rows_max: usize,
    ) -> Result<Swept, StoreError>;
    /// One step of retention, over rows above `after`: what firmware a device ran before a time, but for what it runs now.
    fn prune_firmware_history(&mut self, before: UnixMs, after: i64, rows_max: usize) -> Result<Swept, StoreError>;
}

/// What can be asked of heartbeats.
pub trait HeartbeatReads {
    /// Heartbeats with a row above `after`, at most `limit`, in the order of commits.
    fn heartbeats(&mut self, after: i64, limit: usize) -> Result<Vec<HeartbeatRecord>, StoreError>;
    /// The newest heartbeat's row; 0 when there is none.
    fn last_heartbeat_row(&mut self) -> Result<i64, StoreError>;
    /// When the newest heartbeat was received.
    fn newest_heartbeat_at(&mut self) -> Result<Option<UnixMs>, StoreError>;
    /// The last heartbeat of a device, if it is still kept.
    fn last_heartbeat(&mut self, device_id: &DeviceId) -> Result<Option<LastHeartbeat>, StoreError>;
    /// What a device ran, the newest first, at most `limit`.
    fn firmware_history(&mut self, device_id: &DeviceId, limit: usize) -> Result<Vec<FirmwareRecord>, StoreError>;
}
