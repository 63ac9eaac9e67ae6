//! Device log lines as the API and the command line show them.

use std::fmt::{self, Display};

use ks_protocol::{id::DeviceId, message::LogLevel, time::UnixMs};
use schemars::JsonSchema;
use serde::Serialize;

use crate::store::logs::LogRecord;

/// A device log line.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LogLine {
    device_id: DeviceId,
    /// When it was written, by the device's clock.
    at: UnixMs,
    received_at: UnixMs,
    level: LogLevel,
    message: String,
}

impl From<LogRecord> for LogLine {
    fn from(record: LogRecord) -> Self {
        let LogRecord { device_id, at, received_at, level, message, .. } = record;
        Self { device_id, at, received_at, level, message }
    }
}

impl Display for LogLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}  {}", self.at, self.level.as_str(), self.message.escape_debug())
    }
}
