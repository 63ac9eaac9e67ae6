//! /api/heartbeats: stored heartbeats in commit order, for reconciliation. Rows are arrays to keep large pages small.

use ks_protocol::{
    id::{DeviceId, Seq},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    page::{self, Page},
    route::{Call, Json, Query},
};

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
