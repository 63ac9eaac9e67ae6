//! /api/keys: the server's keys and their rotation.

use ks_protocol::{
    id::KeyId,
    key::{PrivateKey, PublicKey},
};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Problem,
    devices::check_reason,
    route::{Call, Json, JsonBody, NoInput},
};
use crate::{
    keys::{KeyOrder, KeyringError, KeysetState, guard, publish},
    service::keys::{KeysStatus, check_open_rollouts, check_stranding},
};

/// Reports the keys and how many devices hold the newest keyset.
pub async fn status(call: Call, _: NoInput) -> Result<Json<KeysStatus>, Problem> {
    let state = KeysetState::read(&call.reader).await.map_err(problem)?.ok_or_else(Problem::internal)?;
    let holders = guard::stranded(&call.reader, &state, call.app.clock.now()).await.map_err(problem)?;
    Ok(Json(KeysStatus::of(state, holders, call.app.config.keys_stranded_max_bp)))
}

/// A key change.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyChange {
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
    /// Proceed even if more active devices would be stranded than KEYS_STRANDED_MAX_BP allows.
    #[serde(default)]
    force: bool,
}

/// The key to revoke.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRevocation {
    key_id: KeyId,
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Creates a new key and publishes it. The old key keeps signing.
pub async fn announce(call: Call, JsonBody(change): JsonBody<KeyChange>) -> Result<Json<KeysStatus>, Problem> {
    check_reason(&change.reason)?;
    let key = PrivateKey::from_seed(&call.app.rng.bytes_32());
    let (app, by) = (&call.app, call.by());
    let state = KeysetState::read(&app.admin_reader).await.map_err(problem)?.ok_or_else(Problem::internal)?;
    let vault = app.keyring.vault();
    publish::announce(vault, &state, &key, &change.reason, &app.writer, &by).await.map_err(problem)?;
    load_and_report(call).await
}

/// A key that only signs firmware.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FirmwareKey {
    /// Public key. The private key stays where it was generated.
    public_key: PublicKey,
    /// Proceed even if devices would no longer accept a release that is being rolled out.
    #[serde(default)]
    force: bool,
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Publishes a key that signs only firmware. From then on, devices accept FW_SIG only from such keys.
pub async fn add_firmware(call: Call, JsonBody(key): JsonBody<FirmwareKey>) -> Result<Json<KeysStatus>, Problem> {
    check_reason(&key.reason)?;
    let order = KeyOrder::AddFirmware(key.public_key);
    if !key.force {
        let now = call.app.clock.now();
        check_open_rollouts(&call.reader, &order, now).await.map_err(problem)?;
    }
    apply(call, &order, &key.reason).await
}

/// Makes the announced key the signing key.
pub async fn activate(call: Call, JsonBody(change): JsonBody<KeyChange>) -> Result<Json<KeysStatus>, Problem> {
    apply_checked(call, &KeyOrder::Activate, change).await
}

/// Removes the retired keys from the keyset: devices no longer trust them.
pub async fn retire(call: Call, JsonBody(change): JsonBody<KeyChange>) -> Result<Json<KeysStatus>, Problem> {
    apply_checked(call, &KeyOrder::Retire, change).await
}

/// Revokes a compromised key immediately, even if devices are stranded.
pub async fn revoke(call: Call, JsonBody(what): JsonBody<KeyRevocation>) -> Result<Json<KeysStatus>, Problem> {
    check_reason(&what.reason)?;
    apply(call, &KeyOrder::Revoke(what.key_id), &what.reason).await
}

async fn apply_checked(call: Call, order: &KeyOrder, change: KeyChange) -> Result<Json<KeysStatus>, Problem> {
    check_reason(&change.reason)?;
    if !change.force {
        let max_bp = call.app.config.keys_stranded_max_bp;
        check_stranding(&call.reader, order, call.app.clock.now(), max_bp).await.map_err(problem)?;
    }
    apply(call, order, &change.reason).await
}

async fn apply(call: Call, order: &KeyOrder, why: &str) -> Result<Json<KeysStatus>, Problem> {
    let (app, by) = (&call.app, call.by());
    publish::order(app.keyring.vault(), order, why, &app.writer, &app.admin_reader, &by).await.map_err(problem)?;
    load_and_report(call).await
}

/// Makes this server load the published keyset immediately, and reports the keys.
async fn load_and_report(call: Call) -> Result<Json<KeysStatus>, Problem> {
    let Call { app, .. } = &call;
    app.keyring.follow(&app.writer, &app.admin_reader, app.clock.now()).await.map_err(problem)?;
    status(call, NoInput).await
}

fn problem(error: KeyringError) -> Problem {
    match error {
        KeyringError::Store(error) => error.into(),
        KeyringError::Vault(error) => {
            tracing::error!(%error, "a private key can't be stored or read");
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
            Problem::conflict(format!("{error}; wait until the rollouts end, abort them, or send `force`"))
        }
        KeyringError::Stranding { .. } => {
            Problem::conflict(format!("{error}; wait until more devices have fetched it, or send `force`"))
        }
        other => Problem::conflict(other.to_string()),
    }
}
