//! Errors of the admin API as problem+json (RFC 9457).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hyper::{StatusCode, header};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::StoreError;

/// Error response (RFC 9457).
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct ProblemDocument {
    /// Always `about:blank`: the status identifies the kind of problem.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Reason phrase of the status.
    title: String,
    /// HTTP status.
    status: u16,
    /// What is wrong, and what was expected.
    detail: String,
    /// The individual errors, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldError>,
}

/// An error in one field of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct FieldError {
    /// Line of the uploaded file.
    pub line: u64,
    /// Column name.
    pub field: String,
    /// What is wrong, and what was expected.
    pub what: String,
}

/// An error of a handler, before it is rendered.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_s: Option<u64>,
}

impl Problem {
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new(), retry_after_s: None }
    }

    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    pub fn unauthorized(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, detail)
    }

    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    pub fn conflict(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail)
    }

    /// 412: another caller changed the resource meanwhile.
    pub fn changed(version: u64) -> Self {
        let detail = format!("the resource is at version {version} now; read it again and send its ETag as If-Match");
        Self::new(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// 429 with Retry-After.
    pub fn too_many_requests(detail: impl Into<String>, wait_us: u64) -> Self {
        let retry_after_s = Some(wait_us.div_ceil(1_000_000).max(1));
        Self { retry_after_s, ..Self::new(StatusCode::TOO_MANY_REQUESTS, detail) }
    }

    pub fn overloaded() -> Self {
        let detail = "the server is overloaded; retry later";
        Self { retry_after_s: Some(1), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, detail) }
    }

    /// Adds the individual errors.
    #[must_use]
    pub fn with_errors(self, errors: Vec<FieldError>) -> Self {
        Self { errors, ..self }
    }

    /// Appends to the detail.
    #[must_use]
    pub fn and(self, more: &str) -> Self {
        Self { detail: format!("{}; {more}", self.detail), ..self }
    }

    /// 500: the server failed.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal server error; the change may not be stored")
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
        let body = serde_json::to_vec(&document).unwrap_or_default(); // strings and numbers always serialize
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
