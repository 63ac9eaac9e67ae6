//! Paginated lists, and documents that are streamed.
//!
//! `next_cursor` of a page is `?cursor=` of the next.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::channel::Channel;
use hyper::header;
use ks_protocol::{number::canonical, time::UnixMs};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    route::{Output, OutputSchema},
};
use crate::store::StoreError;

/// Maximum rows per page.
pub const LIMIT_MAX: usize = 10_000;

/// One page of a list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// Builds a page from rows; `number` gives a row's cursor. A full page has a next one.
    pub fn of<R>(rows: Vec<R>, limit: usize, number: impl Fn(&R) -> i64, item: impl Fn(R) -> T) -> Self {
        let next_cursor = (rows.len() == limit).then(|| rows.last().map(|row| number(row).to_string())).flatten();
        Self { items: rows.into_iter().map(item).collect(), next_cursor }
    }
}

/// The requested page size: 100 by default, at most [`LIMIT_MAX`].
pub fn limit(given: Option<usize>) -> Result<usize, Problem> {
    match given.unwrap_or(100) {
        limit if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        limit => Err(Problem::bad_request(format!("limit: expected 1 to {LIMIT_MAX}, got {limit}"))),
    }
}

/// Where a list without a cursor begins: before its first row, or after its last one.
pub fn start(newest_first: bool) -> i64 {
    if newest_first { i64::MAX } else { 0 }
}

/// The row after which the page begins; `start` without a cursor.
pub fn after(cursor: Option<&str>, start: i64) -> Result<i64, Problem> {
    let number = cursor.map_or(Some(start), canonical).filter(|number| *number >= 0);
    number.ok_or_else(|| Problem::bad_request("cursor: expected next_cursor of the previous page"))
}

/// Checks that a period does not end before it begins.
pub fn check_period(since: Option<UnixMs>, until: Option<UnixMs>) -> Result<(), Problem> {
    match (since, until) {
        (Some(since), Some(until)) if since > until => Err(Problem::bad_request(format!(
            "since, until: {since} is after {until}; expected since not to be after until"
        ))),
        _ => Ok(()),
    }
}

/// Streams a document in chunks, as fast as the client reads it.
pub struct Chunks(http_body_util::channel::Sender<Bytes, StoreError>);

impl Chunks {
    /// Sends a chunk; false once the client has disconnected.
    pub async fn send(&mut self, chunk: impl Into<Bytes>) -> bool {
        self.0.send_data(chunk.into()).await.is_ok()
    }

    /// Aborts the connection, so that the client does not mistake a partial document for a complete one.
    pub fn abort(self, error: StoreError) {
        tracing::warn!(%error, "a download was aborted");
        self.0.abort(error);
    }
}

/// A body, and where its chunks are sent.
pub(super) fn channel() -> (Chunks, Body) {
    let (sender, body) = Channel::new(4);
    (Chunks(sender), Body::new(body))
}

/// A document that is generated while it is sent: a list of the whole fleet is never held in memory.
struct Streamed(Body);

impl Streamed {
    fn new<F: Future<Output = ()> + Send + 'static>(write: impl FnOnce(Chunks) -> F) -> Self {
        let (chunks, body) = channel();
        tokio::spawn(write(chunks));
        Self(body)
    }

    fn into_response(self, kind: &'static str, name: &str) -> Response {
        let disposition = format!("attachment; filename=\"{name}\"");
        ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], self.0).into_response()
    }
}

fn text(kind: &'static str) -> OutputSchema {
    OutputSchema { status: 200, body: Some((kind, serde_json::json!({ "type": "string" }))), has_etag: false }
}

pub struct Csv(Streamed, &'static str);

impl Csv {
    /// A file that `write` generates.
    pub fn stream<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        write: impl FnOnce(Chunks) -> F,
    ) -> Self {
        Self(Streamed::new(write), name)
    }
}

impl Output for Csv {
    fn describe(_: &mut SchemaGenerator) -> OutputSchema {
        text("text/csv")
    }
    fn into_response(self) -> Response {
        self.0.into_response("text/csv; charset=utf-8", self.1)
    }
}

/// A file with one JSON document per line.
pub struct Ndjson(Streamed, &'static str);

impl Ndjson {
    /// A file that `write` generates.
    pub fn stream<F: Future<Output = ()> + Send + 'static>(
        name: &'static str,
        write: impl FnOnce(Chunks) -> F,
    ) -> Self {
        Self(Streamed::new(write), name)
    }
}

impl Output for Ndjson {
    fn describe(_: &mut SchemaGenerator) -> OutputSchema {
        text("application/x-ndjson")
    }
    fn into_response(self) -> Response {
        self.0.into_response("application/x-ndjson", self.1)
    }
}
