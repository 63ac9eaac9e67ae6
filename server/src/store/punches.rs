//! Punches: each is stored exactly once, by device and number.

use ks_protocol::{
    id::{DeviceId, Sequence},
    message::Punch,
    time::UnixMs,
};

use super::StoreError;

/// A verified batch of punches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PunchBatch {
    pub device_id: DeviceId,
    pub sequence: Sequence,
    pub punches: Vec<Punch>,
    /// When it was received.
    pub at: UnixMs,
}

/// The result of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PunchesTaken {
    pub stored: u64,
    /// Punches stored before with the same content.
    pub known: u64,
    /// Numbers under which another punch is stored.
    pub conflicts: Vec<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PunchRecord {
    pub device_id: DeviceId,
    /// Its number on the device.
    pub punch_no: u64,
    pub site: String,
    /// When it was recorded, by the device's clock.
    pub at: UnixMs,
    /// When it was received.
    pub received_at: UnixMs,
    /// The credential presented.
    pub badge: String,
    pub direction: String,
    /// How the person was identified.
    pub method: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PunchFilter {
    pub site: Option<String>,
    pub device_id: Option<DeviceId>,
    /// Recorded at or after this.
    pub since: UnixMs,
    /// Recorded before this.
    pub until: UnixMs,
}

/// Where a page of punches ended: time, device row, number.
pub type PunchCursor = (UnixMs, i64, u64);

/// A punch to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewPunch<'a> {
    /// Row of the device.
    pub device: i64,
    /// When it was received.
    pub at: UnixMs,
    pub punch: &'a Punch,
}

/// The punch stored under a number of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPunch {
    /// Row of the device.
    pub device: i64,
    pub punch_no: u64,
    /// When it was recorded, by the device's clock.
    pub at: UnixMs,
    /// The credential presented.
    pub badge: String,
    pub direction: String,
    /// How the person was identified.
    pub method: String,
}

/// The rows of punches. The decisions are in [`crate::rules::punches`].
pub trait PunchRows {
    /// Adds punches in this order, each if its device has none with its number; returns for each whether it was added.
    fn insert_punches(&mut self, punches: &[NewPunch<'_>]) -> Result<Vec<bool>, StoreError>;
    /// The punches stored under these numbers, each given with its device's row, in any order.
    fn stored_punches(&mut self, numbers: &[(i64, u64)]) -> Result<Vec<StoredPunch>, StoreError>;
}

pub trait PunchReads {
    /// A page of punches after `after` in the order of time, at most `limit`, and the position of the last one if there may be more.
    fn punches(
        &mut self,
        which: &PunchFilter,
        after: Option<PunchCursor>,
        limit: usize,
    ) -> Result<(Vec<PunchRecord>, Option<PunchCursor>), StoreError> {
        let found = self.punches_after(which, after, limit)?;
        let is_full = found.len() == limit;
        let end = found.last().filter(|_| is_full).map(|(last, device)| (last.at, *device, last.punch_no));
        Ok((found.into_iter().map(|(record, _)| record).collect(), end))
    }
    /// Punches after `after` in the order of time, device row and number, at most `limit`, each with its device's row.
    fn punches_after(
        &mut self,
        which: &PunchFilter,
        after: Option<PunchCursor>,
        limit: usize,
    ) -> Result<Vec<(PunchRecord, i64)>, StoreError>;
    /// Numbers of the punches stored of each device, in order, of devices with a row above `after`, at most `limit` rows.
    fn punch_numbers(&mut self, after: (i64, u64), limit: usize) -> Result<Vec<(i64, DeviceId, u64)>, StoreError>;
}
