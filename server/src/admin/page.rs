//! Lists come in pages: `?cursor=` is where the last one ended, `next_cursor` where the next one begins.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::channel::Channel;
use hyper::header;
use ks_protocol::{number::in_one_form, time::UnixMs};
use schemars::{JsonSchema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    route::{Gives, Output},
};
use crate::store::StoreError;

/// Rows in one page at most.
pub const LIMIT_MAX: usize = 10_000;

/// One page of a list.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// `cursor` of the next page; none on the last.
    pub next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A page of rows, each with its number; a full one has a next.
    pub fn of<R>(rows: Vec<R>, limit: usize, number: impl Fn(&R) -> i64, item: impl Fn(R) -> T) -> Self {
        let next_cursor = (rows.len() == limit).then(|| rows.last().map(|row| number(row).to_string())).flatten();
        Self { items: rows.into_iter().map(item).collect(), next_cursor }
    }
}

/// Rows asked for: 100 unless it is said, [`LIMIT_MAX`] at most.
pub fn limit(given: Option<usize>) -> Result<usize, Problem> {
    match given.unwrap_or(100) {
        limit if (1..=LIMIT_MAX).contains(&limit) => Ok(limit),
        limit => Err(Problem::bad_request(format!("limit: expected 1 to {LIMIT_MAX}, got {limit}"))),
    }
}

/// The row behind which to go on; `start` without a cursor.
pub fn after(cursor: Option<&str>, start: i64) -> Result<i64, Problem> {
    let number = cursor.map_or(Some(start), in_one_form).filter(|number| *number >= 0);
    number.ok_or_else(|| Problem::bad_request("cursor: expected the next_cursor of the page before"))
}

/// A span whose end is not before its beginning.
pub fn in_order(since: Option<UnixMs>, until: Option<UnixMs>) -> Result<(), Problem> {
    match (since, until) {
        (Some(since), Some(until)) if since > until => Err(Problem::bad_request(format!(
            "since, until: since is {since}, and until is {until}: expected a since that is not after until"
        ))),
        _ => Ok(()),
    }
}

/// Writes an endless document piece by piece, as fast as the caller takes it.
pub struct Pieces(http_body_util::channel::Sender<Bytes, StoreError>);

impl Pieces {
    /// Sends a piece; false once the caller is gone.
    pub async fn send(&mut self, piece: impl Into<Bytes>) -> bool {
        self.0.send_data(piece.into()).await.is_ok()
    }

    /// Breaks off, so that the caller does not take the part for the whole.
    pub fn fail(self, error: StoreError) {
        tracing::warn!(%error, "a download was broken off");
        self.0.abort(error);
    }
}

/// A document that is written while it is sent: no list of a whole fleet is ever in memory.
struct Streamed(Body);

impl Streamed {
    fn by<F: Future<Output = ()> + Send + 'static>(write: impl FnOnce(Pieces) -> F) -> Self {
        let (sender, body) = Channel::new(4);
        tokio::spawn(write(Pieces(sender)));
        Self(Body::new(body))
    }

    fn into_response(self, kind: &'static str, name: &str) -> Response {
        let disposition = format!("attachment; filename=\"{name}\"");
        ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], self.0).into_response()
    }
}

fn text(kind: &'static str) -> Gives {
    Gives { status: 200, body: Some((kind, serde_json::json!({ "type": "string" }))), has_etag: false }
}

/// A CSV file.
pub struct Csv(Streamed, &'static str);

impl Csv {
    /// A file of that name, written by `write`.
    pub fn by<F: Future<Output = ()> + Send + 'static>(name: &'static str, write: impl FnOnce(Pieces) -> F) -> Self {
        Self(Streamed::by(write), name)
    }
}

impl Output for Csv {
    fn describe(_: &mut SchemaGenerator) -> Gives {
        text("text/csv")
    }
    fn into_response(self) -> Response {
        self.0.into_response("text/csv; charset=utf-8", self.1)
    }
}

/// A file of one JSON document a line.
pub struct Ndjson(Streamed, &'static str);

impl Ndjson {
    /// A file of that name, written by `write`.
    pub fn by<F: Future<Output = ()> + Send + 'static>(name: &'static str, write: impl FnOnce(Pieces) -> F) -> Self {
        Self(Streamed::by(write), name)
    }
}

impl Output for Ndjson {
    fn describe(_: &mut SchemaGenerator) -> Gives {
        text("application/x-ndjson")
    }
    fn into_response(self) -> Response {
        self.0.into_response("application/x-ndjson", self.1)
    }
}
