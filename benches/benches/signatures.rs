//! Claim: what verifying costs as it is done, and what other ways to do it would cost (decision 63).
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a failure here is a failed benchmark")]

use std::hint::black_box;

use curve25519_dalek::{
    EdwardsPoint, Scalar,
    constants::{ED25519_BASEPOINT_POINT, ED25519_BASEPOINT_TABLE},
    edwards::{CompressedEdwardsY, EdwardsBasepointTable, VartimeEdwardsPrecomputation},
    traits::{BasepointTable, IsIdentity, VartimeMultiscalarMul, VartimePrecomputedMultiscalarMul},
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use ks_benches::{head, measured, repeated, row};
use ks_fleet::host::stopwatch::Stopwatch;
use ks_protocol::{
    key::{PublicKey, Verifier},
    signature,
};
use sha2::{Digest, Sha512};

/// As long as what is signed of a heartbeat.
const MESSAGE: [u8; 300] = [5; 300];
/// Keys that are heard in turn, so that what is kept for each does not stay in the nearest cache.
const KEYS: usize = 4_096;

/// A signature of each key over the message.
struct Signed {
    key: VerifyingKey,
    verifier: Verifier,
    signature: Signature,
    r: EdwardsPoint,
    s: Scalar,
}

impl Signed {
    fn of(number: u32) -> Self {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let private = SigningKey::from_bytes(&seed);
        let (key, signature) = (private.verifying_key(), private.sign(&MESSAGE));
        let verifier = PublicKey(key.to_bytes()).verifier().unwrap();
        let s = Scalar::from_canonical_bytes(*signature.s_bytes()).unwrap();
        Self { key, verifier, signature, r: CompressedEdwardsY(*signature.r_bytes()).decompress().unwrap(), s }
    }

    /// The hash that the signature is about.
    fn hashed(&self) -> Scalar {
        let hash = Sha512::new().chain_update(self.signature.r_bytes()).chain_update(self.key.as_bytes());
        Scalar::from_bytes_mod_order_wide(&hash.chain_update(MESSAGE).finalize().into())
    }

    fn is_r(&self, point: EdwardsPoint) -> bool {
        point.compress().0 == *self.signature.r_bytes()
    }
}

fn main() {
    let all: Vec<Signed> = (0..KEYS).map(|number| Signed::of(u32::try_from(number).unwrap())).collect();
    let count = u32::try_from(KEYS).unwrap();
    let each = |what: &str, work: &mut dyn FnMut(usize)| {
        let cost = measured(count, || {
            let stopwatch = Stopwatch::started();
            (0..KEYS).for_each(&mut *work);
            stopwatch.elapsed()
        });
        row(what, cost);
    };
    head(&format!("Verifying a signature over {} bytes, {KEYS} keys in turn", MESSAGE.len()));
    each("as the server does", &mut |at| {
        let signature = signature::Signature(all[at].signature.to_bytes());
        assert!(all[at].verifier.verifies(&MESSAGE, &signature));
    });
    each("dalek's `verify_strict`", &mut |at| {
        all[at].key.verify_strict(&MESSAGE, &all[at].signature).unwrap();
    });
    for size in [8, 32, 64] {
        batches(&format!("one of a batch of {size}, cofactorless, which takes more"), &all, size);
    }
    each("of a batch that takes no more: that R has no part of small order", &mut |at| {
        assert!(all[at].r.is_torsion_free());
    });
    let tables: Vec<_> = all.iter().map(|of| EdwardsBasepointTable::create(&-of.key.to_edwards())).collect();
    each(&format!("with a table for each key, {} bytes", size_of::<EdwardsBasepointTable>()), &mut |at| {
        let of = &all[at];
        assert!(of.is_r(ED25519_BASEPOINT_TABLE * &of.s + &tables[at] * &of.hashed()));
    });
    let points = |of: &Signed| VartimeEdwardsPrecomputation::new([-of.key.to_edwards(), ED25519_BASEPOINT_POINT]);
    let multiples: Vec<_> = all.iter().map(points).collect();
    each("with the odd multiples of each key", &mut |at| {
        let of = &all[at];
        assert!(of.is_r(multiples[at].vartime_multiscalar_mul([of.hashed(), of.s])));
    });
    let private = SigningKey::from_bytes(&[1; 32]);
    row(
        "sign",
        repeated(count, || {
            black_box(private.sign(&MESSAGE));
        }),
    );
}

/// The sum of all equations of a batch, each times a number that the signers can't know.
fn batches(what: &str, all: &[Signed], size: usize) {
    let mut number = 1_u128;
    let cost = measured(u32::try_from(all.len() / size * size).unwrap(), || {
        let stopwatch = Stopwatch::started();
        for batch in all.chunks_exact(size) {
            let (mut scalars, mut points, mut of_base) = (Vec::new(), Vec::new(), Scalar::ZERO);
            for of in batch {
                number = number.wrapping_mul(0x2d99_7879_26d4_6932_a4c1_f326_80f7_0c55).wrapping_add(1); // for its speed only
                let times = Scalar::from(number);
                of_base += times * of.s;
                // R arrives packed.
                let r = CompressedEdwardsY(*of.signature.r_bytes()).decompress().unwrap();
                scalars.extend([times, times * of.hashed()]);
                points.extend([r, of.key.to_edwards()]);
            }
            scalars.push(-of_base);
            points.push(ED25519_BASEPOINT_POINT);
            assert!(EdwardsPoint::vartime_multiscalar_mul(scalars, points).is_identity());
        }
        stopwatch.elapsed()
    });
    row(what, cost);
}
