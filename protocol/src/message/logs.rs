//! POST /logs: a batch of log lines, each stored exactly once, however often it is sent.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{DeviceId, Seq},
    number::integer,
    text::{Rows, Text},
    time::UnixMs,
};

type_line!(LogsType = "logs");
type_line!(LogsStoredType = "logs_stored");

/// Limit of lines in one batch.
pub const LINES_MAX: usize = 256;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    #[serde(rename = "type")]
    pub kind: LogsType,
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "integer")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis only.
    pub sent_at: UnixMs,
    /// Number of the first line. A device numbers its lines from 1, over its lifetime, without gaps.
    pub first_line_no: Seq,
    /// The lines, in the order of their numbers.
    pub lines: Rows<LogLine, LINES_MAX>,
}
request!(Logs, "/logs", 60 * 1024);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was logged, by the device's clock.
    pub at: UnixMs,
    pub level: LogLevel,
    pub message: Text<512>,
}

/// Severity of a line, from the most severe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// A failure.
    Error,
    /// A likely failure.
    Warn,
    /// Normal operation.
    Info,
    /// Details for diagnosis.
    Debug,
}

impl LogLevel {
    /// Every level, from the most severe.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// The value on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsStored {
    #[serde(rename = "type")]
    pub kind: LogsStoredType,
    /// The first number that the server does not have; all lines before it are stored and can be deleted on the device.
    pub next_line_no: Seq,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}
