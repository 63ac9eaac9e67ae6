//! `junit.xml`: the verdict for CI servers, one test case per check.
//!
//! A missed expectation is a `<failure>`. In an inconclusive run it is an `<error>`, because the run shows nothing either way.
//! The ledger and the adversaries need no sound timing, so they are failures in any run. The file fits the schemas of Jenkins'
//! plugins and of Ant, which require more than those tools use.

use std::collections::BTreeMap;

use crate::JudgedCase;
use crate::escape::xml;
use crate::facts;
use crate::run_folder::{Expectation, Ledger, Summary, Verdict};

/// The `hostname` attribute, which the schemas require; a machine's real name is of no use.
const HOST: &str = "localhost";

/// How a test case ended.
enum Outcome {
    Passed,
    Failed(String),
    Errored(String),
    Skipped(String),
}

/// A test case: group, name, outcome, and how long it took, if it took any time.
struct Case {
    group: &'static str,
    name: String,
    outcome: Outcome,
    time_s: f64,
}

/// The suite's attributes and properties.
struct Suite<'a> {
    name: &'a str,
    time_s: f64,
    /// RFC 3339; fractions and offset are cut off, as the schemas require.
    at: &'a str,
    properties: Vec<(&'static str, String)>,
}

/// The whole file of a run.
pub(crate) fn suite(summary: &Summary) -> String {
    let made_at = if summary.made_at.is_empty() { &summary.started_at } else { &summary.made_at };
    let name = facts::name(summary);
    let suite = Suite {
        name: &name,
        time_s: summary.wall_s,
        at: made_at,
        properties: vec![
            ("seed", summary.seed.to_string()),
            ("verdict", facts::verdict_of(summary).to_owned()),
            (if summary.interrupted { "whole_run" } else { "replay" }, summary.replay.clone()),
        ],
    };
    suite.of(&cases(summary))
}

/// The file when no run took place: an invalid scenario, a server that did not start.
pub(crate) fn of_failure(scenario: &str, at: &str, why: &str) -> String {
    let name = "the run completed".to_owned();
    let case = Case { group: "run", name, outcome: Outcome::Errored(why.to_owned()), time_s: 0.0 };
    Suite { name: scenario, time_s: 0.0, at, properties: Vec::new() }.of(&[case])
}

/// The file of a search for the load limit: its verdict, why it is not a pass, and how long it took.
pub(crate) fn of_search(scenario: &str, at: &str, search: &JudgedCase) -> String {
    let case = Case { group: "search", ..trial(search) };
    Suite { name: scenario, time_s: search.time_s, at, properties: Vec::new() }.of(&[case])
}

/// The file of many trials.
pub(crate) fn of_trials(scenario: &str, at: &str, trials: &[JudgedCase]) -> String {
    let cases: Vec<Case> = trials.iter().map(trial).collect();
    let time_s = trials.iter().map(|trial| trial.time_s).sum();
    Suite { name: scenario, time_s, at, properties: Vec::new() }.of(&cases)
}

fn trial(JudgedCase { name, verdict, why, time_s }: &JudgedCase) -> Case {
    let outcome = match verdict {
        Verdict::Pass => Outcome::Passed,
        Verdict::Fail => Outcome::Failed(why.clone()),
        Verdict::Inconclusive => Outcome::Errored(why.clone()),
    };
    Case { group: "trials", name: name.clone(), outcome, time_s: *time_s }
}

impl Suite<'_> {
    fn of(&self, cases: &[Case]) -> String {
        let count = |is: fn(&Outcome) -> bool| cases.iter().filter(|case| is(&case.outcome)).count();
        let (name, tests) = (xml(self.name), cases.len());
        let totals = format!(
            "tests=\"{tests}\" failures=\"{}\" errors=\"{}\" time=\"{:.3}\"",
            count(|outcome| matches!(outcome, Outcome::Failed(_))),
            count(|outcome| matches!(outcome, Outcome::Errored(_))),
            self.time_s,
        );
        let skipped = count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        let at: String = self.at.chars().take(19).collect();
        let property = |(name, value): &(&str, String)| format!("<property name=\"{name}\" value=\"{}\"/>", xml(value));
        let lines = |lines: Vec<String>| lines.into_iter().map(|line| line + "\n").collect::<Vec<_>>().concat();
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {totals}>\n\
             <testsuite name=\"{name}\" id=\"0\" package=\"{name}\" {totals} skipped=\"{skipped}\" hostname=\"{HOST}\" \
             timestamp=\"{}\">\n<properties>\n{}</properties>\n{}<system-out/>\n<system-err/>\n</testsuite>\n</testsuites>\n",
            xml(&at),
            lines(self.properties.iter().map(property).collect()),
            lines(cases.iter().map(|case| element(case, &name)).collect()),
        )
    }
}

/// All test cases of a run. The last one is the run itself, with the reasons that no other case reports.
fn cases(summary: &Summary) -> Vec<Case> {
    let mut cases = expectations(summary);
    let case = |group, name: &str, outcome| Case { group, name: name.to_owned(), outcome, time_s: 0.0 };
    cases.push(case("ledger", "acknowledged and stored data agree", ledger(&summary.ledger)));
    let invariants = summary.invariants.iter().flatten();
    cases.extend(invariants.map(|judged| {
        let is_kept = judged.violations.is_empty();
        let outcome = if is_kept { Outcome::Passed } else { Outcome::Failed(judged.violations.join("; ")) };
        case("invariants", &judged.invariant, outcome)
    }));
    if !summary.adversaries.is_empty() {
        let attacks = facts::attacks(summary);
        let accepted = format!("{} of {} attempts were accepted, expected none", attacks.successes, attacks.attempts);
        let outcome = if attacks.successes == 0 { Outcome::Passed } else { Outcome::Failed(accepted) };
        cases.push(case("adversaries", "no attack succeeds", outcome));
    }
    let is_reported = cases.iter().any(|case| matches!(case.outcome, Outcome::Failed(_)));
    let run = Case { time_s: summary.wall_s, ..case("run", "the run completed", of_run(summary, is_reported)) };
    cases.push(run);
    cases
}

/// The outcome of the run itself: a failure that another case reports (`is_reported`) is not repeated, and counts once.
fn of_run(summary: &Summary, is_reported: bool) -> Outcome {
    let own = &summary.reasons_of_run;
    let reasons = if own.is_empty() { &summary.reasons } else { own };
    let reasons = || if reasons.is_empty() { "no reason was given".to_owned() } else { reasons.join("; ") };
    match summary.verdict {
        Verdict::Pass => Outcome::Passed,
        Verdict::Fail if own.is_empty() && is_reported => Outcome::Passed,
        Verdict::Fail => Outcome::Failed(reasons()),
        Verdict::Inconclusive => Outcome::Errored(reasons()),
    }
}

/// A case for each expectation. Its name is that of the metric and the kind of its bound, not the bound: the history
/// of a case survives a tighter bound. Equal names are numbered.
fn expectations(summary: &Summary) -> Vec<Case> {
    let mut named: BTreeMap<String, u32> = BTreeMap::new();
    let mut case = |one: &Expectation| {
        let kind = match one.bound.split_whitespace().next() {
            Some("<=") => "max",
            Some(">=") => "min",
            Some("=") => "equals",
            other => other.unwrap_or("bound"),
        };
        let name = format!("{} {kind}", one.name);
        let count = named.entry(name.clone()).or_default();
        *count += 1;
        let name = if *count == 1 { name } else { format!("{name} ({count})") };
        Case { group: "expectations", name, outcome: expectation(one, summary.verdict), time_s: 0.0 }
    };
    summary.expectations.iter().map(&mut case).collect()
}

/// The outcome of one expectation.
fn expectation(expectation: &Expectation, verdict: Verdict) -> Outcome {
    let missed = || {
        let (actual, bound) = (facts::actual(expectation), facts::bound(expectation));
        format!("{}: measured {actual}, expected {bound}", expectation.name).replace('\u{a0}', " ")
    };
    match (expectation.pass, verdict) {
        (true, _) => Outcome::Passed,
        (false, Verdict::Inconclusive) => Outcome::Errored(format!("{}, but the run is inconclusive", missed())),
        (false, _) => Outcome::Failed(missed()),
    }
}

/// The outcome of the ledger.
fn ledger(ledger: &Ledger) -> Outcome {
    let words = facts::ledger(ledger).replace('\u{a0}', " ");
    match (ledger.balances(), ledger.reconciled) {
        (false, _) => Outcome::Failed(words),
        (true, false) => Outcome::Skipped(words),
        (true, true) => Outcome::Passed,
    }
}

/// A test case as XML; `suite` is escaped already.
fn element(case: &Case, suite: &str) -> String {
    let (group, name) = (case.group, xml(&case.name));
    let open = format!("<testcase classname=\"{suite}.{group}\" name=\"{name}\" time=\"{:.3}\"", case.time_s);
    let with =
        |tag: &str, message: &str| format!("{open}><{tag} type=\"{group}\" message=\"{}\"/></testcase>", xml(message));
    match &case.outcome {
        Outcome::Passed => format!("{open}/>"),
        Outcome::Failed(message) => with("failure", message),
        Outcome::Errored(message) => with("error", message),
        // The schemas allow no attributes on a skipped case.
        Outcome::Skipped(message) => format!("{open}><skipped>{}</skipped></testcase>", xml(message)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// An element's attributes: those that it must have, and those that it may have besides.
    type Rule = (&'static str, &'static [&'static str], &'static [&'static str]);

    /// The stricter of the two schemas: Jenkins' xunit plugin and Ant.
    const RULES: [Rule; 10] = [
        ("testsuites", &[], &["name", "tests", "failures", "errors", "disabled", "time"]),
        (
            "testsuite",
            &["name", "tests", "failures", "errors", "time", "timestamp", "hostname", "id", "package"],
            &["skipped", "disabled"],
        ),
        ("properties", &[], &[]),
        ("property", &["name", "value"], &[]),
        ("testcase", &["name", "classname", "time"], &[]),
        ("failure", &["type"], &["message"]),
        ("error", &["type"], &["message"]),
        ("skipped", &[], &[]),
        ("system-out", &[], &[]),
        ("system-err", &[], &[]),
    ];

    /// Every element with its attributes, in order.
    fn elements(text: &str) -> Vec<(String, Vec<(String, String)>)> {
        let tags = text.split('<').skip(1).filter(|tag| !tag.starts_with(['?', '/']));
        let tags = tags.map(|tag| tag.split_once('>').unwrap().0.trim_end_matches('/'));
        let attributes = |rest: &str| {
            let parts: Vec<&str> = rest.split('"').collect();
            parts
                .chunks_exact(2)
                .map(|pair| (pair[0].trim().trim_end_matches('=').to_owned(), pair[1].to_owned()))
                .collect()
        };
        tags.map(|tag| {
            let (name, rest) = tag.split_once(' ').unwrap_or((tag, ""));
            (name.to_owned(), attributes(rest))
        })
        .collect()
    }

    fn assert_fits_the_schemas(text: &str) {
        for (name, attributes) in elements(text) {
            let (_, must, may) = RULES.iter().find(|(of, ..)| *of == name).unwrap_or_else(|| panic!("<{name}>"));
            let has = |wanted: &&str| attributes.iter().any(|(name, _)| name == wanted);
            assert!(must.iter().all(has), "<{name}> lacks one of {must:?}: {attributes:?}");
            for (attribute, value) in &attributes {
                assert!(
                    must.contains(&attribute.as_str()) || may.contains(&attribute.as_str()),
                    "<{name} {attribute}>"
                );
                let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
                match attribute.as_str() {
                    "tests" | "failures" | "errors" | "skipped" | "id" => assert!(is_number(value), "{value}"),
                    "time" => {
                        let (whole, part) = value.split_once('.').unwrap();
                        assert!(is_number(whole) && is_number(part) && part.len() <= 3, "{value}");
                    }
                    "timestamp" => {
                        let shape: String =
                            value.chars().map(|sign| if sign.is_ascii_digit() { '0' } else { sign }).collect();
                        assert_eq!(shape, "0000-00-00T00:00:00");
                    }
                    _ => {}
                }
            }
        }
        let order: Vec<String> = elements(text).into_iter().map(|(name, _)| name).collect();
        let last_case = order.iter().rposition(|name| name == "testcase").unwrap();
        assert_eq!(order[..3], ["testsuites", "testsuite", "properties"]);
        let out = order.iter().position(|name| name == "system-out").unwrap();
        assert!(out > last_case && order[out + 1] == "system-err" && order.len() == out + 2);
    }

    #[test]
    fn every_file_fits_the_schemas_of_ci_servers() {
        let mut failed = sample::summary();
        (failed.verdict, failed.expectations[0].pass) = (Verdict::Fail, false);
        let mut doubtful = failed.clone();
        (doubtful.verdict, doubtful.ledger) = (Verdict::Inconclusive, Ledger::default());
        for summary in [sample::summary(), failed, doubtful] {
            assert_fits_the_schemas(&suite(&summary));
        }
        assert_fits_the_schemas(&of_failure("a<b", "2026-11-28T10:00:00.123Z", "no \"server\""));
        let trial = |(verdict, time_s)| JudgedCase {
            time_s,
            ..JudgedCase::timeless("seed 1".to_owned(), verdict, "why".to_owned())
        };
        let trials = [(Verdict::Pass, 1.5), (Verdict::Fail, 2.25), (Verdict::Inconclusive, 0.0)].map(trial);
        let xml = of_trials("s", "2026-11-28T10:00:00.123Z", &trials);
        assert_fits_the_schemas(&xml);
        assert!(xml.contains("<testsuites tests=\"3\" failures=\"1\" errors=\"1\" time=\"3.750\""), "{xml}");
        assert!(xml.contains("name=\"seed 1\" time=\"1.500\"") && xml.contains("time=\"2.250\""), "{xml}");
    }

    #[test]
    fn a_pass_has_a_case_per_check() {
        let xml = suite(&sample::summary());
        assert!(xml.contains("<testsuites tests=\"6\" failures=\"0\" errors=\"0\" time="), "{xml}");
        assert!(xml.contains("name=\"heartbeat.p99_ms max\" time=\"0.000\"/>"), "{xml}");
        assert!(xml.contains("name=\"no attack succeeds\""), "{xml}");
    }

    #[test]
    fn a_missed_expectation_is_one_failure_with_numbers() {
        let mut summary = sample::summary();
        summary.verdict = Verdict::Fail;
        summary.reasons = vec!["`heartbeat.p99_ms <= 50` was not met: 80".into()];
        (summary.expectations[0].pass, summary.expectations[0].actual) = (false, Some(80.0));
        let xml = suite(&summary);
        let failure = "<failure type=\"expectations\" message=\"heartbeat.p99_ms: measured 80 ms, expected ≤ 50 ms\"/>";
        assert!(xml.contains(failure), "{xml}");
        assert!(xml.contains("failures=\"1\" errors=\"0\""), "and counts once: {xml}");
        summary.reasons_of_run = vec!["a step failed".into()];
        let xml = suite(&summary);
        assert!(xml.contains("failures=\"2\"") && xml.contains("message=\"a step failed\""), "{xml}");
    }

    #[test]
    fn names_outlive_a_change_of_the_bound_and_are_never_equal() {
        let mut summary = sample::summary();
        let names = |summary: &Summary| -> Vec<String> {
            let cases = elements(&suite(summary)).into_iter().filter(|(name, _)| name == "testcase");
            cases.map(|(_, attributes)| format!("{}.{}", attributes[0].1, attributes[1].1)).collect()
        };
        let before = names(&summary);
        summary.expectations[0].bound = "<= 40".into();
        assert_eq!(names(&summary), before);
        summary.expectations.extend([summary.expectations[0].clone(), summary.expectations[0].clone()]);
        let mut all = names(&summary);
        assert!(all.contains(&"steady-1000.expectations.heartbeat.p99_ms max (3)".to_owned()), "{all:?}");
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn a_rehearsals_time_is_when_it_was_made() {
        let mut summary = sample::summary();
        summary.started_at = "2026-01-01T00:00:00.000Z".into();
        summary.made_at = "2026-11-28T18:20:11.482Z".into();
        assert!(suite(&summary).contains("timestamp=\"2026-11-28T18:20:11\""));
    }

    #[test]
    fn a_run_that_was_ended_early_has_no_replay() {
        let mut summary = sample::summary();
        assert!(suite(&summary).contains("<property name=\"replay\" "));
        summary.interrupted = true;
        let xml = suite(&summary);
        assert!(!xml.contains("name=\"replay\"") && xml.contains("<property name=\"whole_run\" "), "{xml}");
    }

    #[test]
    fn an_unsound_measurement_is_an_error_and_never_a_failure() {
        let mut summary = sample::summary();
        summary.verdict = Verdict::Inconclusive;
        summary.reasons = vec!["the generator sent 62 % of what was offered".into()];
        summary.expectations[0].pass = false;
        let xml = suite(&summary);
        assert!(xml.contains("failures=\"0\" errors=\"2\""), "{xml}");
        assert!(xml.contains("message=\"the generator sent 62 % of what was offered\"/>"), "{xml}");
    }

    #[test]
    fn a_failed_run_never_looks_green() {
        let mut summary = sample::summary();
        summary.verdict = Verdict::Fail;
        summary.reasons = vec!["the server stopped answering ]]>".into()];
        let xml = suite(&summary);
        assert!(xml.contains("failures=\"1\"") && xml.contains("stopped answering ]]&gt;"), "{xml}");
    }

    #[test]
    fn a_ledger_that_could_not_be_asked_for_is_skipped() {
        let mut summary = sample::summary();
        summary.ledger = Ledger::default();
        assert!(suite(&summary).contains("skipped=\"1\""));
    }
}
