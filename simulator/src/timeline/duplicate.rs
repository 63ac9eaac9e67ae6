//! `do = "duplicate"`: the network duplicates requests.

use std::time::Duration;

use super::{Check, Kind, Step, StepBehavior, StepContext, add_network_fault, kind};
use crate::{
    link::faults::Fault,
    scenario::{problem::Problems, reader::Reader},
};

/// Duplicates requests. Rehearsals only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    pub length: Duration,
    /// Share of duplicated requests, in basis points.
    pub share_bp: u16,
}

pub(super) const KIND: Kind = kind! {
    "duplicate", "a `duplicate` step", nature, read,
    "The network duplicates requests; the copy arrives up to 30 s after the first. Rehearsals only.",
    "for": "duration", "required", "`\"1ms\"` to `\"90d\"`", "how long";
    "share_bp": "whole number", "required", "0 to 10,000", "share of duplicated requests, in basis points";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let length = table.duration("for", problems);
    let share_bp = table.integer("share_bp", problems);
    Box::new(move |judge| {
        let is_possible = judge.only_rehearsed();
        let length = judge.length(length);
        let share_bp = judge.share_bp(share_bp);
        let (length, share_bp) = (length?, share_bp?);
        is_possible.then_some(Step::Duplicate(Duplicate { length, share_bp }))
    })
}

impl StepBehavior for Duplicate {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        add_network_fault(context.run_context, self.length, Fault::Duplicated(self.share_bp), "duplicate_ended");
        Ok(())
    }

    fn fault(&self, _: Duration) -> Option<Duration> {
        Some(self.length)
    }
}
