//! Sends bodies of the maximum size and of one byte more, to use up the server's memory.

use ks_protocol::message::{Logs, Request as _};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

pub(super) fn wire(rng: &mut ChaCha8Rng) -> String {
    "a".repeat(Logs::BODY_BYTES_MAX + usize::from(rng.next_u32().is_multiple_of(2)))
}
