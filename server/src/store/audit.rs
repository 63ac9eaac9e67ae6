//! The audit: who did what to what, when, from where. Every change writes its line in its own transaction; here are only those
//! without another change.

use ks_protocol::time::UnixMs;

use super::{By, StoreError};

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

/// What can be written of the audit.
pub trait AuditWrites {
    /// Appends a line of something that changed nothing else: a login that failed, a refused device.
    fn note(&mut self, action: &str, subject: &str, detail: &str, by: &By) -> Result<(), StoreError>;
}

/// What can be asked of the audit.
pub trait AuditReads {
    /// Lines above `after`, at most `limit`, the oldest first.
    fn audit(&mut self, which: &AuditFilter, after: i64, limit: usize) -> Result<Vec<AuditRecord>, StoreError>;
    /// Number and hash of the last line, as it was written apart from the lines.
    fn audit_head(&mut self) -> Result<Option<(i64, [u8; 32])>, StoreError>;
}
