//! POST /commands/ack: ACKs that should not wait for the next heartbeat.

use serde::{Deserialize, Serialize};

use super::{request, type_line};
use crate::{
    id::{CommandId, DeviceId, Seq},
    number::integer,
    text::{Rows, Text},
    time::UnixMs,
};

type_line!(CommandAckType = "command_ack");
type_line!(AcksRecordedType = "acks_recorded");

/// The result of a command, as reported by the device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    pub command_id: CommandId,
    /// Result so far.
    pub state: AckState,
    /// Free text for diagnosis; may be empty.
    pub detail: Text<256>,
}

/// Result of a command so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum AckState {
    /// Persisted on the device, not yet executed.
    Received,
    /// Executed.
    Succeeded,
    Failed,
    /// Refused; will not be executed.
    Rejected,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandAck {
    #[serde(rename = "type")]
    pub kind: CommandAckType,
    pub device_id: DeviceId,
    /// Replay pair, first part.
    #[serde(deserialize_with = "integer")]
    pub boot_epoch: u32,
    /// Replay pair, second part.
    pub seq: Seq,
    /// The device's clock; for diagnosis only.
    pub sent_at: UnixMs,
    pub acks: Rows<Ack, 64>,
}
request!(CommandAck, "/commands/ack", 32 * 1024);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcksRecorded {
    #[serde(rename = "type")]
    pub kind: AcksRecordedType,
    /// The stored states, in the order of the request.
    pub acks: Rows<AckRecorded, 64>,
    /// The server's time, which devices trust.
    pub server_time: UnixMs,
}

/// The stored state of one command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckRecorded {
    pub command_id: CommandId,
    /// A command state, or `UNKNOWN` if the device has no such command.
    pub state: Text<16>,
}
