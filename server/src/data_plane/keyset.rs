//! GET /keys.

use axum::{
    extract::State,
    http::{Uri, request::Parts},
    response::Response,
};
use ks_protocol::refusal::RefusalCode;
use serde::Deserialize;

use super::unbound;
use crate::{
    admission::unsigned,
    app::App,
    http::{answer, query},
    refusal::Refusal,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysetQuery {
    version: Option<u64>,
}

/// The current keyset, or with `?version=N` that version, so that a device can follow the chain from version to version. It is
/// signed by keys of its own and of the version before; the response, like every other, by SIG_SERV. The request is not signed.
pub async fn keyset(State(app): State<App>, parts: Parts) -> Response {
    let result = match unsigned::check(&app, &parts) {
        Ok(()) => find(&app, &parts.uri).await,
        Err(refusal) => Err(refusal),
    };
    answer::send_document(&app, &unbound(&app, "/keys"), result)
}

async fn find(app: &App, uri: &Uri) -> Result<String, Refusal> {
    let malformed = |why| {
        Refusal::new(RefusalCode::Malformed).saying(format!("expected ?version=N, an integer, or no query: {why}"))
    };
    let KeysetQuery { version } = query::read(uri).map_err(malformed)?;
    let version = version.unwrap_or_else(|| app.keyring.version());
    let document = app.reader.ask(move |store| store.keyset_document(version)).await?;
    document
        .ok_or_else(|| Refusal::new(RefusalCode::NotFound).saying(format!("there is no keyset of version {version}")))
}
