//! Devices: whom a selector means, whose signed writes count.

use std::collections::BTreeSet;

use ks_protocol::{
    id::{DeviceId, Sequence},
    time::UnixMs,
};

use crate::store::{
    Denied, StoreError, Transaction,
    devices::{DeviceStatus, Selector, Standing},
};

/// Takes the pair for a registered device if it is greater than the one kept, and gives the device's row. The gate of every
/// signed write but a heartbeat, which takes its pair in the same way in the statement that also says what is due to it.
pub fn advance(
    store: &mut dyn Transaction,
    device_id: &DeviceId,
    sequence: Sequence,
    at: UnixMs,
) -> Result<Result<i64, Denied>, StoreError> {
    match store.take_pair(device_id, sequence, at)? {
        Some(device) => Ok(Ok(device)),
        None => Ok(Err(denied(store.standing(device_id)?))),
    }
}

/// Why a device that is so may not write under the pair that it sent.
pub fn denied(standing: Option<Standing>) -> Denied {
    match standing {
        None => Denied::Unknown,
        Some(Standing { status: DeviceStatus::Revoked, .. }) => Denied::Revoked,
        Some(Standing { status: DeviceStatus::Whitelisted, .. }) => Denied::NotRegistered,
        Some(Standing { kept, .. }) => Denied::Stale { kept },
    }
}

/// Devices that are meant, each with its standing, and names that are nobody's.
pub(crate) type Found = (Vec<(DeviceId, Standing)>, Vec<DeviceId>);

/// The devices that are meant, and those that were named and are nobody's.
pub(crate) fn find(store: &mut dyn Transaction, which: &Selector) -> Result<Found, StoreError> {
    let found = store.standings_of(which, 0, usize::MAX)?;
    let Some(named) = &which.device_ids else { return Ok((found, Vec::new())) };
    let meant: BTreeSet<&DeviceId> = found.iter().map(|(device_id, _)| device_id).collect();
    let mut unknown: Vec<DeviceId> = named.iter().filter(|device_id| !meant.contains(device_id)).cloned().collect();
    // With other conditions, a device that is known and not meant is not unknown.
    let only_names = Selector { device_ids: None, ..which.clone() } == Selector::default();
    if !only_names && !unknown.is_empty() {
        let names = Selector { device_ids: Some(unknown.clone()), ..Selector::default() };
        let known: BTreeSet<DeviceId> =
            store.standings_of(&names, 0, usize::MAX)?.into_iter().map(|(device_id, _)| device_id).collect();
        unknown.retain(|device_id| !known.contains(device_id));
    }
    Ok((found, unknown))
}
