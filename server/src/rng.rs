//! Injected randomness: one seeded stream for the whole server. Only the edge asks the operating system for a seed.

use std::sync::{Mutex, PoisonError};

use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

/// The server's randomness, shared by all handlers.
#[derive(Debug)]
pub struct ServerRng(Mutex<ChaCha20Rng>);

impl ServerRng {
    /// A stream from `seed`: the same seed gives the same stream.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(Mutex::new(ChaCha20Rng::from_seed(seed)))
    }

    /// The next 32 bytes.
    pub fn bytes_32(&self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut bytes);
        bytes
    }
}
