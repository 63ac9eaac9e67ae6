//! Pruning the audit: exported lines may be deleted, and a new line records it.

use crate::store::{
    Actor, StoreError, Transaction,
    audit::chain::{PRUNED, head_text, note},
};

/// Deletes the oldest lines up to number `last`, at most `rows_max` of them, and records it in a new line; returns how many. The
/// caller has made sure that an export contains them.
pub fn prune(store: &mut dyn Transaction, last: i64, rows_max: usize, by: &Actor) -> Result<usize, StoreError> {
    let Some((first, head)) = store.oldest_audit(last, rows_max)? else { return Ok(0) };
    let noted = note(store, PRUNED, &format!("lines {first} to {}", head.0), &head_text(head), by)?;
    store.delete_audit_to(head, &noted)
}
