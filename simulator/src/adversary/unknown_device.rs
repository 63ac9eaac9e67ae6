//! Sends properly signed heartbeats of devices that are not whitelisted, under many names in turn.

use ks_protocol::{id::Sequence, key::PrivateKey};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{GHOST, heartbeat};
use crate::shard::Shard;

/// Limit of signed heartbeats; then they are resent, which makes no difference to a server that looks each name up.
const SIGNED_MAX: usize = 1_024;

#[derive(Default)]
pub(super) struct UnknownDevices {
    signed: Vec<String>,
    sent: usize,
}

impl UnknownDevices {
    pub(super) fn wire(&mut self, rng: &mut ChaCha8Rng, shard: &Shard) -> Option<String> {
        let place = self.sent % SIGNED_MAX;
        self.sent = self.sent.wrapping_add(1);
        if let Some(signed) = self.signed.get(place) {
            return Some(signed.clone());
        }
        let mut seed = [0; 32];
        rng.fill_bytes(&mut seed);
        let device_id = format!("{GHOST}{}", rng.next_u32()).parse().ok()?;
        let wire = heartbeat(&device_id, &PrivateKey::from_seed(&seed), Sequence::new(1, 1), shard.time.unix_now())?;
        self.signed.push(wire.clone());
        Some(wire)
    }
}
