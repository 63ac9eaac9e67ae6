//! The keys in the settings, and errors of the server's keys.

use ks_protocol::key::PrivateKey;

use super::database_error;
use crate::{
    config::{Config, FirmwareKeySource, ServerKeySource},
    edge::os_randomness,
    failure::{DatabaseFault, StartError},
    keys::{KeyringError, vault},
};

/// Whether a signing key may be created if none is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyCreation {
    /// A development key, for a server that no device knows yet.
    Yes,
    /// The database has devices, which would not trust a new key.
    NotForAFleet,
    /// The key is only read.
    No,
}

/// The signing key in the settings. A missing development key is created, with mode 0600, if allowed.
pub fn signing_key(config: &Config, may_make: KeyCreation) -> Result<PrivateKey, StartError> {
    let path = match &config.server_key {
        ServerKeySource::Given(key) => return Ok(key.clone()),
        ServerKeySource::File(path) => {
            return vault::read_key(path).map_err(|error| error.of("SERVER_PRIVATE_KEY_FILE"));
        }
        ServerKeySource::Development(path) => {
            match may_make {
                _ if path.exists() => {}
                KeyCreation::Yes => {
                    vault::write_key(path, &PrivateKey::from_seed(&os_randomness()?))?;
                    tracing::warn!(path = %path.display(), "created a DEVELOPMENT key: never use it in production");
                }
                KeyCreation::NotForAFleet => return Err(StartError::KeyMissing { database: config.database.clone() }),
                KeyCreation::No => {
                    return Err(StartError::InvalidKey {
                        place: path.display().to_string(),
                        why: "it does not exist, and neither SERVER_PRIVATE_KEY nor SERVER_PRIVATE_KEY_FILE is set"
                            .to_owned(),
                    });
                }
            }
            tracing::warn!(
                path = %path.display(),
                "SERVER_PRIVATE_KEY is not set: answers are signed with a DEVELOPMENT key; in production set SERVER_PRIVATE_KEY (`ks-server keys generate` creates one)"
            );
            path
        }
    };
    vault::read_key(path)
}

/// The key that signs releases instead of the server's, if it is set.
pub fn firmware_key(config: &Config) -> Result<Option<PrivateKey>, StartError> {
    match &config.firmware_key {
        None => Ok(None),
        Some(FirmwareKeySource::Given(key)) => Ok(Some(key.clone())),
        Some(FirmwareKeySource::File(path)) => {
            vault::read_key(path).map(Some).map_err(|error| error.of("FIRMWARE_PRIVATE_KEY_FILE"))
        }
    }
}

/// The help if the settings name a key that no longer signs.
pub const PAST_KEY_HELP: &str = "set SERVER_PRIVATE_KEY_FILE to the PEM file of the key that signs, in SERVER_KEYS_DIR; `ks-server keys status` names it";

/// The error of a command that the server's keys do not allow.
pub fn keys_error(config: &Config, error: KeyringError) -> StartError {
    let help = match &error {
        KeyringError::Vault(_) | KeyringError::Store(_) | KeyringError::Document(_) | KeyringError::Key(_) => "",
        KeyringError::NoFirmwareKey => "sign the manifest offline, with `ks-server firmware sign`",
        KeyringError::Refused(_) => "`ks-server keys status` shows the keys as they are",
        KeyringError::StopsRollouts(_) => {
            "wait until the rollouts have ended, or abort them; with --force their devices will reject the release"
        }
        KeyringError::Stranding { .. } => {
            "wait until more devices have fetched the keyset, or give --force to strand them"
        }
        KeyringError::Raced => "check `ks-server keys status` and try again",
        KeyringError::NotHeld { .. } => {
            "copy the PEM file of that key there, or set SERVER_KEYS_DIR to the folder that has it"
        }
        KeyringError::Stranger { .. } => {
            "set SERVER_PRIVATE_KEY_FILE (or SERVER_PRIVATE_KEY) to a key of the fleet; a new one must be announced first: `ks-server keys announce`"
        }
    };
    match error {
        KeyringError::Vault(error) => error,
        KeyringError::Store(error) => database_error(config, &error),
        KeyringError::Document(error) => StartError::UnusableDatabase {
            path: config.database.clone(),
            fault: DatabaseFault::Damaged,
            why: error.to_string(),
        },
        other => StartError::refused(other.to_string(), help),
    }
}
