//! First check: media type and size, before a byte of the body is looked at.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{HeaderMap, header::CONTENT_TYPE};
use ks_protocol::refusal::RefusalCode;

use crate::answer::Refusal;

/// Refuses everything but `text/toon` in UTF-8.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut parts = given.split(';').map(|part| part.trim().to_ascii_lowercase());
    let is_toon = parts.next().is_some_and(|media_type| media_type == "text/toon");
    let is_utf8 = parts
        .all(|parameter| parameter.strip_prefix("charset=").is_none_or(|charset| charset.trim_matches('"') == "utf-8"));
    if is_toon && is_utf8 {
        return Ok(());
    }
    let given: String = given.chars().take(60).collect();
    Err(Refusal::new(RefusalCode::UnsupportedMediaType)
        .saying(format!("content-type is `{given}`, expected `{}`", ks_protocol::MEDIA_TYPE)))
}

/// Reads the body, at most `bytes_max` of it, within `timeout`.
pub(super) async fn read(body: Body, bytes_max: usize, timeout: Duration) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(timeout, Limited::new(body, bytes_max).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::new(RefusalCode::TooLarge)
            .saying(format!("the body is larger than the {bytes_max} bytes that this endpoint takes"))),
        Ok(Err(_)) => Err(Refusal::new(RefusalCode::Malformed).saying("the body did not arrive whole")),
        Err(_) => Err(Refusal::new(RefusalCode::RequestTimeout)),
    }
}
