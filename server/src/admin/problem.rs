//! An admin error as problem+json (RFC 9457).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hyper::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::StoreError;

/// What went wrong, for people and scripts (RFC 9457).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct ProblemDocument {
    /// Always `about:blank`: the status says what kind of problem it is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: String,
    /// The HTTP status.
    status: u16,
    /// What is wrong, and what was expected.
    detail: String,
    /// Each place that is wrong, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Place>,
}

/// One place that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Place {
    /// Line of the file that was sent.
    pub line: u64,
    /// Which column.
    pub field: String,
    /// What is wrong, and what was expected.
    pub what: String,
}

/// What went wrong, before it is sent.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<Place>,
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem with one sentence of detail.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), retry_after_s: None }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401.
    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    /// 403.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 409.
    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 412: somebody was quicker.
    pub fn changed(version: u64) -> Self {
        let detail = format!("it has version {version} by now: get it again, and send its ETag as If-Match");
        Self::new(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// 429, for so many microseconds.
    pub fn wait(detail: impl Into<String>, wait_us: u64) -> Self {
        let retry_after_s = Some(wait_us.div_ceil(1_000_000).max(1));
        Self { retry_after_s, ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    /// 503.
    pub fn overloaded() -> Self {
        let detail = "the server has more work than it can take; try again";
        Self { retry_after_s: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// The same with a list of what exactly is wrong.
    #[must_use]
    pub fn with_errors(self, errors: Vec<Place>) -> Self {
        Self { errors, ..self }
    }

    /// With more said.
    #[must_use]
    pub fn and(self, more: &str) -> Self {
        Self { detail: format!("{}; {more}", self.detail), ..self }
    }

    /// 500: the server failed.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; nothing is known to be stored")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy | StoreError::Retry(_) | StoreError::QueueFull | StoreError::Closed => Self::overloaded(),
            StoreError::Misplaced(_) | StoreError::Damaged(_) => {
                Self { detail: error.to_string(), ..Self::overloaded() }
            }
            StoreError::TooLong { .. } => Self::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            StoreError::Database(_) => Self::internal(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = ProblemDocument {
            kind: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: self.status.as_u16(),
            detail: self.detail,
            errors: self.errors,
        };
        let body = serde_json::to_vec(&document).unwrap_or_default(); // texts and numbers always are JSON
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response
    }
}
