//! The seam between handlers and a store: a queue in, groups to the store, replies after the commit.
//!
//! [`drive_writes`] and [`drive_reads`] are one loop each. Production runs them on threads of their own, a rehearsal
//! as tasks of its one runtime: that is all that differs, and it is wired at the edge.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

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
pub struct Writer(mpsc::Sender<Waiting>);

/// What handlers hold to read: cheap to clone.
#[derive(Clone)]
pub struct Reader(mpsc::Sender<Question>);

/// A writer and the queue that [`drive_writes`] empties; at most `queue_max` writes wait.
pub fn writer(queue_max: usize) -> (Writer, mpsc::Receiver<Waiting>) {
    let (sender, receiver) = mpsc::channel(queue_max);
    (Writer(sender), receiver)
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
        self.0.try_send(Waiting { write, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Writes that wait for their commit now.
    pub fn waiting(&self) -> usize {
        self.0.max_capacity() - self.0.capacity()
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
pub async fn drive_writes(
    mut store: impl Store,
    mut queue: mpsc::Receiver<Waiting>,
    group_max: usize,
    metrics: Arc<Metrics>,
) {
    let mut waiting = Vec::with_capacity(group_max);
    let mut group = Vec::with_capacity(group_max);
    let mut replies = Vec::with_capacity(group_max);
    while queue.recv_many(&mut waiting, group_max).await > 0 {
        for Waiting { write, reply } in waiting.drain(..) {
            group.push(write);
            replies.push(reply);
        }
        metrics.commit_group_size.observe(group.len() as f64);
        let outcomes = store.commit(&group);
        group.clear();
        match outcomes {
            Ok(outcomes) => {
                metrics.commits.inc();
                for (reply, outcome) in replies.drain(..).zip(outcomes) {
                    let _ = reply.send(Ok(outcome)); // whoever asked may be gone; the write stands
                }
            }
            Err(error) => {
                metrics.commit_failures.inc();
                tracing::error!(%error, "commit failed; every write of its group was refused");
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
