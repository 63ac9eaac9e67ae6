//! The firmware manifest: the signed (FW_SIG) description of a release, and the checks that a device makes, in their order.
//!
//! A manifest is TOON text whose last line is `FW_SIG: ` and 88 characters of base64, over `KS1 FIRMWARE\n` and every byte
//! before that line. It is sent verbatim, as a text inside a response, so that its bytes are never re-encoded.

use serde::{Deserialize, Serialize};

use crate::{
    document::{self, DocumentError},
    id::{KeyId, ReleaseId},
    key::{PrivateKey, Verifier},
    message::{Trust, UpdateClass, type_line},
    number::{integer, optional_integer},
    signature::{Context, signing_input},
    text::{Rows, Sha256, Text},
    time::UnixMs,
};

type_line!(ManifestType = "firmware_manifest");

/// Label of the manifest's signature line.
pub const FW_SIG: &str = "FW_SIG";
/// Size limit of a signed manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 4_096;
/// Size limit of an artifact, in bytes: 1 GiB.
pub const ARTIFACT_BYTES_MAX: u64 = 1 << 30;
/// Limit of models in one release.
pub const MODELS_MAX: usize = 32;

/// The description of a release. Never changes once it is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    #[serde(rename = "type")]
    pub kind: ManifestType,
    pub release_id: ReleaseId,
    /// The product line that it is for.
    pub product: Text<64>,
    /// The models of the product that it is for.
    pub models: Rows<Text<64>, MODELS_MAX>,
    /// Version, for people.
    pub version: Text<64>,
    /// Increases with each release of a product; a device never goes back. Returning to an old image takes a new release.
    #[serde(deserialize_with = "integer")]
    pub release_counter: u64,
    /// SHA-256 of the artifact.
    pub sha256: Sha256,
    /// Length of the artifact, in bytes.
    #[serde(deserialize_with = "integer")]
    pub size_bytes: u64,
    /// The lowest counter that must be installed before; any if missing.
    #[serde(default, deserialize_with = "optional_integer", skip_serializing_if = "Option::is_none")]
    pub min_counter: Option<u64>,
    /// Not to be installed before this.
    pub not_before: UnixMs,
    /// Not to be installed from this time on, so that a withheld old manifest becomes useless.
    pub expires_at: UnixMs,
    /// The signing key.
    pub key_id: KeyId,
}

/// The properties of a device that a manifest is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Installed<'a> {
    pub product: &'a str,
    pub model: &'a str,
    /// Counter of the running release.
    pub release_counter: u64,
}

/// What an accepted manifest means for a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InstallDecision {
    /// Newer than the running release: to be installed.
    Install,
    /// Already running.
    AlreadyInstalled,
}

impl Manifest {
    /// The signed manifest as text. `key_id` must match the key.
    ///
    /// # Errors
    /// It can't be encoded.
    pub fn signed_by(&self, key: &PrivateKey) -> Result<String, DocumentError> {
        let mut text = document::encode(self)?;
        text.push('\n');
        let signature = key.sign(signing_input(Context::Firmware, &text).as_bytes());
        Ok(format!("{text}{FW_SIG}: {signature}"))
    }

    /// First check: the signature, by one of `keys`. Also fails for text that is not a manifest.
    ///
    /// # Errors
    /// [`UpdateClass::BadSignature`].
    pub fn open(text: &str, keys: &[(KeyId, Verifier)]) -> Result<Self, UpdateClass> {
        let refused = UpdateClass::BadSignature;
        if text.len() > MANIFEST_BYTES_MAX {
            return Err(refused);
        }
        let signed = document::split(text.as_bytes(), FW_SIG).map_err(|_| refused)?;
        let manifest: Self = document::decode(signed.body).map_err(|_| refused)?;
        let (_, key) = keys.iter().find(|(key_id, _)| *key_id == manifest.key_id).ok_or(refused)?;
        let input = signing_input(Context::Firmware, signed.body);
        if key.verifies(input.as_bytes(), &signed.signature) { Ok(manifest) } else { Err(refused) }
    }

    /// The checks before the download, in their order: time, model, counter. Time is the server's, which devices trust.
    ///
    /// # Errors
    /// The class of the first check that fails.
    pub fn check(&self, device: Installed<'_>, server_time: UnixMs) -> Result<InstallDecision, UpdateClass> {
        if server_time >= self.expires_at {
            return Err(UpdateClass::Freeze);
        }
        if server_time < self.not_before {
            return Err(UpdateClass::NotYetValid);
        }
        let is_for_model = self.models.as_slice().iter().any(|model| model.as_str() == device.model);
        if self.product.as_str() != device.product || !is_for_model {
            return Err(UpdateClass::WrongModel);
        }
        if self.release_counter == device.release_counter {
            return Ok(InstallDecision::AlreadyInstalled);
        }
        if self.release_counter < device.release_counter {
            return Err(UpdateClass::Rollback);
        }
        if self.min_counter.is_some_and(|least| device.release_counter < least) {
            return Err(UpdateClass::NotReady);
        }
        Ok(InstallDecision::Install)
    }

    /// All of it: [`Manifest::open`] with the trusted firmware keys, then [`Manifest::check`].
    ///
    /// # Errors
    /// The class of the first check that fails.
    pub fn accept(
        text: &str,
        trust: &Trust,
        device: Installed<'_>,
        server_time: UnixMs,
    ) -> Result<(Self, InstallDecision), UpdateClass> {
        let manifest = Self::open(text, trust.firmware_signers())?;
        let decision = manifest.check(device, server_time)?;
        Ok((manifest, decision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from_seed(&[seed; 32])
    }

    fn keys(seed: u8) -> Vec<(KeyId, Verifier)> {
        let key = key(seed).public_key();
        vec![(key.key_id(), key.verifier().unwrap())]
    }

    fn manifest() -> Manifest {
        Manifest {
            kind: Default::default(),
            release_id: "r-7".parse().unwrap(),
            product: Text::truncated("ks-terminal"),
            models: Rows::truncated(vec![Text::truncated("KS-100"), Text::truncated("KS-200")]),
            version: Text::truncated("1.4.0"),
            release_counter: 7,
            sha256: Sha256([5; 32]),
            size_bytes: 1_000,
            min_counter: Some(3),
            not_before: UnixMs(NOW.0 - 1),
            expires_at: UnixMs(NOW.0 + 1),
            key_id: key(1).public_key().key_id(),
        }
    }

    fn device(model: &str, release_counter: u64) -> Installed<'_> {
        Installed { product: "ks-terminal", model, release_counter }
    }

    #[test]
    fn any_changed_byte_invalidates_a_manifest() {
        let text = manifest().signed_by(&key(1)).unwrap();
        assert_eq!(Manifest::open(&text, &keys(1)), Ok(manifest()));
        assert_eq!(Manifest::open(&text, &keys(2)), Err(UpdateClass::BadSignature));
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert_eq!(Manifest::open(&changed, &keys(1)), Err(UpdateClass::BadSignature), "byte {at}");
            }
        }
    }

    #[test]
    fn the_first_failing_check_gives_the_class() {
        let check = |device, at| manifest().check(device, UnixMs(at));
        assert_eq!(check(device("KS-100", 6), NOW.0), Ok(InstallDecision::Install));
        assert_eq!(check(device("KS-200", 7), NOW.0), Ok(InstallDecision::AlreadyInstalled));
        assert_eq!(check(device("KS-100", 8), NOW.0), Err(UpdateClass::Rollback));
        assert_eq!(check(device("KS-100", 2), NOW.0), Err(UpdateClass::NotReady));
        assert_eq!(check(device("KS-900", 8), NOW.0), Err(UpdateClass::WrongModel));
        assert_eq!(check(Installed { product: "ks-gate", ..device("KS-100", 6) }, NOW.0), Err(UpdateClass::WrongModel));
        assert_eq!(check(device("KS-900", 8), NOW.0 + 1), Err(UpdateClass::Freeze));
        assert_eq!(check(device("KS-100", 6), NOW.0 - 2), Err(UpdateClass::NotYetValid));
    }

    #[test]
    fn signatures_of_other_contexts_are_refused() {
        let text = manifest().signed_by(&key(1)).unwrap();
        let body = text.rsplit_once('\n').unwrap().0.to_owned() + "\n";
        let elsewhere = key(1).sign(signing_input(Context::Keyset, &body).as_bytes());
        assert_eq!(Manifest::open(&format!("{body}{FW_SIG}: {elsewhere}"), &keys(1)), Err(UpdateClass::BadSignature));
    }
}
