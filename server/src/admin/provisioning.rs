//! Provisioning: enrolling a device, importing and exporting inventories, one-time registration tokens, reprovisioning.

use std::time::Duration;

use hyper::StatusCode;
use ks_protocol::{id::DeviceId, key::PublicKey, time::UnixMs};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    devices::{check_reason, edit_refused, find},
    page::Csv,
    problem::FieldError,
    route::{Call, CsvBody, Json, JsonBody, Query, Versioned},
};
use crate::{
    rules,
    service::{
        bulk::{self, ImportStopped, StopReason},
        csv::{self, Separator},
        devices::Device,
        inventory::{self, Inventory},
        names,
        otrts::otrts,
    },
    store::devices::{DeviceStatus, ImportProblem, Imported, NewDevice, Selector},
};

/// Maximum size of an inventory, in bytes: a million rows.
pub const INVENTORY_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Maximum tokens per request.
const OTRTS_MAX: usize = 100_000;
/// Maximum lifetime of a token, in seconds: 90 days.
const TTL_S_MAX: u64 = 90 * 24 * 3_600;
/// Devices read from the store at a time.
const PAGE: usize = 2_000;

/// Result of an import.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ImportResult {
    /// New devices.
    added: usize,
    /// Devices that already existed, equal in every column.
    unchanged: usize,
    /// Of the unchanged devices, those that are revoked. They stay revoked.
    revoked: usize,
    /// Values that were imported but are probably wrong, such as a serial that a spreadsheet has rounded.
    #[serde(default, skip_serializing_if = "Vec::is_empty")] // `default` makes it optional in the schema
    warnings: Vec<FieldError>,
}

/// Whitelists all rows of an inventory, or none.
pub async fn import(call: Call, CsvBody(csv): CsvBody<INVENTORY_BYTES_MAX>) -> Result<Json<ImportResult>, Problem> {
    let Inventory { devices, warnings } = inventory::parse(&csv).map_err(|problems| refused(&problems))?;
    drop(csv);
    import_all(&call, devices, &warnings).await
}

async fn import_all(
    call: &Call,
    devices: Vec<NewDevice>,
    warnings: &[ImportProblem],
) -> Result<Json<ImportResult>, Problem> {
    let (by, app, reader) = (call.by(), call.app.clone(), call.reader.clone());
    let imported = bulk::run_to_completion(async move {
        let _one_at_a_time = app.imports.lock().await; // so that no other import invalidates the check
        bulk::import(&app.writer, &reader, devices, &by, Duration::ZERO).await
    });
    let done = imported.await?.map_err(|stopped| interrupted(&stopped))?;
    call.app.registry.follow(&call.app.reader).await?;
    tracing::info!(added = done.added, unchanged = done.unchanged, "inventory imported");
    let Imported { added, unchanged, revoked } = done;
    Ok(Json(ImportResult { added, unchanged, revoked, warnings: warnings.iter().map(field_error).collect() }))
}

fn field_error(problem: &ImportProblem) -> FieldError {
    FieldError { line: problem.line, field: problem.field.to_owned(), what: problem.what.clone() }
}

fn refused(problems: &[ImportProblem]) -> Problem {
    let detail = format!("{} in this inventory; nothing was imported", inventory::error_count(problems.len()));
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with_errors(problems.iter().map(field_error).collect())
}

/// An import that failed its check, so that nothing was imported, or that was interrupted in the middle.
fn interrupted(stopped: &ImportStopped) -> Problem {
    let imported = stopped.partial_import();
    let problem = match (&stopped.why, &imported) {
        (StopReason::Rows(problems), None) => refused(problems),
        (StopReason::Rows(problems), Some(_)) => {
            let what = "devices were changed by another caller during the import";
            Problem::conflict(what).with_errors(problems.iter().map(field_error).collect())
        }
        (StopReason::Store(error), _) => error.clone().into(),
    };
    match imported {
        Some(imported) => problem.and(&imported),
        None => problem,
    }
}

/// A device to whitelist.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enrolment {
    device_id: DeviceId,
    /// Public key of the pair that the device generated or the factory injects. The private key is never sent to the server.
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

pub async fn enroll(call: Call, JsonBody(new): JsonBody<Enrolment>) -> Result<Json<ImportResult>, Problem> {
    let texts =
        [("serial", &new.serial), ("manufacturer", &new.manufacturer), ("model", &new.model), ("site", &new.site)];
    if let Some((field, _)) = texts.into_iter().find(|(_, text)| !inventory::is_field(text)) {
        return Err(Problem::bad_request(format!("{field}: expected {}", inventory::FIELD)));
    }
    names::check(new.device_id.as_str(), &names::RESERVED_DEVICE_IDS)
        .map_err(|why| Problem::bad_request(format!("device_id: {why}")))?;
    let Enrolment { device_id, public_key, serial, manufacturer, model, site } = new;
    let device = NewDevice { line: 1, device_id, public_key, serial, manufacturer, model, site };
    import_all(&call, vec![device], &[]).await
}

/// Filter and format of an export.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportQuery {
    /// Of this model.
    model: Option<String>,
    /// At this site.
    site: Option<String>,
    /// In this status.
    status: Option<DeviceStatus>,
    /// Field separator.
    #[serde(default)]
    separator: Separator,
    /// Whether the file begins with a byte-order mark, by which spreadsheets recognize UTF-8.
    #[serde(default)]
    bom: bool,
}

/// Exports the inventory in the format of the import.
pub async fn export(call: Call, Query(query): Query<ExportQuery>) -> Result<Csv, Problem> {
    let ExportQuery { model, site, status, separator, bom } = query;
    let (reader, filter) = (call.reader.clone(), Selector { model, site, status, ..Selector::default() });
    Ok(Csv::stream("inventory.csv", |mut chunks| async move {
        if bom && !chunks.send(csv::BYTE_ORDER_MARK).await || !chunks.send(inventory::header(separator)).await {
            return;
        }
        let mut after = 0;
        loop {
            let filter: Selector = filter.clone();
            let devices = match reader.ask(move |store| store.devices(&filter, after, PAGE)).await {
                Ok(devices) => devices,
                Err(error) => return chunks.abort(error),
            };
            let Some(last) = devices.last() else { return };
            after = last.row;
            if !chunks.send(inventory::rows(&devices, separator)).await {
                return;
            }
        }
    }))
}

/// Tokens to create.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OtrtRequest {
    /// Number of tokens.
    #[schemars(range(min = 1, max = 100_000))]
    count: usize,
    /// Lifetime in seconds.
    #[schemars(range(min = 1, max = 7_776_000))]
    ttl_s: u64,
    /// Only this device may use them.
    device_id: Option<DeviceId>,
    /// Only devices of this model may use them.
    model: Option<String>,
}

/// New tokens. They are shown only in this response.
#[derive(Debug, Serialize, JsonSchema)]
pub struct CreatedOtrts {
    tokens: Vec<String>,
    expires_at: UnixMs,
}

/// Creates one-time registration tokens.
pub async fn make_otrts(call: Call, JsonBody(order): JsonBody<OtrtRequest>) -> Result<Json<CreatedOtrts>, Problem> {
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
    Ok(Json(CreatedOtrts { tokens, expires_at }))
}

/// A new key for a device.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reprovisioning {
    /// A key that no device has or had.
    public_key: PublicKey,
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Gives a device, also a revoked one, a new key. It must register again.
pub async fn reprovision(call: Call, JsonBody(what): JsonBody<Reprovisioning>) -> Result<Versioned<Device>, Problem> {
    let device_id: DeviceId = call.path("device_id")?;
    let Reprovisioning { public_key, reason } = what;
    check_reason(&reason)?;
    let (by, named) = (call.by(), device_id.clone());
    let done = call
        .app
        .writer
        .write(move |store| rules::devices::reprovision(store, &named, &public_key, &reason, &by))
        .await?;
    done.map_err(|refused| edit_refused(&refused, &device_id))?;
    call.app.registry.follow(&call.app.reader).await?;
    let device = find(&call, &device_id).await?;
    Ok(Versioned(device.version, device.into()))
}
