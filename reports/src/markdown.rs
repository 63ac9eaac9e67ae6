//! `summary.md`: the short form for a CI job's summary.

#![expect(clippy::format_collect, clippy::format_push_string, reason = "a page is written once: clarity before speed")]

use crate::answers;
use crate::escape::markdown as text;
use crate::facts;
use crate::moments::Moments;
use crate::number::{grouped, millis, share, span, whole};
use crate::review::{Review, RolloutReview};
use crate::run_folder::{LimitCount, LimitVerdicts, Summary, Verdict, VerdictCounts};

/// Limits of rollouts, of each one's models, and of its devices by name.
const ROLLOUTS_MAX: usize = 3;
const MODELS_MAX: usize = 20;
const STORIES_MAX: usize = 5;

/// The whole file.
pub(crate) fn summary(summary: &Summary, review: Option<&Review>) -> String {
    let sign = match summary.verdict {
        Verdict::Pass => "✅",
        Verdict::Fail => "❌",
        Verdict::Inconclusive => "⚠️",
    };
    let mut out = format!(
        "## {sign} {}: {}\n\n{}\n\n",
        facts::verdict_of(summary),
        text(&facts::name(summary)),
        text(&summary.goal)
    );
    if let Some(unverified) = facts::unverified(summary) {
        out.push_str(&format!("{unverified}\n\n"));
    }
    for rollout in summary.rollouts().take(ROLLOUTS_MAX) {
        out.push_str(&format!("**Rollout:** {}\n\n", text(&facts::rollout(rollout))));
    }
    for rollout in review.iter().flat_map(|review| &review.rollouts).take(ROLLOUTS_MAX) {
        out.push_str(&answered(rollout, Moments::since(&summary.started_at)));
    }
    out.push_str(&reasons(summary));
    out.push_str(&expectations(summary));
    out.push_str(&numbers(summary));
    out.push_str(&limits(summary));
    for note in summary.ended_early.iter().chain(&summary.notes) {
        out.push_str(&format!("> {}\n>\n", text(note)));
    }
    out.push_str(&replay(summary));
    out
}

/// The answers about a rollout, briefly.
fn answered(of: &RolloutReview, moments: Moments) -> String {
    let mut out = format!("### {}\n\n", text(&of.rollout_id));
    let answers = [
        ("What was rolled out", answers::what(of, moments)),
        ("Was the bug found?", answers::found(of, moments)),
        ("Without the gate", answers::without_gate(of, moments)),
    ];
    for (question, answer) in answers {
        out.push_str(&format!("- **{question}** {}\n", text(&answer)));
    }
    let columns = of.columns();
    let headings: String = columns.iter().map(|column| format!(" {} |", answers::capitalized(column))).collect();
    out.push_str(&format!("\n| Model |{headings}\n| --- |{}\n", " ---: |".repeat(columns.len())));
    let by_model = of.counted(|cell| cell.model.clone());
    let sum = [("all".to_owned(), of.sum())];
    for (name, counts) in by_model.iter().take(MODELS_MAX).chain(&sum) {
        let counts: String = counts.iter().take(columns.len()).map(|count| format!(" {} |", grouped(*count))).collect();
        out.push_str(&format!("| {} |{counts}\n", text(name)));
    }
    out.push('\n');
    for story in of.stories.iter().take(STORIES_MAX) {
        out.push_str(&format!("- {}, {}\n", text(&story.device_id), text(&answers::story(story, moments))));
    }
    let more = of.stories_total.saturating_sub(STORIES_MAX as u64);
    if more > 0 {
        out.push_str(&format!("- and {} more: see the report\n", grouped(more)));
    }
    out.push('\n');
    out
}

/// The reasons why the run did not pass.
fn reasons(summary: &Summary) -> String {
    let mut out: String = summary.reasons.iter().map(|reason| format!("- {}\n", text(reason))).collect();
    if summary.interrupted {
        out.push_str("- Interrupted: the run was ended early.\n");
    }
    if !out.is_empty() {
        out.push('\n');
    }
    out
}

/// The table of expectations.
fn expectations(summary: &Summary) -> String {
    if summary.expectations.is_empty() {
        return String::new();
    }
    let mut out = "| Expectation | Measured | Bound | Met |\n| --- | ---: | ---: | --- |\n".to_owned();
    for expectation in &summary.expectations {
        let sign = if expectation.pass { "✅" } else { "❌" };
        let (actual, bound) = (facts::actual(expectation), facts::bound(expectation));
        let (name, actual, bound) = (text(&expectation.name), text(&actual), text(&bound));
        out.push_str(&format!("| {name} | {actual} | {bound} | {sign} {} |\n", facts::met(expectation)));
    }
    out.push('\n');
    out
}

/// Load, latency, errors, ledger and attacks, a line each.
fn numbers(summary: &Summary) -> String {
    let beats = summary.heartbeats;
    let (requests, refused) = facts::requests(summary);
    let mut lines = vec![format!(
        "**Load:** {} devices for {}, {} heartbeats acknowledged a minute of {} offered",
        grouped(summary.devices),
        span(summary.simulated_s),
        whole(beats.per_min),
        whole(beats.offered_per_min)
    )];
    match summary.latency_ms.get("heartbeat").filter(|latency| latency.count > 0) {
        _ if !summary.has_latency => {}
        Some(of) => {
            let (p50, p99, max) = (millis(of.p50), millis(of.p99), millis(of.max));
            lines.push(format!("**Heartbeat response time:** p50 {p50}, p99 {p99}, max {max}"));
        }
        None => lines.push("**Heartbeat response time:** no answered heartbeats".into()),
    }
    lines.push(format!(
        "**Errors:** {} of {} requests ({})",
        grouped(refused),
        grouped(requests),
        share(refused, requests)
    ));
    if let Some(recovery) = &summary.recovery {
        lines.push(format!("**Recovery from outages:** {}", facts::recovery(&recovery.all)));
    }
    lines.extend(summary.tls.as_ref().map(|tls| format!("**TLS handshakes:** {}", text(&facts::tls(tls)))));
    lines.push(format!("**Ledger:** {}", facts::ledger(&summary.ledger)));
    if !summary.adversaries.is_empty() {
        let attacks = facts::attacks(summary);
        lines.push(format!(
            "**Adversaries:** {} attempts, {} successes",
            grouped(attacks.attempts),
            grouped(attacks.successes)
        ));
    }
    lines.extend(fired(summary));
    let mut out: String = lines.iter().map(|line| format!("- {line}\n")).collect();
    out.push('\n');
    out
}

/// The limits that refused something, or in shadow would have, and the names of those that never did; none if all were silent.
fn fired(summary: &Summary) -> Option<String> {
    let in_words = |of: &LimitCount| match (of.refused, of.would_refuse) {
        (0, 0) => None,
        (0, would) => Some(format!("{} would have refused {}", text(&of.name), grouped(would))),
        (refused, 0) => Some(format!("{} refused {}", text(&of.name), grouped(refused))),
        (refused, would) => {
            Some(format!("{} refused {}, and would have refused {}", text(&of.name), grouped(refused), grouped(would)))
        }
    };
    let most = |of: &LimitCount| match of.most_in_words() {
        most if most.is_empty() => String::new(),
        most => format!(" (most of {})", text(&most)),
    };
    let fired: Vec<String> = summary.limits.iter().filter_map(|of| Some(in_words(of)? + &most(of))).collect();
    let is_silent = |of: &&LimitCount| of.refused + of.would_refuse == 0 && of.mode != "off";
    let silent: Vec<String> = summary.limits.iter().filter(is_silent).map(|of| text(&of.name)).collect();
    let never = if silent.is_empty() { String::new() } else { format!("; never fired: {}", silent.join(", ")) };
    (!fired.is_empty()).then(|| format!("**Limits of the server:** {}{never}", fired.join("; ")))
}

/// What limits did against what they had to do; nothing if none refused anything, or should have.
fn limits(summary: &Summary) -> String {
    let Some(LimitVerdicts { rightly_admitted, all, by_limit }) = &summary.limit_verdicts else { return String::new() };
    if by_limit.is_empty() && *all == VerdictCounts::default() {
        return String::new();
    }
    let mut out = "| Limit | Rightly admitted | Rightly refused | Falsely refused | Falsely admitted | Undecidable |\n\
                   | --- | ---: | ---: | ---: | ---: | ---: |\n"
        .to_owned();
    let mut row = |name: &str, admitted: &str, of: &VerdictCounts| {
        let counts = [of.rightly_refused, of.falsely_refused, of.falsely_admitted, of.undecidable].map(grouped);
        out.push_str(&format!("| {} | {admitted} | {} |\n", text(name), counts.join(" | ")));
    };
    for (name, counts) in by_limit {
        row(name, "–", counts);
    }
    row("all limits", &grouped(*rightly_admitted), all);
    out.push('\n');
    if let Some(undecided) = summary.limit_verdicts.as_ref().and_then(LimitVerdicts::undecided) {
        out.push_str(&format!("**{}**\n\n", text(&undecided)));
    }
    out
}

/// The command that repeats the run, in a fence that its own text cannot close.
fn replay(summary: &Summary) -> String {
    let longest = summary.replay.split(|sign| sign != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    let command = summary.replay.replace(['\n', '\r'], " ");
    let what = if summary.interrupted {
        "The run was ended early, and no command repeats it up to that point. The complete run"
    } else {
        "Run it again"
    };
    let mut out = format!("\n{what}:\n\n{fence}sh\n{command}\n{fence}\n");
    if let Some(hash) = &summary.event_log_sha256 {
        out.push_str(&format!("\nSHA-256 of the event log: {}\n", text(hash)));
    }
    if let Some(left_out) = summary.events_kept.left_out() {
        out.push_str(&format!("\n{}\n", text(left_out)));
    }
    out
}

#[cfg(test)]
mod tests {
    use crate::{run_folder::LimitCount, sample};

    #[test]
    fn the_summary_fits_a_job_page() {
        let text = super::summary(&sample::summary(), None).replace('\u{a0}', " ");
        assert!(text.starts_with("## ✅ PASS: steady-1000\n"), "{text}");
        assert!(text.contains("| heartbeat.p99\\_ms | 12.5 ms | ≤ 50 ms | ✅ met |"), "{text}");
        assert!(text.contains("- **Adversaries:** 500 attempts, 0 successes\n"), "{text}");
        assert!(text.contains("| device\\_requests | – | 4 000 | 1 | 0 | 0 |\n"), "{text}");
        assert!(text.contains("| all limits | 30 000 | 4 000 | 1 | 0 | 0 |\n"), "{text}");
        assert!(text.lines().count() < 30, "{text}");
    }

    #[test]
    fn it_says_which_limits_fired_and_which_never_did() {
        let limit = |name: &str, mode: &str, refused, would_refuse| LimitCount {
            name: name.to_owned(),
            mode: mode.to_owned(),
            checked: 9_000,
            refused,
            would_refuse,
            most_refused: Vec::new(),
        };
        let mut summary = sample::summary();
        let most_refused = vec![("127.0.0.1".to_owned(), 4_000), ("SIM-000007".to_owned(), 3_900)];
        summary.limits = vec![
            LimitCount { most_refused, ..limit("device_requests", "enforce", 4_000, 0) },
            limit("site_failures", "shadow", 0, 12),
            limit("registrations", "shadow", 0, 0),
            limit("token_calls", "off", 0, 0),
        ];
        let page = super::summary(&summary, None).replace('\u{a0}', " ");
        let said = "- **Limits of the server:** device\\_requests refused 4 000 (most of 127.0.0.1 4 000, SIM-000007 3 900); site\\_failures would have refused 12; never fired: registrations\n";
        assert!(page.contains(said), "{page}");
    }

    #[test]
    fn the_answers_about_a_rollout_are_there_in_short() {
        let review = crate::review::Review { silent_after_s: 60.0, rollouts: vec![sample::review()] };
        let text = super::summary(&sample::summary(), Some(&review)).replace('\u{a0}', " ");
        for part in [
            "- **Was the bug found?** Yes: gate 1 of all aborted it 2 h 20 min after its start",
            "- **Without the gate** Had all 3 000 targets got it",
            "| KS-200 | 143 | 50 | 45 | 5 | 7 | 7 |\n",
            "| all | 3 000 | 150 | 145 | 5 | 7 | 7 |\n",
            "- T-1, KS-200 at south: offered",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn a_rollout_comes_before_the_reasons() {
        let mut summary = sample::summary();
        summary.rollout = Some(crate::run_folder::RolloutSummary { release: "1.1|<b>".into(), ..sample::rollout() });
        summary.reasons = vec!["a gate failed".into()];
        let text = super::summary(&summary, None).replace('\u{a0}', " ");
        let sentence =
            "**Rollout:** Release 1.1\\|&lt;b&gt; broke 7 of 150 devices that installed it (4.67 %) and was aborted";
        assert!(text.find(sentence).unwrap() < text.find("- a gate failed").unwrap(), "{text}");
    }

    #[test]
    fn a_run_that_was_ended_early_does_not_claim_that_it_can_be_repeated() {
        let mut summary = sample::summary();
        assert!(super::summary(&summary, None).contains("\nRun it again:\n"));
        summary.interrupted = true;
        let text = super::summary(&summary, None);
        assert!(!text.contains("Run it again"), "{text}");
        assert!(
            text.contains(
                "\nThe run was ended early, and no command repeats it up to that point. The complete run:\n\n```sh\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn hostile_text_stays_in_its_place() {
        let mut summary = sample::summary();
        summary.expectations[0].name = "a|b\n| <script>".into();
        summary.replay = "x\n```\n# not a heading ````".into();
        let text = super::summary(&summary, None);
        assert!(text.contains("| a\\|b \\| &lt;script&gt; |"), "{text}");
        assert!(text.contains("\n`````sh\nx ``` # not a heading ````\n`````\n"), "{text}");
    }
}
