//! Durable storage: the traits of a store, its writes and queries, and their results.
//!
//! A store is synchronous. [`writer`] drives it from a thread in production and from a task in a rehearsal; handlers hold a
//! [`Writer`] and a [`Reader`]. Each topic has a file with its records, its writes and its queries, and one of the same name for
//! each store.

pub mod accounts;
pub mod audit;
pub mod commands;
mod damage;
pub mod devices;
pub mod heartbeats;
pub mod hot;
pub mod keysets;
pub mod limits;
pub mod logs;
pub mod presence;
pub mod punches;
pub mod releases;
pub mod retention;
pub mod rollouts;
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod updates;
pub mod writer;

use std::{net::IpAddr, time::Duration};

use ks_protocol::{id::Sequence, time::UnixMs};

pub use damage::Damage;
pub(crate) use sqlite::BUSY_TIMEOUT;
pub use sqlite::{
    SCHEMA_VERSION, SqliteReader, SqliteStore,
    file::{
        place::free_bytes,
        write_access::{holder, unwritable, unwritable_folder},
    },
    has_log, refuse_lost, torn_log,
};
pub use writer::{Reader, Writer};

use accounts::{AccountReads, AccountRows};
use audit::{AuditReads, PrunedAuditRows};
use commands::{CommandReads, CommandRows};
use devices::{DeviceReads, DeviceRows};
use heartbeats::{HeartbeatReads, HeartbeatRows};
use keysets::{KeysetReads, KeysetRows};
use limits::{LimitReads, LimitRows};
use logs::{LogReads, LogRows};
use presence::{PresenceReads, PresenceRows};
use punches::{PunchReads, PunchRows};
use releases::{ReleaseReads, ReleaseRows};
use rollouts::{RolloutReads, RolloutRows};
use updates::{UpdateReads, UpdateRows};

/// A store that makes writes durable.
pub trait Store: Send {
    /// Runs `group` in one transaction, in which each write sees the earlier ones. Once this returns, all of it survives
    /// `kill -9` (and a power cut, with `STORE_SYNCHRONOUS=full`).
    ///
    /// # Errors
    /// The store or `group` failed; nothing of it is stored.
    fn commit(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
    /// How long it still takes until the last commit is durable: 0 for a store whose `commit` waits for that.
    fn durable_in(&self) -> Duration {
        Duration::ZERO
    }
    /// The store is damaged: closing it must leave all files unchanged, so that operators can recover data.
    fn leave_files(&mut self);
}

/// What can be written. Times and randomness are parameters: the store has neither clock nor random numbers. Rows read in a
/// transaction are not changed by others until it ends: rules read, decide, and write.
///
/// SQLite has one writer, so that holds for every read. A store in which several servers write must read these rows with a lock
/// until the end of the transaction (`SELECT ... FOR UPDATE`), or else run transactions one after the other:
///
/// - the head of the audit, before each appended line: the chain has one end;
/// - states and devices ([`DeviceRows::states`], `states_of`, `device`), one-time tokens (`otrt`) and known keys: revoking,
///   registering, editing or re-keying a device is decided on its row; a key that is not stored yet needs its unique index;
/// - the states of devices, by `take_pairs` and `take_beats` themselves, which are conditional writes, in an order of rows that is the
///   same for every server (two batches that lock the same devices in different orders wait for each other);
/// - orders by name, by client token, and their terms: no piece is queued twice;
/// - commands ([`CommandRows::commands_named`], `waiting_commands`, `open_commands`, `overdue_commands`);
/// - the next line numbers of devices ([`LogRows::next_line_nos`]), whose row `take_pairs` has locked already;
/// - rollouts by name, with the updates in them ([`UpdateRows::open_updates`], `updates_in`, `waiting_updates`), and releases;
/// - the newest keyset and the server keys; the newest limits; accounts, sessions and tokens.
///
/// Followed rows and numbers must become visible in their order ([`StoreReader`]): a store that assigns numbers before it commits
/// takes one lock for those tables first.
pub trait Transaction:
    AccountRows
    + PrunedAuditRows
    + CommandRows
    + DeviceRows
    + HeartbeatRows
    + KeysetRows
    + LimitRows
    + LogRows
    + PresenceRows
    + PunchRows
    + ReleaseRows
    + RolloutRows
    + UpdateRows
{
}

/// The queries of a store; they see committed data only. Rows and numbers used for paging and following increase in the order of
/// commits: a reader that has seen one misses none below it.
pub trait StoreReader:
    Send
    + AccountReads
    + AuditReads
    + CommandReads
    + DeviceReads
    + HeartbeatReads
    + KeysetReads
    + LimitReads
    + LogReads
    + PresenceReads
    + PunchReads
    + ReleaseReads
    + RolloutReads
    + UpdateReads
{
    /// Begins a query, and with it the store's time limit for readers.
    fn begin(&mut self);
    /// Maps the error of the last query to a timeout, if it was stopped by the time limit.
    fn given_up(&self, error: StoreError) -> StoreError;
    /// Checks that the store's files are still in place; returns the length of the write-ahead log in bytes.
    ///
    /// # Errors
    /// [`StoreError::Misplaced`].
    fn in_place(&mut self) -> Result<u64, StoreError>;
    /// Free bytes on the store's disk; none if unknown.
    fn disk_free_bytes(&mut self) -> Option<u64>;
    /// The newest positions that servers follow.
    fn newest(&mut self) -> Result<Newest, StoreError>;
}

/// The newest positions that servers follow: each server keeps them in memory and applies what another one changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Row of the last device; 0 before the first.
    pub device: i64,
    /// The number of the last change of a device; 0 before the first.
    pub device_change: i64,
    /// Row of the last command; 0 before the first.
    pub command: i64,
    /// The version of the last keyset; 0 before the first.
    pub keyset_version: u64,
    /// The version of the limits applied last; 0 before the first.
    pub limits_version: u64,
    /// Row of the last decision of a rollout; 0 before the first.
    pub decision: i64,
}

/// Why a store failed or refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database failed: disk full, I/O error.
    #[error("the database failed: {0}")]
    Database(String),
    /// The database's files were moved, deleted or replaced, so writes to them are lost; with the details.
    #[error(
        "{0} while the server runs, so no write is stored any longer: put back the original file, or stop the server, \
         put the database and its -wal in place, and start it"
    )]
    Misplaced(String),
    /// The database is damaged; with the details.
    #[error(
        "the database is damaged ({0}), so no write is stored any longer: stop the server, put the database, its -wal and its -shm \
         aside, restore a backup, and start it"
    )]
    Damaged(String),
    /// The transaction can be retried: it conflicted with another one, or the connection was lost before the commit. Nothing was
    /// written. The writer retries it, and reports this only after too many attempts; with the cause.
    #[error("the database gave up the transaction after several retries: {0}")]
    Retry(String),
    /// Another program has locked the database; nothing was written.
    #[error("another program is writing to the database")]
    Busy,
    /// A query was stopped at its time limit.
    #[error("the query took longer than {max_s} s and was stopped: request less, such as one device or a shorter time")]
    TooLong {
        /// The time limit.
        max_s: u64,
    },
    /// The write queue is full.
    #[error("the write queue is full")]
    QueueFull,
    /// The store has been shut down.
    #[error("the store has been shut down")]
    Closed,
}

/// Who makes a change, from where, and when: recorded in the audit with every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A user, a token, a device, a tool.
    pub name: String,
    /// The request's network address; none for a tool on the server's own machine.
    pub address: Option<IpAddr>,
    pub at: UnixMs,
}

/// Why the store denied a device's write; the store makes the final check of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    Unknown,
    NotRegistered,
    Revoked,
    /// The pair is not greater than the stored one.
    Stale {
        /// The greatest pair that is stored.
        kept: Sequence,
    },
    /// The key is not the whitelisted one.
    KeyMismatch,
    /// The device has another key than the one that verified the request.
    KeyReplaced,
    /// A token is required.
    OtrtRequired,
    /// The token is unknown, expired or bound to another device or model.
    OtrtInvalid,
    /// The token was used by another device or key.
    OtrtUsed,
    /// A device has or had the new key.
    KeyInUse,
}

/// One step of a scan that deletes or closes old rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneStep {
    /// Rows deleted or closed.
    pub rows: usize,
    /// Where the next step begins; none when the scan is complete.
    pub next_after: Option<i64>,
}

/// The rows read by one step of a scan, at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    pub rows: usize,
    /// The last of them.
    pub last: i64,
    /// The earliest time in them.
    pub oldest: UnixMs,
}
