//! POST /attendance.

use std::{net::IpAddr, sync::Arc};

use axum::{extract::State, response::Response};
use ks_protocol::{
    id::Sequence,
    message::{Attendance, PunchesStored, Request},
    text::Rows,
};

use super::{heartbeat::remember, to_its_end};
use crate::{
    admission::Signed,
    app::App,
    http::answer,
    limit::Requester,
    refusal::Refusal,
    registry::{KnownDevice, PUNCHES, ROW_BYTES},
    store::punches::PunchBatch,
};

/// Stores each punch once, and returns the numbers under which another punch is stored.
pub async fn attendance(State(app): State<App>, request: Signed<Attendance>) -> Response {
    let Signed { message, known, reply, address } = request;
    let result = to_its_end(record(app.clone(), message, known, address)).await;
    answer::send(&app, &reply, result)
}

async fn record(
    app: App,
    request: Attendance,
    known: Arc<KnownDevice>,
    address: IpAddr,
) -> Result<PunchesStored, Refusal> {
    let (at, sequence) = (app.clock.now(), request.sequence());
    let now_us = app.elapsed_us();
    let requester = Requester::device(address, request.device_id.as_str());
    let verdict = known.check(&app.limits, &PUNCHES, requester, now_us)?;
    let batch = PunchBatch { device_id: request.device_id, sequence, punches: request.punches.into_vec(), at };
    let device_id = batch.device_id.clone();
    let stored = app.writer.hot(known.sender, batch).await?;
    let taken = stored.map_err(|denied| remember(&known, denied))?;
    known.stored(sequence);
    let punches = u32::try_from(taken.stored).unwrap_or(u32::MAX);
    known.charge_stored(&app.limits, ROW_BYTES * taken.stored, now_us);
    known.charge(&app.limits, (&PUNCHES, verdict), punches, now_us); // punches stored before cost nothing
    if !taken.conflicts.is_empty() {
        app.metrics.punch_conflicts.inc_by(u64::try_from(taken.conflicts.len()).unwrap_or(u64::MAX));
        tracing::warn!(%device_id, numbers = ?taken.conflicts, "punch numbers already used by other punches");
    }
    let conflicts = taken.conflicts.into_iter().map(|number| Sequence::new(0, number).seq).collect();
    Ok(PunchesStored {
        kind: Default::default(),
        stored: taken.stored,
        known: taken.known,
        conflicts: Rows::truncated(conflicts),
        server_time: at,
    })
}
