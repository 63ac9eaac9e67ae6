//! Modelled signatures: a keyed hash instead of Ed25519, for rehearsals with thousands of fast trials.
//!
//! Anyone who knows a public key can forge its modelled signatures, so they protect nothing; no simulated party does so. Everything
//! else is as with real signatures: what is signed, by which key, and that a changed byte is detected. No document or store can turn
//! them on: the process does, once, at start, and only the simulator contains that call.

use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use crate::{key::PublicKey, signature::Signature};

static IS_ON: AtomicBool = AtomicBool::new(false);

/// Makes every key of this process a modelled one. Call it before the first key is made; it can't be undone.
pub fn switch_on() {
    IS_ON.store(true, Ordering::SeqCst);
}

/// Whether signatures are modelled.
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// The public half of the modelled key with this seed; a modelled key has nothing else.
pub(crate) fn public_key(seed: &[u8; 32]) -> PublicKey {
    PublicKey(Sha256::new_with_prefix(b"KS modelled key").chain_update(seed).finalize().into())
}

/// The signature over `bytes`: one hash, repeated to fill 64 bytes.
pub(crate) fn signature(key: &PublicKey, bytes: &[u8]) -> Signature {
    let hash: [u8; 32] = Sha256::new_with_prefix(key.0).chain_update(bytes).finalize().into();
    let mut signature = [0; 64];
    for (to, from) in signature.iter_mut().zip(hash.iter().chain(&hash)) {
        *to = *from;
    }
    Signature(signature)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_key_and_another_byte_give_another_signature() {
        let [one, other] = [1, 2].map(|seed| public_key(&[seed; 32]));
        assert_ne!(signature(&one, b"beat"), signature(&other, b"beat"));
        assert_ne!(signature(&one, b"beat"), signature(&one, b"beaT"));
        assert_eq!(signature(&one, b"beat"), signature(&one, b"beat"));
    }
}
