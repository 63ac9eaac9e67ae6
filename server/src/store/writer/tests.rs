//! Groups against the SQLite store: order, failures, retries.

use super::{groups::RUN_AGAIN_MAX, *};
use crate::{
    config::{Locking, SqliteUse, Synchronous},
    metrics::Metrics,
    rules,
    store::{
        SqliteReader, SqliteStore, Store,
        devices::Selector,
        heartbeats::{Beat, Due, HeartbeatReads as _},
        testing,
    },
};

/// A store that gives up a number of commits before one succeeds.
struct GivesUp {
    store: SqliteStore,
    times: usize,
    runs: Arc<std::sync::atomic::AtomicUsize>,
}

impl Store for GivesUp {
    fn commit(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.runs.fetch_add(1, Ordering::Relaxed);
        let Some(times) = self.times.checked_sub(1) else { return self.store.commit(group) };
        self.times = times;
        self.store.commit(&mut |transaction| {
            group(transaction)?;
            Err(StoreError::Retry("serialization failure".to_owned()))
        })
    }

    fn leave_files(&mut self) {
        self.store.leave_files();
    }
}

/// Writes two heartbeats and a closure as one group to a store that gives up that often. Returns their results, the number of
/// commits tried, and the failures counted.
async fn written(times: usize) -> (Vec<Result<bool, StoreError>>, usize, u64) {
    let (_folder, store, _) = with_two_devices();
    let runs = Arc::default();
    let store = GivesUp { store, times, runs: Arc::clone(&runs) };
    let (writer, writes) = writer(8, &Damage::default());
    let metrics = Arc::new(Metrics::default());
    let all = async {
        let (first, second, third) = tokio::join!(
            writer.hot(of("KS-1"), beat("KS-1", 2)),
            writer.write(|_| Ok(())),
            writer.hot(of("KS-2"), beat("KS-2", 2))
        );
        let is_ok = |beat: Result<Result<Due, Denied>, StoreError>| beat.map(|beat| beat.is_ok());
        drop(writer);
        vec![is_ok(first), second.map(|()| true), is_ok(third)]
    };
    let (results, ()) = tokio::join!(all, drive_writes(store, writes, 8, Arc::clone(&metrics)));
    (results, runs.load(Ordering::Relaxed), metrics.commit_failures.get())
}

/// A new store with the registered devices KS-1 and KS-2, and its file.
fn with_two_devices() -> (tempfile::TempDir, SqliteStore, SqliteReader) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ks.sqlite");
    let mut store = SqliteStore::open(&path, SqliteUse::shared(Synchronous::Off), testing::AT).unwrap();
    testing::two_devices(&mut store);
    let reader = SqliteReader::open(&path, Locking::Shared).unwrap();
    (folder, store, reader)
}

/// One of these two devices with its first key; their rows are their numbers.
fn of(device_id: &str) -> Sender {
    Sender { row: device_id.trim_start_matches("KS-").parse().unwrap(), key_no: 1 }
}

fn beat(device_id: &str, seq: u64) -> Beat {
    Beat { heartbeat: testing::sample_beat(device_id, (1, seq)), at: testing::AT }
}

#[tokio::test]
async fn hot_and_cold_work_is_run_in_the_order_of_the_queue() {
    let (_folder, store, mut reader) = with_two_devices();
    let (writer, writes) = writer(8, &Damage::default());
    let metrics = Arc::new(Metrics::default());
    let one = Selector { device_ids: Some(vec!["KS-1".parse().unwrap()]), ..Selector::default() };
    let all = async {
        let results = tokio::join!(
            writer.hot(of("KS-1"), beat("KS-1", 2)),
            writer.hot(of("KS-2"), beat("KS-2", 2)),
            writer.write(move |store| rules::devices::revoke(store, &one, "stolen", &testing::by())),
            writer.hot(of("KS-2"), beat("KS-2", 3)),
            writer.hot(of("KS-1"), beat("KS-1", 3)),
            writer.hot(of("KS-2"), beat("KS-2", 4)),
        );
        drop(writer);
        results
    };
    let (results, ()) = tokio::join!(all, drive_writes(store, writes, 8, Arc::clone(&metrics)));
    let (before, first, revoked, second, behind, third) = results;
    assert_eq!(revoked.unwrap().revoked.len(), 1);
    assert_eq!([before.unwrap(), first.unwrap(), second.unwrap(), third.unwrap()], [const { testing::NOTHING_DUE }; 4]);
    assert_eq!(behind.unwrap(), Err(Denied::Revoked));
    assert_eq!(metrics.commits.get(), 1, "they were one group");
    assert_eq!(pairs(&mut reader), [("KS-1", 2), ("KS-2", 2), ("KS-2", 3), ("KS-2", 4)].map(of_text));
}

#[tokio::test]
async fn a_write_that_the_database_refuses_fails_alone() {
    let (_folder, store, mut reader) = with_two_devices();
    let (writer, writes) = writer(8, &Damage::default());
    let metrics = Arc::new(Metrics::default());
    let refused = |store: &mut dyn Transaction| {
        testing::record(store, &testing::sample_beat("KS-1", (1, 9)), testing::AT)?.unwrap();
        Err::<(), _>(StoreError::Database("a constraint".to_owned()))
    };
    let all = async {
        let results = tokio::join!(
            writer.hot(of("KS-1"), beat("KS-1", 2)),
            writer.write(refused),
            writer.hot(of("KS-1"), beat("KS-1", 3))
        );
        drop(writer);
        results
    };
    let (results, ()) = tokio::join!(all, drive_writes(store, writes, 8, Arc::clone(&metrics)));
    let (before, alone, behind) = results;
    assert_eq!(alone, Err(StoreError::Database("a constraint".to_owned())));
    assert_eq!([before.unwrap(), behind.unwrap()], [const { testing::NOTHING_DUE }; 2]);
    assert_eq!((metrics.commits.get(), metrics.commit_failures.get()), (2, 1));
    assert_eq!(pairs(&mut reader), [("KS-1", 2), ("KS-1", 3)].map(of_text));
}

#[tokio::test]
async fn a_result_of_a_run_that_was_rolled_back_is_not_answered() {
    let (_folder, store, _) = with_two_devices();
    let (writer, writes) = writer(8, &Damage::default());
    let one = Selector { device_ids: Some(vec!["KS-1".parse().unwrap()]), ..Selector::default() };
    let is_first = AtomicBool::new(true);
    let refused = || StoreError::Database("a constraint".to_owned());
    let all = async {
        let results = tokio::join!(
            // Succeeds in the group, which fails, and is refused alone.
            writer.write(move |store| {
                rules::devices::revoke(store, &one, "stolen", &testing::by())?;
                if is_first.swap(false, Ordering::Relaxed) { Ok(()) } else { Err(refused()) }
            }),
            writer.hot(of("KS-1"), beat("KS-1", 2)),
            writer.write(move |_| Err::<(), _>(refused())),
        );
        drop(writer);
        results
    };
    let (results, ()) = tokio::join!(all, drive_writes(store, writes, 8, Arc::new(Metrics::default())));
    assert_eq!((results.0, results.2), (Err(refused()), Err(refused())));
    assert_eq!(results.1.unwrap(), testing::NOTHING_DUE, "it was not revoked");
}

fn of_text((device_id, seq): (&str, u64)) -> (String, u64) {
    (device_id.to_owned(), seq)
}

/// The stored heartbeats in their order.
fn pairs(reader: &mut SqliteReader) -> Vec<(String, u64)> {
    let beats = reader.heartbeats(0, 99).unwrap();
    beats.into_iter().map(|beat| (beat.device_id.to_string(), beat.sequence.seq.get())).collect()
}

#[tokio::test]
async fn a_given_up_transaction_is_retried_and_is_no_failure() {
    let done = vec![Ok(true), Ok(true), Ok(true)];
    for times in [0, 1, RUN_AGAIN_MAX] {
        assert_eq!(written(times).await, (done.clone(), times + 1, 0));
    }
}

#[tokio::test]
async fn a_transaction_that_is_always_given_up_fails_eventually() {
    let (results, runs, failures) = written(usize::MAX).await;
    assert!(results.iter().all(|result| matches!(result, Err(StoreError::Retry(_)))), "{results:?}");
    assert_eq!((runs, failures), (3 * (RUN_AGAIN_MAX + 1), 3), "together, then two alone; the third is not tried");
}
