//! /api/presence: presence of the fleet, and of selected devices, by model and site; and the diagnosis of one silent device.

use ks_protocol::id::DeviceId;
use schemars::JsonSchema;
use serde::Deserialize;

use super::{
    Problem,
    device_selector::DeviceSelector,
    devices::unknown_device,
    route::{Call, Json, JsonBody, NoInput},
};
use crate::service::{
    investigation::{self, Investigation},
    presence::{self, FleetPresence, SelectedPresence},
};

/// Counts devices by presence.
pub async fn fleet(call: Call, _: NoInput) -> Result<Json<FleetPresence>, Problem> {
    let (now, interval) = (call.app.clock.now(), call.app.config.heartbeat_interval);
    Ok(Json(presence::fleet(&call.reader, now, interval).await?))
}

/// Devices to count.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Selection {
    which: DeviceSelector,
}

/// Counts the devices that an order with the same `which` would select. Changes nothing.
pub async fn selected(call: Call, JsonBody(selection): JsonBody<Selection>) -> Result<Json<SelectedPresence>, Problem> {
    let which = selection.which.selector()?;
    let (now, interval) = (call.app.clock.now(), call.app.config.heartbeat_interval);
    Ok(Json(presence::selected(&call.reader, now, interval, &which).await?))
}

/// Gathers what an operator needs first about a silent device.
pub async fn investigate(call: Call, _: NoInput) -> Result<Json<Investigation>, Problem> {
    let device_id: DeviceId = call.path("device_id")?;
    let (now, interval) = (call.app.clock.now(), call.app.config.heartbeat_interval);
    let found = investigation::gather(&call.reader, now, interval, &device_id).await?;
    found.map(Json).ok_or_else(|| unknown_device(&device_id))
}
