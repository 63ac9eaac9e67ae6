//! `do = "disk_full"`: no commit of the server's store succeeds.

use std::time::Duration;

use super::{Check, Kind, Step, StepBehavior, StepContext, disk, kind, later};
use crate::scenario::{problem::Problems, reader::Reader};

/// No commit of the server's store succeeds. Rehearsals only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFull {
    pub length: Duration,
}

pub(super) const KIND: Kind = kind! {
    "disk_full", "a `disk_full` step", nature, read,
    "No commit of the server's store succeeds; some fail before anything of them has run, some after all of it has. Rehearsals only.",
    "for": "duration", "required", "`\"1ms\"` to `\"90d\"`", "how long";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let length = table.duration("for", problems);
    Box::new(move |judge| {
        let is_possible = judge.only_rehearsed();
        let length = judge.length(length)?;
        is_possible.then_some(Step::DiskFull(DiskFull { length }))
    })
}

impl StepBehavior for DiskFull {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let disk = disk(context.run_context)?;
        disk.fill();
        later(context.run_context, self.length, "disk_full_ended", move || disk.free());
        Ok(())
    }

    fn fault(&self, _: Duration) -> Option<Duration> {
        Some(self.length)
    }
}
