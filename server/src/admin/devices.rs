//! /api/devices: listing, editing, revoking.

use ks_protocol::id::DeviceId;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    device_selector::DeviceSelector,
    page::{self, Page},
    route::{Call, Json, JsonBody, NoInput, Query, Versioned},
};
use crate::{
    registry::Refusals,
    rules,
    service::{
        bulk,
        devices::{self, Device, ListedDevice, PresenceFilter, is_plain},
        inventory,
    },
    store::devices::{DeviceEdit, DeviceRecord, DeviceStatus, EditRefused, Selector},
};

/// Maximum labels per device.
const LABELS_MAX: usize = 32;
/// Maximum length of a site or a label, in bytes.
const NAME_BYTES_MAX: usize = 128;

/// Filter and page.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DevicesQuery {
    /// Of this model.
    model: Option<String>,
    /// At this site.
    site: Option<String>,
    /// Firmware version that the device last reported.
    firmware_version: Option<String>,
    /// With this label.
    label: Option<String>,
    /// In this status.
    status: Option<DeviceStatus>,
    /// Registered, with this presence.
    presence: Option<PresenceFilter>,
    /// With this text in their id, serial number or a label, ignoring the case of ASCII letters.
    #[schemars(length(min = 1, max = 128))]
    search: Option<String>,
    /// `next_cursor` of the previous page.
    #[schemars(regex(pattern = r"^[0-9.]{1,64}$"))]
    cursor: Option<String>,
    /// Maximum rows per page; default 100.
    #[schemars(range(min = 1, max = 10_000))]
    limit: Option<usize>,
}

/// Lists devices. With a presence a page may be empty and still have a next one, if none of the devices read for it has it.
pub async fn list(call: Call, Query(query): Query<DevicesQuery>) -> Result<Json<Page<ListedDevice>>, Problem> {
    let (limit, after) = (page::limit(query.limit)?, page::after(query.cursor.as_deref(), 0)?);
    let DevicesQuery { model, site, firmware_version, label, status, presence, search, .. } = query;
    if search.as_ref().is_some_and(|text| !(1..=NAME_BYTES_MAX).contains(&text.len())) {
        return Err(Problem::bad_request(format!("search: expected 1 to {NAME_BYTES_MAX} bytes")));
    }
    let which = Selector { device_ids: None, model, site, firmware_version, label, status, search };
    let when = (call.app.clock.now(), call.app.config.heartbeat_interval);
    let page = devices::list(&call.reader, when, which, presence, (after, limit)).await?;
    Ok(Json(Page { items: page.devices, next_cursor: page.next_after.map(|row| row.to_string()) }))
}

/// The device, or 404.
pub(super) async fn find(call: &Call, device_id: &DeviceId) -> Result<DeviceRecord, Problem> {
    let wanted = device_id.clone();
    let found = call.reader.ask(move |store| store.device(&wanted)).await?;
    found.ok_or_else(|| unknown_device(device_id))
}

/// 404: the inventory does not have the device.
pub(super) fn unknown_device(device_id: &DeviceId) -> Problem {
    Problem::not_found(format!("unknown device {device_id}"))
}

/// A device, and what limits have refused of it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct DeviceWithLimits {
    #[serde(flatten)]
    device: Device,
    /// On this server, since it started.
    limits: Refusals,
}

pub async fn get(call: Call, _: NoInput) -> Result<Versioned<DeviceWithLimits>, Problem> {
    let device = find(&call, &call.path("device_id")?).await?;
    let known = call.app.registry.get(&device.device_id);
    let limits = known.map_or_else(Refusals::default, |known| known.with_state(|now| now.spent.refusals));
    Ok(Versioned(device.version, DeviceWithLimits { device: device.into(), limits }))
}

/// Changes to a device; omitted fields stay as they are.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edit {
    #[schemars(length(min = 1, max = 128))]
    site: Option<String>,
    /// Replaces all labels.
    #[schemars(length(max = 32))]
    labels: Option<Vec<String>>,
}

pub async fn edit(call: Call, JsonBody(edit): JsonBody<Edit>) -> Result<Versioned<Device>, Problem> {
    let device_id: DeviceId = call.path("device_id")?;
    let Edit { site, labels } = edit;
    let is_valid = |text: &String| is_plain(text, NAME_BYTES_MAX);
    if site.as_ref().is_some_and(|site| !is_valid(site)) {
        return Err(Problem::bad_request(format!("site: expected {}", inventory::FIELD)));
    }
    if labels.as_ref().is_some_and(|labels| labels.len() > LABELS_MAX || !labels.iter().all(is_valid)) {
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

/// Maps a refused edit to its HTTP status.
pub(super) fn edit_refused(refused: &EditRefused, device_id: &DeviceId) -> Problem {
    match refused {
        EditRefused::Unknown => unknown_device(device_id),
        EditRefused::KeyInUse => Problem::conflict("public_key: already used by a device; keys can't be reused"),
        EditRefused::Changed { version } => Problem::changed(*version),
    }
}

/// Requires a non-blank reason on one line, for the audit.
pub(super) fn check_reason(reason: &str) -> Result<(), Problem> {
    if reason.trim().is_empty() || !is_plain(reason, 500) {
        return Err(Problem::bad_request("reason: expected 1 to 500 bytes on one line, for the audit"));
    }
    Ok(())
}

/// Devices to revoke.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    which: DeviceSelector,
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Reason for an action on one device.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Why, for the audit.
    #[schemars(length(min = 1, max = 500))]
    reason: String,
}

/// Result of a revocation.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct RevocationResult {
    /// Devices revoked by this request.
    revoked: usize,
    /// Devices that were revoked before.
    already_revoked: usize,
    /// Ids of no known device.
    unknown: Vec<DeviceId>,
}

/// Revokes devices. The revocation is in force when the response arrives.
pub async fn revoke(call: Call, JsonBody(what): JsonBody<Revocation>) -> Result<Json<RevocationResult>, Problem> {
    bulk::run_to_completion(async move { revoke_all(&call, what).await }).await?
}

pub async fn revoke_one(call: Call, JsonBody(why): JsonBody<Reason>) -> Result<Json<RevocationResult>, Problem> {
    let device_id: DeviceId = call.path("device_id")?;
    find(&call, &device_id).await?;
    revoke_all(&call, Revocation { which: DeviceSelector::one(device_id), reason: why.reason }).await
}

/// Works in several transactions, so that heartbeats are stored in between. If the server is killed meanwhile, repeating the
/// request revokes the remaining devices.
async fn revoke_all(call: &Call, what: Revocation) -> Result<Json<RevocationResult>, Problem> {
    check_reason(&what.reason)?;
    let mut selector = what.which.selector()?;
    let mut done = RevocationResult::default();
    if let Some(named) = selector.device_ids.take() {
        for chunk in named.chunks(bulk::CHUNK_DEVICES) {
            revoke_chunk(
                call,
                Selector { device_ids: Some(chunk.to_vec()), ..selector.clone() },
                &what.reason,
                &mut done,
            )
            .await?;
        }
    } else {
        let mut after = 0;
        loop {
            let wanted = selector.clone();
            let page = call.reader.ask(move |store| store.devices(&wanted, after, bulk::CHUNK_DEVICES)).await?;
            let Some(last) = page.last() else { break };
            after = last.row;
            let chunk = page.into_iter().map(|device| device.device_id).collect();
            revoke_chunk(call, Selector { device_ids: Some(chunk), ..selector.clone() }, &what.reason, &mut done)
                .await?;
        }
    }
    tracing::info!(revoked = done.revoked, "devices revoked");
    Ok(Json(done))
}

async fn revoke_chunk(
    call: &Call,
    selector: Selector,
    reason: &str,
    done: &mut RevocationResult,
) -> Result<(), Problem> {
    let (reason, by) = (reason.to_owned(), call.by());
    let outcome = call.app.writer.write(move |store| rules::devices::revoke(store, &selector, &reason, &by)).await?;
    call.app.registry.follow(&call.app.reader).await?;
    done.revoked += outcome.revoked.len();
    done.already_revoked += outcome.already;
    done.unknown.extend(outcome.unknown);
    Ok(())
}
