//! The audit log: its entries as they are exported, and the verification of its hash chain.

use ks_protocol::{
    text::{InvalidDigest, Sha256, hex},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::{
    Reader, StoreError,
    audit::{
        AuditFilter, AuditRecord,
        chain::{Chain, ChainError, Head},
    },
};

/// Entries read from the store at a time.
pub const PAGE: usize = 5_000;

/// An entry of the audit log.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// Consecutive number, from 1.
    number: i64,
    at: UnixMs,
    actor: String,
    /// The actor's network address; empty for a tool on the server's own machine.
    address: String,
    action: String,
    /// What the action was applied to.
    subject: String,
    /// Reason or details.
    detail: String,
    /// SHA-256 over the entry and the previous entry's hash, in hex.
    hash: String,
}

impl From<AuditRecord> for AuditEntry {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { number, at, actor, address, action, subject, detail, hash } = record;
        Self { number, at, actor, address, action, subject, detail, hash: hex(&hash) }
    }
}

impl TryFrom<AuditEntry> for AuditRecord {
    type Error = InvalidDigest;

    fn try_from(line: AuditEntry) -> Result<Self, InvalidDigest> {
        let AuditEntry { number, at, actor, address, action, subject, detail, hash } = line;
        Ok(Self { number, at, actor, address, action, subject, detail, hash: hash.parse::<Sha256>()?.0 })
    }
}

pub fn ndjson(lines: Vec<AuditRecord>) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        let _ = serde_json::to_writer(&mut text, &AuditEntry::from(line)); // strings and numbers into memory: can't fail
        text.push(b'\n');
    }
    text
}

/// Verifies the whole chain against the head in the store and the `noted` heads, which were recorded elsewhere. Returns the last
/// entry's number and hash, or what is broken.
pub async fn verify_chain(reader: &Reader, noted: Vec<Head>) -> Result<Result<Head, ChainError>, StoreError> {
    let mut heads = noted;
    heads.extend(reader.ask(|store| store.audit_head()).await?);
    let base = reader.ask(|store| store.audit_base()).await?;
    let mut after = base.map_or(0, |(last, _)| last);
    let mut chain = match base {
        Some(base) => Chain::behind(base, heads),
        None => Chain::passing(heads),
    };
    // Pruning removed everything up to the base: an entry below it was inserted and must not be skipped.
    let before_base = reader.ask(|store| store.audit(&AuditFilter::default(), 0, 1)).await?;
    if let Some(line) = before_base.first().filter(|line| line.number <= after) {
        return Ok(Err(ChainError::Missing { expected: after + 1, found: line.number }));
    }
    loop {
        let lines = reader.ask(move |store| store.audit(&AuditFilter::default(), after, PAGE)).await?;
        let Some(last) = lines.last() else { return Ok(chain.finish()) };
        after = last.number;
        for line in &lines {
            if let Err(broken) = chain.take(line) {
                return Ok(Err(broken));
            }
        }
    }
}
