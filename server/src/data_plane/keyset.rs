//! GET /keys.

use axum::{extract::State, http::Uri, response::Response};
use ks_protocol::refusal::RefusalCode;
use serde::Deserialize;

use super::unbound;
use crate::{
    app::App,
    http::{answer, query},
    refusal::Refusal,
};

/// Which keyset.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    version: Option<u64>,
}

/// The keyset in force, or with `?version=N` that one, so that a device can walk from version to version. It is signed by keys
/// of its own and of the one before; the answer, as every one, by SIG_SERV. The request is not signed.
pub async fn keyset(State(app): State<App>, uri: Uri) -> Response {
    let result = find(&app, &uri).await;
    answer::send_document(&app, &unbound(&app, "/keys"), result)
}

async fn find(app: &App, uri: &Uri) -> Result<String, Refusal> {
    let malformed = |why| {
        Refusal::new(RefusalCode::Malformed).saying(format!("expected ?version=N, a whole number, or nothing: {why}"))
    };
    let Which { version } = query::read(uri).map_err(malformed)?;
    let version = version.unwrap_or_else(|| app.keyring.version());
    let document = app.reader.ask(move |store| store.keyset_document(version)).await?;
    document
        .ok_or_else(|| Refusal::new(RefusalCode::NotFound).saying(format!("there is no keyset of version {version}")))
}
