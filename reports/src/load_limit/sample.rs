//! A small search for tests: 300,000 to 600,000 a minute, the limit near 480,000.

use super::{
    Bottleneck, KIND, LOAD_LIMIT_FORMAT, LimitInterval, LoadLimit, Reading, SearchSetup, SearchState, Step, StepVerdict,
};
use crate::run_folder::{Percentiles, Verdict};

pub(crate) fn step(number: u32, devices: u64, p99: f64, verdict: StepVerdict) -> Step {
    let per_min = devices as f64 * 60.0;
    let of =
        |p50: f64, p99: f64| Percentiles { count: devices * 10, p50, p90: p50, p99, p999: p99 * 2.0, max: p99 * 3.0 };
    let held = verdict == StepVerdict::Held;
    let reading = |of, metric: &str, measured: Option<f64>, threshold: f64| Reading {
        of,
        metric: metric.to_owned(),
        measured,
        threshold: Some(threshold),
        reached: measured.map(|measured| measured >= threshold),
        note: String::new(),
    };
    Step {
        number,
        purpose: "between".to_owned(),
        devices,
        planned_per_min: per_min,
        offered_per_min: per_min,
        acked_per_min: per_min,
        measured_s: 10.0,
        latency_ms: Some(of(p99 / 2.0, p99)),
        service_ms: Some(of(p99 / 2.0, p99)),
        send_lag_ms: Some(of(0.1, 0.4)),
        by_code: [("OK".to_owned(), devices * 10)].into(),
        generator_cores: 0.5,
        server_cores: Some(0.75),
        verdict,
        reasons: if held { Vec::new() } else { vec!["`heartbeat.p99_ms <= 50` was not met: <90> ms".to_owned()] },
        bottleneck: (!held).then_some(Bottleneck::CommitQueue),
        readings: vec![
            reading(Bottleneck::Limiter, "requests refused by a rate limit", Some(0.0), 1.0),
            reading(Bottleneck::ServerCpu, "server's CPU, cores", None, 1.8),
            reading(Bottleneck::CommitQueue, "share of the time in commits", Some(0.97), 0.9),
        ],
        replay: format!("ks-fleet run s.toml --devices {devices}"),
    }
}

pub(crate) fn found() -> LoadLimit {
    use StepVerdict::{Failed, Held};
    let steps = vec![
        step(1, 5_000, 2.0, Held),
        step(2, 10_000, 90.0, Failed),
        step(3, 7_071, 2.4, Held),
        step(4, 8_409, 70.0, Failed),
        step(5, 7_500, 3.1, Held),
        step(6, 8_000, 38.0, Held),
        step(7, 8_000, 40.0, Held),
    ];
    LoadLimit {
        format: LOAD_LIMIT_FORMAT,
        kind: KIND.to_owned(),
        scenario: "<script>".to_owned(),
        goal: "A goal.".to_owned(),
        seed: 1,
        target: "embedded server".to_owned(),
        started_at: "2026-11-30T05:00:00.000Z".to_owned(),
        wall_s: 200.0,
        state: SearchState::Finished,
        broken: String::new(),
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        exit_code: 0,
        setup: SearchSetup {
            expectations: vec!["heartbeat.p99_ms <= 50".to_owned(), "errors = 0".to_owned()],
            left_out: vec!["heartbeat.per_min >= 295000 during steady".to_owned()],
            without: vec!["timeline".to_owned()],
            verify_percent: 10,
            interval_s: 1.0,
            budget_s: 600.0,
            repeats: 3,
            resolution_per_cent: 10,
            quantile: 0.99,
            has_percentile: true,
            samples_wanted: 10_000,
            samples_min: 1_000,
            cores: 2,
            is_one_machine: false,
        },
        interval: LimitInterval {
            held_per_min: Some(480_000.0),
            held_runs: 3,
            above_per_min: Some(504_540.0),
            above_runs: 3,
            above_failed: 3,
        },
        is_confirmed: true,
        is_lower_bound: false,
        bottleneck: Some(Bottleneck::CommitQueue),
        evidence_step: Some(4),
        steps,
        replay: "ks-fleet find-limit s.toml".to_owned(),
    }
}
