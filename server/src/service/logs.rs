//! Log lines of devices as they are shown.

use ks_protocol::{id::DeviceId, message::LogLevel, time::UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::logs::LogRecord;

/// A log line of a device.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Line {
    device_id: DeviceId,
    /// When it was written, by the device's clock.
    at: UnixMs,
    received_at: UnixMs,
    level: LogLevel,
    message: String,
}

impl From<LogRecord> for Line {
    fn from(record: LogRecord) -> Self {
        let LogRecord { device_id, at, received_at, level, message, .. } = record;
        Self { device_id, at, received_at, level, message }
    }
}

impl Line {
    /// In one line, for people.
    pub(super) fn told(&self) -> String {
        format!("{}  {:?}  {}", self.at, self.level, self.message.escape_debug())
    }
}
