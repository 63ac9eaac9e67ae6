//! Commands: orders for many devices, delivery, ACKs.

use ks_protocol::{
    id::{CommandId, DeviceId, Sequence},
    message::{Ack, AckState},
    time::UnixMs,
};

use super::{By, Denied, StoreError, Swept, devices::Selector};
use crate::command::{CommandEvent, CommandState};

/// A command for several devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Name of the order.
    pub order_id: CommandId,
    /// 32 random bytes, from which the commands' names are made.
    pub id_seed: [u8; 32],
    /// The caller's own name for the order: the same again is the same order.
    pub client_token: Option<String>,
    /// SHA-256 of what was asked for, so that one token does not stand for two things.
    pub request_sha256: [u8; 32],
    /// For whom.
    pub which: Selector,
    /// Kind on the wire.
    pub kind: String,
    /// Argument on the wire.
    pub argument: String,
    /// Whether it goes before other commands.
    pub is_urgent: bool,
    /// Void after this.
    pub deadline_at: UnixMs,
}

/// Refused devices of an order that are named at most.
pub const REFUSED_NAMED_MAX: usize = 1_000;

/// What an order did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// Name of the order.
    pub order_id: CommandId,
    /// Commands queued.
    pub queued: usize,
    /// Devices that were named and are unknown or revoked; a thousand at most.
    pub refused: Vec<DeviceId>,
    /// How many there were.
    pub refused_count: usize,
    /// Whether the same order was there already.
    pub is_repeated: bool,
    /// Whether each of its devices has its command by now.
    pub is_whole: bool,
}

/// An order of which a piece is missing, and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderUnderWay {
    /// The order.
    pub order: NewOrder,
    /// Who, and from where; `at` is when.
    pub by: By,
}

/// How far an order came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderProgress {
    /// Commands by state.
    pub counts: StateCounts,
    /// Whether each of its devices has its command by now.
    pub is_whole: bool,
}

/// Why an order was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderRefused {
    /// The client token stands for another order.
    TokenTaken,
}

/// A stored command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// Row; commands are paged by it.
    pub row: i64,
    /// Name.
    pub command_id: CommandId,
    /// The order that it is part of.
    pub order_id: CommandId,
    /// For whom.
    pub device_id: DeviceId,
    /// Kind on the wire.
    pub kind: String,
    /// Argument on the wire.
    pub argument: String,
    /// Whether it goes before other commands.
    pub is_urgent: bool,
    /// How far it came.
    pub state: CommandState,
    /// When it was ordered.
    pub created_at: UnixMs,
    /// Void after this.
    pub deadline_at: UnixMs,
    /// When it was first delivered.
    pub delivered_at: Option<UnixMs>,
    /// When it came to its end.
    pub finished_at: Option<UnixMs>,
    /// What the device said of it last.
    pub detail: String,
}

/// Which commands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandFilter {
    /// Of this order.
    pub order_id: Option<CommandId>,
    /// For this device.
    pub device_id: Option<DeviceId>,
    /// Open ones only.
    pub open_only: bool,
}

/// Commands of an order by state.
pub type StateCounts = Vec<(CommandState, u64)>;

/// Why a command was not canceled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelRefused {
    /// No such command.
    Unknown,
    /// It is past the point: the device may have it, or it has ended.
    Past(CommandState),
}

/// What can be written of commands.
pub trait CommandWrites {
    /// Queues one command for each device that is meant, known and not revoked, for at most `devices_max` of them: calling
    /// again goes on, until the order is whole, whoever calls. An order of the same client token, or of the same name, is the
    /// same order. Each piece has its line in the audit, in the name of who gave the order.
    fn order(
        &mut self,
        order: &NewOrder,
        devices_max: usize,
        by: &By,
    ) -> Result<Result<Ordered, OrderRefused>, StoreError>;
    /// Records ACKs that came on their own; gives the state of each command, none where the device has no such command.
    fn record_acks(
        &mut self,
        device_id: &DeviceId,
        sequence: Sequence,
        acks: &[Ack],
        at: UnixMs,
    ) -> Result<Result<Vec<Option<CommandState>>, Denied>, StoreError>;
    /// Cancels a command that was not delivered yet; with `force` also one that was, whatever the device makes of it.
    fn cancel(
        &mut self,
        command_id: &CommandId,
        force: bool,
        by: &By,
    ) -> Result<Result<CommandState, CancelRefused>, StoreError>;
    /// Closes open commands whose deadline has passed, at most `rows_max`; gives how many there were.
    fn close_overdue(&mut self, now: UnixMs, rows_max: usize) -> Result<usize, StoreError>;
    /// One step of retention, over rows above `after`: commands that are old and have ended, and orders of which nothing is left.
    fn prune_commands(&mut self, before: UnixMs, after: i64, rows_max: usize) -> Result<Swept, StoreError>;
}

/// What can be asked of commands.
pub trait CommandReads {
    /// Commands with a row above `after`, at most `limit`, in the order they were made.
    fn commands(&mut self, which: &CommandFilter, after: i64, limit: usize) -> Result<Vec<CommandRecord>, StoreError>;
    /// How far an order came; none if there is no such order.
    fn order_progress(&mut self, order_id: &CommandId) -> Result<Option<OrderProgress>, StoreError>;
    /// The oldest order of which a piece is missing.
    fn order_under_way(&mut self) -> Result<Option<OrderUnderWay>, StoreError>;
}

impl From<AckState> for CommandEvent {
    fn from(state: AckState) -> Self {
        match state {
            AckState::Received => Self::AckReceived,
            AckState::Succeeded => Self::AckSucceeded,
            AckState::Failed => Self::AckFailed,
            AckState::Rejected => Self::AckRejected,
        }
    }
}
