//! `junit.xml`: the verdict for CI servers, one test case per promise.
//!
//! What was measured and found wanting is a `<failure>`; what could not be measured soundly is an `<error>`, and then an
//! expectation that was missed is an error too: the run shows nothing either way. The ledger and the adversaries need no
//! sound timing, so they fail in any run.

use crate::escape::xml;
use crate::facts;
use crate::run_folder::{Expectation, Ledger, Summary, Verdict};

/// How a test case ended.
enum Outcome {
    Passed,
    Failed(String),
    Errored(String),
    Skipped(String),
}

/// A test case: group, name, outcome.
struct Case {
    group: &'static str,
    name: String,
    outcome: Outcome,
}

/// The whole file.
pub(crate) fn suite(summary: &Summary) -> String {
    let cases = cases(summary);
    let count = |is: fn(&Outcome) -> bool| cases.iter().filter(|case| is(&case.outcome)).count();
    let (name, tests) = (xml(&summary.scenario), cases.len());
    let totals = format!(
        "tests=\"{tests}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{:.3}\"",
        count(|outcome| matches!(outcome, Outcome::Failed(_))),
        count(|outcome| matches!(outcome, Outcome::Errored(_))),
        count(|outcome| matches!(outcome, Outcome::Skipped(_))),
        summary.wall_s,
    );
    let cases: String = cases.iter().map(|case| element(case, &name)).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {totals}>\n\
         <testsuite name=\"{name}\" {totals} timestamp=\"{started}\">\n<properties>\n\
         <property name=\"seed\" value=\"{seed}\"/>\n<property name=\"verdict\" value=\"{verdict}\"/>\n\
         <property name=\"replay\" value=\"{replay}\"/>\n</properties>\n{cases}</testsuite>\n</testsuites>\n",
        started = xml(summary.started_at.trim_end_matches('Z')),
        seed = summary.seed,
        verdict = facts::verdict_word(summary.verdict),
        replay = xml(&summary.replay),
    )
}

/// All test cases of a run. The last one is the run itself, with every reason why it did not pass.
fn cases(summary: &Summary) -> Vec<Case> {
    let mut cases: Vec<Case> = summary.expectations.iter().map(|one| expectation(one, summary.verdict)).collect();
    cases.push(Case {
        group: "ledger",
        name: "what was acknowledged is what is stored".into(),
        outcome: ledger(&summary.ledger),
    });
    let promises = summary.promises.iter().flatten();
    cases.extend(promises.map(|judged| Case {
        group: "promises",
        name: judged.promise.clone(),
        outcome: if judged.breaches.is_empty() { Outcome::Passed } else { Outcome::Failed(judged.breaches.join("; ")) },
    }));
    if !summary.adversaries.is_empty() {
        let attacks = facts::attacks(summary);
        let honoured = format!("{} of {} attempts were honoured, expected none", attacks.successes, attacks.attempts);
        let outcome = if attacks.successes == 0 { Outcome::Passed } else { Outcome::Failed(honoured) };
        cases.push(Case { group: "adversaries", name: "no attack succeeds".into(), outcome });
    }
    let reasons = if summary.reasons.is_empty() { "no reason was given".into() } else { summary.reasons.join("; ") };
    let outcome = match summary.verdict {
        Verdict::Pass => Outcome::Passed,
        Verdict::Fail => Outcome::Failed(reasons),
        Verdict::Inconclusive => Outcome::Errored(reasons),
    };
    cases.push(Case { group: "run", name: "run passes".into(), outcome });
    cases
}

/// The outcome of one expectation.
fn expectation(expectation: &Expectation, verdict: Verdict) -> Case {
    let missed = || {
        let (actual, bound) = (facts::actual(expectation), facts::bound(expectation));
        format!("{}: measured {actual}, expected {bound}", expectation.name).replace('\u{a0}', " ")
    };
    let outcome = match (expectation.pass, verdict) {
        (true, _) => Outcome::Passed,
        (false, Verdict::Inconclusive) => Outcome::Errored(format!("{}, but the run is inconclusive", missed())),
        (false, _) => Outcome::Failed(missed()),
    };
    let bound = facts::bound(expectation).replace('\u{a0}', " ");
    Case { group: "expectations", name: format!("{} {bound}", expectation.name), outcome }
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
    let open = format!("<testcase classname=\"{suite}.{}\" name=\"{}\"", case.group, xml(&case.name));
    let with = |tag: &str, message: &str| format!("{open}><{tag} message=\"{}\"/></testcase>\n", xml(message));
    match &case.outcome {
        Outcome::Passed => format!("{open}/>\n"),
        Outcome::Failed(message) => with("failure", message),
        Outcome::Errored(message) => with("error", message),
        Outcome::Skipped(message) => with("skipped", message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_pass_has_a_case_per_promise() {
        let xml = suite(&sample::summary());
        assert!(xml.contains("<testsuites tests=\"6\" failures=\"0\" errors=\"0\" skipped=\"0\""), "{xml}");
        assert!(xml.contains("name=\"heartbeat.p99_ms ≤ 50 ms\"/>"), "{xml}");
        assert!(xml.contains("name=\"no attack succeeds\"/>"), "{xml}");
    }

    #[test]
    fn a_missed_expectation_is_a_failure_with_numbers() {
        let mut summary = sample::summary();
        summary.verdict = Verdict::Fail;
        (summary.expectations[0].pass, summary.expectations[0].actual) = (false, Some(80.0));
        let xml = suite(&summary);
        assert!(xml.contains("<failure message=\"heartbeat.p99_ms: measured 80 ms, expected ≤ 50 ms\"/>"), "{xml}");
    }

    #[test]
    fn an_unsound_measurement_is_an_error_and_never_a_failure() {
        let mut summary = sample::summary();
        summary.verdict = Verdict::Inconclusive;
        summary.reasons = vec!["the generator sent 62 % of what was offered".into()];
        summary.expectations[0].pass = false;
        let xml = suite(&summary);
        assert!(xml.contains("failures=\"0\" errors=\"2\""), "{xml}");
        assert!(xml.contains("<error message=\"the generator sent 62 % of what was offered\"/>"), "{xml}");
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
