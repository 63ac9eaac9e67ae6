//! Ed25519 keys: built from given bytes, base64 on the wire, PEM in files.

use std::{fmt, sync::LazyLock};

use base64ct::{Base64, Encoding};
use curve25519_dalek::constants::EIGHT_TORSION;
use ed25519_dalek::{
    Signer, SigningKey, Verifier as _, VerifyingKey,
    pkcs8::{EncodePrivateKey, EncodePublicKey, KeypairBytes, spki::der::pem::LineEnding},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};

#[cfg(feature = "modelled")]
use crate::modelled;
use crate::{
    id::KeyId,
    pem::{self, InvalidPem},
    signature::Signature,
    text::{counted, hex},
};

/// Why a key is unusable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not 44 characters of base64.
    #[error("expected a public key: the base64 of 32 bytes, 43 characters of A-Z a-z 0-9 + / and one `=`; got {got}")]
    NotBase64 {
        /// What is wrong with the text.
        got: String,
    },
    /// Not a point on the curve, not canonically encoded, or a point of small order, which would accept anyone's signature.
    #[error("expected an Ed25519 public key; these 32 bytes are not a usable point")]
    NotAPoint,
    /// The key id does not match the key.
    #[error("the key id does not match the public key: expected `k` and the first 16 hex digits of its SHA-256")]
    WrongName,
    /// The same key twice in one keyset.
    #[error("the keyset contains the same key twice")]
    Twice,
    /// The PEM holds no usable private key.
    #[error(transparent)]
    Pem(#[from] InvalidPem),
    /// A key that can't be written as PEM.
    #[error("this key can't be written as PEM")]
    Unwritable,
}

/// The 32 bytes of an Ed25519 public key, not yet checked to be a usable point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// Parses 44 characters of canonical base64, which must be a usable point.
    ///
    /// # Errors
    /// [`InvalidKey::NotBase64`] or [`InvalidKey::NotAPoint`].
    pub fn from_base64(text: &str) -> Result<Self, InvalidKey> {
        let mut bytes = [0; 32];
        let key = match Base64::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Self(bytes),
            _ => return Err(InvalidKey::NotBase64 { got: why_not_base64(text) }),
        };
        key.verifier().map(|_| key)
    }

    /// The key ready for verifying: the point unpacked, points of small order refused.
    pub fn verifier(&self) -> Result<Verifier, InvalidKey> {
        #[cfg(feature = "modelled")]
        if modelled::is_on() {
            return Ok(Verifier(Verifying::Modelled(*self)));
        }
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| InvalidKey::NotAPoint)?;
        // A second encoding of the same point would count as a second key.
        let is_canonical = key.to_edwards().compress().0 == self.0;
        if key.is_weak() || !is_canonical { Err(InvalidKey::NotAPoint) } else { Ok(Verifier(Verifying::Ed25519(key))) }
    }

    /// The identifier of this key as a server key.
    pub fn key_id(&self) -> KeyId {
        let digits = hex(&Sha256::digest(self.0));
        let text = format!("k{}", digits.get(..16).unwrap_or(&digits));
        // `k` and 16 hex digits are always an identifier; the fallback only satisfies the types.
        text.parse().unwrap_or_else(|_| unreachable!("a hex key id is an identifier"))
    }
}

/// Why a text is not the base64 of 32 bytes.
fn why_not_base64(text: &str) -> String {
    let chars = text.chars().count();
    let is_digit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/');
    if chars != 44 {
        return counted(chars, "character");
    }
    match text.chars().enumerate().find(|(at, c)| if *at == 43 { *c != '=' } else { !is_digit(*c) }) {
        Some((at, c)) => format!("`{}` as character {}", c.escape_default(), at + 1),
        None => "unused bits before the `=` that are not zero".to_owned(),
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

/// The canonical encodings of the eight points of small order.
static SMALL_ORDER: LazyLock<[[u8; 32]; 8]> = LazyLock::new(|| EIGHT_TORSION.map(|point| point.compress().0));

/// A usable public key, unpacked for verifying.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier(Verifying);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Verifying {
    Ed25519(VerifyingKey),
    #[cfg(feature = "modelled")]
    Modelled(PublicKey),
}

impl Verifier {
    /// Whether `signature` is this key's signature over `bytes`. Strict: no malleable S, no small-order R (RFC 8032, 5.1.7).
    pub fn verifies(&self, bytes: &[u8], signature: &Signature) -> bool {
        match &self.0 {
            Verifying::Ed25519(key) => {
                // Takes exactly what `verify_strict` takes, without unpacking R, a seventh of its time: a weak key has no `Verifier`, and
                // an R for which the equation holds is canonically encoded, so its bytes say whether it is of small order.
                let [r, ..] = signature.0.as_chunks::<32>().0 else { return false };
                let is_small = SMALL_ORDER.contains(r);
                !is_small && key.verify(bytes, &ed25519_dalek::Signature::from_bytes(&signature.0)).is_ok()
            }
            #[cfg(feature = "modelled")]
            Verifying::Modelled(key) => modelled::signature(key, bytes) == *signature,
        }
    }

    pub fn public_key(&self) -> PublicKey {
        match &self.0 {
            Verifying::Ed25519(key) => PublicKey(key.to_bytes()),
            #[cfg(feature = "modelled")]
            Verifying::Modelled(key) => *key,
        }
    }
}

/// An Ed25519 private key. `Debug` shows only the public half; the bytes are zeroed on drop.
#[derive(Clone)]
pub struct PrivateKey(Signing);

#[derive(Clone)]
enum Signing {
    Ed25519(Box<SigningKey>),
    #[cfg(feature = "modelled")]
    Modelled(PublicKey),
}

impl PrivateKey {
    /// The key with this seed (RFC 8032, 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        #[cfg(feature = "modelled")]
        if modelled::is_on() {
            return Self(Signing::Modelled(modelled::public_key(seed)));
        }
        Self(Signing::Ed25519(Box::new(SigningKey::from_bytes(seed))))
    }

    /// The real key; a modelled one has no file format.
    #[cfg_attr(not(feature = "modelled"), expect(clippy::unnecessary_wraps, reason = "a modelled key has none"))]
    fn ed25519(&self) -> Result<&SigningKey, InvalidKey> {
        match &self.0 {
            Signing::Ed25519(key) => Ok(key),
            #[cfg(feature = "modelled")]
            Signing::Modelled(_) => Err(InvalidKey::Unwritable),
        }
    }

    /// Parses a PKCS#8 PEM in the variants found in files and environment variables: see [`crate::pem`].
    ///
    /// # Errors
    /// [`InvalidKey::Pem`].
    pub fn from_pem(text: &str) -> Result<Self, InvalidKey> {
        let (seed, public) = pem::read(text)?;
        let key = SigningKey::from_bytes(&seed);
        if public.is_some_and(|public| public != key.verifying_key().to_bytes()) {
            return Err(InvalidPem::PublicHalf.into());
        }
        Ok(Self(Signing::Ed25519(Box::new(key))))
    }

    /// The key as PKCS#8 PEM.
    pub fn to_pem(&self) -> Result<String, InvalidKey> {
        // Without the public half (RFC 5958, version 1): the form that every other program can read.
        let pair = KeypairBytes { secret_key: self.ed25519()?.to_bytes(), public_key: None };
        pair.to_pkcs8_pem(LineEnding::LF).map(|pem| pem.to_string()).map_err(|_| InvalidKey::Unwritable)
    }

    /// The public half as SPKI PEM.
    pub fn public_pem(&self) -> Result<String, InvalidKey> {
        self.ed25519()?.verifying_key().to_public_key_pem(LineEnding::LF).map_err(|_| InvalidKey::Unwritable)
    }

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
        assert_eq!(PrivateKey::from_pem("not a key").unwrap_err(), InvalidKey::Pem(InvalidPem::None));
    }

    #[test]
    fn unusable_points_are_refused() {
        let with_first = |first: u8, rest: u8| {
            let mut bytes = [rest; 32];
            bytes[0] = first;
            bytes
        };
        let (identity, no_point, too_large) = (with_first(1, 0), with_first(2, 0), [0xff; 32]);
        let mut also_identity = with_first(0xee, 0xff); // y = p + 1
        also_identity[31] = 0x7f;
        let mut written_twice = with_first(0xf0, 0xff); // y = p + 3, which is y = 3
        written_twice[31] = 0x7f;
        for bytes in [identity, no_point, too_large, also_identity, written_twice] {
            assert_eq!(PublicKey(bytes).verifier().unwrap_err(), InvalidKey::NotAPoint, "{bytes:?}");
            let text = PublicKey(bytes).to_string();
            assert_eq!(PublicKey::from_base64(&text).unwrap_err(), InvalidKey::NotAPoint, "{text}");
        }
        assert!(PublicKey(with_first(3, 0)).verifier().is_ok(), "the same point, canonically encoded");
    }

    #[test]
    fn invalid_base64_is_described() {
        let good = PrivateKey::from_seed(&[7; 32]).public_key().to_string();
        let unused_bits = format!("{}B=", "A".repeat(42));
        for (text, got) in [
            ("AAAA", "got 4 characters"),
            (&good.replacen(|c: char| c.is_ascii_alphanumeric(), "_", 1), "got `_` as character 1"),
            (&good.replace('=', "A"), "got `A` as character 44"),
            (&unused_bits, "got unused bits"),
        ] {
            let error = PublicKey::from_base64(text).unwrap_err().to_string();
            assert!(error.contains(got), "{text}: {error}");
        }
        assert_eq!(PublicKey::from_base64(&good).unwrap().to_string(), good);
    }

    #[test]
    fn debug_never_shows_the_secret() {
        let shown = format!("{:?}", PrivateKey::from_seed(&[7; 32]));
        assert!(shown.starts_with("PrivateKey(public "), "{shown}");
    }
}
