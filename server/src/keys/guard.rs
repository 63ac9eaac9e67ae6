//! Checks before the keys change: devices that would trust no server key, and releases that no device would trust.

use std::time::Duration;

use ks_protocol::{
    id::{KeyId, RolloutId},
    time::UnixMs,
};

use super::{KeyOrder, KeyringError, KeysetState, life::step};
use crate::{
    clock::ms,
    store::{
        Reader,
        keysets::{KeysetHolders, ServerKeyStatus},
    },
};

/// A device counts as active when it was last seen within this time.
pub const ACTIVE: Duration = Duration::from_hours(7 * 24);

/// A rollout that has not ended, and the key that signed its release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRollout {
    pub rollout_id: RolloutId,
    /// The key of its release's manifest.
    pub signed_by: KeyId,
}

/// How many active devices would not trust responses after the change. A key that is only published strands no device: publishing
/// is how devices learn of it.
///
/// An activation requires devices to hold the keyset that announced the key, a retirement the one in which the new key signs: a
/// device that holds it knows the key that signs from now on. A device that reports a later keyset than the newest holds one that
/// this server never published.
pub async fn stranded(reader: &Reader, state: &KeysetState, now: UnixMs) -> Result<KeysetHolders, KeyringError> {
    let (version, seen_since) = (state.version, now.minus_ms(ms(ACTIVE)));
    Ok(reader.ask(move |store| store.keyset_holders(version, seen_since)).await?)
}

/// Refuses an order after which devices would no longer trust a release that is being rolled out.
///
/// # Errors
/// There is such a release, or the order is invalid anyway.
pub async fn refuse_to_stop(
    reader: &Reader,
    order: &KeyOrder,
    now: UnixMs,
    rollouts: &[InRollout],
) -> Result<(), KeyringError> {
    let Some(state) = KeysetState::read(reader).await? else { return Ok(()) };
    let (after, _) = step(&state.keys, order, now)?;
    let in_state = |status: fn(ServerKeyStatus) -> bool| -> Vec<KeyId> {
        after.iter().filter(|key| status(key.status)).map(|key| key.key_id.clone()).collect()
    };
    let for_firmware = in_state(|status| status == ServerKeyStatus::Firmware);
    let others = in_state(|status| !matches!(status, ServerKeyStatus::Firmware | ServerKeyStatus::Removed));
    let signers = if for_firmware.is_empty() { others } else { for_firmware };
    let stopped = rollouts.iter().filter(|rollout| !signers.contains(&rollout.signed_by));
    let names: Vec<String> = stopped.map(|rollout| rollout.rollout_id.to_string()).collect();
    if names.is_empty() { Ok(()) } else { Err(KeyringError::StopsRollouts(names)) }
}

/// Refuses a change that would strand more than `stranded_max_bp` basis points of the active devices.
///
/// # Errors
/// The change would strand more.
pub async fn refuse_to_strand(reader: &Reader, now: UnixMs, stranded_max_bp: u64) -> Result<(), KeyringError> {
    let Some(state) = KeysetState::read(reader).await? else { return Ok(()) };
    let holders = stranded(reader, &state, now).await?;
    let stranded = holders.stranded();
    if stranded * 10_000 > stranded_max_bp * holders.active {
        return Err(KeyringError::Stranding { version: state.version, holders, stranded_max_bp });
    }
    Ok(())
}
