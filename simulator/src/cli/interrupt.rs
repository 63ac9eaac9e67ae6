//! Ctrl-C and other signals: the first one stops a run in an orderly way, a later one ends the program.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use super::{execute::quoted, output::complain};
use crate::{failure::Failure, host::stopwatch::Stopwatch};

/// A signal within this time of the first counts as the same one: `timeout` and some shells send each signal twice, to
/// the process and to its group, and nobody presses Ctrl-C twice that quickly.
const SAME_SIGNAL: Duration = Duration::from_millis(100);

/// When the program is ended: how often it checks whether the verdict is written, and the interval: 2 s in all.
const CONCLUSION_LOOKS: u32 = 100;
const CONCLUSION_PAUSE: Duration = Duration::from_millis(20);

/// The folder of a run whose verdict was shown and written. Both happen under one lock: ending the program waits for it.
#[derive(Clone, Default)]
pub(super) struct ConcludedRun(Arc<Mutex<Option<PathBuf>>>);

impl ConcludedRun {
    /// Shows a verdict and writes it into a folder.
    pub(super) fn by<T>(&self, folder: &Path, conclude: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut place = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = conclude()?;
        *place = Some(folder.to_owned());
        Ok(done)
    }

    /// The message for a user who ends the program now. Does not wait long for a verdict that can't be written, as into a full pipe.
    pub(super) fn last_message(&self) -> String {
        for _ in 0..CONCLUSION_LOOKS {
            if let Ok(place) = self.0.try_lock() {
                return place.as_ref().map_or_else(no_report, |folder| {
                    let folder = quoted(&folder.display().to_string());
                    format!("ended immediately: the verdict is final, and `ks-fleet report {folder}` draws its report")
                });
            }
            std::thread::sleep(CONCLUSION_PAUSE);
        }
        no_report()
    }
}

pub(super) fn no_report() -> String {
    "ended immediately, without a report".to_owned()
}

/// A flag that the first Ctrl-C, SIGTERM or SIGHUP sets; a later one ends the process.
pub(super) fn interruptible() -> Result<Arc<AtomicBool>, Failure> {
    interruptible_until(&ConcludedRun::default())
}

/// The same of a run that comes to a verdict.
pub(super) fn interruptible_until(concluded: &ConcludedRun) -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let failed = |error: std::io::Error| Failure::Machine { what: "handle signals", cause: error };
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(failed)?;
    let (flag, concluded) = (Arc::clone(&interrupted), concluded.clone());
    let listening = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut first: Option<(i32, Stopwatch)> = None;
        for signal in signals.forever() {
            match &first {
                None => first = Some((signal, Stopwatch::started())),
                Some((kind, since)) if *kind == signal && since.elapsed() < SAME_SIGNAL => {}
                Some(_) => {
                    complain(&concluded.last_message());
                    std::process::exit(130);
                }
            }
            flag.store(true, Ordering::Relaxed);
        }
    });
    listening.map(|_| interrupted).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_message_mentions_a_verdict_once_there_is_one() {
        let concluded = ConcludedRun::default();
        assert_eq!(concluded.last_message(), "ended immediately, without a report");
        let failed: Result<(), Failure> = concluded.by(Path::new("/x"), || Err(Failure::BadRequest("full".to_owned())));
        assert!(failed.is_err());
        assert_eq!(concluded.last_message(), "ended immediately, without a report");
        let (ending, said) = std::sync::mpsc::channel();
        concluded
            .by(Path::new("/a run"), || {
                let concluded = concluded.clone();
                let ended = std::thread::Builder::new().spawn(move || ending.send(concluded.last_message()));
                assert!(ended.is_ok());
                assert!(
                    said.recv_timeout(Duration::from_millis(100)).is_err(),
                    "it waits until the verdict is written"
                );
                Ok(())
            })
            .unwrap();
        let last_message = said.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(
            last_message,
            "ended immediately: the verdict is final, and `ks-fleet report '/a run'` draws its report"
        );
    }
}
