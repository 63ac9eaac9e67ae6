//! /api/keys: the server's keys, and how they change.

use ks_protocol::{
    id::{DeviceId, KeyId},
    key::{PrivateKey, PublicKey},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    devices::check_reason,
    route::{Call, Json, JsonBody, Nothing},
};
use crate::{
    keyring::{self, KeyringError, KeysetState},
    server_key::KeyOrder,
    store::keysets::{KeysetHolders, ServerKeyRecord, ServerKeyStatus},
};

/// A key of the server, without its private half.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ServerKey {
    pub(crate) key_id: KeyId,
    pub(crate) status: ServerKeyStatus,
    announced_at: UnixMs,
    signing_at: Option<UnixMs>,
    removed_at: Option<UnixMs>,
}

impl From<ServerKeyRecord> for ServerKey {
    fn from(record: ServerKeyRecord) -> Self {
        let ServerKeyRecord { key_id, status, announced_at, signing_at, removed_at, .. } = record;
        Self { key_id, status, announced_at, signing_at, removed_at }
    }
}

/// The keys as they are, and who knows them.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeysStatus {
    /// Version of the newest keyset.
    pub(crate) keyset_version: u64,
    pub(crate) expires_at: UnixMs,
    pub(crate) keys: Vec<ServerKey>,
    /// Registered devices that were heard within a week.
    pub(crate) active_devices: u64,
    /// Of these, those that confirmed the newest keyset in a signed heartbeat.
    pub(crate) confirmed_devices: u64,
    /// Those that a flip or a retirement would strand now.
    pub(crate) stranded_devices: u64,
    /// Registered devices that hold a keyset newer than the newest, the first 100: they believe somebody else's keys, or this
    /// database is older than what they have seen.
    pub(crate) astray_devices: Vec<DeviceId>,
}

impl KeysStatus {
    /// From what the store says.
    pub(crate) fn of(state: KeysetState, holders: KeysetHolders) -> Self {
        Self {
            keyset_version: state.version,
            expires_at: state.expires_at,
            keys: state.keys.into_iter().map(ServerKey::from).collect(),
            active_devices: holders.active,
            confirmed_devices: holders.confirmed,
            stranded_devices: holders.stranded(),
            astray_devices: holders.astray,
        }
    }
}

/// Says how the keys are.
pub async fn status(call: Call, _: Nothing) -> Result<Json<KeysStatus>, Problem> {
    let state = KeysetState::read(&call.reader).await.map_err(problem)?.ok_or_else(Problem::internal)?;
    let holders = keyring::stranded(&call.reader, &state, call.app.clock.now()).await.map_err(problem)?;
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
    keyring::announce(vault, &state, &key, &change.reason, &app.writer, &by).await.map_err(problem)?;
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
        keyring::refuse_to_stop_rollouts(&call.reader, &order, now).await.map_err(problem)?;
    }
    carry_out(call, &order, &key.reason).await
}

/// Signs with the announced key from now on.
pub async fn flip(call: Call, JsonBody(change): JsonBody<Change>) -> Result<Json<KeysStatus>, Problem> {
    guarded(call, &KeyOrder::Flip, change).await
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
        keyring::refuse_to_strand(&call.reader, order, call.app.clock.now(), most).await.map_err(problem)?;
    }
    carry_out(call, order, &change.reason).await
}

async fn carry_out(call: Call, order: &KeyOrder, why: &str) -> Result<Json<KeysStatus>, Problem> {
    let (app, by) = (&call.app, call.by());
    keyring::order(app.keyring.vault(), order, why, &app.writer, &app.admin_reader, &by).await.map_err(problem)?;
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
