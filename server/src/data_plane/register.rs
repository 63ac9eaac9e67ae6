//! POST /register.

use axum::{extract::State, response::Response};
use ks_protocol::{
    message::{Register, Registered, Request},
    refusal::RefusalCode,
};
use sha2::{Digest, Sha256};

use super::heartbeat::remember;
use crate::{
    admission::Signed,
    answer::{self, Refusal},
    app::App,
    pace,
    registry::Known,
    store::{FirstRegistered, Outcome, Write},
};

/// Registers a whitelisted device: [`Signed`] has checked that the key it names is the whitelisted one and that it holds it.
pub async fn register(State(app): State<App>, request: Signed<Register>) -> Response {
    let Signed { message, known, reply } = request;
    let result = record(&app, message, &known).await;
    answer::send(&app, &reply, result)
}

async fn record(app: &App, request: Register, known: &Known) -> Result<Registered, Refusal> {
    let (at, sequence) = (app.clock.now(), request.sequence());
    let otrt_sha256 = request.otrt.map(|token| Sha256::digest(token.as_str()).into());
    let write = Write::Register {
        device_id: request.device_id.clone(),
        public_key: request.public_key,
        sequence,
        otrt_sha256,
        otrt_required: app.config.otrt_required,
        at,
    };
    let Outcome::Register(result) = app.writer.write(write).await? else {
        return Err(Refusal::new(RefusalCode::Internal));
    };
    let FirstRegistered(registered_at) = result.map_err(|denied| remember(known, denied))?;
    known.stored(sequence);
    Ok(Registered {
        kind: Default::default(),
        next_beat_ms: pace::next_beat_ms(&request.device_id, at, app.config.heartbeat_interval),
        device_id: request.device_id,
        registered_at,
        keyset_version: app.keyring.keyset_version,
        server_time: at,
    })
}
