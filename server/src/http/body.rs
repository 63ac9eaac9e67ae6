//! A request's header lines and body, within bounds of size and time.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::{HeaderMap, header::HeaderName};

/// The one line of this name, as text; empty if there is none.
///
/// # Errors
/// There are several; gives how many. A proxy in between may have read another one.
pub fn only_line<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, usize> {
    let mut lines = headers.get_all(name).iter();
    match (lines.next(), lines.count()) {
        (None, _) => Ok(""),
        (Some(line), 0) => Ok(line.to_str().unwrap_or_default()),
        (Some(_), more) => Err(more + 1),
    }
}

/// A header's value, if it is text.
pub(crate) fn text_of<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Why a body can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyError {
    /// It is larger than allowed, or declares to be.
    TooLarge,
    /// It ended early.
    Broken,
    /// It took too long.
    TimedOut,
}

/// Reads a body, at most `bytes_max` of it, within `timeout`. A body that declares a larger size is refused immediately: a client
/// that sends `Expect: 100-continue` gets the answer before it sends the body.
///
/// # Errors
/// It can't be read.
pub async fn collect(body: Body, bytes_max: usize, timeout: Duration) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > u64::try_from(bytes_max).unwrap_or(u64::MAX) {
        return Err(BodyError::TooLarge);
    }
    match tokio::time::timeout(timeout, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(BodyError::TooLarge),
        Ok(Err(_)) => Err(BodyError::Broken),
        Err(_) => Err(BodyError::TimedOut),
    }
}
