//! Goal: every store satisfies every invariant of `store::testing`.

use ks_server::{
    config::{Locking, SqliteUse, Synchronous},
    conformance,
    store::{SqliteReader, SqliteStore, testing::AT},
};

/// A store, a second reader, and the folder of its file.
fn sqlite(locking: Locking) -> (SqliteStore, SqliteReader, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ks.sqlite");
    let store = SqliteStore::open(&path, SqliteUse { synchronous: Synchronous::Off, locking }, AT).unwrap();
    (store, SqliteReader::open(&path, locking).unwrap(), folder)
}

conformance!(sqlite_shared, sqlite(Locking::Shared));
conformance!(sqlite_exclusive, sqlite(Locking::Exclusive));

#[test]
fn commits_survive_reopening_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ks.sqlite");
    for round in 0..3 {
        let mut store = SqliteStore::open(&path, SqliteUse::shared(Synchronous::Full), AT).unwrap();
        let mut reader = SqliteReader::open(&path, Locking::Shared).unwrap();
        if round == 0 {
            ks_server::store::testing::heartbeats::beat_is_stored_once_and_read_back(&mut store, &mut reader);
        }
        assert_eq!(ks_server::store::heartbeats::HeartbeatReads::heartbeats(&mut reader, 0, 10).unwrap().len(), 2);
    }
}

#[test]
fn a_damaged_or_foreign_file_is_refused_with_its_path() {
    let folder = tempfile::tempdir().unwrap();
    let foreign = folder.path().join("foreign.sqlite");
    std::fs::write(&foreign, "this is no database at all, but it is long enough to look like one ".repeat(100))
        .unwrap();
    let error = SqliteStore::open(&foreign, SqliteUse::shared(Synchronous::Full), AT).err().unwrap();
    assert!(error.to_string().contains("foreign.sqlite"), "{error}");

    let truncated = folder.path().join("truncated.sqlite");
    drop(SqliteStore::open(&truncated, SqliteUse::shared(Synchronous::Full), AT).unwrap());
    let bytes = std::fs::read(&truncated).unwrap();
    std::fs::write(&truncated, &bytes[..bytes.len() / 2]).unwrap();
    let error = SqliteStore::open(&truncated, SqliteUse::shared(Synchronous::Full), AT).err().unwrap();
    assert!(error.to_string().contains("truncated.sqlite"), "{error}");
}
