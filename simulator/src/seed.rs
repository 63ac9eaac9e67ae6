//! Randomness by stream: `seed(root, device, stream)`, so that an added draw in one place changes nothing elsewhere.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use sha2::{Digest, Sha256};

/// The stream named `stream` of the subject named `subject`, under the root seed of the run.
pub fn stream(root: u64, subject: &str, stream: &str) -> ChaCha8Rng {
    ChaCha8Rng::from_seed(bytes(root, subject, stream))
}

/// The 32 bytes that the stream is seeded with; also the seed of a simulated key.
pub fn bytes(root: u64, subject: &str, stream: &str) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(b"ks-fleet seed\n");
    hash.update(root.to_be_bytes());
    for part in [subject, stream] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// A number below `bound` (0 for a bound of 0), by multiplication; the bias is below `bound` / 2^64.
pub fn below(rng: &mut impl Rng, bound: u64) -> u64 {
    below_by(rng.next_u64(), bound)
}

/// The same, from a number that was already drawn.
pub fn below_by(drawn: u64, bound: u64) -> u64 {
    u64::try_from((u128::from(drawn) * u128::from(bound)) >> 64).unwrap_or(0)
}

/// The `nth` number derived from one draw, each independent of the others (the finaliser of SplitMix64, Steele,
/// Lea and Flood 2014).
pub fn nth(draw: u64, number: u64) -> u64 {
    let mut mixed = draw.wrapping_add((number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_independent_and_repeatable() {
        let first = |root, subject, name| stream(root, subject, name).next_u64();
        assert_eq!(first(1, "SIM-1", "phase"), first(1, "SIM-1", "phase"));
        assert_ne!(first(1, "SIM-1", "phase"), first(2, "SIM-1", "phase"));
        assert_ne!(first(1, "SIM-1", "phase"), first(1, "SIM-1", "key"));
        assert_ne!(first(1, "ab", "c"), first(1, "a", "bc"));
    }

    #[test]
    fn below_stays_below() {
        let mut rng = stream(1, "x", "y");
        assert!((0..1_000).all(|_| below(&mut rng, 7) < 7));
        assert_eq!(below(&mut rng, 0), 0);
    }
}
