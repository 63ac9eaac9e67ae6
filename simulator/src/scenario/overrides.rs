//! Overrides of a checked plan by the command line, and the checks that they need.

use std::time::Duration;

use super::check::{ID_PREFIX_EXPECTED, is_id_prefix, offered_too_much};
use super::cohorts::CohortSize;
use super::expectation::During;
use super::limits;
use super::plan::{Mode, Plan};
use crate::{
    number::{counted, grouped},
    timeline::{Recipients, Revoke, SendCommand, Step},
};
use ks_protocol::duration;

/// Changes to a plan; a field of none keeps the file's value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Real or virtual time, replacing the file's.
    pub mode: Option<Mode>,
    /// The start of every device's id.
    pub id_prefix: Option<String>,
    pub devices: Option<u32>,
    /// How long the run lasts. A ramp that no longer fits is scaled down, attacks end with the run at the latest.
    pub duration: Option<Duration>,
    /// The root of all randomness: 0 to 2^63 - 1.
    pub seed: Option<u64>,
    /// Of how many answers in a hundred devices verify the signature; load runs only.
    pub verify_percent: Option<u8>,
}

impl Plan {
    /// The plan with the changes made.
    ///
    /// Bounds of expectations stay as they are: `heartbeat.per_min >= 55000` fails with a tenth of the devices.
    /// Errors: one sentence for each thing that is out of range or no longer fits.
    pub fn with_overrides(&self, overrides: Overrides) -> Result<Plan, Vec<String>> {
        let mut plan = self.clone();
        let mut wrong = Vec::new();
        plan.mode = overrides.mode.unwrap_or(plan.mode);
        check_mode(&plan, &mut wrong);
        if let Some(prefix) = overrides.id_prefix {
            if !is_id_prefix(&prefix) {
                wrong.push(format!("the id prefix is `{prefix}`, expected {ID_PREFIX_EXPECTED}"));
            }
            plan.fleet.id_prefix = prefix;
        }
        if let Some(percent) = overrides.verify_percent {
            plan.verify_percent = percent;
            if plan.mode == Mode::Rehearse && percent < 100 {
                wrong.push("a rehearsal verifies all signatures or none: use --signatures modelled".to_owned());
            }
        }
        if let Some(seed) = overrides.seed {
            plan.seed = seed;
            if i64::try_from(seed).is_err() {
                wrong.push(format!("the seed is {seed}, expected 0 to {}", i64::MAX));
            }
        }
        if let Some(devices) = overrides.devices {
            plan.fleet.devices = devices;
            check_devices(&plan, &mut wrong);
        }
        if let Some(duration) = overrides.duration {
            let limits = match plan.mode {
                Mode::Load => limits::DURATION_LOAD,
                Mode::Rehearse => limits::DURATION_REHEARSE,
            };
            if limits.contains(&duration) {
                plan.change_duration(duration);
                check_times(&plan, &mut wrong);
            } else {
                let [given, min, max] = [duration, *limits.start(), *limits.end()].map(duration::format);
                wrong.push(format!("the duration is {given}, expected {min} to {max} in mode {}", plan.mode.as_str()));
            }
        }
        if wrong.is_empty() { Ok(plan) } else { Err(wrong) }
    }

    /// Sets the duration, scales a ramp that does not fit, and moves whatever lasted to the old end to the new one.
    fn change_duration(&mut self, duration: Duration) {
        let old_duration = std::mem::replace(&mut self.duration, duration);
        if self.ramp >= duration {
            self.ramp = scaled(self.ramp, duration, old_duration);
        }
        for adversary in &mut self.adversaries {
            let lasts_to_end = adversary.until >= old_duration;
            adversary.until = if lasts_to_end { duration } else { adversary.until.min(duration) };
        }
    }
}

/// `length * new / old`, rounded down to a millisecond.
fn scaled(length: Duration, new: Duration, old: Duration) -> Duration {
    let ms = length.as_millis() * new.as_millis() / old.as_millis().max(1);
    Duration::from_millis(u64::try_from(ms).unwrap_or(u64::MAX))
}

/// Adversaries that attack sockets are refused in a rehearsal, which has none.
fn check_mode(plan: &Plan, wrong: &mut Vec<String>) {
    let kinds = plan.adversaries.iter().map(|adversary| adversary.kind).filter(|kind| kind.needs_sockets());
    if plan.mode == Mode::Rehearse {
        wrong.extend(kinds.map(|kind| {
            format!("the adversary `{}` attacks sockets, and a rehearsal has none: use `ks-fleet run`", kind.as_str())
        }));
    }
}

/// The fleet's own range, the rate it offers, and the steps that name a number of devices.
fn check_devices(plan: &Plan, wrong: &mut Vec<String>) {
    let devices = plan.fleet.devices;
    if !limits::DEVICES.contains(&i64::from(devices)) {
        let max = grouped(limits::DEVICES.end());
        wrong.push(format!("the fleet has {}, expected 1 to {max}", counted(devices, "device")));
        return;
    }
    if let Some(sentence) = offered_too_much(devices, plan.fleet.heartbeat_interval) {
        wrong.push(format!("{sentence}, expected at most {}", grouped(limits::OFFERED_PER_S_MAX)));
    }
    let counts = plan.fleet.cohorts.iter().filter_map(|cohort| match cohort.size {
        CohortSize::Count(count) => Some(count),
        CohortSize::Share(_) => None,
    });
    let needed = counts.fold(0, u32::saturating_add);
    if needed > devices {
        wrong.push(format!("the cohorts need {}, the fleet has {}", counted(needed, "device"), grouped(devices)));
    }
    let mut revoked: u32 = 0;
    for step in &plan.timeline {
        let needed = match &step.step {
            Step::Revoke(Revoke { devices }) => {
                revoked = revoked.saturating_add(*devices);
                revoked
            }
            Step::SendCommand(SendCommand { recipients: Recipients::Some(count), .. }) => *count,
            _ => 0,
        };
        if needed > devices {
            let (name, at, needed) = (step.step.as_str(), duration::format(step.at), counted(needed, "device"));
            wrong.push(format!("the `{name}` at {at} needs {needed}, the fleet has {}", grouped(devices)));
        }
    }
}

/// Checks steps, attacks, phases and windows against the new end.
fn check_times(plan: &Plan, wrong: &mut Vec<String>) {
    let end = duration::format(plan.duration);
    for step in plan.timeline.iter().filter(|step| step.at > plan.duration) {
        let (name, at) = (step.step.as_str(), duration::format(step.at));
        wrong.push(format!("the `{name}` at {at} is after the end of the run, which lasts {end}"));
    }
    for adversary in plan.adversaries.iter().filter(|adversary| adversary.from >= adversary.until) {
        let (name, from) = (adversary.kind.as_str(), duration::format(adversary.from));
        wrong.push(format!("the `{name}` from {from} would not start before the end of the run, which lasts {end}"));
    }
    let phases = plan.phases();
    for expectation in &plan.expectations {
        let length = match &expectation.during {
            During::WholeRun => Some(plan.duration),
            During::Phase(name) => {
                phases.iter().find(|(phase, _, _)| phase == name).map(|(_, start, end)| end.saturating_sub(*start))
            }
        };
        let length = length.unwrap_or_default();
        let needed = expectation.every.unwrap_or(Duration::from_millis(1));
        if length < needed {
            let length = duration::format(length);
            wrong.push(format!("`{expectation}` would be measured over {length}: no full window fits"));
        }
    }
}
