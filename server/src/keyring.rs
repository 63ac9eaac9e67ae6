//! The server's keys in force: which one signs, what keyset says so, and how orders change them.
//!
//! The store has the last word: a keyset is what was published there, and every server follows it. Version N+1 is signed by keys
//! of N and of N+1, so that a device that holds N can believe it, and walk from any version to the newest.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use ks_protocol::{
    document::{self, DocumentError},
    id::{DeviceId, KeyId},
    key::{BadKey, PrivateKey},
    manifest::Manifest,
    message::{Keyset, KeysetEntry, ServerKeyState, Trust, UpdateClass},
    signature::seal_document,
    text::Rows,
    time::UnixMs,
};

use crate::{
    clock::ms,
    failure::StartError,
    rollout::plan,
    rules,
    server_key::{KeyOrder, KeyOrderRefused, step},
    store::{
        By, Reader, StoreError, Writer,
        keysets::{KeysetChange, KeysetHolders, ServerKeyRecord, ServerKeyStatus},
        rollouts::RolloutRecord,
    },
    vault::Vault,
};

/// How long a published keyset may be believed.
const KEYSET_LIFE: Duration = Duration::from_hours(90 * 24);
/// It is published anew, for longer, when less than this is left.
const KEYSET_RENEWED_BEFORE: Duration = Duration::from_hours(30 * 24);
/// A device counts as active when it was heard within this time.
pub const ACTIVE: Duration = Duration::from_hours(7 * 24);

/// What signs now.
#[derive(Debug)]
struct InForce {
    version: u64,
    key_id: KeyId,
    signing: PrivateKey,
    expires_at: UnixMs,
    trust: Trust,
}

/// The keys in force, and the private halves.
#[derive(Debug)]
pub struct Keyring {
    now: RwLock<Arc<InForce>>,
    vault: Vault,
    firmware_key: Option<PrivateKey>,
}

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

/// The server's keys as the store has them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysetState {
    /// Version of the newest keyset.
    pub version: u64,
    /// Until when it may be believed.
    pub expires_at: UnixMs,
    /// Every key that was ever published, the oldest first.
    pub keys: Vec<ServerKeyRecord>,
    /// What a device trusts that holds the newest keyset.
    pub trust: Trust,
}

impl KeysetState {
    /// The key that signs.
    pub fn signing(&self) -> Option<&ServerKeyRecord> {
        self.keys.iter().find(|key| key.status == ServerKeyStatus::Signing)
    }

    /// That the key which the settings name is retired or removed, in words; none if it may sign, or is none of these keys.
    pub fn past(&self, given: &KeyId) -> Option<String> {
        let status = self.keys.iter().find(|key| key.key_id == *given)?.status;
        let so = match status {
            ServerKeyStatus::Retired => "signs no longer",
            ServerKeyStatus::Removed => "was revoked or retired for good: no device may be given it",
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

impl Keyring {
    /// The keys that the store has; before the first keyset, one is published with the key that the settings name.
    ///
    /// # Errors
    /// The key that signs is not held here, or the one that the settings name is a stranger.
    pub async fn start(vault: Vault, writer: &Writer, reader: &Reader, by: &By) -> Result<Self, KeyringError> {
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

    /// The same with a key of its own for firmware.
    #[must_use]
    pub fn with_firmware_key(self, firmware_key: Option<PrivateKey>) -> Self {
        Self { firmware_key, ..self }
    }

    /// The key that signs firmware here: the one of the settings if the keyset has it, the server's if the keyset has none for
    /// firmware.
    ///
    /// # Errors
    /// The keyset has a firmware key that is not here: sign offline.
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

    /// A manifest that devices would believe, as far as its signature goes.
    ///
    /// # Errors
    /// They would not: its key is not in force, or FW_SIG does not hold.
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

    /// The private halves.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Seals an answer: appends `key_id` and SIG_SERV.
    pub fn seal(&self, status: u16, sig_dev: &str, document: String) -> String {
        let now = self.now();
        seal_document(&now.signing, &now.key_id, status, sig_dev, document)
    }

    /// Takes over what was published since, by this server or another; and publishes the keyset anew before it expires.
    ///
    /// # Errors
    /// The store can't be asked, or a private half is missing. Then what was in force stays so.
    pub async fn follow(&self, writer: &Writer, reader: &Reader, at: UnixMs) -> Result<(), KeyringError> {
        let newest = reader.ask(|store| store.newest()).await?;
        self.follow_to(newest.keyset_version, writer, reader, at).await
    }

    /// The same, where it is known which version of the keyset is the newest.
    ///
    /// # Errors
    /// The same.
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
            tracing::info!(version = next.version, key_id = %next.key_id, "another keyset is in force");
            *self.now.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(next);
        }
        if self.now().expires_at.since_ms(at) < ms(KEYSET_RENEWED_BEFORE) {
            let by = By { name: "ks-server".to_owned(), address: None, at };
            match order(&self.vault, &KeyOrder::Renew, "its time runs out", writer, reader, &by).await {
                Ok(_) | Err(KeyringError::Raced) => {} // the next look takes it over, whoever published it
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What the state says is in force, with the private half that signs.
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

fn held(vault: &Vault, key_id: &KeyId) -> Result<PrivateKey, KeyringError> {
    vault.find(key_id)?.ok_or_else(|| KeyringError::NotHeld { key_id: key_id.clone(), place: vault.place() })
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

/// How many active devices would not believe answers if the keys changed so. Nobody is stranded by a key that is only
/// published: that is the way to let everybody know it.
///
/// A flip needs devices to hold the keyset that announced the key, a retirement the one in which the new key signs: a device
/// that holds it knows the key that signs from now on. One that says it holds a later keyset was led astray: there is none.
pub async fn stranded(reader: &Reader, state: &KeysetState, now: UnixMs) -> Result<KeysetHolders, KeyringError> {
    let (version, heard_since) = (state.version, now.minus_ms(ms(ACTIVE)));
    Ok(reader.ask(move |store| store.keyset_holders(version, heard_since)).await?)
}

/// Refuses an order after which devices would no longer believe a release that is being rolled out.
///
/// # Errors
/// There is one, or the order does not fit anyway.
pub async fn refuse_to_stop_rollouts(reader: &Reader, order: &KeyOrder, now: UnixMs) -> Result<(), KeyringError> {
    let Some(state) = KeysetState::read(reader).await? else { return Ok(()) };
    let (after, _) = step(&state.keys, order, now)?;
    let in_state = |status: fn(ServerKeyStatus) -> bool| -> Vec<KeyId> {
        after.iter().filter(|key| status(key.status)).map(|key| key.key_id.clone()).collect()
    };
    let for_firmware = in_state(|status| status == ServerKeyStatus::Firmware);
    let others = in_state(|status| !matches!(status, ServerKeyStatus::Firmware | ServerKeyStatus::Removed));
    let signers = if for_firmware.is_empty() { others } else { for_firmware };
    let asked = reader.ask(|store| {
        let ids = store.open_rollout_ids()?;
        ids.iter().map(|id| store.rollout(id)).collect::<Result<Vec<_>, _>>()
    });
    let is_stopped = |rollout: &RolloutRecord| {
        !rollout.state.status.is_over()
            && plan::read(&rollout.release.manifest).is_ok_and(|manifest| !signers.contains(&manifest.key_id))
    };
    let stopped: Vec<_> = asked.await?.into_iter().flatten().filter(is_stopped).collect();
    let names: Vec<String> = stopped.iter().map(|rollout| rollout.rollout_id.to_string()).collect();
    if names.is_empty() { Ok(()) } else { Err(KeyringError::StopsRollouts(names)) }
}

/// Refuses a flip or a retirement that would strand more than `stranded_max_bp` basis points of the active devices.
///
/// # Errors
/// It would, or it does not fit the keys anyway.
pub async fn refuse_to_strand(
    reader: &Reader,
    order: &KeyOrder,
    now: UnixMs,
    stranded_max_bp: u64,
) -> Result<(), KeyringError> {
    refuse_to_stop_rollouts(reader, order, now).await?;
    let Some(state) = KeysetState::read(reader).await? else { return Ok(()) };
    let holders = stranded(reader, &state, now).await?;
    let stranded = holders.stranded();
    if stranded * 10_000 > stranded_max_bp * holders.active {
        return Err(KeyringError::Stranding { version: state.version, holders, stranded_max_bp });
    }
    Ok(())
}

/// Keeps a new key and publishes it, and gives the version of the keyset that says so. Refused before a private half is kept
/// that nobody would use.
///
/// # Errors
/// The keys are not such that one can be announced, the key can't be kept, or somebody was quicker.
pub async fn announce(
    vault: &Vault,
    state: &KeysetState,
    key: &PrivateKey,
    why: &str,
    writer: &Writer,
    by: &By,
) -> Result<u64, KeyringError> {
    let order = KeyOrder::Announce(key.public_key());
    step(&state.keys, &order, by.at)?;
    vault.keep(key)?;
    publish(vault, Some(state), &order, why, writer, by).await
}

/// Carries out an order, and gives the version of the keyset that says so.
///
/// # Errors
/// The order does not fit the keys, a private half that must sign is not held, or somebody was quicker.
pub async fn order(
    vault: &Vault,
    order: &KeyOrder,
    why: &str,
    writer: &Writer,
    reader: &Reader,
    by: &By,
) -> Result<u64, KeyringError> {
    let state = KeysetState::read(reader).await?;
    publish(vault, state.as_ref(), order, why, writer, by).await
}

async fn publish(
    vault: &Vault,
    state: Option<&KeysetState>,
    order: &KeyOrder,
    why: &str,
    writer: &Writer,
    by: &By,
) -> Result<u64, KeyringError> {
    let before: &[ServerKeyRecord] = state.map(|state| state.keys.as_slice()).unwrap_or_default();
    let (keys, subject) = step(before, order, by.at)?;
    for key in keys.iter().filter(|key| key.status == ServerKeyStatus::Signing) {
        held(vault, &key.key_id)?; // or nobody could sign once it is published
    }
    let version = state.map_or(0, |state| state.version) + 1;
    let keyset = Keyset {
        kind: Default::default(),
        version,
        threshold: 1,
        expires_at: by.at + KEYSET_LIFE,
        keys: Rows::truncated(keys.iter().filter_map(entry).collect()),
        signatures: Rows::default(),
    };
    let signers = signers(vault, before, &keys)?;
    let named: Vec<_> = signers.iter().map(|(key_id, key)| (key_id, key)).collect();
    let document = document::encode(&keyset.signed_by(&named)?)?;
    let (action, detail) = (order.action(), why.to_owned());
    // Those that this keyset removes. A firmware key is not among them: it was made by people, and its file is theirs.
    let was_ours = |key_id: &KeyId| {
        let ours = [ServerKeyStatus::Announced, ServerKeyStatus::Signing, ServerKeyStatus::Retired];
        before.iter().any(|key| key.key_id == *key_id && ours.contains(&key.status))
    };
    let removed: Vec<KeyId> = keys
        .iter()
        .filter(|key| key.status == ServerKeyStatus::Removed && was_ours(&key.key_id))
        .map(|key| key.key_id.clone())
        .collect();
    let change = KeysetChange { version, document, keys, action, subject, detail };
    let by = by.clone();
    let is_published = writer.write(move |store| rules::keysets::publish(store, &change, &by)).await?;
    if !is_published {
        return Err(KeyringError::Raced);
    }
    // Nothing that they sign is believed any more: what is left of them can only be stolen.
    for key_id in &removed {
        if let Err(error) = vault.forget(key_id) {
            tracing::warn!(%key_id, %error, "the private half of a key that was removed is still there: delete it");
        }
    }
    Ok(version)
}

/// How a key stands in the keyset; none if it is out of it.
fn entry(key: &ServerKeyRecord) -> Option<KeysetEntry> {
    let state = match key.status {
        ServerKeyStatus::Announced => ServerKeyState::Announced,
        ServerKeyStatus::Signing => ServerKeyState::Signing,
        ServerKeyStatus::Retired => ServerKeyState::Retired,
        ServerKeyStatus::Firmware => ServerKeyState::Firmware,
        ServerKeyStatus::Removed => return None,
    };
    Some(KeysetEntry { key_id: key.key_id.clone(), state, public_key: key.public_key })
}

/// Who signs the next keyset: the keys of it that are held here, and if none of those was in the one before, those that were.
fn signers(
    vault: &Vault,
    before: &[ServerKeyRecord],
    after: &[ServerKeyRecord],
) -> Result<Vec<(KeyId, PrivateKey)>, KeyringError> {
    // Firmware keys vouch for firmware only.
    let may_sign = |key: &ServerKeyRecord| !matches!(key.status, ServerKeyStatus::Removed | ServerKeyStatus::Firmware);
    let is_believed =
        |keys: &[ServerKeyRecord], key_id: &KeyId| keys.iter().any(|key| key.key_id == *key_id && may_sign(key));
    let mut signers = Vec::new();
    for key in after.iter().filter(|key| may_sign(key)) {
        if let Some(private) = vault.find(&key.key_id)? {
            signers.push((key.key_id.clone(), private));
        }
    }
    if !before.is_empty() && !signers.iter().any(|(key_id, _)| is_believed(before, key_id)) {
        let old = before.iter().find(|key| key.status == ServerKeyStatus::Signing);
        if let Some(old) = old {
            signers.push((old.key_id.clone(), held(vault, &old.key_id)?));
        }
    }
    Ok(signers)
}
