//! Where writes become durable: the traits, what can be written and read, and what comes back.
//!
//! A store is synchronous. [`writer`] drives it from a thread in production and from a task in a rehearsal; handlers hold a
//! [`Writer`] and a [`Reader`]. Each room has a file with its records, what can be written and what can be asked, and one of
//! the same name for each store.

pub mod accounts;
pub mod audit;
pub mod commands;
mod damage;
pub mod devices;
pub mod heartbeats;
pub mod hot;
pub mod keysets;
pub mod logs;
mod migrations;
pub mod presence;
pub mod punches;
pub mod releases;
pub mod retention;
pub mod rollouts;
mod sqlite;
#[cfg(feature = "testing")]
pub mod testing;
pub mod writer;

use std::net::IpAddr;

use ks_protocol::{id::Sequence, time::UnixMs};

pub use damage::Damage;
pub use migrations::{LATEST as SCHEMA_VERSION, MigrateError};
pub(crate) use sqlite::BUSY_TIMEOUT;
pub use sqlite::{
    SqliteReader, SqliteStore, has_log,
    held::{holder, unwritable, unwritable_folder},
    place::free_bytes,
    refuse_lost, torn_log,
};
pub use writer::{Reader, Writer};

use accounts::{AccountReads, AccountRows};
use audit::{AuditReads, PrunedAuditRows};
use commands::{CommandReads, CommandRows};
use devices::{DeviceReads, DeviceRows};
use heartbeats::{HeartbeatReads, HeartbeatRows};
use keysets::{KeysetReads, KeysetRows};
use logs::{LogReads, LogRows};
use presence::{PresenceReads, PresenceRows};
use punches::{PunchReads, PunchRows};
use releases::{ReleaseReads, ReleaseRows};
use rollouts::{RolloutReads, RolloutRows};

/// Where writes become durable.
pub trait Store: Send {
    /// Runs `group` in one transaction, in which each write sees those before it. Once this returns, all of it survives
    /// `kill -9` (and a power cut, with `STORE_SYNCHRONOUS=full`).
    ///
    /// # Errors
    /// The store failed, or `group` did, and nothing of it is stored.
    fn commit(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError>;
    /// The store is damaged: its end must leave all files as they are, for people to save what can be saved.
    fn leave_files(&mut self);
}

/// What can be written. Times and randomness are parameters: the store has neither clock nor random numbers. What has been read in a
/// transaction nobody else changes until it ends: rules read, decide, and write.
///
/// SQLite has one writer, so every read holds that already. A store in which several servers write must read these rows with a lock
/// until the end of the transaction (`SELECT ... FOR UPDATE`), or else run transactions one after the other:
///
/// - the head of the audit, before each line that is appended to it: the chain has one end;
/// - standings and devices ([`DeviceRows::standings`], `standings_of`, `device`), one-time tokens (`otrt`) and known keys: a device that
///   is revoked, registered, edited or given a key is decided on its row; a key that is not there yet needs its unique index;
/// - the states of devices, by `take_pairs` and `take_beats` themselves, which are conditional writes, in an order of rows that is the
///   same for every server (two batches that lock the same devices in different orders wait for each other);
/// - orders by name, by client token, and their terms: the same piece is not made twice;
/// - commands ([`CommandRows::commands_named`], `waiting_commands`, `open_commands`, `overdue_commands`);
/// - the next line numbers of devices ([`LogRows::next_line_nos`]), whose row `take_pairs` has locked already;
/// - rollouts by name, with the updates in them ([`RolloutRows::open_updates`], `updates_in`, `waiting_updates`), and releases;
/// - the newest keyset and the server keys; accounts, sessions and tokens.
///
/// Rows and numbers that are followed must become visible in their order ([`StoreReader`]): a store that gives numbers before it commits
/// takes one lock for those tables first.
pub trait Transaction:
    AccountRows
    + PrunedAuditRows
    + CommandRows
    + DeviceRows
    + HeartbeatRows
    + KeysetRows
    + LogRows
    + PresenceRows
    + PunchRows
    + ReleaseRows
    + RolloutRows
{
}

/// What can be asked of a store; sees what is committed and nothing else. Rows and numbers by which things are paged and followed
/// grow in the order of commits: who has seen one misses none below it.
pub trait StoreReader:
    Send
    + AccountReads
    + AuditReads
    + CommandReads
    + DeviceReads
    + HeartbeatReads
    + KeysetReads
    + LogReads
    + PresenceReads
    + PunchReads
    + ReleaseReads
    + RolloutReads
{
    /// A question begins: what it reads must not take longer than the store lets anybody hold up its files.
    fn begin(&mut self);
    /// Why the question that began last failed, where that is because it took too long.
    fn given_up(&self, error: StoreError) -> StoreError;
    /// Whether the store's files are where they were; gives the length of the write-ahead log in bytes.
    ///
    /// # Errors
    /// [`StoreError::Misplaced`].
    fn in_place(&mut self) -> Result<u64, StoreError>;
    /// Bytes that are free where the store grows; none if that can't be said.
    fn disk_free_bytes(&mut self) -> Option<u64>;
    /// How far what servers follow has come.
    fn newest(&mut self) -> Result<Newest, StoreError>;
}

/// How far what servers follow has come: each keeps it in memory, and takes over what another has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Newest {
    /// Row of the last device; 0 before the first.
    pub device: i64,
    /// The number of the last change of a device; 0 before the first.
    pub device_change: i64,
    /// The version of the last keyset; 0 before the first.
    pub keyset_version: u64,
    /// Row of the last decision of a rollout; 0 before the first.
    pub decision: i64,
}

/// Why a store could not do it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The database refused: disk full, I/O error.
    #[error("the database failed: {0}")]
    Database(String),
    /// The database's files are not where they were, so what is written to them is lost; with what happened to which.
    #[error(
        "{0} while the server runs, so nothing is stored any more: put back the very file that was there, or stop the server, \
         put the database and its -wal in place, and start it"
    )]
    Misplaced(String),
    /// The database is damaged; with what was found.
    #[error(
        "the database is damaged ({0}), so nothing is stored any more: stop the server, put the database, its -wal and its -shm \
         aside, restore a backup, and start it"
    )]
    Damaged(String),
    /// The transaction can be run again: another one was in its way, or the connection was lost before the commit. Nothing was
    /// written. The writer runs it again, and reports this only if it happens too often; with the cause.
    #[error("the database gave up the transaction, time and again: {0}")]
    Retry(String),
    /// Another program holds the database; nothing was written.
    #[error("another program is writing to the database")]
    Busy,
    /// A question was given up, because it took longer than one may.
    #[error(
        "the question took longer than {max_s} s and was given up: ask for less, such as one device or a shorter time"
    )]
    TooLong {
        /// How long one may take.
        max_s: u64,
    },
    /// More writes wait than the queue holds.
    #[error("more writes wait than the queue holds")]
    QueueFull,
    /// The store has been shut down.
    #[error("the store has been shut down")]
    Closed,
}

/// Who does something, from where, and when: what the audit keeps of every change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// A user, a token, a device, a tool.
    pub name: String,
    /// Where the request came from; none for a tool on the server's own machine.
    pub address: Option<IpAddr>,
    /// When.
    pub at: UnixMs,
}

/// Why the store would not take a device's write: the last word on each of these is its.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denied {
    /// No such device.
    Unknown,
    NotRegistered,
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
    /// The new key is or was somebody's.
    KeyInUse,
}

/// One step of a walk that deletes or closes what is old.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PruneStep {
    /// Rows deleted or closed.
    pub rows: usize,
    /// Where to look next; none when the walk is over.
    pub next_after: Option<i64>,
}

/// The rows that one step of a walk looks at, of which there is at least one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// How many.
    pub rows: usize,
    /// The last of them.
    pub last: i64,
    /// The earliest time in them.
    pub oldest: UnixMs,
}
