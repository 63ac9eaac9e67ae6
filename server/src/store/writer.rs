//! The interface between handlers and a store: a queue in, groups to the store, replies after the commit.
//!
//! Two kinds of work wait in one queue: hot work, the devices' requests, and cold work, one closure each.
//! In a group, adjacent hot work is run as one batch.
//!
//! Each write tells the server's limit on writes in progress ([`Overload`]) how long it waited and how long its commit took.
//!
//! [`drive_writes`] and [`drive_reads`] are one loop each. Production runs them on separate threads, a rehearsal as
//! tasks of its single runtime; nothing else differs.

mod groups;
#[cfg(test)]
mod tests;

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
    Damage, Denied, StoreError, StoreReader, Transaction,
    devices::Sender,
    hot::{Hot, HotDone, HotRequest},
};
use crate::limit::Overload;

pub use groups::drive_writes;

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

/// Runs queries until every [`Reader`] is dropped.
pub async fn drive_reads(mut store: impl StoreReader, mut queue: mpsc::Receiver<Query>) {
    while let Some(question) = queue.recv().await {
        store.begin();
        question(&mut store);
    }
}
