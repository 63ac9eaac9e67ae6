//! Copies the write-ahead log back into the database beside the writer.
//!
//! Left alone, SQLite copies the log in the commit that finds it long, and every write waits for it: 60 to 300 ms where a commit
//! takes 0.3 ms. Here a thread with a connection of its own copies nearly all of it while commits go on. The writer then copies the
//! few pages that were written meanwhile, after which the log begins again at its start.
//!
//! Source: <https://www.sqlite.org/wal.html>, section 2.1, "Checkpointing".

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
};

use rusqlite::{Connection, OpenFlags};

use super::connection::{configure, vfs};
use crate::config::{Locking, SqliteUse};

/// Pages of 4 KiB in the log from which it is copied back: 16 MB.
const COPIED_FROM_PAGES: u32 = 4_000;

/// Pages that the writer copies itself, since it would not be done sooner by asking again.
const REST_PAGES: u32 = 200;

/// Pages from which the writer copies all of them itself: the thread can't keep up, or could not be started.
const WRITER_COPIES_FROM_PAGES: u32 = 4 * COPIED_FROM_PAGES;

/// Pages between two attempts while a reader keeps the log from beginning again.
const AGAIN_AFTER_PAGES: u32 = 256;

/// The log of a database, as its writer knows it.
pub(in crate::store::sqlite) struct CopyBack {
    /// Pages in the log after the last commit.
    pages: Arc<AtomicU32>,
    /// From how many pages on it is copied next.
    next_pages: u32,
    /// Set by the thread when it has copied what it can.
    is_rest_left: Arc<AtomicBool>,
    /// None if the writer copies all itself.
    thread: Option<Thread>,
}

struct Thread {
    wake: SyncSender<()>,
    ended: JoinHandle<()>,
}

impl CopyBack {
    /// Takes over from SQLite what `writer` copies. A rehearsal's writer copies all itself: its commits take no virtual time.
    pub(in crate::store::sqlite) fn of(
        writer: &mut Connection,
        path: &Path,
        sqlite: SqliteUse,
    ) -> rusqlite::Result<Self> {
        let pages = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&pages);
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, in_log: i32| {
            counted.store(u32::try_from(in_log).unwrap_or(0), Relaxed);
            Ok(())
        }))?;
        let is_rest_left = Arc::new(AtomicBool::new(false));
        let thread = match sqlite.locking {
            Locking::Private => None,
            Locking::Shared | Locking::Exclusive => Thread::start(path, sqlite, &is_rest_left),
        };
        Ok(Self { pages, next_pages: COPIED_FROM_PAGES, is_rest_left, thread })
    }

    /// Copies the log if it is long, or has it copied.
    pub(in crate::store::sqlite) fn after_commit(&mut self, writer: &Connection) {
        let pages = self.pages.load(Relaxed);
        if pages < COPIED_FROM_PAGES {
            self.next_pages = COPIED_FROM_PAGES; // it began again
            return;
        }
        if pages < self.next_pages {
            return;
        }
        let copies_itself = self.thread.is_none() || pages >= WRITER_COPIES_FROM_PAGES;
        if copies_itself || self.is_rest_left.swap(false, Relaxed) {
            let _ = copy(writer); // busy: the thread copies; it is tried again
            self.next_pages = pages.saturating_add(AGAIN_AFTER_PAGES);
        } else if let Some(Thread { wake, .. }) = &self.thread
            && matches!(wake.try_send(()), Err(TrySendError::Disconnected(())))
        {
            self.thread = None;
        }
    }
}

impl Drop for CopyBack {
    fn drop(&mut self) {
        if let Some(Thread { wake, ended }) = self.thread.take() {
            drop(wake);
            let _ = ended.join(); // it logs its errors
        }
    }
}

impl Thread {
    /// Starts it; without one the writer copies all itself.
    fn start(path: &Path, sqlite: SqliteUse, is_rest_left: &Arc<AtomicBool>) -> Option<Self> {
        let (path, is_rest_left) = (path.to_owned(), Arc::clone(is_rest_left));
        let (wake, woken) = sync_channel::<()>(1);
        let started = std::thread::Builder::new().name("store-copy-back".to_owned()).spawn(move || {
            let mut connection = None;
            while woken.recv().is_ok() {
                let copied = match &connection {
                    Some(connection) => copy_most(connection),
                    None => open(&path, sqlite).and_then(|opened| copy_most(connection.insert(opened))),
                };
                if let Err(error) = copied {
                    tracing::warn!(%error, "the write-ahead log can't be copied back beside the writer, which does it itself");
                    return;
                }
                is_rest_left.store(true, Relaxed);
            }
        });
        match started {
            Ok(ended) => Some(Self { wake, ended }),
            Err(error) => {
                tracing::warn!(%error, "no thread for copying back the write-ahead log; the writer does it itself");
                None
            }
        }
    }
}

fn open(path: &Path, sqlite: SqliteUse) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::default() - OpenFlags::SQLITE_OPEN_CREATE;
    let connection = Connection::open_with_flags_and_vfs(path, flags, vfs(sqlite.locking))?;
    configure(&connection, sqlite.synchronous)?;
    Ok(connection)
}

/// Copies until little is left, or until a reader is in the way.
fn copy_most(connection: &Connection) -> rusqlite::Result<()> {
    let mut before = None;
    loop {
        let Some((in_log, copied)) = copy(connection)? else { return Ok(()) };
        if in_log.saturating_sub(copied) <= REST_PAGES || before >= Some(copied) {
            return Ok(());
        }
        before = Some(copied);
    }
}

/// Copies what no reader needs, without waiting: pages in the log, and how many of them have been copied. None if another copies.
fn copy(connection: &Connection) -> rusqlite::Result<Option<(u32, u32)>> {
    connection.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?.query_row([], |row| {
        let is_busy: bool = row.get(0)?;
        Ok((!is_busy).then_some((row.get(1)?, row.get(2)?)))
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::config::Synchronous;

    /// A database with its writer, whose log is copied as for `locking`.
    fn opened(folder: &Path, locking: Locking) -> (Connection, CopyBack) {
        let (path, sqlite) = (folder.join("ks.sqlite"), SqliteUse { synchronous: Synchronous::Off, locking });
        let mut writer = Connection::open_with_flags_and_vfs(&path, OpenFlags::default(), vfs(locking)).unwrap();
        configure(&writer, sqlite.synchronous).unwrap();
        let copy_back = CopyBack::of(&mut writer, &path, sqlite).unwrap();
        writer.execute("CREATE TABLE t (x BLOB)", []).unwrap();
        (writer, copy_back)
    }

    /// Commits a megabyte, about 257 pages.
    fn megabyte(writer: &Connection, copy_back: &mut CopyBack) -> u32 {
        writer.execute("INSERT INTO t VALUES (zeroblob(1048576))", []).unwrap();
        copy_back.after_commit(writer);
        copy_back.pages.load(Relaxed)
    }

    #[test]
    fn a_writer_on_its_own_lets_the_log_begin_again() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut copy_back) = opened(folder.path(), Locking::Private);
        assert!(copy_back.thread.is_none());
        let pages: Vec<u32> = (0..40).map(|_| megabyte(&writer, &mut copy_back)).collect();
        assert!(pages.iter().all(|pages| *pages < COPIED_FROM_PAGES + 300), "{pages:?}");
        assert!(pages.windows(2).filter(|pair| pair[1] < pair[0]).count() >= 2, "{pages:?}");
    }

    #[test]
    fn the_thread_copies_nearly_all_and_the_log_begins_again() {
        for locking in [Locking::Shared, Locking::Exclusive] {
            let folder = tempfile::tempdir().unwrap();
            let (writer, mut copy_back) = opened(folder.path(), locking);
            while megabyte(&writer, &mut copy_back) < COPIED_FROM_PAGES {}
            #[expect(clippy::disallowed_methods, reason = "waits for a thread, not for a time")]
            let began = Instant::now();
            while !copy_back.is_rest_left.load(Relaxed) {
                assert!(began.elapsed() < Duration::from_mins(2), "the thread does not answer");
                std::thread::sleep(Duration::from_millis(1));
            }
            let (in_log, copied) = copy(&writer).unwrap().unwrap();
            assert!(in_log >= COPIED_FROM_PAGES && in_log - copied <= REST_PAGES, "{copied} of {in_log}");
            let before = megabyte(&writer, &mut copy_back);
            assert!(before < 2 * COPIED_FROM_PAGES, "the log began again: {before}");
            let rows: i64 = writer.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
            assert!(rows >= 16, "{rows}");
        }
    }

    #[test]
    fn a_reader_does_not_make_every_commit_copy() {
        let folder = tempfile::tempdir().unwrap();
        let (writer, mut copy_back) = opened(folder.path(), Locking::Private);
        let reader = open(
            &folder.path().join("ks.sqlite"),
            SqliteUse { synchronous: Synchronous::Off, locking: Locking::Private },
        );
        let reader = reader.unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM t").unwrap();
        reader.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, i64>(0)).unwrap();
        while megabyte(&writer, &mut copy_back) < COPIED_FROM_PAGES {}
        let next = copy_back.next_pages;
        assert!(next >= COPIED_FROM_PAGES + AGAIN_AFTER_PAGES);
        writer.execute("INSERT INTO t VALUES (1)", []).unwrap();
        copy_back.after_commit(&writer);
        assert_eq!(copy_back.next_pages, next, "one more page is not worth an attempt");
        reader.execute_batch("COMMIT").unwrap();
        while megabyte(&writer, &mut copy_back) >= COPIED_FROM_PAGES {}
    }
}
