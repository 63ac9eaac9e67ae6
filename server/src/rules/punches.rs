//! Punches: each is stored exactly once; a number under which another punch is stored is a conflict.

use std::collections::BTreeMap;

use ks_protocol::message::Punch;

use crate::store::{
    StoreError, Transaction,
    punches::{NewPunch, PunchBatch, PunchesTaken, StoredPunch},
};

/// Stores the punches that are new, each batch with the row of its device.
pub(super) fn take(
    store: &mut dyn Transaction,
    batches: &[(i64, &PunchBatch)],
) -> Result<Vec<PunchesTaken>, StoreError> {
    let all: Vec<NewPunch<'_>> = batches
        .iter()
        .flat_map(|(device, batch)| batch.punches.iter().map(|punch| NewPunch { device: *device, at: batch.at, punch }))
        .collect();
    let is_new = if all.is_empty() { Vec::new() } else { store.insert_punches(&all)? };
    let others: Vec<(i64, u64)> =
        all.iter().zip(&is_new).filter(|(_, is_new)| !**is_new).map(|(punch, _)| number_of(punch)).collect();
    let stored = if others.is_empty() { Vec::new() } else { store.stored_punches(&others)? };
    let stored: BTreeMap<(i64, u64), StoredPunch> =
        stored.into_iter().map(|stored| ((stored.device, stored.punch_no), stored)).collect();
    let mut found = all.iter().zip(is_new);
    let taken = batches.iter().map(|(_, batch)| {
        let mut taken = PunchesTaken::default();
        for (new, is_new) in found.by_ref().take(batch.punches.len()) {
            if is_new {
                taken.stored += 1;
            } else if stored.get(&number_of(new)).is_some_and(|stored| is_same(stored, new.punch)) {
                taken.known += 1;
            } else {
                taken.conflicts.push(new.punch.punch_no.get());
            }
        }
        taken
    });
    Ok(taken.collect())
}

fn number_of(new: &NewPunch<'_>) -> (i64, u64) {
    (new.device, new.punch.punch_no.get())
}

/// Whether the punch stored under this number is the same punch.
fn is_same(stored: &StoredPunch, punch: &Punch) -> bool {
    stored.at == punch.at
        && stored.badge == punch.badge.as_str()
        && stored.direction == punch.direction.as_str()
        && stored.method == punch.method.as_str()
}
