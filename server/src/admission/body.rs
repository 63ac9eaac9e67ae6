//! The first check: media type and size, before the document is parsed.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName},
};
use ks_protocol::{
    message::{REQUEST_HEADER, document_of_header},
    refusal::RefusalCode,
};

use crate::{
    http::body::{BodyError, collect, only_line},
    refusal::Refusal,
};

/// Refuses anything but `text/toon` in UTF-8.
pub(super) fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let refused = |message: String| Err(Refusal::new(RefusalCode::UnsupportedMediaType).saying(message));
    let expected = ks_protocol::MEDIA_TYPE;
    let given = match only_line(headers, &CONTENT_TYPE) {
        Ok(given) => given,
        Err(lines) => return refused(format!("there are {lines} content-type lines, expected one: `{expected}`")),
    };
    let mut parts = given.split(';').map(|part| part.trim().to_ascii_lowercase());
    let is_toon = parts.next().is_some_and(|media_type| media_type == "text/toon");
    let is_utf8 = parts
        .all(|parameter| parameter.strip_prefix("charset=").is_none_or(|charset| charset.trim_matches('"') == "utf-8"));
    if is_toon && is_utf8 {
        return Ok(());
    }
    let given: String = given.chars().take(60).collect();
    refused(format!("content-type is `{given}`, expected `{expected}`"))
}

/// Reads the body of a data-plane request.
pub(super) async fn read(body: Body, bytes_max: usize, timeout: Duration) -> Result<Bytes, Refusal> {
    collect(body, bytes_max, timeout).await.map_err(|why| match why {
        BodyError::TooLarge => Refusal::new(RefusalCode::TooLarge)
            .saying(format!("the body is larger than the {bytes_max} bytes that this endpoint accepts")),
        BodyError::Broken => Refusal::new(RefusalCode::Malformed).saying("the body was not received completely"),
        BodyError::TimedOut => Refusal::new(RefusalCode::RequestTimeout),
    })
}

/// The document of a request without a body, from its header.
pub(super) fn of_header(headers: &HeaderMap, bytes_max: usize) -> Result<Bytes, Refusal> {
    let malformed = |what: String| Err(Refusal::new(RefusalCode::Malformed).saying(what));
    let value = match only_line(headers, &HeaderName::from_static(REQUEST_HEADER)) {
        Ok("") => {
            return malformed(format!("there is no {REQUEST_HEADER} line: expected the signed document in base64"));
        }
        Ok(value) => value,
        Err(lines) => return malformed(format!("there are {lines} {REQUEST_HEADER} lines, expected one")),
    };
    match document_of_header(value) {
        Some(document) if document.len() > bytes_max => Err(Refusal::new(RefusalCode::TooLarge).saying(format!(
            "the document in {REQUEST_HEADER} has {} bytes, and this endpoint accepts {bytes_max}",
            document.len()
        ))),
        Some(document) => Ok(document.into()),
        None => malformed(format!("{REQUEST_HEADER} is not canonical base64 with padding")),
    }
}
