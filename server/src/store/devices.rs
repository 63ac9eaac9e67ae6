//! Devices: the whitelist, registration and its tokens, keys, revocation, labels.

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PublicKey,
    time::UnixMs,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::store::audit::chain::Audited;

/// Where a device is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeviceStatus {
    /// Imported; has not registered.
    Whitelisted,
    /// Registered: takes part.
    Registered,
    /// Shut out.
    Revoked,
}

/// What decides whether a device may speak.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StandingRecord {
    /// Row; devices are paged by it.
    pub row: i64,
    /// Name.
    pub device_id: DeviceId,
    /// Its key.
    pub public_key: PublicKey,
    /// Where it is in its life.
    pub status: DeviceStatus,
    /// Greatest replay pair stored.
    pub sequence: Sequence,
}

/// A device as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Row; devices are paged by it.
    pub row: i64,
    /// Name.
    pub device_id: DeviceId,
    /// Its key.
    pub public_key: PublicKey,
    /// Serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Where it stands.
    pub site: String,
    /// Labels, in order.
    pub labels: Vec<String>,
    /// Grows with each edit.
    pub version: u64,
    /// Where it is in its life.
    pub status: DeviceStatus,
    /// Greatest replay pair stored.
    pub sequence: Sequence,
    /// When it registered first.
    pub registered_at: Option<UnixMs>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMs>,
    /// Why.
    pub revoke_reason: Option<String>,
    /// When it was last heard.
    pub last_seen_at: Option<UnixMs>,
    /// The firmware that it last said it runs; empty before its first heartbeat.
    pub firmware_version: String,
    /// Its release counter.
    pub release_counter: u64,
    /// The keyset that it last said it holds.
    pub keyset_version: u64,
}

/// A device to whitelist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Line of the inventory, for errors.
    pub line: u64,
    /// Name.
    pub device_id: DeviceId,
    /// Key.
    pub public_key: PublicKey,
    /// Serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Where it stands.
    pub site: String,
}

/// Which part of an inventory is imported at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Devices of the inventory before it.
    pub before: usize,
    /// Devices of the whole inventory.
    pub total: usize,
}

impl Part {
    /// All of it, so many devices.
    pub fn whole(total: usize) -> Self {
        Self { before: 0, total }
    }
}

/// Which devices: those for which all that is given is so. With nothing given, every one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// Of these names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_ids: Option<Vec<DeviceId>>,
    /// Of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// At this site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// That last said they run this firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<String>,
    /// With this label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// In this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<DeviceStatus>,
}

/// A verified registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Who.
    pub device_id: DeviceId,
    /// The key that signed.
    pub public_key: PublicKey,
    /// Its replay pair.
    pub sequence: Sequence,
    /// SHA-256 of the one-time token, if one came.
    pub otrt_sha256: Option<[u8; 32]>,
    /// Whether a token is demanded.
    pub otrt_required: bool,
}

/// A verified rotation of a device's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotation {
    /// Who.
    pub device_id: DeviceId,
    /// Its replay pair.
    pub sequence: Sequence,
    /// The key that signed the request.
    pub signed_with: PublicKey,
    /// The key to know it by from now on.
    pub new_public_key: PublicKey,
}

/// New one-time tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOtrts {
    /// SHA-256 of each.
    pub tokens_sha256: Vec<[u8; 32]>,
    /// Usable until then.
    pub expires_at: UnixMs,
    /// Usable by this device only.
    pub device_id: Option<DeviceId>,
    /// Usable by this model only.
    pub model: Option<String>,
}

impl NewOtrts {
    /// Others on the same terms.
    #[must_use]
    pub fn on_the_same_terms(&self, tokens_sha256: &[[u8; 32]]) -> Self {
        let Self { expires_at, device_id, model, .. } = self;
        let (device_id, model) = (device_id.clone(), model.clone());
        Self { tokens_sha256: tokens_sha256.to_vec(), expires_at: *expires_at, device_id, model }
    }
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Devices that are new.
    pub added: usize,
    /// Devices that were there already, the same in every column.
    pub unchanged: usize,
    /// Of these, how many are revoked, and stay so.
    pub revoked: usize,
}

/// Faults of one inventory that are reported at most; the first ones tell the pattern.
pub const PROBLEMS_MAX: usize = 1_000;

/// Why one row of an inventory can't be imported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImportProblem {
    /// Line of the inventory, from 1.
    pub line: u64,
    /// The column.
    pub field: &'static str,
    /// What is wrong and what was expected.
    pub what: String,
}

/// What a revocation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Devices that are revoked now and were not before.
    pub revoked: Vec<DeviceId>,
    /// Devices that were revoked already.
    pub already: usize,
    /// Names that are nobody's.
    pub unknown: Vec<DeviceId>,
}

/// Why a device can't be given a new key, or be edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditRefused {
    /// No such device.
    Unknown,
    /// The key is or was somebody's.
    KeyInUse,
    /// It has another version by now.
    Changed {
        /// The version it has.
        version: u64,
    },
}

/// What of a device people may edit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceEdit {
    /// Where it stands.
    pub site: Option<String>,
    /// All of its labels.
    pub labels: Option<Vec<String>>,
}

/// A device whose key or status changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceChange {
    /// Number of the change.
    pub number: i64,
    /// As it is now.
    pub standing: StandingRecord,
}

/// The row of a device and what decides whether it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Row.
    pub row: i64,
    /// Where it is in its life.
    pub status: DeviceStatus,
    /// Greatest replay pair stored.
    pub kept: Sequence,
}

/// A replay pair that a device sends, and when it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    pub device_id: &'a DeviceId,
    pub sequence: Sequence,
    pub at: UnixMs,
}

/// A device within a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its row, and what decides whether it may write.
    pub standing: Standing,
    /// Its key.
    pub public_key: PublicKey,
    /// Model.
    pub model: String,
    /// Where it stands.
    pub site: String,
    /// Grows with each edit.
    pub version: u64,
    /// When it registered first.
    pub registered_at: Option<UnixMs>,
}

/// A device as the whitelist has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whitelisted {
    /// Name.
    pub device_id: DeviceId,
    /// Its key.
    pub public_key: PublicKey,
    /// Serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Where it stands.
    pub site: String,
    /// Whether it is revoked.
    pub is_revoked: bool,
}

/// A one-time token; itself it is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtrtRow {
    /// When it was made.
    pub created_at: UnixMs,
    /// Usable until then.
    pub expires_at: UnixMs,
    /// Usable by this device only.
    pub device_id: Option<DeviceId>,
    /// Usable by this model only.
    pub model: Option<String>,
    /// The key that has used it.
    pub used_key: Option<PublicKey>,
}

/// What an inventory is compared with, by who writes and by who only asks.
pub trait WhitelistRows {
    /// The devices of these names, in any order.
    fn whitelisted(&mut self, device_ids: &[&DeviceId]) -> Result<Vec<Whitelisted>, StoreError>;
    /// Those of these keys that a device has or had, with the device, in any order.
    fn key_owners(&mut self, keys: &[PublicKey]) -> Result<Vec<(PublicKey, DeviceId)>, StoreError>;
}

/// The rows of devices and of their one-time tokens. Within a transaction, [`crate::rules::devices`] decides over them.
pub trait DeviceRows: WhitelistRows {
    /// The standings of the devices of these names, in this order; none where there is none.
    fn standings(&mut self, device_ids: &[&DeviceId]) -> Result<Vec<Option<Standing>>, StoreError>;
    /// Devices with a row above `after` that a selector means, at most `limit`, in the order of rows.
    fn standings_of(
        &mut self,
        which: &Selector,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(DeviceId, Standing)>, StoreError>;
    /// Keeps each pair, and when the device was last heard, if the device is registered and the pair is greater than the one kept;
    /// gives the device's row where it is so. No device comes twice.
    fn take_pairs(&mut self, pairs: &[Pair<'_>]) -> Result<Vec<Option<i64>>, StoreError>;
    /// One device.
    fn device(&mut self, device_id: &DeviceId) -> Result<Option<DeviceRow>, StoreError>;
    /// Adds devices, with their keys, in this order. Nobody has the names or the keys.
    fn insert_devices(&mut self, devices: &[&NewDevice], at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Stores that a device registered for the first time, with its pair.
    fn register_device(&mut self, row: i64, sequence: Sequence, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Stores that devices are revoked, each with its line; their versions grow by one.
    fn revoke_devices(&mut self, devices: &[(i64, Audited)], reason: &str, at: UnixMs) -> Result<(), StoreError>;
    /// Stores that a device is as it was when it was imported, but for its key, its history and its version, which grows by one.
    fn restart_device(&mut self, row: i64, noted: &Audited) -> Result<(), StoreError>;
    /// Stores site and version of a device.
    fn save_device(&mut self, row: i64, site: &str, version: u64, noted: &Audited) -> Result<(), StoreError>;
    /// Stores all labels of a device.
    fn save_labels(&mut self, row: i64, labels: &[String], noted: &Audited) -> Result<(), StoreError>;
    /// Whether a key is or was any device's.
    fn is_known_key(&mut self, key: &PublicKey) -> Result<bool, StoreError>;
    /// Stores another key of a device, which nobody has or had; the one before stays known as its old one.
    fn save_key(&mut self, row: i64, key: &PublicKey, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Has every server look at these devices again.
    fn insert_changes(&mut self, devices: &[i64], at: UnixMs) -> Result<(), StoreError>;
    /// Forgets changes before a time, but the newest, so that no number is given twice: every server has long followed them. At most
    /// `rows_max` at once.
    fn forget_changes(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError>;
    /// One one-time token; nobody else uses it until the transaction ends.
    fn otrt(&mut self, token_sha256: &[u8; 32]) -> Result<Option<OtrtRow>, StoreError>;
    /// Stores which key has used a token.
    fn use_otrt(&mut self, token_sha256: &[u8; 32], key: &PublicKey, at: UnixMs) -> Result<(), StoreError>;
    /// Adds one-time tokens.
    fn insert_otrts(&mut self, otrts: &NewOtrts, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// How many of these tokens are known, and nobody has used.
    fn count_unused_otrts(&mut self, tokens_sha256: &[[u8; 32]]) -> Result<usize, StoreError>;
    /// Deletes them.
    fn delete_unused_otrts(&mut self, tokens_sha256: &[[u8; 32]], noted: &Audited) -> Result<(), StoreError>;
    /// Ends the tokens that only this device can use.
    fn end_otrts_of(&mut self, device_id: &DeviceId, noted: &Audited) -> Result<(), StoreError>;
    /// Deletes one-time tokens that ended before a time, at most `rows_max`; gives how many.
    fn forget_otrts(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError>;
}

/// What can be asked of devices.
pub trait DeviceReads: WhitelistRows {
    /// One device by name.
    fn device(&mut self, device_id: &DeviceId) -> Result<Option<DeviceRecord>, StoreError>;
    /// Devices with a row above `after`, at most `limit`, in the order of rows.
    fn devices(&mut self, which: &Selector, after: i64, limit: usize) -> Result<Vec<DeviceRecord>, StoreError>;
    /// The standing of one device.
    fn standing(&mut self, device_id: &DeviceId) -> Result<Option<StandingRecord>, StoreError>;
    /// The standings of devices with a row above `after`, at most `limit`.
    fn standings(&mut self, after: i64, limit: usize) -> Result<Vec<StandingRecord>, StoreError>;
    /// Changes above `after`, at most `limit`; a device that changed twice may come once. Nobody commits a change with a number below
    /// one that was seen: who follows would miss it.
    fn changes(&mut self, after: i64, limit: usize) -> Result<Vec<DeviceChange>, StoreError>;
}
