//! The order of devices: the share of the population at which each device of a rollout enters.
//!
//! A device's bucket is the first 64 bits of SHA-256(salt, device_id). Within its stratum (model and site) devices are
//! sorted by bucket and spread over the scale of shares with an offset of the stratum's own, so that a share of 5 % holds 5 % of
//! every stratum, to within one device, and small strata are not all rounded up. The share at which a device enters is
//! fixed for the rollout: growing the share never moves a device out. Each rollout has its own salt, so the same devices are
//! not always the first. No floating-point number is involved.

use std::collections::BTreeMap;

use ks_protocol::id::DeviceId;
use sha2::{Digest, Sha256};

use super::policy::WHOLE_BP;

/// A device's place in a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its order among those that enter at the same share.
    pub bucket: u64,
    /// The least share that holds it, in basis points: 1 to 10,000.
    pub enters_bp: u16,
}

/// The first 64 bits of SHA-256(salt, name).
pub fn bucket(salt: &[u8; 32], name: &str) -> u64 {
    let digest: [u8; 32] = Sha256::new().chain_update(salt).chain_update(name).finalize().into();
    digest.iter().take(8).fold(0, |bucket, byte| bucket << 8 | u64::from(*byte))
}

/// The place of each device, in the order given. `stratum` names a device's model and site.
pub fn places<'a, D>(
    salt: &[u8; 32],
    devices: &'a [D],
    device: impl Fn(&'a D) -> (&'a DeviceId, (&'a str, &'a str)),
) -> Vec<Place> {
    let mut strata: BTreeMap<(&str, &str), Vec<(u64, usize)>> = BTreeMap::new();
    for (index, given) in devices.iter().enumerate() {
        let (device_id, stratum) = device(given);
        strata.entry(stratum).or_default().push((bucket(salt, device_id.as_str()), index));
    }
    let mut places = vec![Place { bucket: 0, enters_bp: WHOLE_BP }; devices.len()];
    for ((model, site), mut sorted) in strata {
        sorted.sort_unstable();
        // 16 bits of the stratum's own: where within the first device's part of the scale the order begins.
        let offset = bucket(salt, &format!("{model}\n{site}")) >> 48;
        let count = u64::try_from(sorted.len()).unwrap_or(u64::MAX);
        for (rank, (bucket, index)) in (0..).zip(sorted) {
            let before_bp = ((rank << 16) + offset) * u64::from(WHOLE_BP) / (count << 16);
            let enters_bp = u16::try_from(before_bp + 1).unwrap_or(WHOLE_BP).min(WHOLE_BP);
            if let Some(place) = places.get_mut(index) {
                *place = Place { bucket, enters_bp };
            }
        }
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Named = (DeviceId, String, String);

    fn fleet(count: usize, models: usize, sites: usize) -> Vec<Named> {
        let name = |number: usize| format!("KS-{number}").parse().unwrap();
        let place = |number: usize| (name(number), format!("m{}", number % models), format!("s{}", number % sites));
        (0..count).map(place).collect()
    }

    fn place_all(salt: [u8; 32], fleet: &[Named]) -> Vec<Place> {
        places(&salt, fleet, |(device_id, model, site)| (device_id, (model, site)))
    }

    proptest! {
        /// Goal: a share holds its part of the fleet and of every stratum, whatever the salt.
        #[test]
        fn a_share_holds_its_part_of_every_stratum(salt in any::<[u8; 32]>(), share_bp in 1_u16..=10_000, sites in 1_usize..9) {
            let fleet = fleet(1_000, 3, sites);
            let places = place_all(salt, &fleet);
            let mut strata: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
            for ((_, model, site), place) in fleet.iter().zip(&places) {
                let (all, within) = strata.entry((model, site)).or_default();
                *all += 1;
                *within += u64::from(place.enters_bp <= share_bp);
            }
            for (all, within) in strata.into_values() {
                let exact = all * u64::from(share_bp);
                prop_assert!(within * 10_000 <= exact + 10_000 && within * 10_000 + 10_000 >= exact, "{within} of {all}");
            }
        }

        #[test]
        fn every_device_enters_by_the_full_share(salt in any::<[u8; 32]>(), count in 1_usize..300) {
            prop_assert!(place_all(salt, &fleet(count, 2, 7)).iter().all(|place| (1..=10_000).contains(&place.enters_bp)));
        }
    }

    #[test]
    fn many_small_strata_are_not_all_rounded_up() {
        let fleet = fleet(2_000, 1, 1_000); // two devices a stratum
        let places = place_all([7; 32], &fleet);
        let within = places.iter().filter(|place| place.enters_bp <= 500).count();
        assert!((70..=130).contains(&within), "5 % of 2,000 are 100: {within}");
    }

    #[test]
    fn another_salt_selects_other_devices() {
        let fleet = fleet(1_000, 2, 2);
        let first = |salt| {
            let places = place_all(salt, &fleet);
            places.iter().map(|place| place.enters_bp <= 500).collect::<Vec<_>>()
        };
        let both = first([1; 32]).into_iter().zip(first([2; 32])).filter(|(one, other)| *one && *other).count();
        assert!(both < 20, "50 each, about 2 or 3 in common: {both}");
    }
}
