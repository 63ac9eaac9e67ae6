//! The settings of every connection, and the write-ahead log that they share.

use std::{ffi::CStr, time::Duration};

use rusqlite::{Connection, config::DbConfig};

use crate::{
    config::{Locking, Synchronous},
    store::sqlite::columns::integer,
};

/// How long a commit waits for another program's write.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Pages of the write-ahead log after which SQLite copies it back: 4 000 pages of 4 KiB are 16 MB.
const WAL_AUTOCHECKPOINT_PAGES: i64 = 4_000;

/// Largest write-ahead log that is kept, in bytes: one that grew during a long read is truncated once no program reads.
pub(in crate::store::sqlite) const WAL_BYTES_KEPT: u64 = 32 * 1024 * 1024;

pub(in crate::store::sqlite) fn configure(connection: &Connection, synchronous: Synchronous) -> rusqlite::Result<()> {
    set_up(connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous.as_str())?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_AUTOCHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", integer(WAL_BYTES_KEPT))?;
    connection.pragma_update(None, "cache_size", -65_536)?; // 64 MiB
    Ok(())
}

/// SQLite's name for the locking mode (<https://www.sqlite.org/vfs.html>).
pub(in crate::store::sqlite) fn vfs(locking: Locking) -> &'static CStr {
    match locking {
        Locking::Shared => c"unix",
        Locking::Exclusive | Locking::Private => c"unix-excl",
    }
}

/// The settings of every connection.
pub(in crate::store::sqlite) fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise a prepared statement with a range would be prepared again whenever its bound changes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// Copies the write-ahead log back and truncates it; false if another program reads or writes.
pub(in crate::store::sqlite) fn truncate_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0)).map(|busy| busy == 0)
}
