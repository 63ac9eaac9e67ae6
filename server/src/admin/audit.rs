//! /api/audit: who did what to what, when, from where; and whether the record is whole.

use ks_protocol::{text::hex, time::UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    page::{self, Ndjson, Page},
    route::{Call, Json, Nothing, Query},
};
use crate::{
    service::audit::{Line, PAGE, ndjson, walk},
    store::audit::AuditFilter,
};

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
