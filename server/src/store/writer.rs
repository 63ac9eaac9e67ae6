//! The seam between handlers and a store: a queue in, groups to the store, replies after the commit.
//!
//! [`drive_writes`] and [`drive_reads`] are one loop each. Production runs them on threads of their own, a rehearsal
//! as tasks of its one runtime: that is all that differs, and it is wired at the edge.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use super::{Outcome, Store, StoreError, StoreReader, Write};
use crate::metrics::Metrics;

/// A write that waits for its commit.
pub struct Waiting {
    write: Write,
    reply: oneshot::Sender<Result<Outcome, StoreError>>,
}

/// A question that waits for its answer.
pub type Question = Box<dyn FnOnce(&mut dyn StoreReader) + Send>;

/// What handlers hold to write: cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Waiting>,
    is_failing: Arc<AtomicBool>,
}

/// What waits to be written; [`drive_writes`] empties it.
pub struct WriteQueue {
    queue: mpsc::Receiver<Waiting>,
    is_failing: Arc<AtomicBool>,
}

/// What handlers hold to read: cheap to clone.
#[derive(Clone)]
pub struct Reader(mpsc::Sender<Question>);

/// A writer and the queue that [`drive_writes`] empties; at most `queue_max` writes wait.
pub fn writer(queue_max: usize) -> (Writer, WriteQueue) {
    let (sender, receiver) = mpsc::channel(queue_max);
    let is_failing = Arc::new(AtomicBool::new(false));
    let writer = Writer { queue: sender, is_failing: Arc::clone(&is_failing) };
    (writer, WriteQueue { queue: receiver, is_failing })
}

/// A reader and the queue that [`drive_reads`] empties.
pub fn reader(queue_max: usize) -> (Reader, mpsc::Receiver<Question>) {
    let (sender, receiver) = mpsc::channel(queue_max);
    (Reader(sender), receiver)
}

impl Writer {
    /// Writes, and comes back once the write is durable.
    ///
    /// # Errors
    /// [`StoreError::QueueFull`] at once when too many writes wait; otherwise what the store says.
    pub async fn write(&self, write: Write) -> Result<Outcome, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Waiting { write, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Writes that wait for their commit now.
    pub fn waiting(&self) -> usize {
        self.queue.max_capacity() - self.queue.capacity()
    }

    /// Why nothing can be stored now, if so: the last commit failed, or the store has ended.
    pub fn trouble(&self) -> Option<&'static str> {
        if self.queue.is_closed() {
            return Some("the store has ended");
        }
        self.is_failing.load(Ordering::Relaxed).then_some("the last commit failed; see the log")
    }
}

impl Reader {
    /// Asks the store, and comes back with its answer.
    pub async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn StoreReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let question: Question = Box::new(move |store| {
            let _ = reply.send(question(store)); // whoever asked may be gone
        });
        self.0.send(question).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Empties the queue into `store` until every [`Writer`] is gone: what waits together is committed together, and each
/// reply leaves only after its group is durable.
pub async fn drive_writes(mut store: impl Store, from: WriteQueue, group_max: usize, metrics: Arc<Metrics>) {
    let WriteQueue { mut queue, is_failing } = from;
    let mut waiting = Vec::with_capacity(group_max);
    let mut group = Vec::with_capacity(group_max);
    let mut replies = Vec::with_capacity(group_max);
    while queue.recv_many(&mut waiting, group_max).await > 0 {
        for Waiting { write, reply } in waiting.drain(..) {
            group.push(write);
            replies.push(reply);
        }
        metrics.commit_group_size.observe(group.len() as f64);
        metrics.writes_waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        let begun = Instant::now();
        let outcomes = store.commit(&group);
        metrics.commit_seconds.observe(begun.elapsed().as_secs_f64());
        group.clear();
        match outcomes {
            Ok(outcomes) => {
                metrics.commits.inc();
                if is_failing.swap(false, Ordering::Relaxed) {
                    tracing::warn!("commits succeed again");
                }
                for (reply, outcome) in replies.drain(..).zip(outcomes) {
                    let _ = reply.send(Ok(outcome)); // whoever asked may be gone; the write stands
                }
            }
            Err(error) => {
                metrics.commit_failures.inc();
                // Once, and not for each of thousands: the disk may be full.
                if !is_failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(%error, "commits fail; each write is refused until one succeeds again");
                }
                for reply in replies.drain(..) {
                    let _ = reply.send(Err(error.clone()));
                }
            }
        }
    }
}

/// Answers questions until every [`Reader`] is gone.
pub async fn drive_reads(mut store: impl StoreReader, mut queue: mpsc::Receiver<Question>) {
    while let Some(question) = queue.recv().await {
        question(&mut store);
    }
}
