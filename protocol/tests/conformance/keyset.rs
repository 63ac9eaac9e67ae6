//! Goal: a client believes a keyset only if keys that it trusts signed it, and only until it expires.

use ks_protocol::{
    document,
    key::PrivateKey,
    message::{Keyset, KeysetEntry, KeysetError, ServerKeyState, Trust},
    text::Rows,
    time::UnixMs,
};

fn keyset(version: u64, keys: &[&PrivateKey], signed_by: &[&PrivateKey]) -> String {
    let entry = |key: &&PrivateKey| KeysetEntry {
        key_id: key.public_key().key_id(),
        state: ServerKeyState::Signing,
        public_key: key.public_key(),
    };
    let keyset = Keyset {
        kind: Default::default(),
        version,
        threshold: 1,
        expires_at: UnixMs(1_000),
        keys: Rows::truncated(keys.iter().map(entry).collect()),
        signatures: Rows::default(),
    };
    let named: Vec<_> = signed_by.iter().map(|key| (key.public_key().key_id(), *key)).collect();
    let signers: Vec<_> = named.iter().map(|(key_id, key)| (key_id, *key)).collect();
    document::encode(&keyset.signed_by(&signers).unwrap()).unwrap()
}

fn pinned(keys: &[&PrivateKey], threshold: u32, version: u64) -> Trust {
    let unpacked = |key: &&PrivateKey| (key.public_key().key_id(), key.public_key().verifier().unwrap());
    Trust { version, threshold, keys: keys.iter().map(unpacked).collect(), firmware_keys: Vec::new() }
}

fn key(seed: u8) -> PrivateKey {
    PrivateKey::from_seed(&[seed; 32])
}

#[test]
fn keyset_by_a_trusted_key_opens_until_it_expires() {
    let key = key(5);
    let body = keyset(1, &[&key], &[&key]);
    let next = Keyset::open(&body, &pinned(&[&key], 1, 0), UnixMs(999)).unwrap().1;
    assert_eq!(next, pinned(&[&key], 1, 1));
    let late = Keyset::open(&body, &pinned(&[&key], 1, 0), UnixMs(1_000));
    assert_eq!(late.unwrap_err(), KeysetError::Expired(UnixMs(1_000)));
}

#[test]
fn keyset_by_a_stranger_or_changed_is_refused() {
    let (known, stranger) = (key(5), key(6));
    let trusted = pinned(&[&known], 1, 0);
    let too_few =
        |body: &str| matches!(Keyset::open(body, &trusted, UnixMs(1)), Err(KeysetError::TooFewSignatures { .. }));
    assert!(too_few(&keyset(1, &[&stranger], &[&stranger])));
    assert!(too_few(&keyset(1, &[&known], &[&known]).replace("version: 1", "version: 9")));
}

#[test]
fn the_next_keyset_needs_the_old_keys_and_its_own() {
    let (old, new) = (key(5), key(6));
    let trusted = pinned(&[&old], 1, 1);
    assert!(Keyset::open(&keyset(2, &[&new], &[&old, &new]), &trusted, UnixMs(1)).is_ok());
    assert!(Keyset::open(&keyset(2, &[&new], &[&old]), &trusted, UnixMs(1)).is_err(), "the new key has not signed");
    assert!(Keyset::open(&keyset(2, &[&new], &[&new]), &trusted, UnixMs(1)).is_err(), "the old key has not signed");
}

#[test]
fn a_keyset_lowers_neither_threshold_nor_version() {
    let (one, two) = (key(5), key(6));
    let stolen = keyset(2, &[&one], &[&one]);
    assert!(Keyset::open(&stolen, &pinned(&[&one, &two], 2, 1), UnixMs(1)).is_err(), "one of two is not enough");
    let older = Keyset::open(&keyset(1, &[&one], &[&one]), &pinned(&[&one], 1, 3), UnixMs(1));
    assert_eq!(older.unwrap_err(), KeysetError::Older { version: 1, trusted: 3 });
}

#[test]
fn a_version_has_one_set_of_keys() {
    let (one, two) = (key(5), key(6));
    let trusted = pinned(&[&one], 1, 2);
    assert!(Keyset::open(&keyset(2, &[&one], &[&one]), &trusted, UnixMs(1)).is_ok(), "the same again");
    let forked = Keyset::open(&keyset(2, &[&one, &two], &[&one, &two]), &trusted, UnixMs(1));
    assert_eq!(forked.unwrap_err(), KeysetError::Forked(2));
}

#[test]
fn a_key_named_twice_does_not_count_twice() {
    let key = key(5);
    assert!(Keyset::open(&keyset(2, &[&key, &key], &[&key]), &pinned(&[&key], 1, 1), UnixMs(1)).is_err());
}
