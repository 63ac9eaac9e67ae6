//! /api/attendance: punches by site, device and time; as a list, and as a file.

use std::borrow::Cow;

use jiff::{
    civil::Date,
    tz::{Offset, TimeZone, TimeZoneDatabase},
};
use ks_protocol::{id::DeviceId, number::in_one_form, time::UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    page::{self, Csv, Page},
    route::{Call, Json, Query},
};
use crate::{
    service::sheet::{self, Separator},
    store::punches::{PunchFilter, PunchPlace, PunchRecord},
};

/// Punches read from the store at a time.
const PAGE: usize = 5_000;
/// Minutes that a place's clock is off UTC at most, either way.
const OFFSET_MIN_MAX: i32 = 14 * 60;
/// Times up to which punches are looked for: the year 9999.
const FOREVER: UnixMs = UnixMs(253_402_300_799_999);

/// A punch.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Punch {
    device_id: DeviceId,
    /// Its number there: a device and a number are one punch.
    punch_no: u64,
    /// The device's site.
    site: String,
    /// When it was made, by the device's clock.
    at: UnixMs,
    received_at: UnixMs,
    /// What was held to the reader.
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

/// Which punches, and which page of them.
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
    /// Where the page before ended.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Rows of the page, 100 unless it is said.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists punches in the order they were made.
pub async fn list(call: Call, Query(query): Query<PunchesQuery>) -> Result<Json<Page<Punch>>, Problem> {
    let limit = page::limit(query.limit)?;
    let after = query.cursor.as_deref().map(place_of).transpose()?;
    let PunchesQuery { site, device_id, since, until, .. } = query;
    page::in_order(since, until)?;
    let which = PunchFilter { site, device_id, since: since.unwrap_or(UnixMs(0)), until: until.unwrap_or(FOREVER) };
    let (punches, place) = call.reader.ask(move |store| store.punches(&which, after, limit)).await?;
    let next_cursor = place.map(|(at, device, punch_no)| format!("{}.{device}.{punch_no}", at.0));
    Ok(Json(Page { items: punches.into_iter().map(Punch::from).collect(), next_cursor }))
}

fn place_of(cursor: &str) -> Result<PunchPlace, Problem> {
    let mut parts = cursor.split('.');
    let mut part = || parts.next().and_then(in_one_form::<u64>).filter(|part| i64::try_from(*part).is_ok());
    let place = (|| Some((UnixMs(part()?), i64::try_from(part()?).ok()?, part()?)))();
    place
        .filter(|_| parts.next().is_none())
        .ok_or_else(|| Problem::bad_request("cursor: expected the next_cursor of the page before"))
}

/// Which punches as a file: of a day, or from a time to a time.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// The day, such as 2026-11-24; in place of `since`.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    day: Option<String>,
    /// Where it is that day, such as Europe/Berlin: the days on which clocks change have 23 and 25 hours. UTC unless it is said.
    #[schemars(length(min = 1, max = 64))]
    time_zone: Option<String>,
    /// In place of `time_zone`: minutes that the place's clock is ahead of UTC all that day, such as 60 in Berlin's winter.
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
    /// What parts the fields.
    #[serde(default)]
    separator: Separator,
    /// Whether the file begins with a byte-order mark, by which spreadsheets know UTF-8.
    #[serde(default)]
    bom: bool,
}

const COLUMNS: [&str; 8] = ["site", "device_id", "punch_no", "at", "badge", "direction", "method", "received_at"];

/// Punches as CSV.
pub async fn export(call: Call, Query(query): Query<ExportQuery>) -> Result<Csv, Problem> {
    let (since, until) = span(&query)?;
    let ExportQuery { site, device_id, separator, bom, .. } = query;
    let which = PunchFilter { site, device_id, since, until };
    let reader = call.reader.clone();
    Ok(Csv::by("attendance.csv", move |mut pieces| async move {
        let header = sheet::rows(separator, std::iter::once(COLUMNS.map(Cow::from)));
        if bom && !pieces.send(sheet::BYTE_ORDER_MARK).await || !pieces.send(header).await {
            return;
        }
        let mut place = None;
        loop {
            let which = which.clone();
            let (punches, next) = match reader.ask(move |store| store.punches(&which, place, PAGE)).await {
                Ok(page) => page,
                Err(error) => return pieces.fail(error),
            };
            if !punches.is_empty() && !pieces.send(rows(&punches, separator)).await {
                return;
            }
            place = next;
            if place.is_none() {
                return;
            }
        }
    }))
}

/// The first moment that is asked for, and the first that is not any more.
fn span(query: &ExportQuery) -> Result<(UnixMs, UnixMs), Problem> {
    let bad = |what: &str| Err(Problem::bad_request(what));
    match query {
        ExportQuery { day: Some(_), since: Some(_), .. } | ExportQuery { day: Some(_), until: Some(_), .. } => {
            bad("day: expected either a day, or since and until")
        }
        ExportQuery { day: Some(day), .. } => day_at(day, &zone(query)?),
        ExportQuery { time_zone: Some(_), .. } | ExportQuery { utc_offset_min: Some(_), .. } => {
            bad("time_zone, utc_offset_min: expected only with a day; since and until have their own")
        }
        ExportQuery { since: Some(since), until, .. } => {
            page::in_order(Some(*since), *until)?;
            Ok((*since, until.unwrap_or(FOREVER)))
        }
        _ => bad("day: expected a date such as 2026-11-24, or since, a time such as 2026-11-24T00:00:00Z"),
    }
}

/// The zone of a place. Its rules are in the program: the same on every machine, and as new as the program is.
fn zone(query: &ExportQuery) -> Result<TimeZone, Problem> {
    match (&query.time_zone, query.utc_offset_min) {
        (Some(_), Some(_)) => Err(Problem::bad_request("time_zone: expected either this or utc_offset_min")),
        (Some(name), None) => TimeZoneDatabase::bundled().get(name).map_err(|_| {
            let name: String = name.escape_debug().take(64).collect();
            Problem::bad_request(format!(
                "time_zone: `{name}` is not known; expected an IANA name such as Europe/Berlin"
            ))
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

/// When a day begins and ends in a zone.
fn day_at(day: &str, zone: &TimeZone) -> Result<(UnixMs, UnixMs), Problem> {
    let bad = || Problem::bad_request("day: expected a date such as 2026-11-24");
    let date: Date = if day.len() == 10 { day.parse().map_err(|_| bad())? } else { return Err(bad()) };
    let begin = |date: Date| {
        let begins = date.to_zoned_datetime(zone.clone()).map_err(|_| bad())?;
        u64::try_from(begins.timestamp().as_millisecond()).map(UnixMs).map_err(|_| bad())
    };
    Ok((begin(date)?, begin(date.tomorrow().map_err(|_| bad())?)?))
}

fn rows(punches: &[PunchRecord], separator: Separator) -> Vec<u8> {
    let row = |punch: &PunchRecord| {
        let PunchRecord { device_id, punch_no, site, at, received_at, badge, direction, method } = punch.clone();
        let (device_id, punch_no) = (device_id.to_string(), punch_no.to_string());
        [site, device_id, punch_no, at.to_string(), badge, direction, method, received_at.to_string()].map(Cow::from)
    };
    sheet::rows(separator, punches.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(day: &str, time_zone: Option<&str>, utc_offset_min: Option<i32>) -> Result<(String, u64), ()> {
        let (day, time_zone) = (Some(day.to_owned()), time_zone.map(str::to_owned));
        let span = span(&ExportQuery { day, time_zone, utc_offset_min, ..ExportQuery::default() });
        span.map(|(since, until)| (since.to_string(), until.since_ms(since) / 3_600_000)).map_err(|_| ())
    }

    #[test]
    fn a_day_begins_when_it_does_at_the_place() {
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
        // Where midnight itself is left out, the day begins at one.
        assert_eq!(of("2022-09-11", Some("America/Santiago"), None), Ok(("2022-09-11T04:00:00.000Z".to_owned(), 23)));
        assert_eq!(of("2026-10-25", Some("Europe/Berln"), None), Err(()));
        assert_eq!(of("2026-10-25", Some("Europe/Berlin"), Some(60)), Err(()));
    }
}
