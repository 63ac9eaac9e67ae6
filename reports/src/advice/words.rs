//! Advice in words: the question, and each number of a policy as the page and its pictures say it.

use super::{Advice, AdvisedPolicy, Canary, Group, RehearsedPolicy, Share, Stage};
use crate::number::{grouped, span};

/// Basis points in per cent.
pub(crate) fn percent(bp: u16) -> String {
    format!("{}\u{a0}%", f64::from(bp) / 100.0)
}

/// A chance in per cent, with so many decimals.
pub(crate) fn chance(chance: f64, decimals: usize) -> String {
    format!("{:.decimals$}\u{a0}%", chance * 100.0)
}

/// The same with one decimal, rounded down: the true one is not smaller.
pub(crate) fn at_least(chance: f64) -> String {
    self::chance((chance * 1_000.0).floor() / 1_000.0, 1)
}

/// A time in whole minutes, rounded up.
pub(crate) fn time(seconds: u64) -> String {
    span(seconds.div_ceil(60) as f64 * 60.0)
}

/// A median of times; none of no trials.
pub(crate) fn median(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "–".to_owned(), |seconds| span((seconds / 60.0).ceil() * 60.0))
}

/// A number of devices.
pub(crate) fn devices(count: u32) -> String {
    format!("{} {}", grouped(count.into()), if count == 1 { "device" } else { "devices" })
}

/// A number of the devices that can have the bug, as ` of model KS-200`; nothing more if all can.
pub(crate) fn of_group(group: &Group) -> String {
    match group {
        Group::Fleet => String::new(),
        group => format!(" of {group}"),
    }
}

pub(crate) fn question<P>(of: &Advice<P>) -> String {
    let question = &of.question;
    format!(
        "Which policy finds a bug that breaks {} of {}, with {}, within {}?",
        percent(question.detect_bp),
        question.group,
        percent(question.with_bp),
        span(question.within_s as f64)
    )
}

/// `Three policies find it`.
pub(crate) fn answer<P>(of: &Advice<P>) -> String {
    let found = match of.policies.len() {
        1 => "One policy finds it".to_owned(),
        2 => "Two policies find it".to_owned(),
        3 => "Three policies find it".to_owned(),
        number => format!("{number} policies find it"),
    };
    if has_few_false_alarms(of) { found } else { found + ", with more false alarms than wanted" }
}

/// The smallest canary that any policy can have.
pub(crate) fn smallest<P>(of: &Advice<P>) -> String {
    let question = &of.question;
    format!(
        "No policy can do it with fewer than {}{} in its canary, of {}: {} is the first number at which 1 − (1 − {})^n reaches {}.",
        devices(of.smallest),
        of_group(&question.group),
        grouped(of.devices.into()),
        grouped(of.smallest.into()),
        f64::from(question.detect_bp) / 10_000.0,
        percent(question.with_bp)
    )
}

/// Whether any policy has as few false alarms as wanted.
pub(crate) fn has_few_false_alarms<P>(of: &Advice<P>) -> bool {
    of.policies.iter().any(|policy| policy.false_alarms <= f64::from(of.question.false_alarms_bp) / 10_000.0)
}

/// `6.12 % for 8 h 15 min, then 100 % for 8 h 45 min`.
pub(crate) fn stages(of: &AdvisedPolicy) -> String {
    let stage = |stage: &Stage| format!("{} for {}", percent(stage.share_bp), time(stage.bake_s));
    of.policy.stages.iter().map(stage).collect::<Vec<_>>().join(", then ")
}

/// `1 failure of 113 devices, then 4 of 573`.
pub(crate) fn stops_at(of: &AdvisedPolicy) -> String {
    let failures = |count: u32| format!("{count} {}", if count == 1 { "failure" } else { "failures" });
    let (first, canary) = (of.first_step_stops_at, of.canary.failures);
    if of.policy.stages.len() > 2 {
        let [step, all] = [of.first_step, of.canary_of_group].map(|count| grouped(count.into()));
        return format!("{} of {step} devices, then {canary} of {all}", failures(first));
    }
    format!("{} of {}", failures(canary), devices(of.canary_of_group))
}

/// `19 of 20 (75 to 100 %)`, the limits rounded outwards.
pub(crate) fn share(of: &Share) -> String {
    let (low, high) = of.limits;
    format!("{} of {} ({:.0} to {:.0}\u{a0}%)", of.count, of.of, (low * 100.0).floor(), (high * 100.0).ceil())
}

/// What a policy is good for, in two sentences.
pub(crate) fn summary(of: &AdvisedPolicy) -> String {
    let steps = if of.policy.stages.len() > 2 { ", in two steps," } else { "" };
    let most = if of.canary.share_bp > 5_000 { " Its canary is most of the fleet." } else { "" };
    format!(
        "a canary of {} ({}){steps} finds the bug with {} or more, after {} at most. By then the bug breaks {:.1} on average, and {} at \
         most with 95\u{a0}%; {} of good releases are stopped by mistake, and everybody has a good one after {} or more.{most}",
        devices(of.canary_devices),
        percent(of.canary.share_bp),
        at_least(of.found),
        time(of.found_after_s),
        of.hit,
        grouped(of.hit_at_most.into()),
        chance(of.false_alarms, 1),
        time(of.duration_s)
    )
}

/// What the rehearsals of a policy showed.
pub(crate) fn rehearsed(of: &RehearsedPolicy) -> String {
    format!("In rehearsals it found the bug in {}.", share(&of.found_in_canary))
}

/// How often good devices fail by themselves, and how that is known.
pub(crate) fn background(of: &Advice) -> String {
    let (least, most) = of
        .policies
        .iter()
        .fold((1.0_f64, 0.0_f64), |(least, most), of| (least.min(of.background), most.max(of.background)));
    let (least, most) = (chance(least, 2), chance(most, 2));
    let at = if least == most { most } else { format!("{least} to {most}") };
    if of.is_background_known {
        format!(
            "False alarms are counted with the scenario's background failures: {at} of good devices are lost within a rollout."
        )
    } else {
        format!(
            "The scenario has no background failures: false alarms are counted with {at} of good devices failing by themselves, a \
             tenth of the bug. Rehearsals of this scenario have none, so that their false alarms are not comparable."
        )
    }
}

/// A row of the table of canaries.
pub(crate) fn other_canary(of: &Canary) -> [String; 3] {
    [grouped(of.failures.into()), grouped(of.needed.into()), percent(of.share_bp)]
}
