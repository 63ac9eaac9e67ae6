//! Has a device's own key, copied when the device was new, and speaks from where the device was then; every other time
//! it uses the key under a name of its own.
//!
//! A clone that also knew the device's present pair could not be told from the device: that is what revocation is for.

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
