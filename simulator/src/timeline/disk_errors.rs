//! `do = "disk_errors"`: some commits of the server's store fail.

use std::time::Duration;

use super::{Check, Kind, Step, StepBehavior, StepContext, disk, kind, later};
use crate::scenario::{problem::Problems, reader::Reader};

/// Some commits of the server's store fail. Rehearsals only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskErrors {
    pub length: Duration,
    /// Share of failing commits, in basis points.
    pub share_bp: u16,
}

pub(super) const KIND: Kind = kind! {
    "disk_errors", "a `disk_errors` step", nature, read,
    "Like `disk_full`, for a share of the commits. Rehearsals only.",
    "for": "duration", "required", "`\"1ms\"` to `\"90d\"`", "how long";
    "share_bp": "whole number", "required", "0 to 10,000", "share of failing commits, in basis points";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let length = table.duration("for", problems);
    let share_bp = table.integer("share_bp", problems);
    Box::new(move |judge| {
        let is_possible = judge.only_rehearsed();
        let length = judge.length(length);
        let share_bp = judge.share_bp(share_bp);
        let (length, share_bp) = (length?, share_bp?);
        is_possible.then_some(Step::DiskErrors(DiskErrors { length, share_bp }))
    })
}

impl StepBehavior for DiskErrors {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        let (disk, share_bp) = (disk(context.run_context)?, self.share_bp);
        disk.fail(share_bp);
        later(context.run_context, self.length, "disk_errors_ended", move || disk.recover(share_bp));
        Ok(())
    }

    fn fault(&self, _: Duration) -> Option<Duration> {
        Some(self.length)
    }
}
