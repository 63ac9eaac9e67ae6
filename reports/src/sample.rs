//! A run for unit tests: 1,000 devices for 30 s, passed.

use std::collections::BTreeMap;

use crate::reactions::{Cohort, HonestGroup, Reactions};
use crate::recovery::{OutageRecovery, Recovered, Recovery};
use crate::review::{
    Action, Cell, DeviceStory, Fate, GateThresholds, GateTrip, RolloutReview, StoryEvent, ThresholdOutcome, Truth,
};
use crate::run_folder::{
    ActionTime, Attacks, EventsKept, Expectation, FORMAT, GateSample, Generator, Heartbeats, InvariantResult, Ledger,
    LimitVerdicts, Mode, Percentiles, Phase, RolloutSummary, Summary, Tick, TlsHandshakes, Verdict, VerdictCounts,
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
        unverified_answers: 0,
        generator: Generator {
            cpu_s: 8.2,
            achieved_bp: 9_998,
            rss_bytes: 52_000_000,
            sockets_max: 64,
            ..Generator::default()
        },
        tls: Some(TlsHandshakes {
            full: 1_004,
            resumed: 250,
            failed: 2,
            first_failure: None,
            handshake_ms: Some(heartbeat),
        }),
        ledger: Ledger { reconciled: true, checked: 30_000, unacknowledged: 3, ..Ledger::default() },
        late_devices: None,
        limits: Vec::new(),
        limit_verdicts: Some(limit_verdicts()),
        writes_in_progress_max: None,
        limit_memory_bytes: None,
        let_through_per_s_max: None,
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
        reactions: Some(reactions()),
        recovery: Some(recovery()),
        rollout: None,
        other_rollouts: Vec::new(),
        segment: None,
        segments: Vec::new(),
    }
}

/// A cohort that ignores refusals, and a site beside an adversary.
fn reactions() -> Reactions {
    let cohort = Cohort {
        name: "old".into(),
        retry: "ignore".into(),
        devices: 9,
        wanted: 10,
        sent: 25,
        acked: 9,
        refused: 16,
        asked_again: 4,
        admitted: 3,
        refused_again: 1,
        second_peak_per_s: 2,
        recovered: Recovered::default(),
    };
    let site = HonestGroup { name: "north".into(), shares_address: true, requests: 40, refused: 16 };
    Reactions { refused_again: 1, second_peak_per_s: 2, cohorts: vec![cohort], sites: vec![site], named: None }
}

/// One request was refused that had to be let through.
fn limit_verdicts() -> LimitVerdicts {
    let all = VerdictCounts { rightly_refused: 4_000, falsely_refused: 1, ..VerdictCounts::default() };
    LimitVerdicts { rightly_admitted: 30_000, all, by_limit: [("device_requests".to_owned(), all)].into() }
}

/// Three of a thousand devices were never served again.
fn recovery() -> Recovery {
    let recovered = Recovered { affected: 1_000, never_served: 3, p50_s: Some(1.5), p99_s: Some(4.0), max_s: None };
    let curve = vec![(0.5, 100), (1.5, 600), (4.0, 997)];
    let what = "restart_server".to_owned();
    let outage = OutageRecovery { what, site: None, from_s: 10.0, to_s: 12.0, recovered, curve };
    Recovery { all: recovered, outages: vec![outage] }
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

/// A gate aborted it at this time.
pub(crate) fn ended(at_s: f64) -> ActionTime {
    ActionTime { at_s, decision: "aborted".into(), by: "gate 1 of all".into() }
}

/// How a bad release ended: 7 of 3,000 devices broken, aborted.
pub(crate) fn rollout() -> RolloutSummary {
    RolloutSummary {
        rollout_id: "rol-1".into(),
        release: "1.1.0".into(),
        state: "ABORTED".into(),
        targets: 3_000,
        is_one_of_several: false,
        installed_devices: 150,
        broken_devices: 7,
        started_at_s: Some(3_000.0),
        detected_at_s: Some(11_400.0),
        first_action: Some(ended(11_400.0)),
        last_action: Some(ended(11_400.0)),
        first_broken_at_s: Some(3_600.0),
        completed_at_s: None,
    }
}

/// Targets of one place: model, site, belief, truth, how many; it was installed on those that the server believes anything of.
pub(crate) fn cell(model: &str, site: &str, believed: &str, truth: Truth, devices: u64) -> Cell {
    let is_installed = believed != "HALTED";
    let is_broken = is_installed && truth.breaks();
    Cell {
        model: model.into(),
        site: site.into(),
        believed: believed.into(),
        truth,
        is_installed,
        fate: match (is_installed, is_broken) {
            (_, true) => Fate::Broken,
            (true, false) => Fate::HasIt,
            (false, false) => Fate::Without,
        },
        is_silent: is_broken,
        devices,
    }
}

/// The same decision, made by a person.
pub(crate) fn by_a_person(action: Action) -> Action {
    Action { is_engines: false, gate: None, ..action }
}

/// The review of [`rollout`]: of 3,000 targets 150 got it, 7 broke, of which the server noticed 5; 93 more would have.
pub(crate) fn review() -> RolloutReview {
    let gate = GateSample { failed: 5, executed: 148, of: "all".into(), ..GateSample::default() };
    let at = |at_s: f64, what: &str| StoryEvent { at_s, what: what.into() };
    RolloutReview {
        rollout_id: "rol-1".into(),
        release: "1.1.0".into(),
        state: "ABORTED".into(),
        started_at_s: 3_000.0,
        observed_until_s: 20_000.0,
        policy: vec!["Stage 1 offers the release to 5 % of the targets.".into()],
        stage_devices: vec![150, 2_850],
        completed_at_s: None,
        found: Some(Action {
            at_s: 11_400.0,
            decision: "aborted".into(),
            stage: 0,
            why: "gate 1 of all".into(),
            is_engines: true,
            gate: Some(gate),
            installed: 150,
            broken: 6,
        }),
        others: Vec::new(),
        first_broke_at_s: Some(3_600.0),
        rollouts_of_release: 1,
        assumed: None,
        cells: vec![
            cell("KS-100", "north", "CONFIRMED", Truth::Good, 100),
            cell("KS-200", "north", "CONFIRMED", Truth::Good, 43),
            cell("KS-200", "north", "LOST", Truth::Bricks, 5),
            cell("KS-200", "south", "CONFIRMED", Truth::Dies, 2),
            cell("KS-100", "south", "HALTED", Truth::Good, 2_757),
            cell("KS-200", "south", "HALTED", Truth::Bricks, 93),
        ],
        stories: vec![DeviceStory {
            device_id: "T-1".into(),
            model: "KS-200".into(),
            site: "south".into(),
            went_wrong_at_s: 4_000.0,
            events: vec![at(3_060.0, "offered"), at(4_000.0, "died"), at(90_000.0, "LOST")],
            believed: "LOST".into(),
            truth: Truth::Dies,
            last_seen_s: None,
            is_silent: false,
        }],
        stories_total: 1,
        thresholds: vec![GateThresholds {
            gate: 0,
            judges: "all devices that have an outcome".into(),
            test: "raw".into(),
            threshold_bp: 100,
            evidence_until_s: Some(11_400.0),
            evidence_ends_with: Some("aborted".into()),
            rows: vec![
                ThresholdOutcome {
                    threshold_bp: 50,
                    trip: Some(GateTrip {
                        at_s: 9_000.0,
                        of: "all".into(),
                        failed: 2,
                        executed: 140,
                        ..GateTrip::default()
                    }),
                    ..ThresholdOutcome::default()
                },
                ThresholdOutcome { threshold_bp: 400, ..ThresholdOutcome::default() },
            ],
        }],
    }
}
