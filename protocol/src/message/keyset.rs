//! GET /keys: the server's keys, signed so that clients can walk from one version to the next.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::type_line;
use crate::{
    document::{self, DocumentError},
    id::KeyId,
    key::{InvalidKey, PrivateKey, PublicKey, Verifier},
    number::integer,
    signature::{Context, Signature, signing_input},
    text::{Rows, Text, counted},
    time::UnixMs,
};

type_line!(KeysetType = "keyset");

/// The server's public keys. Its signatures are over every byte before the `signatures` table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keyset {
    #[serde(rename = "type")]
    pub kind: KeysetType,
    /// Increases by one with each change; version N+1 is signed by keys of N and of N+1.
    #[serde(deserialize_with = "integer")]
    pub version: u64,
    /// Number of valid signatures by trusted keys that a client requires.
    #[serde(deserialize_with = "integer")]
    pub threshold: u32,
    /// The keyset must not be trusted after this time.
    pub expires_at: UnixMs,
    pub keys: Rows<KeysetEntry, 8>,
    /// Signatures over the lines above.
    #[serde(default, skip_serializing_if = "Rows::is_empty")]
    pub signatures: Rows<KeysetSignature, 16>,
}

/// One key of a keyset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysetEntry {
    pub key_id: KeyId,
    /// State in its life cycle.
    pub state: ServerKeyState,
    pub public_key: PublicKey,
}

/// The life cycle of a server key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ServerKeyState {
    /// Published; does not sign yet.
    Announced,
    /// Signs answers.
    Signing,
    /// Signs nothing new; its signatures are still accepted.
    Retired,
    /// Signs firmware manifests and nothing else. Where a keyset has such a key, no other key's FW_SIG counts.
    Firmware,
    /// A state that this program does not know yet.
    #[serde(other)]
    Unrecognised,
}

/// A signature over a keyset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeysetSignature {
    /// The key that signed.
    pub key_id: KeyId,
    /// 88 characters of base64.
    pub signature: Text<88>,
}

/// Why a keyset is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeysetError {
    /// Not a keyset.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A key in it is unusable.
    #[error(transparent)]
    Key(#[from] InvalidKey),
    #[error("the keyset expired at {0}")]
    Expired(UnixMs),
    /// Older than the trusted version.
    #[error("the keyset has version {version}, but version {trusted} is already trusted")]
    Older {
        version: u64,
        /// The trusted version.
        trusted: u64,
    },
    /// The trusted version, but with other keys.
    #[error("the keyset has the trusted version {0} but other keys")]
    Forked(u64),
    /// Too few signatures by trusted keys, or by its own.
    #[error("the keyset has {}, expected at least {threshold} by trusted keys and by its own", counted(*valid, "valid signature"))]
    TooFewSignatures { valid: u32, threshold: u32 },
}

/// The keys that a client trusts: those of one keyset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trust {
    /// Version of that keyset; 0 for a key that was pinned at the factory.
    pub version: u64,
    /// Signatures by these keys that the next keyset needs.
    pub threshold: u32,
    /// Keys that sign responses and keysets.
    pub keys: Vec<(KeyId, Verifier)>,
    /// Keys that sign firmware only; if there are none, `keys` sign firmware too.
    pub firmware_keys: Vec<(KeyId, Verifier)>,
}

impl Trust {
    /// The keys whose FW_SIG is accepted.
    pub fn firmware_signers(&self) -> &[(KeyId, Verifier)] {
        if self.firmware_keys.is_empty() { &self.keys } else { &self.firmware_keys }
    }

    fn names(&self) -> BTreeSet<&KeyId> {
        self.keys.iter().chain(&self.firmware_keys).map(|(key_id, _)| key_id).collect()
    }

    /// The ids of the keys for responses and keysets, and of those for firmware.
    fn by_use(&self) -> [BTreeSet<&KeyId>; 2] {
        [&self.keys, &self.firmware_keys].map(|keys| keys.iter().map(|(key_id, _)| key_id).collect())
    }

    /// The trust that a keyset defines, without checking its signatures: for a factory, which has it from the server itself.
    pub fn of(keyset: &Keyset) -> Result<Self, InvalidKey> {
        let unpacked = |entry: &KeysetEntry| {
            if entry.key_id == entry.public_key.key_id() {
                entry.public_key.verifier()
            } else {
                Err(InvalidKey::WrongName)
            }
        };
        let mut trust =
            Self { version: keyset.version, threshold: keyset.threshold, keys: Vec::new(), firmware_keys: Vec::new() };
        for entry in keyset.keys.as_slice() {
            let is_for_firmware = entry.state == ServerKeyState::Firmware;
            let keys = if is_for_firmware { &mut trust.firmware_keys } else { &mut trust.keys };
            keys.push((entry.key_id.clone(), unpacked(entry)?));
        }
        if trust.names().len() < keyset.keys.as_slice().len() {
            return Err(InvalidKey::Twice); // otherwise one key would count as two signers
        }
        Ok(trust)
    }
}

impl Keyset {
    /// Signs the keyset with each of `keys`, replacing earlier signatures.
    pub fn signed_by(mut self, keys: &[(&KeyId, &PrivateKey)]) -> Result<Self, DocumentError> {
        self.signatures = Rows::default();
        let mut body = document::encode(&self)?;
        body.push('\n');
        let input = signing_input(Context::Keyset, &body);
        let sign = |(key_id, key): &(&KeyId, &PrivateKey)| KeysetSignature {
            key_id: (*key_id).clone(),
            signature: Text::truncated(&key.sign(input.as_bytes()).to_string()),
        };
        self.signatures = Rows::truncated(keys.iter().map(sign).collect());
        Ok(self)
    }

    /// Verifies the keyset in `body` against the current trust at time `now`; returns it with the new trust.
    ///
    /// It must be signed by enough keys of the trusted keyset and enough of its own, not be older, and not be expired.
    pub fn open(body: &str, trusted: &Trust, now: UnixMs) -> Result<(Self, Trust), KeysetError> {
        let (keyset, next) = Self::step(body, trusted)?;
        if now >= keyset.expires_at { Err(KeysetError::Expired(keyset.expires_at)) } else { Ok((keyset, next)) }
    }

    /// Like [`Keyset::open`], but ignores the time: for the keysets on the way to the newest one. A device that was offline for months
    /// steps through expired keysets; only the last one must still be valid.
    pub fn step(body: &str, trusted: &Trust) -> Result<(Self, Trust), KeysetError> {
        let keyset: Keyset = document::decode(body)?;
        let signed_bytes = body.find("\nsignatures[").map_or(body, |at| body.get(..=at).unwrap_or(body));
        let input = signing_input(Context::Keyset, signed_bytes);
        let is_valid = |(key_id, key): &&(KeyId, Verifier)| {
            let by_key = keyset.signatures.as_slice().iter().filter(|signature| signature.key_id == *key_id);
            by_key
                .filter_map(|signature| Signature::from_base64(signature.signature.as_str()))
                .any(|signature| key.verifies(input.as_bytes(), &signature))
        };
        let next = Trust::of(&keyset)?;
        for signers in [trusted, &next] {
            let valid = u32::try_from(signers.keys.iter().filter(is_valid).count()).unwrap_or(u32::MAX);
            let threshold = signers.threshold.max(1);
            if valid < threshold {
                return Err(KeysetError::TooFewSignatures { valid, threshold });
            }
        }
        if keyset.version < trusted.version {
            return Err(KeysetError::Older { version: keyset.version, trusted: trusted.version });
        }
        if keyset.version == trusted.version && next.by_use() != trusted.by_use() {
            return Err(KeysetError::Forked(keyset.version));
        }
        Ok((keyset, next))
    }
}
