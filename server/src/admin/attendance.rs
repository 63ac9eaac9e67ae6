//! /api/attendance: punches by site, device and time; a day's as a file.

use ks_protocol::{id::DeviceId, time::UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    page::{self, Csv, Page},
    route::{Call, Json, Query},
};
use crate::store::punches::{PunchFilter, PunchPlace, PunchRecord};

/// Punches read from the store at a time.
const PAGE: usize = 5_000;
/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3_600 * 1_000;
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
    let which = PunchFilter { site, device_id, since: since.unwrap_or(UnixMs(0)), until: until.unwrap_or(FOREVER) };
    let (punches, place) = call.app.reader.ask(move |store| store.punches(&which, after, limit)).await?;
    let next_cursor = place.map(|(at, device, punch_no)| format!("{}.{device}.{punch_no}", at.0));
    Ok(Json(Page { items: punches.into_iter().map(Punch::from).collect(), next_cursor }))
}

fn place_of(cursor: &str) -> Result<PunchPlace, Problem> {
    let mut parts = cursor.split('.');
    let mut part =
        || parts.next().and_then(|part| part.parse::<u64>().ok()).filter(|part| i64::try_from(*part).is_ok());
    let place = (|| Some((UnixMs(part()?), i64::try_from(part()?).ok()?, part()?)))();
    place.ok_or_else(|| Problem::bad_request("cursor: expected the next_cursor of the page before"))
}

/// Which day's punches.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DayQuery {
    /// The day, such as 2026-11-24.
    #[schemars(regex(pattern = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"))]
    day: String,
    /// Minutes that the place's clock is ahead of UTC, such as 60 in Berlin's winter; 0 unless it is said.
    #[schemars(range(min = -840, max = 840))]
    #[serde(default)]
    utc_offset_min: i32,
    /// At this site.
    site: Option<String>,
    /// By this device.
    device_id: Option<DeviceId>,
}

/// The day's punches as CSV.
pub async fn export(call: Call, Query(query): Query<DayQuery>) -> Result<Csv, Problem> {
    let since = start_of(&query.day, query.utc_offset_min)?;
    let DayQuery { site, device_id, .. } = query;
    let which = PunchFilter { site, device_id, since, until: UnixMs(since.0 + DAY_MS) };
    let reader = call.app.reader.clone();
    Ok(Csv::by("attendance.csv", |mut pieces| async move {
        if !pieces.send("site,device_id,punch_no,at,badge,direction,method,received_at\n").await {
            return;
        }
        let mut place = None;
        loop {
            let which = which.clone();
            let (punches, next) = match reader.ask(move |store| store.punches(&which, place, PAGE)).await {
                Ok(page) => page,
                Err(error) => return pieces.fail(error),
            };
            if !punches.is_empty() && !pieces.send(rows(&punches)).await {
                return;
            }
            place = next;
            if place.is_none() {
                return;
            }
        }
    }))
}

/// When a day begins at a place.
fn start_of(day: &str, utc_offset_min: i32) -> Result<UnixMs, Problem> {
    let midnight: UnixMs = format!("{day}T00:00:00.000Z")
        .parse()
        .map_err(|_| Problem::bad_request("day: expected a date such as 2026-11-24"))?;
    if utc_offset_min.abs() > OFFSET_MIN_MAX {
        return Err(Problem::bad_request(format!("utc_offset_min: expected -{OFFSET_MIN_MAX} to {OFFSET_MIN_MAX}")));
    }
    let offset_ms = i64::from(utc_offset_min) * 60_000;
    Ok(UnixMs(midnight.0.saturating_add_signed(-offset_ms)))
}

fn rows(punches: &[PunchRecord]) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for punch in punches {
        let (number, at, received_at) =
            (punch.punch_no.to_string(), punch.at.to_string(), punch.received_at.to_string());
        let badge = no_formula(&punch.badge);
        let row = [
            &punch.site,
            punch.device_id.as_str(),
            &number,
            &at,
            &badge,
            &punch.direction,
            &punch.method,
            &received_at,
        ];
        let _ = writer.write_record(row); // eight fields each time, into memory: it does not fail
    }
    writer.into_inner().unwrap_or_default()
}

/// A text that no spreadsheet takes for a formula: whoever held the badge to the reader chose it.
fn no_formula(text: &str) -> String {
    if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{text}") } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_begins_when_it_does_at_the_place() {
        let start = |day: &str, offset| start_of(day, offset).map(|at| at.to_string()).map_err(|_| ());
        assert_eq!(start("2026-11-24", 0), Ok("2026-11-24T00:00:00.000Z".to_owned()));
        assert_eq!(start("2026-11-24", 60), Ok("2026-11-23T23:00:00.000Z".to_owned()));
        assert_eq!(start("2026-11-24", -330), Ok("2026-11-24T05:30:00.000Z".to_owned()));
        for (day, offset) in [("2026-02-30", 0), ("24.11.2026", 0), ("2026-11-24", 841), ("", 0)] {
            assert_eq!(start(day, offset), Err(()), "{day} {offset}");
        }
    }

    #[test]
    fn a_badge_is_no_formula() {
        assert_eq!(no_formula("=1+1"), "'=1+1");
        assert_eq!(no_formula("04A2"), "04A2");
    }
}
