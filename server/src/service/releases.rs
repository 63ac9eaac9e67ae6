//! Releases of firmware: what makes one, and the steps of its life, for the API and the command line alike.

use std::time::Duration;

use ks_protocol::{
    document,
    id::{KeyId, ReleaseId},
    key::PrivateKey,
    manifest::{FW_SIG, MANIFEST_BYTES_MAX, MODELS_MAX, Manifest},
    message::UpdateClass,
    text::{Rows, Sha256, Text},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    artifacts::{ArtifactError, Artifacts},
    clock::ms,
    keys::{Keyring, KeyringError},
    rollout::plan,
    rules::{self, rollouts::Look},
    service::names,
    store::{
        By, Reader, StoreError, Transaction, Writer,
        releases::{NewRelease, ReleaseChange, ReleaseRecord, ReleaseRefused, ReleaseState},
    },
};

/// How long a release may be installed at most, in days.
pub const VALID_DAYS_MAX: u32 = 3_650;

/// What makes a release, before its manifest is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReleaseFields {
    /// Its name; never used for another.
    pub release_id: ReleaseId,
    /// What kind of product it is for.
    #[serde(default = "default_product")]
    pub product: String,
    /// The models that it is for.
    pub models: Vec<String>,
    /// Version, for people.
    pub version: String,
    /// Grows with each release of the product.
    pub release_counter: u64,
    /// SHA-256 of its artifact, 64 hex digits.
    pub sha256: Sha256,
    /// The least counter that must be installed before.
    #[serde(default)]
    pub min_counter: Option<u64>,
    /// Not to be installed before this; now, unless it is said.
    #[serde(default)]
    pub not_before: Option<UnixMs>,
    /// How long it may be installed from then on, in days.
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

/// A release.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Release {
    pub(crate) release_id: ReleaseId,
    pub(crate) state: ReleaseState,
    pub(crate) product: String,
    pub(crate) version: String,
    pub(crate) release_counter: u64,
    /// The models that it is for.
    pub(crate) models: Vec<String>,
    pub(crate) sha256: Sha256,
    pub(crate) size_bytes: u64,
    pub(crate) min_counter: Option<u64>,
    pub(crate) not_before: UnixMs,
    pub(crate) expires_at: UnixMs,
    /// The key that signs it, or shall.
    pub(crate) key_id: KeyId,
    /// Whether it is signed.
    pub(crate) signed: bool,
    /// The manifest as devices get it, byte for byte; unsigned while it is a draft that the server shall sign.
    pub(crate) manifest: String,
    pub(crate) created_at: UnixMs,
    /// When it came to its state.
    pub(crate) changed_at: UnixMs,
    /// Why, if somebody said.
    pub(crate) reason: String,
}

impl Release {
    /// From what the store has; none if its manifest can't be read, which this program did not write then.
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

/// Why a release can't be made, or not go on in its life.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// A field is out of range.
    #[error("{0}")]
    Field(String),
    /// The signed manifest is none that devices would believe.
    #[error("manifest: {}", told(*.0))]
    Manifest(UpdateClass),
    /// The artifact has another length than the manifest says.
    #[error("the artifact has {is} bytes, and the manifest says {said}")]
    Size {
        /// Its length.
        is: u64,
        /// What the manifest says.
        said: u64,
    },
    /// The artifact's bytes are not what was uploaded.
    #[error("the artifact {0}; upload it again")]
    Broken(String),
    /// The artifact can't be read.
    #[error(transparent)]
    Unreadable(#[from] ArtifactError),
    /// The store would not.
    #[error(transparent)]
    Refused(#[from] ReleaseRefused),
    /// The keys would not.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn told(class: UpdateClass) -> String {
    match class {
        UpdateClass::BadSignature => {
            "FW_SIG is not by a key of the keyset that may sign firmware, or it is no manifest; \
            `ks-server keys status` shows the keys, and `ks-server keys add-firmware-key` publishes one"
                .to_owned()
        }
        class => format!("devices would refuse it ({})", class.as_str()),
    }
}

impl ReleaseFields {
    /// The manifest that says so.
    ///
    /// # Errors
    /// A field is out of range.
    pub fn manifest(&self, size_bytes: u64, key_id: KeyId, now: UnixMs) -> Result<Manifest, ReleaseError> {
        let bad = |field: &str, expected: &str| Err(ReleaseError::Field(format!("{field}: expected {expected}")));
        let is_label = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-+".contains(&byte))
        };
        let expected = "1 to 64 of A-Z a-z 0-9 . _ - +";
        if !is_label(&self.product) {
            return bad("product", expected);
        }
        if !is_label(&self.version) {
            return bad("version", expected);
        }
        let is_model = |model: &String| (1..=64).contains(&model.len()) && !model.chars().any(char::is_control);
        if !(1..=MODELS_MAX).contains(&self.models.len()) || !self.models.iter().all(is_model) {
            return bad("models", &format!("1 to {MODELS_MAX} models of 1 to 64 bytes"));
        }
        if self.release_counter == 0 || self.release_counter > ks_protocol::id::SEQ_MAX {
            return bad("release_counter", "1 to 2^53 - 1");
        }
        if self.min_counter.is_some_and(|least| least >= self.release_counter) {
            return bad("min_counter", "less than release_counter");
        }
        if !(1..=VALID_DAYS_MAX).contains(&self.valid_days) {
            return bad("valid_days", &format!("1 to {VALID_DAYS_MAX}"));
        }
        let not_before = self.not_before.unwrap_or(now);
        let valid = Duration::from_hours(24 * u64::from(self.valid_days));
        let expires_at = not_before + valid;
        if expires_at.since_ms(not_before) != ms(valid) {
            return bad("not_before", "a time from which on valid_days end before the year 9999");
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

    /// The same, signed: what an air-gapped machine makes.
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
        let most = MANIFEST_BYTES_MAX;
        return Err(ReleaseError::Field(format!("the manifest has {bytes} bytes, expected at most {most}")));
    }
    Ok(signed)
}

/// A release as the store takes it.
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

/// Keeps a draft that this server shall sign when it is staged. Its artifact must be here.
///
/// # Errors
/// A field is out of range, the artifact is missing, or a name or counter is taken.
pub async fn draft(
    fields: &ReleaseFields,
    keyring: &Keyring,
    writer: &Writer,
    reader: &Reader,
    by: &By,
) -> Result<ReleaseId, ReleaseError> {
    let sha256 = fields.sha256;
    let size_bytes = reader.ask(move |store| store.artifact_bytes(sha256)).await?;
    let size_bytes = size_bytes.ok_or(ReleaseRefused::NoArtifact(sha256))?;
    let key_id = keyring.firmware_signer()?.public_key().key_id();
    let manifest = fields.manifest(size_bytes, key_id, by.at)?;
    let text = document::encode(&manifest).map_err(|error| ReleaseError::Field(error.to_string()))?;
    keep(&manifest, text, writer, by).await
}

/// Keeps a draft that was signed offline.
///
/// # Errors
/// Devices would not believe it, or a name or counter is taken.
pub async fn draft_signed(
    signed: &str,
    keyring: &Keyring,
    writer: &Writer,
    by: &By,
) -> Result<ReleaseId, ReleaseError> {
    // The line feed that an editor puts at the end is none of the signature line's.
    let signed = signed.trim_end_matches(['\n', '\r']);
    let manifest = keyring.open_manifest(signed).map_err(ReleaseError::Manifest)?;
    if by.at >= manifest.expires_at {
        return Err(ReleaseError::Manifest(UpdateClass::Freeze));
    }
    keep(&manifest, signed.to_owned(), writer, by).await
}

async fn keep(manifest: &Manifest, text: String, writer: &Writer, by: &By) -> Result<ReleaseId, ReleaseError> {
    names::check(manifest.release_id.as_str(), &names::NOT_FOR_RELEASES)
        .map_err(|why| ReleaseError::Field(format!("release_id: {why}")))?;
    let (new, by) = (new_release(manifest, text), by.clone());
    writer.write(move |store| rules::releases::draft(store, &new, &by)).await??;
    Ok(manifest.release_id.clone())
}

/// Stages a draft: signs it unless it was signed offline, and holds it against its artifact. From here on it never changes.
///
/// # Errors
/// The artifact is missing or another, the signature is not to be believed, or it is no draft.
pub async fn stage(
    release: &ReleaseRecord,
    keyring: &Keyring,
    writer: &Writer,
    reader: &Reader,
    reason: &str,
    by: &By,
) -> Result<(), ReleaseError> {
    let manifest = plan::read(&release.manifest).map_err(ReleaseError::Field)?;
    // What was signed offline is never signed here: its key may have been revoked since, because it leaked.
    let signed = if release.manifest.contains(&format!("\n{FW_SIG}: ")) {
        release.manifest.clone()
    } else {
        let key = keyring.firmware_signer()?;
        // The key may have changed since the draft was written.
        sign(&Manifest { key_id: key.public_key().key_id(), ..manifest.clone() }, &key)?
    };
    keyring.open_manifest(&signed).map_err(ReleaseError::Manifest)?;
    let sha256 = release.sha256;
    let is = reader.ask(move |store| store.artifact_bytes(sha256)).await?;
    let is = is.ok_or(ReleaseRefused::NoArtifact(sha256))?;
    if is != manifest.size_bytes {
        return Err(ReleaseError::Size { is, said: manifest.size_bytes });
    }
    let (state, release_id) = (ReleaseState::Staged, release.release_id.clone());
    let change = ReleaseChange { release_id, state, manifest: Some(signed), reason: reason.to_owned() };
    let by = by.clone();
    Ok(writer.write(move |store| rules::releases::change(store, &change, &by)).await??)
}

/// Lets rollouts offer a staged release. Its artifact is read once more before.
///
/// # Errors
/// It is not staged, devices would not believe it any more, or its artifact is not what was uploaded.
pub async fn activate(
    release: &ReleaseRecord,
    keyring: &Keyring,
    artifacts: &Artifacts,
    writer: &Writer,
    reason: &str,
    by: &By,
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

/// Takes a release back for good: it is offered no more from the same moment on, and its open rollouts are aborted.
///
/// # Errors
/// There is no such release.
pub async fn revoke(
    release_id: &ReleaseId,
    writer: &Writer,
    reason: &str,
    by: &By,
    with: Look,
) -> Result<(), ReleaseError> {
    let (state, release_id) = (ReleaseState::Revoked, release_id.clone());
    let change = ReleaseChange { release_id, state, manifest: None, reason: reason.to_owned() };
    let by = by.clone();
    let revoke = move |store: &mut dyn Transaction| {
        let changed = rules::releases::change(store, &change, &by)?;
        if changed.is_ok() {
            rules::rollouts::abort_all_of(store, &change.release_id, &change.reason, &by, with)?;
        }
        Ok(changed)
    };
    Ok(writer.write(revoke).await??)
}
