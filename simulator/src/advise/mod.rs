//! Which rollout policies would find a bug: searched in closed form; `ks-fleet advise` then rehearses them.
//!
//! A policy that is advised has a canary, all of whose devices get the release and are watched until the bug must have shown, and
//! one raw gate that stops the rollout at the k-th failure among the devices that can have the bug. Each k has a smallest
//! canary: the more failures the gate waits for, the more devices it needs, and the less often it stops a good release.
//!
//! The answer counts on [`EXECUTED_BP`] of the canary only: some devices are always offline. [`binomial`] computes its
//! chances, and the server's own plan its times; tests compare them with the chances of the server's gates.

mod answer;
mod background;
pub mod binomial;
mod candidate;
mod chances;
mod opening;
mod population;
mod times;

use std::time::Duration;

use background::Background;
use binomial::devices_needed;
use candidate::Candidate;
use ks_protocol::duration;
use ks_reports::advice::Commands;
pub use ks_reports::advice::{BugToFind, Canary, Group};
use ks_server::rollout::{
    plan::percent,
    policy::{Policy, Scope, WHOLE_BP},
};
use population::Population;

pub use answer::{sentence, text};

use crate::{number::counted, scenario::Plan};

/// The advice, with policies that a server accepts.
pub type Advice = ks_reports::advice::Advice<Policy>;
/// One of its policies.
pub type AdvisedPolicy = ks_reports::advice::AdvisedPolicy<Policy>;

/// File name of the advice as text.
pub const ADVICE_TEXT: &str = "advice.txt";
const SMALLEST_CANARY: &str = "smallest-canary";
const FEW_FALSE_ALARMS: &str = "few-false-alarms";
const IN_STEPS: &str = "in-steps";
const SLOW_START: &str = "slow-start";
/// Names of all files that advice may have in a folder, apart from those of its trials and of its page.
pub const FILES: [&str; 5] =
    [ADVICE_TEXT, "smallest-canary.toml", "few-false-alarms.toml", "in-steps.toml", "slow-start.toml"];
/// The share of a canary's devices that have an outcome at the least, in basis points.
const EXECUTED_BP: u32 = 9_000;
/// The most failures that a gate waits for.
const FAILURES_MAX: u32 = 50;
/// A good release whose devices fail by themselves at this part of the bug's rate must not be stopped.
const BACKGROUND_PART: f64 = 0.1;
/// The first step of a policy in steps, as a part of its canary.
const FIRST_STEP_PART: u16 = 5;
/// A slower pace is advised if it saves this part of the devices that the bug would hit.
const SAVED_PART: f64 = 0.2;
/// It is the fastest one that saves this part of what the slowest would.
const SAVED_ENOUGH_PART: f64 = 0.9;
/// At a pace that is advised all devices are offered the release within so many minutes: a week, half of what a stage may take.
const OFFERED_WITHIN_MIN: u32 = 7 * 24 * 60;

/// A group's name in readings of the gate that judges it on its own.
fn judged_as(group: &Group) -> &str {
    match group {
        Group::Fleet => "all",
        Group::Model(name) | Group::Site(name) => name,
    }
}

/// The scope of a gate that judges this group on its own.
fn scope(group: &Group) -> Scope {
    match group {
        Group::Fleet => Scope::Cumulative,
        Group::Model(_) => Scope::Model,
        Group::Site(_) => Scope::Site,
    }
}

/// Why there is no advice.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAdvice {
    /// The scenario can't be asked this.
    #[error("{0}")]
    Impossible(String),
    /// No policy does what is wanted; `help` says what would be possible.
    #[error("no policy finds it: {why}")]
    NoPolicy { why: String, help: String },
}

/// Two to four policies that find the bug.
///
/// # Errors
/// The scenario rolls nothing out or has no such devices, or no policy finds the bug.
pub fn advise(plan: &Plan, question: &BugToFind) -> Result<Advice, NoAdvice> {
    let population = Population::of(plan, &question.group)?;
    let (rate, wanted) = (share(question.detect_bp), share(question.with_bp));
    let (devices, usable) = (population.devices(), executed(population.devices()));
    let smallest = devices_needed(1, rate, wanted, u32::MAX >> 8).unwrap_or(u32::MAX);
    if smallest > usable {
        return Err(too_few(question, devices, smallest));
    }
    let canary = |failures| {
        let needed = devices_needed(failures, rate, wanted, usable)?;
        Some(Canary { failures, needed, share_bp: population.share_with(|own| executed(own) >= needed)? })
    };
    let canaries = (1..=FAILURES_MAX).map_while(canary);
    let canaries: Vec<Canary> = canaries.filter(|canary| threshold_bp(&population, canary).is_some()).collect();
    let Some(first) = canaries.first() else { return Err(too_few(question, devices, smallest)) };
    let in_time = |canary: &Canary, steps: &[u16]| Candidate::of(&population, question, canary, steps);
    let small = in_time(first, &[first.share_bp])?;
    let background = Background::of(plan, rate * BACKGROUND_PART);
    let false_alarms = |candidate: &Candidate| candidate.false_alarms(&background);
    let mut calm: Option<(&Canary, Candidate<'_>, f64)> = None;
    for canary in canaries.iter().skip(1) {
        let Ok(candidate) = in_time(canary, &[canary.share_bp]) else { break };
        let own = false_alarms(&candidate);
        if calm.as_ref().is_none_or(|(_, _, least)| own < *least) {
            calm = Some((canary, candidate, own));
        }
        if own <= share(question.false_alarms_bp) {
            break;
        }
    }
    let calm = calm.filter(|(_, _, least)| *least < false_alarms(&small));
    let (canary, base) = calm.as_ref().map_or((first, &small), |(canary, candidate, _)| (*canary, candidate));
    let step_bp = canary.share_bp / FIRST_STEP_PART;
    let stepped = (step_bp > 0).then(|| in_time(canary, &[step_bp, canary.share_bp]).ok()).flatten();
    let mut policies = Vec::new();
    if false_alarms(&small) > share(question.false_alarms_bp) || calm.is_none() {
        policies.push(small.advised(SMALLEST_CANARY, &background));
    }
    if calm.is_some() {
        policies.push(base.advised(FEW_FALSE_ALARMS, &background));
    }
    policies.extend(stepped.map(|stepped| stepped.advised(IN_STEPS, &background)));
    let slow = slow_start(base, &population, question, canary);
    policies.extend(slow.map(|slow| slow.advised(SLOW_START, &background)));
    Ok(Advice {
        scenario: plan.name.clone(),
        question: question.clone(),
        devices,
        targets: population.targets(),
        smallest,
        fails: population.fails_how(),
        limits: population.limits(),
        is_background_known: matches!(background, Background::OfScenario(_)),
        executed_bp: EXECUTED_BP,
        chances: chances::of(rate, devices, &policies),
        canaries,
        policies,
        rehearsed: None,
        commands: Commands::default(),
    })
}

/// The same canary at a slower pace, if failures show while many of its devices wait for their turn: so fewer are hit.
fn slow_start<'q>(
    usual: &Candidate<'q>,
    population: &Population<'_>,
    question: &'q BugToFind,
    canary: &Canary,
) -> Option<Candidate<'q>> {
    let of = |pace| Candidate::at_pace(population, question, canary, &[canary.share_bp], pace).ok();
    let hit = usual.hit().0;
    let saved = |of: &Candidate<'_>| hit - of.hit().0;
    let usual_pace = population.usual().starts_per_min;
    let least = population.targets().div_ceil(OFFERED_WITHIN_MIN).max(1);
    let slowest = first_pace((least, usual_pace), |pace| of(pace).is_some())?;
    let most = saved(&of(slowest)?);
    if most < SAVED_PART * hit {
        return None;
    }
    let is_too_fast = |pace| of(pace).is_none_or(|of| saved(&of) < SAVED_ENOUGH_PART * most);
    let pace = first_pace((slowest + 1, usual_pace), is_too_fast).unwrap_or(usual_pace) - 1;
    of(pace)
}

/// The first of these paces, the last not included, for which something holds that then holds for all faster ones.
fn first_pace((mut low, end): (u32, u32), holds: impl Fn(u32) -> bool) -> Option<u32> {
    let mut high = end;
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    (low < end).then_some(low)
}

/// The threshold of a raw gate that stops a canary at this number of failures, and at none less, in basis points; none if it would
/// need a finer unit.
fn threshold_bp(population: &Population<'_>, canary: &Canary) -> Option<u16> {
    let devices = u64::from(population.devices_at(canary.share_bp)).max(1);
    let parts = |failures: u32| u64::from(failures) * u64::from(WHOLE_BP);
    let threshold_bp = ((parts(canary.failures) - 1) / devices).min(u64::from(WHOLE_BP) - 1);
    let spares_one_less = parts(canary.failures - 1) <= threshold_bp * devices;
    u16::try_from(threshold_bp).ok().filter(|_| spares_one_less)
}

/// The devices of so many that have an outcome at the least.
fn executed(devices: u32) -> u32 {
    u32::try_from(u64::from(devices) * u64::from(EXECUTED_BP) / 10_000).unwrap_or(devices)
}

fn share(bp: u16) -> f64 {
    f64::from(bp) / 10_000.0
}

/// No number of devices that the group has suffices.
fn too_few(question: &BugToFind, devices: u32, smallest: u32) -> NoAdvice {
    let BugToFind { detect_bp, with_bp, group, .. } = question;
    let usable = executed(devices);
    let chance = 1.0 - (1.0 - share(*detect_bp)).powi(i32::try_from(usable).unwrap_or(i32::MAX));
    let (bug, wanted) = (percent(*detect_bp), percent(*with_bp));
    let why = format!(
        "a bug that breaks {bug} of the devices shows in none of {usable} with a chance of {:.1} %: (1 - {})^{usable}. With {wanted} it shows in {} or more, and {group} has {devices}, of which {usable} count ({} are assumed to be offline)",
        (1.0 - chance) * 100.0,
        share(*detect_bp),
        counted(smallest, "device"),
        percent(10_000 - u16::try_from(EXECUTED_BP).unwrap_or(10_000)),
    );
    // 1 - (1 - wanted)^(1 / devices)
    let rate = 1.0 - (1.0 - share(*with_bp)).powf(1.0 / f64::from(usable.max(1)));
    let content = if chance >= 0.01 {
        format!(", or be content with {:.1} % (--with {:.0}%)", chance * 100.0, (chance * 100.0).floor())
    } else {
        String::new()
    };
    let help = if usable == 0 {
        "a single device shows nothing: ask for a larger group".to_owned()
    } else {
        let smallest = (rate * 10_000.0).ceil() / 100.0;
        format!(
            "ask for a larger bug (--detect {smallest:.2}% is the smallest that {} with {wanted}){content}",
            if usable == 1 { "1 device shows".to_owned() } else { format!("{usable} devices show") }
        )
    };
    NoAdvice::NoPolicy { why, help }
}

/// The bug shows too late.
fn too_late(question: &BugToFind, found: Duration, fails: &str) -> NoAdvice {
    let why = format!(
        "{fails}, so that the first canary has shown it after {}, and --in allows {}",
        duration::format(found),
        duration::format(Duration::from_secs(question.within_s))
    );
    let help = format!("allow more time: --in {}", duration::format(ceil(found, Duration::from_hours(1))));
    NoAdvice::NoPolicy { why, help }
}

/// Whenever a device dies at some site, it may be excused until the site closes again.
fn never_lost() -> NoAdvice {
    NoAdvice::NoPolicy {
        why: "a site is open for a shorter time than its devices may be silent, so that one that dies there may be excused every day: it is not known when the bug shows".to_owned(),
        help: "ask about another site or model (--of-site, --of-model), or rehearse a policy of your own".to_owned(),
    }
}

/// Rounded up to a multiple of whole seconds.
fn ceil(length: Duration, to: Duration) -> Duration {
    let (length, to) = (length.as_secs() + u64::from(length.subsec_nanos() > 0), to.as_secs().max(1));
    Duration::from_secs(length.div_ceil(to) * to)
}

#[cfg(test)]
mod tests;
