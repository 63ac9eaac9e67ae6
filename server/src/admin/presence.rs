//! /api/presence: presence of the fleet by model and site; and the diagnosis of one silent device.

use ks_protocol::id::DeviceId;

use super::{
    Problem,
    devices::unknown_device,
    route::{Call, Json, NoInput},
};
use crate::service::{
    investigation::{self, Investigation},
    presence::{self, FleetPresence},
};

/// Counts devices by presence.
pub async fn fleet(call: Call, _: NoInput) -> Result<Json<FleetPresence>, Problem> {
    let (now, interval) = (call.app.clock.now(), call.app.config.heartbeat_interval);
    Ok(Json(presence::fleet(&call.reader, now, interval).await?))
}

/// Gathers what an operator needs first about a silent device.
pub async fn investigate(call: Call, _: NoInput) -> Result<Json<Investigation>, Problem> {
    let device_id: DeviceId = call.path("device_id")?;
    let (now, interval) = (call.app.clock.now(), call.app.config.heartbeat_interval);
    let found = investigation::gather(&call.reader, now, interval, &device_id).await?;
    found.map(Json).ok_or_else(|| unknown_device(&device_id))
}
