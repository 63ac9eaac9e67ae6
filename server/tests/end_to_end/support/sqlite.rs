//! SQLite itself, for tests that change, damage or lock its file. What is stored is asked by name in `stored.rs`, and changed by name in `changed.rs`.

use rusqlite::types::FromSql;

use super::{Server, WAIT_MAX, World};

impl World {
    /// A connection to the database, as another program would open it.
    pub(crate) fn sqlite(&self) -> rusqlite::Connection {
        let connection = rusqlite::Connection::open(self.database()).unwrap();
        connection.busy_timeout(WAIT_MAX).unwrap();
        connection
    }

    /// The single value that a query or a pragma returns.
    pub(crate) fn value<T: FromSql>(&self, sql: &str) -> T {
        self.sqlite().query_row(sql, [], |row| row.get(0)).unwrap()
    }
}

impl Server {
    /// Blocks every commit until the hold is dropped: another writer has SQLite's one write lock.
    /// The server gives up on a commit after 5 s.
    pub(crate) fn hold_commits(&self) -> CommitHold {
        let connection = self.sqlite();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        CommitHold { _connection: connection }
    }
}

/// Holds SQLite's write lock; dropping it lets commits continue.
pub(crate) struct CommitHold {
    _connection: rusqlite::Connection,
}
