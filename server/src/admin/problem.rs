//! An admin error as problem+json (RFC 9457).

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hyper::{StatusCode, header};
use serde_json::{Value, json};

use crate::store::StoreError;

/// What went wrong, for people and scripts.
#[derive(Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    errors: Vec<Value>,
}

impl Problem {
    /// A problem with one sentence of detail.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), errors: Vec::new() }
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 401.
    pub fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "send `Authorization: Bearer` and the server's ADMIN_TOKEN")
    }

    /// 403.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The same with a list of what exactly is wrong.
    #[must_use]
    pub fn with_errors(self, errors: Vec<Value>) -> Self {
        Self { errors, ..self }
    }

    /// The store answered something that does not belong to the question.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the server failed; nothing is known to be stored")
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy | StoreError::QueueFull | StoreError::Closed => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "the server has more work than it can take; try again")
            }
            StoreError::Database(_) => Self::internal(),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "detail": self.detail,
        });
        if let Some(body) = body.as_object_mut().filter(|_| !self.errors.is_empty()) {
            body.insert("errors".to_owned(), Value::Array(self.errors));
        }
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status;
        let kind = header::HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }
}
