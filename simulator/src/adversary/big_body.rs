//! Sends bodies as large as any that are read, and ones that are a byte larger: what they take of the server is memory.

use ks_protocol::message::{Logs, Request as _};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

pub(super) fn wire(rng: &mut ChaCha8Rng) -> String {
    "a".repeat(Logs::BODY_BYTES_MAX + usize::from(rng.next_u32().is_multiple_of(2)))
}
