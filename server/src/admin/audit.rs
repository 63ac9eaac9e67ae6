//! /api/audit: who did what to what, when, from where; and whether the record is whole.

use ks_protocol::{
    text::{NotADigest, Sha256, hex},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    page::{self, Ndjson, Page},
    route::{Call, Json, Nothing, Query},
};
use crate::store::{
    Reader, StoreError,
    audit::{
        AuditFilter, AuditRecord,
        chain::{Broken, Chain, Head},
    },
};

/// Lines read from the store at a time.
const PAGE: usize = 5_000;

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

/// Which lines, and which page of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// By this actor.
    actor: Option<String>,
    /// Whose action begins so.
    #[schemars(regex(pattern = r"^[a-z_.]{1,40}$"))]
    action: Option<String>,
    /// About this.
    subject: Option<String>,
    /// At or after this.
    since: Option<UnixMs>,
    /// Before this.
    until: Option<UnixMs>,
    /// Where the page before ended.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Rows of the page, 100 unless it is said.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists lines, the oldest first.
pub async fn list(call: Call, Query(query): Query<AuditQuery>) -> Result<Json<Page<Line>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let AuditQuery { actor, action, subject, since, until, .. } = query;
    page::in_order(since, until)?;
    let is_word = |action: &String| {
        (1..=40).contains(&action.len())
            && action.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.'))
    };
    if action.as_ref().is_some_and(|action| !is_word(action)) {
        return Err(Problem::bad_request("action: expected 1 to 40 of a-z, _ and dots, such as device.revoke"));
    }
    let which = AuditFilter { actor, action, subject, since, until };
    let lines = call.reader.ask(move |store| store.audit(&which, after, limit)).await?;
    Ok(Json(Page::of(lines, limit, |line| line.number, Line::from)))
}

/// Gives every line, one JSON document each.
pub async fn export(call: Call, _: Nothing) -> Result<Ndjson, Problem> {
    let reader = call.reader.clone();
    Ok(Ndjson::by("audit.ndjson", |mut pieces| async move {
        let mut after = 0;
        loop {
            let lines = match reader.ask(move |store| store.audit(&AuditFilter::default(), after, PAGE)).await {
                Ok(lines) => lines,
                Err(error) => return pieces.fail(error),
            };
            let Some(last) = lines.last() else { return };
            after = last.number;
            if !pieces.send(ndjson(lines)).await {
                return;
            }
        }
    }))
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

/// Whether the audit is whole.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verdict {
    /// Whether it is.
    whole: bool,
    /// What is wrong, if it is not.
    broken: Option<String>,
    /// The last line's number: note it elsewhere together with its hash, and `ks-server audit verify --head` finds even a
    /// record that was written anew as a whole.
    head: Option<i64>,
    /// The last line's hash, in hex.
    head_hash: Option<String>,
}

/// Walks along the whole chain.
pub async fn verify(call: Call, _: Nothing) -> Result<Json<Verdict>, Problem> {
    Ok(Json(match walk(&call.reader, Vec::new()).await? {
        Ok((head, hash)) => Verdict { whole: true, broken: None, head: Some(head), head_hash: Some(hex(&hash)) },
        Err(broken) => Verdict { whole: false, broken: Some(broken.to_string()), head: None, head_hash: None },
    }))
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
