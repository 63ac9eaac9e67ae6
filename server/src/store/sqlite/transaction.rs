//! A transaction that writes, begun and committed by statements that are prepared once.

use std::ops::Deref;

use rusqlite::Connection;

/// An open transaction. One that is dropped before its commit is rolled back.
///
/// That of `rusqlite` prepares `BEGIN` and `COMMIT` each time, a twelfth of the time of a transaction with one heartbeat.
pub(super) struct Transaction<'c> {
    connection: &'c Connection,
}

impl<'c> Transaction<'c> {
    /// Begins one with the write lock, so that no other writer can make it fail half-way.
    ///
    /// # Errors
    /// Another program holds the write lock for longer than the timeout, or the database can't be read.
    pub(super) fn begin(connection: &'c mut Connection) -> rusqlite::Result<Self> {
        run(connection, "BEGIN IMMEDIATE")?;
        Ok(Self { connection })
    }

    /// Prepares a statement, as the connection does, and counts it: each row's function prepares its statements once, so this is how
    /// many a store over a network would send.
    #[cfg(test)]
    pub(super) fn prepare_cached(&self, sql: &str) -> rusqlite::Result<rusqlite::CachedStatement<'_>> {
        tests::PREPARED.set(tests::PREPARED.get() + 1);
        self.connection.prepare_cached(sql)
    }

    /// Makes durable what was written.
    ///
    /// # Errors
    /// The commit failed; nothing is stored.
    pub(super) fn commit(self) -> rusqlite::Result<()> {
        run(self.connection, "COMMIT")
    }
}

fn run(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare_cached(sql)?.execute([]).map(|_| ())
}

impl Deref for Transaction<'_> {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        self.connection
    }
}

impl Drop for Transaction<'_> {
    fn drop(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = run(self.connection, "ROLLBACK")
        {
            tracing::error!(%error, "a transaction can't be rolled back");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use ks_protocol::{id::Sequence, text::Rows};

    use super::*;
    use crate::{
        config::{Locking, SqliteUse, Synchronous},
        rules,
        store::{
            SqliteReader, SqliteStore,
            hot::HotWork,
            testing::{self, commit},
        },
    };

    thread_local! {
        /// Statements prepared by this test.
        pub(super) static PREPARED: Cell<usize> = const { Cell::new(0) };
    }

    /// Statements prepared for a batch.
    fn prepared(store: &mut SqliteStore, batch: &[HotWork]) -> usize {
        let batch = commit(store, |store| testing::requests(store, batch));
        PREPARED.set(0);
        commit(store, |store| rules::hot::record(store, &batch.iter().collect::<Vec<_>>()));
        PREPARED.get()
    }

    #[test]
    fn the_statements_of_a_batch_do_not_depend_on_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ks.sqlite");
        let mut store = SqliteStore::open(&path, SqliteUse::shared(Synchronous::Off), testing::AT).unwrap();
        let mut reader = SqliteReader::open(&path, Locking::Shared).unwrap();
        let kinds = testing::hot::works_of_each_kind(&mut store, &mut reader, 40);
        for works in &kinds {
            let requests = commit(&mut store, |store| testing::requests(store, works));
            assert_eq!(rules::hot::batch_len(&requests), works.len(), "one batch");
            let (one, others) = works.split_at(1);
            let alone = prepared(&mut store, one);
            assert_eq!(prepared(&mut store, others), alone, "{:?}", one[0]);
            assert_eq!(prepared(&mut store, works), prepared(&mut store, one), "refused as stale: {:?}", one[0]);
            assert!(alone > 1, "it changes more than the pair: {:?}", one[0]);
        }
        let quiet = |work: &HotWork| {
            let HotWork::Beat(mut beat) = work.clone() else { unreachable!("the first kind is heartbeats") };
            (beat.heartbeat.seq, beat.heartbeat.acks) = (Sequence::new(2, 9).seq, Rows::default());
            HotWork::Beat(beat)
        };
        let quiet: Vec<HotWork> = kinds[0].iter().map(quiet).collect();
        assert_eq!(
            prepared(&mut store, &quiet),
            5,
            "the check, the pair, the heartbeat (in two sizes), its update: no command is open"
        );
    }

    fn rows(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    #[test]
    fn committed_writes_stay_and_dropped_ones_do_not() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection.execute_batch("CREATE TABLE t (x TEXT)").unwrap();
        for expected in 1..=3 {
            let dropped = Transaction::begin(&mut connection).unwrap();
            dropped.execute("INSERT INTO t VALUES ('no')", []).unwrap();
            drop(dropped);
            let kept = Transaction::begin(&mut connection).unwrap();
            kept.execute("INSERT INTO t VALUES ('yes')", []).unwrap();
            kept.commit().unwrap();
            assert_eq!(rows(&connection), expected);
        }
    }

    #[test]
    fn a_failed_commit_stores_nothing_and_the_next_one_succeeds() {
        let mut connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(
                "PRAGMA foreign_keys = ON; CREATE TABLE p (id INTEGER PRIMARY KEY);
                 CREATE TABLE t (p INTEGER REFERENCES p (id) DEFERRABLE INITIALLY DEFERRED)",
            )
            .unwrap();
        let fails = Transaction::begin(&mut connection).unwrap();
        fails.execute("INSERT INTO t VALUES (7)", []).unwrap();
        assert!(fails.commit().is_err(), "no parent has id 7");
        assert_eq!(rows(&connection), 0);
        let works = Transaction::begin(&mut connection).unwrap();
        works.execute("INSERT INTO p VALUES (7)", []).unwrap();
        works.execute("INSERT INTO t VALUES (7)", []).unwrap();
        works.commit().unwrap();
        assert_eq!(rows(&connection), 1);
    }
}
