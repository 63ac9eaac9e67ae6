//! What presence is reckoned from: when devices were last heard, and when no server was there to hear them.

use ks_protocol::{id::DeviceId, time::UnixMs};

use super::{StoreError, devices::DeviceStatus};

/// A time in which no server listened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ObservationGap {
    /// From.
    pub from: UnixMs,
    /// To.
    pub to: UnixMs,
}

/// When a device was last heard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeardRecord {
    /// Row; devices are paged by it.
    pub row: i64,
    /// Name.
    pub device_id: DeviceId,
    /// Model.
    pub model: String,
    /// Site.
    pub site: String,
    /// Where it is in its life.
    pub status: DeviceStatus,
    /// When it was last heard.
    pub last_seen_at: Option<UnixMs>,
}

/// What can be written of presence.
pub trait PresenceWrites {
    /// A server listens at `at`. If none did for longer than `gap_min_ms`, that was a gap.
    ///
    /// If the clock was ahead before, what was heard then counts as heard when it went wrong, and the time since as a gap. If it
    /// is behind now, what is heard meanwhile counts, once it is right again, as heard when it went wrong.
    fn alive(&mut self, at: UnixMs, gap_min_ms: u64) -> Result<(), StoreError>;
    /// Forgets gaps that ended before a time.
    fn forget_gaps(&mut self, before: UnixMs) -> Result<(), StoreError>;
}

/// What can be asked of presence.
pub trait PresenceReads {
    /// Gaps that ended after `since`, the oldest first.
    fn gaps(&mut self, since: UnixMs) -> Result<Vec<ObservationGap>, StoreError>;
    /// Devices with a row above `after`, at most `limit`.
    fn heard(&mut self, after: i64, limit: usize) -> Result<Vec<HeardRecord>, StoreError>;
}
