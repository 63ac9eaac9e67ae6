//! Checks a scenario: every value against its range, then values against each other; reports all problems together.

mod adversary;
mod churn;
mod cohorts;
pub(super) mod expect;
mod faults;
pub(crate) mod firmware;
mod fleet;
mod groups;
mod shares;
pub(crate) mod timeline;
pub(crate) mod value;

use std::collections::BTreeMap;
use std::time::Duration;

use ks_protocol::{id::RolloutId, time::UnixMs};

pub(super) use fleet::{ID_PREFIX_EXPECTED, is_id_prefix, offered_too_much};

use super::ServerSettings;
use super::limits;
use super::plan::{Mode, Plan, Timing, phases};
use super::problem::{Problem, Problems, closest, quoted};
use super::raw::{RawChurn, RawCohort, RawFleet, RawScenario};
use super::reader::{At, Field};
use super::rollouts::{self, RefusedRollout};
use super::source::Place;
use fleet::CheckedFleet;
use ks_protocol::duration;
use value::{NAME, duration_in, integer_in, one_of, or_default, required, text_like, text_within};

/// What the checks of one part need from the others; a field is none if it is invalid, and checks that depend on it are skipped.
pub(crate) struct CheckContext<'a> {
    pub(crate) mode: Option<Mode>,
    pub(crate) timing: Option<Timing>,
    pub(crate) duration: Option<Duration>,
    pub(crate) devices: Option<u32>,
    pub(crate) models: Option<Vec<String>>,
    pub(crate) sites: Option<Vec<String>>,
    /// The version that devices run before any update.
    pub(crate) firmware_version: Option<String>,
    /// The longest time that a device has been up when the run starts.
    pub(crate) uptime_at_start: Option<Duration>,
    /// The combinations of model and site that something is restricted to.
    pub(crate) places: Vec<At<(Option<String>, Option<String>)>>,
    /// Versions of the scenario's firmware.
    pub(crate) firmware: Vec<String>,
    /// Names of the scenario's policies.
    pub(crate) policies: Vec<String>,
    /// The rollouts that steps start, in the order of the file, with the places of the steps.
    pub(crate) rollouts: Vec<At<RolloutId>>,
    pub(crate) settings: &'a dyn ServerSettings,
    /// The valid ones of `[server]`.
    pub(crate) server: BTreeMap<String, String>,
}

impl<'a> CheckContext<'a> {
    /// What is known of an expectation that is in no file.
    fn of_expectation(timing: Timing, settings: &'a dyn ServerSettings) -> Self {
        Self { mode: Some(Mode::Load), timing: Some(timing), ..Self::nothing(settings) }
    }

    /// What is known before anything was checked.
    fn nothing(settings: &'a dyn ServerSettings) -> Self {
        Self {
            mode: None,
            timing: None,
            duration: None,
            devices: None,
            models: None,
            sites: None,
            firmware_version: None,
            uptime_at_start: None,
            places: Vec::new(),
            firmware: Vec::new(),
            policies: Vec::new(),
            rollouts: Vec::new(),
            settings,
            server: BTreeMap::new(),
        }
    }
}

/// The plan, if it is valid; otherwise all problems are in `problems`.
pub(super) fn check(raw: RawScenario, settings: &dyn ServerSettings, problems: &mut Problems) -> Option<Plan> {
    let file = ("the scenario", Place::FILE);
    let name = required(raw.name, "name", file, "name = \"my-scenario\"", problems);
    let name = text_like("name", name, NAME, problems);
    let goal = required(raw.goal, "goal", file, "goal = \"what the run should show\"", problems);
    let goal = text_within("goal", goal, &(1..=limits::GOAL_CHARS_MAX), problems);
    let mode = check_mode(raw.mode, problems);
    let timing = or_default(raw.timing, Timing::Measured.as_str(), Place::FILE);
    let timing = one_of("timing", timing.as_ref(), &Timing::ALL.map(|timing| (timing.as_str(), timing)), problems);
    let seed = integer_in::<u64>("seed", or_default(raw.seed, 1, Place::FILE), &limits::SEED, problems);
    let duration = required(raw.duration, "duration", file, "duration = \"30s\"", problems);
    let duration = check_duration(duration, mode, problems);
    let ramp = check_ramp(raw.ramp, duration.as_ref(), problems);
    let starts_at = check_starts_at(raw.starts_at, problems);
    let (fleet, churn, cohorts) = check_fleet(raw.fleet, problems);
    let drain = check_drain(raw.drain, fleet.answer_timeout, problems);
    let mut known = CheckContext {
        mode,
        timing,
        duration: duration.map(|duration| duration.value),
        devices: fleet.devices,
        models: fleet.model_names(),
        sites: fleet.site_names(),
        firmware_version: fleet.firmware_version.clone(),
        uptime_at_start: fleet.uptime_at_start,
        ..CheckContext::nothing(settings)
    };
    let churn = churn.and_then(|raw| churn::check(raw, &mut known, problems));
    let cohorts = cohorts.and_then(|raw| cohorts::check(raw, &known, problems));
    let firmware = raw.firmware.and_then(|raw| firmware::check(raw, &mut known, problems));
    let policies = raw.policies.and_then(|raw| firmware::check_policies(raw, &mut known, problems));
    let server = check_settings(raw.server, settings, problems);
    known.server = server.clone().unwrap_or_default();
    let adversaries = raw.adversaries.and_then(|raw| adversary::check(raw, &known, problems));
    let timeline = raw.timeline.and_then(|raw| timeline::check(raw, &mut known, problems));
    let phases = match (ramp, known.duration, &timeline) {
        (Some(ramp), Some(end), Some(timeline)) => Some(phases(ramp, end, timeline)),
        _ => None,
    };
    let expectations = raw.expectations.and_then(|raw| expect::check(raw, phases.as_deref(), &known, problems));
    let plan = Plan {
        name: name?.value,
        goal: goal?.value,
        mode: mode?,
        timing: timing?,
        seed: seed?.value,
        duration: known.duration?,
        ramp: ramp?,
        starts_at: starts_at?,
        drain: drain?,
        fleet: fleet.into_fleet(churn?, cohorts?)?,
        server: server?,
        firmware: firmware?,
        policies: policies?,
        adversaries: adversaries?,
        timeline: timeline?,
        expectations: expectations?,
        verify_percent: 100,
    };
    check_rollouts(&plan, &known.rollouts, problems);
    faults::check_places(&plan, &known.places, problems);
    Some(plan)
}

/// Plans each rollout with the server's own code, so that no run fails midway because the server refuses one.
fn check_rollouts(plan: &Plan, places: &[At<RolloutId>], problems: &mut Problems) {
    for RefusedRollout { rollout_id, why, .. } in rollouts::refused(plan) {
        // Of several steps with one name the last one is refused.
        let at = places.iter().rev().find(|place| place.value == rollout_id).map_or(Place::FILE, |place| place.at);
        let problem = Problem::new(at, format!("the server would refuse this `start_rollout`: {why}"));
        problems.push(problem.expected("a rollout that fits the fleet, or `may_fail = true`"));
    }
}

/// The fleet, and its background failures and cohorts, which are not checked yet.
fn check_fleet(
    fleet: Field<RawFleet>,
    problems: &mut Problems,
) -> (CheckedFleet, Option<Vec<RawChurn>>, Option<Vec<RawCohort>>) {
    match fleet {
        Field::Given(At { at, value: mut fleet }) => {
            let (churn, cohorts) = (fleet.churn.take(), fleet.cohorts.take());
            (fleet::check(fleet, at, problems), churn, cohorts)
        }
        Field::Wrong => (CheckedFleet::default(), None, None),
        Field::Absent => {
            let problem = Problem::new(Place::FILE, "the scenario has no [fleet]");
            problems.push(problem.expected("a table [fleet] with at least `devices = 1000`"));
            (CheckedFleet::default(), None, None)
        }
    }
}

/// A date with or without milliseconds; only rehearsals use it.
fn check_starts_at(starts_at: Field<String>, problems: &mut Problems) -> Option<UnixMs> {
    let given = match starts_at {
        Field::Absent => return Some(limits::STARTS_AT_DEFAULT),
        Field::Wrong => return None,
        Field::Given(given) => given,
    };
    // In three digits: a date without quotes has lost its trailing zeros.
    let whole = given.value.strip_suffix('Z').map(|time| time.split_once('.').unwrap_or((time, "")));
    let whole = whole.map_or_else(|| given.value.clone(), |(seconds, part)| format!("{seconds}.{part:0<3}Z"));
    match whole.parse::<UnixMs>() {
        Ok(at) if limits::STARTS_AT.contains(&at) => Some(at),
        parsed => {
            let what = if parsed.is_ok() { "is out of range" } else { "is not a date and time in UTC" };
            let problem = Problem::new(given.at, format!("`starts_at` {what}: {}", quoted(&given.value)));
            let mut problem =
                problem.expected("RFC 3339 in UTC, such as 2026-03-29T00:30:00Z, of the years 2000 to 2099");
            let has_time = given.value.contains(['T', 't', ' ']);
            if parsed.is_err() && has_time && !given.value.ends_with('Z') {
                problem = problem.help("write the offset as Z: the time zone of a scenario is UTC");
            }
            problems.push(problem);
            None
        }
    }
}

fn check_mode(mode: Field<String>, problems: &mut Problems) -> Option<Mode> {
    let mode = or_default(mode, Mode::Load.as_str(), Place::FILE);
    let choices = [Mode::Load, Mode::Rehearse].map(|mode| (mode.as_str(), mode));
    one_of("mode", mode.as_ref(), &choices, problems)
}

fn check_duration(duration: Option<At<Duration>>, mode: Option<Mode>, problems: &mut Problems) -> Option<At<Duration>> {
    let duration = duration?;
    let fits_rehearsal = limits::DURATION_REHEARSE.contains(&duration.value);
    if mode == Some(Mode::Load) && fits_rehearsal && !limits::DURATION_LOAD.contains(&duration.value) {
        let message = format!("`duration` is too long for a load run: {}", duration::format(duration.value));
        let problem = Problem::new(duration.at, message)
            .expected("1s to 7d")
            .help("a load run takes real time; `mode = \"rehearse\"` runs up to 90d of virtual time");
        problems.push(problem);
        return None;
    }
    duration_in("duration", Some(duration), &limits::DURATION_REHEARSE, problems)
}

fn check_ramp(ramp: Field<Duration>, duration: Option<&At<Duration>>, problems: &mut Problems) -> Option<Duration> {
    let ramp = or_default(ramp, Duration::ZERO, Place::FILE)?;
    match duration {
        Some(duration) if ramp.value >= duration.value => {
            let message = format!("`ramp` of {} fills the whole run", duration::format(ramp.value));
            let expected = format!("less than `duration`, which is {}", duration::format(duration.value));
            problems.push(Problem::new(ramp.at, message).expected(expected));
            None
        }
        _ => Some(ramp.value),
    }
}

/// Long enough for every request to finish, so that each result is counted.
fn check_drain(drain: Field<Duration>, answer_timeout: Option<Duration>, problems: &mut Problems) -> Option<Duration> {
    let needed = answer_timeout? + limits::DRAIN_MARGIN;
    let drain = duration_in("drain", or_default(drain, needed, Place::FILE), &limits::DRAIN, problems)?;
    if drain.value >= needed {
        return Some(drain.value);
    }
    let message = format!("`drain` is {}, too short for the last answers", duration::format(drain.value));
    let expected = format!("at least {}: `answer_timeout` and a second more", duration::format(needed));
    problems.push(Problem::new(drain.at, message).expected(expected));
    None
}

/// Checks names here, and values with the server's own check.
fn check_settings(
    raw: Vec<(At<String>, Field<String>)>,
    settings: &dyn ServerSettings,
    problems: &mut Problems,
) -> Option<BTreeMap<String, String>> {
    let names = settings.names();
    let mut all_are_sound = true;
    let mut given = BTreeMap::new();
    let mut places = BTreeMap::new();
    for (name, value) in raw {
        if settings.decided_by_run().contains(&name.value.as_str()) {
            let message = format!("a run decides {} itself", quoted(&name.value));
            problems.push(Problem::new(name.at, message).expected("no such setting in a scenario"));
            all_are_sound = false;
        } else if settings.reaches_outside().contains(&name.value.as_str()) {
            let message = format!(
                "{} would let the server reach outside the run's folder and process, which a scenario may not do",
                quoted(&name.value)
            );
            let help = "start a server with this setting yourself, and run against it with --target";
            problems.push(Problem::new(name.at, message).expected("no such setting in a scenario").help(help));
            all_are_sound = false;
        } else if !names.contains(&name.value.as_str()) {
            let message = format!("unknown setting {} of the server", quoted(&name.value));
            let near = closest(&name.value, names.iter().copied());
            let help = format!("the settings are {}", names.join(", "));
            problems.push(Problem::new(name.at, message).suggest(near).help(help));
            all_are_sound = false;
        } else if let Field::Given(value) = value {
            places.insert(name.value.clone(), value.at);
            given.insert(name.value, value.value);
        } else {
            all_are_sound = false;
        }
    }
    for (name, wrong) in settings.wrong(&given) {
        let at = places.get(&name).copied().unwrap_or(Place::FILE);
        problems.push(Problem::new(at, format!("the server refuses {}: {wrong}", quoted(&name))));
        all_are_sound = false;
    }
    all_are_sound.then_some(given)
}
