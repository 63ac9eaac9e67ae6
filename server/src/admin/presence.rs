//! /api/presence: who is there, by model and site; and everything at hand about one device that is not.

use ks_protocol::id::DeviceId;

use super::{
    Problem,
    devices::nobody,
    route::{Call, Json, Nothing},
};
use crate::service::{
    investigation::{self, Investigation},
    presence::{self, FleetPresence},
};

/// Counts who is there.
pub async fn fleet(call: Call, _: Nothing) -> Result<Json<FleetPresence>, Problem> {
    let (now, interval) = (call.app.clock.now(), call.app.config.heartbeat_interval);
    Ok(Json(presence::fleet(&call.reader, now, interval).await?))
}

/// Gathers what an operator asks first about a device that is silent.
pub async fn investigate(call: Call, _: Nothing) -> Result<Json<Investigation>, Problem> {
    let device_id: DeviceId = call.path("device_id")?;
    let (now, interval) = (call.app.clock.now(), call.app.config.heartbeat_interval);
    let found = investigation::gather(&call.reader, now, interval, &device_id).await?;
    found.map(Json).ok_or_else(|| nobody(&device_id))
}
