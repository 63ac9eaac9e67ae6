//! Applied limits: versions without gaps, each audited with what it changes.

use crate::store::{
    Actor, StoreError, Transaction,
    audit::chain::note,
    limits::{LimitChange, LimitSet},
};

/// Applies limits and gives their version.
///
/// # Errors
/// The newest version is another than expected: that one, with nothing changed.
pub fn apply(store: &mut dyn Transaction, change: &LimitChange, by: &Actor) -> Result<Result<u64, u64>, StoreError> {
    let newest = store.newest_limits_version()?;
    if newest != change.expected {
        return Ok(Err(newest));
    }
    let version = newest + 1;
    let action = if change.brings_back.is_some() { "limits.rollback" } else { "limits.apply" };
    let noted = note(store, action, &format!("version {version}"), &change.difference, by)?;
    let limits = LimitSet {
        version,
        document: change.document.clone(),
        origin: change.origin,
        basis: change.brings_back.unwrap_or(version),
        actor: by.name.clone(),
        at: by.at,
    };
    store.insert_limits(&limits, &noted)?;
    Ok(Ok(version))
}
