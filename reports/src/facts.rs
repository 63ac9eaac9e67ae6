//! Sentences and figures of a summary, shared by every form of the report.

use crate::number;
use crate::recovery::Recovered;
use crate::run_folder::{Attacks, Expectation, Ledger, Mode, OK, RolloutSummary, Summary, TlsHandshakes, Verdict};

/// The verdict as one word, readable without its colour.
pub(crate) fn verdict_word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "PASS",
        Verdict::Fail => "FAIL",
        Verdict::Inconclusive => "INCONCLUSIVE",
    }
}

/// The verdict of a run as one word. A segment that passes is complete and nothing more: its scenario is judged over all segments.
pub(crate) fn verdict_of(summary: &Summary) -> &'static str {
    match (&summary.segment, summary.verdict) {
        (Some(_), Verdict::Pass) => "COMPLETE",
        (_, verdict) => verdict_word(verdict),
    }
}

/// What was run: the scenario, or which segment of it.
pub(crate) fn name(summary: &Summary) -> String {
    let segment = summary.segment.as_ref();
    let segment = segment.map(|segment| format!(", segment {} of {}", segment.number, segment.of));
    format!("{}{}", summary.scenario, segment.unwrap_or_default())
}

/// What a segment is for, in a sentence.
pub(crate) const OF_SEGMENT: &str =
    "A segment judges nothing that the scenario expects of the fleet: ks-fleet merge does, over all segments.";

/// The verdict in a sentence.
pub(crate) fn verdict_sentence(summary: &Summary) -> String {
    let verdict = verdict_alone(summary);
    match unverified(summary) {
        None => verdict,
        Some(unverified) => format!("{verdict} {unverified}"),
    }
}

/// How many answers a run that verifies a sample has not verified, and what the sample says of them: if none of `n` verified ones was bad,
/// then with 95 % confidence at most a share of 1 - 0.05^(1/n) of all is. None if all were verified.
pub(crate) fn unverified(summary: &Summary) -> Option<String> {
    let unverified = summary.unverified_answers;
    let ok: u64 = summary.requests_by_code.values().filter_map(|codes| codes.get(OK)).sum();
    let verified = ok.saturating_sub(unverified) + summary.bad_server_signatures;
    let sample = match (verified, summary.bad_server_signatures) {
        (0, _) => "None was verified, which says nothing about them.".to_owned(),
        (_, 0) => {
            let share = 1.0 - 0.05_f64.powf(1.0 / verified as f64);
            format!(
                "None of the {} verified ones was bad, which leaves up to {} % of all possible (95 % confidence).",
                number::grouped(verified),
                number::measured(share * 100.0)
            )
        }
        (_, bad) => format!("{} of the {} verified ones were bad.", number::grouped(bad), number::grouped(verified)),
    };
    (unverified > 0)
        .then(|| format!("The signatures of {} answers were not verified. {sample}", number::grouped(unverified)))
}

fn verdict_alone(summary: &Summary) -> String {
    match summary.verdict {
        Verdict::Pass if summary.segment.is_some() => format!("The segment's own measurement was sound. {OF_SEGMENT}"),
        Verdict::Pass => "Every expectation was met, and the measurement was sound.".into(),
        Verdict::Inconclusive => {
            "This run shows nothing either way: too little evidence, or the generator was the limit.".into()
        }
        Verdict::Fail => failure_sentence(summary),
    }
}

/// Which of the three kinds of checks failed.
fn failure_sentence(summary: &Summary) -> String {
    let (count, met) = (summary.expectations.len(), met_count(summary));
    let missed = format!("{} of {count} expectations not met.", count.saturating_sub(met));
    let parts = [
        (met < count, missed.as_str()),
        (!summary.ledger.balances(), "Acknowledged and stored data differ."),
        (attacks(summary).successes > 0, "An attack succeeded."),
    ];
    let sentences: Vec<&str> = parts.iter().filter(|(is_true, _)| *is_true).map(|(_, words)| *words).collect();
    if sentences.is_empty() { "The run did not reach its goal.".into() } else { sentences.join(" ") }
}

/// The blast radius of a release, with the numbers as all others on the page.
pub(crate) fn rollout(rollout: &RolloutSummary) -> String {
    rollout.sentence_with(number::grouped)
}

/// Why a report has no response times.
pub(crate) const NO_LATENCY: &str = "Response times are not shown: nothing in this scenario delays an answer, so on the virtual clock they are next to nothing.";

/// The mode as a noun.
pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Load => "load run",
        Mode::Rehearse => "rehearsal",
    }
}

/// Requests of honest devices that ended: all of them, and those that did not end in a success.
pub(crate) fn requests(summary: &Summary) -> (u64, u64) {
    let codes = || summary.requests_by_code.values().flatten();
    let sum = |all: u64, (_, count): (&String, &u64)| all.saturating_add(*count);
    (codes().fold(0, sum), codes().filter(|(code, _)| *code != OK).fold(0, sum))
}

/// How long the fleet took to come back after outages, in words.
pub(crate) fn recovery(of: &Recovered) -> String {
    let time = |seconds: Option<f64>| seconds.map_or_else(|| "never".into(), number::span);
    let (affected, never) = (number::grouped(of.affected), number::grouped(of.never_served));
    let [half, most, all] = [of.p50_s, of.p99_s, of.max_s].map(time);
    format!(
        "{affected} devices affected: half were served again after {half}, 99 % after {most}, all after {all}; {never} were never served again"
    )
}

/// TLS handshakes in words.
pub(crate) fn tls(of: &TlsHandshakes) -> String {
    let (full, resumed, failed) = (number::grouped(of.full), number::grouped(of.resumed), number::grouped(of.failed));
    let times = of.handshake_ms.map_or_else(String::new, |times| {
        format!(
            "; p50 {}, p99 {}, max {}",
            number::millis(times.p50),
            number::millis(times.p99),
            number::millis(times.max)
        )
    });
    let why = of.first_failure.as_ref().map_or_else(String::new, |why| format!(" (the first: {why})"));
    format!("{full} full, {resumed} resumed, {failed} failed{why}{times}")
}

/// The reconciliation in words.
pub(crate) fn ledger(ledger: &Ledger) -> String {
    let count = number::grouped;
    if !ledger.reconciled {
        return "Not reconciled: the stored rows could not be read, so this run says nothing about lost or duplicated data."
            .into();
    }
    let mut text = format!(
        "{} {} checked against what the server stored: {} lost, {} duplicated, {} reordered, {} misattributed.",
        count(ledger.checked),
        if ledger.checked == 1 { "acknowledgement" } else { "acknowledgements" },
        count(ledger.lost),
        count(ledger.duplicated),
        count(ledger.reordered),
        count(ledger.misattributed),
    );
    if ledger.unacknowledged > 0 {
        text += &format!(
            " {} more stored without an acknowledgement reaching the device (allowed: an answer can be lost).",
            count(ledger.unacknowledged)
        );
    }
    if ledger.acks_checked + ledger.acks_misattributed > 0 {
        text += &format!(
            " {} ACKs of commands checked: {} lost, {} misattributed.",
            count(ledger.acks_checked),
            count(ledger.acks_lost),
            count(ledger.acks_misattributed),
        );
    }
    if ledger.punches_stored + ledger.punches_lost > 0 {
        text += &format!(
            " {} punches stored: {} lost, {} duplicated, {} misattributed.",
            count(ledger.punches_stored),
            count(ledger.punches_lost),
            count(ledger.punches_duplicated),
            count(ledger.punches_misattributed),
        );
    }
    text
}

/// The measured value, with its unit.
pub(crate) fn actual(expectation: &Expectation) -> String {
    expectation.actual.map_or("no sample".into(), |actual| with_unit(number::measured(actual), &expectation.unit))
}

/// The bound, with its unit and typographic signs.
pub(crate) fn bound(expectation: &Expectation) -> String {
    let signs = expectation.bound.replace("<=", "≤").replace(">=", "≥");
    with_unit(number::group_within(&signs), &expectation.unit)
}

/// Whether it was met, in words.
pub(crate) fn met(expectation: &Expectation) -> &'static str {
    match (expectation.pass, expectation.actual) {
        (true, Some(_)) => "met",
        (true, None) => "met (allowed empty)",
        (false, Some(_)) => "not met",
        (false, None) => "not met: no sample",
    }
}

/// Number of expectations that were met.
pub(crate) fn met_count(summary: &Summary) -> usize {
    summary.expectations.iter().filter(|expectation| expectation.pass).count()
}

/// Attempts and successes of all adversaries together.
pub(crate) fn attacks(summary: &Summary) -> Attacks {
    summary.adversaries.values().fold(Attacks::default(), |all, one| Attacks {
        attempts: all.attempts.saturating_add(one.attempts),
        successes: all.successes.saturating_add(one.successes),
        unjudged: all.unjudged.saturating_add(one.unjudged),
    })
}

/// Text and unit; a rate's unit follows without a space.
fn with_unit(text: String, unit: &str) -> String {
    match unit {
        "" => text,
        unit if unit.starts_with('/') => format!("{text}{unit}"),
        unit => format!("{text}\u{a0}{unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// By hand: of 60 good ones in a sample, 0.05^(1/60) = e^(-2.9957/60) = 0.95130 of all at least are good.
    #[test]
    fn what_a_sample_of_signatures_says_is_said() {
        let mut summary = sample::summary();
        assert_eq!(unverified(&summary), None);
        summary.requests_by_code = [("heartbeat".to_owned(), sample::codes(&[("OK", 6_000), ("REVOKED", 9)]))].into();
        summary.unverified_answers = 5_940;
        let said = |summary: &Summary| unverified(summary).unwrap().replace('\u{a0}', " ");
        let start = "The signatures of 5 940 answers were not verified.";
        assert_eq!(
            said(&summary),
            format!(
                "{start} None of the 60 verified ones was bad, which leaves up to 4.87 % of all possible (95 % confidence)."
            )
        );
        assert!(verdict_sentence(&summary).replace('\u{a0}', " ").contains(start));
        summary.bad_server_signatures = 3;
        assert_eq!(said(&summary), format!("{start} 3 of the 63 verified ones were bad."));
        summary.unverified_answers = 6_000;
        summary.bad_server_signatures = 0;
        assert!(said(&summary).ends_with("None was verified, which says nothing about them."));
    }

    #[test]
    fn the_ledger_is_described_in_words() {
        let text = ledger(&sample::summary().ledger).replace('\u{a0}', " ");
        assert_eq!(
            text,
            "30 000 acknowledgements checked against what the server stored: 0 lost, 0 duplicated, 0 reordered, 0 misattributed. \
             3 more stored without an acknowledgement reaching the device (allowed: an answer can be lost)."
        );
        assert!(ledger(&Ledger::default()).starts_with("Not reconciled"));
    }

    #[test]
    fn a_bound_has_typographic_signs_and_its_unit() {
        let expectation = |bound: &str, unit: &str| Expectation {
            name: "heartbeat.p99_ms".into(),
            actual: Some(12.5),
            bound: bound.into(),
            pass: true,
            unit: unit.into(),
        };
        assert_eq!(bound(&expectation("<= 50", "ms")), "≤ 50\u{a0}ms");
        assert_eq!(bound(&expectation(">= 1000", "/min")), "≥ 1\u{a0}000/min");
        assert_eq!(actual(&expectation("= 0", "")), "12.5");
    }

    #[test]
    fn requests_that_did_not_end_ok_are_counted_over_all_message_types() {
        assert_eq!(requests(&sample::summary()), (31_100, 100));
    }
}
