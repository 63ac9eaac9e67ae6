//! `do = "delay"`: the network delays requests and answers, so that they may arrive out of order.

use std::time::Duration;

use super::{Check, Kind, Step, StepBehavior, StepContext, add_network_fault, kind};
use crate::{
    link::faults::Fault,
    scenario::{check::value::duration_in, limits, problem::Problems, reader::Reader},
};

/// Delays requests and answers. Rehearsals only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    pub length: Duration,
    /// Maximum delay of a request or an answer; each is drawn from zero to this.
    pub longest: Duration,
}

pub(super) const KIND: Kind = kind! {
    "delay", "a `delay` step", nature, read,
    "Each request, and each answer, is delayed by a time drawn from zero to `longest`. One that a device has given up waiting for still arrives, so that what was sent later may come sooner. Rehearsals only.",
    "for": "duration", "required", "`\"1ms\"` to `\"90d\"`", "how long";
    "longest": "duration", "required", "`\"1ms\"` to `\"10m\"`", "maximum delay each way";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let length = table.duration("for", problems);
    let longest = table.duration("longest", problems);
    Box::new(move |judge| {
        let is_possible = judge.only_rehearsed();
        let length = judge.length(length);
        let longest = judge.required(longest, "longest", "longest = \"2s\"");
        let longest = duration_in("longest", longest, &limits::DELAY, judge.problems);
        let (length, longest) = (length?, longest?.value);
        is_possible.then_some(Step::Delay(Delay { length, longest }))
    })
}

impl StepBehavior for Delay {
    async fn act(&self, context: &mut StepContext<'_>) -> Result<(), String> {
        add_network_fault(context.run_context, self.length, Fault::Delayed(self.longest), "delay_ended");
        Ok(())
    }

    fn fault(&self, _: Duration) -> Option<Duration> {
        Some(self.length)
    }
}
