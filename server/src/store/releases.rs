//! Releases of firmware: artifacts by their hash, and manifests with their lifecycle state.

use ks_protocol::{id::ReleaseId, text::Sha256, time::UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::store::audit::chain::Audited;

/// Lifecycle state of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ReleaseState {
    /// Created, not signed yet.
    Draft,
    /// Signed, with its artifact stored: it no longer changes.
    Staged,
    /// Rollouts may offer it.
    Active,
    /// Never offered again.
    Revoked,
}

impl ReleaseState {
    pub const ALL: [Self; 4] = [Self::Draft, Self::Staged, Self::Active, Self::Revoked];

    /// Its name in the store and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "DRAFT",
            Self::Staged => "STAGED",
            Self::Active => "ACTIVE",
            Self::Revoked => "REVOKED",
        }
    }

    /// The state with this name.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether a release may change to that state: DRAFT -> STAGED -> ACTIVE, and REVOKED from anywhere.
    pub fn may_become(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::Draft, Self::Staged)
                | (Self::Staged, Self::Active)
                | (Self::Draft | Self::Staged | Self::Active, Self::Revoked)
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRecord {
    /// Row; releases are paged by it.
    pub row: i64,
    pub release_id: ReleaseId,
    pub product: String,
    pub version: String,
    pub release_counter: u64,
    /// SHA-256 of its firmware image.
    pub sha256: Sha256,
    /// The manifest: unsigned while it is a draft that the server will sign.
    pub manifest: String,
    pub state: ReleaseState,
    /// When it was created.
    pub created_at: UnixMs,
    /// When it entered its state.
    pub changed_at: UnixMs,
    /// The reason, if one was given.
    pub reason: String,
}

/// A release to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRelease {
    pub release_id: ReleaseId,
    pub product: String,
    pub version: String,
    pub release_counter: u64,
    pub sha256: Sha256,
    pub manifest: String,
}

/// Why a release can't be stored or can't change its state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseRefused {
    #[error("there is no release {0}")]
    Unknown(ReleaseId),
    /// The name is in use.
    #[error("there is a release {0} already; a release never changes, so choose another name")]
    NameTaken(ReleaseId),
    /// The counter is in use.
    #[error("release {0} of this product has that release_counter already; it must increase with each release")]
    CounterTaken(ReleaseId),
    /// The artifact is not stored.
    #[error("artifact {0} is not stored; upload it first")]
    NoArtifact(Sha256),
    /// Its state does not allow the change.
    #[error("release {release_id} is {}, and can't become {}", is.as_str(), wanted.as_str())]
    State { release_id: ReleaseId, is: ReleaseState, wanted: ReleaseState },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRecord {
    pub sha256: Sha256,
    pub size_bytes: u64,
    /// The fault of its file, if any: `is gone`, ...
    pub fault: Option<String>,
}

/// A change of a release's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseChange {
    pub release_id: ReleaseId,
    pub state: ReleaseState,
    /// The signed manifest, if the change includes it.
    pub manifest: Option<String>,
    pub reason: String,
}

/// The rows of releases and images. The decisions are in [`crate::rules::releases`].
pub trait ReleaseRows {
    /// A release by its name.
    fn release(&mut self, release_id: &ReleaseId) -> Result<Option<ReleaseRecord>, StoreError>;
    /// The release of a product with this counter.
    fn release_with_counter(&mut self, product: &str, release_counter: u64) -> Result<Option<ReleaseId>, StoreError>;
    /// Adds a release as a DRAFT.
    fn insert_release(&mut self, new: &NewRelease, at: UnixMs, noted: &Audited) -> Result<(), StoreError>;
    /// Stores state, manifest, `changed_at` and reason of a release.
    fn save_release(&mut self, release: &ReleaseRecord, noted: &Audited) -> Result<(), StoreError>;
    /// An image by its hash.
    fn artifact(&mut self, sha256: Sha256) -> Result<Option<ArtifactRecord>, StoreError>;
    fn insert_artifact(
        &mut self,
        sha256: Sha256,
        size_bytes: u64,
        at: UnixMs,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    /// Stores the fault of an image's file, or that it has none.
    fn set_artifact_fault(&mut self, sha256: Sha256, fault: Option<&str>, noted: &Audited) -> Result<(), StoreError>;
}

pub trait ReleaseReads {
    /// A release by its name.
    fn release(&mut self, release_id: &ReleaseId) -> Result<Option<ReleaseRecord>, StoreError>;
    /// Releases with a row above `after`, at most `limit`, in the order of creation.
    fn releases(&mut self, after: i64, limit: usize) -> Result<Vec<ReleaseRecord>, StoreError>;
    /// Length of a stored artifact, in bytes.
    fn artifact_bytes(&mut self, sha256: Sha256) -> Result<Option<u64>, StoreError>;
    /// The next artifact in the order of hashes that an ACTIVE release needs.
    fn offered_artifact_after(&mut self, after: Option<Sha256>) -> Result<Option<ArtifactRecord>, StoreError>;
    /// Artifacts with a fault that ACTIVE releases need; at most 1,000.
    fn broken_artifacts(&mut self) -> Result<Vec<ArtifactRecord>, StoreError>;
    /// The length of an artifact that devices may fetch: an ACTIVE release needs it, and it has no fault.
    fn offered_artifact_bytes(&mut self, sha256: Sha256) -> Result<Option<u64>, StoreError>;
}
