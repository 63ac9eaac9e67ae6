//! The server's keys, and every published keyset, as it was signed.

use ks_protocol::{
    id::{DeviceId, KeyId},
    key::PublicKey,
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::Serialize;

use super::StoreError;
use crate::store::audit::chain::Audited;

/// Lifecycle status of a server key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerKeyStatus {
    /// Published; does not sign yet.
    Announced,
    /// Signs answers.
    Signing,
    /// Signs no longer; still trusted.
    Retired,
    /// Signs firmware only.
    Firmware,
    /// No longer trusted.
    Removed,
}

impl ServerKeyStatus {
    pub const ALL: [Self; 5] = [Self::Announced, Self::Signing, Self::Retired, Self::Firmware, Self::Removed];

    /// Its name in the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Announced => "ANNOUNCED",
            Self::Signing => "SIGNING",
            Self::Retired => "RETIRED",
            Self::Firmware => "FIRMWARE",
            Self::Removed => "REMOVED",
        }
    }

    /// The status with this name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }
}

/// A server key, without its private half.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerKeyRecord {
    pub key_id: KeyId,
    pub public_key: PublicKey,
    pub status: ServerKeyStatus,
    /// When it was published.
    pub announced_at: UnixMs,
    /// When it began to sign.
    pub signing_at: Option<UnixMs>,
    /// When it was removed, that is, no longer trusted.
    pub removed_at: Option<UnixMs>,
}

/// A change of the server's keys: all keys after the change, and the keyset that publishes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysetChange {
    /// Version of the new keyset.
    pub version: u64,
    /// The keyset as it is served, without key_id and SIG_SERV.
    pub document: String,
    /// Every key that is not removed, and those removed now.
    pub keys: Vec<ServerKeyRecord>,
    /// What was done: `key.announce`, for the audit.
    pub action: &'static str,
    pub subject: KeyId,
    pub detail: String,
}

/// The rows of the server's keys. The decisions are in [`crate::rules::keysets`].
pub trait KeysetRows {
    /// The version of the newest keyset; 0 before the first.
    fn newest_keyset_version(&mut self) -> Result<u64, StoreError>;
    /// Adds a keyset, whose version must be unused.
    fn insert_keyset(&mut self, version: u64, document: &str, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Adds a key, or stores its status, `signing_at` and `removed_at`.
    fn save_server_key(&mut self, key: &ServerKeyRecord, noted: &Audited) -> Result<(), StoreError>;
}

/// Which devices hold the newest keyset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeysetHolders {
    /// Registered devices that were seen recently.
    pub active: u64,
    /// How many of these confirmed the newest keyset in a signed heartbeat.
    pub confirmed: u64,
    /// The active devices that hold another keyset; the first [`KEYSET_DEVICES_MAX`].
    pub without_newest: Vec<DeviceId>,
    /// Registered devices, seen recently or not, that hold a later one, which this store never published; the first
    /// [`KEYSET_DEVICES_MAX`]. They trust another server.
    pub unknown_keyset: Vec<DeviceId>,
}

/// Most devices listed that hold an older keyset, or one this server never published.
pub const KEYSET_DEVICES_MAX: usize = 100;

impl KeysetHolders {
    /// Active devices that hold an older keyset or one this server never published.
    pub fn stranded(&self) -> u64 {
        self.active.saturating_sub(self.confirmed)
    }
}

/// Queries about the server's keys.
pub trait KeysetReads {
    /// Every key that was ever published, the oldest first.
    fn server_keys(&mut self) -> Result<Vec<ServerKeyRecord>, StoreError>;
    /// A keyset's document by its version.
    fn keyset_document(&mut self, version: u64) -> Result<Option<String>, StoreError>;
    /// Which devices hold the newest keyset, `newest`; active are those seen since `heard_since`.
    fn keyset_holders(&mut self, newest: u64, heard_since: UnixMs) -> Result<KeysetHolders, StoreError>;
}
