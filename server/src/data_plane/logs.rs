//! POST /logs.

use axum::{extract::State, response::Response};
use ks_protocol::{
    id::Sequence,
    message::{Logs, LogsStored, Request},
};

use super::heartbeat::remember;
use crate::{
    admission::Signed,
    answer::{self, Refusal},
    app::App,
    registry::Known,
    store::logs::LogBatch,
};

/// Stores the lines that are not there yet, and says from which number on the device may send.
pub async fn logs(State(app): State<App>, request: Signed<Logs>) -> Response {
    let Signed { message, known, reply, .. } = request;
    let result = record(&app, message, &known).await;
    answer::send(&app, &reply, result)
}

async fn record(app: &App, request: Logs, known: &Known) -> Result<LogsStored, Refusal> {
    let (at, sequence) = (app.clock.now(), request.sequence());
    let batch = LogBatch {
        device_id: request.device_id,
        sequence,
        first_line_no: request.first_line_no.get(),
        lines: request.lines.into_vec(),
    };
    let stored = app.writer.write(move |store| store.store_logs(&batch, at)).await?;
    let next_line_no = stored.map_err(|denied| remember(known, denied))?;
    known.stored(sequence);
    let next_line_no = Sequence::new(0, next_line_no).seq;
    Ok(LogsStored { kind: Default::default(), next_line_no, server_time: at })
}
