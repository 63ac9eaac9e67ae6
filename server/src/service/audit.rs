//! The audit read whole: its lines as they are exported, and a walk along its chain.

use ks_protocol::{
    text::{NotADigest, Sha256, hex},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::store::{
    Reader, StoreError,
    audit::{
        AuditFilter, AuditRecord,
        chain::{Broken, Chain, Head},
    },
};

/// Lines read from the store at a time.
pub const PAGE: usize = 5_000;

/// A line of the audit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Line {
    /// Number, from 1 on, without gaps.
    number: i64,
    at: UnixMs,
    /// Who.
    actor: String,
    /// From where; empty for a tool on the server's own machine.
    address: String,
    /// What was done.
    action: String,
    /// To what.
    subject: String,
    /// Why, or how.
    detail: String,
    /// SHA-256 over the line and the hash of the one before it, in hex.
    hash: String,
}

impl From<AuditRecord> for Line {
    fn from(record: AuditRecord) -> Self {
        let AuditRecord { number, at, actor, address, action, subject, detail, hash } = record;
        Self { number, at, actor, address, action, subject, detail, hash: hex(&hash) }
    }
}

impl TryFrom<Line> for AuditRecord {
    type Error = NotADigest;

    fn try_from(line: Line) -> Result<Self, NotADigest> {
        let Line { number, at, actor, address, action, subject, detail, hash } = line;
        Ok(Self { number, at, actor, address, action, subject, detail, hash: hash.parse::<Sha256>()?.0 })
    }
}

/// Lines as NDJSON.
pub fn ndjson(lines: Vec<AuditRecord>) -> Vec<u8> {
    let mut text = Vec::new();
    for line in lines {
        let _ = serde_json::to_writer(&mut text, &Line::from(line)); // texts and numbers, into memory: it does not fail
        text.push(b'\n');
    }
    text
}

/// Walks along the whole chain, past the head that the store keeps and those that were `noted` elsewhere; gives the last line's
/// number and hash, or what is broken.
pub async fn walk(reader: &Reader, noted: Vec<Head>) -> Result<Result<Head, Broken>, StoreError> {
    let mut heads = noted;
    heads.extend(reader.ask(|store| store.audit_head()).await?);
    let base = reader.ask(|store| store.audit_base()).await?;
    let mut after = base.map_or(0, |(last, _)| last);
    let mut chain = match base {
        Some(base) => Chain::behind(base, heads),
        None => Chain::passing(heads),
    };
    // What stands below the base must not be passed over: nothing does.
    let below = reader.ask(|store| store.audit(&AuditFilter::default(), 0, 1)).await?;
    if let Some(line) = below.first().filter(|line| line.number <= after) {
        return Ok(Err(Broken::Missing { expected: after + 1, found: line.number }));
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
