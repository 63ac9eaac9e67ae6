//! /api/devices: listing, editing, revoking.

use ks_protocol::id::DeviceId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    page::{self, Page},
    route::{Call, Json, JsonBody, Nothing, Query, Versioned},
    which::Which,
};
use crate::{
    rules,
    service::{
        bulk,
        devices::{Device, is_plain},
        inventory,
    },
    store::devices::{DeviceEdit, DeviceRecord, DeviceStatus, EditRefused, Selector},
};

/// Labels of one device at most.
const LABELS_MAX: usize = 32;
/// Bytes of a site or a label at most.
const NAME_BYTES_MAX: usize = 128;

/// Which devices, and which page of them.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DevicesQuery {
    /// Of this model.
    model: Option<String>,
    /// At this site.
    site: Option<String>,
    /// That last said they run this firmware.
    firmware_version: Option<String>,
    /// With this label.
    label: Option<String>,
    /// In this status.
    status: Option<DeviceStatus>,
    /// Where the page before ended.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Rows of the page, 100 unless it is said.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists devices.
pub async fn list(call: Call, Query(query): Query<DevicesQuery>) -> Result<Json<Page<Device>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let DevicesQuery { model, site, firmware_version, label, status, .. } = query;
    let which = Selector { device_ids: None, model, site, firmware_version, label, status };
    let devices = call.reader.ask(move |store| store.devices(&which, after, limit)).await?;
    Ok(Json(Page::of(devices, limit, |device| device.row, Device::from)))
}

/// The device of that name.
pub(super) async fn find(call: &Call, device_id: &DeviceId) -> Result<DeviceRecord, Problem> {
    let wanted = device_id.clone();
    let found = call.reader.ask(move |store| store.device(&wanted)).await?;
    found.ok_or_else(|| nobody(device_id))
}

/// 404.
pub(super) fn nobody(device_id: &DeviceId) -> Problem {
    Problem::not_found(format!("no device is named {device_id}"))
}

/// One device.
pub async fn get(call: Call, _: Nothing) -> Result<Versioned<Device>, Problem> {
    let device = find(&call, &call.path("device_id")?).await?;
    Ok(Versioned(device.version, device.into()))
}

/// What of a device people may edit; what is left out stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    /// Where it stands.
    #[schemars(length(min = 1, max = 128))]
    site: Option<String>,
    /// All of its labels.
    #[schemars(length(max = 32))]
    labels: Option<Vec<String>>,
}

/// Edits a device.
pub async fn edit(call: Call, JsonBody(edit): JsonBody<Edit>) -> Result<Versioned<Device>, Problem> {
    let device_id: DeviceId = call.path("device_id")?;
    let Edit { site, labels } = edit;
    let is_name = |text: &String| is_plain(text, NAME_BYTES_MAX);
    if site.as_ref().is_some_and(|site| !is_name(site)) {
        return Err(Problem::bad_request(format!("site: expected {}", inventory::FIELD)));
    }
    if labels.as_ref().is_some_and(|labels| labels.len() > LABELS_MAX || !labels.iter().all(is_name)) {
        let detail = format!("labels: expected at most {LABELS_MAX}, each of 1 to {NAME_BYTES_MAX} bytes of text");
        return Err(Problem::bad_request(detail));
    }
    let (edit, if_version, by, edited) =
        (DeviceEdit { site, labels }, call.if_version()?, call.by(), device_id.clone());
    let done = call.app.writer.write(move |store| rules::devices::edit(store, &edited, &edit, if_version, &by)).await?;
    done.map_err(|refused| edit_refused(&refused, &device_id))?;
    let device = find(&call, &device_id).await?;
    Ok(Versioned(device.version, device.into()))
}

/// Why an edit was refused, for the caller.
pub(super) fn edit_refused(refused: &EditRefused, device_id: &DeviceId) -> Problem {
    match refused {
        EditRefused::Unknown => nobody(device_id),
        EditRefused::KeyInUse => Problem::conflict("public_key: a device has or had this key; no key is used twice"),
        EditRefused::Changed { version } => Problem::changed(*version),
    }
}

/// A reason that says something, for the audit.
pub(super) fn check_reason(reason: &str) -> Result<(), Problem> {
    if reason.trim().is_empty() || !is_plain(reason, 500) {
        return Err(Problem::bad_request("reason: expected 1 to 500 bytes on one line, for the audit"));
    }
    Ok(())
}

/// Which devices to revoke, and why.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    which: Which,
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Why to do something to one device.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// What a revocation did.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct RevocationDone {
    /// Devices that are revoked now and were not before.
    revoked: usize,
    /// Devices that were revoked already.
    already_revoked: usize,
    /// Names that are nobody's.
    unknown: Vec<DeviceId>,
}

/// Shuts devices out; holds with the answer.
pub async fn revoke(call: Call, JsonBody(what): JsonBody<Revocation>) -> Result<Json<RevocationDone>, Problem> {
    bulk::to_its_end(async move { revoke_all(&call, what).await }).await?
}

/// The same for one.
pub async fn revoke_one(call: Call, JsonBody(why): JsonBody<Reason>) -> Result<Json<RevocationDone>, Problem> {
    let device_id: DeviceId = call.path("device_id")?;
    find(&call, &device_id).await?;
    revoke_all(&call, Revocation { which: Which::one(device_id), reason: why.reason }).await
}

/// Not all in one transaction, so that heartbeats go on in between. What is done when the server is killed stays done; the same
/// call again does the rest.
async fn revoke_all(call: &Call, what: Revocation) -> Result<Json<RevocationDone>, Problem> {
    check_reason(&what.reason)?;
    let mut which = what.which.selector()?;
    let mut done = RevocationDone::default();
    if let Some(named) = which.device_ids.take() {
        for some in named.chunks(bulk::AT_ONCE) {
            revoke_some(call, Selector { device_ids: Some(some.to_vec()), ..which.clone() }, &what.reason, &mut done)
                .await?;
        }
    } else {
        let mut after = 0;
        loop {
            let wanted = which.clone();
            let page = call.reader.ask(move |store| store.devices(&wanted, after, bulk::AT_ONCE)).await?;
            let Some(last) = page.last() else { break };
            after = last.row;
            let some = page.into_iter().map(|device| device.device_id).collect();
            revoke_some(call, Selector { device_ids: Some(some), ..which.clone() }, &what.reason, &mut done).await?;
        }
    }
    tracing::info!(revoked = done.revoked, "devices revoked");
    Ok(Json(done))
}

async fn revoke_some(call: &Call, which: Selector, reason: &str, done: &mut RevocationDone) -> Result<(), Problem> {
    let (reason, by) = (reason.to_owned(), call.by());
    let some = call.app.writer.write(move |store| rules::devices::revoke(store, &which, &reason, &by)).await?;
    call.app.registry.follow(&call.app.reader).await?;
    done.revoked += some.revoked.len();
    done.already_revoked += some.already;
    done.unknown.extend(some.unknown);
    Ok(())
}
