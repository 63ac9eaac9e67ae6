//! Commands: orders for many devices, delivery, ACKs.

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
    pub by: Actor,
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

/// How far an order came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderRow {
    /// Row.
    pub row: i64,
    /// Name.
    pub order_id: CommandId,
    /// SHA-256 of what was asked for.
    pub request_sha256: [u8; 32],
    /// Commands queued.
    pub queued: usize,
    /// Devices refused.
    pub refused: usize,
    /// Where the next piece begins: after so many names, or after this row of a device; none once the order is whole.
    pub next_after: Option<i64>,
}

/// What is the same for every piece of an order, and is kept as long as one is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderTerms {
    /// From which the commands' names are made.
    pub id_seed: [u8; 32],
    /// The commands are void after this.
    pub deadline_at: UnixMs,
    /// Who gave the order.
    pub name: String,
    /// From where.
    pub address: Option<IpAddr>,
}

/// Commands of one order to queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommands<'a> {
    /// Row of the order.
    pub order_row: i64,
    /// Kind on the wire.
    pub kind: &'a str,
    /// Argument on the wire.
    pub argument: &'a str,
    /// Whether they go before other commands.
    pub is_urgent: bool,
    /// When they are ordered.
    pub created_at: UnixMs,
    /// Void after this.
    pub deadline_at: UnixMs,
    /// Name of each, and row of its device; no device comes twice.
    pub devices: &'a [(CommandId, i64)],
}

/// What decides where a command can go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandRow {
    /// Row.
    pub row: i64,
    /// Row of its device.
    pub device: i64,
    /// How far it came.
    pub state: CommandState,
}

/// A verified batch of ACKs that came on their own.
#[derive(Debug, Clone, PartialEq)]
pub struct AckBatch {
    pub device_id: DeviceId,
    /// Its replay pair.
    pub sequence: Sequence,
    pub acks: Vec<Ack>,
    /// When it was received.
    pub at: UnixMs,
}

/// Another state of a command that was open until now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandChange<'a> {
    /// The command as it was.
    pub command: CommandRow,
    pub state: CommandState,
    pub detail: &'a str,
    /// When it was delivered, unless it was before.
    pub delivered_at: Option<UnixMs>,
    /// When it ended, if this is its end.
    pub finished_at: Option<UnixMs>,
}

/// The rows of orders and commands. Within a transaction, [`crate::rules::commands`] decides over them. A command is open as long
/// as it is queued, delivered or received; the store counts those of each device.
pub trait CommandRows {
    /// The order of this client token.
    fn order_of_token(&mut self, client_token: &str) -> Result<Option<OrderRow>, StoreError>;
    /// The order of this name.
    fn order_named(&mut self, order_id: &CommandId) -> Result<Option<OrderRow>, StoreError>;
    /// Adds an order that has come so far; gives its row.
    fn insert_order(
        &mut self,
        order: &NewOrder,
        so_far: &OrderRow,
        at: UnixMs,
        noted: &Audited,
    ) -> Result<i64, StoreError>;
    /// Stores how far an order came.
    fn save_order(&mut self, order: &OrderRow) -> Result<(), StoreError>;
    /// Keeps what it takes to go on with an order.
    fn insert_order_terms(
        &mut self,
        order_row: i64,
        order: &NewOrder,
        terms: &OrderTerms,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    /// The terms of an order of which a piece is missing.
    fn order_terms(&mut self, order_row: i64) -> Result<OrderTerms, StoreError>;
    /// Forgets them.
    fn delete_order_terms(&mut self, order_row: i64) -> Result<(), StoreError>;
    /// Adds queued commands.
    fn insert_commands(&mut self, commands: &NewCommands<'_>, noted: &Audited) -> Result<(), StoreError>;
    /// The commands of these names, in this order; none where there is none.
    fn commands_named(&mut self, command_ids: &[&CommandId]) -> Result<Vec<Option<CommandRow>>, StoreError>;
    /// Commands of these devices, each given with a time, that are queued or delivered and whose deadline is after that time: at most
    /// `limit` for each device, urgent ones first, then in the order they were made.
    fn waiting_commands(
        &mut self,
        devices: &[(i64, UnixMs)],
        limit: usize,
    ) -> Result<Vec<(CommandRow, Command)>, StoreError>;
    /// The open commands of these devices.
    fn open_commands(&mut self, devices: &[i64]) -> Result<Vec<CommandRow>, StoreError>;
    /// Open commands whose deadline is not behind `now`, at most `limit`, the one that has waited longest first.
    fn overdue_commands(&mut self, now: UnixMs, limit: usize) -> Result<Vec<CommandRow>, StoreError>;
    /// Stores other states of open commands that their device or time brought about. No command comes twice.
    fn save_commands(&mut self, changes: &[CommandChange<'_>]) -> Result<(), StoreError>;
    /// Stores that open commands were canceled.
    fn cancel_commands(
        &mut self,
        commands: &[CommandRow],
        why: &str,
        at: UnixMs,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    /// The first commands with a row above `after`, at most `rows_max`, by when they were made.
    fn span_of_commands(&mut self, after: i64, rows_max: usize) -> Result<Option<Span>, StoreError>;
    /// Deletes commands with rows above `after` and up to `last` that were made before a time and have ended; gives the row of
    /// each one's order.
    fn delete_ended_commands(&mut self, after: i64, last: i64, before: UnixMs) -> Result<Vec<i64>, StoreError>;
    /// Deletes those of these orders that are whole and have no command.
    fn delete_empty_orders(&mut self, orders: &[i64]) -> Result<(), StoreError>;
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
