//! A release manager's questions about a rollout, answered in sentences; every form of the report has the same ones.

use crate::moments::Moments;
use crate::number::{group_in_sentence, grouped, share, span};
use crate::review::{
    Action, AssumedWithoutGate, Cell, DeviceStory, Fate, GateThresholds, Range, RolloutReview, TrueState, Truth,
};

/// What was rolled out, and to how many devices.
pub(crate) fn what(of: &RolloutReview, moments: Moments) -> String {
    let targets = of.targets();
    let installed = of.count(|cell| cell.is_installed);
    let begun = at(moments, of.started_at_s);
    let state = of.state.replace('_', " ").to_lowercase();
    let end = match of.state.as_str() {
        "ABORTED" | "COMPLETED" => format!("in the end the rollout was {state}"),
        _ => format!("the rollout was {state} when the run ended"),
    };
    format!(
        "Release {} was rolled out to {} from {begun} on. It was installed on {} of them ({}); {end}.",
        of.release,
        devices(targets),
        grouped(installed),
        share(installed, targets),
    )
}

/// Whether the bug was found, when and by what, how many devices broke and how many were spared.
pub(crate) fn found(of: &RolloutReview, moments: Moments) -> String {
    let may_go_wrong = of.assumed.as_ref().is_some_and(|assumed| assumed.goes_wrong.most > 0);
    let has_bug = may_go_wrong || of.count(|cell| cell.truth.is_bad()) > 0;
    let mut others = of.others.iter();
    let mut answer = match (&of.found, has_bug) {
        (Some(found), true) => {
            let when = match (of.is_after_completion(found.at_s), found.decision.as_str()) {
                (false, _) => "Yes",
                (true, "alert") => "Only after it was completed",
                (true, _) => "Yes, after it was completed",
            };
            let is_alert = found.decision == "alert";
            let nothing = if is_alert && !is_stopped(of) { " Nothing was stopped." } else { "" };
            format!("{when}: {}{nothing}", acted(of, found, moments))
        }
        (Some(found), false) => {
            let alarm = acted(of, found, moments);
            format!("There was no bug: the release works on every target. It was a false alarm: {alarm}")
        }
        (None, true) => match others.next() {
            Some(first) if is_stopped(of) => format!("Not by a gate: {}", acted(of, first, moments)),
            Some(first) => format!(
                "No. No gate failed, and nothing stopped the release. {}",
                capitalized(&acted(of, first, moments))
            ),
            None => "No. Nothing stopped the release.".into(),
        },
        (None, false) if of.others.is_empty() => {
            return "There was no bug to find: the release works on every target. Nothing stopped it.".into();
        }
        (None, false) => "There was no bug: the release works on every target.".into(),
    };
    for other in others {
        answer += &format!(" {}.", capitalized(&decided(of, other, moments)));
    }
    if has_bug { format!("{answer} {}", harm(of)) } else { answer }
}

/// Whether a decision ended it, or left it held back.
fn is_stopped(of: &RolloutReview) -> bool {
    matches!(of.state.as_str(), "ABORTED" | "PAUSED")
}

/// What was decided, when, and how many devices had it by then.
fn acted(of: &RolloutReview, action: &Action, moments: Moments) -> String {
    format!(
        "{}. By then it was installed on {} of {} targets and had broken {}.",
        decided(of, action, moments),
        grouped(action.installed),
        grouped(of.targets()),
        grouped(action.broken),
    )
}

/// `gate 1 of all aborted it 2 h after its start (Thu 2026-01-01 03:00 UTC), in stage 1 of 2, when 5 of 148 devices with an
/// outcome had failed`.
fn decided(of: &RolloutReview, action: &Action, moments: Moments) -> String {
    let by = match (&action.gate, action.is_engines) {
        (Some(gate), _) => format!("gate {} of {}", gate.gate + 1, gate.of),
        (None, true) => "the engine".to_owned(),
        (None, false) => "a person".to_owned(),
    };
    let did = match action.decision.as_str() {
        "alert" => "alerted people",
        "late" => "reported failures",
        "paused" => "paused it",
        "resumed" => "resumed it",
        "aborted" => "aborted it",
        other => other,
    };
    let place = match of.completed_at_s.filter(|completed_at_s| action.at_s >= *completed_at_s) {
        Some(completed_at_s) => format!("{} after it was completed", span(action.at_s - completed_at_s)),
        None => format!("in stage {} of {}", action.stage + 1, of.stage_devices.len()),
    };
    let reason = match &action.gate {
        Some(gate) => {
            format!(", when {} of {} with an outcome had failed", grouped(gate.failed), devices(gate.executed))
        }
        None if action.is_engines => format!(": {}", group_in_sentence(&action.why)),
        None => String::new(),
    };
    format!("{by} {did} {}, {place}{reason}", after_its_start(of, action.at_s, moments))
}

/// How many devices broke in the end, how many were spared and rescued, and how many are gone for other reasons.
fn harm(of: &RolloutReview) -> String {
    let broken = of.count(Cell::is_broken);
    let not_yet = of.count(|cell| cell.true_state() == TrueState::NotBrokenYet);
    let others = of.count(|cell| matches!(cell.true_state(), TrueState::OldFirmware | TrueState::Lies));
    let mut harm = format!("When the run ended it had broken {}", devices(broken));
    if not_yet > 0 {
        let (have, they) = if not_yet == 1 { ("has", "it") } else { ("have", "they") };
        harm += &format!(" ({} more {have} it, and {they} had not broken yet)", grouped(not_yet));
    }
    if others > 0 {
        let run = if others == 1 { "does not run it" } else { "do not run it" };
        harm += &format!(", and {} that it was installed on {run}", devices(others));
    }
    harm += ".";
    let spared = of.count(Cell::is_spared);
    if spared > 0 {
        let would_break = of.count(|cell| cell.is_spared() && cell.truth.breaks());
        let would_fail = of.count(|cell| cell.is_spared() && cell.truth.is_bad()) - would_break;
        let would_fail = match would_fail {
            0 => String::new(),
            _ => format!(", and failed on {} without breaking them", grouped(would_fail)),
        };
        let range = of.assumed.as_ref().map_or_else(String::new, |of| or_between(of.spared_breaks));
        let never = if spared == 1 { "was spared: it never got it" } else { "were spared: they never got it" };
        harm += &format!(
            " {} {never}, and it would have broken {} of them{range}{would_fail}.",
            devices(spared),
            grouped(would_break)
        );
    }
    harm += &rescued(of);
    if spared == 0 && of.count(|cell| cell.fate == Fate::Rescued) == 0 {
        harm += " No device was spared.";
    }
    let gone = of.count(|cell| cell.fate == Fate::Gone);
    if gone > 0 {
        let are = if gone == 1 { "is" } else { "are" };
        harm += &format!(" {} {are} gone otherwise: removed, revoked, or broken by another release.", devices(gone));
    }
    harm
}

/// Devices that had it and run other firmware now; empty if there are none.
fn rescued(of: &RolloutReview) -> String {
    let rescued = of.count(|cell| cell.fate == Fate::Rescued);
    if rescued == 0 {
        return String::new();
    }
    let would_break = of.count(|cell| cell.fate == Fate::Rescued && cell.truth.breaks());
    let run = if rescued == 1 { "had it and runs" } else { "had it and run" };
    let from = match would_break {
        0 => "none of them would have broken later".to_owned(),
        _ => format!("that rescued {}, which it would have broken later", grouped(would_break)),
    };
    format!(" {} {run} other firmware since; {from}.", devices(rescued))
}

/// ` (0 to 200, as it depends on when they would have got it)`; empty if that does not matter.
fn or_between(range: Range) -> String {
    if range.is_exact() {
        return String::new();
    }
    format!(" ({} to {}, depending on when they would have got it)", grouped(range.least), grouped(range.most))
}

/// When the targets that it did not reach are assumed to get it; empty if that does not matter.
fn assumption(of: &RolloutReview, moments: Moments) -> String {
    let Some(assumed) = &of.assumed else { return String::new() };
    let AssumedWithoutGate { devices: without, from_s, until_s, goes_wrong, .. } = assumed;
    let range = if goes_wrong.is_exact() {
        "with the same result at any time".to_owned()
    } else {
        format!("which gives {} to {} of all targets", grouped(goes_wrong.least), grouped(goes_wrong.most))
    };
    format!(
        " What it does depends on when a device gets it. Assumed: the {} that did not get it would have, as the policy's stages follow one \
         another, without power or link once that is back; or at any time with power and link from {} until {}, {range}.",
        devices(*without),
        after_start(of, *from_s, moments),
        after_start(of, *until_s, moments),
    )
}

/// What would have happened without a gate.
pub(crate) fn without_gate(of: &RolloutReview, moments: Moments) -> String {
    let assumption = assumption(of, moments);
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
        return format!("The release works on every one of the {} targets.{assumption}", grouped(targets));
    }
    let (broken, bad_devices) = (of.count(Cell::is_broken), of.count(|cell| cell.truth.is_bad()));
    format!(
        "Had all {} targets got it, it would have gone wrong on {} of them ({}): {}. {} would be broken for good{}; {} {}.{assumption}",
        grouped(targets),
        grouped(bad_devices),
        share(bad_devices, targets),
        each.join(", "),
        devices(breaks),
        of.assumed.as_ref().map_or_else(String::new, |of| or_between(of.breaks)),
        grouped(broken),
        was(broken),
    )
}

/// What the server believed beside what was true, in a sentence.
pub(crate) fn beliefs(of: &RolloutReview) -> String {
    let confirmed = of.count(Cell::is_confirmed);
    let failed = of.count(Cell::is_failed);
    let wrongly_confirmed = of.count(|cell| cell.is_confirmed() && cell.is_believed_wrongly());
    let wrongly_failed = of.count(|cell| cell.is_failed() && cell.is_believed_wrongly());
    let gone = of.count(|cell| cell.is_failed() && cell.fate == Fate::Gone);
    let gone = match gone {
        0 => String::new(),
        gone => format!(" and {} gone otherwise", grouped(gone)),
    };
    let broken = of.count(Cell::is_broken);
    format!(
        "The server held {} to be confirmed, of which {} {} not well, and {} to have failed, of which {} {} well{gone}. Of the {} that broke it knew {}.",
        devices(confirmed),
        grouped(wrongly_confirmed),
        was(wrongly_confirmed),
        grouped(failed),
        grouped(wrongly_failed),
        was(wrongly_failed),
        grouped(broken),
        grouped(of.count(|cell| cell.is_broken() && cell.is_failed())),
    )
}

/// `1 was`, `2 were`.
fn was(count: u64) -> &'static str {
    if count == 1 { "was" } else { "were" }
}

/// A device's story in one line, without its name: `KS-200 at site-07: offered 13:05, died 19:10, LOST 20:10`. A day is said
/// once, with its first event.
pub(crate) fn story(of: &DeviceStory, moments: Moments) -> String {
    let mut day = 1;
    let mut when = |at_s: f64| match moments.time_of_day(at_s) {
        None => span(at_s),
        Some((of_day, time)) if of_day == day => time,
        Some((of_day, time)) => {
            day = of_day;
            format!("day\u{a0}{day}, {time}")
        }
    };
    let mut happened: Vec<(f64, String)> =
        of.events.iter().map(|event| (event.at_s, event.what.replace('_', " "))).collect();
    happened.extend(of.last_seen_s.filter(|_| of.is_silent).map(|last_seen_s| (last_seen_s, "last heard".to_owned())));
    happened.sort_by(|a, b| a.0.total_cmp(&b.0)); // stable
    let mut events: Vec<String> = happened.into_iter().map(|(at_s, what)| format!("{what} {}", when(at_s))).collect();
    let has_end =
        of.events.iter().any(|event| event.what == of.believed || event.what.eq_ignore_ascii_case(&of.believed));
    if !has_end {
        events.push(format!("{} in the end", of.believed.replace('_', " ")));
    }
    format!("{} at {}: {}", of.model, of.site, events.join(", "))
}

/// The text with a capital letter first.
pub(crate) fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
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
        (Some(decision), Some(until_s)) if decision == "watched" => {
            format!("not before the watch over its devices ended, {}", after_start(of, until_s, moments))
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

/// `1 h 8 min after its start (Thu 2026-01-01 02:08 UTC)`.
fn after_its_start(of: &RolloutReview, at_s: f64, moments: Moments) -> String {
    after_start(of, at_s, moments).replacen("after the start", "after its start", 1)
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
            plain(&without_gate(&sample::review(), moments())),
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
        let missed = |of: &mut RolloutReview| (of.found, of.state) = (None, "COMPLETED".into());
        assert!(answer(missed).starts_with("No. Nothing stopped the release. When the run ended"));
        let by_person = answer(|of| of.others = of.found.take().map(sample::by_a_person).into_iter().collect());
        assert!(by_person.starts_with("Not by a gate: a person aborted it 2 h 20 min after"), "{by_person}");
        let good = |of: &mut RolloutReview| of.cells.retain(|cell| !cell.truth.is_bad());
        let alarm = sample::review();
        let alarm =
            RolloutReview { cells: alarm.cells.iter().filter(|cell| !cell.truth.is_bad()).cloned().collect(), ..alarm };
        assert!(found(&alarm, moments()).contains("It was a false alarm: gate 1 of all"));
        let mut fine = RolloutReview { found: None, ..sample::review() };
        good(&mut fine);
        assert!(found(&fine, moments()).starts_with("There was no bug to find"));
    }

    /// A gate that fails once every device has the release has found the bug, and stopped nothing.
    #[test]
    fn what_was_found_after_completion_is_said_to_be() {
        let answer = |decision: &str, state: &str| {
            let mut of = RolloutReview { completed_at_s: Some(7_800.0), state: state.into(), ..sample::review() };
            of.found = of.found.map(|found| Action { decision: decision.into(), ..found });
            plain(&found(&of, moments()))
        };
        let alert = answer("alert", "COMPLETED");
        assert!(
            alert.starts_with("Only after it was completed: gate 1 of all alerted people 2 h 20 min after its start (Thu 2026-01-01 03:10 UTC), 1 h after it was completed, when 5 of 148 devices with an outcome had failed. By then it was installed on 150 of 3 000 targets and had broken 6. Nothing was stopped. When"),
            "{alert}"
        );
        let aborted = answer("aborted", "ABORTED");
        assert!(
            aborted.starts_with("Yes, after it was completed: gate 1 of all aborted it")
                && !aborted.contains("Nothing was stopped"),
            "{aborted}"
        );
        let late = Action {
            decision: "late".into(),
            gate: None,
            why: "1 device failed".into(),
            ..sample::review().found.unwrap()
        };
        let mut of =
            RolloutReview { completed_at_s: Some(7_800.0), state: "COMPLETED".into(), found: None, ..sample::review() };
        of.others = vec![late];
        let late = plain(&found(&of, moments()));
        assert!(late.starts_with("No. No gate failed, and nothing stopped the release. The engine reported failures 2 h 20 min after its start (Thu 2026-01-01 03:10 UTC), 1 h after it was completed: 1 device failed."), "{late}");
    }

    /// A pause because a stage took too long has not found the bug, and what a person did hides nothing.
    #[test]
    fn only_a_gate_that_fails_has_found_a_bug() {
        let gates = sample::review().found.unwrap();
        let waited =
            Action { decision: "paused".into(), gate: None, why: "the stage is not decided".into(), ..gates.clone() };
        let mut of =
            RolloutReview { found: None, others: vec![waited, sample::by_a_person(gates.clone())], ..sample::review() };
        let text = plain(&found(&of, moments()));
        assert!(
            text.starts_with("Not by a gate: the engine paused it 2 h 20 min after")
                && text.contains("in stage 1 of 2: the stage is not decided. By then"),
            "{text}"
        );
        assert!(
            text.contains(
                " A person aborted it 2 h 20 min after its start (Thu 2026-01-01 03:10 UTC), in stage 1 of 2. When"
            ),
            "{text}"
        );
        let paused = Action { decision: "paused".into(), at_s: 4_000.0, ..sample::by_a_person(gates.clone()) };
        of = RolloutReview { others: vec![paused.clone()], ..sample::review() };
        let text = plain(&found(&of, moments()));
        assert!(
            text.starts_with("Yes: gate 1 of all aborted it")
                && text.contains(" A person paused it 16 min 40 s after its start"),
            "{text}"
        );
        let resumed = Action { decision: "resumed".into(), ..paused.clone() };
        let gates_pause = Some(Action { decision: "paused".into(), ..gates });
        of = RolloutReview {
            found: gates_pause,
            state: "COMPLETED".into(),
            others: vec![resumed.clone()],
            ..sample::review()
        };
        let text = plain(&found(&of, moments()));
        assert!(text.starts_with("Yes: gate 1 of all paused it") && !text.contains("Nothing was stopped"), "{text}");
        of =
            RolloutReview { found: None, state: "COMPLETED".into(), others: vec![paused, resumed], ..sample::review() };
        let text = plain(&found(&of, moments()));
        assert!(text.starts_with("No. No gate failed, and nothing stopped the release. A person paused it"), "{text}");
        assert!(text.contains(" A person resumed it 16 min 40 s after"), "{text}");
    }

    #[test]
    fn devices_that_were_rescued_or_are_gone_are_neither_spared_nor_waiting_to_break() {
        let mut of = sample::review();
        of.cells[3].fate = Fate::Rescued;
        (of.cells[4].fate, of.cells[5].fate) = (Fate::Gone, Fate::Gone);
        assert!(plain(&found(&of, moments())).ends_with(
            "When the run ended it had broken 5 devices. 2 devices had it and run other firmware since; that rescued 2, which it would \
             have broken later. 2 850 devices are gone otherwise: removed, revoked, or broken by another release."
        ));
        assert!(
            plain(&beliefs(&of)).starts_with("The server held 145 devices to be confirmed, of which 0 were not well")
        );
    }

    #[test]
    fn what_happened_to_a_rollout_in_the_end_did_not_happen_at_the_end() {
        assert!(plain(&what(&sample::review(), moments())).ends_with("(5.00 %); in the end the rollout was aborted."));
        let open = RolloutReview { state: "PAUSED".into(), ..sample::review() };
        assert!(what(&open, moments()).ends_with("the rollout was paused when the run ended."));
    }

    #[test]
    fn a_story_is_one_line_with_times_of_day_and_a_day_is_said_once() {
        let mut of = sample::review().stories.remove(0);
        assert_eq!(plain(&story(&of, moments())), "KS-200 at south: offered 00:51, died 01:06, LOST day 2, 01:00");
        (of.last_seen_s, of.is_silent) = (Some(88_000.0), true);
        assert_eq!(
            plain(&story(&of, moments())),
            "KS-200 at south: offered 00:51, died 01:06, last heard day 2, 00:26, LOST 01:00"
        );
    }
}
