//! Run folders made up for tests: what the simulator would leave behind, without running it.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

mod rollout;

use hdrhistogram::Histogram;
use ks_reports::run_folder::{
    Attacks, DECISIONS, EVENTS, EventsKept, Expectation, FORMAT, Generator, Heartbeats, LATENCY, Ledger, Mode,
    Percentiles, Phase, ROLLOUTS, RolloutDecision, RolloutSample, Summary, TICKS, Tick, Verdict,
};
use ks_reports::{EventLogWriter, LatencyLogWriter, write_summary};
use serde::Serialize;

pub(crate) use rollout::{bad_rollout, good_rollout, hotfix};

/// A run to be written to a folder.
pub(crate) struct Folder {
    /// What goes to `summary.json`.
    pub(crate) summary: Summary,
    /// What goes to `ticks.ndjson`.
    pub(crate) ticks: Vec<Tick>,
    /// Response times of each tick, in microseconds.
    pub(crate) latency: Vec<Histogram<u64>>,
    /// What goes to `rollouts.ndjson`, which is absent without any.
    pub(crate) rollouts: Vec<RolloutSample>,
    /// What goes to `decisions.ndjson`, which is absent without any.
    pub(crate) decisions: Vec<RolloutDecision>,
}

/// A small generator of numbers that look random and are the same each time.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// The next number, from 0 up to 1.
    pub(crate) fn roll(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f64 / (1_u64 << 24) as f64
    }
}

pub(crate) fn codes(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().filter(|(_, count)| *count > 0).map(|(code, count)| ((*code).to_owned(), *count)).collect()
}

pub(crate) fn expectation(name: &str, actual: Option<f64>, bound: &str, unit: &str, pass: bool) -> Expectation {
    Expectation { name: name.into(), actual, bound: bound.into(), pass, unit: unit.into() }
}

/// Phases from names and ends in seconds.
pub(crate) fn phases(ends: &[(&str, f64)]) -> Vec<Phase> {
    let starts = [0.0].into_iter().chain(ends.iter().map(|(_, end)| *end));
    ends.iter()
        .zip(starts)
        .map(|((name, to_s), from_s)| Phase { name: (*name).into(), from_s, to_s: *to_s, figures: None })
        .collect()
}

impl Folder {
    /// A run of `count` ticks, with nothing in them.
    pub(crate) fn empty(scenario: &str, goal: &str, mode: Mode, count: u32, width_s: f64) -> Folder {
        let ticks = (0..count).map(|nth| Tick { at_s: f64::from(nth) * width_s, width_s, ..Tick::default() }).collect();
        let latency = (0..count).map(|_| Histogram::new(3).unwrap()).collect();
        let span_s = f64::from(count) * width_s;
        let summary = Summary {
            format: FORMAT,
            scenario: scenario.into(),
            goal: goal.into(),
            mode,
            seed: 42,
            verdict: Verdict::Pass,
            reasons: Vec::new(),
            reasons_of_run: Vec::new(),
            exit_code: 0,
            target: if mode == Mode::Load { "embedded server".into() } else { "in process".into() },
            started_at: "2027-01-15T08:00:00Z".into(),
            made_at: String::new(),
            wall_s: if mode == Mode::Load { span_s + 1.2 } else { 41.7 },
            simulated_s: span_s,
            interrupted: false,
            devices: 0,
            heartbeats: Heartbeats::default(),
            requests_by_code: BTreeMap::new(),
            latency_ms: BTreeMap::new(),
            service_ms: BTreeMap::new(),
            other_latency_ms: BTreeMap::new(),
            has_latency: true,
            bad_server_signatures: 0,
            unverified_answers: 0,
            generator: Generator { achieved_bp: 10_000, ..Generator::default() },
            tls: None,
            ledger: Ledger { reconciled: true, ..Ledger::default() },
            adversaries: BTreeMap::new(),
            late_devices: None,
            limits: Vec::new(),
            limit_verdicts: None,
            writes_in_progress_max: None,
            limit_memory_bytes: None,
            let_through_per_s_max: None,
            adversary_requests: BTreeMap::new(),
            expectations: Vec::new(),
            phases: Vec::new(),
            invariants: None,
            events_kept: EventsKept::All,
            event_log_sha256: None,
            replay: format!("ks-fleet run scenarios/{scenario}.toml --seed 42"),
            ended_early: None,
            notes: Vec::new(),
            reactions: None,
            recovery: None,
            rollout: None,
            other_rollouts: Vec::new(),
            segment: None,
            segments: Vec::new(),
        };
        Folder { summary, ticks, latency, rollouts: Vec::new(), decisions: Vec::new() }
    }

    /// Gives tick `nth` its beats: offered, acknowledged, other codes, and the typical response time in microseconds.
    pub(crate) fn beat(
        &mut self,
        nth: usize,
        offered: u64,
        acked: u64,
        others: &[(&str, u64)],
        micros: f64,
        random: &mut Random,
    ) {
        let samples = &mut self.latency[nth];
        for _ in 0..acked.min(5_000) {
            let tail = 1.0 / (1.0 - random.roll() * 0.999_5);
            samples.record((micros * (0.6 + 0.4 * tail.powf(0.45) * (1.0 + random.roll()))) as u64).unwrap();
        }
        let tick = &mut self.ticks[nth];
        (tick.offered, tick.sent, tick.acked) = (offered, offered, acked);
        tick.codes = codes(&[("OK", acked)]);
        tick.codes.extend(codes(others));
        if acked > 0 {
            let at = |quantile| Some(samples.value_at_quantile(quantile) as f64 / 1_000.0);
            (tick.p50_ms, tick.p99_ms, tick.max_ms) = (at(0.5), at(0.99), at(1.0));
        }
    }

    /// Sums up the ticks in the summary.
    pub(crate) fn sum_up(&mut self) {
        let offered: u64 = self.ticks.iter().map(|tick| tick.offered).sum();
        let acked: u64 = self.ticks.iter().map(|tick| tick.acked).sum();
        let minutes = self.summary.simulated_s / 60.0;
        self.summary.heartbeats = Heartbeats {
            sent: offered,
            acked,
            in_flight_at_end: 0,
            per_min: acked as f64 / minutes,
            offered_per_min: offered as f64 / minutes,
        };
        let mut by_code = BTreeMap::<String, u64>::new();
        for (code, count) in self.ticks.iter().flat_map(|tick| &tick.codes) {
            *by_code.entry(code.clone()).or_default() += count;
        }
        if !by_code.is_empty() {
            self.summary.requests_by_code.insert("heartbeat".into(), by_code);
        }
        let mut all = Histogram::<u64>::new(3).unwrap();
        self.latency.iter().for_each(|part| all.add(part).unwrap());
        if !all.is_empty() {
            let at = |quantile| all.value_at_quantile(quantile) as f64 / 1_000.0;
            let of =
                Percentiles { count: acked, p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: at(1.0) };
            self.summary.latency_ms.insert("heartbeat".into(), of);
            self.summary.service_ms.insert("heartbeat".into(), Percentiles { p50: of.p50 * 0.9, ..of });
        }
        self.summary.ledger.checked = acked;
    }

    /// Writes the folder as the simulator does: the summary last.
    pub(crate) fn write(&self, dir: &Path) {
        fs::create_dir_all(dir).unwrap();
        write_lines(&dir.join(TICKS), &self.ticks);
        if !self.rollouts.is_empty() {
            write_lines(&dir.join(ROLLOUTS), &self.rollouts);
        }
        if !self.decisions.is_empty() {
            write_lines(&dir.join(DECISIONS), &self.decisions);
        }
        let log = BufWriter::new(File::create(dir.join(LATENCY)).unwrap());
        let mut log = LatencyLogWriter::new(log, 1_800_000_000_000).unwrap();
        for (tick, micros) in self.ticks.iter().zip(&self.latency) {
            log.write(tick.at_s, tick.width_s, micros).unwrap();
        }
        log.finish().unwrap();
        let mut log = EventLogWriter::new(File::create(dir.join(EVENTS)).unwrap()).unwrap();
        log.write(b"test").unwrap(); // whose SHA-256 everybody knows
        log.finish().unwrap();
        write_summary(dir, &self.summary).unwrap();
    }
}

/// One JSON object a line.
fn write_lines(file: &Path, all: &[impl Serialize]) {
    let mut out = BufWriter::new(File::create(file).unwrap());
    for one in all {
        serde_json::to_writer(&mut out, one).unwrap();
        out.write_all(b"\n").unwrap();
    }
    out.flush().unwrap();
}

/// A passed load run: 1,000 devices for 30 s.
pub(crate) fn normal() -> Folder {
    let goal = "A thousand devices beat every second against the embedded server for half a minute.";
    let mut folder = Folder::empty("steady-1000", goal, Mode::Load, 30, 1.0);
    let mut random = Random(1);
    for nth in 0..30 {
        let offered = if nth < 5 { 200 * (nth as u64 + 1) } else { 990 + (random.roll() * 20.0) as u64 };
        let refused = if (12..15).contains(&nth) { (random.roll() * 12.0) as u64 } else { 0 };
        folder.beat(nth, offered, offered - refused, &[("ERR1_RATE_LIMITED", refused)], 1_400.0, &mut random);
    }
    folder.sum_up();
    let summary = &mut folder.summary;
    (summary.devices, summary.phases) = (1_000, phases(&[("ramp", 5.0), ("steady", 28.0), ("drain", 30.0)]));
    summary.requests_by_code.insert("register".into(), codes(&[("OK", 1_000)]));
    summary.requests_by_code.insert("attendance".into(), codes(&[("OK", 2_410), ("ERR1_REPLAYED", 3)]));
    let punch = Percentiles { count: 2_413, p50: 2.31, p90: 4.02, p99: 9.8, p999: 21.4, max: 24.9 };
    summary.latency_ms.insert("attendance".into(), punch);
    summary.service_ms.insert("attendance".into(), punch);
    summary.generator = Generator {
        cpu_s: 9.3,
        server_cpu_s: Some(21.8),
        server_rss_bytes: Some(120_000_000),
        late_sends: 12,
        send_lag_p50_ms: 0.08,
        send_lag_p99_ms: 1.4,
        achieved_bp: 9_997,
        rss_bytes: 61_400_000,
        sockets_max: 64,
    };
    summary.adversaries.insert("replayer".into(), Attacks { attempts: 1_200, successes: 0, unjudged: 0 });
    summary.adversaries.insert("forger".into(), Attacks { attempts: 800, successes: 0, unjudged: 0 });
    summary.expectations = vec![
        expectation("heartbeat.p99_ms during steady", Some(7.424), "<= 50", "ms", true),
        expectation("heartbeat.acked_per_min", Some(58_912.4), ">= 55000", "/min", true),
        expectation("errors.share_bp", Some(6.0), "<= 10", "bp", true),
        expectation("otrt.duplicated", None, "= 0", "", true),
    ];
    summary.notes =
        vec!["Server and generator shared one machine, so the rate is a lower limit of the server's.".into()];
    folder
}

/// One device, one tick, one beat.
pub(crate) fn single() -> Folder {
    let mut folder = Folder::empty("one-beat", "One device beats once.", Mode::Load, 1, 10.0);
    folder.beat(0, 1, 1, &[], 2_000.0, &mut Random(2));
    folder.sum_up();
    folder.summary.devices = 1;
    folder
}

/// A failed rehearsal of 72 h with a canary, an outage and a gap.
pub(crate) fn rehearsal() -> Folder {
    let goal =
        "The gate stops firmware that bricks 2 % of devices before it reaches a second stage, while a site is out.";
    let mut folder = Folder::empty("canary-catches-2pct-brick", goal, Mode::Rehearse, 4_320, 60.0);
    let mut random = Random(3);
    for nth in 0_u16..4_320 {
        let night = 0.85 + 0.15 * (f64::from(nth) / 1_440.0 * TAU).cos();
        let offered = (600.0 * night + random.roll() * 30.0) as u64;
        let out = (1_500..1_590).contains(&nth);
        let (timeouts, storm) = if out { (offered / 5, 0) } else { (0, u64::from((1_590..1_620).contains(&nth)) * 90) };
        let others = [
            ("TIMEOUT", timeouts),
            ("ERR1_RATE_LIMITED", storm),
            ("ERR1_STALE_SEQ", u64::from(random.roll() > 0.9) * 4),
        ];
        let micros = if storm > 0 { 900_000.0 } else { 45_000.0 };
        folder.beat(nth.into(), offered, offered - timeouts - storm, &others, micros, &mut random);
    }
    folder.ticks.drain(3_000..3_060);
    folder.latency.drain(3_000..3_060);
    folder.sum_up();
    let summary = &mut folder.summary;
    (summary.devices, summary.verdict, summary.exit_code) = (600, Verdict::Fail, 99);
    summary.phases = phases(&[
        ("ramp", 3_600.0),
        ("stage 1", 90_000.0),
        ("outage", 95_400.0),
        ("storm", 97_200.0),
        ("bake", 259_200.0),
    ]);
    summary.reasons = vec!["rollout.broken_devices was 19, expected <= 12".into()];
    summary.expectations = vec![
        expectation("rollout.broken_devices", Some(19.0), "<= 12", "", false),
        expectation("rollout.detected_at_s", Some(21_420.0), "<= 28800", "s", true),
        expectation("punches during outage", None, ">= 1", "", false),
    ];
    summary.event_log_sha256 = Some("9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into());
    summary.notes = vec![
        "Calls were made in process: keep-alive, header time-outs and backpressure were not part of this run.".into(),
    ];
    folder
}

/// A run in which the target never answered.
pub(crate) fn unanswered() -> Folder {
    let mut folder = Folder::empty("no-answer", "A target that never answers.", Mode::Load, 10, 1.0);
    folder.sum_up();
    let summary = &mut folder.summary;
    (summary.verdict, summary.exit_code, summary.interrupted) = (Verdict::Inconclusive, 4, true);
    summary.target = "https://fleet.example.org".into();
    summary.reasons = vec!["no heartbeat was answered, so nothing was measured".into()];
    summary.ledger = Ledger::default();
    folder
}
