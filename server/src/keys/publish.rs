//! Carries out orders: signs the next keyset with keys that devices trust, and publishes it.
//!
//! Version N+1 is signed by keys of N and of N+1, so that a device that holds N can trust it, and advance version by
//! version to the newest.

use std::time::Duration;

use ks_protocol::{
    document,
    id::KeyId,
    key::PrivateKey,
    message::{Keyset, KeysetEntry, ServerKeyState},
    text::Rows,
};

use super::{KeyOrder, KeyringError, KeysetState, Vault, life::step};
use crate::{
    rules,
    store::{
        Actor, Reader, Writer,
        keysets::{KeysetChange, ServerKeyRecord, ServerKeyStatus},
    },
};

/// How long a published keyset is valid.
const KEYSET_LIFE: Duration = Duration::from_hours(90 * 24);

/// Stores a new key and publishes it; gives the version of the keyset that announces it. An invalid order is refused before the
/// private key is stored.
///
/// # Errors
/// No key can be announced now, the key can't be stored, or another change came first.
pub async fn announce(
    vault: &Vault,
    state: &KeysetState,
    key: &PrivateKey,
    why: &str,
    writer: &Writer,
    by: &Actor,
) -> Result<u64, KeyringError> {
    let order = KeyOrder::Announce(key.public_key());
    step(&state.keys, &order, by.at)?;
    vault.keep(key)?;
    publish(vault, Some(state), &order, why, writer, by).await
}

/// Carries out an order; gives the version of the new keyset.
///
/// # Errors
/// The order is invalid for the keys, a private key that must sign is missing, or another change came first.
pub async fn order(
    vault: &Vault,
    order: &KeyOrder,
    why: &str,
    writer: &Writer,
    reader: &Reader,
    by: &Actor,
) -> Result<u64, KeyringError> {
    let state = KeysetState::read(reader).await?;
    publish(vault, state.as_ref(), order, why, writer, by).await
}

pub(super) async fn publish(
    vault: &Vault,
    state: Option<&KeysetState>,
    order: &KeyOrder,
    why: &str,
    writer: &Writer,
    by: &Actor,
) -> Result<u64, KeyringError> {
    let before: &[ServerKeyRecord] = state.map(|state| state.keys.as_slice()).unwrap_or_default();
    let (keys, subject) = step(before, order, by.at)?;
    for key in keys.iter().filter(|key| key.status == ServerKeyStatus::Signing) {
        held(vault, &key.key_id)?; // or no server could sign once it is published
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
    // The keys that this keyset removes. Firmware keys are not among them: operators create those and own their files.
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
    // Their signatures are no longer trusted; a private key that is left could only be stolen.
    for key_id in &removed {
        if let Err(error) = vault.forget(key_id) {
            tracing::warn!(%key_id, %error, "the private key of a removed key could not be deleted: delete it");
        }
    }
    Ok(version)
}

/// The entry of a key in the keyset; none if it is removed.
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

/// The keys that sign the next keyset: those of it that are held here, and if none of them was in the previous one, the key that
/// signed that.
fn signers(
    vault: &Vault,
    before: &[ServerKeyRecord],
    after: &[ServerKeyRecord],
) -> Result<Vec<(KeyId, PrivateKey)>, KeyringError> {
    // Firmware keys sign firmware only.
    let may_sign = |key: &ServerKeyRecord| !matches!(key.status, ServerKeyStatus::Removed | ServerKeyStatus::Firmware);
    let is_trusted =
        |keys: &[ServerKeyRecord], key_id: &KeyId| keys.iter().any(|key| key.key_id == *key_id && may_sign(key));
    let mut signers = Vec::new();
    for key in after.iter().filter(|key| may_sign(key)) {
        if let Some(private) = vault.find(&key.key_id)? {
            signers.push((key.key_id.clone(), private));
        }
    }
    if !before.is_empty() && !signers.iter().any(|(key_id, _)| is_trusted(before, key_id)) {
        let old = before.iter().find(|key| key.status == ServerKeyStatus::Signing);
        if let Some(old) = old {
            signers.push((old.key_id.clone(), held(vault, &old.key_id)?));
        }
    }
    Ok(signers)
}

pub(super) fn held(vault: &Vault, key_id: &KeyId) -> Result<PrivateKey, KeyringError> {
    vault.find(key_id)?.ok_or_else(|| KeyringError::NotHeld { key_id: key_id.clone(), place: vault.place() })
}
