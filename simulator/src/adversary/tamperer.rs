//! Changes the sequence number of a captured request, so that it would be new, and keeps its signature.

use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::overheard;
use crate::shard::Shard;

pub(super) fn wire(rng: &mut ChaCha8Rng, shard: &Shard) -> Option<String> {
    let (body, signature) = overheard(rng, shard)?;
    let line = body.lines().find(|line| line.starts_with("seq: "))?;
    let greater = format!("seq: {}", u64::from(rng.next_u32()) + (1 << 40));
    Some(body.replacen(line, &greater, 1) + &signature)
}
