//! The audit: who did what to what, when and from where. Only [`crate::store::audit::chain::note`] appends to it, in the
//! transaction of the change.

pub mod chain;

use ks_protocol::time::UnixMs;

use super::StoreError;
use chain::{Audited, Head};

/// A line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Number, counted from 1 without gaps.
    pub number: i64,
    pub at: UnixMs,
    pub actor: String,
    /// Network address; empty for a tool on the server's own machine.
    pub address: String,
    pub action: String,
    pub subject: String,
    pub detail: String,
    /// SHA-256 over the line and the previous hash: see [`crate::store::audit::chain`].
    pub hash: [u8; 32],
}

/// Which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    pub actor: Option<String>,
    /// Prefix of the action.
    pub action: Option<String>,
    pub subject: Option<String>,
    /// At or after this.
    pub since: Option<UnixMs>,
    /// Before this.
    pub until: Option<UnixMs>,
    /// The last one first; lines are then below `after`.
    pub newest_first: bool,
}

/// The rows of the audit.
pub trait AuditRows {
    /// The last line, locked: no other transaction appends until this one ends.
    fn audit_head_for_update(&mut self) -> Result<Option<Head>, StoreError>;
    /// Appends a line, which becomes the head.
    fn append_audit(&mut self, line: &AuditRecord) -> Result<(), StoreError>;
}

/// Pruning of audit rows.
pub trait PrunedAuditRows: AuditRows {
    /// The oldest lines, at most `rows_max` and up to number `last`: the number of the first, and the head at the last.
    fn oldest_audit(&mut self, last: i64, rows_max: usize) -> Result<Option<(i64, Head)>, StoreError>;
    /// Deletes all lines up to and including this one, after which the chain now begins; returns how many.
    fn delete_audit_to(&mut self, head: Head, noted: &Audited) -> Result<usize, StoreError>;
}

/// Queries about the audit.
pub trait AuditReads {
    /// Lines above `after`, at most `limit`, the oldest first, or those below it, the newest first.
    fn audit(&mut self, which: &AuditFilter, after: i64, limit: usize) -> Result<Vec<AuditRecord>, StoreError>;
    /// Number and hash of the last line, as stored separately from the lines.
    fn audit_head(&mut self) -> Result<Option<Head>, StoreError>;
    /// Number and hash of the last line that was pruned.
    fn audit_base(&mut self) -> Result<Option<Head>, StoreError>;
}
