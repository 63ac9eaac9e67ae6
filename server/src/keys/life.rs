//! The life cycle of the server's keys as a pure state machine.
//!
//! | order | what it does |
//! | --- | --- |
//! | announce | a new key is published as ANNOUNCED; the old one continues to sign |
//! | activate | the ANNOUNCED key becomes SIGNING, the SIGNING one RETIRED: it no longer signs and is still trusted |
//! | retire | each RETIRED key becomes REMOVED: its signatures are no longer trusted |
//! | revoke | one key becomes REMOVED immediately; if it was SIGNING, the ANNOUNCED one takes its place |
//! | add_firmware | a key is published that signs firmware and nothing else (FIRMWARE) |
//! | renew | nothing but the keyset's expiry changes |
//!
//! Each order creates the next version of the keyset. There is at most one ANNOUNCED key, and always exactly one SIGNING.

use ks_protocol::{id::KeyId, key::PublicKey, time::UnixMs};

use crate::store::keysets::{ServerKeyRecord, ServerKeyStatus as Status};

/// The most keys of one keyset, as the message limits them.
pub const KEYS_MAX: usize = 8;

/// An order about the server's keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyOrder {
    /// Publish a new key.
    Announce(PublicKey),
    /// Publish a key that signs firmware and nothing else.
    AddFirmware(PublicKey),
    /// Sign with the announced key.
    Activate,
    /// Stop trusting the retired keys.
    Retire,
    /// Remove one key.
    Revoke(KeyId),
    /// Publish the same keys with a later expiry.
    Renew,
}

impl KeyOrder {
    /// The action in the audit.
    pub fn action(&self) -> &'static str {
        match self {
            Self::Announce(_) => "key.announce",
            Self::AddFirmware(_) => "key.add_firmware",
            Self::Activate => "key.activate",
            Self::Retire => "key.retire",
            Self::Revoke(_) => "key.revoke",
            Self::Renew => "key.renew",
        }
    }
}

/// Why an order can't be carried out on these keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyOrderRefused {
    /// There is already an announced key.
    #[error("key {0} is already announced: activate or revoke it first")]
    AlreadyAnnounced(KeyId),
    /// The key was published before.
    #[error("key {0} was published before; a new one is needed")]
    AlreadyPublished(KeyId),
    /// The keyset is full.
    #[error("the keyset already holds {KEYS_MAX} keys: retire or revoke old ones first")]
    TooMany,
    /// There is no key to activate.
    #[error("no key is announced: first announce one, and let devices fetch it")]
    NothingAnnounced,
    /// There is no key to retire.
    #[error("no key is retired: activate an announced one first")]
    NothingRetired,
    #[error("no key of the keyset is named {0}")]
    Unknown(KeyId),
    /// It is the only key that could sign.
    #[error("key {0} signs, and no announced key could replace it: announce one first")]
    NoReplacement(KeyId),
}

/// The keys after an order, and the key that the order concerns. Keys that were REMOVED before are left out, those that this order
/// removes are not.
///
/// # Errors
/// The order is invalid for the keys as they are.
pub fn step(
    keys: &[ServerKeyRecord],
    order: &KeyOrder,
    at: UnixMs,
) -> Result<(Vec<ServerKeyRecord>, KeyId), KeyOrderRefused> {
    let is_known = |key_id: &KeyId| keys.iter().any(|key| key.key_id == *key_id);
    let mut after: Vec<ServerKeyRecord> = keys.iter().filter(|key| key.status != Status::Removed).cloned().collect();
    let named = |status: Status| after.iter().find(|key| key.status == status).map(|key| key.key_id.clone());
    let (announced, signing) = (named(Status::Announced), named(Status::Signing));
    let subject = match order {
        KeyOrder::Announce(_) if announced.is_some() => {
            return Err(announced.map_or(KeyOrderRefused::TooMany, KeyOrderRefused::AlreadyAnnounced));
        }
        KeyOrder::Announce(public_key) | KeyOrder::AddFirmware(public_key) => {
            let key_id = public_key.key_id();
            if is_known(&key_id) {
                return Err(KeyOrderRefused::AlreadyPublished(key_id));
            }
            if after.len() >= KEYS_MAX {
                return Err(KeyOrderRefused::TooMany);
            }
            let status = match order {
                KeyOrder::AddFirmware(_) => Status::Firmware,
                // No earlier key could announce the very first one.
                _ if keys.is_empty() => Status::Signing,
                _ => Status::Announced,
            };
            after.push(ServerKeyRecord {
                key_id: key_id.clone(),
                public_key: *public_key,
                status,
                announced_at: at,
                signing_at: (status == Status::Signing).then_some(at),
                removed_at: None,
            });
            key_id
        }
        KeyOrder::Activate => {
            let next = announced.ok_or(KeyOrderRefused::NothingAnnounced)?;
            retire(&mut after);
            sign_with(&mut after, &next, at);
            next
        }
        KeyOrder::Retire => {
            let retired = named(Status::Retired).ok_or(KeyOrderRefused::NothingRetired)?;
            after.iter_mut().filter(|key| key.status == Status::Retired).for_each(|key| remove(key, at));
            retired
        }
        KeyOrder::Revoke(key_id) => {
            let Some(place) = after.iter().position(|key| key.key_id == *key_id) else {
                return Err(KeyOrderRefused::Unknown(key_id.clone()));
            };
            if signing.as_ref() == Some(key_id) {
                let next = announced.ok_or_else(|| KeyOrderRefused::NoReplacement(key_id.clone()))?;
                sign_with(&mut after, &next, at);
            }
            after.iter_mut().skip(place).take(1).for_each(|key| remove(key, at));
            key_id.clone()
        }
        KeyOrder::Renew => signing.ok_or(KeyOrderRefused::NothingAnnounced)?,
    };
    Ok((after, subject))
}

fn retire(keys: &mut [ServerKeyRecord]) {
    let signing = keys.iter_mut().filter(|key| key.status == Status::Signing);
    signing.for_each(|key| key.status = Status::Retired);
}

fn sign_with(keys: &mut [ServerKeyRecord], key_id: &KeyId, at: UnixMs) {
    for key in keys.iter_mut().filter(|key| key.key_id == *key_id) {
        key.status = Status::Signing;
        key.signing_at = Some(at);
    }
}

fn remove(key: &mut ServerKeyRecord, at: UnixMs) {
    key.status = Status::Removed;
    key.removed_at = Some(at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ks_protocol::key::PrivateKey;
    use proptest::prelude::*;

    fn public(number: u8) -> PublicKey {
        PrivateKey::from_seed(&[number; 32]).public_key()
    }

    fn statuses(keys: &[ServerKeyRecord]) -> Vec<Status> {
        keys.iter().map(|key| key.status).collect()
    }

    /// Applies orders and gives the keys, including the removed ones, as the store would hold them.
    fn run(orders: &[KeyOrder]) -> Result<Vec<ServerKeyRecord>, KeyOrderRefused> {
        let mut kept: Vec<ServerKeyRecord> = Vec::new();
        for order in orders {
            let (after, _) = step(&kept, order, UnixMs(5))?;
            kept.retain(|key| after.iter().all(|now| now.key_id != key.key_id));
            kept.extend(after);
        }
        Ok(kept)
    }

    #[test]
    fn a_key_is_announced_then_signs_then_retires_and_is_removed() {
        let (first, second) = (KeyOrder::Announce(public(1)), KeyOrder::Announce(public(2)));
        let orders = [first, second, KeyOrder::Activate, KeyOrder::Retire];
        assert_eq!(statuses(&run(&orders[..1]).unwrap()), [Status::Signing]);
        assert_eq!(statuses(&run(&orders[..2]).unwrap()), [Status::Signing, Status::Announced]);
        assert_eq!(statuses(&run(&orders[..3]).unwrap()), [Status::Retired, Status::Signing]);
        assert_eq!(statuses(&run(&orders).unwrap()), [Status::Removed, Status::Signing]);
    }

    #[test]
    fn revoking_the_signing_key_activates_the_announced_one() {
        let announce = |number| KeyOrder::Announce(public(number));
        let revoke = KeyOrder::Revoke(public(1).key_id());
        let keys = run(&[announce(1), announce(2), revoke.clone()]).unwrap();
        assert_eq!(statuses(&keys), [Status::Removed, Status::Signing]);
        let alone = run(&[announce(1), revoke]);
        assert_eq!(alone, Err(KeyOrderRefused::NoReplacement(public(1).key_id())));
    }

    #[test]
    fn invalid_orders_are_refused_by_name() {
        let announce = |number| KeyOrder::Announce(public(number));
        let (first, second) = (public(1).key_id(), public(2).key_id());
        assert_eq!(run(&[announce(1), KeyOrder::Activate]), Err(KeyOrderRefused::NothingAnnounced));
        assert_eq!(run(&[announce(1), KeyOrder::Retire]), Err(KeyOrderRefused::NothingRetired));
        assert_eq!(run(&[announce(1), announce(1)]), Err(KeyOrderRefused::AlreadyPublished(first.clone())));
        let twice = run(&[announce(1), announce(2), announce(3)]);
        assert_eq!(twice, Err(KeyOrderRefused::AlreadyAnnounced(second.clone())));
        assert_eq!(run(&[announce(1), KeyOrder::Revoke(second.clone())]), Err(KeyOrderRefused::Unknown(second)));
        let again = run(&[announce(1), announce(2), KeyOrder::Activate, KeyOrder::Retire, announce(1)]);
        assert_eq!(again, Err(KeyOrderRefused::AlreadyPublished(first)), "a removed key can't be published again");
    }

    #[test]
    fn a_keyset_never_holds_more_keys_than_its_message() {
        let mut orders = vec![KeyOrder::Announce(public(1))];
        for number in 2..=8 {
            orders.extend([KeyOrder::Announce(public(number)), KeyOrder::Activate]);
        }
        assert_eq!(run(&orders).unwrap().len(), KEYS_MAX);
        orders.push(KeyOrder::Announce(public(9)));
        assert_eq!(run(&orders), Err(KeyOrderRefused::TooMany));
    }

    fn any_order() -> impl Strategy<Value = KeyOrder> {
        prop_oneof![
            (1_u8..6).prop_map(|number| KeyOrder::Announce(public(number))),
            Just(KeyOrder::Activate),
            Just(KeyOrder::Retire),
            (1_u8..6).prop_map(|number| KeyOrder::Revoke(public(number).key_id())),
            Just(KeyOrder::Renew),
        ]
    }

    proptest! {
        #[test]
        fn exactly_one_key_signs_and_consecutive_keysets_share_a_key(
            orders in prop::collection::vec(any_order(), 0..40)
        ) {
            let mut kept = run(&[KeyOrder::Announce(public(1))]).unwrap();
            for order in &orders {
                let before: Vec<KeyId> = in_force(&kept);
                let Ok((after, _)) = step(&kept, order, UnixMs(5)) else { continue };
                kept.retain(|key| after.iter().all(|now| now.key_id != key.key_id));
                kept.extend(after);
                prop_assert_eq!(kept.iter().filter(|key| key.status == Status::Signing).count(), 1);
                prop_assert!(kept.iter().filter(|key| key.status == Status::Announced).count() <= 1);
                prop_assert!(in_force(&kept).iter().any(|key_id| before.contains(key_id)));
            }
        }
    }

    fn in_force(keys: &[ServerKeyRecord]) -> Vec<KeyId> {
        keys.iter().filter(|key| key.status != Status::Removed).map(|key| key.key_id.clone()).collect()
    }
}
