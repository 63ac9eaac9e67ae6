//! /api/devices: whitelisting by CSV, listing, revoking.

use axum::{
    body::Bytes,
    extract::{Path, State},
};
use hyper::StatusCode;
use ks_protocol::id::DeviceId;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Json, PageQuery, Problem, by, inventory};
use crate::{
    app::App,
    store::devices::{DeviceStatus, ImportProblem, Selector},
};

/// POST /api/devices/import with a CSV body: whitelists all of its rows or none.
pub async fn import(State(app): State<App>, csv: Bytes) -> Result<axum::Json<Value>, Problem> {
    let devices = inventory::parse(&csv).map_err(|problems| refused(&problems))?;
    let by = by(&app);
    let imported = app.writer.write(move |store| store.import(&devices, &by)).await?;
    let imported = imported.map_err(|problems| refused(&problems))?;
    tracing::info!(added = imported.added, unchanged = imported.unchanged, "inventory imported");
    Ok(axum::Json(json!({ "added": imported.added, "unchanged": imported.unchanged })))
}

fn refused(problems: &[ImportProblem]) -> Problem {
    let errors =
        problems.iter().map(|problem| json!({ "line": problem.line, "field": problem.field, "what": problem.what }));
    let detail = format!("{} rows can't be imported; nothing was imported", problems.len());
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail).with_errors(errors.collect())
}

/// GET /api/devices?after=ROW&limit=N.
pub async fn list(State(app): State<App>, PageQuery(page): PageQuery) -> Result<axum::Json<Value>, Problem> {
    let (after, limit) = (page.after, page.limit());
    let devices = app.reader.ask(move |store| store.devices(&Selector::default(), after, limit)).await?;
    let next = (devices.len() == limit).then(|| devices.last().map(|device| device.row)).flatten();
    let devices: Vec<Value> = devices
        .iter()
        .map(|device| {
            json!({
                "device_id": device.device_id,
                "public_key": device.public_key,
                "model": device.model,
                "site": device.site,
                "status": match device.status {
                    DeviceStatus::Whitelisted => "WHITELISTED",
                    DeviceStatus::Registered => "REGISTERED",
                    DeviceStatus::Revoked => "REVOKED",
                },
                "boot_epoch": device.sequence.boot_epoch,
                "seq": device.sequence.seq,
                "registered_at": device.registered_at,
                "last_seen_at": device.last_seen_at,
            })
        })
        .collect();
    Ok(axum::Json(json!({ "devices": devices, "next_after": next })))
}

/// Which devices to revoke, and why.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    device_ids: Vec<DeviceId>,
    reason: String,
}

/// Why to revoke one device.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    reason: String,
}

/// POST /api/devices/revoke: takes effect with the answer.
pub async fn revoke(State(app): State<App>, Json(what): Json<Revocation>) -> Result<axum::Json<Value>, Problem> {
    revoke_all(&app, what).await
}

/// POST /api/devices/{device_id}/revoke: the same for one.
pub async fn revoke_one(
    State(app): State<App>,
    Path(device_id): Path<String>,
    Json(why): Json<Reason>,
) -> Result<axum::Json<Value>, Problem> {
    let device_id: DeviceId = device_id.parse().map_err(|error| Problem::bad_request(format!("{error}")))?;
    let known = app.registry.find(&device_id, &app.reader).await?;
    if known.is_none() {
        return Err(Problem::not_found(format!("no device is named {device_id}")));
    }
    revoke_all(&app, Revocation { device_ids: vec![device_id], reason: why.reason }).await
}

async fn revoke_all(app: &App, what: Revocation) -> Result<axum::Json<Value>, Problem> {
    if what.reason.trim().is_empty() || what.reason.len() > 500 {
        return Err(Problem::bad_request("reason: expected 1 to 500 bytes, for the audit"));
    }
    let which = Selector { device_ids: Some(what.device_ids), ..Selector::default() };
    let by = by(app);
    let done = app.writer.write(move |store| store.revoke(&which, &what.reason, &by)).await?;
    app.registry.follow(&app.reader).await?;
    tracing::info!(revoked = done.revoked.len(), "devices revoked");
    Ok(axum::Json(json!({ "revoked": done.revoked.len(), "already_revoked": done.already, "unknown": done.unknown })))
}
