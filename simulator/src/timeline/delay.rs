//! `do = "delay"`: the network takes its time, so that what was sent later may arrive sooner.

use std::time::Duration;

use super::{Act, Check, Kind, Scene, Step, bad_weather, kind};
use crate::{
    link::faults::Bad,
    scenario::{check::value::duration_in, limits, problem::Problems, reader::Reader},
};

/// The network takes its time. Rehearsals only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delay {
    /// How long.
    pub length: Duration,
    /// The longest way of a request or an answer; each is drawn from nothing to this.
    pub longest: Duration,
}

pub(super) const KIND: Kind = kind! {
    "delay", "a `delay` step", nature, read,
    "Each request, and each answer, takes its time, drawn from nothing to `longest`. One that a device has given up waiting for still arrives, so that what was sent later may come sooner. Rehearsals only.",
    "for": "duration", "required", "`\"1ms\"` to `\"90d\"`", "how long";
    "longest": "duration", "required", "`\"1ms\"` to `\"10m\"`", "the longest way";
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

impl Act for Delay {
    async fn act(&self, scene: &mut Scene<'_>) -> Result<(), String> {
        bad_weather(scene.stage, self.length, Bad::Delayed(self.longest), "delay_ended");
        Ok(())
    }

    fn fault(&self, _: Duration) -> Option<Duration> {
        Some(self.length)
    }
}
