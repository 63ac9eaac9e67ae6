//! Progress of a run on standard error: one live line on a terminal, a line every few seconds elsewhere.

use std::{
    cell::RefCell,
    io::{IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use ks_protocol::text::printable;
use ks_reports::run_folder::{Segment, Summary, Tick, Verdict, VerdictCounts};

pub(crate) use crate::number::grouped;
use crate::{
    conductor::Observer,
    host::stopwatch::Stopwatch,
    number::counted,
    run::{live_metrics::LiveMetrics, measure::Measurements},
};

/// Real time between two updates on a terminal, and between two lines elsewhere.
const UPDATE_EVERY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// Progress on standard error.
pub struct Console {
    is_terminal: bool,
    is_quiet: bool,
    interrupted: Arc<AtomicBool>,
    sockets: Arc<AtomicU64>,
    shown: Stopwatch,
    errors: u64,
    /// Before each line of progress.
    before: String,
    live: Option<LiveMetrics>,
}

impl Console {
    /// A console that stops on Ctrl-C through `interrupted` and counts sockets through `sockets`.
    pub fn new(is_quiet: bool, interrupted: Arc<AtomicBool>, sockets: Arc<AtomicU64>) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self {
            is_terminal,
            is_quiet,
            interrupted,
            sockets,
            shown: Stopwatch::started(),
            errors: 0,
            before: String::new(),
            live: None,
        }
    }

    /// The same of a run whose metrics are served while it goes on.
    #[must_use]
    pub fn with_metrics(self, live: Option<LiveMetrics>) -> Self {
        Self { live, ..self }
    }

    /// The same of a run that is a part of something, which `before` says before each line of progress.
    #[must_use]
    pub fn of_part(self, before: String) -> Self {
        Self { before, ..self }
    }

    /// A console of a rehearsal, which has no sockets.
    pub fn rehearsing(is_quiet: bool, interrupted: Arc<AtomicBool>) -> Self {
        Self::new(is_quiet, interrupted, Arc::default())
    }

    /// Completes when the user interrupts the run; if that takes long, shows `what` the run is waiting for. Real time only:
    /// it polls.
    pub async fn interrupted(&self, what: &RefCell<String>) {
        let (since, every) = (Stopwatch::started(), if self.is_terminal { 1 } else { 5 });
        let mut shown_s = 0;
        while !self.interrupted.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let elapsed_s = since.elapsed().as_secs();
            if !self.is_quiet && elapsed_s >= shown_s + every {
                shown_s = elapsed_s;
                self.show(&format!("{}{} ... {elapsed_s} s", self.before, what.borrow()));
            }
        }
    }

    fn show(&self, line: &str) {
        let (mut stderr, line) = (std::io::stderr(), printable(line));
        // A closed standard error is no reason to end a run.
        let _ = if self.is_terminal { write!(stderr, "\r\x1b[2K{line}") } else { writeln!(stderr, "{line}") };
        let _ = stderr.flush();
    }

    /// Prints what begins, a line that later progress does not overwrite; a part has said so before.
    pub fn print(&self, line: &str) {
        if !self.is_quiet && self.before.is_empty() {
            let clear = if self.is_terminal { "\r\x1b[2K" } else { "" };
            let _ = writeln!(std::io::stderr(), "{clear}{}", printable(line));
        }
    }
}

impl Observer for Console {
    fn measured(&mut self, elapsed_s: f64, total: &Measurements) {
        if let Some(live) = &self.live {
            live.update(elapsed_s, total, self.open_sockets());
        }
    }

    fn tick(&mut self, tick: &Tick, planned_s: f64) {
        let refused = tick.codes.iter().filter(|(code, _)| *code != "OK").map(|(_, count)| count);
        self.errors += refused.sum::<u64>();
        let at_s = tick.at_s + tick.width_s;
        let every = if self.is_terminal { UPDATE_EVERY.0 } else { UPDATE_EVERY.1 };
        let is_after_the_end = at_s > planned_s;
        if self.is_quiet || is_after_the_end || self.shown.elapsed() < every {
            return;
        }
        self.shown = Stopwatch::started();
        let per_min = tick.acked as f64 * 60.0 / tick.width_s;
        let p99 = tick.p99_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        self.show(&format!(
            "{}{:>6} / {} | {} | {} heartbeats/min | p99 {p99} | {}",
            self.before,
            span(at_s),
            span(planned_s),
            counted(tick.registered, "device"),
            grouped(whole(per_min)),
            counted(self.errors, "error"),
        ));
    }

    fn part(&mut self, what: &str) {
        let is_worth_a_line = self.is_terminal || self.before.is_empty();
        if !self.is_quiet && is_worth_a_line {
            self.show(&format!("{}{what} ...", self.before));
        }
    }

    fn wants_to_stop(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn open_sockets(&self) -> u64 {
        self.sockets.load(Ordering::Relaxed)
    }
}

/// Rounded to a whole number; 0 for what is negative or no number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast from a float saturates")]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// `30 s`, `12 min 5 s`, `47 h 59 min`.
pub fn span(seconds: f64) -> String {
    let whole = whole(seconds);
    match whole {
        0..120 => format!("{whole} s"),
        120..7_200 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
    }
}

/// The result of a run in a few lines.
pub fn verdict(summary: &Summary, is_terminal: bool) -> String {
    let (word, colour) = match summary.verdict {
        Verdict::Pass if summary.segment.is_some() => ("COMPLETE", "32"),
        Verdict::Pass => ("PASS", "32"),
        Verdict::Fail => ("FAIL", "31"),
        Verdict::Inconclusive => ("INCONCLUSIVE", "33"),
    };
    let word = if is_terminal { format!("\x1b[1;{colour}m{word}\x1b[0m") } else { word.to_owned() };
    let mut text = format!("{word}  {}\n{}", printable(&name(summary)), segments(summary));
    if summary.unverified_answers > 0 {
        text += &format!("  the signatures of {} were not verified\n", counted(summary.unverified_answers, "answer"));
    }
    for reason in &summary.reasons {
        text += &format!("  - {}\n", printable(reason));
    }
    for expectation in &summary.expectations {
        let mark = if expectation.pass { "met    " } else { "NOT MET" };
        let actual =
            expectation.actual.map_or_else(|| "no sample".to_owned(), |actual| number(actual, &expectation.unit));
        text += &printable(&format!("  {mark}  {} {}: {actual}", expectation.name, expectation.bound));
        text.push('\n');
    }
    if let Some(why) = &summary.ended_early {
        text += &format!("  {}\n", printable(why));
    }
    let beats = &summary.heartbeats;
    text += &format!(
        "  {}, {} acknowledged, {} a minute\n",
        counted(summary.devices, "device"),
        counted(beats.acked, "heartbeat"),
        grouped(whole(beats.per_min))
    );
    if let Some(latency) = summary.latency_ms.get("heartbeat").filter(|_| summary.has_latency) {
        text += &format!("  latency p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms\n", latency.p50, latency.p99, latency.max);
    }
    text += &limits(summary);
    if let Some(tls) = &summary.tls {
        let [full, resumed, failed] = [tls.full, tls.resumed, tls.failed].map(grouped);
        let p99 = tls.handshake_ms.map_or_else(String::new, |times| format!(", p99 {:.1} ms", times.p99));
        let why = tls.first_failure.as_ref().map_or_else(String::new, |why| format!(" (the first: {why})"));
        text += &printable(&format!("  TLS handshakes: {full} full, {resumed} resumed, {failed} failed{why}{p99}"));
        text.push('\n');
    }
    let ledger = &summary.ledger;
    if ledger.reconciled {
        text += &format!(
            "  ledger: {} checked, {} lost, {} duplicated, {} reordered, {} misattributed\n",
            grouped(ledger.checked),
            ledger.lost,
            ledger.duplicated,
            ledger.reordered,
            ledger.misattributed
        );
        if ledger.acks_checked > 0 {
            let (checked, lost) = (grouped(ledger.acks_checked), ledger.acks_lost);
            text += &format!("  ACKs: {checked} checked, {lost} lost, {} misattributed\n", ledger.acks_misattributed);
        }
        if ledger.punches_stored + ledger.punches_lost > 0 {
            text += &format!(
                "  punches: {} stored, {} lost, {} duplicated, {} misattributed\n",
                grouped(ledger.punches_stored),
                ledger.punches_lost,
                ledger.punches_duplicated,
                ledger.punches_misattributed
            );
        }
    }
    if let Some(left_out) = summary.events_kept.left_out() {
        text += &format!("  {left_out}\n");
    }
    if let Some(hash) = &summary.event_log_sha256 {
        text += &format!("  event log {hash}\n");
        if summary.verdict != Verdict::Pass {
            text += &format!("  {}: {}\n", summary.replay_label(), printable(&summary.replay));
        }
    }
    text.trim_end().to_owned()
}

/// The scenario, or which segment of it.
fn name(summary: &Summary) -> String {
    let segment = summary.segment.as_ref();
    let segment = segment.map(|segment| format!(", segment {} of {}", segment.number, segment.of));
    format!("{}{}", summary.scenario, segment.unwrap_or_default())
}

/// What a segment says of itself, or how many a run was merged from; nothing of a run that one process made.
fn segments(summary: &Summary) -> String {
    if let Some(Segment { of, clock, .. }) = &summary.segment {
        return format!(
            "  nothing is judged of the fleet: `ks-fleet merge` does that, over all {of} segments together\n  the clock of this generator was {clock}\n"
        );
    }
    let count = u64::try_from(summary.segments.len()).unwrap_or(u64::MAX);
    if count == 0 { String::new() } else { format!("  merged from {}\n", counted(count, "segment")) }
}

/// What limits did against what they had to do; nothing where they had nothing to do.
fn limits(summary: &Summary) -> String {
    let Some(verdicts) = summary.limit_verdicts.as_ref().filter(|of| of.all != VerdictCounts::default()) else {
        return String::new();
    };
    let VerdictCounts { rightly_refused, falsely_refused, falsely_admitted, undecidable } = verdicts.all;
    let counts = format!(
        "  limits: {} rightly admitted, {} rightly refused, {falsely_refused} falsely refused, {falsely_admitted} falsely admitted, {undecidable} undecidable\n",
        grouped(verdicts.rightly_admitted),
        grouped(rightly_refused),
    );
    let undecided = verdicts.undecided().map(|what| format!("  {}\n", what.replace('\u{a0}', ","))).unwrap_or_default();
    counts + &undecided
}

/// Why a run did not pass and how to repeat it: all that a quiet run prints.
pub fn failure(summary: &Summary) -> String {
    let word = if summary.verdict == Verdict::Inconclusive { "INCONCLUSIVE" } else { "FAIL" };
    let mut reasons = String::new();
    for reason in &summary.reasons {
        reasons.push_str("\n  - ");
        reasons.push_str(&printable(reason));
    }
    let (scenario, replay) = (printable(&name(summary)), printable(&summary.replay));
    format!("{word}  {scenario}{reasons}\n  {}: {replay}", summary.replay_label())
}

fn number(value: f64, unit: &str) -> String {
    let shown = if value.fract().abs() < 1e-9 { grouped(whole(value)) } else { format!("{value:.2}") };
    if unit.is_empty() { shown } else { format!("{shown} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!((grouped(0), grouped(999), grouped(1_234_567)), ("0".into(), "999".into(), "1,234,567".into()));
        assert_eq!(
            (span(30.0), span(125.0), span(172_740.0)),
            ("30 s".into(), "2 min 5 s".into(), "47 h 59 min".into())
        );
        assert_eq!(number(59_987.0, "/min"), "59,987 /min");
    }
}
