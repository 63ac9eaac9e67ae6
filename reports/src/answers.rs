//! A release manager's questions about a rollout, answered in sentences; every form of the report has the same ones.

use crate::moments::Moments;
use crate::number::{grouped, share, span};
use crate::review::{Cell, RolloutReview, Stop, Truth};

/// What was rolled out, and to whom.
pub(crate) fn what(of: &RolloutReview, moments: Moments) -> String {
    let targets = of.targets();
    let installed = of.count(|cell| cell.is_installed);
    let begun = at(moments, of.started_at_s);
    format!(
        "Release {} was rolled out to {} from {begun} on. It was installed on {} of them ({}); the rollout was {} when the run ended.",
        of.release,
        devices(targets),
        grouped(installed),
        share(installed, targets),
        of.state.replace('_', " ").to_lowercase(),
    )
}

/// Whether the bug was found, when and by what, how many devices broke and how many were spared.
pub(crate) fn found(of: &RolloutReview, moments: Moments) -> String {
    let has_bug = of.count(|cell| cell.truth.is_bad()) > 0;
    let answer = match (&of.stop, has_bug) {
        (None, false) => {
            return "There was no bug to find: the release works on every target. Nothing stopped it.".into();
        }
        (Some(stop), false) if stop.is_engines => {
            format!(
                "There was no bug: the release works on every target. It was a false alarm: {}",
                stopped(of, stop, moments)
            )
        }
        (Some(stop), false) => {
            format!("There was no bug: the release works on every target. {}", stopped(of, stop, moments))
        }
        (None, true) => "No. Nothing stopped the release.".into(),
        (Some(stop), true) if stop.is_engines => format!("Yes: {}", stopped(of, stop, moments)),
        (Some(stop), true) => format!("Not by a gate: {}", stopped(of, stop, moments)),
    };
    if has_bug { format!("{answer} {}", harm(of)) } else { answer }
}

/// What stopped it, and when.
fn stopped(of: &RolloutReview, stop: &Stop, moments: Moments) -> String {
    let by = match (&stop.gate, stop.is_engines) {
        (Some(gate), _) => format!("gate {} of {}", gate.gate + 1, gate.of),
        (None, true) => "the engine".to_owned(),
        (None, false) => "a person".to_owned(),
    };
    let evidence = stop.gate.as_ref().map_or_else(String::new, |gate| {
        format!(", when {} of {} with an outcome had failed", grouped(gate.failed), devices(gate.executed))
    });
    let date = moments.date(stop.at_s).map_or_else(String::new, |date| format!(" ({date})"));
    format!(
        "{by} {} it {} after its start{date}, in stage {} of {}{evidence}. By then it was installed on {} of {} targets and had broken {}.",
        stop.decision,
        span(stop.at_s - of.started_at_s),
        stop.stage + 1,
        of.stage_devices.len(),
        grouped(stop.installed),
        grouped(of.targets()),
        grouped(stop.broken),
    )
}

/// How many devices broke in the end, and how many were spared.
fn harm(of: &RolloutReview) -> String {
    let broken = of.count(|cell| cell.is_broken);
    let doomed = of.count(|cell| is_doomed(of, cell));
    let spared = of.count(|cell| !cell.is_installed);
    let would = of.count(|cell| !cell.is_installed && cell.truth.breaks());
    let doomed = if doomed > 0 { format!(", and is going to break {} more", grouped(doomed)) } else { String::new() };
    format!(
        "When the run ended it had broken {}{doomed}. {} never got it; it would have broken {} of these.",
        devices(broken),
        devices(spared),
        grouped(would),
    )
}

/// Whether a device has a release that is going to break it.
fn is_doomed(_: &RolloutReview, cell: &Cell) -> bool {
    cell.is_installed && !cell.is_broken && cell.truth.breaks() && cell.believed != "ROLLED_BACK"
}

/// What would have happened without a gate.
pub(crate) fn without_gate(of: &RolloutReview) -> String {
    let targets = of.targets();
    let breaks = of.count(|cell| cell.truth.breaks());
    let in_words = |truth: Truth| match truth {
        Truth::Good => "works",
        Truth::InstallFails => "can't be written",
        Truth::BootFails => "does not boot, so that the old firmware goes on",
        Truth::Bricks => "bricks the device",
        Truth::Dies => "kills the device later",
        Truth::Lies => "is reported and does not run",
    };
    let bad = Truth::ALL.into_iter().filter(|truth| truth.is_bad());
    let bad = bad.map(|truth| (truth, of.count(|cell| cell.truth == truth))).filter(|(_, devices)| *devices > 0);
    let each: Vec<String> = bad.map(|(truth, count)| format!("it {} on {}", in_words(truth), grouped(count))).collect();
    if each.is_empty() {
        return format!("The release works on every one of the {} targets.", grouped(targets));
    }
    let broken = of.count(|cell| cell.is_broken);
    format!(
        "Had every target got it, it would have broken {} of {} ({}): {}. It broke {}.",
        grouped(breaks),
        grouped(targets),
        share(breaks, targets),
        each.join(", "),
        grouped(broken),
    )
}

/// `1 h into the run (Thu 2026-01-01 01:00 UTC)`.
pub(crate) fn at(moments: Moments, at_s: f64) -> String {
    let date = moments.date(at_s).map_or_else(String::new, |date| format!(" ({date})"));
    format!("{} into the run{date}", span(at_s))
}

/// `1 device`, `1 500 devices`.
fn devices(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "device" } else { "devices" })
}
