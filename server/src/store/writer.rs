//! The seam between handlers and a store: a queue in, groups to the store, replies after the commit.
//!
//! [`drive_writes`] and [`drive_reads`] are one loop each. Production runs them on threads of their own, a rehearsal
//! as tasks of its one runtime: that is all that differs, and it is wired at the edge.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::Instant,
};

use super::{Damage, Store, StoreError, StoreReader, Transaction};
use crate::metrics::Metrics;

/// A write that waits for its commit.
trait Waiting: Send {
    /// Runs it inside a transaction. May be run again, in another transaction, if the first one failed.
    fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), StoreError>;
    /// Tells whoever waits what became of it.
    fn reply(self: Box<Self>, committed: Result<(), StoreError>);
}

struct WaitingFor<W, T> {
    write: W,
    done: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T: Send, W: Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send> Waiting for WaitingFor<W, T> {
    fn run(&mut self, transaction: &mut dyn Transaction) -> Result<(), StoreError> {
        self.done = Some((self.write)(transaction)?);
        Ok(())
    }

    fn reply(self: Box<Self>, committed: Result<(), StoreError>) {
        let Self { done, reply, .. } = *self;
        let done = committed.and_then(|()| done.ok_or(StoreError::Closed));
        let _ = reply.send(done); // whoever asked may be gone; the write stands
    }
}

/// A question that waits for its answer.
pub type Question = Box<dyn FnOnce(&mut dyn StoreReader) + Send>;

/// What handlers hold to write: cheap to clone.
#[derive(Clone)]
pub struct Writer {
    queue: mpsc::Sender<Box<dyn Waiting>>,
    is_failing: Arc<AtomicBool>,
    damage: Damage,
}

/// What waits to be written; [`drive_writes`] empties it.
pub struct WriteQueue {
    queue: mpsc::Receiver<Box<dyn Waiting>>,
    is_failing: Arc<AtomicBool>,
    damage: Damage,
}

/// What handlers hold to read: cheap to clone.
#[derive(Clone)]
pub struct Reader {
    queue: mpsc::Sender<Question>,
    damage: Damage,
    /// Held while a question waits and is answered, by whoever must not ask two at a time.
    turn: Option<Arc<Semaphore>>,
}

/// A writer and the queue that [`drive_writes`] empties; at most `queue_max` writes wait. None is taken once `damage` is found.
pub fn writer(queue_max: usize, damage: &Damage) -> (Writer, WriteQueue) {
    let (sender, receiver) = mpsc::channel(queue_max);
    let is_failing = Arc::new(AtomicBool::new(false));
    let writer = Writer { queue: sender, is_failing: Arc::clone(&is_failing), damage: damage.clone() };
    (writer, WriteQueue { queue: receiver, is_failing, damage: damage.clone() })
}

/// A reader and the queue that [`drive_reads`] empties; what it finds damaged is noted in `damage`.
pub fn reader(queue_max: usize, damage: &Damage) -> (Reader, mpsc::Receiver<Question>) {
    let (sender, receiver) = mpsc::channel(queue_max);
    (Reader { queue: sender, damage: damage.clone(), turn: None }, receiver)
}

impl Writer {
    /// Writes, and comes back once the write is durable, with what it gave.
    ///
    /// # Errors
    /// [`StoreError::QueueFull`] at once when too many writes wait, [`StoreError::Damaged`] once damage was found; otherwise what
    /// the store says.
    pub async fn write<T: Send + 'static>(
        &self,
        write: impl Fn(&mut dyn Transaction) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.damage.check()?;
        let (reply, answer) = oneshot::channel();
        let waiting = Box::new(WaitingFor { write, done: None, reply });
        self.queue.try_send(waiting).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => StoreError::QueueFull,
            mpsc::error::TrySendError::Closed(_) => StoreError::Closed,
        })?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Writes that wait for their commit now.
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

    /// Why nothing can be stored now, if so: the database is damaged, the last commit failed, or the store has ended.
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
    /// The same for one who asks one question at a time: all that share `turn` wait for one another, and nobody else for them.
    #[must_use]
    pub fn in_turn(&self, turn: Arc<Semaphore>) -> Self {
        Self { turn: Some(turn), ..self.clone() }
    }

    /// Asks the store, and comes back with its answer.
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
        let question: Question = Box::new(move |store| {
            let answer = question(store).map_err(|error| store.given_up(error));
            damage.note(&answer);
            let _ = reply.send(answer); // whoever asked may be gone
        });
        self.queue.send(question).await.map_err(|_| StoreError::Closed)?;
        answer.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Empties the queue into `store` until every [`Writer`] is gone: what waits together is committed together, and each
/// reply leaves only after its group is durable.
pub async fn drive_writes(mut store: impl Store, from: WriteQueue, group_max: usize, metrics: Arc<Metrics>) {
    let WriteQueue { mut queue, is_failing, damage } = from;
    let mut group: Vec<Box<dyn Waiting>> = Vec::with_capacity(group_max);
    while queue.recv_many(&mut group, group_max).await > 0 {
        metrics.commit_group_size.observe(group.len() as f64);
        metrics.writes_waiting.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        // What waited when the damage was found is refused with the rest.
        let committed = damage.check().and_then(|()| commit(&mut store, &mut group, &metrics));
        damage.note(&committed);
        match committed {
            Err(StoreError::Database(_)) if group.len() > 1 => {
                one_by_one(&mut store, &mut group, &metrics, &is_failing, &damage);
            }
            committed => {
                note(&committed, &metrics, &is_failing);
                group.drain(..).for_each(|waiting| waiting.reply(committed.clone()));
            }
        }
    }
    if damage.check().is_err() {
        store.leave_files();
    }
}

/// Commits a group in one transaction.
fn commit(store: &mut impl Store, group: &mut [Box<dyn Waiting>], metrics: &Metrics) -> Result<(), StoreError> {
    let begun = Instant::now();
    let committed = store.commit(&mut |transaction| group.iter_mut().try_for_each(|waiting| waiting.run(transaction)));
    metrics.commit_seconds.observe(begun.elapsed().as_secs_f64());
    committed
}

/// Commits each of a group that failed on its own, so that a write that the database refuses fails alone. When two in a row
/// fail, it is the database, and the rest is refused untried.
fn one_by_one(
    store: &mut impl Store,
    group: &mut Vec<Box<dyn Waiting>>,
    metrics: &Metrics,
    is_failing: &AtomicBool,
    damage: &Damage,
) {
    let mut failed_in_a_row = 0;
    let mut last = Ok(());
    for mut waiting in group.drain(..) {
        if failed_in_a_row < 2 {
            last = damage.check().and_then(|()| commit(store, std::slice::from_mut(&mut waiting), metrics));
            damage.note(&last);
            failed_in_a_row = if last.is_ok() { 0 } else { failed_in_a_row + 1 };
        }
        note(&last, metrics, is_failing);
        waiting.reply(last.clone());
    }
}

/// Counts a commit, and says when they begin and cease to fail: once, and not for each of thousands.
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
            // Of damage it is said when it is found, whoever finds it, and none succeeds again.
            if !was_failing && !matches!(error, StoreError::Damaged(_)) {
                tracing::error!(%error, "commits fail; each write is refused until one succeeds again");
            }
        }
    }
}

/// Answers questions until every [`Reader`] is gone.
pub async fn drive_reads(mut store: impl StoreReader, mut queue: mpsc::Receiver<Question>) {
    while let Some(question) = queue.recv().await {
        store.begin();
        question(&mut store);
    }
}
