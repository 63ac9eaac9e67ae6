//! The server's keys in force: which one signs, and by which keyset.
//!
//! The store is the authority: a keyset is in force once it is published there, and every server follows it.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use ks_protocol::{
    id::KeyId,
    key::PrivateKey,
    manifest::Manifest,
    message::{Trust, UpdateClass},
    signature::seal_document,
    time::UnixMs,
};

use super::{
    KeyOrder, KeyOrderRefused, KeyringError, KeysetState, Vault,
    publish::{held, order, publish},
};
use crate::{
    clock::ms,
    store::{Actor, Reader, Writer},
};

/// The keyset is renewed when less than this is left of its validity.
const KEYSET_RENEWED_BEFORE: Duration = Duration::from_hours(30 * 24);

/// The keyset in force, and the key that signs.
#[derive(Debug)]
struct InForce {
    version: u64,
    key_id: KeyId,
    signing: PrivateKey,
    expires_at: UnixMs,
    trust: Trust,
}

/// The keys in force, and the private keys.
#[derive(Debug)]
pub struct Keyring {
    now: RwLock<Arc<InForce>>,
    vault: Vault,
    firmware_key: Option<PrivateKey>,
}

impl Keyring {
    /// Reads the keys from the store; if there is no keyset yet, publishes the first one with the key in the settings.
    ///
    /// # Errors
    /// The key that signs is missing here, or the fleet does not know the key in the settings.
    pub async fn start(vault: Vault, writer: &Writer, reader: &Reader, by: &Actor) -> Result<Self, KeyringError> {
        let mut state = KeysetState::read(reader).await?;
        if state.is_none() {
            let first = KeyOrder::Announce(vault.given().public_key());
            match publish(&vault, None, &first, "the first key", writer, by).await {
                Ok(_) | Err(KeyringError::Raced) => state = KeysetState::read(reader).await?,
                Err(error) => return Err(error),
            }
        }
        let state = state.ok_or(KeyringError::Raced)?;
        let given = vault.given().public_key().key_id();
        if let Some(signing) = state.signing().filter(|_| state.keys.iter().all(|key| key.key_id != given)) {
            return Err(KeyringError::Stranger { given, signing: signing.key_id.clone() });
        }
        let now = RwLock::new(Arc::new(in_force(&vault, &state)?));
        Ok(Self { now, vault, firmware_key: None })
    }

    /// Adds a separate key for firmware.
    #[must_use]
    pub fn with_firmware_key(self, firmware_key: Option<PrivateKey>) -> Self {
        Self { firmware_key, ..self }
    }

    /// The key that signs firmware here: the one in the settings if the keyset has it, or the server's if the keyset has no
    /// firmware key.
    ///
    /// # Errors
    /// The keyset has a firmware key that is missing here: sign offline.
    pub fn firmware_signer(&self) -> Result<PrivateKey, KeyringError> {
        let now = self.now();
        let given = self.firmware_key.as_ref();
        let is_published = |key: &&PrivateKey| {
            let key_id = key.public_key().key_id();
            now.trust.firmware_keys.iter().any(|(published, _)| *published == key_id)
        };
        match given.filter(is_published) {
            Some(key) => Ok(key.clone()),
            None if now.trust.firmware_keys.is_empty() => Ok(now.signing.clone()),
            None => Err(KeyringError::NoFirmwareKey),
        }
    }

    /// Opens a manifest whose signature devices would accept.
    ///
    /// # Errors
    /// They would reject it: its key is not in force, or FW_SIG is invalid.
    pub fn open_manifest(&self, signed: &str) -> Result<Manifest, UpdateClass> {
        Manifest::open(signed, self.now().trust.firmware_signers())
    }

    fn now(&self) -> Arc<InForce> {
        Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Version of the keyset in force.
    pub fn version(&self) -> u64 {
        self.now().version
    }

    /// Name of the key that signs.
    pub fn key_id(&self) -> KeyId {
        self.now().key_id.clone()
    }

    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Seals a response: appends `key_id` and SIG_SERV.
    pub fn seal(&self, status: u16, sig_dev: &str, document: String) -> String {
        let now = self.now();
        seal_document(&now.signing, &now.key_id, status, sig_dev, document)
    }

    /// Adopts the newest keyset, published by this server or another; and renews the keyset before it expires.
    ///
    /// # Errors
    /// The store can't be read, or a private key is missing. Then the keys in force stay as they are.
    pub async fn follow(&self, writer: &Writer, reader: &Reader, at: UnixMs) -> Result<(), KeyringError> {
        let newest = reader.ask(|store| store.newest()).await?;
        self.follow_to(newest.keyset_version, writer, reader, at).await
    }

    /// As [`Keyring::follow`], with the newest version already known.
    ///
    /// # Errors
    /// As [`Keyring::follow`].
    pub async fn follow_to(
        &self,
        newest: u64,
        writer: &Writer,
        reader: &Reader,
        at: UnixMs,
    ) -> Result<(), KeyringError> {
        if newest != self.version()
            && let Some(state) = KeysetState::read(reader).await?
        {
            let next = in_force(&self.vault, &state)?;
            tracing::info!(version = next.version, key_id = %next.key_id, "a new keyset is in force");
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        }
        if self.now().expires_at.since_ms(at) < ms(KEYSET_RENEWED_BEFORE) {
            let by = Actor { name: "ks-server".to_owned(), address: None, at };
            match order(&self.vault, &KeyOrder::Renew, "it expires soon", writer, reader, &by).await {
                Ok(_) | Err(KeyringError::Raced) => {} // the next call adopts it, whichever server published it
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The keys in force by this state, with the private key that signs.
fn in_force(vault: &Vault, state: &KeysetState) -> Result<InForce, KeyringError> {
    let signing = state.signing().ok_or(KeyringError::Refused(KeyOrderRefused::NothingAnnounced))?;
    let private = held(vault, &signing.key_id)?;
    Ok(InForce {
        version: state.version,
        key_id: signing.key_id.clone(),
        signing: private,
        expires_at: state.expires_at,
        trust: state.trust.clone(),
    })
}
