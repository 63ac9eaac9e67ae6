//! The server's keys as the API and the command line show them, and the checks before a change.

use ks_protocol::{
    id::{DeviceId, KeyId},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    keys::{
        KeyOrder, KeyringError, KeysetState,
        guard::{self, InRollout},
    },
    rollout::plan,
    store::{
        Reader, StoreError,
        keysets::{KeysetHolders, ServerKeyRecord, ServerKeyStatus},
    },
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

/// The keys, and how many devices hold the newest keyset.
#[derive(Debug, Serialize, JsonSchema)]
pub struct KeysStatus {
    /// Version of the newest keyset.
    pub(crate) keyset_version: u64,
    pub(crate) expires_at: UnixMs,
    pub(crate) keys: Vec<ServerKey>,
    /// Registered devices seen within a week.
    pub(crate) active_devices: u64,
    /// Active devices that confirmed the newest keyset in a signed heartbeat.
    pub(crate) confirmed_devices: u64,
    /// Active devices that activating the announced key or retiring the old one would strand now.
    pub(crate) stranded_devices: u64,
    /// Of these, at most the first 100.
    pub(crate) stranded_first: Vec<DeviceId>,
    /// The most devices of 10,000 active ones that a change may strand without `force`.
    pub(crate) stranded_max_bp: u64,
    /// Registered devices that report a keyset newer than the newest one here, at most the first 100: either they trust keys that this
    /// server did not publish, or this database was restored from an older state.
    pub(crate) unknown_keyset_devices: Vec<DeviceId>,
}

impl KeysStatus {
    /// Combines the store's records with the setting KEYS_STRANDED_MAX_BP.
    pub(crate) fn of(state: KeysetState, holders: KeysetHolders, stranded_max_bp: u64) -> Self {
        Self {
            keyset_version: state.version,
            expires_at: state.expires_at,
            keys: state.keys.into_iter().map(ServerKey::from).collect(),
            active_devices: holders.active,
            confirmed_devices: holders.confirmed,
            stranded_devices: holders.stranded(),
            stranded_first: holders.without_newest,
            stranded_max_bp,
            unknown_keyset_devices: holders.unknown_keyset,
        }
    }
}

/// Checks that devices would still accept the releases being rolled out after a key change.
///
/// # Errors
/// They would not, or the keys do not permit the change.
pub async fn check_open_rollouts(reader: &Reader, order: &KeyOrder, now: UnixMs) -> Result<(), KeyringError> {
    guard::refuse_to_stop(reader, order, now, &in_rollout(reader).await?).await
}

/// Checks that a key change passes [`check_open_rollouts`] and strands at most `stranded_max_bp` basis points of the active devices.
///
/// # Errors
/// It does not, or the keys do not permit the change.
pub async fn check_stranding(
    reader: &Reader,
    order: &KeyOrder,
    now: UnixMs,
    stranded_max_bp: u64,
) -> Result<(), KeyringError> {
    check_open_rollouts(reader, order, now).await?;
    guard::refuse_to_strand(reader, now, stranded_max_bp).await
}

/// The open rollouts, each with the key that signed its release.
async fn in_rollout(reader: &Reader) -> Result<Vec<InRollout>, StoreError> {
    let asked = reader.ask(|store| {
        let ids = store.open_rollout_ids()?;
        ids.iter().map(|id| store.rollout(id)).collect::<Result<Vec<_>, _>>()
    });
    let open = asked.await?.into_iter().flatten().filter(|rollout| !rollout.state.status.is_over());
    let with_signer = open.filter_map(|rollout| {
        let signed_by = plan::read(&rollout.release.manifest).ok()?.key_id;
        Some(InRollout { rollout_id: rollout.rollout_id, signed_by })
    });
    Ok(with_signer.collect())
}
