//! POST /rotate-key.

use axum::{extract::State, response::Response};
use ks_protocol::{
    message::{KeyRotated, Request, RotateKey},
    refusal::RefusalCode,
};

use super::heartbeat::remember;
use crate::{
    admission::Signed,
    app::App,
    http::answer,
    limit::Requester,
    refusal::Refusal,
    registry::{KEY_CHANGES, ROW_BYTES},
    rules,
    store::devices::KeyRotation,
};

/// Replaces a device's key with the requested one: [`Signed`] has checked that the request is signed with the known key.
pub async fn rotate_key(State(app): State<App>, request: Signed<RotateKey>) -> Response {
    let reply = request.reply.clone();
    let result = record(&app, request).await;
    answer::send(&app, &reply, result)
}

async fn record(app: &App, request: Signed<RotateKey>) -> Result<KeyRotated, Refusal> {
    let by = request.by(app.clock.now());
    let Signed { message, known, address, .. } = request;
    if !message.is_proven() {
        return Err(Refusal::new(RefusalCode::Malformed)
            .saying("proof: expected the new key's signature over `KS1 NEW-KEY DEVICE_ID` and a line feed"));
    }
    let now_us = app.elapsed_us();
    known.spend(&app.limits, &KEY_CHANGES, Requester::device(address, message.device_id.as_str()), now_us)?;
    let (at, sequence, public_key) = (by.at, message.sequence(), message.new_public_key);
    let rotation = KeyRotation {
        device_id: message.device_id,
        sequence,
        signed_with: known.public_key,
        new_public_key: public_key,
    };
    let rotated = app.writer.write(move |store| rules::devices::rotate_key(store, &rotation, &by)).await?;
    rotated.map_err(|denied| remember(&known, denied))?;
    known.stored(sequence);
    known.charge_stored(&app.limits, ROW_BYTES, now_us);
    // The key in memory is the old one; from here on the new one is valid.
    app.registry.follow(&app.reader).await?;
    Ok(KeyRotated { kind: Default::default(), public_key, server_time: at })
}
