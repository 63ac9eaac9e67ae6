//! Firmware releases: their fields and lifecycle, for the API and the command line.

use std::time::Duration;

use ks_protocol::{
    document,
    id::{KeyId, ReleaseId},
    key::PrivateKey,
    manifest::{FW_SIG, MANIFEST_BYTES_MAX, MODELS_MAX, Manifest},
    message::UpdateClass,
    text::{Rows, Sha256, Text, counted},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    artifacts::{ArtifactError, Artifacts},
    clock::ms,
    keys::{Keyring, KeyringError},
    rollout::plan,
    rules::{self, rollouts::Evaluation},
    service::names,
    store::{
        Actor, Reader, StoreError, Transaction, Writer,
        releases::{NewRelease, ReleaseChange, ReleaseRecord, ReleaseRefused, ReleaseState},
    },
};

/// Maximum validity of a release, in days.
pub const VALID_DAYS_MAX: u32 = 3_650;

/// The fields of a new release, from which its manifest is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseFields {
    /// Unique name, never reused.
    pub release_id: ReleaseId,
    /// Product that it is for.
    #[serde(default = "default_product")]
    pub product: String,
    /// Models that it is for.
    pub models: Vec<String>,
    /// Human-readable version.
    pub version: String,
    /// Must increase with each release of the product.
    pub release_counter: u64,
    /// SHA-256 of the artifact, 64 hex digits.
    pub sha256: Sha256,
    /// Minimum release counter that must be installed already.
    #[serde(default)]
    pub min_counter: Option<u64>,
    /// Earliest installation time; default now.
    #[serde(default)]
    pub not_before: Option<UnixMs>,
    /// Days from `not_before` in which it may be installed.
    #[serde(default = "default_valid_days")]
    #[schemars(range(min = 1, max = 3_650))]
    pub valid_days: u32,
}

fn default_product() -> String {
    "ks-terminal".to_owned()
}
fn default_valid_days() -> u32 {
    365
}

#[derive(Debug, Serialize, JsonSchema)]
pub struct Release {
    pub(crate) release_id: ReleaseId,
    pub(crate) state: ReleaseState,
    pub(crate) product: String,
    pub(crate) version: String,
    pub(crate) release_counter: u64,
    /// Models that it is for.
    pub(crate) models: Vec<String>,
    pub(crate) sha256: Sha256,
    pub(crate) size_bytes: u64,
    pub(crate) min_counter: Option<u64>,
    pub(crate) not_before: UnixMs,
    pub(crate) expires_at: UnixMs,
    /// The key that signs it, or will sign it when it is staged.
    pub(crate) key_id: KeyId,
    pub(crate) signed: bool,
    /// The manifest exactly as devices receive it; unsigned while it is a draft that the server will sign.
    pub(crate) manifest: String,
    pub(crate) created_at: UnixMs,
    /// Time of the last state change.
    pub(crate) changed_at: UnixMs,
    /// Reason of the last state change; may be empty.
    pub(crate) reason: String,
}

impl Release {
    /// None if the manifest can't be read: then this program did not write it.
    pub(crate) fn of(record: ReleaseRecord) -> Option<Self> {
        let manifest = plan::read(&record.manifest).ok()?;
        Some(Self {
            release_id: record.release_id,
            state: record.state,
            product: record.product,
            version: record.version,
            release_counter: record.release_counter,
            models: manifest.models.as_slice().iter().map(ToString::to_string).collect(),
            sha256: record.sha256,
            size_bytes: manifest.size_bytes,
            min_counter: manifest.min_counter,
            not_before: manifest.not_before,
            expires_at: manifest.expires_at,
            key_id: manifest.key_id,
            signed: record.manifest.contains(&format!("\n{FW_SIG}: ")),
            manifest: record.manifest,
            created_at: record.created_at,
            changed_at: record.changed_at,
            reason: record.reason,
        })
    }
}

/// Why a release can't be created or change its state.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A field is out of range.
    #[error("{0}")]
    Field(String),
    /// Devices would refuse the signed manifest.
    #[error("manifest: {}", refusal(*.0))]
    Manifest(UpdateClass),
    /// The artifact's size differs from the manifest.
    #[error("the artifact has {}, but the manifest says {manifest_bytes}", counted(*actual_bytes, "byte"))]
    Size { actual_bytes: u64, manifest_bytes: u64 },
    /// The stored artifact is not what was uploaded.
    #[error("the artifact {0}; upload it again")]
    Broken(String),
    /// The artifact can't be read.
    #[error(transparent)]
    Unreadable(#[from] ArtifactError),
    /// The store refused it.
    #[error(transparent)]
    Refused(#[from] ReleaseRefused),
    /// The keys do not permit it.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn refusal(class: UpdateClass) -> String {
    match class {
        UpdateClass::BadSignature => {
            "FW_SIG is not by a key of the keyset that may sign firmware, or this is not a manifest; \
            `ks-server keys status` shows the keys, and `ks-server keys add-firmware-key` publishes one"
                .to_owned()
        }
        class => format!("devices would refuse it ({})", class.as_str()),
    }
}

impl ReleaseFields {
    /// The manifest of these fields.
    ///
    /// # Errors
    /// A field is out of range.
    pub fn manifest(&self, size_bytes: u64, key_id: KeyId, now: UnixMs) -> Result<Manifest, ReleaseError> {
        let invalid = |field: &str, expected: &str| Err(ReleaseError::Field(format!("{field}: expected {expected}")));
        let is_label = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
        };
        let expected = "1 to 64 of A-Z a-z 0-9 . _ - +";
        if !is_label(&self.product) {
            return invalid("product", expected);
        }
        if !is_label(&self.version) {
            return invalid("version", expected);
        }
        let is_model = |model: &String| (1..=64).contains(&model.len()) && !model.chars().any(char::is_control);
        if !(1..=MODELS_MAX).contains(&self.models.len()) || !self.models.iter().all(is_model) {
            return invalid("models", &format!("1 to {MODELS_MAX} models of 1 to 64 bytes"));
        }
        if self.release_counter == 0 || self.release_counter > ks_protocol::id::SEQ_MAX {
            return invalid("release_counter", "1 to 2^53 - 1");
        }
        if self.min_counter.is_some_and(|least| least >= self.release_counter) {
            return invalid("min_counter", "less than release_counter");
        }
        if !(1..=VALID_DAYS_MAX).contains(&self.valid_days) {
            return invalid("valid_days", &format!("1 to {VALID_DAYS_MAX}"));
        }
        let not_before = self.not_before.unwrap_or(now);
        let valid = Duration::from_hours(24 * u64::from(self.valid_days));
        let expires_at = not_before + valid;
        if expires_at.since_ms(not_before) != ms(valid) {
            return invalid("not_before", "a time such that valid_days end before the year 9999");
        }
        Ok(Manifest {
            kind: Default::default(),
            release_id: self.release_id.clone(),
            product: Text::truncated(&self.product),
            models: Rows::truncated(self.models.iter().map(|model| Text::truncated(model)).collect()),
            version: Text::truncated(&self.version),
            release_counter: self.release_counter,
            sha256: self.sha256,
            size_bytes,
            min_counter: self.min_counter,
            not_before,
            expires_at,
            key_id,
        })
    }

    /// The signed manifest, as an air-gapped machine makes it.
    ///
    /// # Errors
    /// A field is out of range.
    pub fn signed(&self, size_bytes: u64, key: &PrivateKey, now: UnixMs) -> Result<String, ReleaseError> {
        sign(&self.manifest(size_bytes, key.public_key().key_id(), now)?, key)
    }
}

fn sign(manifest: &Manifest, key: &PrivateKey) -> Result<String, ReleaseError> {
    let signed = manifest.signed_by(key).map_err(|error| ReleaseError::Field(error.to_string()))?;
    let bytes = signed.len();
    if bytes > MANIFEST_BYTES_MAX {
        let max = MANIFEST_BYTES_MAX;
        return Err(ReleaseError::Field(format!("the manifest has {bytes} bytes, expected at most {max}")));
    }
    Ok(signed)
}

/// The store's record of a new release.
fn new_release(manifest: &Manifest, text: String) -> NewRelease {
    NewRelease {
        release_id: manifest.release_id.clone(),
        product: manifest.product.to_string(),
        version: manifest.version.to_string(),
        release_counter: manifest.release_counter,
        sha256: manifest.sha256,
        manifest: text,
    }
}

/// Stores a draft that this server signs when it is staged. Its artifact must be uploaded already.
///
/// # Errors
/// A field is out of range, the artifact is missing, or the name or counter is taken.
pub async fn draft(
    fields: &ReleaseFields,
    keyring: &Keyring,
    writer: &Writer,
    reader: &Reader,
    by: &Actor,
) -> Result<ReleaseId, ReleaseError> {
    let sha256 = fields.sha256;
    let size_bytes = reader.ask(move |store| store.artifact_bytes(sha256)).await?;
    let size_bytes = size_bytes.ok_or(ReleaseRefused::NoArtifact(sha256))?;
    let key_id = keyring.firmware_signer()?.public_key().key_id();
    let manifest = fields.manifest(size_bytes, key_id, by.at)?;
    let text = document::encode(&manifest).map_err(|error| ReleaseError::Field(error.to_string()))?;
    store_draft(&manifest, text, writer, by).await
}

/// Stores a draft that was signed offline.
///
/// # Errors
/// Devices would not accept it, or the name or counter is taken.
pub async fn draft_signed(
    signed: &str,
    keyring: &Keyring,
    writer: &Writer,
    by: &Actor,
) -> Result<ReleaseId, ReleaseError> {
    // A trailing line feed, as editors add it, is not part of the signature line.
    let signed = signed.trim_end_matches(['\n', '\r']);
    let manifest = keyring.open_manifest(signed).map_err(ReleaseError::Manifest)?;
    if by.at >= manifest.expires_at {
        return Err(ReleaseError::Manifest(UpdateClass::Freeze));
    }
    store_draft(&manifest, signed.to_owned(), writer, by).await
}

async fn store_draft(
    manifest: &Manifest,
    text: String,
    writer: &Writer,
    by: &Actor,
) -> Result<ReleaseId, ReleaseError> {
    names::check(manifest.release_id.as_str(), &names::RESERVED_RELEASE_IDS)
        .map_err(|why| ReleaseError::Field(format!("release_id: {why}")))?;
    let (new, by) = (new_release(manifest, text), by.clone());
    writer.write(move |store| rules::releases::draft(store, &new, &by)).await??;
    Ok(manifest.release_id.clone())
}

/// Stages a draft: signs it unless it was signed offline, and checks it against its artifact. It is immutable from then on.
///
/// # Errors
/// The artifact is missing or differs, the signature is not trusted, or the release is not a draft.
pub async fn stage(
    release: &ReleaseRecord,
    keyring: &Keyring,
    writer: &Writer,
    reader: &Reader,
    reason: &str,
    by: &Actor,
) -> Result<(), ReleaseError> {
    let manifest = plan::read(&release.manifest).map_err(ReleaseError::Field)?;
    // A manifest signed offline is never signed again here: its key may have been revoked since, because it leaked.
    let signed = if release.manifest.contains(&format!("\n{FW_SIG}: ")) {
        release.manifest.clone()
    } else {
        let key = keyring.firmware_signer()?;
        // The key may have changed since the draft was written.
        sign(&Manifest { key_id: key.public_key().key_id(), ..manifest.clone() }, &key)?
    };
    keyring.open_manifest(&signed).map_err(ReleaseError::Manifest)?;
    let sha256 = release.sha256;
    let actual_bytes = reader.ask(move |store| store.artifact_bytes(sha256)).await?;
    let actual_bytes = actual_bytes.ok_or(ReleaseRefused::NoArtifact(sha256))?;
    if actual_bytes != manifest.size_bytes {
        return Err(ReleaseError::Size { actual_bytes, manifest_bytes: manifest.size_bytes });
    }
    let (state, release_id) = (ReleaseState::Staged, release.release_id.clone());
    let change = ReleaseChange { release_id, state, manifest: Some(signed), reason: reason.to_owned() };
    let by = by.clone();
    Ok(writer.write(move |store| rules::releases::change(store, &change, &by)).await??)
}

/// Allows rollouts to offer a staged release, after checking its artifact once more.
///
/// # Errors
/// It is not staged, devices would no longer accept it, or its artifact is not what was uploaded.
pub async fn activate(
    release: &ReleaseRecord,
    keyring: &Keyring,
    artifacts: &Artifacts,
    writer: &Writer,
    reason: &str,
    by: &Actor,
) -> Result<(), ReleaseError> {
    if release.state == ReleaseState::Staged {
        let manifest = keyring.open_manifest(&release.manifest).map_err(ReleaseError::Manifest)?;
        if by.at >= manifest.expires_at {
            return Err(ReleaseError::Manifest(UpdateClass::Freeze));
        }
        if let Some(fault) = artifacts.fault(release.sha256, manifest.size_bytes, u64::MAX).await? {
            return Err(ReleaseError::Broken(fault));
        }
    }
    let (state, release_id) = (ReleaseState::Active, release.release_id.clone());
    let change = ReleaseChange { release_id, state, manifest: None, reason: reason.to_owned() };
    let by = by.clone();
    Ok(writer.write(move |store| rules::releases::change(store, &change, &by)).await??)
}

/// Revokes a release permanently: in one transaction it is no longer offered, and its open rollouts are aborted.
///
/// # Errors
/// The release is unknown.
pub async fn revoke(
    release_id: &ReleaseId,
    writer: &Writer,
    reason: &str,
    by: &Actor,
    evaluation: Evaluation,
) -> Result<(), ReleaseError> {
    let (state, release_id) = (ReleaseState::Revoked, release_id.clone());
    let change = ReleaseChange { release_id, state, manifest: None, reason: reason.to_owned() };
    let by = by.clone();
    let revoke = move |store: &mut dyn Transaction| {
        let changed = rules::releases::change(store, &change, &by)?;
        if changed.is_ok() {
            rules::rollouts::abort_all_of(store, &change.release_id, &change.reason, &by, evaluation)?;
        }
        Ok(changed)
    };
    Ok(writer.write(revoke).await??)
}
