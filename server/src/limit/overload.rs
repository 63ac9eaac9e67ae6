//! A limit on writes in progress that follows how long they wait: more than the store can take is refused at once, the lowest class
//! first, instead of a queue that fills.
//!
//! Source: the gradient limit of adaptive concurrency (Netflix, "Performance Under Load", 2018; Envoy's adaptive concurrency filter):
//! once a window, limit = limit * (latency without a queue + what is tolerated) / latency, at least half of it, and a little more
//! while latency is good. Others estimate the latency without a queue; here it is known: a write waits for the commit under way, then
//! for its own. The latency is the smallest of a window, as in `CoDel` (RFC 8289, 2018, section 4.1): a burst is no standing queue.
//!
//! Pure: times are parameters. Counts are atomic, and a window is closed by the first request after it.

use std::{
    sync::{
        Arc, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use crate::clock::micros;

/// How long the smallest wait is sought, in microseconds.
const WINDOW_US: u64 = 100_000;
/// While none of the writes in progress is answered for longer, and for longer than three commits took, the store is stalled, in
/// microseconds.
const STALLED_US: u64 = 1_000_000;
/// The limit is never lower.
const LIMIT_MIN: usize = 16;
/// Nor lower than so many groups of one commit: that under way, and the next. With fewer the store would idle.
const GROUPS_MIN: usize = 2;
/// While writes wait no longer than is tolerated, the limit grows by this part of itself in each window.
const GROWTH: usize = 32;

/// What a request is for, as far as it decides who is served first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Anything of a device that has not registered, as far as memory knows: it may be denied again and again.
    Unproven,
    /// Log lines and downloads: they can wait.
    Logs,
    /// Heartbeats: the next one brings the same.
    Heartbeats,
    /// What must not wait: ACKs, punches, firmware statuses, key changes, and heartbeats that fetch commands.
    First,
}

impl Class {
    /// Every class, beginning with the one that is refused first.
    pub const ALL: [Self; 4] = [Self::Unproven, Self::Logs, Self::Heartbeats, Self::First];

    /// Its name in the API and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Logs => "logs",
            Self::Heartbeats => "heartbeats",
            Self::First => "first",
        }
    }

    /// How many writes may be in progress before a request of this class is refused: log lines leave half of the limit to others, and
    /// what must not wait may take four times as much, because it comes in bursts: a shift that begins. Who has not registered is served as
    /// heartbeats are: an overload may last, and a device that never registers is lost.
    fn share_of(self, limit: usize) -> usize {
        match self {
            Self::Logs => limit / 2,
            Self::Unproven | Self::Heartbeats => limit,
            Self::First => limit.saturating_mul(4),
        }
    }
}

/// The limit in force, and what it has refused.
#[derive(Debug)]
pub struct Overload {
    /// The longest standing wait that is tolerated, in microseconds; 0: nothing is refused.
    target_us: u64,
    limit_min: usize,
    limit_max: usize,
    limit: AtomicUsize,
    in_progress: AtomicUsize,
    /// Counts changes of the limit: a write that began before the last one says nothing about it.
    changes: AtomicU64,
    /// The smallest wait in this window; `u64::MAX` if none ended.
    least_us: AtomicU64,
    /// Whether any write was answered in this window.
    is_moving: AtomicBool,
    /// Most writes in progress in this window.
    most: AtomicUsize,
    /// How long the last commit took.
    commit_us: AtomicU64,
    /// When this window ends.
    ends_us: AtomicU64,
    /// The smallest wait of the last window in which a write was answered.
    delay_us: AtomicU64,
    /// Most writes in progress since the start.
    most_ever: AtomicUsize,
    /// When a write was answered, or none was in progress, last.
    moved_us: Mutex<u64>,
}

impl Overload {
    /// Nothing is refused until writes wait longer than `target`; if it is 0, nothing ever is. A commit takes up to `group_max` writes. The
    /// limit grows up to `limit_max`.
    pub fn new(target: Duration, group_max: usize, limit_max: usize) -> Arc<Self> {
        let limit_min = group_max.saturating_mul(GROUPS_MIN).max(LIMIT_MIN);
        let limit_max = limit_max.max(limit_min);
        Arc::new(Self {
            target_us: micros(target),
            limit_min,
            limit_max,
            limit: AtomicUsize::new(limit_max),
            in_progress: AtomicUsize::new(0),
            changes: AtomicU64::new(0),
            least_us: AtomicU64::new(u64::MAX),
            is_moving: AtomicBool::new(false),
            most: AtomicUsize::new(0),
            commit_us: AtomicU64::new(0),
            ends_us: AtomicU64::new(WINDOW_US),
            delay_us: AtomicU64::new(0),
            most_ever: AtomicUsize::new(0),
            moved_us: Mutex::default(),
        })
    }

    /// A write begins; it ends when the value is dropped.
    pub fn begin(self: &Arc<Self>) -> InProgress {
        let now = self.in_progress.fetch_add(1, Ordering::Relaxed) + 1;
        for most in [&self.most, &self.most_ever] {
            if now > most.load(Ordering::Relaxed) {
                most.fetch_max(now, Ordering::Relaxed);
            }
        }
        InProgress { overload: Arc::clone(self), changes: self.changes.load(Ordering::Relaxed) }
    }

    /// Whether a request of a class is served now; counts nothing.
    pub fn admits(&self, class: Class, now_us: u64) -> bool {
        if self.target_us == 0 {
            return true;
        }
        self.close_window(now_us);
        self.in_progress() < class.share_of(self.limit())
    }

    /// The longest standing wait that is tolerated, in microseconds; 0 if nothing is refused however long writes wait.
    pub fn target_us(&self) -> u64 {
        self.target_us
    }

    /// Heartbeats are refused while as many writes are in progress.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Writes in progress: those that wait, and those of the commit under way.
    pub fn in_progress(&self) -> usize {
        self.in_progress.load(Ordering::Relaxed)
    }

    /// The smallest wait in the last window in which a write was answered, in microseconds: beyond the commit under way when it came,
    /// and its own.
    pub fn delay_us(&self) -> u64 {
        self.delay_us.load(Ordering::Relaxed)
    }

    /// Most writes in progress since the start.
    pub fn most_ever(&self) -> usize {
        self.most_ever.load(Ordering::Relaxed)
    }

    /// Closes a window that has ended. The first request after it does so, and others do not wait for that one.
    fn close_window(&self, now_us: u64) {
        if now_us < self.ends_us.load(Ordering::Relaxed) {
            return;
        }
        let mut moved_us = match self.moved_us.try_lock() {
            Ok(moved_us) => moved_us,
            Err(TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(TryLockError::WouldBlock) => return,
        };
        if now_us < self.ends_us.load(Ordering::Relaxed) {
            return; // another request has just done it
        }
        self.ends_us.store(now_us + WINDOW_US, Ordering::Relaxed);
        let least_us = self.least_us.swap(u64::MAX, Ordering::Relaxed);
        let least_us = (least_us != u64::MAX).then_some(least_us);
        let now = self.in_progress();
        if self.is_moving.swap(false, Ordering::Relaxed) || now == 0 {
            *moved_us = now_us;
        }
        let commit_us = self.commit_us.load(Ordering::Relaxed);
        let stalled_us = commit_us.saturating_mul(3).max(STALLED_US);
        let window = Window {
            wait_us: least_us
                .or_else(|| (now == 0).then_some(0))
                .or_else(|| Some(now_us.saturating_sub(*moved_us)).filter(|still_us| *still_us > stalled_us)),
            commit_us,
            now,
            most: self.most.swap(now, Ordering::Relaxed),
        };
        let Some(wait_us) = window.wait_us else { return };
        self.delay_us.store(wait_us, Ordering::Relaxed);
        let before = self.limit();
        let next = window.next_limit(before, self.target_us).clamp(self.limit_min, self.limit_max);
        self.limit.store(next, Ordering::Relaxed);
        if next < before {
            self.changes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A write in progress.
#[derive(Debug)]
pub struct InProgress {
    overload: Arc<Overload>,
    changes: u64,
}

impl InProgress {
    /// It was answered so long after it began; its commit took `commit` of that.
    pub fn answered(&self, after: Duration, commit: Duration) {
        let (overload, after_us, commit_us) = (&self.overload, micros(after), micros(commit));
        overload.commit_us.store(commit_us, Ordering::Relaxed);
        overload.is_moving.store(true, Ordering::Relaxed);
        if overload.changes.load(Ordering::Relaxed) == self.changes {
            let wait_us = after_us.saturating_sub(commit_us.saturating_mul(2));
            overload.least_us.fetch_min(wait_us, Ordering::Relaxed);
        }
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.overload.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What happened in a window.
#[derive(Debug, Clone, Copy)]
struct Window {
    /// The smallest wait; none if nothing is known: all that is in progress waits for its first commit.
    wait_us: Option<u64>,
    commit_us: u64,
    /// Writes in progress at its end.
    now: usize,
    /// The most during it.
    most: usize,
}

impl Window {
    fn next_limit(&self, limit: usize, target_us: u64) -> usize {
        let Some(wait_us) = self.wait_us else { return limit };
        if self.now > limit + limit / 4 {
            return limit; // it has not had its effect yet
        }
        if wait_us <= target_us {
            return limit.saturating_add(limit / GROWTH + 1);
        }
        let without_queue_us = self.commit_us.saturating_mul(2);
        let (tolerated_us, latency_us) =
            (without_queue_us.saturating_add(target_us), without_queue_us.saturating_add(wait_us));
        let base = limit.min(self.most);
        let scaled =
            u128::try_from(base).unwrap_or(u128::MAX) * u128::from(tolerated_us) / u128::from(latency_us.max(1));
        usize::try_from(scaled).unwrap_or(usize::MAX).max(base / 2)
    }
}

#[cfg(test)]
mod tests;
