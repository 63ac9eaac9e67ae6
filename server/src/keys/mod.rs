//! The server's keys: their life, where private halves are kept, what is published, what signs, and what is looked at before they
//! change.

pub mod guard;
pub mod life;
pub mod publish;
mod ring;
mod state;
pub mod vault;

use ks_protocol::{
    document::DocumentError,
    id::{DeviceId, KeyId},
    key::BadKey,
};

pub use life::{KeyOrder, KeyOrderRefused};
pub use ring::Keyring;
pub use state::KeysetState;
pub use vault::Vault;

use crate::{
    failure::StartError,
    store::{StoreError, keysets::KeysetHolders},
};

/// Why the keys can't be used or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The order does not fit the keys.
    #[error(transparent)]
    Refused(#[from] KeyOrderRefused),
    /// Active devices would be left with a key that they don't know.
    #[error(
        "{} of {} active devices have not confirmed keyset {version} and would be stranded; at most {stranded_max_bp} in 10,000 may be{}",
        holders.stranded(), holders.active, astray(&holders.astray)
    )]
    Stranding {
        /// The keyset that they have not confirmed.
        version: u64,
        /// How many there are, and how many have.
        holders: KeysetHolders,
        /// The share that may be stranded, in basis points.
        stranded_max_bp: u64,
    },
    /// Devices would not believe what is being rolled out.
    #[error("devices would no longer believe what is being rolled out: {}", .0.join(", "))]
    StopsRollouts(Vec<String>),
    /// Somebody else changed the keys at the same moment.
    #[error("the keys were changed by somebody else at the same moment; look at them, and try again")]
    Raced,
    /// A private half is not here.
    #[error("the private half of key {key_id} is not in {place}")]
    NotHeld {
        /// Which.
        key_id: KeyId,
        /// Where it was looked for.
        place: String,
    },
    /// The key that the settings name is none of the fleet's.
    #[error("the key of the settings, {given}, is none that the fleet knows: {signing} signs")]
    Stranger {
        /// The key given.
        given: KeyId,
        /// The key that signs.
        signing: KeyId,
    },
    /// What is published can't be read.
    #[error("the published keyset can't be read: {0}")]
    Document(#[from] DocumentError),
    /// A key of what is published can't be used.
    #[error("the published keyset can't be used: {0}")]
    Key(#[from] BadKey),
    /// No private half is here that may sign firmware.
    #[error("the keyset has a firmware key, and its private half is not here")]
    NoFirmwareKey,
    /// A private key can't be read or kept.
    #[error(transparent)]
    Vault(#[from] StartError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The devices that hold a keyset which was never published, for the end of a sentence; nothing if there is none.
fn astray(device_ids: &[DeviceId]) -> String {
    const NAMED_MAX: usize = 5;
    let names: Vec<&str> = device_ids.iter().take(NAMED_MAX).map(DeviceId::as_str).collect();
    let more = if device_ids.len() > NAMED_MAX { ", ..." } else { "" };
    if names.is_empty() {
        return String::new();
    }
    format!("; astray, with a keyset that was never published here: {}{more}", names.join(", "))
}
