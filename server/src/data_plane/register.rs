//! POST /register.

use std::net::IpAddr;

use axum::{extract::State, response::Response};
use ks_protocol::{
    id::DeviceId,
    message::{Register, Registered, Request},
};
use sha2::{Digest, Sha256};

use super::heartbeat::remember;
use crate::{
    admission::Signed,
    app::App,
    http::answer,
    limit::{Limit, Requester, network_of},
    pace,
    refusal::Refusal,
    registry::ROW_BYTES,
    rules,
    store::devices::Registration,
};

/// Registers a whitelisted device: [`Signed`] has checked that its key is the whitelisted one and that it holds the private key.
pub async fn register(State(app): State<App>, request: Signed<Register>) -> Response {
    let reply = request.reply.clone();
    let result = record(&app, request).await;
    answer::send(&app, &reply, result)
}

/// Spends one registration of the address and one of all devices; of neither, if one of them refuses.
fn check_limits(app: &App, address: IpAddr, device: &DeviceId, now_us: u64) -> Result<(), Refusal> {
    let (network, requester) = (network_of(address), Requester::device(address, device.as_str()));
    let of_address = app.limits.check(Limit::AddressRegistrations, requester, now_us, |meter| {
        app.address_registrations.try_spend(meter, network)
    });
    of_address.refusal().map_err(|wait_us| Refusal::too_often(wait_us, "too many registrations from this address"))?;
    let of_all =
        app.limits.check(Limit::Registrations, requester, now_us, |meter| app.registrations.try_spend(meter, ()));
    of_all.refusal().map_err(|wait_us| {
        if of_address.is_charged() {
            app.address_registrations.refund(&network);
        }
        Refusal::too_often(wait_us, "too many registrations of all devices")
    })
}

async fn record(app: &App, request: Signed<Register>) -> Result<Registered, Refusal> {
    check_limits(app, request.address, &request.message.device_id, request.reply.arrived_us)?;
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
    known.charge_stored(&app.limits, ROW_BYTES, app.elapsed_us());
    Ok(Registered {
        kind: Default::default(),
        next_beat_ms: pace::next_beat_ms(known.phase, at, app.config.heartbeat_interval),
        device_id,
        registered_at,
        keyset_version: app.keyring.version(),
        server_time: at,
    })
}
