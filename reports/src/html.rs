//! `report.html`: one self-contained page, from the verdict down to the details. No script, nothing fetched.

#![expect(clippy::format_collect, clippy::format_push_string, reason = "a page is written once: clarity before speed")]

use crate::escape::html as text;
use crate::facts;
use crate::number::{grouped, megabytes, millis, share, span, whole};
use crate::plot::Figure;
use crate::run::Run;
use crate::run_folder::{Attacks, Expectation, InvariantResult, Mode, Percentiles, Phase, Summary, Verdict};

mod limits;
mod reactions;
mod recovery;
mod review;
mod rollout;
mod segments;

const STYLE: &str = include_str!("report.css");

pub(crate) fn page(run: &Run, figures: &[Figure]) -> String {
    let summary = &run.summary;
    let is_reviewed = run.review.as_ref().is_some_and(|review| !review.rollouts.is_empty());
    let (gates, figures): (Vec<&Figure>, Vec<&Figure>) =
        figures.iter().partition(|figure| is_reviewed && figure.name == "gate_statistic");
    let sections = [
        verdict(summary),
        review::sections(run, &gates),
        expectations(summary),
        invariants(summary),
        rollout::section(run, &figures),
        key_numbers(summary),
        recovery::of(summary),
        reactions::of(summary),
        limits::decided(summary),
        limits::of(summary),
        adversaries(summary),
        plots(&figures),
        codes(summary),
        latencies(summary),
        generator(summary),
        segments::of(summary),
        notes(summary),
        replay(summary),
        about(run),
    ];
    let goal = format!("<p>{}</p>\n", text(&summary.goal));
    let title = format!("{}: {}", facts::verdict_of(summary), facts::name(summary));
    let kicker = format!("report of a {}", facts::mode(summary.mode));
    document(&title, &kicker, &facts::name(summary), &(goal + &sections.concat()))
}

/// Seconds after which the page of something that is running is loaded again.
const RELOAD_S: u32 = 5;

/// A whole page around its `body`, which is HTML; the rest is text.
pub(crate) fn document(title: &str, kicker: &str, heading: &str, body: &str) -> String {
    document_reloaded(false, title, kicker, heading, body)
}

/// The same; as long as it `is_running`, the browser loads it again and again.
pub(crate) fn document_reloaded(is_running: bool, title: &str, kicker: &str, heading: &str, body: &str) -> String {
    let reload =
        if is_running { format!("<meta http-equiv=\"refresh\" content=\"{RELOAD_S}\">\n") } else { String::new() };
    let (title, kicker, heading) = (text(title), text(kicker), text(heading));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n{reload}\
         <title>{title} · KS Attendance</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n\
         <p class=\"kicker\">KS Attendance · {kicker}</p>\n<h1>{heading}</h1>\n{body}</main>\n</body>\n</html>\n"
    )
}

/// A section under a heading; `class` may be empty.
pub(crate) fn section(class: &str, heading: &str, body: &str) -> String {
    format!("<section class=\"{class}\">\n<h2>{}</h2>\n{body}</section>\n", text(heading))
}

/// A table: column headings (those that start with `#` hold numbers), then rows of ready HTML cells.
/// Of the class `cards`, each row becomes a block of its own on a phone.
pub(crate) fn table(class: &str, caption: &str, columns: &[&str], rows: &[String]) -> String {
    let heading = |column: &&str| match column.strip_prefix('#') {
        Some(column) => format!("<th scope=\"col\" class=\"n\">{}</th>", text(column)),
        None => format!("<th scope=\"col\">{}</th>", text(column)),
    };
    let headings: String = columns.iter().map(heading).collect();
    let rows: String = rows.iter().map(|row| format!("<tr>{row}</tr>\n")).collect();
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{}\"><table class=\"{class}\">\n<thead><tr>{headings}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n",
        text(caption)
    )
}

/// The first cell of a row, which names it.
pub(crate) fn name_cell(name: &str) -> String {
    format!("<th scope=\"row\">{}</th>", text(name))
}

/// A cell of a number.
fn number_cell(number: &str) -> String {
    format!("<td class=\"n\">{}</td>", text(number))
}

/// A cell of a number that says its column where the headings are hidden.
pub(crate) fn labelled_cell(label: &str, number: &str) -> String {
    format!("<td class=\"n\" data-label=\"{}\">{}</td>", text(label), text(number))
}

/// The verdict, with its reasons.
fn verdict(summary: &Summary) -> String {
    let (class, sign) = match summary.verdict {
        Verdict::Pass => ("verdict pass", "✓"),
        Verdict::Fail => ("verdict fail", "✗"),
        Verdict::Inconclusive => ("verdict inconclusive", "?"),
    };
    let mut body = format!("<p>{}</p>\n", facts::verdict_sentence(summary));
    for rollout in summary.rollouts().take(review::ROLLOUTS_MAX) {
        body.push_str(&format!("<p><strong>Rollout.</strong> {}</p>\n", text(&facts::rollout(rollout))));
    }
    if !summary.reasons.is_empty() {
        let reasons: String = summary.reasons.iter().map(|reason| format!("<li>{}</li>\n", text(reason))).collect();
        body.push_str(&format!("<ul>\n{reasons}</ul>\n"));
    }
    if summary.interrupted {
        body.push_str("<p><strong>Interrupted:</strong> the run was ended early.</p>\n");
    }
    let heading = format!("{sign} {}", facts::verdict_of(summary));
    section(class, &heading, &body)
}

/// Every expectation with its outcome.
fn expectations(summary: &Summary) -> String {
    let count = summary.expectations.len();
    if summary.segment.is_some() {
        return section("", "Expectations", &format!("<p>{}</p>\n", facts::OF_SEGMENT));
    }
    if count == 0 {
        return section(
            "",
            "Expectations",
            "<p>The scenario has no expectations, so only the ledger and the measurement were judged.</p>\n",
        );
    }
    let row = |expectation: &Expectation| {
        let (class, sign) = if expectation.pass { ("met", "✓") } else { ("unmet", "✗") };
        format!(
            "{}{}{}<td class=\"{class}\">{sign} {}</td>",
            name_cell(&expectation.name),
            labelled_cell("measured", &facts::actual(expectation)),
            labelled_cell("bound", &facts::bound(expectation)),
            facts::met(expectation),
        )
    };
    let rows: Vec<String> = summary.expectations.iter().map(row).collect();
    let heading = format!("Expectations: {} of {count} met", facts::met_count(summary));
    section("", &heading, &table("cards", "Expectations", &["Expectation", "#Measured", "#Bound", "Met"], &rows))
}

/// The invariants that every rehearsal must hold, whatever it expects.
fn invariants(summary: &Summary) -> String {
    let Some(invariants) = &summary.invariants else { return String::new() };
    let kept = invariants.iter().filter(|judged| judged.violations.is_empty()).count();
    let item = |judged: &InvariantResult| {
        let (class, sign) = if judged.violations.is_empty() { ("met", "✓ held") } else { ("unmet", "✗ violated") };
        format!("{}<td class=\"{class}\">{sign}</td>", name_cell(&judged.invariant))
    };
    let rows: Vec<String> = invariants.iter().map(item).collect();
    let heading = format!("Invariants: {kept} of {} held", invariants.len());
    section("", &heading, &table("cards", "Invariants", &["Invariant", "Result"], &rows))
}

/// The key numbers, and the ledger.
fn key_numbers(summary: &Summary) -> String {
    let beats = summary.heartbeats;
    let (requests, refused) = facts::requests(summary);
    let latency = summary.latency_ms.get("heartbeat").copied().unwrap_or_default();
    let time = |name: &'static str, value, meaning: &str| match latency.count {
        0 => (name, "–".into(), "no answered heartbeats".into()),
        _ => (name, millis(value), meaning.into()),
    };
    let figures = vec![
        ("Devices", grouped(summary.devices), format!("for {}", span(summary.simulated_s))),
        (
            "Heartbeats per minute",
            whole(beats.per_min),
            format!("acknowledged, of {} offered, in the steady part", whole(beats.offered_per_min)),
        ),
        (
            "Heartbeats acknowledged",
            grouped(beats.acked),
            format!("of {} sent; {} in flight at the end", grouped(beats.sent), grouped(beats.in_flight_at_end)),
        ),
        time("Response time p50", latency.p50, "half of the heartbeats were faster"),
        time("Response time p99", latency.p99, "99 of 100 were faster"),
        time("Response time max", latency.max, "the slowest"),
        (
            "Errors",
            grouped(refused),
            match requests {
                0 => "no requests".into(),
                _ => format!("{} of {} requests did not end OK", share(refused, requests), grouped(requests)),
            },
        ),
        (
            "Bad server signatures",
            grouped(summary.bad_server_signatures),
            "answers whose signature did not verify".into(),
        ),
    ];
    let tls = summary.tls.as_ref();
    let tls = tls.map(|tls| ("TLS handshakes", grouped(tls.full + tls.resumed), facts::tls(tls)));
    let figures =
        figures.into_iter().chain(tls).filter(|(name, ..)| summary.has_latency || !name.starts_with("Response time"));
    let figure = |(name, value, more): (&str, String, String)| {
        format!("<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>\n", text(name), text(&value), text(&more))
    };
    let class = if summary.ledger.balances() { "ledger" } else { "ledger bad" };
    let body = format!(
        "<dl class=\"figures\">\n{}</dl>\n<p class=\"{class}\"><strong>Ledger.</strong> {}</p>\n",
        figures.map(figure).collect::<String>(),
        text(&facts::ledger(&summary.ledger)),
    );
    section("", "Key numbers", &body)
}

/// The adversaries' attempts, if there were any.
fn adversaries(summary: &Summary) -> String {
    if summary.adversaries.is_empty() {
        return String::new();
    }
    let row = |(kind, attacks): (&String, &Attacks)| {
        let (class, words) = match attacks {
            Attacks { successes: 1.., .. } => ("unmet", "✗ accepted"),
            Attacks { attempts: 0, .. } => ("unmet", "✗ never tried"),
            _ => ("met", "✓ all refused"),
        };
        let attempts = labelled_cell("attempts", &grouped(attacks.attempts));
        let successes = labelled_cell("successes", &grouped(attacks.successes));
        let unjudged = labelled_cell("not judged", &grouped(attacks.unjudged));
        format!("{}{attempts}{successes}{unjudged}<td class=\"{class}\">{words}</td>", name_cell(kind))
    };
    let rows: Vec<String> = summary.adversaries.iter().map(row).collect();
    let columns = ["Adversary", "#Attempts", "#Successes", "#Not judged", "Outcome"];
    let body = table("cards", "Adversaries", &columns, &rows);
    section(
        "",
        "Adversaries",
        &format!(
            "{body}<p class=\"muted\">A success is a request that the server accepted; there must be none. Not judged: requests without an answer or refused by a rate limit, which prove nothing.</p>\n"
        ),
    )
}

/// The plots of a run, embedded in the page.
fn plots(figures: &[&Figure]) -> String {
    section("plots", "Plots", &pictures(figures.iter().copied().filter(|figure| !figure.is_of_rollout)))
}

/// Plots, one below the other.
pub(crate) fn pictures<'a>(figures: impl Iterator<Item = &'a Figure>) -> String {
    let figure = |figure: &Figure| {
        let svg = figure.svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
        format!(
            "<figure class=\"plot\" id=\"{}\" tabindex=\"0\" role=\"group\" aria-label=\"{}\">\n{svg}</figure>\n",
            figure.name,
            text(&figure.title)
        )
    };
    let hint = "<p class=\"muted swipe\">Swipe a plot sideways to see the whole.</p>\n".to_owned();
    hint + &figures.map(figure).collect::<String>()
}

/// Requests by message type and by how they ended.
fn codes(summary: &Summary) -> String {
    let mut rows = Vec::new();
    for (message, codes) in &summary.requests_by_code {
        let all: u64 = codes.values().sum();
        let mut codes: Vec<_> = codes.iter().collect();
        codes.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
        rows.extend(codes.into_iter().map(|(code, count)| {
            let (share, count) = (share(*count, all), grouped(*count));
            format!(
                "{}<td><code>{}</code></td>{}{}",
                name_cell(message),
                text(code),
                number_cell(&count),
                number_cell(&share)
            )
        }));
    }
    if rows.is_empty() {
        return section("", "Requests by message type", "<p>No request ended.</p>\n");
    }
    let columns = ["Message", "Ended with", "#Requests", "#Share of the message"];
    section("", "Requests by message type", &table("", "Requests by message type and code", &columns, &rows))
}

/// Response and service times by message type.
fn latencies(summary: &Summary) -> String {
    let row = |message: &String, kind: &str, of: &Percentiles| {
        let times = [of.p50, of.p90, of.p99, of.p999, of.max].map(|value| number_cell(&millis(value))).concat();
        format!("{}<td>{kind}</td>{}{times}", name_cell(message), number_cell(&grouped(of.count)))
    };
    let mut rows = Vec::new();
    for (message, of) in &summary.latency_ms {
        rows.push(row(message, "response", of));
        rows.extend(summary.service_ms.get(message).map(|of| row(message, "service", of)));
    }
    for (message, codes) in &summary.other_latency_ms {
        rows.extend(codes.iter().map(|(code, of)| row(message, &format!("response, <code>{}</code>", text(code)), of)));
    }
    if rows.is_empty() || !summary.has_latency {
        return String::new();
    }
    let columns = ["Message", "Time", "#Answers", "#p50", "#p90", "#p99", "#p99.9", "#max"];
    let body = table("", "Response and service times by message type", &columns, &rows);
    let note = "<p class=\"muted\">Response time counts from the intended send, service time from the actual send; both end with the verified answer. Rows with a code are of requests that ended with it; the others ended OK.</p>\n";
    section("", "Response and service times", &format!("{body}{note}"))
}

/// Whether the load generator kept up with its own schedule.
fn generator(summary: &Summary) -> String {
    let (of, beats) = (&summary.generator, &summary.heartbeats);
    let acknowledged = share(rounded(beats.per_min), rounded(beats.offered_per_min));
    let server_cpu = of.server_cpu_s.map_or("not measured".into(), span);
    let rows = [
        ("Heartbeats sent of those due, in the steady part", share(of.achieved_bp.into(), 10_000)),
        ("Acknowledged of these", acknowledged),
        ("Late sends", grouped(of.late_sends)),
        ("Send lag, p50", millis(of.send_lag_p50_ms)),
        ("Send lag, p99", millis(of.send_lag_p99_ms)),
        ("CPU time of the simulator", span(of.cpu_s)),
        ("CPU time of the server", server_cpu),
        ("Memory at the peak", megabytes(of.rss_bytes)),
        ("Open sockets at the peak", grouped(of.sockets_max)),
    ];
    // In virtual time nothing is late by a time that says anything, and no socket is open.
    let is_real = |name: &str| !name.starts_with("Send lag") && !name.starts_with("Open sockets");
    let shown = rows.iter().filter(|(name, _)| summary.mode == Mode::Load || is_real(name));
    let rows: Vec<String> = shown.map(|(name, value)| format!("{}{}", name_cell(name), number_cell(value))).collect();
    section("", "Generator health", &table("", "Generator health", &["Measurement", "#Value"], &rows))
}

/// A rate to the nearest whole number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from a float saturates")]
fn rounded(rate: f64) -> u64 {
    rate.round() as u64
}

/// Notes for the reader.
fn notes(summary: &Summary) -> String {
    let no_latency = facts::NO_LATENCY.to_owned();
    let no_latency = Some(&no_latency).filter(|_| !summary.has_latency);
    let notes: Vec<&String> = summary.ended_early.iter().chain(&summary.notes).chain(no_latency).collect();
    if notes.is_empty() {
        return String::new();
    }
    let items: String = notes.into_iter().map(|note| format!("<li>{}</li>\n", text(note))).collect();
    section("", "Notes", &format!("<ul>\n{items}</ul>\n"))
}

/// How to repeat the run.
fn replay(summary: &Summary) -> String {
    let ended = "<p>This run was ended early, and no command repeats it up to that point. The complete run:</p>\n";
    let intro = if summary.interrupted { ended } else { "" };
    let mut body = format!("{intro}<pre><code>{}</code></pre>\n", text(&summary.replay));
    if let Some(hash) = &summary.event_log_sha256 {
        let repeats = if summary.interrupted { "" } else { "The same seed and build give the same event log. " };
        body.push_str(&format!("<p>{repeats}SHA-256 of its lines:</p>\n<pre><code>{}</code></pre>\n", text(hash)));
    }
    if let Some(left_out) = summary.events_kept.left_out() {
        body.push_str(&format!("<p>{}</p>\n", text(left_out)));
    }
    let heading = if summary.interrupted { "Run it in full" } else { "Run it again" };
    section("", heading, &body)
}

/// The run's circumstances.
fn about(run: &Run) -> String {
    let summary = &run.summary;
    let phase = |phase: &Phase| format!("{} {}–{}", phase.name, span(phase.from_s), span(phase.to_s));
    let phases: Vec<String> = run.phases.iter().map(phase).collect();
    let facts = [
        ("Scenario", summary.scenario.clone()),
        ("Mode", facts::mode(summary.mode).to_owned()),
        ("Target", summary.target.clone()),
        ("Seed", summary.seed.to_string()),
        ("Started", summary.started_at.clone()),
        ("Time on the run's clock", span(summary.simulated_s)),
        ("Real time", span(summary.wall_s)),
        ("Phases", if phases.is_empty() { "none".into() } else { phases.join(", ") }),
        ("Exit code", summary.exit_code.to_string()),
        ("Format of the folder", summary.format.to_string()),
    ];
    let fact = |(name, value): &(&str, String)| format!("<dt>{}</dt><dd>{}</dd>\n", text(name), text(value));
    section(
        "",
        "About this run",
        &format!("<dl class=\"facts\">\n{}</dl>\n", facts.iter().map(fact).collect::<String>()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    /// The page of a run with this summary and one tick, without pictures.
    fn page_of(summary: Summary) -> String {
        page(&Run::new(summary, &[sample::tick(0.0, 1_000)], None), &[])
    }

    #[test]
    fn sections_come_in_the_order_of_interest() {
        let page = page_of(sample::summary());
        let headings = [
            "✓ PASS",
            "Expectations: 1 of 1 met",
            "Key numbers",
            "Adversaries",
            "Plots",
            "Requests by",
            "Generator",
            "Notes",
        ];
        let places: Vec<usize> = headings.iter().map(|heading| page.find(&format!("<h2>{heading}")).unwrap()).collect();
        assert!(places.is_sorted(), "{places:?}");
        assert_eq!(page.matches("<h1>").count(), 1);
    }

    #[test]
    fn a_failure_says_why_in_words() {
        let mut summary = sample::summary();
        summary.verdict = Verdict::Fail;
        summary.reasons = vec!["heartbeat.p99_ms was 80, expected <= 50".into()];
        summary.expectations[0].pass = false;
        summary.invariants.as_mut().unwrap()[1].violations.push("it did not".into());
        summary.ledger.lost = 2;
        let page = page_of(summary);
        assert!(page.contains("✗ FAIL") && page.contains("was 80, expected &lt;= 50"));
        assert!(
            page.contains("✗ not met")
                && page.contains("Invariants: 1 of 2 held")
                && page.contains("class=\"ledger bad\"")
        );
    }

    #[test]
    fn a_run_that_was_ended_early_does_not_claim_that_it_can_be_repeated() {
        let mut summary = sample::summary();
        summary.event_log_sha256 = Some("ab".repeat(32));
        let whole = page_of(summary.clone());
        assert!(whole.contains("Run it again") && whole.contains("give the same event log"));
        summary.interrupted = true;
        let ended = page_of(summary);
        assert!(!ended.contains("Run it again") && !ended.contains("give the same event log"));
        assert!(ended.contains("no command repeats it up to that point. The complete run:"));
    }

    #[test]
    fn text_from_the_folder_is_never_markup() {
        let hostile = "<script>alert(1)</script>\"'&".to_owned();
        let mut summary = sample::summary();
        (summary.scenario, summary.goal, summary.replay) = (hostile.clone(), hostile.clone(), hostile.clone());
        (summary.target, summary.started_at) = (hostile.clone(), hostile.clone());
        (summary.reasons, summary.notes) = (vec![hostile.clone()], vec![hostile.clone()]);
        summary.event_log_sha256 = Some(hostile.clone());
        summary.expectations[0].name.clone_from(&hostile);
        summary.expectations[0].bound.clone_from(&hostile);
        summary.expectations[0].unit.clone_from(&hostile);
        summary.phases[0].name.clone_from(&hostile);
        summary.adversaries.insert(hostile.clone(), Attacks::default());
        let named = crate::run_folder::RolloutSummary { release: hostile.clone(), ..sample::rollout() };
        summary.rollout = Some(named);
        summary.requests_by_code.insert(hostile.clone(), sample::codes(&[(&hostile, 1)]));
        summary.latency_ms.insert(hostile, Percentiles::default());
        let page = page_of(summary);
        assert!(!page.contains("<script"), "markup got through");
        assert!(page.contains("&lt;script&gt;"));
    }
}
