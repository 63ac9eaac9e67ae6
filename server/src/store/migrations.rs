//! Versioned migrations: each is applied once, in order, in one transaction, and remembered with its hash.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

/// Every migration: version, name, SQL. Never edit one that has been released; add the next.
const MIGRATIONS: &[(i64, &str, &str)] = &[(1, "initial", include_str!("migrations/0001_initial.sql"))];

/// The schema that this program writes.
pub const LATEST: i64 = 1;

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The file was written by a newer program.
    #[error("its schema has version {found}, this program knows up to {LATEST}; use the newer program")]
    TooNew {
        /// Version found.
        found: i64,
    },
    /// A migration that was applied differs from the one in this program.
    #[error("migration {version} was applied with other content than this program has")]
    Changed {
        /// Which.
        version: i64,
    },
    /// SQLite failed.
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

/// Brings the schema to [`LATEST`]; gives the versions applied now. `now_ms` is written beside them.
pub(super) fn migrate(connection: &mut Connection, now_ms: u64) -> Result<Vec<i64>, MigrateError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 BLOB NOT NULL, applied_at INTEGER NOT NULL
        ) STRICT;",
    )?;
    let found: Option<i64> =
        transaction.query_row("SELECT max(version) FROM schema_migrations", [], |row| row.get(0)).optional()?.flatten();
    if let Some(found) = found.filter(|found| *found > LATEST) {
        return Err(MigrateError::TooNew { found });
    }
    let mut applied = Vec::new();
    for (version, name, sql) in MIGRATIONS {
        let hash = Sha256::digest(sql.as_bytes());
        let known: Option<Vec<u8>> = transaction
            .query_row("SELECT sha256 FROM schema_migrations WHERE version = ?1", [version], |row| row.get(0))
            .optional()?;
        match known {
            Some(known) if known == hash.as_slice() => {}
            Some(_) => return Err(MigrateError::Changed { version: *version }),
            None => {
                transaction.execute_batch(sql)?;
                transaction.execute(
                    "INSERT INTO schema_migrations (version, name, sha256, applied_at) VALUES (?1, ?2, ?3, ?4)",
                    params![version, name, hash.as_slice(), i64::try_from(now_ms).unwrap_or(i64::MAX)],
                )?;
                applied.push(*version);
            }
        }
    }
    transaction.commit()?;
    Ok(applied)
}
