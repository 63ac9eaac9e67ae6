//! The interface between handlers and a store: a queue in, groups to the store, replies after the commit.
//!
//! Two kinds of work wait in one queue: hot work, the devices' requests, and cold work, one closure each.
//! In a group, adjacent hot work is run as one batch.
//!
//! Each write tells the server's limit on writes in progress ([`Overload`]) how long it waited and how long its commit took.
//!
//! [`drive_writes`] and [`drive_reads`] are one loop each. Production runs them on separate threads, a rehearsal as
//! tasks of its single runtime; nothing else differs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};

use super::{
    Damage, Denied, Store, StoreError, StoreReader, Transaction,
    devices::Sender,
    hot::{Hot, HotDone, HotRequest},
};
use crate::{limit::Overload, metrics::Metrics, rules};

/// Retries of a group whose transaction the store gave up, before it counts as a failure.
const RUN_AGAIN_MAX: usize = 8;

/// A write that waits for its commit.
#[expect(clippy::large_enum_variant, reason = "nearly all are the large one, and a box would cost each an allocation")]
enum Waiting {
    /// A request of a device. Adjacent ones are run together.
    Hot(HotWaiting),
    /// Anything else.
    Cold(Box<dyn Cold>),
}

struct HotWaiting {
    request: HotRequest,
    done: Option<Result<HotDone, Denied>>,
    reply: oneshot::Sender<Answer<Result<HotDone, Denied>>>,
}

/// A write's result, and how long its commit took.
struct Answer<T> {
    result: Result<T, StoreError>,
    commit: Duration,
}

trait Cold: Send {
    /// Runs it inside a transaction. May be run again, in another transaction, if the first one failed.
    fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), StoreError>;
    /// Sends its result to the caller.
    fn reply(self: Box<Self>, committed: Result<(), StoreError>, commit: Duration);
}

struct ColdWaiting<W, T> {
    write: W,
    done: Option<T>,
    reply: oneshot::Sender<Answer<T>>,
}

impl<T: Send, W: Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send> Cold for ColdWaiting<W, T> {
    fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), StoreError> {
        self.done = Some((self.write)(transaction)?);
        Ok(())
    }

    fn reply(self: Box<Self>, committed: Result<(), StoreError>, commit: Duration) {
        let Self { done, reply, .. } = *self;
        answer(done, reply, committed, commit);
    }
}

impl Waiting {
    fn reply(self, committed: Result<(), StoreError>, commit: Duration) {
        match self {
            Self::Hot(HotWaiting { done, reply, .. }) => answer(done, reply, committed, commit),
            Self::Cold(write) => write.reply(committed, commit),
        }
    }
}

fn answer<T>(done: Option<T>, reply: oneshot::Sender<Answer<T>>, committed: Result<(), StoreError>, commit: Duration) {
    let result = committed.and_then(|()| done.ok_or(StoreError::Closed));
    let _ = reply.send(Answer { result, commit }); // the caller may have gone; the write stays
}

/// A query that waits for its answer.
pub type Query = Box<dyn FnOnce(&mut dyn StoreReader) + Send>;

/// The handlers' access to writes; cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Waiting>,
    is_failing: Arc<AtomicBool>,
    cold_writes: Arc<AtomicU64>,
    damage: Damage,
    overload: Arc<Overload>,
}

/// The queued writes; [`drive_writes`] empties it.
pub struct WriteQueue {
    queue: mpsc::Receiver<Waiting>,
    is_failing: Arc<AtomicBool>,
    cold_writes: Arc<AtomicU64>,
    damage: Damage,
}

/// The handlers' access to queries; cheap to clone.
#[derive(Clone)]
pub struct Reader {
    queue: mpsc::Sender<Query>,
    damage: Damage,
    /// Held while a query waits and runs, for callers limited to one query at a time.
    turn: Option<Arc<Semaphore>>,
}

/// A writer and the queue that [`drive_writes`] empties; at most `queue_max` writes wait. None is accepted once `damage` is found.
pub fn writer(queue_max: usize, damage: &Damage) -> (Writer, WriteQueue) {
    let (sender, receiver) = mpsc::channel(queue_max);
    let (is_failing, cold_writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let overload = Overload::new(Duration::ZERO, 1, queue_max);
    let writer = Writer {
        queue: sender,
        is_failing: Arc::clone(&is_failing),
        cold_writes: Arc::clone(&cold_writes),
        damage: damage.clone(),
        overload,
    };
    (writer, WriteQueue { queue: receiver, is_failing, cold_writes, damage: damage.clone() })
}

/// A reader and the queue that [`drive_reads`] empties; damage that it finds is recorded in `damage`.
pub fn reader(queue_max: usize, damage: &Damage) -> (Reader, mpsc::Receiver<Query>) {
    let (sender, receiver) = mpsc::channel(queue_max);
    (Reader { queue: sender, damage: damage.clone(), turn: None }, receiver)
}

impl Writer {
    /// A writer whose writes are counted, and their waits measured, by `overload`. It refuses none itself.
    #[must_use]
    pub fn measured_by(self, overload: Arc<Overload>) -> Self {
        Self { overload, ..self }
    }

    /// What its writes are counted and measured by.
    pub fn overload(&self) -> &Arc<Overload> {
        &self.overload
    }

    /// Writes, and returns the write's result once it is durable.
    ///
    /// # Errors
    /// [`StoreError::QueueFull`] immediately when too many writes wait, [`StoreError::Damaged`] once damage was found, or the store's
    /// error.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue(Waiting::Cold(Box::new(ColdWaiting { write, done: None, reply })), answer).await
    }

    /// Number of ended writes that were not a device's request, failed ones included: only these change what servers follow.
    pub fn cold_writes(&self) -> u64 {
        self.cold_writes.load(Ordering::Acquire)
    }

    /// Writes a device's request in a batch with others, and returns its result once it is durable.
    ///
    /// # Errors
    /// The same.
    pub async fn hot<W: Hot>(&self, sender: Sender, work: W) -> Result<Result<W::Done, Denied>, StoreError> {
        let (reply, answer) = oneshot::channel();
        let request = HotRequest { sender, work: work.into() };
        match self.queue(Waiting::Hot(HotWaiting { request, done: None, reply }), answer).await? {
            Ok(done) => W::done(done).map(Ok).ok_or(StoreError::Closed),
            Err(denied) => Ok(Err(denied)),
        }
    }

    /// Queues a write, and returns its result. Its wait is measured until this task runs again, so that it includes that for a processor.
    async fn queue<T>(&self, waiting: Waiting, answer: oneshot::Receiver<Answer<T>>) -> Result<T, StoreError> {
        self.damage.check()?;
        let (in_progress, begun) = (self.overload.begin(), Instant::now());
        self.queue.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        let Answer { result, commit } = answer.await.map_err(|_| StoreError::Closed)?;
        in_progress.answered(begun.elapsed(), commit);
        result
    }

    /// Number of writes that wait for their commit.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Whether the database was found damaged.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn damage(&self) -> Result<(), StoreError> {
        self.damage.check()
    }

    /// Why writes fail now, if they do: the database is damaged, the last commit failed, or the store has ended.
    pub fn trouble(&self) -> Option<String> {
        if self.queue.is_closed() {
            return Some("the store has ended".to_owned());
        }
        if let Err(damaged) = self.damage.check() {
            return Some(damaged.to_string());
        }
        self.is_failing.load(Ordering::Relaxed).then(|| "the last commit failed; see the log".to_owned())
    }
}

impl Reader {
    /// A reader limited to one query at a time: all that share `turn` wait for one another, without delaying others.
    #[must_use]
    pub fn in_turn(&self, turn: Arc<Semaphore>) -> Self {
        Self { turn: Some(turn), ..self.clone() }
    }

    /// Runs a query and returns its result.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn StoreReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let _turn = match &self.turn {
            Some(turn) => Some(turn.acquire().await.map_err(|_| StoreError::Closed)?),
            None => None,
        };
        let (reply, answer) = oneshot::channel();
        let damage = self.damage.clone();
        let question: Query = Box::new(move |store| {
            let answer = question(store).map_err(|error| store.given_up(error));
            damage.note(&answer);
            let _ = reply.send(answer); // the caller may have gone
        });
        self.queue.send(question).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Empties the queue into `store` until every [`Writer`] is dropped: writes that wait together are committed together, and each
/// reply is sent only after its group is durable.
pub async fn drive_writes(mut store: impl Store, from: WriteQueue, group_max: usize, metrics: Arc<Metrics>) {
    let WriteQueue { mut queue, is_failing, cold_writes, damage } = from;
    let mut group: Vec<Waiting> = Vec::with_capacity(group_max);
    while queue.recv_many(&mut group, group_max).await > 0 {
        metrics.commit_group_size.observe(group.len() as f64);
        metrics.writes_waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        let cold = group.iter().filter(|waiting| matches!(waiting, Waiting::Cold(_))).count();
        // Writes that waited when the damage was found are refused too.
        let begun = Instant::now();
        let committed = damage.check().and_then(|()| commit(&mut store, &mut group, &metrics));
        let durable_in = store.durable_in();
        if !durable_in.is_zero() {
            tokio::time::sleep(durable_in).await;
        }
        let took = begun.elapsed();
        damage.note(&committed);
        match committed {
            Err(StoreError::Database(_) | StoreError::Retry(_)) if group.len() > 1 => {
                one_by_one(&mut store, &mut group, &metrics, &is_failing, &damage);
            }
            committed => {
                note(&committed, &metrics, &is_failing);
                group.drain(..).for_each(|waiting| waiting.reply(committed.clone(), took));
            }
        }
        cold_writes.fetch_add(cold as u64, Ordering::Release);
    }
    if damage.check().is_err() {
        store.leave_files();
    }
}

/// Commits a group in one transaction, and retries if the store gave it up.
fn commit(store: &mut impl Store, group: &mut [Waiting], metrics: &Metrics) -> Result<(), StoreError> {
    let begun = Instant::now();
    let mut run_again = 0;
    let committed = loop {
        let committed = store.commit(&mut |transaction| run(group, transaction));
        if !matches!(committed, Err(StoreError::Retry(_))) || run_again == RUN_AGAIN_MAX {
            break committed;
        }
        run_again += 1;
    };
    metrics.commit_seconds.observe(begun.elapsed().as_secs_f64());
    committed
}

/// Runs a group in the order of the queue: adjacent hot work in batches, the rest one by one.
fn run(mut group: &mut [Waiting], transaction: &mut dyn Transaction) -> Result<(), StoreError> {
    loop {
        let hot = group.iter().map_while(|waiting| match waiting {
            Waiting::Hot(hot) => Some(&hot.request),
            Waiting::Cold(_) => None,
        });
        let (batch, rest) = group.split_at_mut(rules::hot::batch_len(hot));
        run_batch(batch, transaction)?;
        group = match rest {
            [] => return Ok(()),
            [Waiting::Cold(write), rest @ ..] => {
                write.run(transaction)?;
                rest
            }
            rest => rest, // a repeated device begins the next batch
        };
    }
}

fn run_batch(batch: &mut [Waiting], transaction: &mut dyn Transaction) -> Result<(), StoreError> {
    if batch.is_empty() {
        return Ok(());
    }
    let mut hot: Vec<&mut HotWaiting> =
        batch.iter_mut().filter_map(|waiting| if let Waiting::Hot(hot) = waiting { Some(hot) } else { None }).collect();
    let requests: Vec<&HotRequest> = hot.iter().map(|hot| &hot.request).collect();
    let done = rules::hot::record(transaction, &requests)?;
    hot.iter_mut().zip(done).for_each(|(hot, done)| hot.done = Some(done));
    Ok(())
}

/// Commits each write of a failed group on its own, so that a write that the database refuses fails alone. Two failures in a row
/// mean that the database fails, and the rest is refused without a try.
fn one_by_one(
    store: &mut impl Store,
    group: &mut Vec<Waiting>,
    metrics: &Metrics,
    is_failing: &AtomicBool,
    damage: &Damage,
) {
    let mut failed_in_a_row = 0;
    let mut last = Ok(());
    for mut waiting in group.drain(..) {
        let begun = Instant::now();
        if failed_in_a_row < 2 {
            last = damage.check().and_then(|()| commit(store, std::slice::from_mut(&mut waiting), metrics));
            damage.note(&last);
            failed_in_a_row = if last.is_ok() { 0 } else { failed_in_a_row + 1 };
        }
        note(&last, metrics, is_failing);
        waiting.reply(last.clone(), begun.elapsed());
    }
}

/// Counts a commit, and logs when commits begin and cease to fail, once instead of for each of thousands.
fn note(committed: &Result<(), StoreError>, metrics: &Metrics, is_failing: &AtomicBool) {
    match committed {
        Ok(()) => {
            metrics.commits.inc();
            if is_failing.swap(false, Ordering::Relaxed) {
                tracing::warn!("commits succeed again");
            }
        }
        Err(error) => {
            metrics.commit_failures.inc();
            let was_failing = is_failing.swap(true, Ordering::Relaxed);
            // Damage is logged where it is found, and no commit succeeds afterwards.
            if !was_failing && !matches!(error, StoreError::Damaged(_)) {
                tracing::error!(%error, "commits fail; each write is refused until one succeeds again");
            }
        }
    }
}

/// Runs queries until every [`Reader`] is dropped.
pub async fn drive_reads(mut store: impl StoreReader, mut queue: mpsc::Receiver<Query>) {
    while let Some(question) = queue.recv().await {
        store.begin();
        question(&mut store);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        config::{Locking, SqliteUse, Synchronous},
        store::{
            SqliteReader, SqliteStore,
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
        assert_eq!(
            [before.unwrap(), first.unwrap(), second.unwrap(), third.unwrap()],
            [const { testing::NOTHING_DUE }; 4]
        );
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
}
