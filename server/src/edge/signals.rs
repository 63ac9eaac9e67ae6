//! What tells the server to stop: signals, or the end of standard input.

use std::io::Read as _;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::threads::thread;
use crate::failure::StartError;

/// What tells the server to stop.
pub(crate) struct Stop {
    terminated: Signal,
    interrupted: Signal,
    parent_gone: Option<oneshot::Receiver<()>>,
}

impl Stop {
    /// Listens from now on. Must be called on the runtime.
    pub(crate) fn listening(with_stdin: bool) -> Result<Self, StartError> {
        let heard = |kind| signal(kind).map_err(|cause| StartError::System { what: "listen to signals", cause });
        let (terminated, interrupted) = (heard(SignalKind::terminate())?, heard(SignalKind::interrupt())?);
        let parent_gone = if with_stdin { Some(stdin_ended()?) } else { None };
        Ok(Self { terminated, interrupted, parent_gone })
    }

    /// Completes when the server is told to stop.
    pub(crate) async fn told(&mut self) {
        let Self { terminated, interrupted, parent_gone } = self;
        let parent_gone = async {
            match parent_gone {
                Some(gone) => drop(gone.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = terminated.recv() => tracing::info!("SIGTERM: finishing what was accepted"),
            _ = interrupted.recv() => tracing::info!("SIGINT: finishing what was accepted"),
            () = parent_gone => tracing::info!("standard input ended: finishing what was accepted"),
        }
    }
}

/// Completes when standard input ends. Watched by a plain thread: it may sit in read() for ever, and must not hold up the
/// runtime's end.
fn stdin_ended() -> Result<oneshot::Receiver<()>, StartError> {
    let (ended, heard) = oneshot::channel();
    thread("stdin", move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        let _ = ended.send(());
    })?;
    Ok(heard)
}
