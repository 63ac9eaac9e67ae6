//! The data that presence is computed from: when devices were last seen, and when no server was running.

use ks_protocol::{id::DeviceId, time::UnixMs};

use super::{
    StoreError,
    devices::{DeviceStatus, Selector},
};

/// A time in which no server was running.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservationGap {
    pub from: UnixMs,
    pub to: UnixMs,
}

/// When a device was last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSeenRecord {
    /// Row; devices are paged by it.
    pub row: i64,
    pub device_id: DeviceId,
    pub model: String,
    pub site: String,
    pub status: DeviceStatus,
    /// When it was registered first; none before.
    pub registered_at: Option<UnixMs>,
    /// When it was last seen.
    pub last_seen_at: Option<UnixMs>,
    /// The firmware that it last reported; empty before its first heartbeat.
    pub firmware_version: String,
}

/// The last liveness record of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLiveness {
    pub at: UnixMs,
    /// The span of times recorded since by a clock that is behind `at`.
    pub behind: Option<(UnixMs, UnixMs)>,
}

/// The rows of presence. The decisions are in [`crate::rules::presence`].
pub trait PresenceRows {
    /// The last liveness record; none before the first.
    fn server_alive(&mut self) -> Result<Option<ServerLiveness>, StoreError>;
    /// Stores the last liveness record.
    fn save_server_alive(&mut self, alive: ServerLiveness) -> Result<(), StoreError>;
    /// Start of the earliest gap that began at or before `from_max` and ended after `to_min`.
    fn gap_start(&mut self, from_max: UnixMs, to_min: UnixMs) -> Result<Option<UnixMs>, StoreError>;
    /// When the database was created.
    fn made_at(&mut self) -> Result<Option<UnixMs>, StoreError>;
    fn insert_gap(&mut self, gap: ObservationGap) -> Result<(), StoreError>;
    /// Deletes gaps that ended after a time.
    fn delete_gaps_after(&mut self, at: UnixMs) -> Result<(), StoreError>;
    /// Deletes gaps that ended before a time.
    fn forget_gaps(&mut self, before: UnixMs) -> Result<(), StoreError>;
    /// Sets devices last seen within this span, both ends included, to last seen at `heard_at`; returns how many there were.
    fn move_last_seen(&mut self, span: (UnixMs, UnixMs), heard_at: UnixMs) -> Result<usize, StoreError>;
}

pub trait PresenceReads {
    /// Gaps that ended after `since`, the oldest first.
    fn gaps(&mut self, since: UnixMs) -> Result<Vec<ObservationGap>, StoreError>;
    /// Selected devices with a row above `after`, at most `limit`.
    fn last_seen(&mut self, which: &Selector, after: i64, limit: usize) -> Result<Vec<LastSeenRecord>, StoreError>;
}
