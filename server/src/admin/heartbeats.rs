//! /api/heartbeats: stored heartbeats in the order of commits, for reconciliation; rows as arrays, because there are many.

use axum::extract::State;
use ks_protocol::{
    id::{DeviceId, Seq},
    time::UnixMs,
};
use serde::{Deserialize, Serialize};

use super::{PageQuery, Problem};
use crate::app::App;

/// One page of heartbeats.
#[derive(Debug, Serialize, Deserialize)]
pub struct HeartbeatPage {
    /// `[row, device_id, boot_epoch, seq, uptime_s, received_at]`.
    pub heartbeats: Vec<(i64, DeviceId, u32, Seq, u64, UnixMs)>,
    /// The newest row there is; what is stored from now on comes after it.
    pub last_row: i64,
    /// `after` of the next page; none on the last.
    pub next_after: Option<i64>,
}

/// GET /api/heartbeats?after=ROW&limit=N.
pub async fn list(State(app): State<App>, PageQuery(page): PageQuery) -> Result<axum::Json<HeartbeatPage>, Problem> {
    let (after, limit) = (page.after, page.limit());
    let asked = app.reader.ask(move |store| Ok((store.heartbeats(after, limit)?, store.last_heartbeat_row()?)));
    let (rows, last_row) = asked.await?;
    let next_after = (rows.len() == limit).then(|| rows.last().map(|row| row.row)).flatten();
    let heartbeats = rows
        .into_iter()
        .map(|row| {
            let (boot_epoch, seq) = (row.sequence.boot_epoch, row.sequence.seq);
            (row.row, row.device_id, boot_epoch, seq, row.uptime_s, row.received_at)
        })
        .collect();
    Ok(axum::Json(HeartbeatPage { heartbeats, last_row, next_after }))
}
