//! POST /firmware/status.

use axum::{extract::State, response::Response};
use ks_protocol::message::{FirmwareStatus, FirmwareStatusRecorded, Request};

use super::heartbeat::remember;
use crate::{
    admission::Signed,
    app::App,
    http::answer,
    refusal::Refusal,
    registry::{KnownDevice, ROW_BYTES},
    store::updates::StatusReport,
};

/// Records a device's update progress, and answers whether it may go on.
pub async fn firmware_status(State(app): State<App>, request: Signed<FirmwareStatus>) -> Response {
    let Signed { message, known, reply, .. } = request;
    let result = record(&app, message, &known).await;
    answer::send(&app, &reply, result)
}

async fn record(app: &App, status: FirmwareStatus, known: &KnownDevice) -> Result<FirmwareStatusRecorded, Refusal> {
    let (at, sequence) = (app.clock.now(), status.sequence());
    let taken = app.writer.hot(known.sender, StatusReport { status, at }).await?;
    let taken = taken.map_err(|denied| remember(known, denied))?;
    known.stored(sequence);
    known.charge_stored(&app.limits, ROW_BYTES, app.elapsed_us());
    if taken.has_changed {
        app.rollouts.wake();
    }
    Ok(FirmwareStatusRecorded { kind: Default::default(), go_on: taken.go_on, server_time: at })
}
