//! GET /firmware/artifacts/{sha256}: the only bytes of the data plane that are not TOON. They need no signature of their own:
//! the signed manifest names their hash.

use axum::{
    body::Body,
    extract::{Path, State},
    response::Response,
};
use hyper::{
    HeaderMap, StatusCode,
    header::{self, HeaderName, HeaderValue},
};
use ks_protocol::{refusal::RefusalCode, text::Sha256};

use super::unbound;
use crate::{
    admin::route::text_of,
    answer::{self, Refusal},
    app::App,
    artifacts::{ArtifactError, range_of},
    metrics::Answered,
};

const PATH: &str = "/firmware/artifacts/{sha256}";

/// The artifact, or the part of it that Range asks for, if a release that needs it is ACTIVE.
pub async fn artifact(State(app): State<App>, Path(sha256): Path<String>, headers: HeaderMap) -> Response {
    match find(&app, &sha256, &headers).await {
        Ok(response) => {
            app.metrics.answers.get_or_create(&Answered { path: PATH, code: "OK" }).inc();
            response
        }
        Err(refusal) => answer::refuse(&app, &unbound(&app, PATH), refusal),
    }
}

async fn find(app: &App, sha256: &str, headers: &HeaderMap) -> Result<Response, Refusal> {
    let sha256: Sha256 =
        sha256.parse().map_err(|error| Refusal::new(RefusalCode::Malformed).saying(format!("the path: {error}")))?;
    let asked = app.reader.ask(move |store| store.offered_artifact_bytes(sha256)).await?;
    let missing = || Refusal::new(RefusalCode::NotFound).saying("no release that is offered has this artifact");
    let size_bytes = asked.ok_or_else(missing)?;
    let etag = format!("\"{sha256}\"");
    // If-Range: the rest of another file is worth nothing; then the whole comes.
    let is_same = text_of(headers, &header::IF_RANGE).is_none_or(|given| given == etag);
    let range = text_of(headers, &header::RANGE).filter(|_| is_same);
    let Some((range, is_part)) = range_of(range, size_bytes) else {
        return Ok(response(StatusCode::RANGE_NOT_SATISFIABLE, &etag, Body::empty())
            .with(header::CONTENT_RANGE, &format!("bytes */{size_bytes}")));
    };
    let length = range.end - range.start;
    let content_range = format!("bytes {}-{}/{size_bytes}", range.start, range.end - 1);
    let body = app.artifacts.download(sha256, range).await.map_err(|error| refusal(app, error))?;
    app.metrics.artifact_bytes.inc_by(length);
    let status = if is_part { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let whole = response(status, &etag, body).with(header::CONTENT_LENGTH, &length.to_string());
    Ok(if is_part { whole.with(header::CONTENT_RANGE, &content_range) } else { whole })
}

fn refusal(app: &App, error: ArtifactError) -> Refusal {
    match error {
        ArtifactError::Busy(wait) => {
            app.metrics.artifact_refusals.inc();
            Refusal::wait(RefusalCode::Overloaded, u64::try_from(wait.as_micros()).unwrap_or(u64::MAX))
                .saying("as many downloads as may be are under way; come again")
        }
        ArtifactError::Missing => Refusal::new(RefusalCode::NotFound).saying("the artifact's bytes are gone"),
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
        .with(header::CACHE_CONTROL, "public, max-age=31536000, immutable")
}

/// A response with one more header.
trait With {
    fn with(self, name: HeaderName, value: &str) -> Self;
}

impl With for Response {
    fn with(mut self, name: HeaderName, value: &str) -> Self {
        // Digits, hex and fixed words are always a header.
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers_mut().insert(name, value);
        }
        self
    }
}
