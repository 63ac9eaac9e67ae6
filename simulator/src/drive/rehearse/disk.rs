//! The server's disk in a rehearsal: commits that fail or are slow, a disk that is full, and a crash around one commit.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ks_server::store::{Store, StoreError, Transaction};
use rand_chacha::ChaCha8Rng;

use crate::{link::in_process::InProcess, seed, server_under_test::process::StopPoint};

/// Decides the outcome of commits. The server does not know of it: it replaces the real disk.
pub struct Disk {
    network: InProcess,
    state: Mutex<State>,
    crashed: tokio::sync::Notify,
}

struct State {
    /// Number of active faults that make the disk full; they may overlap.
    full: u32,
    /// Share of commits that fail, in basis points; overlapping faults add up.
    errors_bp: u64,
    /// How long each commit takes, of each active fault that makes the disk slow; the longest counts.
    slow: Vec<Duration>,
    /// The server crashes around the next commit.
    crash: Option<StopPoint>,
    luck: ChaCha8Rng,
}

impl State {
    /// The outcome of the next commit: why it fails, if it does, and whether only after all of it has run; and whether the
    /// server crashes around it.
    fn next_commit(&mut self) -> (Option<(&'static str, bool)>, Option<StopPoint>) {
        let crash = self.crash.take();
        let fails_by_draw = self.errors_bp > 0 && seed::below(&mut self.luck, 10_000) < self.errors_bp;
        let why = match (crash, self.full) {
            (Some(StopPoint::BeforeCommit), _) => Some("the server crashed before the commit"),
            (_, 1..) => Some("database or disk is full"),
            _ => fails_by_draw.then_some("disk I/O error"),
        };
        let failure = why.map(|why| (why, seed::below(&mut self.luck, 2) == 0));
        (failure, crash)
    }
}

impl Disk {
    /// A healthy disk of a server on `network`.
    pub fn healthy(network: InProcess, root_seed: u64) -> Self {
        let luck = seed::stream(root_seed, "server", "disk");
        let state = Mutex::new(State { full: 0, errors_bp: 0, slow: Vec::new(), crash: None, luck });
        Self { network, state, crashed: tokio::sync::Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fills the disk, until as many calls of [`Disk::free`].
    pub fn fill(&self) {
        self.state().full += 1;
    }

    /// Frees the disk again.
    pub fn free(&self) {
        let mut state = self.state();
        state.full = state.full.saturating_sub(1);
    }

    /// Lets a share of commits fail, in basis points, until [`Disk::recover`].
    pub fn fail(&self, share_bp: u16) {
        self.state().errors_bp += u64::from(share_bp);
    }

    /// Removes a share of failing commits.
    pub fn recover(&self, share_bp: u16) {
        let mut state = self.state();
        state.errors_bp = state.errors_bp.saturating_sub(share_bp.into());
    }

    /// Makes each commit take that long, until [`Disk::hasten`].
    pub fn slow_down(&self, commit: Duration) {
        self.state().slow.push(commit);
    }

    /// Ends what [`Disk::slow_down`] began.
    pub fn hasten(&self, commit: Duration) {
        let slow = &mut self.state().slow;
        if let Some(place) = slow.iter().position(|each| *each == commit) {
            slow.swap_remove(place);
        }
    }

    /// Ends all faults and pending crashes: the run is over.
    pub fn repair(&self) {
        let mut state = self.state();
        (state.full, state.errors_bp, state.crash) = (0, 0, None);
        state.slow.clear();
    }

    /// Crashes the server around its next commit: no answer to it leaves the server.
    pub fn crash_at(&self, moment: StopPoint) {
        self.state().crash = Some(moment);
    }

    /// Returns once the server has crashed around a commit.
    pub async fn crashed(&self) {
        self.crashed.notified().await;
    }

    fn crash(&self) {
        self.network.take_down();
        self.crashed.notify_one();
    }
}

/// A store on a [`Disk`].
pub struct OnDisk<S> {
    pub store: S,
    pub disk: std::sync::Arc<Disk>,
}

impl<S: Store> Store for OnDisk<S> {
    fn leave_files(&mut self) {
        self.store.leave_files();
    }

    fn durable_in(&self) -> Duration {
        self.disk.state().slow.iter().max().copied().unwrap_or_default()
    }

    fn commit(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (failure, crash) = self.disk.state().next_commit();
        let Some((why, is_late)) = failure else {
            let committed = self.store.commit(group);
            if crash == Some(StopPoint::AfterCommit) {
                self.disk.crash();
            }
            return committed;
        };
        let failed = || StoreError::Database(why.to_owned());
        let committed = if is_late {
            // All of it runs but can't be made durable: the store rolls it back.
            self.store.commit(&mut |transaction| group(transaction).and_then(|()| Err(failed())))
        } else {
            Err(failed())
        };
        if crash.is_some() {
            self.disk.crash();
        }
        committed
    }
}
