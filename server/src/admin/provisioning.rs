//! Provisioning: enrolling one device, importing and exporting inventories, one-time tokens, re-provisioning.

use std::time::Duration;

use hyper::StatusCode;
use ks_protocol::{id::DeviceId, key::PublicKey, time::UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    devices::{check_reason, edit_refused, find},
    page::Csv,
    problem::Place,
    route::{Call, CsvBody, Json, JsonBody, Query, Versioned},
};
use crate::{
    rules,
    service::{
        bulk::{self, ImportStopped, StoppedBy},
        devices::Device,
        inventory::{self, Inventory},
        names,
        otrts::otrts,
        sheet::{self, Separator},
    },
    store::devices::{DeviceStatus, ImportProblem, Imported, NewDevice, Selector},
};

/// Greatest inventory, in bytes: a million rows.
pub const INVENTORY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Tokens made at a time at most.
const OTRTS_MAX: usize = 100_000;
/// Longest life of a token, in seconds: 90 days.
const TTL_S_MAX: u64 = 90 * 24 * 3_600;
/// Devices read from the store at a time.
const PAGE: usize = 2_000;

/// What an import did.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImportDone {
    /// Devices that are new.
    added: usize,
    /// Devices that were there already, the same in every column.
    unchanged: usize,
    /// Of these, how many are revoked, and stay so.
    revoked: usize,
    /// What was taken as it is, and is likely not what was meant: a serial that a spreadsheet has rounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")] // `default`, so that the schema does not demand it
    warnings: Vec<Place>,
}

/// Whitelists all rows of an inventory or none.
pub async fn import(call: Call, CsvBody(csv): CsvBody<INVENTORY_BYTES_MAX>) -> Result<Json<ImportDone>, Problem> {
    let Inventory { devices, warnings } = inventory::parse(&csv).map_err(|problems| refused(&problems))?;
    drop(csv);
    import_all(&call, devices, &warnings).await
}

async fn import_all(
    call: &Call,
    devices: Vec<NewDevice>,
    warnings: &[ImportProblem],
) -> Result<Json<ImportDone>, Problem> {
    let (by, app, reader) = (call.by(), call.app.clone(), call.reader.clone());
    let imported = bulk::to_its_end(async move {
        let _one_at_a_time = app.imports.lock().await; // so that what is checked stays so, as far as other imports go
        bulk::import(&app.writer, &reader, devices, &by, Duration::ZERO).await
    });
    let done = imported.await?.map_err(|why| stopped(&why))?;
    call.app.registry.follow(&call.app.reader).await?;
    tracing::info!(added = done.added, unchanged = done.unchanged, "inventory imported");
    let Imported { added, unchanged, revoked } = done;
    Ok(Json(ImportDone { added, unchanged, revoked, warnings: warnings.iter().map(place).collect() }))
}

fn place(problem: &ImportProblem) -> Place {
    Place { line: problem.line, field: problem.field.to_owned(), what: problem.what.clone() }
}

fn refused(problems: &[ImportProblem]) -> Problem {
    let detail = format!("{} in this inventory; nothing was imported", inventory::faults(problems.len()));
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with_errors(problems.iter().map(place).collect())
}

/// An import that was stopped at its beginning, with nothing imported, or in the middle.
fn stopped(stopped: &ImportStopped) -> Problem {
    let stays = stopped.what_stays();
    let problem = match (&stopped.why, &stays) {
        (StoppedBy::Rows(problems), None) => refused(problems),
        (StoppedBy::Rows(problems), Some(_)) => {
            let what = "devices were changed by somebody else while this inventory was imported";
            Problem::conflict(what).with_errors(problems.iter().map(place).collect())
        }
        (StoppedBy::Store(error), _) => error.clone().into(),
    };
    match stays {
        Some(stays) => problem.and(&stays),
        None => problem,
    }
}

/// A device to whitelist.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    device_id: DeviceId,
    /// Of the key that the device made, or that the factory injects. The private half never comes here.
    public_key: PublicKey,
    #[schemars(length(min = 1, max = 128))]
    serial: String,
    #[schemars(length(min = 1, max = 128))]
    manufacturer: String,
    #[schemars(length(min = 1, max = 128))]
    model: String,
    #[schemars(length(min = 1, max = 128))]
    site: String,
}

/// Whitelists one device.
pub async fn enroll(call: Call, JsonBody(new): JsonBody<Enrolment>) -> Result<Json<ImportDone>, Problem> {
    let texts =
        [("serial", &new.serial), ("manufacturer", &new.manufacturer), ("model", &new.model), ("site", &new.site)];
    if let Some((field, _)) = texts.into_iter().find(|(_, text)| !inventory::is_field(text)) {
        return Err(Problem::bad_request(format!("{field}: expected {}", inventory::FIELD)));
    }
    names::check(new.device_id.as_str(), &names::NOT_FOR_DEVICES)
        .map_err(|why| Problem::bad_request(format!("device_id: {why}")))?;
    let Enrolment { device_id, public_key, serial, manufacturer, model, site } = new;
    let device = NewDevice { line: 1, device_id, public_key, serial, manufacturer, model, site };
    import_all(&call, vec![device], &[]).await
}

/// Which devices.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// Of this model.
    model: Option<String>,
    /// At this site.
    site: Option<String>,
    /// In this status.
    status: Option<DeviceStatus>,
    /// What parts the fields.
    #[serde(default)]
    separator: Separator,
    /// Whether the file begins with a byte-order mark, by which spreadsheets know UTF-8.
    #[serde(default)]
    bom: bool,
}

/// Gives the inventory as it can be imported.
pub async fn export(call: Call, Query(query): Query<ExportQuery>) -> Result<Csv, Problem> {
    let ExportQuery { model, site, status, separator, bom } = query;
    let (reader, which) = (call.reader.clone(), Selector { model, site, status, ..Selector::default() });
    Ok(Csv::by("inventory.csv", |mut pieces| async move {
        if bom && !pieces.send(sheet::BYTE_ORDER_MARK).await || !pieces.send(inventory::header(separator)).await {
            return;
        }
        let mut after = 0;
        loop {
            let which: Selector = which.clone();
            let devices = match reader.ask(move |store| store.devices(&which, after, PAGE)).await {
                Ok(devices) => devices,
                Err(error) => return pieces.fail(error),
            };
            let Some(last) = devices.last() else { return };
            after = last.row;
            if !pieces.send(inventory::rows(&devices, separator)).await {
                return;
            }
        }
    }))
}

/// What tokens to make.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtrtOrder {
    /// How many.
    #[schemars(range(min = 1, max = 100_000))]
    count: usize,
    /// How long they are good, in seconds.
    #[schemars(range(min = 1, max = 7_776_000))]
    ttl_s: u64,
    /// Usable by this device only.
    device_id: Option<DeviceId>,
    /// Usable by devices of this model only.
    model: Option<String>,
}

/// New tokens, which are shown here and never again.
#[derive(Debug, Serialize, JsonSchema)]
pub struct OtrtsMade {
    tokens: Vec<String>,
    expires_at: UnixMs,
}

/// Makes one-time registration tokens.
pub async fn make_otrts(call: Call, JsonBody(order): JsonBody<OtrtOrder>) -> Result<Json<OtrtsMade>, Problem> {
    if !(1..=OTRTS_MAX).contains(&order.count) {
        return Err(Problem::bad_request(format!("count: expected 1 to {OTRTS_MAX}, got {}", order.count)));
    }
    if !(1..=TTL_S_MAX).contains(&order.ttl_s) {
        return Err(Problem::bad_request(format!("ttl_s: expected 1 to {TTL_S_MAX} seconds, got {}", order.ttl_s)));
    }
    let by = call.by();
    let expires_at = by.at + Duration::from_secs(order.ttl_s);
    let (tokens, otrts) = otrts(&call.app.rng, order.count, expires_at, order.device_id, order.model);
    bulk::add_otrts(&call.app.writer, &otrts, &by, Duration::ZERO).await?;
    Ok(Json(OtrtsMade { tokens, expires_at }))
}

/// A new key for a device, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reprovisioning {
    /// A key that no device ever had.
    public_key: PublicKey,
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Gives a device a new key and a new start, also a revoked one: it must register again.
pub async fn reprovision(call: Call, JsonBody(what): JsonBody<Reprovisioning>) -> Result<Versioned<Device>, Problem> {
    let device_id: DeviceId = call.path("device_id")?;
    let Reprovisioning { public_key, reason } = what;
    check_reason(&reason)?;
    let (by, whose) = (call.by(), device_id.clone());
    let done = call
        .app
        .writer
        .write(move |store| rules::devices::reprovision(store, &whose, &public_key, &reason, &by))
        .await?;
    done.map_err(|refused| edit_refused(&refused, &device_id))?;
    call.app.registry.follow(&call.app.reader).await?;
    let device = find(&call, &device_id).await?;
    Ok(Versioned(device.version, device.into()))
}
