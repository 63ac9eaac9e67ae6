//! Judges `[[timeline]]`, and brings the steps into their order.

use std::time::Duration;

use ks_protocol::id::{BadId, RolloutId};
use ks_protocol::message::CommandOrder;

use super::Known;
use super::faults;
use super::firmware::named;
use super::value::{NAME, WORD, at_most, integer_in, one_of, or_default, required, text_like};
use crate::scenario::limits;
use crate::scenario::plan::{KeyStep, OutageScope, Recipients, RolloutOrder, Step, TimedStep};
use crate::scenario::problem::{Problem, Problems, any_of, closest_value, grouped, quoted};
use crate::scenario::raw::{RawAction, RawStep};
use crate::scenario::reader::{At, Field};
use crate::scenario::span_of_time::format_duration;

/// The names of phases that are always there.
pub(super) const BUILT_IN_PHASES: [&str; 2] = ["ramp", "steady"];

/// Judges all steps; none if one is wrong. Steps of the same time keep the order of the file.
pub(super) fn check(raw: Vec<RawStep>, known: &mut Known<'_>, problems: &mut Problems) -> Option<Vec<TimedStep>> {
    let first_beyond = raw.get(limits::STEPS_MAX).map(|step| step.place);
    at_most(raw.len(), limits::STEPS_MAX, "[[timeline]]", first_beyond, problems);
    let count = raw.len();
    let mut seen = Seen::default();
    let raw = raw.into_iter().take(limits::STEPS_MAX);
    let mut steps: Vec<_> = raw.filter_map(|raw| check_one(raw, known, &mut seen, problems)).collect();
    steps.sort_by_key(|step| step.at);
    known.rollouts = seen.rollouts;
    (steps.len() == count).then_some(steps)
}

/// What earlier steps have used up.
#[derive(Default)]
struct Seen {
    phases: Vec<At<String>>,
    rollouts: Vec<At<RolloutId>>,
    revoked: u32,
}

fn check_one(raw: RawStep, known: &Known<'_>, seen: &mut Seen, problems: &mut Problems) -> Option<TimedStep> {
    let at = required(raw.at, "at", ("[[timeline]]", raw.place), "at = \"10s\"", problems);
    let at = check_at(at, known.duration, problems);
    let action = raw.action?;
    let owner = |title| (title, raw.place);
    let step = match action.value {
        RawAction::Revoke { devices } => {
            let devices = required(devices, "devices", owner("a `revoke` step"), "devices = 10", problems);
            check_revoke(devices, known, seen, problems)
        }
        RawAction::SendCommand { kind, argument, devices } => {
            let kind = required(kind, "kind", owner("a `send_command` step"), "kind = \"reboot\"", problems);
            let kind = text_like("kind", kind, WORD, problems);
            let argument = or_default(argument, "", raw.place);
            let argument = check_argument(argument, problems);
            let recipients = check_recipients(devices, known, problems);
            let command = kind.zip(argument).and_then(|(kind, argument)| check_command(&kind, &argument, problems));
            command.zip(recipients).map(|(command, recipients)| Step::SendCommand { command, recipients })
        }
        RawAction::Punch { per_device } => {
            let per_device = required(per_device, "per_device", owner("a `punch` step"), "per_device = 1", problems);
            let per_device = integer_in::<u32>("per_device", per_device, &limits::PUNCHES, problems);
            per_device.map(|count| Step::Punch { per_device: count.value })
        }
        RawAction::RotateServerKey { step, force } => {
            let step = required(step, "step", owner("a `rotate_server_key` step"), "step = \"announce\"", problems);
            let force = or_default(force, false, raw.place);
            let step = check_key_step(step, problems);
            step.zip(force).map(|(step, force)| Step::RotateServerKey { step, force: force.value })
        }
        RawAction::RevokeServerKey => Some(Step::RevokeServerKey),
        RawAction::StartRollout { firmware, policy, rollout } => {
            let title = "a `start_rollout` step";
            let firmware = required(firmware, "firmware", owner(title), "firmware = \"1.1.0\"", problems);
            let firmware = check_firmware(firmware, known, problems);
            let policy = required(policy, "policy", owner(title), "policy = \"careful\"", problems);
            let policy =
                policy.and_then(|policy| named(&policy, "the scenario has no [[policy]]", &known.policies, problems));
            let default =
                firmware.as_ref().map_or_else(|| "rollout".to_owned(), |version| format!("rollout-{version}"));
            let rollout_id = check_rollout_id(or_default(rollout, default, raw.place), problems);
            let (firmware, policy, rollout_id) = (firmware?, policy?, rollout_id?);
            seen.rollouts.push(At { at: raw.place, value: rollout_id.clone() });
            Some(Step::StartRollout { firmware, policy, rollout_id })
        }
        RawAction::OrderRollout { rollout, order } => {
            let title = "an `order_rollout` step";
            let rollout = required(rollout, "rollout", owner(title), "rollout = \"rollout-1.1.0\"", problems);
            let rollout = rollout.and_then(|rollout| {
                let started: Vec<String> = seen.rollouts.iter().map(|started| started.value.to_string()).collect();
                let found = named(&rollout, "no earlier step starts a rollout", &started, problems);
                found.and_then(|name| name.parse().ok())
            });
            let order = required(order, "order", owner(title), "order = \"abort\"", problems);
            let order = check_order(order, problems);
            rollout.zip(order).map(|(rollout_id, order)| Step::OrderRollout { rollout_id, order })
        }
        RawAction::RevokeRelease { firmware } => {
            let title = "a `revoke_release` step";
            let firmware = required(firmware, "firmware", owner(title), "firmware = \"1.1.0\"", problems);
            check_firmware(firmware, known, problems).map(|firmware| Step::RevokeRelease { firmware })
        }
        RawAction::Phase { name } => {
            let name = required(name, "name", owner("a `phase` step"), "name = \"storm\"", problems);
            check_phase(text_like("name", name, NAME, problems), seen, problems)
        }
        fault => faults::check(fault, action.at, raw.place, known, problems),
    };
    let may_fail = or_default(raw.may_fail, false, raw.place);
    Some(TimedStep { at: at?, step: step?, may_fail: may_fail?.value })
}

fn check_firmware(firmware: Option<At<String>>, known: &Known<'_>, problems: &mut Problems) -> Option<String> {
    named(&firmware?, "the scenario has no [[firmware]] of version", &known.firmware, problems)
}

fn check_rollout_id(rollout: Option<At<String>>, problems: &mut Problems) -> Option<RolloutId> {
    let rollout = rollout?;
    let parsed = rollout.value.parse();
    let refused = |error: BadId| problems.push(Problem::new(rollout.at, format!("`rollout`: {error}")));
    parsed.map_err(refused).ok()
}

fn check_order(order: Option<At<String>>, problems: &mut Problems) -> Option<RolloutOrder> {
    let order = order?;
    let choices = RolloutOrder::ALL.map(|order| (order.as_str(), order));
    one_of("order", Some(&order), &choices, problems)
}

fn check_key_step(step: Option<At<String>>, problems: &mut Problems) -> Option<KeyStep> {
    let step = step?;
    let names = KeyStep::ALL.map(KeyStep::as_str);
    let found = KeyStep::ALL.into_iter().find(|known| known.as_str() == step.value);
    if found.is_none() {
        let near = closest_value(&step.value, names);
        let message = format!("`step` is {}", quoted(&step.value));
        problems.push(Problem::new(step.at, message).expected(any_of(&names)).suggest(near));
    }
    found
}

/// The argument must be the kind's, as it stands on the wire: `level: warn`.
fn check_command(kind: &At<String>, argument: &At<String>, problems: &mut Problems) -> Option<CommandOrder> {
    let command = CommandOrder::from_wire(&kind.value, &argument.value);
    let command = command.and_then(|command| command.to_wire().map(|_| command));
    let refused = |error| {
        let message = format!("`argument` is none of {}: {error}", quoted(&kind.value));
        let expected = "the fields of its argument, such as `argument = \"level: warn\"`";
        problems.push(Problem::new(argument.at, message).expected(expected));
    };
    command.map_err(refused).ok()
}

/// What the admin API takes: bytes, not characters, and none but line feeds that control.
fn check_argument(argument: Option<At<String>>, problems: &mut Problems) -> Option<At<String>> {
    let argument = argument?;
    let wrong = if argument.value.len() > limits::ARGUMENT_BYTES_MAX {
        format!("has {} bytes", argument.value.len())
    } else if argument.value.chars().any(|c| c.is_control() && c != '\n') {
        "has control characters".to_owned()
    } else {
        return Some(argument);
    };
    let expected = format!("at most {} bytes of text", grouped(limits::ARGUMENT_BYTES_MAX));
    problems.push(Problem::new(argument.at, format!("`argument` {wrong}")).expected(expected));
    None
}

fn check_at(at: Option<At<Duration>>, end: Option<Duration>, problems: &mut Problems) -> Option<Duration> {
    let at = at?;
    match end {
        Some(end) if at.value > end => {
            let message = format!("`at` is {}, after the end of the run", format_duration(at.value));
            problems.push(Problem::new(at.at, message).expected(format!("at most {}", format_duration(end))));
            None
        }
        _ => Some(at.value),
    }
}

fn check_revoke(devices: Option<At<i64>>, known: &Known<'_>, seen: &mut Seen, problems: &mut Problems) -> Option<Step> {
    let devices = check_devices(devices, known, problems)?;
    seen.revoked = seen.revoked.saturating_add(devices.value);
    if let Some(fleet) = known.devices.filter(|fleet| seen.revoked > *fleet) {
        let message = format!("the steps up to this one revoke {} devices", grouped(seen.revoked));
        let expected = format!("no more than the fleet has, which is {}", grouped(fleet));
        problems.push(Problem::new(devices.at, message).expected(expected));
        return None;
    }
    Some(Step::Revoke { devices: devices.value })
}

fn check_recipients(devices: Field<i64>, known: &Known<'_>, problems: &mut Problems) -> Option<Recipients> {
    match devices {
        Field::Absent => Some(Recipients::All),
        Field::Wrong => None,
        Field::Given(devices) => {
            check_devices(Some(devices), known, problems).map(|devices| Recipients::Some(devices.value))
        }
    }
}

/// At least one device, at most the fleet.
fn check_devices(devices: Option<At<i64>>, known: &Known<'_>, problems: &mut Problems) -> Option<At<u32>> {
    let fleet = known.devices.map_or(*limits::DEVICES.end(), i64::from);
    let devices = devices?;
    if devices.value > fleet && known.devices.is_some() {
        let message = format!("`devices` is {}, more than the fleet has", grouped(devices.value));
        problems.push(Problem::new(devices.at, message).expected(format!("1 to {}", grouped(fleet))));
        return None;
    }
    integer_in::<u32>("devices", Some(devices), &(1..=fleet), problems)
}

/// The site that a fault is for, or all of them.
pub(super) fn check_site(
    site: Field<String>,
    sites: Option<&[String]>,
    problems: &mut Problems,
) -> Option<OutageScope> {
    let site = match site {
        Field::Absent => return Some(OutageScope::EverySite),
        Field::Wrong => return None,
        Field::Given(site) => site,
    };
    let sites: Vec<&str> = sites?.iter().map(String::as_str).collect();
    if sites.contains(&site.value.as_str()) {
        return Some(OutageScope::Site(site.value));
    }
    let near = closest_value(&site.value, sites.iter().copied());
    let message = format!("the fleet has no site {}", quoted(&site.value));
    problems.push(Problem::new(site.at, message).expected(any_of(&sites)).suggest(near));
    None
}

fn check_phase(name: Option<At<String>>, seen: &mut Seen, problems: &mut Problems) -> Option<Step> {
    let name = name?;
    if BUILT_IN_PHASES.contains(&name.value.as_str()) {
        let message = format!("every run has a phase `{}` of its own", name.value);
        problems.push(Problem::new(name.at, message).expected("another name"));
        return None;
    }
    if let Some(first) = seen.phases.iter().find(|first| first.value == name.value) {
        let message = format!("a second phase is called `{}`", name.value);
        problems.push(Problem::new(name.at, message).expected("a name of its own").first_at(first.at));
        return None;
    }
    seen.phases.push(name.clone());
    Some(Step::Phase { name: name.value })
}
