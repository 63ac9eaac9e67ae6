//! The audit: who did what to what, when, from where. [`crate::audit::note`] alone appends to it, in the transaction of the
//! change.

use ks_protocol::time::UnixMs;

use super::StoreError;

/// A line of the audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Number, from 1 on, without gaps.
    pub number: i64,
    /// When.
    pub at: UnixMs,
    /// Who.
    pub actor: String,
    /// From where; empty for a tool on the server's own machine.
    pub address: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub subject: String,
    /// Why, or how.
    pub detail: String,
    /// SHA-256 over the line and the one before it: see [`crate::audit`].
    pub hash: [u8; 32],
}

/// Which lines.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this actor.
    pub actor: Option<String>,
    /// Whose action begins so.
    pub action: Option<String>,
    /// About this.
    pub subject: Option<String>,
    /// At or after this.
    pub since: Option<UnixMs>,
    /// Before this.
    pub until: Option<UnixMs>,
}

/// The rows of the audit.
pub trait AuditRows {
    /// Number and hash of the last line; nobody else appends until the transaction ends.
    fn audit_head_for_update(&mut self) -> Result<Option<(i64, [u8; 32])>, StoreError>;
    /// Appends a line, which is the new head.
    fn append_audit(&mut self, line: &AuditRecord) -> Result<(), StoreError>;
}

/// What can be asked of the audit.
pub trait AuditReads {
    /// Lines above `after`, at most `limit`, the oldest first.
    fn audit(&mut self, which: &AuditFilter, after: i64, limit: usize) -> Result<Vec<AuditRecord>, StoreError>;
    /// Number and hash of the last line, as it was written apart from the lines.
    fn audit_head(&mut self) -> Result<Option<(i64, [u8; 32])>, StoreError>;
}
