//! Whether the database was found damaged: whoever finds it stops every write for as long as the process lives.
//!
//! A database that is damaged in one place is written on at the price of what is still whole, and what is acknowledged then may
//! be lost with the rest. Nothing that succeeds later proves it whole again, so this is never cleared.

use std::sync::{Arc, OnceLock};

use super::StoreError;

/// Shared by all that reads and writes one store; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Damage(Arc<OnceLock<StoreError>>);

impl Damage {
    /// Looks at what the store said, notes damage, and says so in the log: once.
    pub fn note<T>(&self, done: &Result<T, StoreError>) {
        if let Err(error @ StoreError::Damaged(_)) = done
            && self.0.set(error.clone()).is_ok()
        {
            tracing::error!(%error, "the database is damaged");
        }
    }

    /// Refuses while there is damage, which is for ever.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], as it was found first.
    pub fn check(&self) -> Result<(), StoreError> {
        self.0.get().map_or(Ok(()), |found| Err(found.clone()))
    }
}
