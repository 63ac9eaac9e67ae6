//! A chain of keysets: an announced key takes over, a firmware key comes in, and what a device must not believe.

use ks_protocol::{
    key::PrivateKey,
    message::{Keyset, KeysetEntry, ServerKeyState},
    text::Rows,
    time::UnixMs,
};

use super::{Made, NO_SIG_DEV};

/// The answers to `GET /keys?version=N`, all given after version 3 was published.
pub(crate) fn add(made: &mut Made) {
    use ServerKeyState::{Announced, Firmware, Retired, Signing};
    let [server, next, firmware] = [0x22, 0x33, 0x55].map(|seed| PrivateKey::from_seed(&[seed; 32]));
    let first = keyset(1, &[(&server, Signing)], &[&server]);
    let second = keyset(2, &[(&server, Signing), (&next, Announced)], &[&server, &next]);
    let third = keyset(3, &[(&next, Signing), (&server, Retired), (&firmware, Firmware)], &[&next, &server]);
    let fourth = keyset(4, &[(&next, Signing), (&firmware, Firmware)], &[&next]);
    made.response("keyset-answer", 200, NO_SIG_DEV, &second);
    for (name, keyset) in [("keyset-1", &first), ("keyset-2", &second), ("keyset-3", &third), ("keyset-4", &fourth)] {
        made.response_by(&next, "next_server", name, 200, NO_SIG_DEV, keyset);
    }
    // Signed by the firmware key alone, and answered by it: a holder of that key must not become the server.
    let stolen = keyset(5, &[(&firmware, Signing)], &[&firmware]);
    made.response_by(&firmware, "firmware", "reject-keyset-by-a-firmware-key", 200, NO_SIG_DEV, &stolen);
}

fn keyset(version: u64, keys: &[(&PrivateKey, ServerKeyState)], signed_by: &[&PrivateKey]) -> Keyset {
    let entry = |(key, state): &(&PrivateKey, ServerKeyState)| KeysetEntry {
        key_id: key.public_key().key_id(),
        state: *state,
        public_key: key.public_key(),
    };
    let keyset = Keyset {
        kind: Default::default(),
        version,
        threshold: 1,
        expires_at: UnixMs(1_803_234_011_520),
        keys: Rows::truncated(keys.iter().map(entry).collect()),
        signatures: Rows::default(),
    };
    let named: Vec<_> = signed_by.iter().map(|key| (key.public_key().key_id(), *key)).collect();
    let signers: Vec<_> = named.iter().map(|(key_id, key)| (key_id, *key)).collect();
    keyset.signed_by(&signers).expect("a keyset encodes")
}
