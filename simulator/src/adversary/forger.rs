//! Signs heartbeats of honest devices with a key that is not theirs.

use ks_protocol::{id::Sequence, key::PrivateKey};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{Knowledge, heartbeat, victim};
use crate::shard::Shard;

pub(super) fn wire(knowledge: &Knowledge, rng: &mut ChaCha8Rng, shard: &Shard) -> Option<String> {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    let far_ahead = Sequence::new(1_000, rng.next_u64() >> 16);
    heartbeat(victim(knowledge, rng)?, &PrivateKey::from_seed(&seed), far_ahead, shard)
}
