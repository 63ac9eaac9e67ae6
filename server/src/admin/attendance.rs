//! /api/attendance: punches by site, device and time, as a list or as a CSV file.

use std::borrow::Cow;

use jiff::{
    civil::Date,
    tz::{Offset, TimeZone, TimeZoneDatabase},
};
use ks_protocol::{id::DeviceId, number::canonical, time::UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    page::{self, Csv, Page},
    route::{Call, Json, Query},
};
use crate::{
    service::csv::{self, Separator},
    store::punches::{PunchCursor, PunchFilter, PunchRecord},
};

/// Punches read from the store at a time.
const PAGE: usize = 5_000;
/// Greatest UTC offset, in minutes, in either direction.
const OFFSET_MIN_MAX: i32 = 14 * 60;
/// Default for `until`: the end of the year 9999.
const UNTIL_MAX: UnixMs = UnixMs(253_402_300_799_999);

/// A punch.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Punch {
    device_id: DeviceId,
    /// The device's own number for it; unique per device.
    punch_no: u64,
    /// The device's site.
    site: String,
    /// When it was made, by the device's clock.
    at: UnixMs,
    received_at: UnixMs,
    /// Badge that was read.
    badge: String,
    direction: String,
    method: String,
}

impl From<PunchRecord> for Punch {
    fn from(record: PunchRecord) -> Self {
        let PunchRecord { device_id, punch_no, site, at, received_at, badge, direction, method } = record;
        Self { device_id, punch_no, site, at, received_at, badge, direction, method }
    }
}

/// Filter and page.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PunchesQuery {
    /// At this site.
    site: Option<String>,
    /// By this device.
    device_id: Option<DeviceId>,
    /// Made at or after this.
    since: Option<UnixMs>,
    /// Made before this.
    until: Option<UnixMs>,
    /// `next_cursor` of the previous page.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Maximum rows per page; default 100.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists punches by the time they were made.
pub async fn list(call: Call, Query(query): Query<PunchesQuery>) -> Result<Json<Page<Punch>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = query.cursor.as_deref().map(parse_cursor).transpose()?;
    let PunchesQuery { site, device_id, since, until, .. } = query;
    page::check_period(since, until)?;
    let filter = PunchFilter { site, device_id, since: since.unwrap_or(UnixMs(0)), until: until.unwrap_or(UNTIL_MAX) };
    let (punches, next) = call.reader.ask(move |store| store.punches(&filter, after, limit)).await?;
    let next_cursor = next.map(|(at, device, punch_no)| format!("{}.{device}.{punch_no}", at.0));
    Ok(Json(Page { items: punches.into_iter().map(Punch::from).collect(), next_cursor }))
}

fn parse_cursor(cursor: &str) -> Result<PunchCursor, Problem> {
    let mut parts = cursor.split('.');
    let mut part = || parts.next().and_then(canonical::<u64>).filter(|part| i64::try_from(*part).is_ok());
    let place = (|| Some((UnixMs(part()?), i64::try_from(part()?).ok()?, part()?)))();
    place
        .filter(|_| parts.next().is_none())
        .ok_or_else(|| Problem::bad_request("cursor: expected next_cursor of the previous page"))
}

/// Filter and format of an export: one day, or a period.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// A day such as 2026-11-24, instead of `since` and `until`.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    day: Option<String>,
    /// Time zone of the day, such as Europe/Berlin; days on which clocks change have 23 or 25 hours. Default UTC.
    #[schemars(length(min = 1, max = 64))]
    time_zone: Option<String>,
    /// Instead of `time_zone`: minutes ahead of UTC for the whole day, such as 60 for Berlin in winter.
    #[schemars(range(min = -840, max = 840))]
    utc_offset_min: Option<i32>,
    /// Made at or after this.
    since: Option<UnixMs>,
    /// Made before this.
    until: Option<UnixMs>,
    /// At this site.
    site: Option<String>,
    /// By this device.
    device_id: Option<DeviceId>,
    /// Field separator.
    #[serde(default)]
    separator: Separator,
    /// Whether the file begins with a byte-order mark, by which spreadsheets recognize UTF-8.
    #[serde(default)]
    bom: bool,
}

const COLUMNS: [&str; 8] = ["site", "device_id", "punch_no", "at", "badge", "direction", "method", "received_at"];

/// Exports punches as CSV.
pub async fn export(call: Call, Query(query): Query<ExportQuery>) -> Result<Csv, Problem> {
    let (since, until) = period(&query)?;
    let ExportQuery { site, device_id, separator, bom, .. } = query;
    let filter = PunchFilter { site, device_id, since, until };
    let reader = call.reader.clone();
    Ok(Csv::stream("attendance.csv", move |mut chunks| async move {
        let header = csv::rows(separator, std::iter::once(COLUMNS.map(Cow::from)));
        if bom && !chunks.send(csv::BYTE_ORDER_MARK).await || !chunks.send(header).await {
            return;
        }
        let mut after = None;
        loop {
            let filter = filter.clone();
            let (punches, next) = match reader.ask(move |store| store.punches(&filter, after, PAGE)).await {
                Ok(page) => page,
                Err(error) => return chunks.abort(error),
            };
            if !punches.is_empty() && !chunks.send(rows(&punches, separator)).await {
                return;
            }
            after = next;
            if after.is_none() {
                return;
            }
        }
    }))
}

/// Beginning (inclusive) and end (exclusive) of the requested period.
fn period(query: &ExportQuery) -> Result<(UnixMs, UnixMs), Problem> {
    let invalid = |what: &str| Err(Problem::bad_request(what));
    match query {
        ExportQuery { day: Some(_), since: Some(_), .. } | ExportQuery { day: Some(_), until: Some(_), .. } => {
            invalid("day: expected either a day or since and until")
        }
        ExportQuery { day: Some(day), .. } => day_at(day, &zone(query)?),
        ExportQuery { time_zone: Some(_), .. } | ExportQuery { utc_offset_min: Some(_), .. } => {
            invalid("time_zone, utc_offset_min: allowed only with a day; since and until are absolute times")
        }
        ExportQuery { since: Some(since), until, .. } => {
            page::check_period(Some(*since), *until)?;
            Ok((*since, until.unwrap_or(UNTIL_MAX)))
        }
        _ => invalid("day: expected a date such as 2026-11-24, or since, a time such as 2026-11-24T00:00:00Z"),
    }
}

/// The requested time zone. Its rules are built into the program: the same on every machine, and as recent as the program.
fn zone(query: &ExportQuery) -> Result<TimeZone, Problem> {
    match (&query.time_zone, query.utc_offset_min) {
        (Some(_), Some(_)) => Err(Problem::bad_request("time_zone: expected either this or utc_offset_min")),
        (Some(name), None) => TimeZoneDatabase::bundled().get(name).map_err(|_| {
            let name: String = name.escape_debug().take(64).collect();
            Problem::bad_request(format!("time_zone: `{name}` is unknown; expected an IANA name such as Europe/Berlin"))
        }),
        (None, Some(minutes)) if minutes.abs() > OFFSET_MIN_MAX => Err(Problem::bad_request(format!(
            "utc_offset_min: expected -{OFFSET_MIN_MAX} to {OFFSET_MIN_MAX}, got {minutes}"
        ))),
        (None, minutes) => {
            let offset = Offset::from_seconds(minutes.unwrap_or(0) * 60);
            Ok(TimeZone::fixed(offset.map_err(|error| Problem::bad_request(format!("utc_offset_min: {error}")))?))
        }
    }
}

/// Beginning and end of a day in a time zone.
fn day_at(day: &str, zone: &TimeZone) -> Result<(UnixMs, UnixMs), Problem> {
    let invalid = || Problem::bad_request("day: expected a date such as 2026-11-24");
    let date: Date = if day.len() == 10 { day.parse().map_err(|_| invalid())? } else { return Err(invalid()) };
    let begins = |date: Date| {
        let midnight = date.to_zoned_datetime(zone.clone()).map_err(|_| invalid())?;
        u64::try_from(midnight.timestamp().as_millisecond()).map(UnixMs).map_err(|_| invalid())
    };
    Ok((begins(date)?, begins(date.tomorrow().map_err(|_| invalid())?)?))
}

fn rows(punches: &[PunchRecord], separator: Separator) -> Vec<u8> {
    let row = |punch: &PunchRecord| {
        let PunchRecord { device_id, punch_no, site, at, received_at, badge, direction, method } = punch.clone();
        let (device_id, punch_no) = (device_id.to_string(), punch_no.to_string());
        [site, device_id, punch_no, at.to_string(), badge, direction, method, received_at.to_string()].map(Cow::from)
    };
    csv::rows(separator, punches.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(day: &str, time_zone: Option<&str>, utc_offset_min: Option<i32>) -> Result<(String, u64), ()> {
        let (day, time_zone) = (Some(day.to_owned()), time_zone.map(str::to_owned));
        let period = period(&ExportQuery { day, time_zone, utc_offset_min, ..ExportQuery::default() });
        period.map(|(since, until)| (since.to_string(), until.since_ms(since) / 3_600_000)).map_err(|_| ())
    }

    #[test]
    fn a_day_begins_at_local_midnight() {
        let begins = |text: &str, hours| Ok((text.to_owned(), hours));
        assert_eq!(of("2026-11-24", None, None), begins("2026-11-24T00:00:00.000Z", 24));
        assert_eq!(of("2026-11-24", None, Some(60)), begins("2026-11-23T23:00:00.000Z", 24));
        assert_eq!(of("2026-11-24", None, Some(-330)), begins("2026-11-24T05:30:00.000Z", 24));
        for (day, offset) in [("2026-02-30", 0), ("24.11.2026", 0), ("2026-11-24", 841), ("", 0), ("1969-12-01", 0)] {
            assert_eq!(of(day, None, Some(offset)), Err(()), "{day} {offset}");
        }
    }

    #[test]
    fn days_on_which_the_clocks_change_have_23_and_25_hours() {
        let berlin = |day| of(day, Some("Europe/Berlin"), None);
        assert_eq!(berlin("2026-03-29"), Ok(("2026-03-28T23:00:00.000Z".to_owned(), 23)));
        assert_eq!(berlin("2026-10-25"), Ok(("2026-10-24T22:00:00.000Z".to_owned(), 25)));
        assert_eq!(berlin("2026-10-26"), Ok(("2026-10-25T23:00:00.000Z".to_owned(), 24)));
        // Where the clock change skips midnight, the day begins at 01:00.
        assert_eq!(of("2022-09-11", Some("America/Santiago"), None), Ok(("2022-09-11T04:00:00.000Z".to_owned(), 23)));
        assert_eq!(of("2026-10-25", Some("Europe/Berln"), None), Err(()));
        assert_eq!(of("2026-10-25", Some("Europe/Berlin"), Some(60)), Err(()));
    }
}
