//! /api/audit: who did what to what, when and from where; and whether the log is intact.

use ks_protocol::{text::hex, time::UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    page::{self, Ndjson, Page},
    route::{Call, Json, NoInput, Query},
};
use crate::{
    service::audit::{AuditEntry, PAGE, ndjson, verify_chain},
    store::audit::AuditFilter,
};

/// Filter and page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// By this actor.
    actor: Option<String>,
    /// Actions with this prefix.
    #[schemars(regex(pattern = r"^[a-z_.]{1,40}$"))]
    action: Option<String>,
    /// About this subject.
    subject: Option<String>,
    /// At or after this.
    since: Option<UnixMs>,
    /// Before this.
    until: Option<UnixMs>,
    /// Whether the newest entries come first.
    #[serde(default)]
    newest_first: bool,
    /// `next_cursor` of the previous page.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Maximum rows per page; default 100.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists entries, oldest first unless the query says otherwise.
pub async fn list(call: Call, Query(query): Query<AuditQuery>) -> Result<Json<Page<AuditEntry>>, Problem> {
    let start = page::start(query.newest_first);
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), start)?);
    let AuditQuery { actor, action, subject, since, until, newest_first, .. } = query;
    page::check_period(since, until)?;
    let is_word = |action: &String| {
        (1..=40).contains(&action.len())
            && action.bytes().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.'))
    };
    if action.as_ref().is_some_and(|action| !is_word(action)) {
        return Err(Problem::bad_request("action: expected 1 to 40 of a-z, `_` and `.`, such as device.revoke"));
    }
    let filter = AuditFilter { actor, action, subject, since, until, newest_first };
    let lines = call.reader.ask(move |store| store.audit(&filter, after, limit)).await?;
    Ok(Json(Page::of(lines, limit, |line| line.number, AuditEntry::from)))
}

/// Exports all entries, one JSON document per line.
pub async fn export(call: Call, _: NoInput) -> Result<Ndjson, Problem> {
    let reader = call.reader.clone();
    Ok(Ndjson::stream("audit.ndjson", |mut chunks| async move {
        let mut after = 0;
        loop {
            let lines = match reader.ask(move |store| store.audit(&AuditFilter::default(), after, PAGE)).await {
                Ok(lines) => lines,
                Err(error) => return chunks.abort(error),
            };
            let Some(last) = lines.last() else { return };
            after = last.number;
            if !chunks.send(ndjson(lines)).await {
                return;
            }
        }
    }))
}

/// Result of verifying the audit log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Verification {
    /// Whether the log is intact.
    whole: bool,
    /// What is wrong, if it is not intact.
    broken: Option<String>,
    /// Number of the last entry. Keep it elsewhere together with its hash: `ks-server audit verify --head` then detects even a log
    /// that was rewritten from the start.
    head: Option<i64>,
    /// Hash of the last entry, in hex.
    head_hash: Option<String>,
}

/// Verifies the whole hash chain.
pub async fn verify(call: Call, _: NoInput) -> Result<Json<Verification>, Problem> {
    Ok(Json(match verify_chain(&call.reader, Vec::new()).await? {
        Ok((head, hash)) => Verification { whole: true, broken: None, head: Some(head), head_hash: Some(hex(&hash)) },
        Err(broken) => Verification { whole: false, broken: Some(broken.to_string()), head: None, head_hash: None },
    }))
}
