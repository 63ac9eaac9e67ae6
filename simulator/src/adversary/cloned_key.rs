//! Uses a device's key, copied when the device was new, with the replay pair from then; every other time under a name of
//! its own.
//!
//! A clone that also knew the current pair could not be distinguished from the device: revocation handles that case.

use ks_protocol::id::Sequence;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{CLONE, Knowledge, heartbeat, victim};
use crate::{device::machine::device_key, shard::Shard};

pub(super) fn wire(knowledge: &Knowledge, rng: &mut ChaCha8Rng, shard: &Shard) -> Option<String> {
    let device_id = victim(knowledge, rng)?.clone();
    let now = shard.time.unix_now();
    let key = device_key(knowledge.root_seed, &device_id);
    if rng.next_u32().is_multiple_of(2) {
        return heartbeat(&device_id, &key, Sequence::new(0, 1), now);
    }
    heartbeat(&format!("{device_id}{CLONE}").parse().ok()?, &key, Sequence::new(1, 1), now)
}
