//! Signs heartbeats of honest devices with a foreign key, with a pair that the device could send next: after the one that was overheard
//! last, or the first ones of a device that was never heard. A server that spares devices by their pairs checks its signatures.

use ks_protocol::{
    id::{DeviceId, Sequence},
    key::PrivateKey,
};
use rand_chacha::ChaCha8Rng;
use rand_core::Rng;

use super::{Knowledge, heartbeat, victim};
use crate::{seed::below, shard::Shard};

/// How far ahead it guesses at most.
const AHEAD_MAX: u64 = 500;

pub(super) fn wire(knowledge: &Knowledge, rng: &mut ChaCha8Rng, shard: &Shard) -> Option<String> {
    let device_id = victim(knowledge, rng)?;
    let heard = last_heard(device_id, shard).unwrap_or(Sequence::new(1, 0));
    let guessed = Sequence::new(heard.boot_epoch, heard.seq.get() + 1 + below(rng, AHEAD_MAX));
    let mut seed = [0; 32];
    rng.fill_bytes(&mut seed);
    heartbeat(device_id, &PrivateKey::from_seed(&seed), guessed, shard.time.unix_now())
}

/// The pair of the device's last request that was overheard.
fn last_heard(device_id: &DeviceId, shard: &Shard) -> Option<Sequence> {
    let captured = shard.captured.borrow();
    let request = captured.iter().rev().find(|request| request.device_id == *device_id)?;
    let number = |name: &str| request.wire.lines().find_map(|line| line.strip_prefix(name)?.parse::<u64>().ok());
    Some(Sequence::new(u32::try_from(number("boot_epoch: ")?).ok()?, number("seq: ")?))
}
