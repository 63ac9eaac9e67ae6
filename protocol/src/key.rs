//! Ed25519 keys: made from given bytes, written as base64 on the wire and as PEM in files.

use std::fmt;

use base64ct::{Base64, Encoding};
use ed25519_dalek::{
    Signer, SigningKey, VerifyingKey,
    pkcs8::{DecodePrivateKey, EncodePrivateKey, EncodePublicKey, KeypairBytes, spki::der::pem::LineEnding},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

#[cfg(feature = "modelled")]
use crate::modelled;
use crate::{id::KeyId, signature::Signature, text::hex};

/// Why a key can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not 44 characters of base64.
    #[error("a public key is 44 characters of base64 (32 bytes), got {chars} characters")]
    NotBase64 {
        /// How long the text was.
        chars: usize,
    },
    /// Not a point of the curve, or one of small order, which would accept signatures by anyone.
    #[error("the public key is not a usable Ed25519 point")]
    NotAPoint,
    /// A key id that is not the key's.
    #[error("the key id is not that of the public key: expected `k` and 16 hex digits of its SHA-256")]
    WrongName,
    /// The same key more than once in one keyset.
    #[error("the keyset names a key twice")]
    Twice,
    /// Not a PKCS#8 PEM of an Ed25519 private key.
    #[error("not an Ed25519 private key in PKCS#8 PEM: expected `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
}

/// The 32 bytes of an Ed25519 public key; not yet known to be a usable point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Reads 44 characters of canonical base64.
    pub fn from_base64(text: &str) -> Result<Self, BadKey> {
        let mut bytes = [0; 32];
        match Base64::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Ok(Self(bytes)),
            _ => Err(BadKey::NotBase64 { chars: text.chars().count() }),
        }
    }

    /// The key ready to verify with: the point unpacked, keys of small order refused.
    pub fn verifier(&self) -> Result<Verifier, BadKey> {
        #[cfg(feature = "modelled")]
        if modelled::is_on() {
            return Ok(Verifier(Verifying::Modelled(*self)));
        }
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| BadKey::NotAPoint)?;
        if key.is_weak() { Err(BadKey::NotAPoint) } else { Ok(Verifier(Verifying::Ed25519(key))) }
    }

    /// The identifier of this key as a server key.
    pub fn key_id(&self) -> KeyId {
        let digits = hex(&Sha256::digest(self.0));
        let text = format!("k{}", digits.get(..16).unwrap_or(&digits));
        // `k` and 16 hex digits are always an identifier; the fallback only satisfies the types.
        text.parse().unwrap_or_else(|_| unreachable!("a hex key id is an identifier"))
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64::encode_string(&self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::from_base64(&given).map_err(de::Error::custom)
    }
}

#[cfg(feature = "schema")]
impl schemars::JsonSchema for PublicKey {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicKey".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "The 32 bytes of an Ed25519 public key in base64",
            "pattern": "^[A-Za-z0-9+/]{43}=$"
        })
    }
}

/// A public key that is known to be usable, unpacked for verifying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier(Verifying);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verifying {
    Ed25519(VerifyingKey),
    #[cfg(feature = "modelled")]
    Modelled(PublicKey),
}

impl Verifier {
    /// Whether `signature` is this key's over `bytes`, strictly: no malleable S, no small-order R (RFC 8032, 5.1.7).
    pub fn verifies(&self, bytes: &[u8], signature: &Signature) -> bool {
        match &self.0 {
            Verifying::Ed25519(key) => {
                key.verify_strict(bytes, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
            }
            #[cfg(feature = "modelled")]
            Verifying::Modelled(key) => modelled::signature(key, bytes) == *signature,
        }
    }

    /// The key's bytes.
    pub fn public_key(&self) -> PublicKey {
        match &self.0 {
            Verifying::Ed25519(key) => PublicKey(key.to_bytes()),
            #[cfg(feature = "modelled")]
            Verifying::Modelled(key) => *key,
        }
    }
}

/// An Ed25519 private key. `Debug` shows the public half only; the bytes are wiped when it is dropped.
#[derive(Clone)]
pub struct PrivateKey(Signing);

#[derive(Clone)]
enum Signing {
    Ed25519(Box<SigningKey>),
    #[cfg(feature = "modelled")]
    Modelled(PublicKey),
}

impl PrivateKey {
    /// The key whose seed is `seed` (RFC 8032, 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        #[cfg(feature = "modelled")]
        if modelled::is_on() {
            return Self(Signing::Modelled(modelled::public_key(seed)));
        }
        Self(Signing::Ed25519(Box::new(SigningKey::from_bytes(seed))))
    }

    /// The key itself; a modelled one is none that a file could hold.
    fn ed25519(&self) -> Result<&SigningKey, BadKey> {
        match &self.0 {
            Signing::Ed25519(key) => Ok(key),
            #[cfg(feature = "modelled")]
            Signing::Modelled(_) => Err(BadKey::NotPem),
        }
    }

    /// Reads a PKCS#8 PEM. Line breaks may be written as `\n`, as environment files must.
    pub fn from_pem(pem: &str) -> Result<Self, BadKey> {
        let pem = pem.trim().replace("\\n", "\n");
        SigningKey::from_pkcs8_pem(&pem).map(|key| Self(Signing::Ed25519(Box::new(key)))).map_err(|_| BadKey::NotPem)
    }

    /// The key as PKCS#8 PEM.
    pub fn to_pem(&self) -> Result<String, BadKey> {
        // Without the public half (version 1 of RFC 5958), which every other program can read.
        let pair = KeypairBytes { secret_key: self.ed25519()?.to_bytes(), public_key: None };
        pair.to_pkcs8_pem(LineEnding::LF).map(|pem| pem.to_string()).map_err(|_| BadKey::NotPem)
    }

    /// The public half as SPKI PEM.
    pub fn public_pem(&self) -> Result<String, BadKey> {
        self.ed25519()?.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|_| BadKey::NotPem)
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        match &self.0 {
            Signing::Ed25519(key) => PublicKey(key.verifying_key().to_bytes()),
            #[cfg(feature = "modelled")]
            Signing::Modelled(public) => *public,
        }
    }

    /// The signature over `bytes`.
    pub fn sign(&self, bytes: &[u8]) -> Signature {
        match &self.0 {
            Signing::Ed25519(key) => Signature(key.sign(bytes).to_bytes()),
            #[cfg(feature = "modelled")]
            Signing::Modelled(public) => modelled::signature(public, bytes),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(public {})", self.public_key())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_round_trip_also_with_escaped_line_breaks() {
        let key = PrivateKey::from_seed(&[7; 32]);
        let pem = key.to_pem().unwrap();
        assert_eq!(PrivateKey::from_pem(&pem).unwrap().public_key(), key.public_key());
        assert_eq!(PrivateKey::from_pem(&pem.replace('\n', "\\n")).unwrap().public_key(), key.public_key());
        assert_eq!(PrivateKey::from_pem("nonsense").unwrap_err(), BadKey::NotPem);
    }

    #[test]
    fn small_order_keys_are_refused() {
        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(PublicKey(identity).verifier().unwrap_err(), BadKey::NotAPoint);
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let shown = format!("{:?}", PrivateKey::from_seed(&[7; 32]));
        assert!(shown.starts_with("PrivateKey(public "), "{shown}");
    }
}
