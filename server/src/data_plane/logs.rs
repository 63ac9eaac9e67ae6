//! POST /logs.

use std::{net::IpAddr, sync::Arc};

use axum::{extract::State, response::Response};
use ks_protocol::{
    id::{SEQ_MAX, Sequence},
    message::{Logs, LogsStored, Request},
    refusal::RefusalCode,
    text::counted,
};

use super::{heartbeat::remember, to_its_end};
use crate::{
    admission::Signed,
    app::App,
    http::answer,
    limit::Requester,
    refusal::Refusal,
    registry::{KnownDevice, LOG_BYTES},
    store::logs::{LogBatch, LogsTaken},
};

/// Storage overhead of a line in addition to its message, in bytes.
const LINE_BYTES: usize = 64;

/// Stores the new lines, and returns the number of the next line to send.
pub async fn logs(State(app): State<App>, request: Signed<Logs>) -> Response {
    let Signed { message, known, reply, address } = request;
    let result = to_its_end(record(app.clone(), message, known, address)).await;
    answer::send(&app, &reply, result)
}

/// Checks that the number after the last line fits into the answer.
fn check_numbers(request: &Logs) -> Result<(), Refusal> {
    let first = request.first_line_no.get();
    let lines = u64::try_from(request.lines.as_slice().len()).unwrap_or(u64::MAX);
    let most = SEQ_MAX.saturating_sub(lines);
    if first <= most {
        return Ok(());
    }
    Err(Refusal::new(RefusalCode::Malformed).saying(format!(
        "first_line_no: expected at most {most} with {}, so that the next line has a number, got {first}",
        counted(lines, "line")
    )))
}

async fn record(app: App, request: Logs, known: Arc<KnownDevice>, address: IpAddr) -> Result<LogsStored, Refusal> {
    let (at, sequence) = (app.clock.now(), request.sequence());
    check_numbers(&request)?;
    let now_us = app.elapsed_us();
    let requester = Requester::device(address, request.device_id.as_str());
    let verdict = known.check(&app.limits, &LOG_BYTES, requester, now_us)?;
    // Only new lines are charged, and those are the last ones; lines stored before cost nothing.
    let bytes_of: Vec<usize> = request.lines.as_slice().iter().map(|line| line.message.as_str().len()).collect();
    let batch = LogBatch {
        device_id: request.device_id,
        sequence,
        first_line_no: request.first_line_no.get(),
        lines: request.lines.into_vec(),
        at,
    };
    let stored = app.writer.hot(known.sender, batch).await?;
    let LogsTaken { next_line_no, stored } = stored.map_err(|denied| remember(&known, denied))?;
    known.stored(sequence);
    let bytes: usize = bytes_of.iter().rev().take(stored).map(|bytes| bytes + LINE_BYTES).sum();
    known.charge_stored(&app.limits, u64::try_from(bytes).unwrap_or(u64::MAX), now_us);
    known.charge(&app.limits, (&LOG_BYTES, verdict), u32::try_from(bytes).unwrap_or(u32::MAX), now_us);
    let next_line_no = Sequence::new(0, next_line_no).seq;
    Ok(LogsStored { kind: Default::default(), next_line_no, server_time: at })
}
