//! Orders carried out: the next keyset, signed by keys that devices believe, and published.
//!
//! Version N+1 is signed by keys of N and of N+1, so that a device that holds N can believe it, and walk from any version to the
//! newest.

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
        By, Reader, Writer,
        keysets::{KeysetChange, ServerKeyRecord, ServerKeyStatus},
    },
};

/// How long a published keyset may be believed.
const KEYSET_LIFE: Duration = Duration::from_hours(90 * 24);

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

pub(super) async fn publish(
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

pub(super) fn held(vault: &Vault, key_id: &KeyId) -> Result<PrivateKey, KeyringError> {
    vault.find(key_id)?.ok_or_else(|| KeyringError::NotHeld { key_id: key_id.clone(), place: vault.place() })
}
