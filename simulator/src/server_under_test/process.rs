//! The server as seen by the timeline: a process that can be stopped and started again.

use std::{future::Future, pin::Pin, rc::Rc, time::Duration};

/// When a server stops that was ordered to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopPoint {
    Now,
    /// Just before the next commit: nothing of it is stored. Rehearsals only.
    BeforeCommit,
    /// Just after the next commit, before any answer is sent. Rehearsals only.
    AfterCommit,
}

impl StopPoint {
    pub const ALL: [Self; 3] = [Self::Now, Self::BeforeCommit, Self::AfterCommit];

    /// The word in scenarios.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::BeforeCommit => "before_commit",
            Self::AfterCommit => "after_commit",
        }
    }
}

/// How to restart a server.
pub struct Restart {
    /// By `kill -9` instead of gracefully.
    pub kill: bool,
    /// When it stops.
    pub moment: StopPoint,
    /// How long it is down.
    pub down_for: Duration,
    /// Called once it is back; never if something else has started it before.
    pub back: Box<dyn FnOnce()>,
}

/// Stops and restarts the server; an external server has none.
pub trait ServerProcess {
    /// Stops the server and starts it again on the same database.
    /// Completes when it has stopped, or has been ordered to stop at a later point.
    ///
    /// # Errors
    /// A sentence that says why it did not stop, or, if already known, why it did not start again.
    fn restart(self: Rc<Self>, order: Restart) -> ServerAction;

    /// Ensures that the server is running.
    ///
    /// # Errors
    /// A sentence that says why it is not running.
    fn ensure_running(self: Rc<Self>) -> ServerAction;

    /// Why the server has stopped, if it ended by itself.
    fn ended(&self) -> Option<String>;

    /// Its resource usage; none if it is not a separate process.
    fn usage(&self) -> Option<Usage> {
        None
    }
}

/// Resource usage of a server process.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds so far.
    pub cpu_s: f64,
    /// Peak resident memory since the last call, in bytes; none if the system does not provide it.
    pub rss_bytes: Option<u64>,
}

/// A pending change of a server's state.
pub type ServerAction = Pin<Box<dyn Future<Output = Result<(), String>>>>;
