//! /api/devices/logs: log lines of devices, the newest first, by device, time, level and text.

use ks_protocol::{id::DeviceId, message::LogLevel, time::UnixMs};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Problem,
    page::{self, Page},
    route::{Call, Json, Query},
};
use crate::{service::logs::Line, store::logs::LogFilter};

/// Lines that one page looks at: a search for a rare word comes in several pages, and holds nothing up.
const LOOKED_AT_MAX: usize = 20_000;

/// Which lines, and which page of them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// Of this device.
    device_id: Option<DeviceId>,
    /// Written at or after this, by the device's clock.
    since: Option<UnixMs>,
    /// Written before this.
    until: Option<UnixMs>,
    /// Of this level or a worse one.
    level: Option<LogLevel>,
    /// With this in the message; case does not matter.
    #[schemars(length(max = 200))]
    text: Option<String>,
    /// Where the page before ended.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Rows of the page, 100 unless it is said.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists lines. A page may be empty and have a next one: so many lines were looked at.
pub async fn list(call: Call, Query(query): Query<LogsQuery>) -> Result<Json<Page<Line>>, Problem> {
    if query.text.as_ref().is_some_and(|text| text.chars().count() > 200) {
        return Err(Problem::bad_request("text: expected at most 200 characters"));
    }
    let (limit, before) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), i64::MAX)?);
    let LogsQuery { device_id, since, until, level, text, .. } = query;
    page::in_order(since, until)?;
    let which = LogFilter { device_id, since, until, level, text };
    let page = call.reader.ask(move |store| store.logs(&which, before, limit, LOOKED_AT_MAX)).await?;
    let next_cursor = page.next_before.map(|before| before.to_string());
    Ok(Json(Page { items: page.lines.into_iter().map(Line::from).collect(), next_cursor }))
}
