//! Signs heartbeats of honest devices with a foreign key: signs one, and sends it under all their names with changing
//! sequence numbers.

use ks_protocol::key::PrivateKey;
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{Knowledge, template::Template, victim};
use crate::shard::Shard;

#[derive(Default)]
pub(super) struct Forger(Option<Template>);

impl Forger {
    pub(super) fn wire(&mut self, knowledge: &Knowledge, rng: &mut ChaCha8Rng, shard: &Shard) -> Option<String> {
        if self.0.is_none() {
            let mut seed = [0; 32];
            rng.fill_bytes(&mut seed);
            self.0 = Template::far_ahead(&PrivateKey::from_seed(&seed), shard.time.unix_now());
        }
        Some(self.0.as_ref()?.by(victim(knowledge, rng)?, rng.next_u64() >> 16))
    }
}
