//! What stops the server: signals, or the end of standard input.

use std::io::Read as _;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::threads::thread;
use crate::failure::StartError;

/// What stops the server.
pub(crate) struct Stop {
    terminated: Signal,
    interrupted: Signal,
    parent_exited: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Listens from now on. Must be called on the runtime.
    pub(crate) fn listening(with_stdin: bool) -> Result<Self, StartError> {
        let listen = |kind| signal(kind).map_err(|cause| StartError::System { what: "listen to signals", cause });
        let (terminated, interrupted) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
        let parent_exited = if with_stdin { Some(stdin_ended()?) } else { None };
        Ok(Self { terminated, interrupted, parent_exited })
    }

    /// Completes when the server should stop.
    pub(crate) async fn requested(&mut self) {
        let Self { terminated, interrupted, parent_exited } = self;
        let parent_exited = async {
            match parent_exited {
                Some(exited) => drop(exited.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = terminated.recv() => tracing::info!("SIGTERM: finishing what was accepted"),
            _ = interrupted.recv() => tracing::info!("SIGINT: finishing what was accepted"),
            () = parent_exited => tracing::info!("standard input ended: finishing what was accepted"),
        }
    }
}

/// SIGHUP, which asks for the limits file to be read again.
pub(crate) struct Reload(Signal);

impl Reload {
    /// Listens from now on; without it, the signal ends the process. Must be called on the runtime.
    pub(crate) fn listening() -> Result<Self, StartError> {
        let cause = |cause| StartError::System { what: "listen to signals", cause };
        signal(SignalKind::hangup()).map(Self).map_err(cause)
    }

    /// Completes at the next signal.
    pub(crate) async fn requested(&mut self) {
        if self.0.recv().await.is_none() {
            std::future::pending::<()>().await; // no signal can come any more
        }
    }
}

/// Completes when standard input ends. A plain thread reads it, because read() may block forever and must not delay the end of the
/// runtime.
fn stdin_ended() -> Result<oneshot::Receiver<()>, StartError> {
    let (ended, receiver) = oneshot::channel();
    thread("stdin", move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    })?;
    Ok(receiver)
}
