//! POST /commands/ack.

use axum::{extract::State, response::Response};
use ks_protocol::{
    message::{AckRecorded, AcksRecorded, CommandAck, Request},
    text::{Rows, Text},
};

use super::heartbeat::remember;
use crate::{
    admission::Signed,
    app::App,
    command::CommandState,
    http::answer,
    refusal::Refusal,
    registry::{KnownDevice, ROW_BYTES},
    store::commands::AckBatch,
};

/// Records the results of commands, and returns each command's state on the server.
pub async fn command_ack(State(app): State<App>, request: Signed<CommandAck>) -> Response {
    let Signed { message, known, reply, .. } = request;
    let result = record(&app, message, &known).await;
    answer::send(&app, &reply, result)
}

async fn record(app: &App, request: CommandAck, known: &KnownDevice) -> Result<AcksRecorded, Refusal> {
    let (at, sequence) = (app.clock.now(), request.sequence());
    let acks = request.acks.into_vec();
    let command_ids: Vec<_> = acks.iter().map(|ack| ack.command_id.clone()).collect();
    let batch = AckBatch { device_id: request.device_id, sequence, acks, at };
    let recorded = app.writer.hot(known.sender, batch).await?;
    let states = recorded.map_err(|denied| remember(known, denied))?;
    known.stored(sequence);
    known.charge_stored(
        &app.limits,
        ROW_BYTES * u64::try_from(command_ids.len()).unwrap_or(u64::MAX),
        app.elapsed_us(),
    );
    let recorded = command_ids.into_iter().zip(states).map(|(command_id, state)| AckRecorded {
        command_id,
        state: Text::truncated(state.map_or("UNKNOWN", CommandState::as_str)),
    });
    Ok(AcksRecorded { kind: Default::default(), acks: Rows::truncated(recorded.collect()), server_time: at })
}
