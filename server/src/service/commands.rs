//! Commands as the API and the command line show them.

use std::fmt::{self, Display};

use ks_protocol::{
    id::{CommandId, DeviceId},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{command::CommandState, store::commands::CommandRecord};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Command {
    command_id: CommandId,
    order_id: CommandId,
    device_id: DeviceId,
    /// Kind on the wire.
    kind: String,
    /// Argument on the wire: a TOON document.
    argument: String,
    /// Whether it is delivered before other commands.
    urgent: bool,
    state: CommandState,
    created_at: UnixMs,
    /// Expires at this time unless delivered.
    deadline_at: UnixMs,
    delivered_at: Option<UnixMs>,
    finished_at: Option<UnixMs>,
    /// The device's last status detail.
    detail: String,
}

impl From<CommandRecord> for Command {
    fn from(record: CommandRecord) -> Self {
        Self {
            command_id: record.command_id,
            order_id: record.order_id,
            device_id: record.device_id,
            kind: record.kind,
            argument: record.argument,
            urgent: record.is_urgent,
            state: record.state,
            created_at: record.created_at,
            deadline_at: record.deadline_at,
            delivered_at: record.delivered_at,
            finished_at: record.finished_at,
            detail: record.detail,
        }
    }
}

impl Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {} {} since {}", self.command_id, self.kind, self.state.as_str(), self.created_at)
    }
}
