//! The server's keys: their life cycle, where private keys are stored, what is published, what signs, and the checks before they
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
    key::InvalidKey,
    text::counted,
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
    /// The order is invalid for the keys.
    #[error(transparent)]
    Refused(#[from] KeyOrderRefused),
    /// Active devices would not know the key that signs.
    #[error(
        "keyset {version} is not confirmed by {} of {}, which would be stranded; at most {stranded_max_bp} in 10,000 may be{}",
        holders.stranded(), counted(holders.active, "active device"), unpublished(&holders.unknown_keyset)
    )]
    Stranding {
        /// The keyset that devices have not confirmed.
        version: u64,
        /// How many devices are active, and how many have confirmed it.
        holders: KeysetHolders,
        /// The share that may be stranded, in basis points.
        stranded_max_bp: u64,
    },
    /// Devices would not trust a release that is being rolled out.
    #[error("devices would no longer trust the release of these rollouts: {}", .0.join(", "))]
    StopsRollouts(Vec<String>),
    /// Another change of the keys came first.
    #[error("the keys were changed at the same moment by another order; check them and try again")]
    Raced,
    /// A private key is missing.
    #[error("the private key of {key_id} is not in {place}")]
    NotHeld {
        key_id: KeyId,
        /// Where it was expected.
        place: String,
    },
    /// The key in the settings was never published to the fleet.
    #[error("the fleet does not know the key in the settings, {given}: {signing} signs")]
    Stranger {
        /// The key in the settings.
        given: KeyId,
        signing: KeyId,
    },
    /// The published keyset can't be read.
    #[error("the published keyset can't be read: {0}")]
    Document(#[from] DocumentError),
    /// A key of the published keyset can't be used.
    #[error("the published keyset can't be used: {0}")]
    Key(#[from] InvalidKey),
    /// There is no private key here that may sign firmware.
    #[error("the keyset has a firmware key, and its private key is not here")]
    NoFirmwareKey,
    /// A private key can't be read or written.
    #[error(transparent)]
    Vault(#[from] StartError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Names devices that hold a keyset which this server never published, for the end of a sentence; empty if there are none.
fn unpublished(device_ids: &[DeviceId]) -> String {
    const NAMED_MAX: usize = 5;
    let names: Vec<&str> = device_ids.iter().take(NAMED_MAX).map(DeviceId::as_str).collect();
    let more = if device_ids.len() > NAMED_MAX { ", ..." } else { "" };
    if names.is_empty() {
        return String::new();
    }
    format!("; these hold a keyset that was never published here: {}{more}", names.join(", "))
}
