//! The server's keys as they are shown, and what is looked at before they change.

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

/// Refuses an order after which devices would no longer believe a release that is being rolled out.
///
/// # Errors
/// There is one, or the order does not fit anyway.
pub async fn refuse_to_stop_rollouts(reader: &Reader, order: &KeyOrder, now: UnixMs) -> Result<(), KeyringError> {
    guard::refuse_to_stop(reader, order, now, &in_rollout(reader).await?).await
}

/// Refuses a flip or a retirement that would do so, or strand more than `stranded_max_bp` basis points of the active devices.
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
    guard::refuse_to_strand(reader, now, stranded_max_bp).await
}

/// The rollouts that are not over, and who signed what they roll out.
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
