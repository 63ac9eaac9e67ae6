//! A run for unit tests: 1,000 devices for 30 s, passed.

use std::collections::BTreeMap;

use crate::run_folder::{
    Attacks, EventsKept, Expectation, FORMAT, Generator, Heartbeats, InvariantResult, Ledger, Mode, Percentiles, Phase,
    RolloutSummary, Summary, Tick, Verdict,
};

pub(crate) fn codes(counts: &[(&str, u64)]) -> BTreeMap<String, u64> {
    counts.iter().map(|(code, count)| ((*code).to_owned(), *count)).collect()
}

/// The summary of the run.
pub(crate) fn summary() -> Summary {
    let heartbeat = Percentiles { count: 30_000, p50: 1.2, p90: 2.4, p99: 12.5, p999: 30.1, max: 48.2 };
    Summary {
        format: FORMAT,
        scenario: "steady-1000".into(),
        goal: "A thousand devices beat once a second.".into(),
        mode: Mode::Load,
        seed: 42,
        verdict: Verdict::Pass,
        reasons: Vec::new(),
        reasons_of_run: Vec::new(),
        exit_code: 0,
        target: "embedded server".into(),
        started_at: "2027-01-15T08:00:00Z".into(),
        made_at: String::new(),
        wall_s: 31.4,
        simulated_s: 30.0,
        interrupted: false,
        devices: 1_000,
        heartbeats: Heartbeats {
            sent: 30_100,
            acked: 30_000,
            in_flight_at_end: 0,
            per_min: 59_940.0,
            offered_per_min: 60_000.0,
        },
        requests_by_code: [
            ("heartbeat".to_owned(), codes(&[("OK", 30_000), ("RATE_LIMITED", 100)])),
            ("register".to_owned(), codes(&[("OK", 1_000)])),
        ]
        .into(),
        latency_ms: [("heartbeat".to_owned(), heartbeat)].into(),
        service_ms: [("heartbeat".to_owned(), heartbeat)].into(),
        other_latency_ms: BTreeMap::new(),
        has_latency: true,
        bad_server_signatures: 0,
        generator: Generator {
            cpu_s: 8.2,
            achieved_bp: 9_998,
            rss_bytes: 52_000_000,
            sockets_max: 64,
            ..Generator::default()
        },
        ledger: Ledger { reconciled: true, checked: 30_000, unacknowledged: 3, ..Ledger::default() },
        adversary_requests: BTreeMap::new(),
        adversaries: [("replayer".to_owned(), Attacks { attempts: 500, successes: 0, unjudged: 0 })].into(),
        expectations: vec![Expectation {
            name: "heartbeat.p99_ms".into(),
            actual: Some(12.5),
            bound: "<= 50".into(),
            pass: true,
            unit: "ms".into(),
        }],
        phases: vec![
            Phase { name: "ramp".into(), from_s: 0.0, to_s: 5.0, figures: None },
            Phase { name: "steady".into(), from_s: 5.0, to_s: 30.0, figures: None },
        ],
        invariants: Some(vec![
            InvariantResult { invariant: "no attack succeeds".into(), violations: Vec::new() },
            InvariantResult { invariant: "what is over stays over".into(), violations: Vec::new() },
        ]),
        events_kept: EventsKept::All,
        event_log_sha256: None,
        replay: "ks-fleet run scenarios/steady-1000.toml --seed 42".into(),
        ended_early: None,
        notes: vec!["Server and generator shared one machine.".into()],
        rollout: None,
    }
}

/// One tick of a second: `offered` beats, all of them acknowledged in a few milliseconds.
pub(crate) fn tick(at_s: f64, offered: u64) -> Tick {
    Tick {
        at_s,
        width_s: 1.0,
        offered,
        sent: offered,
        acked: offered,
        codes: codes(&[("OK", offered)]),
        p50_ms: Some(1.0),
        p99_ms: Some(5.0),
        max_ms: Some(9.0),
        ..Tick::default()
    }
}

/// How a bad release ended: 7 of 3,000 devices broken, aborted.
pub(crate) fn rollout() -> RolloutSummary {
    RolloutSummary {
        rollout_id: "rol-1".into(),
        release: "1.1.0".into(),
        state: "ABORTED".into(),
        targets: 3_000,
        installed_devices: 150,
        broken_devices: 7,
        started_at_s: Some(3_000.0),
        detected_at_s: Some(11_400.0),
        first_broken_at_s: Some(3_600.0),
        completed_at_s: None,
    }
}
