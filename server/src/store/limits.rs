//! The limits that were applied while servers ran, one version after the other.

use ks_protocol::time::UnixMs;

use super::StoreError;
use crate::store::audit::chain::Audited;

/// The way in which limits were applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitOrigin {
    /// A server, from the file that RATE_LIMITS_FILE names.
    File,
    /// An operator, by the command line or the API.
    Order,
}

impl LimitOrigin {
    /// Its name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Order => "order",
        }
    }

    /// The origin with this name.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::File, Self::Order].into_iter().find(|origin| origin.as_str() == word)
    }
}

/// Limits that were applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSet {
    /// From 1.
    pub version: u64,
    /// The limits that it gives, as a limits file; the others are those of the settings.
    pub document: String,
    pub origin: LimitOrigin,
    /// The version that a rollback returned to, 0 for the settings alone; otherwise the version itself.
    pub basis: u64,
    pub actor: String,
    pub at: UnixMs,
}

/// A change of the limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitChange {
    /// The newest version that the change was made for.
    pub expected: u64,
    pub document: String,
    pub origin: LimitOrigin,
    /// The version that a rollback returns to.
    pub brings_back: Option<u64>,
    /// What differs, for the audit.
    pub difference: String,
}

/// The rows of applied limits. The decisions are in [`crate::rules::limits`].
pub trait LimitRows {
    /// The newest version; 0 before the first.
    fn newest_limits_version(&mut self) -> Result<u64, StoreError>;
    /// Adds limits, whose version must be unused.
    fn insert_limits(&mut self, limits: &LimitSet, noted: &Audited) -> Result<(), StoreError>;
}

/// Queries about applied limits.
pub trait LimitReads {
    /// The limits of a version.
    fn limit_set(&mut self, version: u64) -> Result<Option<LimitSet>, StoreError>;
}
