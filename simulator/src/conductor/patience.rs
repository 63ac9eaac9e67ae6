//! How long is waited for the server and the fleet once a person asked to end the run.

use std::time::Duration;

use super::Observer;
use crate::resources::Stopwatch;

/// How often it is looked whether a person ends the run, while something is waited for.
const LOOK_FOR_STOP_EVERY: Duration = Duration::from_millis(100);

/// How long is waited once a person asked to end the run: all that is waited for together takes no longer.
pub(super) struct Patience {
    limit: Duration,
    asked: Option<Stopwatch>,
    /// What was not waited for to its end, in a sentence each.
    pub(super) lost: Vec<String>,
}

impl Patience {
    pub(super) fn of(limit: Duration) -> Self {
        Self { limit, asked: None, lost: Vec::new() }
    }

    /// Waits for `work`; none if a person has waited long enough for it, which `doing` says.
    pub(super) async fn wait<T>(
        &mut self,
        observer: &dyn Observer,
        doing: &str,
        work: impl Future<Output = T>,
    ) -> Option<T> {
        let (limit, asked) = (self.limit, &mut self.asked);
        let given_up = async {
            while !(observer.wants_to_stop() && asked.get_or_insert_with(Stopwatch::started).elapsed() >= limit) {
                tokio::time::sleep(LOOK_FOR_STOP_EVERY).await;
            }
        };
        let done = tokio::select! {
            biased;
            done = work => Some(done),
            () = given_up => None,
        };
        if done.is_none() {
            self.lost.push(format!("stopped by a person {doing}: what came of it was not judged"));
        }
        done
    }
}
