//! The audit's own change: what was exported may go, and a line says so.

use crate::store::{
    Actor, StoreError, Transaction,
    audit::chain::{PRUNED, head_text, note},
};

/// Deletes the oldest lines up to number `last`, at most `rows_max` of them, and says so in a line; gives how many. Whoever calls
/// has made sure that they stand in an export.
pub fn prune(store: &mut dyn Transaction, last: i64, rows_max: usize, by: &Actor) -> Result<usize, StoreError> {
    let Some((first, head)) = store.oldest_audit(last, rows_max)? else { return Ok(0) };
    let noted = note(store, PRUNED, &format!("lines {first} to {}", head.0), &head_text(head), by)?;
    store.delete_audit_to(head, &noted)
}
