//! GET /firmware/artifacts/{sha256}: the only response of the data plane that is not TOON. The bytes need no signature:
//! the signed manifest names their hash. The request is signed, so that download slots go only to devices, one to each.

use axum::{
    body::Body,
    extract::{Path, State},
    response::Response,
};
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use ks_protocol::{
    message::{FirmwareArtifact, Request},
    refusal::RefusalCode,
    text::Sha256,
};

use super::heartbeat::remember;
use crate::{
    admission::Signed,
    app::App,
    artifacts::{ArtifactError, range_of},
    clock::micros,
    http::{answer, body::text_of},
    refusal::Refusal,
    registry::KnownDevice,
    store::{Denied, StoreError, devices::DeviceStatus},
};

/// The artifact, or the part of it that Range requests, if the device is registered and an ACTIVE release needs it.
pub async fn artifact(
    State(app): State<App>,
    Path(sha256): Path<String>,
    headers: HeaderMap,
    request: Signed<FirmwareArtifact>,
) -> Response {
    let Signed { message, known, reply, .. } = request;
    match find(&app, &sha256, &headers, &message, &known).await {
        Ok(response) => {
            app.metrics.answered(reply.path, "OK");
            response
        }
        Err(refusal) => answer::refuse(&app, &reply, refusal),
    }
}

async fn find(
    app: &App,
    sha256: &str,
    headers: &HeaderMap,
    request: &FirmwareArtifact,
    known: &KnownDevice,
) -> Result<Response, Refusal> {
    known.take(request.sequence())?;
    let sha256: Sha256 =
        sha256.parse().map_err(|error| Refusal::new(RefusalCode::Malformed).saying(format!("the path: {error}")))?;
    let asked = offered(app, sha256, request).await?.map_err(|denied| remember(known, denied))?;
    let missing = || Refusal::new(RefusalCode::NotFound).saying("no active release has this artifact");
    let size_bytes = asked.ok_or_else(missing)?;
    let etag = format!("\"{sha256}\"");
    // If-Range: a part of a different file is useless, so the whole file is sent.
    let is_same = text_of(headers, &header::IF_RANGE).is_none_or(|given| given == etag);
    let range = text_of(headers, &header::RANGE).filter(|_| is_same);
    let Some((range, is_part)) = range_of(range, size_bytes) else {
        return Ok(response(StatusCode::RANGE_NOT_SATISFIABLE, &etag, Body::empty())
            .with(header::CONTENT_RANGE, &format!("bytes */{size_bytes}")));
    };
    let length = range.end - range.start;
    let content_range = format!("bytes {}-{}/{size_bytes}", range.start, range.end - 1);
    let body = app.artifacts.download(&request.device_id, sha256, range).await.map_err(|error| refusal(app, error))?;
    app.metrics.artifact_bytes.inc_by(length);
    let status = if is_part { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let whole = response(status, &etag, body).with(header::CONTENT_LENGTH, &length.to_string());
    Ok(if is_part { whole.with(header::CONTENT_RANGE, &content_range) } else { whole })
}

/// The length of the artifact, if it is offered. The store makes the final check of the device.
async fn offered(
    app: &App,
    sha256: Sha256,
    request: &FirmwareArtifact,
) -> Result<Result<Option<u64>, Denied>, StoreError> {
    let (device_id, sequence) = (request.device_id.clone(), request.sequence());
    app.reader
        .ask(move |store| {
            let Some(state) = store.auth_record(&device_id)? else { return Ok(Err(Denied::Unknown)) };
            let kept = state.sequence;
            Ok(match state.status {
                DeviceStatus::Revoked => Err(Denied::Revoked),
                DeviceStatus::Whitelisted => Err(Denied::NotRegistered),
                DeviceStatus::Registered if sequence <= kept => Err(Denied::Stale { kept }),
                DeviceStatus::Registered => Ok(store.offered_artifact_bytes(sha256)?),
            })
        })
        .await
}

fn refusal(app: &App, error: ArtifactError) -> Refusal {
    match error {
        ArtifactError::Busy(wait) => {
            app.metrics.artifact_refusals.inc();
            Refusal::wait(RefusalCode::Overloaded, micros(wait)).saying("download limit reached; retry later").in_turn()
        }
        ArtifactError::Missing => Refusal::new(RefusalCode::NotFound).saying("the artifact's file is missing"),
        error => {
            tracing::error!(%error, "an artifact could not be read");
            Refusal::new(RefusalCode::Internal)
        }
    }
}

fn response(status: StatusCode, etag: &str, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .with(header::ETAG, etag)
        .with(header::ACCEPT_RANGES, "bytes")
        .with(header::CONTENT_TYPE, "application/octet-stream")
        .with(header::CACHE_CONTROL, "private, max-age=31536000, immutable")
}

/// A response with one more header.
trait With {
    fn with(self, name: HeaderName, value: &str) -> Self;
}

impl With for Response {
    fn with(mut self, name: HeaderName, value: &str) -> Self {
        // Digits, hex and fixed words are always valid header values.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers_mut().insert(name, value);
        }
        self
    }
}
