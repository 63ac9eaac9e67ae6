//! A release manager's questions about a rollout, answered in sentences; every form of the report has the same ones.

use crate::moments::Moments;
use crate::number::{grouped, share, span};
use crate::review::{Cell, DeviceStory, GateThresholds, RolloutReview, Stop, TrueState, Truth};

/// What was rolled out, and to how many devices.
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
    let not_yet = of.count(|cell| cell.true_state() == TrueState::NotBrokenYet);
    let others = of.count(|cell| cell.is_installed && cell.truth.is_bad() && !cell.truth.breaks());
    let mut more = String::new();
    if not_yet > 0 {
        more += &format!(" ({} more have it and had not broken yet)", grouped(not_yet));
    }
    if others > 0 {
        more += &format!(", and {} that it was installed on do not run it", devices(others));
    }
    let without = |cell: &Cell| !cell.is_installed && !cell.is_failed();
    let would_break = of.count(|cell| without(cell) && cell.truth.breaks());
    let would_fail = of.count(|cell| without(cell) && cell.truth.is_bad()) - would_break;
    let would_fail = match would_fail {
        0 => String::new(),
        _ => format!(", and failed on {} without breaking them", grouped(would_fail)),
    };
    format!(
        "When the run ended it had broken {}{more}. {} were spared: they never got it, and it would have broken {} of them{would_fail}.",
        devices(broken),
        devices(of.count(without)),
        grouped(would_break),
    )
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
    let (broken, bad_devices) = (of.count(|cell| cell.is_broken), of.count(|cell| cell.truth.is_bad()));
    format!(
        "Had all {} targets got it, it would have gone wrong on {} of them ({}): {}. {} would be broken for good; {} were.",
        grouped(targets),
        grouped(bad_devices),
        share(bad_devices, targets),
        each.join(", "),
        devices(breaks),
        grouped(broken),
    )
}

/// What the server believed beside what was true, in a sentence.
pub(crate) fn beliefs(of: &RolloutReview) -> String {
    let confirmed = of.count(Cell::is_confirmed);
    let failed = of.count(Cell::is_failed);
    let wrongly_confirmed = of.count(|cell| cell.is_confirmed() && cell.is_believed_wrongly());
    let wrongly_failed = of.count(|cell| cell.is_failed() && cell.is_believed_wrongly());
    let unnoticed = of.count(|cell| cell.is_broken && !cell.is_failed());
    format!(
        "The server held {} to be confirmed, of which {} were not well, and {} to have failed, of which {} were well. Of the {} that broke it knew {}.",
        devices(confirmed),
        grouped(wrongly_confirmed),
        grouped(failed),
        grouped(wrongly_failed),
        grouped(of.count(|cell| cell.is_broken)),
        grouped(of.count(|cell| cell.is_broken) - unnoticed),
    )
}

/// A device's story in one line, without its name: `KS-200 at site-07: offered 13:05, died 19:10, LOST 20:10`.
pub(crate) fn story(of: &DeviceStory, moments: Moments) -> String {
    let when = |at_s: f64| moments.time_of_day(at_s).unwrap_or_else(|| span(at_s));
    let mut events: Vec<String> =
        of.events.iter().map(|event| format!("{} {}", event.what.replace('_', " "), when(event.at_s))).collect();
    let has_end =
        of.events.iter().any(|event| event.what == of.believed || event.what.eq_ignore_ascii_case(&of.believed));
    if let (Some(last_seen_s), true) = (of.last_seen_s, of.is_silent) {
        events.push(format!("last heard {}", when(last_seen_s)));
    }
    if !has_end {
        events.push(format!("{} in the end", of.believed.replace('_', " ")));
    }
    format!("{} at {}: {}", of.model, of.site, events.join(", "))
}

/// `1 h into the run (Thu 2026-01-01 01:00 UTC)`.
pub(crate) fn at(moments: Moments, at_s: f64) -> String {
    let date = moments.date(at_s).map_or_else(String::new, |date| format!(" ({date})"));
    format!("{} into the run{date}", span(at_s))
}

/// `1 device`, `1 500 devices`.
pub(crate) fn devices(count: u64) -> String {
    format!("{} {}", grouped(count), if count == 1 { "device" } else { "devices" })
}

/// Why a threshold that did not trip says no more.
pub(crate) fn evidence_end(of: &RolloutReview, gate: &GateThresholds, moments: Moments) -> String {
    match (&gate.evidence_ends_with, gate.evidence_until_s) {
        (Some(decision), Some(until_s)) if decision == "completed" => {
            format!("not before the rollout was completed, {}", after_start(of, until_s, moments))
        }
        (Some(decision), Some(until_s)) => {
            format!("not before it was {decision}, {}", after_start(of, until_s, moments))
        }
        _ => format!("not before the run ended, {}", after_start(of, of.observed_until_s, moments)),
    }
}

/// `1 h 8 min after the start (Thu 2026-01-01 02:08 UTC)`.
fn after_start(of: &RolloutReview, at_s: f64, moments: Moments) -> String {
    let date = moments.date(at_s).map_or_else(String::new, |date| format!(" ({date})"));
    format!("{} after the start{date}", span(at_s - of.started_at_s))
}

/// The name of a gate's test for people.
pub(crate) fn test_in_words(test: &str) -> &str {
    match test {
        "raw" => "share of failures",
        "clopper_pearson" => "exact confidence limits (Clopper and Pearson)",
        "sprt" => "sequential test (Wald)",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn plain(text: &str) -> String {
        text.replace('\u{a0}', " ")
    }

    fn moments() -> Moments {
        Moments::since("2026-01-01T00:00:00.000Z")
    }

    #[test]
    fn a_bug_that_was_found_has_its_gate_its_time_and_its_harm() {
        assert_eq!(
            plain(&found(&sample::review(), moments())),
            "Yes: gate 1 of all aborted it 2 h 20 min after its start (Thu 2026-01-01 03:10 UTC), in stage 1 of 2, when 5 of 148 \
             devices with an outcome had failed. By then it was installed on 150 of 3 000 targets and had broken 6. When the run \
             ended it had broken 7 devices. 2 850 devices were spared: they never got it, and it would have broken 93 of them."
        );
        assert_eq!(
            plain(&without_gate(&sample::review())),
            "Had all 3 000 targets got it, it would have gone wrong on 100 of them (3.33 %): it bricks the device on 98, it kills \
             the device later on 2. 100 devices would be broken for good; 7 were."
        );
        assert_eq!(
            plain(&beliefs(&sample::review())),
            "The server held 145 devices to be confirmed, of which 2 were not well, and 5 to have failed, of which 0 were \
             well. Of the 7 that broke it knew 5."
        );
    }

    #[test]
    fn every_other_end_has_its_answer() {
        let answer = |change: fn(&mut RolloutReview)| {
            let mut of = sample::review();
            change(&mut of);
            plain(&found(&of, moments()))
        };
        assert!(answer(|of| of.stop = None).starts_with("No. Nothing stopped the release. When the run ended"));
        let by_person = answer(|of| {
            of.stop = of.stop.take().map(|stop| Stop { is_engines: false, gate: None, ..stop });
        });
        assert!(by_person.starts_with("Not by a gate: a person aborted it 2 h 20 min after"), "{by_person}");
        let good = |of: &mut RolloutReview| of.cells.retain(|cell| !cell.truth.is_bad());
        let alarm = sample::review();
        let alarm =
            RolloutReview { cells: alarm.cells.iter().filter(|cell| !cell.truth.is_bad()).cloned().collect(), ..alarm };
        assert!(found(&alarm, moments()).contains("It was a false alarm: gate 1 of all"));
        let mut fine = RolloutReview { stop: None, ..sample::review() };
        good(&mut fine);
        assert!(found(&fine, moments()).starts_with("There was no bug to find"));
    }

    #[test]
    fn a_story_is_one_line_with_times_of_day() {
        let story = story(&sample::review().stories[0], moments());
        assert_eq!(plain(&story), "KS-200 at south: offered 00:51, died 01:06, LOST day 2, 01:00");
    }
}
