//! A check for damage before a database is used.

use std::path::Path;

use rusqlite::Connection;

use crate::{
    failure::{DatabaseFault, StartError},
    store::sqlite::in_short,
};

/// Most pages of a database that is checked completely at the start, about 80 MB.
const CHECKED_WHOLE_PAGES: i64 = 20_000;

/// Rows read at each end of every table at the start of a larger database.
const CHECKED_ROWS: u32 = 100;

/// The result of a check that found a fault.
pub(in crate::store::sqlite) struct IntegrityFault {
    fault: DatabaseFault,
    why: String,
}

impl IntegrityFault {
    pub(in crate::store::sqlite) fn refused(self, path: &Path) -> StartError {
        StartError::UnusableDatabase { path: path.to_owned(), fault: self.fault.at(path), why: self.why }
    }
}

impl From<rusqlite::Error> for IntegrityFault {
    fn from(error: rusqlite::Error) -> Self {
        Self { fault: DatabaseFault::of_sqlite(&error), why: in_short(&error) }
    }
}

/// Checks for damage: a small database completely; in a larger one the schema and both ends of each table, since a full check
/// would take too long.
pub(in crate::store::sqlite) fn check_integrity(connection: &Connection) -> Result<(), IntegrityFault> {
    let pages: i64 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
    if pages < CHECKED_WHOLE_PAGES {
        let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        let is_sound = verdict == "ok";
        return if is_sound { Ok(()) } else { Err(IntegrityFault { fault: DatabaseFault::Damaged, why: verdict }) };
    }
    let tables: Vec<(String, String)> = connection
        .prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite%'")
        .and_then(|mut statement| statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect())?;
    for (table, sql) in tables {
        let order = if sql.contains("WITHOUT ROWID") { "1" } else { "rowid" };
        for direction in ["ASC", "DESC"] {
            let rows = format!("SELECT * FROM \"{table}\" ORDER BY {order} {direction} LIMIT {CHECKED_ROWS}");
            let read = connection.prepare(&rows).and_then(|mut statement| {
                let columns = statement.column_count();
                let mut rows = statement.query([])?;
                while let Some(row) = rows.next()? {
                    (0..columns).try_for_each(|column| row.get_ref(column).map(|_| ()))?;
                }
                Ok(())
            });
            read.map_err(|error| {
                let IntegrityFault { fault, why } = IntegrityFault::from(error);
                IntegrityFault { fault, why: format!("{table}: {why}") }
            })?;
        }
    }
    Ok(())
}
