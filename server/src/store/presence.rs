//! What presence is reckoned from: when devices were last heard, and when no server was there to hear them.

use ks_protocol::{id::DeviceId, time::UnixMs};

use super::{StoreError, devices::DeviceStatus};

/// A time in which no server listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservationGap {
    pub from: UnixMs,
    pub to: UnixMs,
}

/// When a device was last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastSeenRecord {
    /// Row; devices are paged by it.
    pub row: i64,
    pub device_id: DeviceId,
    pub model: String,
    pub site: String,
    /// Its status.
    pub status: DeviceStatus,
    /// When it was last seen.
    pub last_seen_at: Option<UnixMs>,
}

/// The last word of a server that listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLiveness {
    /// When.
    pub at: UnixMs,
    /// From when to when a clock that is behind it said that it was meanwhile.
    pub behind: Option<(UnixMs, UnixMs)>,
}

/// The rows of presence. Within a transaction, [`crate::rules::presence`] decides over them.
pub trait PresenceRows {
    /// The last word of a server; none before the first.
    fn server_alive(&mut self) -> Result<Option<ServerLiveness>, StoreError>;
    /// Stores the last word of a server.
    fn save_server_alive(&mut self, alive: ServerLiveness) -> Result<(), StoreError>;
    /// Where the earliest gap begins that began at or before `from_max` and ended after `to_min`.
    fn gap_start(&mut self, from_max: UnixMs, to_min: UnixMs) -> Result<Option<UnixMs>, StoreError>;
    /// When the database was made.
    fn made_at(&mut self) -> Result<Option<UnixMs>, StoreError>;
    /// Adds a gap.
    fn insert_gap(&mut self, gap: ObservationGap) -> Result<(), StoreError>;
    /// Deletes gaps that ended after a time.
    fn delete_gaps_after(&mut self, at: UnixMs) -> Result<(), StoreError>;
    /// Forgets gaps that ended before a time.
    fn forget_gaps(&mut self, before: UnixMs) -> Result<(), StoreError>;
    /// Devices last heard within this span, both ends included, count as last heard at `heard_at`; gives how many there were.
    fn move_last_seen(&mut self, span: (UnixMs, UnixMs), heard_at: UnixMs) -> Result<usize, StoreError>;
}

/// What can be asked of presence.
pub trait PresenceReads {
    /// Gaps that ended after `since`, the oldest first.
    fn gaps(&mut self, since: UnixMs) -> Result<Vec<ObservationGap>, StoreError>;
    /// Devices with a row above `after`, at most `limit`.
    fn heard(&mut self, after: i64, limit: usize) -> Result<Vec<LastSeenRecord>, StoreError>;
}
