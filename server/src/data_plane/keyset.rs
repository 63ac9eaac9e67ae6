//! GET /keys.

use axum::{extract::State, response::Response};
use ks_protocol::refusal::RefusalCode;

use super::unbound;
use crate::{
    answer::{self, Refusal},
    app::App,
};

/// The keyset in force, signed by its own keys and, as every answer, by SIG_SERV. The request is not signed.
pub async fn keyset(State(app): State<App>) -> Response {
    let result = app.keyring.keyset(app.clock.now()).map_err(|_| Refusal::new(RefusalCode::Internal));
    answer::send(&app, &unbound(&app, "/keys"), result)
}
