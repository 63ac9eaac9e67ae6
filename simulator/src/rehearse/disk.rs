//! The server's disk in a rehearsal: commits that fail, a disk that is full, and a crash around one commit.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ks_server::store::{Store, StoreError, Transaction};
use rand_chacha::ChaCha8Rng;

use crate::{link::in_process::InProcess, scenario::Moment, seed};

/// What becomes of commits from now on. Nobody in the server knows of it: it stands where the disk would.
pub struct Disk {
    network: InProcess,
    state: Mutex<State>,
    crashed: tokio::sync::Notify,
}

struct State {
    /// Faults that make the disk full; they may overlap.
    full: u32,
    /// Share of commits that fail, in basis points.
    errors_bp: u16,
    /// The server crashes around the next commit.
    crash: Option<Moment>,
    luck: ChaCha8Rng,
}

impl Disk {
    /// A sound disk of a server on that network.
    pub fn sound(network: InProcess, root_seed: u64) -> Self {
        let luck = seed::stream(root_seed, "server", "disk");
        let state = Mutex::new(State { full: 0, errors_bp: 0, crash: None, luck });
        Self { network, state, crashed: tokio::sync::Notify::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk is full from now on, until as many [`Disk::free`].
    pub fn fill(&self) {
        self.state().full += 1;
    }

    /// There is room again.
    pub fn free(&self) {
        let mut state = self.state();
        state.full = state.full.saturating_sub(1);
    }

    /// That share of commits fails from now on, in basis points.
    pub fn fail(&self, share_bp: u16) {
        self.state().errors_bp = share_bp;
    }

    /// The server crashes around its next commit: nobody hears what it would have said of it.
    pub fn crash_at(&self, moment: Moment) {
        self.state().crash = Some(moment);
    }

    /// Comes back once the server has crashed around a commit.
    pub async fn crashed(&self) {
        self.crashed.notified().await;
    }

    fn crash(&self) {
        self.network.take_down();
        self.crashed.notify_one();
    }
}

/// A store on that disk.
pub struct OnDisk<S> {
    /// The store itself.
    pub store: S,
    /// What it is on.
    pub disk: std::sync::Arc<Disk>,
}

impl<S: Store> Store for OnDisk<S> {
    fn commit(
        &mut self,
        group: &mut dyn FnMut(&mut dyn Transaction) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let (failure, crash) = {
            let mut state = self.disk.state();
            let is_unlucky = state.errors_bp > 0 && seed::below(&mut state.luck, 10_000) < u64::from(state.errors_bp);
            let failure = match state.full {
                1.. => Some("database or disk is full"),
                0 if is_unlucky => Some("disk I/O error"),
                0 => None,
            };
            (failure, state.crash.take())
        };
        let failed = |why: &str| Err(StoreError::Database(why.to_owned()));
        if crash == Some(Moment::BeforeCommit) {
            self.disk.crash();
            return failed("the server crashed before the commit");
        }
        let committed = match failure {
            Some(why) => failed(why),
            None => self.store.commit(group),
        };
        if crash == Some(Moment::AfterCommit) {
            self.disk.crash();
        }
        committed
    }
}
