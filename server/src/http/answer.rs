//! Encodes an answer or a refusal as TOON and signs the response; nothing else signs responses.

use axum::{body::Body, response::Response};
use hyper::{StatusCode, header};
use ks_protocol::{
    MEDIA_TYPE,
    document::{self, DocumentError},
    id::DeviceId,
    refusal::RefusalDocument,
};
use serde::Serialize;

use crate::{app::App, limit, refusal::Refusal};

/// What binds an answer to its request.
#[derive(Debug, Clone)]
pub struct Reply {
    /// Path of the endpoint.
    pub path: &'static str,
    /// The request's SIG_DEV, or `-`.
    pub sig_dev: String,
    /// The device that the request names, once it is read: refusals spread by it.
    pub device_id: Option<DeviceId>,
    /// When the request arrived, in microseconds since the start.
    pub arrived_us: u64,
}

/// Signs and sends the result of a handler.
pub fn send<T: Serialize>(app: &App, reply: &Reply, result: Result<T, Refusal>) -> Response {
    match result {
        Ok(answer) => sealed(app, reply, "OK", 200, document::encode(&answer)),
        Err(refusal) => refuse(app, reply, refusal),
    }
}

/// Signs and sends an encoded document, or a refusal.
pub fn send_document(app: &App, reply: &Reply, result: Result<String, Refusal>) -> Response {
    match result {
        Ok(document) => sealed(app, reply, "OK", 200, Ok(document)),
        Err(refusal) => refuse(app, reply, refusal),
    }
}

/// Signs and sends a refusal.
pub fn refuse(app: &App, reply: &Reply, refusal: Refusal) -> Response {
    let document = refusal_document(app, reply.path, reply.device_id.as_ref(), refusal);
    let code = document.code;
    let mut response = sealed(app, reply, code.as_str(), code.status(), document::encode(&document));
    if let Some(seconds) = document.retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

fn refusal_document(app: &App, path: &'static str, device_id: Option<&DeviceId>, refusal: Refusal) -> RefusalDocument {
    let Refusal { code, message, retry_after_s, kept, is_turn } = refusal;
    let retry_after_s = match device_id.filter(|_| !is_turn) {
        Some(device_id) => retry_after_s.map(|least_s| limit::retry_after_s(device_id, app.elapsed_us(), least_s)),
        None => retry_after_s,
    };
    tracing::debug!(path, %code, detail = message.as_deref(), "refused");
    RefusalDocument {
        code,
        message: message.unwrap_or_else(|| code.meaning().to_owned()),
        retry_after_s,
        server_boot_epoch: kept.map(|kept| kept.boot_epoch),
        server_seq: kept.map(|kept| kept.seq),
        server_time: Some(app.clock.now()),
    }
}

/// The result of a handler as a value, for a caller in this process: what [`send`] would write, and the key that would sign it.
#[cfg(feature = "modelled")]
pub(crate) fn value<T>(
    app: &App,
    path: &'static str,
    (device_id, arrived_us): (&DeviceId, u64),
    result: Result<T, Refusal>,
) -> (ks_protocol::signature::Reply<T>, ks_protocol::id::KeyId) {
    use ks_protocol::signature::Reply as Value;
    let value = match result {
        Ok(answer) => Value::Answer(answer),
        Err(refusal) => Value::Refused(refusal_document(app, path, Some(device_id), refusal)),
    };
    let code = if let Value::Refused(refusal) = &value { refusal.code.as_str() } else { "OK" };
    count(app, path, code, arrived_us);
    (value, app.keyring.key_id())
}

fn count(app: &App, path: &'static str, code: &'static str, arrived_us: u64) {
    app.metrics.answered(path, code);
    let took_us = app.elapsed_us().saturating_sub(arrived_us);
    app.metrics.answer_seconds.observe(took_us as f64 / 1e6);
}

fn sealed(
    app: &App,
    reply: &Reply,
    code: &'static str,
    status: u16,
    document: Result<String, DocumentError>,
) -> Response {
    count(app, reply.path, code, reply.arrived_us);
    let (status, wire) = match document {
        Ok(document) => {
            let wire = app.keyring.seal(status, &reply.sig_dev, document);
            (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), wire)
        }
        Err(error) => {
            tracing::error!(%error, path = reply.path, "an answer could not be encoded");
            (StatusCode::INTERNAL_SERVER_ERROR, String::new())
        }
    };
    let mut response = Response::new(Body::from(wire));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(MEDIA_TYPE));
    response
}
