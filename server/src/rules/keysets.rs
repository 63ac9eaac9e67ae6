//! Keysets: a chain without gaps and without forks.

use crate::store::{Actor, StoreError, Transaction, audit::chain::note, keysets::KeysetChange};

/// Publishes a keyset; false, with nothing changed, if its version has been published already.
pub fn publish(store: &mut dyn Transaction, change: &KeysetChange, by: &Actor) -> Result<bool, StoreError> {
    if store.newest_keyset_version()? + 1 != change.version {
        return Ok(false);
    }
    let noted = note(store, change.action, change.subject.as_str(), &change.detail, by)?;
    store.insert_keyset(change.version, &change.document, by.at, &noted)?;
    for key in &change.keys {
        store.save_server_key(key, &noted)?;
    }
    Ok(true)
}
