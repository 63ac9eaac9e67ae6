//! Resends, byte for byte, requests of honest devices that the server accepted.

use rand_chacha::ChaCha8Rng;

use super::overheard;
use crate::shard::Shard;

pub(super) fn wire(rng: &mut ChaCha8Rng, shard: &Shard) -> Option<String> {
    overheard(rng, shard).map(|(body, signature)| body + &signature)
}
