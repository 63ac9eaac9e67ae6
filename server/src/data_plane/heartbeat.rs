//! POST /heartbeat.

use axum::{extract::State, response::Response};
use ks_protocol::{
    message::{Heartbeat, NextBeat, Request},
    text::Rows,
};

use crate::{
    admission::Signed,
    app::App,
    http::answer,
    pace,
    refusal::Refusal,
    registry::{KnownDevice, ROW_BYTES},
    store::{Denied, devices::DeviceStatus, heartbeats::Beat},
};

/// Records one heartbeat and returns what the device needs next.
/// Refuses nothing itself: [`Signed`] has made every check before, the store makes the last one.
pub async fn heartbeat(State(app): State<App>, beat: Signed<Heartbeat>) -> Response {
    let Signed { message, known, reply, .. } = beat;
    let result = record(&app, message, &known).await;
    answer::send(&app, &reply, result)
}

/// A heartbeat as a value instead of a document, by a caller in this process that vouches for its signature by `key`: a rehearsal
/// with modelled signatures. The checks, the work and the answer are those of the document. `None` unless it is admitted: then
/// nothing has changed, and its document must be sent.
#[cfg(feature = "modelled")]
pub fn exchange(
    app: &App,
    address: std::net::IpAddr,
    key: &ks_protocol::key::PublicKey,
    beat: Heartbeat,
) -> Option<impl Future<Output = (ks_protocol::signature::Reply<NextBeat>, ks_protocol::id::KeyId)> + use<>> {
    if !ks_protocol::modelled::is_on() {
        return None;
    }
    let arrived_us = app.elapsed_us();
    let known = crate::admission::admit_verified(app, address, key, &beat, arrived_us)?;
    let app = app.clone();
    Some(async move {
        let device_id = beat.device_id.clone();
        let result = record(&app, beat, &known).await;
        answer::value(&app, Heartbeat::PATH, (&device_id, arrived_us), result)
    })
}

async fn record(app: &App, beat: Heartbeat, known: &KnownDevice) -> Result<NextBeat, Refusal> {
    let (received_at, sequence) = (app.clock.now(), beat.sequence());
    let orders_before = known.orders();
    let recorded = app.writer.hot(known.sender, Beat { heartbeat: beat, at: received_at }).await?;
    let due = recorded.map_err(|denied| remember(known, denied))?;
    known.stored(sequence);
    known.brought(!due.commands.is_empty(), orders_before);
    known.charge_stored(&app.limits, ROW_BYTES, app.elapsed_us());
    if due.is_update_further {
        app.rollouts.wake();
    }
    Ok(NextBeat {
        kind: Default::default(),
        server_time: received_at,
        next_beat_ms: pace::next_beat_ms(known.phase, received_at, app.config.heartbeat_interval),
        keyset_version: app.keyring.version(),
        commands: Rows::truncated(due.commands),
        firmware: due.firmware,
    })
}

/// Copies what the store knew better to memory, so that the next such request is refused before it reaches the store.
pub(super) fn remember(known: &KnownDevice, denied: Denied) -> Refusal {
    match &denied {
        Denied::Revoked => known.with_state(|state| state.status = DeviceStatus::Revoked),
        Denied::Stale { kept } => known.with_state(|state| state.kept = state.kept.max(*kept)),
        _ => {}
    }
    denied.into()
}
