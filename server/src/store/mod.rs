//! Where writes become durable: the trait, what can be written and read, and what comes back.
//!
//! A store is synchronous. [`writer`] drives it from a thread in production and from a task in a rehearsal; handlers hold a [`Writer`].

pub mod conformance;
mod migrations;
pub mod retention;
mod sqlite;

pub mod writer;

use ks_protocol::{
    id::{CommandId, DeviceId, Sequence},
    key::PublicKey,
    message::{Ack, AckState, Command, Heartbeat},
    time::UnixMs,
};

pub use migrations::{LATEST as SCHEMA_VERSION, MigrateError};
pub use sqlite::{SqliteReader, SqliteStore};
pub use writer::{Reader, Writer};

use crate::command::CommandState;

/// Where writes become durable.
pub trait Store: Send {
    /// Applies `group` in order in one transaction, and gives an outcome for each. Once this returns, all of it
    /// survives `kill -9` (and a power cut, with `STORE_SYNCHRONOUS=full`).
    ///
    /// # Errors
    /// The store failed, and nothing of the group is stored.
    fn commit(&mut self, group: &[Write]) -> Result<Vec<Outcome>, StoreError>;
}

/// What can be asked of a store; sees what is committed and nothing else.
pub trait StoreReader: Send {
    /// One device by name.
    fn device(&mut self, device_id: &DeviceId) -> Result<Option<DeviceRecord>, StoreError>;
    /// Devices with a row above `after`, at most `limit`, in the order of rows.
    fn devices(&mut self, after: i64, limit: usize) -> Result<Vec<DeviceRecord>, StoreError>;
    /// Heartbeats with a row above `after`, at most `limit`, in the order of commits.
    fn heartbeats(&mut self, after: i64, limit: usize) -> Result<Vec<HeartbeatRecord>, StoreError>;
    /// The newest heartbeat's row; 0 when there is none.
    fn last_heartbeat_row(&mut self) -> Result<i64, StoreError>;
    /// When the newest heartbeat was received.
    fn newest_heartbeat_at(&mut self) -> Result<Option<UnixMs>, StoreError>;
    /// Commands with a row above `after`, at most `limit`, in the order they were made.
    fn commands(&mut self, after: i64, limit: usize) -> Result<Vec<CommandRecord>, StoreError>;
}

/// Why a store could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database refused: disk full, I/O error, corruption.
    #[error("the database failed: {0}")]
    Database(String),
    /// Another program holds the database; nothing was written.
    #[error("another program is writing to the database")]
    Busy,
    /// More writes wait than the queue holds.
    #[error("more writes wait than the queue holds")]
    QueueFull,
    /// The store has been shut down.
    #[error("the store has been shut down")]
    Closed,
}

/// Where a device is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceStatus {
    /// Imported; has not registered.
    Whitelisted,
    /// Registered: takes part.
    Registered,
    /// Shut out.
    Revoked,
}

/// A device as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceRecord {
    /// Row; devices are paged by it.
    pub row: i64,
    /// Name.
    pub device_id: DeviceId,
    /// Whitelisted key.
    pub public_key: PublicKey,
    /// Model.
    pub model: String,
    /// Site.
    pub site: String,
    /// Where it is in its life.
    pub status: DeviceStatus,
    /// Greatest replay pair stored.
    pub sequence: Sequence,
    /// When it registered first.
    pub registered_at: Option<UnixMs>,
    /// When it was last heard.
    pub last_seen_at: Option<UnixMs>,
}

/// A stored heartbeat, as far as a reconciliation needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeartbeatRecord {
    /// Row; heartbeats are paged by it.
    pub row: i64,
    /// Who sent it.
    pub device_id: DeviceId,
    /// Its replay pair.
    pub sequence: Sequence,
    /// Seconds since boot, as the device said.
    pub uptime_s: u64,
    /// When it was received.
    pub received_at: UnixMs,
}

/// A stored command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandRecord {
    /// Row; commands are paged by it.
    pub row: i64,
    /// Name.
    pub command_id: CommandId,
    /// For whom.
    pub device_id: DeviceId,
    /// What to do.
    pub kind: String,
    /// How far it came.
    pub state: CommandState,
}

/// A device to whitelist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Line of the inventory, for errors.
    pub line: u64,
    /// Name.
    pub device_id: DeviceId,
    /// Key.
    pub public_key: PublicKey,
    /// Serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// Model.
    pub model: String,
    /// Where it stands.
    pub site: String,
}

/// One thing to write. Times are parameters: the store has no clock.
#[derive(Debug, Clone)]
pub enum Write {
    /// A verified heartbeat.
    Beat {
        /// The message.
        beat: Box<Heartbeat>,
        /// When it was received.
        at: UnixMs,
    },
    /// A verified registration.
    Register {
        /// Who.
        device_id: DeviceId,
        /// The key that signed.
        public_key: PublicKey,
        /// Its replay pair.
        sequence: Sequence,
        /// SHA-256 of the one-time token, if one came.
        otrt_sha256: Option<[u8; 32]>,
        /// Whether a token is demanded.
        otrt_required: bool,
        /// When it was received.
        at: UnixMs,
    },
    /// Verified ACKs that came on their own.
    Acks {
        /// Who.
        device_id: DeviceId,
        /// Its replay pair.
        sequence: Sequence,
        /// The ACKs.
        acks: Vec<Ack>,
        /// When they were received.
        at: UnixMs,
    },
    /// Whitelists devices, all or none.
    Import {
        /// The devices.
        devices: Vec<NewDevice>,
        /// Who asked.
        actor: String,
        /// When.
        at: UnixMs,
    },
    /// Revokes devices; those already revoked stay so.
    Revoke {
        /// Which.
        device_ids: Vec<DeviceId>,
        /// Why.
        reason: String,
        /// Who asked.
        actor: String,
        /// When.
        at: UnixMs,
    },
    /// Makes one-time tokens known.
    AddOtrts {
        /// SHA-256 of each.
        tokens_sha256: Vec<[u8; 32]>,
        /// Usable until then.
        expires_at: UnixMs,
        /// Usable by this device only.
        device_id: Option<DeviceId>,
        /// Usable by this model only.
        model: Option<String>,
        /// Who asked.
        actor: String,
        /// When.
        at: UnixMs,
    },
    /// Queues one command for each of the devices.
    Enqueue {
        /// A name for each command, and its device.
        commands: Vec<(CommandId, DeviceId)>,
        /// What to do.
        kind: String,
        /// The argument.
        argument: String,
        /// Void after this.
        deadline_at: UnixMs,
        /// Who asked.
        actor: String,
        /// When.
        at: UnixMs,
    },
    /// Looks at the next heartbeats in the order of commits, and deletes those received before a time.
    Prune {
        /// Kept from here on.
        before: UnixMs,
        /// What was received after this has a wrong time, and says nothing of the rows behind it.
        now: UnixMs,
        /// Rows up to this one were looked at already.
        after: i64,
        /// How many rows at most.
        rows_max: usize,
    },
}

/// What became of a write, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Of a heartbeat.
    Beat(Result<Due, Denied>),
    /// Of a registration.
    Register(Result<FirstRegistered, Denied>),
    /// Of ACKs: the state of each command, in order; none where the device has no such command.
    Acks(Result<Vec<Option<CommandState>>, Denied>),
    /// Of an import.
    Import(Result<Imported, Vec<ImportProblem>>),
    /// Of a revocation.
    Revoke(Revoked),
    /// Tokens are known.
    OtrtsAdded,
    /// Of commands: how many were queued, and for whom none was.
    Enqueue(Enqueued),
    /// Of a pruning step.
    Pruned(Pruned),
}

/// What a pruning step did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Rows deleted.
    pub deleted: usize,
    /// Where to look next; none when only rows that are kept come behind.
    pub next_after: Option<i64>,
}

/// Why the store would not take a device's write: the last word on each of these is its.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// No such device.
    Unknown,
    /// Not registered.
    NotRegistered,
    /// Revoked.
    Revoked,
    /// The pair is not greater than the one kept.
    Stale {
        /// The pair kept.
        kept: Sequence,
    },
    /// The key is not the whitelisted one.
    KeyMismatch,
    /// A token is demanded.
    OtrtRequired,
    /// The token is unknown, expired or bound to another.
    OtrtInvalid,
    /// The token was used by another device or key.
    OtrtUsed,
}

/// What a device must be told after its heartbeat.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Due {
    /// Open commands, oldest first.
    pub commands: Vec<Command>,
}

/// When a device registered first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FirstRegistered(pub UnixMs);

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Devices that are new.
    pub added: usize,
    /// Devices that were there already, the same in every column.
    pub unchanged: usize,
}

/// Why one row of an inventory can't be imported.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImportProblem {
    /// Line of the inventory, from 1.
    pub line: u64,
    /// The column.
    pub field: &'static str,
    /// What is wrong and what was expected.
    pub what: String,
}

/// What a revocation did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revoked {
    /// Devices that are revoked now and were not before.
    pub revoked: Vec<DeviceId>,
    /// Devices that were revoked already.
    pub already: usize,
    /// Names that are nobody's.
    pub unknown: Vec<DeviceId>,
}

/// What an enqueueing did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Enqueued {
    /// Commands queued.
    pub queued: usize,
    /// Devices that are unknown or revoked.
    pub refused: Vec<DeviceId>,
}

impl From<AckState> for crate::command::CommandEvent {
    fn from(state: AckState) -> Self {
        match state {
            AckState::Received => Self::AckReceived,
            AckState::Succeeded => Self::AckSucceeded,
            AckState::Failed => Self::AckFailed,
            AckState::Rejected => Self::AckRejected,
        }
    }
}
