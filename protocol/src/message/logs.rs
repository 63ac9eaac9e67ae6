//! POST /logs: a batch of log lines, each stored once however often it is sent.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{DeviceId, Seq},
    number::whole,
    text::{Rows, Text},
    time::UnixMs,
};

type_line!(LogsType = "logs");
type_line!(LogsStoredType = "logs_stored");

/// Lines of one batch at most.
pub const LINES_MAX: usize = 256;

/// The request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logs {
    /// `logs`.
    #[serde(rename = "type")]
    pub kind: LogsType,
    /// The device.
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "whole")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis, decides nothing.
    pub sent_at: UnixMs,
    /// Number of the first of these lines. A device numbers its lines from 1 on, for its whole life, without gaps.
    pub first_line_no: Seq,
    /// The lines, in the order of their numbers.
    pub lines: Rows<LogLine, LINES_MAX>,
}
request!(Logs, "/logs", 60 * 1024);

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, by the device's clock.
    pub at: UnixMs,
    /// How bad it is.
    pub level: LogLevel,
    /// What happened.
    pub message: Text<512>,
}

/// How bad a line is, from the worst on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Something does not work.
    Error,
    /// Something may stop working.
    Warn,
    /// Something that is good to know.
    Info,
    /// Something for who looks for a cause.
    Debug,
}

impl LogLevel {
    /// Every level, from the worst on.
    pub const ALL: [Self; 4] = [Self::Error, Self::Warn, Self::Info, Self::Debug];

    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
        }
    }
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogsStored {
    /// `logs_stored`.
    #[serde(rename = "type")]
    pub kind: LogsStoredType,
    /// The first number that the server does not have; all lines before it are stored, and can be forgotten.
    pub next_line_no: Seq,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}
