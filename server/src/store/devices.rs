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
    /// Blocked for good.
    Revoked,
}

impl DeviceStatus {
    /// The word in the API and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Whitelisted => "WHITELISTED",
            Self::Registered => "REGISTERED",
            Self::Revoked => "REVOKED",
        }
    }
}

/// What authenticates a device: its key, its status and its greatest replay pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthRecord {
    /// Row; devices are paged by it.
    pub row: i64,
    pub device_id: DeviceId,
    pub public_key: PublicKey,
    /// The number of this key.
    pub key_no: u32,
    pub status: DeviceStatus,
    /// Greatest stored replay pair.
    pub sequence: Sequence,
    /// Commands wait for it.
    pub is_awaited: bool,
}

/// A device as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Row; devices are paged by it.
    pub row: i64,
    pub device_id: DeviceId,
    pub public_key: PublicKey,
    pub serial: String,
    pub manufacturer: String,
    pub model: String,
    pub site: String,
    pub labels: Vec<String>,
    /// Increases with each edit.
    pub version: u64,
    pub status: DeviceStatus,
    /// Greatest stored replay pair.
    pub sequence: Sequence,
    /// When it first registered.
    pub registered_at: Option<UnixMs>,
    pub revoked_at: Option<UnixMs>,
    pub revoke_reason: Option<String>,
    /// When its last accepted request was received.
    pub last_seen_at: Option<UnixMs>,
    /// The firmware that it last reported; empty before its first heartbeat.
    pub firmware_version: String,
    pub release_counter: u64,
    /// Version of the keyset that it last reported.
    pub keyset_version: u64,
}

/// A device to whitelist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Line of the inventory, for errors.
    pub line: u64,
    pub device_id: DeviceId,
    pub public_key: PublicKey,
    pub serial: String,
    pub manufacturer: String,
    pub model: String,
    pub site: String,
}

/// The part of an inventory imported in one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Devices of the inventory before this part.
    pub before: usize,
    /// Devices of the whole inventory.
    pub total: usize,
}

impl Part {
    /// A whole inventory with this many devices.
    pub fn whole(total: usize) -> Self {
        Self { before: 0, total }
    }
}

/// Selects devices that match all given conditions; without conditions, all devices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selector {
    /// Only devices of this list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_ids: Option<Vec<DeviceId>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// That last reported this firmware.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub firmware_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<DeviceStatus>,
    /// With this text in their id, serial number or a label, ignoring the case of ASCII letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
}

/// A registration whose signature was verified; whether it is allowed is decided in its transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    pub device_id: DeviceId,
    /// The key that signed.
    pub public_key: PublicKey,
    pub sequence: Sequence,
    /// SHA-256 of the one-time token, if one was sent.
    pub otrt_sha256: Option<[u8; 32]>,
    pub otrt_required: bool,
}

/// A verified rotation of a device's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRotation {
    pub device_id: DeviceId,
    pub sequence: Sequence,
    /// The key that signed the request.
    pub signed_with: PublicKey,
    /// The device's new key.
    pub new_public_key: PublicKey,
}

/// One-time registration tokens to be stored, all on the same terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOtrts {
    pub tokens_sha256: Vec<[u8; 32]>,
    pub expires_at: UnixMs,
    /// Usable by this device only.
    pub device_id: Option<DeviceId>,
    /// Usable by this model only.
    pub model: Option<String>,
}

impl NewOtrts {
    /// Other tokens on the same terms.
    #[must_use]
    pub fn on_the_same_terms(&self, tokens_sha256: &[[u8; 32]]) -> Self {
        let Self { expires_at, device_id, model, .. } = self;
        let (device_id, model) = (device_id.clone(), model.clone());
        Self { tokens_sha256: tokens_sha256.to_vec(), expires_at: *expires_at, device_id, model }
    }
}

/// The result of an import.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Devices that are new.
    pub added: usize,
    /// Devices that existed already with the same columns.
    pub unchanged: usize,
    /// How many of the unchanged devices are revoked, and stay so.
    pub revoked: usize,
}

/// Most problems reported for one inventory; the first ones show the pattern.
pub const PROBLEMS_MAX: usize = 1_000;

/// Why one row of an inventory can't be imported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImportProblem {
    /// Line of the inventory, from 1.
    pub line: u64,
    /// The column of the inventory.
    pub field: &'static str,
    /// What is wrong and what was expected.
    pub what: String,
}

/// The result of a revocation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Devices that this call revoked.
    pub revoked: Vec<DeviceId>,
    /// Devices that were revoked already.
    pub already: usize,
    pub unknown: Vec<DeviceId>,
}

/// Why a device can't be re-provisioned or edited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EditRefused {
    Unknown,
    /// A device has or had this key.
    KeyInUse,
    /// It was changed in the meantime.
    Changed {
        version: u64,
    },
}

/// The editable attributes of a device.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceEdit {
    pub site: Option<String>,
    /// All of its labels.
    pub labels: Option<Vec<String>>,
}

/// A device whose key or status changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceChange {
    /// Number of the change.
    pub number: i64,
    /// The device as it is now, not as this change left it.
    pub auth: AuthRecord,
}

/// The row of a device and what determines whether it may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceState {
    pub row: i64,
    /// The number of its key.
    pub key_no: u32,
    pub status: DeviceStatus,
    /// Greatest stored replay pair.
    pub kept: Sequence,
}

impl DeviceState {
    /// It as the sender of a request that its current key verified.
    pub fn sender(&self) -> Sender {
        Sender { row: self.row, key_no: self.key_no }
    }
}

/// Who sent a request: the device whose key verified it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    pub row: i64,
    /// The number of the key: once the device has another one, the request is no longer accepted.
    pub key_no: u32,
}

/// A replay pair that a device sends, and when it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    pub sender: Sender,
    pub device_id: &'a DeviceId,
    pub sequence: Sequence,
    pub at: UnixMs,
}

/// A device within a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRow {
    /// Its row, and what determines whether it may write.
    pub state: DeviceState,
    pub public_key: PublicKey,
    pub model: String,
    pub site: String,
    /// Increases with each edit.
    pub version: u64,
    /// When it first registered.
    pub registered_at: Option<UnixMs>,
}

/// A device's whitelist entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whitelisted {
    pub device_id: DeviceId,
    pub public_key: PublicKey,
    pub serial: String,
    pub manufacturer: String,
    pub model: String,
    pub site: String,
    pub is_revoked: bool,
}

/// A stored one-time token; only its hash is kept, never the token itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtrtRow {
    /// When it was created.
    pub created_at: UnixMs,
    pub expires_at: UnixMs,
    /// Usable by this device only.
    pub device_id: Option<DeviceId>,
    /// Usable by this model only.
    pub model: Option<String>,
    /// The key that has used it.
    pub used_key: Option<PublicKey>,
}

/// The stored rows that an inventory is compared with, for writers and for readers.
pub trait WhitelistRows {
    /// The devices with these names, in any order.
    fn whitelisted(&mut self, device_ids: &[&DeviceId]) -> Result<Vec<Whitelisted>, StoreError>;
    /// Which of these keys a device has or had, with the device, in any order.
    fn key_owners(&mut self, keys: &[PublicKey]) -> Result<Vec<(PublicKey, DeviceId)>, StoreError>;
}

/// The rows of devices and of their one-time tokens. The decisions are in [`crate::rules::devices`].
pub trait DeviceRows: WhitelistRows {
    /// The states of the devices with these names, in this order; none for unknown names.
    fn states(&mut self, device_ids: &[&DeviceId]) -> Result<Vec<Option<DeviceState>>, StoreError>;
    /// Selected devices with a row above `after`, at most `limit`, in the order of rows.
    fn states_of(
        &mut self,
        which: &Selector,
        after: i64,
        limit: usize,
    ) -> Result<Vec<(DeviceId, DeviceState)>, StoreError>;
    /// Stores each pair, and when the device was last seen, if the device is registered, has the sender's key, and the pair is greater
    /// than the stored one; returns the device's row in that case. Each device occurs at most once.
    fn take_pairs(&mut self, pairs: &[Pair<'_>]) -> Result<Vec<Option<i64>>, StoreError>;
    fn device(&mut self, device_id: &DeviceId) -> Result<Option<DeviceRow>, StoreError>;
    /// Adds devices with their keys, in this order. Names and keys must be unused.
    fn insert_devices(&mut self, devices: &[&NewDevice], at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Stores that a device registered for the first time, with its pair.
    fn register_device(&mut self, row: i64, sequence: Sequence, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Marks devices as revoked, each with its audit line; their versions increase by one.
    fn revoke_devices(&mut self, devices: &[(i64, Audited)], reason: &str, at: UnixMs) -> Result<(), StoreError>;
    /// Resets a device to its state after import, except its key, its history, and its version, which increases by one.
    fn restart_device(&mut self, row: i64, noted: &Audited) -> Result<(), StoreError>;
    /// Stores site and version of a device.
    fn save_device(&mut self, row: i64, site: &str, version: u64, noted: &Audited) -> Result<(), StoreError>;
    /// Stores all labels of a device.
    fn save_labels(&mut self, row: i64, labels: &[String], noted: &Audited) -> Result<(), StoreError>;
    /// Whether a key is or was any device's.
    fn is_known_key(&mut self, key: &PublicKey) -> Result<bool, StoreError>;
    /// Stores a new key of a device, which no device has or had; the previous one stays known as its old key.
    fn save_key(&mut self, row: i64, key: &PublicKey, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Makes every server reload these devices.
    fn insert_changes(&mut self, devices: &[i64], at: UnixMs) -> Result<(), StoreError>;
    /// Deletes changes before a time, at most `rows_max`, but keeps the newest, so that no number is reused. Every server has applied
    /// them long before.
    fn forget_changes(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError>;
    /// A one-time token, locked: no other transaction uses it until this one ends.
    fn otrt(&mut self, token_sha256: &[u8; 32]) -> Result<Option<OtrtRow>, StoreError>;
    /// Stores which key has used a token.
    fn use_otrt(
        &mut self,
        token_sha256: &[u8; 32],
        key: &PublicKey,
        at: UnixMs,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    fn insert_otrts(&mut self, otrts: &NewOtrts, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Number of these tokens that exist and are unused.
    fn count_unused_otrts(&mut self, tokens_sha256: &[[u8; 32]]) -> Result<usize, StoreError>;
    fn delete_unused_otrts(&mut self, tokens_sha256: &[[u8; 32]], noted: &Audited) -> Result<(), StoreError>;
    /// Expires the tokens bound to this device.
    fn end_otrts_of(&mut self, device_id: &DeviceId, noted: &Audited) -> Result<(), StoreError>;
    /// Deletes one-time tokens that expired before a time, at most `rows_max`; returns how many.
    fn forget_otrts(&mut self, before: UnixMs, rows_max: usize) -> Result<usize, StoreError>;
}

pub trait DeviceReads: WhitelistRows {
    /// One device by name.
    fn device(&mut self, device_id: &DeviceId) -> Result<Option<DeviceRecord>, StoreError>;
    /// Devices with a row above `after`, at most `limit`, in the order of rows.
    fn devices(&mut self, which: &Selector, after: i64, limit: usize) -> Result<Vec<DeviceRecord>, StoreError>;
    /// What authenticates one device.
    fn auth_record(&mut self, device_id: &DeviceId) -> Result<Option<AuthRecord>, StoreError>;
    /// What authenticates devices with a row above `after`, at most `limit`.
    fn auth_records(&mut self, after: i64, limit: usize) -> Result<Vec<AuthRecord>, StoreError>;
    /// Changes above `after`, at most `limit`; a device that changed twice may occur once. A change is never committed with a number
    /// below one that was read, since a follower would miss it.
    fn changes(&mut self, after: i64, limit: usize) -> Result<Vec<DeviceChange>, StoreError>;
}
