//! The server's keys as the store has them: the published keyset, and what a device that holds it trusts.

use ks_protocol::{
    document,
    id::KeyId,
    message::{Keyset, Trust},
    time::UnixMs,
};

use super::KeyringError;
use crate::store::{
    Reader,
    keysets::{ServerKeyRecord, ServerKeyStatus},
};

/// The server's keys as the store has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysetState {
    /// Version of the newest keyset.
    pub version: u64,
    pub expires_at: UnixMs,
    /// Every key that was ever published, the oldest first.
    pub keys: Vec<ServerKeyRecord>,
    /// What a device that holds the newest keyset trusts.
    pub trust: Trust,
}

impl KeysetState {
    pub fn signing(&self) -> Option<&ServerKeyRecord> {
        self.keys.iter().find(|key| key.status == ServerKeyStatus::Signing)
    }

    /// A sentence that the key in the settings is retired or removed; none if it may sign, or is not one of these keys.
    pub fn past(&self, given: &KeyId) -> Option<String> {
        let status = self.keys.iter().find(|key| key.key_id == *given)?.status;
        let so = match status {
            ServerKeyStatus::Retired => "no longer signs",
            ServerKeyStatus::Removed => "was revoked or removed: no device may be given it",
            ServerKeyStatus::Announced | ServerKeyStatus::Signing | ServerKeyStatus::Firmware => return None,
        };
        let signing = self.signing().map_or_else(|| "none".to_owned(), |key| key.key_id.to_string());
        Some(format!("the settings name the key {given}, which is {} and {so}; {signing} signs", status.as_str()))
    }

    /// Reads it from the store; none before the first keyset.
    pub async fn read(reader: &Reader) -> Result<Option<Self>, KeyringError> {
        let asked = reader.ask(|store| {
            let version = store.newest()?.keyset_version;
            Ok((version, store.keyset_document(version)?, store.server_keys()?))
        });
        let (version, document, keys) = asked.await?;
        let Some(document) = document else { return Ok(None) };
        let keyset: Keyset = document::decode(&document)?;
        let trust = Trust::of(&keyset)?;
        Ok(Some(Self { version, expires_at: keyset.expires_at, keys, trust }))
    }
}
