//! Modelled signatures: a keyed hash in the place of Ed25519, for rehearsals in which thousands of trials must be quick.
//!
//! Whoever knows a public key can make its modelled signatures, so they protect nothing; in a simulation nobody does. All
//! else is as with real ones: what is signed, by whom, and that a changed byte is noticed. Nothing in a document or a store
//! chooses them: the whole process does, once, at its edge, and nothing but the simulator has the call for it.

use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use crate::{key::PublicKey, signature::Signature};

static IS_ON: AtomicBool = AtomicBool::new(false);

/// From here on every key that this process makes is a modelled one. To be called before the first; there is no way back.
pub fn switch_on() {
    IS_ON.store(true, Ordering::SeqCst);
}

/// Whether signatures are modelled.
pub fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// The public half of the modelled key whose seed is `seed`; it is all that such a key has.
pub(crate) fn public_key(seed: &[u8; 32]) -> PublicKey {
    PublicKey(Sha256::new_with_prefix(b"KS modelled key").chain_update(seed).finalize().into())
}

/// The signature over `bytes`: one hash, twice, since it takes 64 bytes.
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
