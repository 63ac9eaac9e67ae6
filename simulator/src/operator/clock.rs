//! The server's clock, as anybody may ask for it.

use bytes::Bytes;
use hyper::Method;
use ks_protocol::time::UnixMs;
use serde::Deserialize;

use super::{Operator, OperatorError};

/// What is read of `GET /health`.
#[derive(Debug, Deserialize)]
struct Health {
    server_time: UnixMs,
}

impl Operator {
    /// The time by the server's clock.
    ///
    /// # Errors
    /// It does not answer, or its store does not.
    pub async fn server_time(&self) -> Result<UnixMs, OperatorError> {
        let path = "/health";
        let body = self.call(Method::GET, path, "text/plain", Bytes::new()).await?;
        let health: Result<Health, _> = serde_json::from_slice(&body);
        let unintelligible =
            |error: serde_json::Error| OperatorError::Unintelligible { path: path.to_owned(), what: error.to_string() };
        health.map(|health| health.server_time).map_err(unintelligible)
    }
}
