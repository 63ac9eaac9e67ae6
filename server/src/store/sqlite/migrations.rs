//! Versioned migrations: each is applied once, in order, in one transaction, and remembered with its hash.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use sha2::{Digest, Sha256};

use super::Schema;

/// Every migration: version, name, SQL. Never edit one that has been released; add the next.
const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "initial", include_str!("migrations/0001_initial.sql")),
    (2, "history_of_a_device", include_str!("migrations/0002_history_of_a_device.sql")),
];

/// Every table that they create.
const TABLES: &[&str] = &[
    "artifacts",
    "audit",
    "audit_base",
    "audit_head",
    "command_orders",
    "commands",
    "device_changes",
    "device_heartbeats",
    "device_keys",
    "device_labels",
    "device_logs",
    "device_states",
    "devices",
    "firmware_history",
    "keysets",
    "limit_sets",
    "observation_gaps",
    "orders_under_way",
    "otrts",
    "punches",
    "releases",
    "rollout_decisions",
    "rollouts",
    "server_alive",
    "server_keys",
    "tokens",
    "update_counts",
    "updates",
    "users",
];

/// The current schema version.
pub const LATEST: i64 = 2;

/// Why the schema could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub(super) enum MigrateError {
    /// The file was written by a newer program.
    #[error("its schema has version {found}, this program knows up to {LATEST}; use the newer program")]
    TooNew { found: i64 },
    /// The file was written by an older program, and this one may not change it.
    #[error("its schema has version {found}, this program has {LATEST}")]
    TooOld { found: i64 },
    /// The file has no tables.
    #[error("it is empty")]
    Empty,
    /// The file has tables, none of them of this program.
    #[error("it has a table `{table}` and is not a database of this program")]
    Foreign { table: String },
    /// A table of this program is missing.
    #[error("its table `{table}` is missing")]
    Missing { table: &'static str },
    /// A migration that was applied differs from the one in this program.
    #[error("migration {version} was applied with different content")]
    Changed { version: i64 },
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
}

/// Refuses a database that has only other programs' tables; changes nothing.
pub(super) fn refuse_foreign(connection: &Connection) -> Result<(), MigrateError> {
    let tables = tables(connection)?;
    match tables.first() {
        Some(table) if !tables.contains("schema_migrations") => Err(MigrateError::Foreign { table: table.clone() }),
        _ => Ok(()),
    }
}

/// Refuses a database whose schema is not exactly this program's; changes nothing.
pub(super) fn refuse_other(connection: &Connection) -> Result<(), MigrateError> {
    refuse_foreign(connection)?;
    let tables = tables(connection)?;
    if tables.is_empty() {
        return Err(MigrateError::Empty);
    }
    let found: Option<i64> =
        connection.query_row("SELECT max(version) FROM schema_migrations", [], |row| row.get(0))?;
    match found {
        Some(LATEST) => {}
        Some(found) if found > LATEST => return Err(MigrateError::TooNew { found }),
        found => return Err(MigrateError::TooOld { found: found.unwrap_or(0) }),
    }
    match TABLES.iter().find(|table| !tables.contains(**table)) {
        Some(table) => Err(MigrateError::Missing { table }),
        None => Ok(()),
    }
}

/// Brings the schema to [`LATEST`], as far as `schema` allows; returns the versions applied now. `now_ms` is recorded with them.
pub(super) fn migrate(connection: &mut Connection, schema: Schema, now_ms: u64) -> Result<Vec<i64>, MigrateError> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS schema_migrations (
            version INTEGER PRIMARY KEY, name TEXT NOT NULL, sha256 BLOB NOT NULL, applied_at INTEGER NOT NULL
        ) STRICT;",
    )?;
    let found: Option<i64> =
        transaction.query_row("SELECT max(version) FROM schema_migrations", [], |row| row.get(0)).optional()?.flatten();
    match found {
        Some(found) if found > LATEST => return Err(MigrateError::TooNew { found }),
        Some(found) if found < LATEST && schema == Schema::Match => return Err(MigrateError::TooOld { found }),
        _ => {}
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
    let tables = self::tables(&transaction)?;
    if let Some(table) = TABLES.iter().find(|table| !tables.contains(**table)) {
        return Err(MigrateError::Missing { table });
    }
    transaction.commit()?;
    Ok(applied)
}

fn tables(connection: &Connection) -> rusqlite::Result<BTreeSet<String>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'";
    connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_tables_is_what_the_migrations_make() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Schema::Migrate, 0).unwrap();
        let made = tables(&connection).unwrap();
        let listed = TABLES.iter().map(|table| (*table).to_owned()).chain(["schema_migrations".to_owned()]);
        assert_eq!(made, listed.collect());
        assert_eq!(MIGRATIONS.last().unwrap().0, LATEST);
    }

    #[test]
    fn what_is_not_ours_is_left_alone() {
        let foreign = Connection::open_in_memory().unwrap();
        refuse_foreign(&foreign).unwrap();
        foreign.execute_batch("CREATE TABLE songs (title TEXT)").unwrap();
        let refused = refuse_foreign(&foreign).unwrap_err();
        assert!(matches!(refused, MigrateError::Foreign { table } if table == "songs"));
        assert_eq!(tables(&foreign).unwrap().len(), 1);
    }

    #[test]
    fn a_table_that_is_gone_is_missed() {
        let mut connection = Connection::open_in_memory().unwrap();
        migrate(&mut connection, Schema::Migrate, 0).unwrap();
        connection.execute_batch("DROP TABLE audit").unwrap();
        let refused = migrate(&mut connection, Schema::Migrate, 0).unwrap_err();
        assert!(matches!(refused, MigrateError::Missing { table: "audit" }));
    }
}
