//! Punches: each exactly once; a number that stands for another punch is a conflict.

use ks_protocol::{message::Punch, time::UnixMs};

use super::devices::advance;
use crate::store::{
    Denied, StoreError, Transaction,
    punches::{PunchBatch, PunchesTaken, StoredPunch},
};

/// Takes the pair, and stores the punches that are not there yet.
pub fn take(
    store: &mut dyn Transaction,
    batch: &PunchBatch,
    at: UnixMs,
) -> Result<Result<PunchesTaken, Denied>, StoreError> {
    let device = match advance(store, &batch.device_id, batch.sequence, at)? {
        Ok(device) => device,
        Err(denied) => return Ok(Err(denied)),
    };
    let is_new = store.insert_punches(device, &batch.punches, at)?;
    let others: Vec<&Punch> =
        batch.punches.iter().zip(&is_new).filter(|(_, is_new)| !**is_new).map(|(punch, _)| punch).collect();
    let stored = u64::try_from(batch.punches.len() - others.len()).unwrap_or(u64::MAX);
    let mut taken = PunchesTaken { stored, ..PunchesTaken::default() };
    if others.is_empty() {
        return Ok(Ok(taken));
    }
    let numbers: Vec<u64> = others.iter().map(|punch| punch.punch_no.get()).collect();
    let kept = store.stored_punches(device, &numbers)?;
    for punch in others {
        if kept.iter().any(|kept| is_same(kept, punch)) {
            taken.known += 1;
        } else {
            taken.conflicts.push(punch.punch_no.get());
        }
    }
    Ok(Ok(taken))
}

/// Whether what is stored is this very punch.
fn is_same(kept: &StoredPunch, punch: &Punch) -> bool {
    kept.punch_no == punch.punch_no.get()
        && kept.at == punch.at
        && kept.badge == punch.badge.as_str()
        && kept.direction == punch.direction.as_str()
        && kept.method == punch.method.as_str()
}
