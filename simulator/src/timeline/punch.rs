//! `do = "punch"`: a shift starts. Devices take the time from the plan, so the step itself does nothing.

use super::{Check, Kind, Step, StepBehavior, kind};
use crate::scenario::{check::value::integer_in, limits, problem::Problems, reader::Reader};

/// A shift starts: employees punch at every device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Punch {
    /// Punches at each device: 1 to 1,000.
    pub per_device: u32,
}

pub(super) const KIND: Kind = kind! {
    "punch", "a `punch` step", nature, read,
    "A shift starts: employees punch at every device. A device that is not switched on yet, or knows that it is revoked, gets none.",
    "per_device": "whole number", "required", "1 to 1,000", "punches at each device";
};

fn read(table: &Reader<'_>, problems: &mut Problems) -> Check {
    let per_device = table.integer("per_device", problems);
    Box::new(move |judge| {
        let per_device = judge.required(per_device, "per_device", "per_device = 1");
        let per_device = integer_in::<u32>("per_device", per_device, &limits::PUNCHES, judge.problems)?;
        Some(Step::Punch(Punch { per_device: per_device.value }))
    })
}

impl StepBehavior for Punch {}
