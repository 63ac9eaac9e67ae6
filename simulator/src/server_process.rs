//! The server as the timeline sees it: something that can be stopped and started again.

use std::{future::Future, pin::Pin, rc::Rc, time::Duration};

/// When a server that is to stop does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// At once.
    Now,
    /// When it is about to commit next: nothing of that is stored. Rehearsals only.
    BeforeCommit,
    /// When it has committed next, and told nobody yet. Rehearsals only.
    AfterCommit,
}

impl Moment {
    /// Every moment.
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

/// Who can stop the server and start it again; nobody can if the server is somebody else's.
pub trait ServerProcess {
    /// Stops the server, by `kill -9` or in peace, and starts it again on the same database, after `down_for` or at once.
    /// Comes back when it has stopped, or has got the order to stop at a later moment.
    ///
    /// # Errors
    /// A sentence that says why it did not stop, or, where that is known by now, why it did not come back.
    fn restart(self: Rc<Self>, kill: bool, moment: Moment, down_for: Duration) -> Acting;

    /// Sees to it that the server is up.
    ///
    /// # Errors
    /// A sentence that says why it is not.
    fn bring_up(self: Rc<Self>) -> Acting;

    /// Why the server runs no more, if it has ended by itself.
    fn ended(&self) -> Option<String>;

    /// What it has used; none where it is no process of its own.
    fn usage(&self) -> Option<Usage> {
        None
    }
}

/// What a server's process has used.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Usage {
    /// CPU seconds so far.
    pub cpu_s: f64,
    /// Resident memory at its peak since this was last asked, in bytes; none where the system can't say.
    pub rss_bytes: Option<u64>,
}

/// What is done to a server.
pub type Acting = Pin<Box<dyn Future<Output = Result<(), String>>>>;
