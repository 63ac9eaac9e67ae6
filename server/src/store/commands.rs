//! Commands: orders for many devices, delivery and ACKs.

use std::net::IpAddr;

use ks_protocol::{
    id::{CommandId, DeviceId, Sequence},
    message::{Ack, AckState, Command},
    time::UnixMs,
};

use super::{Actor, Span, StoreError, devices::Selector};
use crate::{
    command::{CommandEvent, CommandState},
    store::audit::chain::Audited,
};

/// A command for several devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Id of the order.
    pub order_id: CommandId,
    /// 32 random bytes, from which the commands' ids are derived.
    pub id_seed: [u8; 32],
    /// The caller's idempotency token: an order with the same token is the same order.
    pub client_token: Option<String>,
    /// SHA-256 of the request, so that one token can't be reused for a different order.
    pub request_sha256: [u8; 32],
    pub which: Selector,
    /// Kind on the wire.
    pub kind: String,
    /// Argument on the wire.
    pub argument: String,
    /// Whether it is delivered before other commands.
    pub is_urgent: bool,
    /// Deadline; not delivered after it.
    pub deadline_at: UnixMs,
}

/// Most refused devices of an order that are listed.
pub const REFUSED_NAMED_MAX: usize = 1_000;

/// The result of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ordered {
    /// Id of the order.
    pub order_id: CommandId,
    pub queued: usize,
    /// Named devices that are unknown or revoked; a thousand at most.
    pub refused: Vec<DeviceId>,
    /// Number of refused devices.
    pub refused_count: usize,
    /// Whether the same order existed already.
    pub is_repeated: bool,
    /// Whether a command is queued for each of its devices.
    pub is_whole: bool,
}

/// An incomplete order, and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderUnderWay {
    pub order: NewOrder,
    /// Who gave it, from where; `at` is when.
    pub by: Actor,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderProgress {
    /// Commands by state.
    pub counts: StateCounts,
    /// Whether a command is queued for each of its devices.
    pub is_whole: bool,
}

/// Why an order was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OrderRefused {
    /// The client token belongs to another order.
    TokenTaken,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// Row; commands are paged by it.
    pub row: i64,
    pub command_id: CommandId,
    pub order_id: CommandId,
    pub device_id: DeviceId,
    /// Kind on the wire.
    pub kind: String,
    /// Argument on the wire.
    pub argument: String,
    /// Whether it is delivered before other commands.
    pub is_urgent: bool,
    pub state: CommandState,
    /// When it was ordered.
    pub created_at: UnixMs,
    /// Deadline; not delivered after it.
    pub deadline_at: UnixMs,
    /// When it was first delivered.
    pub delivered_at: Option<UnixMs>,
    pub finished_at: Option<UnixMs>,
    /// The detail that the device reported last.
    pub detail: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommandFilter {
    pub order_id: Option<CommandId>,
    pub device_id: Option<DeviceId>,
    pub open_only: bool,
    pub state: Option<CommandState>,
    /// The last one first; rows are then below `after`.
    pub newest_first: bool,
}

/// Commands of an order by state.
pub type StateCounts = Vec<(CommandState, u64)>;

/// Why a command can't be canceled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelRefused {
    Unknown,
    /// Too late: the device may have it, or it has ended.
    Past(CommandState),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    pub row: i64,
    pub order_id: CommandId,
    /// SHA-256 of what was asked for.
    pub request_sha256: [u8; 32],
    pub queued: usize,
    pub refused: usize,
    /// Where the next piece begins: after this many names, or after this device row; none once the order is complete.
    pub next_after: Option<i64>,
}

/// The terms that all pieces of an order share; kept until the order is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTerms {
    /// Seed of the commands' ids.
    pub id_seed: [u8; 32],
    /// Deadline of the commands.
    pub deadline_at: UnixMs,
    /// Who gave the order.
    pub name: String,
    pub address: Option<IpAddr>,
}

/// Commands of one order to queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommands<'a> {
    pub order_row: i64,
    /// Kind on the wire.
    pub kind: &'a str,
    /// Argument on the wire.
    pub argument: &'a str,
    /// Whether they are delivered before other commands.
    pub is_urgent: bool,
    /// When they are ordered.
    pub created_at: UnixMs,
    /// Deadline; not delivered after it.
    pub deadline_at: UnixMs,
    /// Id of each, and row of its device; each device occurs at most once.
    pub devices: &'a [(CommandId, i64)],
}

/// The part of a command that determines its transitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandRow {
    pub row: i64,
    /// Row of its device.
    pub device: i64,
    pub state: CommandState,
}

/// A verified batch of ACKs sent outside of heartbeats.
#[derive(Debug, Clone, PartialEq)]
pub struct AckBatch {
    pub device_id: DeviceId,
    pub sequence: Sequence,
    pub acks: Vec<Ack>,
    /// When it was received.
    pub at: UnixMs,
}

/// A new state for an open command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandChange<'a> {
    /// The command before the change.
    pub command: CommandRow,
    pub state: CommandState,
    pub detail: &'a str,
    /// When it was delivered, if by this change.
    pub delivered_at: Option<UnixMs>,
    /// When it ended, if by this change.
    pub finished_at: Option<UnixMs>,
}

/// The rows of orders and commands. The decisions are in [`crate::rules::commands`]. A command is open until its state is terminal.
///
/// The store keeps the number of open commands of each device, because every heartbeat needs to know whether there is one
/// ([`BeatTaken::has_open_commands`](super::heartbeats::BeatTaken)): `insert_commands` adds one for each command, and a change with a
/// `finished_at`, which only the change to a terminal state has, ends one.
pub trait CommandRows {
    /// The order with this client token.
    fn order_of_token(&mut self, client_token: &str) -> Result<Option<OrderRow>, StoreError>;
    /// The order with this id.
    fn order_named(&mut self, order_id: &CommandId) -> Result<Option<OrderRow>, StoreError>;
    /// Adds an order with its progress; returns its row.
    fn insert_order(
        &mut self,
        order: &NewOrder,
        so_far: &OrderRow,
        at: UnixMs,
        noted: &Audited,
    ) -> Result<i64, StoreError>;
    /// Stores the progress of an order.
    fn save_order(&mut self, order: &OrderRow) -> Result<(), StoreError>;
    /// Stores the terms of an incomplete order.
    fn insert_order_terms(
        &mut self,
        order_row: i64,
        order: &NewOrder,
        terms: &OrderTerms,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    /// The terms of an incomplete order.
    fn order_terms(&mut self, order_row: i64) -> Result<OrderTerms, StoreError>;
    fn delete_order_terms(&mut self, order_row: i64) -> Result<(), StoreError>;
    /// Adds one QUEUED command for each device of the list.
    fn insert_commands(&mut self, commands: &NewCommands<'_>, noted: &Audited) -> Result<(), StoreError>;
    /// The commands with these ids, in this order; none for unknown ids.
    fn commands_named(&mut self, command_ids: &[&CommandId]) -> Result<Vec<Option<CommandRow>>, StoreError>;
    /// Commands of these devices, each given with a time, that are queued or delivered and whose deadline is after that time: at most
    /// `limit` for each device, urgent ones first, then in the order of creation.
    fn waiting_commands(
        &mut self,
        devices: &[(i64, UnixMs)],
        limit: usize,
    ) -> Result<Vec<(CommandRow, Command)>, StoreError>;
    /// The open commands of these devices.
    fn open_commands(&mut self, devices: &[i64]) -> Result<Vec<CommandRow>, StoreError>;
    /// Open commands whose deadline is not behind `now`, at most `limit`, the longest waiting first.
    fn overdue_commands(&mut self, now: UnixMs, limit: usize) -> Result<Vec<CommandRow>, StoreError>;
    /// Stores state changes of open commands caused by their device or by time. Each command occurs at most once.
    fn save_commands(&mut self, changes: &[CommandChange<'_>]) -> Result<(), StoreError>;
    /// Marks open commands as canceled.
    fn cancel_commands(
        &mut self,
        commands: &[CommandRow],
        why: &str,
        at: UnixMs,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    /// The first commands with a row above `after`, at most `rows_max`, by creation time.
    fn span_of_commands(&mut self, after: i64, rows_max: usize) -> Result<Option<Span>, StoreError>;
    /// Deletes commands with rows above `after` and up to `last` that were created before a time and have ended; returns the
    /// row of each one's order.
    fn delete_ended_commands(&mut self, after: i64, last: i64, before: UnixMs) -> Result<Vec<i64>, StoreError>;
    /// Deletes the complete ones of these orders that have no command.
    fn delete_empty_orders(&mut self, orders: &[i64]) -> Result<(), StoreError>;
}

pub trait CommandReads {
    /// Commands with a row above `after`, at most `limit`, in the order of creation; or below `after`, in the reverse order.
    fn commands(&mut self, which: &CommandFilter, after: i64, limit: usize) -> Result<Vec<CommandRecord>, StoreError>;
    /// Devices of commands with a row above `after` that are not terminal, each with the row, at most `limit`, in the order of creation.
    fn awaited(&mut self, after: i64, limit: usize) -> Result<Vec<(i64, DeviceId)>, StoreError>;
    /// Order progress; none if there is no such order.
    fn order_progress(&mut self, order_id: &CommandId) -> Result<Option<OrderProgress>, StoreError>;
    /// The oldest incomplete order.
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
