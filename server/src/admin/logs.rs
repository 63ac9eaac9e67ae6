//! /api/devices/logs: device log lines, newest first, filtered by device, time, level and text.

use ks_protocol::{id::DeviceId, message::LogLevel, time::UnixMs};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Problem,
    page::{self, Page},
    route::{Call, Json, Query},
};
use crate::{service::logs::LogLine, store::logs::LogFilter};

/// Lines scanned for one page: a search for a rare word takes several pages, and does not block other queries.
const SCANNED_MAX: usize = 20_000;

/// Filter and page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LogsQuery {
    /// Lines of this device.
    device_id: Option<DeviceId>,
    /// Written at or after this, by the device's clock.
    since: Option<UnixMs>,
    /// Written before this.
    until: Option<UnixMs>,
    /// This level or a more severe one.
    level: Option<LogLevel>,
    /// Text in the message, ignoring case.
    #[schemars(length(max = 200))]
    text: Option<String>,
    /// `next_cursor` of the previous page.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Maximum rows per page; default 100.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists lines. A page may be empty and still have a next one, if no line of those scanned matches.
pub async fn list(call: Call, Query(query): Query<LogsQuery>) -> Result<Json<Page<LogLine>>, Problem> {
    if query.text.as_ref().is_some_and(|text| text.chars().count() > 200) {
        return Err(Problem::bad_request("text: expected at most 200 characters"));
    }
    let (limit, before) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), page::start(true))?);
    let LogsQuery { device_id, since, until, level, text, .. } = query;
    page::check_period(since, until)?;
    let filter = LogFilter { device_id, since, until, level, text };
    let page = call.reader.ask(move |store| store.logs(&filter, before, limit, SCANNED_MAX)).await?;
    let next_cursor = page.next_before.map(|before| before.to_string());
    Ok(Json(Page { items: page.lines.into_iter().map(LogLine::from).collect(), next_cursor }))
}
