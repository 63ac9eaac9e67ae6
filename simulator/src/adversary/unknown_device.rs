//! Speaks, properly signed, for a device that nobody has whitelisted.

use ks_protocol::{id::Sequence, key::PrivateKey};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{GHOST, heartbeat};
use crate::shard::Shard;

pub(super) fn wire(rng: &mut ChaCha8Rng, shard: &Shard) -> Option<String> {
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    let device_id = format!("{GHOST}{}", rng.next_u32()).parse().ok()?;
    heartbeat(&device_id, &PrivateKey::from_seed(&seed), Sequence::new(1, 1), shard)
}
