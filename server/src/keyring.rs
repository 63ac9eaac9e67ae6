//! The server's keys and the keyset that clients fetch.

use std::time::Duration;

use ks_protocol::{
    document::DocumentError,
    id::KeyId,
    key::PrivateKey,
    message::{Keyset, KeysetEntry, ServerKeyState},
    text::Rows,
    time::UnixMs,
};

/// How long a fetched keyset may be believed.
const KEYSET_LIFE: Duration = Duration::from_hours(90 * 24);

/// The signing key and its name.
#[derive(Debug)]
pub struct Keyring {
    /// Signs every answer.
    pub signing: PrivateKey,
    /// Its name.
    pub key_id: KeyId,
    /// Version of the keyset in force.
    pub keyset_version: u64,
}

impl Keyring {
    /// A keyring of one key.
    pub fn new(signing: PrivateKey) -> Self {
        let key_id = signing.public_key().key_id();
        Self { signing, key_id, keyset_version: 1 }
    }

    /// The keyset in force, signed, to be believed from `now` on for 90 days.
    pub fn keyset(&self, now: UnixMs) -> Result<Keyset, DocumentError> {
        let entry = KeysetEntry {
            key_id: self.key_id.clone(),
            state: ServerKeyState::Signing,
            public_key: self.signing.public_key(),
        };
        let keyset = Keyset {
            kind: Default::default(),
            version: self.keyset_version,
            threshold: 1,
            expires_at: now + KEYSET_LIFE,
            keys: Rows::truncated(vec![entry]),
            signatures: Rows::default(),
        };
        keyset.signed_by(&[(&self.key_id, &self.signing)])
    }
}
