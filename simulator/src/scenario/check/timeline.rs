//! Checks `[[timeline]]` and sorts the steps. Each step's own keys are checked in its own file.

use std::time::Duration;

use ks_protocol::id::RolloutId;

use super::CheckContext;
use super::value::{at_most, duration_in, integer_in, named, one_of, or_default, required};
use crate::scenario::plan::{Mode, TimedStep};
use crate::scenario::problem::{Problem, Problems};
use crate::scenario::raw::RawStep;
use crate::scenario::reader::{At, Field};
use crate::scenario::source::Place;
use crate::{number::grouped, scenario::limits};
use ks_protocol::duration;

pub(crate) const BUILT_IN_PHASES: [&str; 2] = ["ramp", "steady"];

/// Checks all steps; none if one is invalid. Steps of the same time keep the order of the file.
pub(super) fn check(
    raw: Vec<RawStep>,
    known: &mut CheckContext<'_>,
    problems: &mut Problems,
) -> Option<Vec<TimedStep>> {
    let first_beyond = raw.get(limits::STEPS_MAX).map(|step| step.place);
    at_most(raw.len(), limits::STEPS_MAX, "[[timeline]]", first_beyond, problems);
    let count = raw.len();
    let mut seen = DeclaredNames::default();
    let raw = raw.into_iter().take(limits::STEPS_MAX);
    let mut steps: Vec<_> = raw.filter_map(|raw| check_one(raw, known, &mut seen, problems)).collect();
    steps.sort_by_key(|step| step.at);
    known.rollouts = seen.rollouts;
    (steps.len() == count).then_some(steps)
}

/// Names that earlier steps have declared.
#[derive(Default)]
pub(crate) struct DeclaredNames {
    pub(crate) phases: Vec<At<String>>,
    pub(crate) rollouts: Vec<At<RolloutId>>,
    pub(crate) revoked: u32,
}

fn check_one(
    raw: RawStep,
    known: &CheckContext<'_>,
    seen: &mut DeclaredNames,
    problems: &mut Problems,
) -> Option<TimedStep> {
    let at = required(raw.at, "at", ("[[timeline]]", raw.place), "at = \"10s\"", problems);
    let at = check_at(at, known.duration, problems);
    let action = raw.action?;
    let title = action.value.kind.section.title;
    let mut judge = Judge { at: action.at, place: raw.place, title, known, seen, problems };
    let step = (action.value.check)(&mut judge);
    let may_fail = or_default(raw.may_fail, false, raw.place);
    Some(TimedStep { at: at?, step: step?, may_fail: may_fail?.value })
}

fn check_at(at: Option<At<Duration>>, end: Option<Duration>, problems: &mut Problems) -> Option<Duration> {
    let at = at?;
    match end {
        Some(end) if at.value > end => {
            let message = format!("`at` is {}, after the end of the run", duration::format(at.value));
            problems.push(Problem::new(at.at, message).expected(format!("at most {}", duration::format(end))));
            None
        }
        _ => Some(at.value),
    }
}

/// What the checks of steps share.
pub(crate) struct Judge<'a> {
    /// Where the value of `do` is.
    pub(crate) at: Place,
    pub(crate) place: Place,
    /// The step's name in messages.
    title: &'static str,
    pub(crate) known: &'a CheckContext<'a>,
    pub(crate) seen: &'a mut DeclaredNames,
    pub(crate) problems: &'a mut Problems,
}

impl Judge<'_> {
    /// The value; a missing one is reported, with `example`.
    pub(crate) fn required<T>(&mut self, field: Field<T>, key: &str, example: &str) -> Option<At<T>> {
        required(field, key, (self.title, self.place), example, self.problems)
    }

    /// The value, or the default if there is none.
    pub(crate) fn or_default<T>(&self, field: Field<T>, default: impl Into<T>) -> Option<At<T>> {
        or_default(field, default, self.place)
    }

    /// One of the words, or the default if there is none.
    pub(crate) fn word<T: Copy>(
        &mut self,
        given: Field<String>,
        key: &str,
        choices: &[(&'static str, T)],
        default: T,
    ) -> Option<T> {
        match given {
            Field::Absent => Some(default),
            Field::Wrong => None,
            Field::Given(given) => one_of(key, Some(&given), choices, self.problems),
        }
    }

    /// At least one device, at most the fleet.
    pub(crate) fn devices(&mut self, devices: Option<At<i64>>) -> Option<At<u32>> {
        let fleet = self.known.devices.map_or(*limits::DEVICES.end(), i64::from);
        let devices = devices?;
        if devices.value > fleet && self.known.devices.is_some() {
            let message = format!("`devices` is {}, more than the fleet has", grouped(devices.value));
            self.problems.push(Problem::new(devices.at, message).expected(format!("1 to {}", grouped(fleet))));
            return None;
        }
        integer_in::<u32>("devices", Some(devices), &(1..=fleet), self.problems)
    }

    /// A version of the scenario's firmware.
    pub(crate) fn firmware(&mut self, version: Option<At<String>>) -> Option<String> {
        named(&version?, "the scenario has no [[firmware]] of version", &self.known.firmware, self.problems)
    }

    /// Load runs use the machine's network and disk, in which faults can't be injected.
    pub(crate) fn only_rehearsed(&mut self) -> bool {
        let is_rehearsal = self.known.mode == Some(Mode::Rehearse);
        if !is_rehearsal {
            let problem = Problem::new(self.at, "faults of network and disk can be injected only in a rehearsal");
            self.problems.push(problem.expected("`mode = \"rehearse\"`, or no such step"));
        }
        is_rehearsal
    }

    /// How long a fault lasts.
    pub(crate) fn length(&mut self, length: Field<Duration>) -> Option<Duration> {
        let length = self.required(length, "for", "for = \"10s\"");
        duration_in("for", length, &limits::OUTAGE, self.problems).map(|length| length.value)
    }

    /// The share that a fault affects, in basis points.
    pub(crate) fn share_bp(&mut self, share_bp: Field<i64>) -> Option<u16> {
        let share_bp = self.required(share_bp, "share_bp", "share_bp = 500");
        integer_in::<u16>("share_bp", share_bp, &limits::SHARE_BP, self.problems).map(|share| share.value)
    }
}
