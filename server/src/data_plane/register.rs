//! POST /register.

use axum::{extract::State, response::Response};
use ks_protocol::message::{Register, Registered, Request};
use sha2::{Digest, Sha256};

use super::heartbeat::remember;
use crate::{admission::Signed, app::App, http::answer, pace, refusal::Refusal, rules, store::devices::Registration};

/// Registers a whitelisted device: [`Signed`] has checked that its key is the whitelisted one and that it holds the private key.
pub async fn register(State(app): State<App>, request: Signed<Register>) -> Response {
    let reply = request.reply.clone();
    let result = record(&app, request).await;
    answer::send(&app, &reply, result)
}

async fn record(app: &App, request: Signed<Register>) -> Result<Registered, Refusal> {
    let by = request.by(app.clock.now());
    let Signed { message, known, .. } = request;
    let (at, sequence, device_id) = (by.at, message.sequence(), message.device_id.clone());
    let registration = Registration {
        device_id: message.device_id,
        public_key: message.public_key,
        sequence,
        otrt_sha256: message.otrt.map(|token| Sha256::digest(token.as_str()).into()),
        otrt_required: app.config.otrt_required,
    };
    let registered = app.writer.write(move |store| rules::devices::register(store, &registration, &by)).await?;
    let registered_at = registered.map_err(|denied| remember(&known, denied))?;
    known.stored(sequence);
    Ok(Registered {
        kind: Default::default(),
        next_beat_ms: pace::next_beat_ms(&device_id, at, app.config.heartbeat_interval),
        device_id,
        registered_at,
        keyset_version: app.keyring.version(),
        server_time: at,
    })
}
