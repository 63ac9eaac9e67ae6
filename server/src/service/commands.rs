//! Commands as they are shown.

use ks_protocol::{
    id::{CommandId, DeviceId},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{command::CommandState, store::commands::CommandRecord};

/// A command.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Command {
    command_id: CommandId,
    order_id: CommandId,
    device_id: DeviceId,
    /// Kind on the wire.
    kind: String,
    /// Argument on the wire: a TOON document.
    argument: String,
    /// Whether it goes before other commands.
    urgent: bool,
    state: CommandState,
    created_at: UnixMs,
    /// Void after this.
    deadline_at: UnixMs,
    delivered_at: Option<UnixMs>,
    finished_at: Option<UnixMs>,
    /// What the device said of it last.
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

impl Command {
    /// In one line, for people.
    pub(super) fn told(&self) -> String {
        format!("{}  {} {} since {}", self.command_id, self.kind, self.state.as_str(), self.created_at)
    }
}
