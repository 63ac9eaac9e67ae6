//! POST /commands/ack: ACKs that can't wait for the next heartbeat.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{CommandId, DeviceId, Seq},
    number::whole,
    text::{Rows, Text},
    time::UnixMs,
};

type_line!(CommandAckType = "command_ack");
type_line!(AcksRecordedType = "acks_recorded");

/// What became of a command, as the device says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The command.
    pub command_id: CommandId,
    /// How far it came.
    pub state: AckState,
    /// More for a human; may be empty.
    pub detail: Text<256>,
}

/// How far a command came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AckState {
    /// Kept on the device, not yet done.
    Received,
    /// Done.
    Succeeded,
    /// Tried, and failed.
    Failed,
    /// Will not be tried.
    Rejected,
}

/// The request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAck {
    /// `command_ack`.
    #[serde(rename = "type")]
    pub kind: CommandAckType,
    /// The device.
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "whole")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis, decides nothing.
    pub sent_at: UnixMs,
    /// The ACKs.
    pub acks: Rows<Ack, 64>,
}
request!(CommandAck, "/commands/ack", 32 * 1024);

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcksRecorded {
    /// `acks_recorded`.
    #[serde(rename = "type")]
    pub kind: AcksRecordedType,
    /// What the server holds now, in the order of the request.
    pub acks: Rows<AckRecorded, 64>,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}

/// What the server holds of one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckRecorded {
    /// The command.
    pub command_id: CommandId,
    /// Its state: one of the command's states, or `UNKNOWN` if the device has no such command.
    pub state: Text<16>,
}
