//! Stored heartbeats: /api/heartbeats in commit order, for reconciliation, with rows as arrays to keep large pages small; and those of
//! one device.

use ks_protocol::{
    id::{DeviceId, Seq},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem, devices,
    page::{self, Page},
    route::{Call, Json, Query},
};
use crate::service::investigation::HeartbeatDetails;

/// Page of a list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PageQuery {
    /// `next_cursor` of the previous page.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    pub(super) cursor: Option<String>,
    /// Maximum rows per page; default 100.
    #[schemars(range(min = 1, max = 10_000))]
    pub(super) limit: Option<usize>,
}

/// One page of heartbeats.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct HeartbeatPage {
    /// `[row, device_id, boot_epoch, seq, uptime_s, received_at]`.
    pub items: Vec<(i64, DeviceId, u32, Seq, u64, UnixMs)>,
    /// The newest stored row; later heartbeats have greater rows.
    pub last_row: i64,
    /// `cursor` of the next page; null on the last page.
    pub next_cursor: Option<String>,
}

/// Lists heartbeats; the cursor is a row.
pub async fn list(call: Call, Query(query): Query<PageQuery>) -> Result<Json<HeartbeatPage>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let asked = call.reader.ask(move |store| Ok((store.heartbeats(after, limit)?, store.last_heartbeat_row()?)));
    let (rows, last_row) = asked.await?;
    let Page { items, next_cursor } = Page::of(
        rows,
        limit,
        |row| row.row,
        |row| {
            let (boot_epoch, seq) = (row.sequence.boot_epoch, row.sequence.seq);
            (row.row, row.device_id, boot_epoch, seq, row.uptime_s, row.received_at)
        },
    );
    Ok(Json(HeartbeatPage { items, last_row, next_cursor }))
}

/// Lists the heartbeats of a device, the newest first; the cursor is a row. The last page ends where older ones were deleted.
pub async fn of_device(call: Call, Query(query): Query<PageQuery>) -> Result<Json<Page<HeartbeatDetails>>, Problem> {
    let limit = page::limit(query.limit)?;
    let first = query.cursor.as_deref().map(|cursor| page::after(Some(cursor), 0)).transpose()?;
    let device_id: DeviceId = call.path("device_id")?;
    devices::find(&call, &device_id).await?;
    let (beats, next) = call.reader.ask(move |store| store.heartbeats_of(&device_id, first, limit)).await?;
    let items = beats.into_iter().map(HeartbeatDetails::from).collect();
    Ok(Json(Page { items, next_cursor: next.map(|row| row.to_string()) }))
}
