//! Answer or refusal -> TOON -> signed response: the only place that signs.

use axum::{body::Body, response::Response};
use hyper::{StatusCode, header};
use ks_protocol::{
    MEDIA_TYPE,
    document::{self, DocumentError},
    id::Sequence,
    refusal::{RefusalCode, RefusalDocument},
};
use serde::Serialize;

use crate::{
    app::App,
    store::{Denied, StoreError},
};

/// What binds an answer to its request.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Path of the endpoint.
    pub path: &'static str,
    /// The request's SIG_DEV, or `-`.
    pub sig_dev: String,
    /// When the request arrived, in microseconds since the start.
    pub arrived_us: u64,
}

/// A refusal before it is written and signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: RefusalCode,
    message: Option<String>,
    retry_after_s: Option<u64>,
    kept: Option<Sequence>,
}

impl Refusal {
    /// A refusal with the code's own meaning as its message.
    pub fn new(code: RefusalCode) -> Self {
        Self { code, message: None, retry_after_s: None, kept: None }
    }

    /// STALE_SEQUENCE, with the pair that is stored.
    pub fn stale(kept: Sequence) -> Self {
        Self { kept: Some(kept), ..Self::new(RefusalCode::StaleSequence) }
    }

    /// A refusal that ends by itself after `wait_us` microseconds.
    pub fn wait(code: RefusalCode, wait_us: u64) -> Self {
        Self { retry_after_s: Some(wait_us.div_ceil(1_000_000).max(1)), ..Self::new(code) }
    }

    /// What comes too often may come again after `wait_us` microseconds; `why` says which budget is used up.
    pub fn too_often(wait_us: u64, why: &str) -> Self {
        Self::wait(RefusalCode::RateLimited, wait_us).saying(why)
    }

    /// The same with a message of its own.
    #[must_use]
    pub fn saying(self, message: impl Into<String>) -> Self {
        Self { message: Some(message.into()), ..self }
    }

    /// Whether the device is shut out.
    pub fn is_revoked(&self) -> bool {
        self.code == RefusalCode::Revoked
    }

    /// Whether it is spent from the address's budget: only what an honest device does not do, or hardly ever.
    pub fn costs_the_address(&self) -> bool {
        use RefusalCode as C;
        matches!(
            self.code,
            C::Malformed
                | C::BadSignature
                | C::UnknownDevice
                | C::Revoked
                | C::KeyMismatch
                | C::StaleSequence
                | C::TooLarge
                | C::UnsupportedMediaType
                | C::RequestTimeout
        )
    }

    /// Whether a signature was checked for it.
    pub fn cost_a_check(&self) -> bool {
        matches!(self.code, RefusalCode::BadSignature | RefusalCode::StaleSequence)
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy
            | StoreError::Retry(_)
            | StoreError::QueueFull
            | StoreError::Closed
            | StoreError::TooLong { .. }
            | StoreError::Misplaced(_)
            | StoreError::Damaged(_) => Self::wait(RefusalCode::Overloaded, 1_000_000),
            StoreError::Database(_) => Self::new(RefusalCode::Internal), // the writer has logged it
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::Unknown => Self::new(RefusalCode::UnknownDevice),
            Denied::NotRegistered => Self::new(RefusalCode::NotRegistered),
            Denied::Revoked => Self::new(RefusalCode::Revoked),
            Denied::Stale { kept } => Self::stale(kept),
            Denied::KeyMismatch => Self::new(RefusalCode::KeyMismatch),
            Denied::OtrtRequired => Self::new(RefusalCode::OtrtRequired),
            Denied::OtrtInvalid => Self::new(RefusalCode::OtrtInvalid),
            Denied::OtrtUsed => Self::new(RefusalCode::OtrtUsed),
            Denied::KeyInUse => Self::new(RefusalCode::KeyInUse),
        }
    }
}

/// Signs and sends what a handler made.
pub fn send<T: Serialize>(app: &App, reply: &Reply, result: Result<T, Refusal>) -> Response {
    match result {
        Ok(answer) => sealed(app, reply, "OK", 200, document::encode(&answer)),
        Err(refusal) => refuse(app, reply, refusal),
    }
}

/// Signs and sends a document that is written already, or a refusal.
pub fn send_document(app: &App, reply: &Reply, result: Result<String, Refusal>) -> Response {
    match result {
        Ok(document) => sealed(app, reply, "OK", 200, Ok(document)),
        Err(refusal) => refuse(app, reply, refusal),
    }
}

/// Signs and sends a refusal.
pub fn refuse(app: &App, reply: &Reply, refusal: Refusal) -> Response {
    let Refusal { code, message, retry_after_s, kept } = refusal;
    tracing::debug!(path = reply.path, %code, ?message, "refused");
    let document = RefusalDocument {
        code,
        message: message.unwrap_or_else(|| code.meaning().to_owned()),
        retry_after_s,
        server_boot_epoch: kept.map(|kept| kept.boot_epoch),
        server_seq: kept.map(|kept| kept.seq),
        server_time: Some(app.clock.now()),
    };
    let mut response = sealed(app, reply, code.as_str(), code.status(), document::encode(&document));
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn sealed(
    app: &App,
    reply: &Reply,
    code: &'static str,
    status: u16,
    document: Result<String, DocumentError>,
) -> Response {
    app.metrics.answered(reply.path, code);
    let took_us = app.elapsed_us().saturating_sub(reply.arrived_us);
    app.metrics.answer_seconds.observe(took_us as f64 / 1e6);
    let (status, wire) = match document {
        Ok(document) => {
            let wire = app.keyring.seal(status, &reply.sig_dev, document);
            (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), wire)
        }
        Err(error) => {
            tracing::error!(%error, path = reply.path, "an answer could not be written");
            (StatusCode::INTERNAL_SERVER_ERROR, String::new())
        }
    };
    let mut response = Response::new(Body::from(wire));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(MEDIA_TYPE));
    response
}
