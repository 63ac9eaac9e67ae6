//! Whether the database was found damaged: the first detection stops all writes for the lifetime of the process.
//!
//! Writing on to a damaged database risks its intact data, and acknowledged writes may be lost with it. No later success proves
//! the database intact, so this is never cleared.

use std::sync::{Arc, OnceLock};

use super::StoreError;

/// Shared by all readers and writers of one store; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Damage(Arc<OnceLock<StoreError>>);

impl Damage {
    /// Checks a result of the store for damage; records and logs the first one.
    pub fn note<T>(&self, done: &Result<T, StoreError>) {
        if let Err(error @ StoreError::Damaged(_)) = done
            && self.0.set(error.clone()).is_ok()
        {
            tracing::error!(%error, "the database is damaged");
        }
    }

    /// Refuses once damage was found.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], as first found.
    pub fn check(&self) -> Result<(), StoreError> {
        self.0.get().map_or(Ok(()), |found| Err(found.clone()))
    }
}
