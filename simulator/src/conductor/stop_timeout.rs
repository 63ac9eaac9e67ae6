//! How long the run waits for the server and the fleet once the user has asked to stop.

use std::time::Duration;

use super::Observer;
use crate::host::stopwatch::Stopwatch;

/// How often a wait checks whether the user has asked to stop.
const STOP_CHECK_INTERVAL: Duration = Duration::from_millis(100);

/// The time left for all waits together once the user has asked to stop.
pub(super) struct StopTimeout {
    limit: Duration,
    asked: Option<Stopwatch>,
    /// Waits that were cut short, a sentence each.
    pub(super) lost: Vec<String>,
}

impl StopTimeout {
    pub(super) fn of(limit: Duration) -> Self {
        Self { limit, asked: None, lost: Vec::new() }
    }

    /// Waits for `work`; none if the timeout ended first. `doing` describes the wait.
    pub(super) async fn wait<T>(
        &mut self,
        observer: &dyn Observer,
        doing: &str,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let (limit, asked) = (self.limit, &mut self.asked);
        let given_up = async {
            while !(observer.wants_to_stop() && asked.get_or_insert_with(Stopwatch::started).elapsed() >= limit) {
                tokio::time::sleep(STOP_CHECK_INTERVAL).await;
            }
        };
        let done = tokio::select! {
            biased;
            done = work => Some(done),
            () = given_up => None,
        };
        if done.is_none() {
            self.lost.push(format!("stopped by the user while {doing}: its result was not judged"));
        }
        done
    }
}
