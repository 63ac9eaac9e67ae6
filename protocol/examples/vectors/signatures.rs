//! Signatures and keys that libraries disagree about: what a strict verifier takes, and what it refuses.

use base64ct::{Base64, Encoding};
use curve25519_dalek::{Scalar, constants::ED25519_BASEPOINT_COMPRESSED};
use ks_protocol::key::PrivateKey;
use serde_json::{Value, json};
use sha2::{Digest, Sha512};

/// Every `y` of a point of small order, written with the sign bit clear; the last two are not reduced.
pub(crate) const SMALL_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];
/// The order of the group, as a signature writes numbers.
const ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];
const MESSAGE: &str = "KS1 RESPONSE 200 -\nanything at all\n";

/// Each with whether it is good, and why.
pub(crate) fn all() -> Vec<Value> {
    let key = PrivateKey::from_seed(&[0x22; 32]);
    let (public, good) = (key.public_key().0, key.sign(MESSAGE.as_bytes()).0);
    let mut made = vec![entry(&public, good, true, "a good signature")];
    let mut changed = good;
    changed[40] ^= 1;
    made.push(entry(&public, changed, false, "one bit of S is another"));
    made.push(entry(&public, plus_order(good), false, "S is not below the group order: S + L in the place of S"));
    for point in SMALL_ORDER.iter().flat_map(|hex| [false, true].map(|sign| point(hex, sign))) {
        made.push(entry(
            &public,
            with_r(&[0x22; 32], &public, point, MESSAGE.as_bytes()),
            false,
            "R is a point of small order",
        ));
    }
    for point in SMALL_ORDER.iter().flat_map(|hex| [false, true].map(|sign| point(hex, sign))) {
        // S = 1 and R = B: where the key is the neutral element, the equation holds for every message.
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(ED25519_BASEPOINT_COMPRESSED.as_bytes());
        signature[32] = 1;
        made.push(entry(&point, signature, false, "the public key is a point of small order"));
    }
    made
}

fn entry(public: &[u8; 32], signature: [u8; 64], is_valid: bool, reason: &str) -> Value {
    json!({
        "public_key": Base64::encode_string(public),
        "message": MESSAGE,
        "signature": Base64::encode_string(&signature),
        "is_valid": is_valid,
        "reason": reason,
    })
}

fn point(hex: &str, sign: bool) -> [u8; 32] {
    let byte = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("two hex digits");
    let mut point: [u8; 32] = std::array::from_fn(byte);
    point[31] |= u8::from(sign) << 7;
    point
}

/// Adds the group order to the second half.
pub(crate) fn plus_order(mut signature: [u8; 64]) -> [u8; 64] {
    let mut carry = 0;
    for (byte, order) in signature[32..].iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(order) + carry;
        (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
    }
    assert_eq!(carry, 0, "S + L fits in 32 bytes");
    signature
}

/// A signature with this R, whose S makes the equation hold but for R, which adds nothing where it is the neutral element.
pub(crate) fn with_r(seed: &[u8; 32], public: &[u8; 32], r: [u8; 32], message: &[u8]) -> [u8; 64] {
    let mut secret: [u8; 32] = Sha512::digest(seed)[..32].try_into().expect("32 bytes");
    secret[0] &= 0b1111_1000;
    secret[31] = (secret[31] & 0b0111_1111) | 0b0100_0000;
    with_r_of(Scalar::from_bytes_mod_order(secret), public, r, message)
}

/// The same, of the secret scalar.
pub(crate) fn with_r_of(secret: Scalar, public: &[u8; 32], r: [u8; 32], message: &[u8]) -> [u8; 64] {
    let hash = Sha512::new().chain_update(r).chain_update(public).chain_update(message).finalize();
    let response = Scalar::from_bytes_mod_order_wide(&hash.into()) * secret;
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(&r);
    signature[32..].copy_from_slice(response.as_bytes());
    signature
}
