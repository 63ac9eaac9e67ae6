//! Which devices a selector selects, and which of the named ones do not exist.

use std::collections::BTreeSet;

use ks_protocol::id::DeviceId;

use crate::store::{
    StoreError, Transaction,
    devices::{DeviceState, Selector},
};

/// Selected devices, each with its state, and unknown names.
type SelectedDevices = (Vec<(DeviceId, DeviceState)>, Vec<DeviceId>);

/// The selected devices, and named devices that are unknown.
pub(super) fn find(store: &mut dyn Transaction, which: &Selector) -> Result<SelectedDevices, StoreError> {
    let found = store.states_of(which, 0, usize::MAX)?;
    let Some(named) = &which.device_ids else { return Ok((found, Vec::new())) };
    let selected: BTreeSet<&DeviceId> = found.iter().map(|(device_id, _)| device_id).collect();
    let mut unknown: Vec<DeviceId> = named.iter().filter(|device_id| !selected.contains(device_id)).cloned().collect();
    // With other conditions, a named device can be known without being selected.
    let only_names = Selector { device_ids: None, ..which.clone() } == Selector::default();
    if !only_names && !unknown.is_empty() {
        let names = Selector { device_ids: Some(unknown.clone()), ..Selector::default() };
        let known: BTreeSet<DeviceId> =
            store.states_of(&names, 0, usize::MAX)?.into_iter().map(|(device_id, _)| device_id).collect();
        unknown.retain(|device_id| !known.contains(device_id));
    }
    Ok((found, unknown))
}
