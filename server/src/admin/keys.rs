//! /api/keys: the server's keys, and how they change.

use ks_protocol::{
    id::KeyId,
    key::{PrivateKey, PublicKey},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Problem,
    devices::check_reason,
    route::{Call, Json, JsonBody, Nothing},
};
use crate::{
    keys::{KeyOrder, KeyringError, KeysetState, guard, publish},
    service::keys::{KeysStatus, refuse_to_stop_rollouts, refuse_to_strand},
};

/// Says how the keys are.
pub async fn status(call: Call, _: Nothing) -> Result<Json<KeysStatus>, Problem> {
    let state = KeysetState::read(&call.reader).await.map_err(problem)?.ok_or_else(Problem::internal)?;
    let holders = guard::stranded(&call.reader, &state, call.app.clock.now()).await.map_err(problem)?;
    Ok(Json(KeysStatus::of(state, holders)))
}

/// How to change the keys, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
    /// Even if more active devices are stranded than the settings allow.
    #[serde(default)]
    force: bool,
}

/// Which key to cut off, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CutOff {
    key_id: KeyId,
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Makes a new key and publishes it; the old one goes on signing.
pub async fn announce(call: Call, JsonBody(change): JsonBody<Change>) -> Result<Json<KeysStatus>, Problem> {
    check_reason(&change.reason)?;
    let key = PrivateKey::from_seed(&call.app.rng.bytes_32());
    let (app, by) = (&call.app, call.by());
    let state = KeysetState::read(&app.admin_reader).await.map_err(problem)?.ok_or_else(Problem::internal)?;
    let vault = app.keyring.vault();
    publish::announce(vault, &state, &key, &change.reason, &app.writer, &by).await.map_err(problem)?;
    in_force(call).await
}

/// A key that signs firmware, and why it is needed.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirmwareKey {
    /// Its public half; the private one stays where it was made.
    public_key: PublicKey,
    /// Even if devices would no longer believe a release that is being rolled out.
    #[serde(default)]
    force: bool,
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Publishes a key that signs firmware and nothing else: from then on no other key's FW_SIG counts.
pub async fn add_firmware(call: Call, JsonBody(key): JsonBody<FirmwareKey>) -> Result<Json<KeysStatus>, Problem> {
    check_reason(&key.reason)?;
    let order = KeyOrder::AddFirmware(key.public_key);
    if !key.force {
        let now = call.app.clock.now();
        refuse_to_stop_rollouts(&call.reader, &order, now).await.map_err(problem)?;
    }
    carry_out(call, &order, &key.reason).await
}

/// Signs with the announced key from now on.
pub async fn flip(call: Call, JsonBody(change): JsonBody<Change>) -> Result<Json<KeysStatus>, Problem> {
    guarded(call, &KeyOrder::Activate, change).await
}

/// Believes the retired keys no more.
pub async fn retire(call: Call, JsonBody(change): JsonBody<Change>) -> Result<Json<KeysStatus>, Problem> {
    guarded(call, &KeyOrder::Retire, change).await
}

/// Cuts off a compromised key at once, whoever is stranded by it.
pub async fn revoke(call: Call, JsonBody(what): JsonBody<CutOff>) -> Result<Json<KeysStatus>, Problem> {
    check_reason(&what.reason)?;
    carry_out(call, &KeyOrder::Revoke(what.key_id), &what.reason).await
}

async fn guarded(call: Call, order: &KeyOrder, change: Change) -> Result<Json<KeysStatus>, Problem> {
    check_reason(&change.reason)?;
    if !change.force {
        let most = call.app.config.keys_stranded_max_bp;
        refuse_to_strand(&call.reader, order, call.app.clock.now(), most).await.map_err(problem)?;
    }
    carry_out(call, order, &change.reason).await
}

async fn carry_out(call: Call, order: &KeyOrder, why: &str) -> Result<Json<KeysStatus>, Problem> {
    let (app, by) = (&call.app, call.by());
    publish::order(app.keyring.vault(), order, why, &app.writer, &app.admin_reader, &by).await.map_err(problem)?;
    in_force(call).await
}

/// Has this server take over what was published, at once, and says how the keys are.
async fn in_force(call: Call) -> Result<Json<KeysStatus>, Problem> {
    let Call { app, .. } = &call;
    app.keyring.follow(&app.writer, &app.admin_reader, app.clock.now()).await.map_err(problem)?;
    status(call, Nothing).await
}

fn problem(error: KeyringError) -> Problem {
    match error {
        KeyringError::Store(error) => error.into(),
        KeyringError::Vault(error) => {
            tracing::error!(%error, "a private key can't be kept or read");
            Problem::internal()
        }
        KeyringError::Key(error) => {
            tracing::error!(%error, "a key of the keyset can't be used");
            Problem::internal()
        }
        KeyringError::Document(error) => {
            tracing::error!(%error, "a keyset can't be read");
            Problem::internal()
        }
        KeyringError::StopsRollouts(_) => {
            Problem::conflict(format!("{error}; let the rollouts end, or abort them, or send `force`"))
        }
        KeyringError::Stranding { .. } => {
            Problem::conflict(format!("{error}; wait until more have fetched it, or send `force`"))
        }
        other => Problem::conflict(other.to_string()),
    }
}
