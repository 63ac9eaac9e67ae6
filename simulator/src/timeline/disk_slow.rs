//! `do = "disk_slow"`: commits of the server's store take long.

use std::time::Duration;

use super::{Check, Kind, Step, StepBehavior, StepContext, disk, kind, later};
use crate::scenario::{check::value::duration_in, limits, problem::Problems, reader::Reader};

/// Each commit of the server's store takes a while. Rehearsals only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskSlow {
    pub length: Duration,
    /// How long each commit takes.
    pub commit: Duration,
}

pub(super) const KIND: Kind = kind! {
    "disk_slow", "a `disk_slow` step", nature, read,
    "Each commit of the server takes that long, so that it stores `COMMIT_GROUP_MAX` writes in that time; in a rehearsal, commits take no time otherwise. Of steps that overlap the slowest counts. Rehearsals only.",
    "for": "duration", "required", "`\"1ms\"` to `\"90d\"`", "how long";
    "commit": "duration", "required", "`\"1ms\"` to `\"10m\"`", "how long each commit takes";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let length = table.duration("for", problems);
    let commit = table.duration("commit", problems);
    Box::new(move |judge| {
        let is_possible = judge.only_rehearsed();
        let length = judge.length(length);
        let commit = judge.required(commit, "commit", "commit = \"100ms\"");
        let commit = duration_in("commit", commit, &limits::DELAY, judge.problems);
        let (length, commit) = (length?, commit?.value);
        is_possible.then_some(Step::DiskSlow(DiskSlow { length, commit }))
    })
}

impl StepBehavior for DiskSlow {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let (disk, commit) = (disk(context.run_context)?, self.commit);
        disk.slow_down(commit);
        later(context.run_context, self.length, "disk_slow_ended", move || disk.hasten(commit));
        Ok(())
    }

    fn fault(&self, _: Duration) -> Option<Duration> {
        Some(self.length)
    }
}
