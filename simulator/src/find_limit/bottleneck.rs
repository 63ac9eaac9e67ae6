//! Who gave out first: the evidence of one step against its thresholds. Pure; the first that reached its threshold is named.
//!
//! The order is that of cause and effect. Sockets and rate limits refuse whatever else is busy. Processors come next: where they are
//! used up everything else is late too. Only then does a late generator, and at last a long queue for commits, explain anything.

use std::collections::BTreeMap;

use ks_reports::load_limit::{Bottleneck, Reading};

use crate::{link::NO_SOCKET, run::generator::LATE_US, server_under_test::samples::ServerLoad};

/// A machine or a core counts as used up from this share on: scheduling takes the rest.
const BUSY: f64 = 0.9;
/// A send lag of this share of the response time is most of the reason for it.
const LAG_SHARE: f64 = 0.5;
/// Of what was due so much must have been sent.
const SENT_MIN: f64 = 0.99;
/// Waiting for the commits before one's own, as a share of the 99th percentile.
const DELAY_SHARE: f64 = 0.5;

/// What a step showed.
#[derive(Debug, Clone, Copy)]
pub struct Observed<'a> {
    /// Cores of this machine.
    pub cores: u32,
    /// Whether the server is on this machine too.
    pub is_one_machine: bool,
    /// Requests that ended, by code.
    pub by_code: &'a BTreeMap<String, u64>,
    /// Heartbeats that were due, and sent.
    pub offered: u64,
    pub sent: u64,
    pub latency_p99_ms: Option<f64>,
    pub send_lag_p99_ms: Option<f64>,
    pub generator_cores: f64,
    /// None if unknown.
    pub server_cores: Option<f64>,
    pub server: &'a ServerLoad,
}

/// Who gave out first, and all the evidence in the order in which it is judged.
pub fn of(observed: &Observed<'_>) -> (Bottleneck, Vec<Reading>) {
    let mut readings = Vec::from(refusals(observed));
    readings.extend(processors(observed));
    readings.extend(lateness(observed));
    readings.extend(commits(observed));
    let first = readings.iter().find(|reading| reading.reached == Some(true));
    (first.map_or(Bottleneck::Unknown, |reading| reading.of), readings)
}

/// A number that counts as used up from its threshold on.
fn reading(of: Bottleneck, metric: &str, measured: Option<f64>, threshold: Option<f64>) -> Reading {
    let reached = measured.zip(threshold).map(|(measured, threshold)| measured >= threshold);
    Reading { of, metric: metric.to_owned(), measured, threshold, reached, note: String::new() }
}

/// Sockets that this machine did not have, and requests that a rate limit refused.
fn refusals(observed: &Observed<'_>) -> [Reading; 2] {
    let code = |code: &str| observed.by_code.get(code).copied().unwrap_or(0) as f64;
    let sockets = reading(
        Bottleneck::GeneratorSockets,
        "requests without a socket (NO_SOCKET)",
        Some(code(NO_SOCKET)),
        Some(1.0),
    );
    // Clients see RATE_LIMITED; a ceiling on all requests answers OVERLOADED, which only the server's own metric tells apart.
    let counted: u64 = observed.server.limits.values().sum();
    let refused = code("RATE_LIMITED").max(counted as f64);
    let names: Vec<&str> = observed.server.limits.keys().map(String::as_str).collect();
    let metric = "requests that a rate limit refused (RATE_LIMITED, ks_limit_refused_total)";
    let limiter = Reading { note: names.join(", "), ..reading(Bottleneck::Limiter, metric, Some(refused), Some(1.0)) };
    [sockets, limiter]
}

/// Who used up which processors.
fn processors(observed: &Observed<'_>) -> Vec<Reading> {
    let all = f64::from(observed.cores);
    let (server, generator) = (observed.server_cores, observed.generator_cores);
    let mut readings = Vec::new();
    if observed.is_one_machine {
        let metric = "cores that the server's process used";
        readings.push(reading(Bottleneck::ServerCpu, metric, server, Some(all * BUSY)));
        let busy = observed.server.machine_busy;
        let others = busy.zip(server).map(|(busy, server)| (busy * all - server - generator).max(0.0));
        let note = others.map_or_else(String::new, |others| {
            let server = server.unwrap_or(0.0);
            format!("cores: server {server:.2}, generator {generator:.2}, others and the kernel {others:.2}")
        });
        let metric = "share of this machine's cores that was busy (/proc/stat)";
        readings.push(Reading { note, ..reading(Bottleneck::Machine, metric, busy, Some(BUSY)) });
    } else {
        let its_cores = observed.server.cores;
        let note = match (server, its_cores) {
            (None, _) => "its /metrics has no process_cpu_seconds_total",
            (Some(_), None) => "its /metrics has no ks_cores",
            (Some(_), Some(_)) => "",
        };
        let metric = "cores that the server's process used (process_cpu_seconds_total, ks_cores)";
        let used_up = its_cores.map(|cores| cores * BUSY);
        readings.push(Reading { note: note.to_owned(), ..reading(Bottleneck::ServerCpu, metric, server, used_up) });
        let metric = "share of the generator's machine that was busy (/proc/stat)";
        readings.push(reading(Bottleneck::GeneratorCpu, metric, observed.server.machine_busy, Some(BUSY)));
    }
    let metric = "cores that the generator's process used";
    readings.push(reading(Bottleneck::GeneratorCpu, metric, Some(generator), Some(all * BUSY)));
    readings
}

/// Whether the generator kept its own schedule.
fn lateness(observed: &Observed<'_>) -> [Reading; 3] {
    let late_ms = LATE_US as f64 / 1_000.0;
    let late = reading(Bottleneck::GeneratorLag, "send lag p99, ms", observed.send_lag_p99_ms, Some(late_ms));
    let share = observed.send_lag_p99_ms.zip(observed.latency_p99_ms).filter(|(_, latency)| *latency > 0.0);
    let share = share.map(|(lag, latency)| lag / latency);
    let lag =
        reading(Bottleneck::GeneratorLag, "send lag p99, as a share of the response time's", share, Some(LAG_SHARE));
    let unsent = (observed.offered > 0).then(|| 1.0 - observed.sent as f64 / observed.offered as f64);
    let metric = "share of heartbeats that were due and not sent in time";
    // More may be sent than is due: what was due before the time that counts.
    let unsent = unsent.map(|share| share.max(0.0));
    [late, lag, reading(Bottleneck::GeneratorLag, metric, unsent, Some(1.0 - SENT_MIN))]
}

/// Whether writes waited for commits.
fn commits(observed: &Observed<'_>) -> [Reading; 3] {
    let server = observed.server;
    let metric = "share of the time in which a commit was in progress (ks_store_commit_seconds)";
    let group = server.commit_group.map_or_else(String::new, |group| format!("{group:.0} writes in a commit"));
    let busy = Reading { note: group, ..reading(Bottleneck::CommitQueue, metric, server.commit_busy, Some(BUSY)) };
    let metric = "requests refused because writes waited too long (ks_overload_refused_total)";
    let refused = reading(Bottleneck::CommitQueue, metric, server.overload_refused, Some(1.0));
    let share = server.writes_delay_ms.zip(observed.latency_p99_ms).filter(|(_, latency)| *latency > 0.0);
    let share = share.map(|(delay, latency)| delay / latency);
    let metric =
        "wait of writes beyond two commits, as a share of the response time's p99 (ks_store_writes_delay_seconds)";
    let waiting = server.writes_waiting.map_or_else(String::new, |waiting| format!("{waiting:.0} writes waiting"));
    let delay = Reading { note: waiting, ..reading(Bottleneck::CommitQueue, metric, share, Some(DELAY_SHARE)) };
    [busy, refused, delay]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A step on one machine of four cores in which nothing was used up, changed by `change`.
    fn first(change: impl FnOnce(&mut Case)) -> Bottleneck {
        of_case(change).0
    }

    struct Case {
        observed: Observed<'static>,
        by_code: BTreeMap<String, u64>,
        server: ServerLoad,
    }

    fn of_case(change: impl FnOnce(&mut Case)) -> (Bottleneck, Vec<Reading>) {
        static NONE: BTreeMap<String, u64> = BTreeMap::new();
        static IDLE: ServerLoad = ServerLoad {
            commit_busy: None,
            commit_group: None,
            writes_waiting: None,
            writes_delay_ms: None,
            overload_refused: None,
            limits: BTreeMap::new(),
            process_cores: None,
            cores: None,
            machine_busy: None,
        };
        let server = ServerLoad {
            commit_busy: Some(0.4),
            commit_group: Some(12.0),
            writes_waiting: Some(3.0),
            writes_delay_ms: Some(1.0),
            overload_refused: Some(0.0),
            machine_busy: Some(0.5),
            ..ServerLoad::default()
        };
        let observed = Observed {
            cores: 4,
            is_one_machine: true,
            by_code: &NONE,
            offered: 10_000,
            sent: 10_000,
            latency_p99_ms: Some(60.0),
            send_lag_p99_ms: Some(2.0),
            generator_cores: 0.8,
            server_cores: Some(1.1),
            server: &IDLE,
        };
        let mut case = Case { observed, by_code: [("OK".to_owned(), 10_000)].into(), server };
        change(&mut case);
        of(&Observed { by_code: &case.by_code, server: &case.server, ..case.observed })
    }

    #[test]
    fn nothing_used_up_is_unknown() {
        assert_eq!(first(|_| {}), Bottleneck::Unknown);
    }

    #[test]
    fn a_machine_without_sockets_is_the_generators_limit_whatever_else_is_busy() {
        let found = first(|case| {
            case.by_code.insert(NO_SOCKET.to_owned(), 1);
            case.by_code.insert("RATE_LIMITED".to_owned(), 900);
            case.server.machine_busy = Some(1.0);
        });
        assert_eq!(found, Bottleneck::GeneratorSockets);
    }

    #[test]
    fn a_rate_limit_is_named_by_its_refusals_and_also_where_it_answers_overloaded() {
        assert_eq!(first(|case| case.by_code.extend([("RATE_LIMITED".to_owned(), 1)])), Bottleneck::Limiter);
        let (found, readings) = of_case(|case| {
            case.by_code.insert("OVERLOADED".to_owned(), 500);
            case.server.limits = [("all_requests".to_owned(), 500)].into();
            case.server.machine_busy = Some(0.95);
        });
        assert_eq!(found, Bottleneck::Limiter);
        assert!(readings.iter().any(|reading| reading.note == "all_requests"));
    }

    #[test]
    fn a_server_that_uses_nearly_all_cores_is_its_own_limit_also_on_one_machine() {
        let found = first(|case| (case.observed.server_cores, case.server.machine_busy) = (Some(3.7), Some(0.99)));
        assert_eq!(found, Bottleneck::ServerCpu);
    }

    #[test]
    fn a_full_machine_is_the_machines_limit_with_who_used_it() {
        let (found, readings) = of_case(|case| {
            (case.observed.server_cores, case.observed.generator_cores) = (Some(2.0), 1.2);
            case.server.machine_busy = Some(0.95);
            case.observed.send_lag_p99_ms = Some(55.0); // late because the machine is full
            case.server.overload_refused = Some(40.0);
        });
        assert_eq!(found, Bottleneck::Machine);
        let machine = readings.iter().find(|reading| reading.of == found).unwrap();
        assert_eq!(machine.note, "cores: server 2.00, generator 1.20, others and the kernel 0.60");
    }

    #[test]
    fn a_full_machine_of_the_generator_alone_is_the_generators_limit() {
        let found = first(|case| {
            (case.observed.is_one_machine, case.observed.server_cores) = (false, None);
            case.server.machine_busy = Some(0.93);
        });
        assert_eq!(found, Bottleneck::GeneratorCpu);
        assert_eq!(first(|case| case.observed.generator_cores = 3.6), Bottleneck::GeneratorCpu);
    }

    #[test]
    fn a_send_lag_of_half_the_latency_is_the_generators_limit_and_less_is_not() {
        let with = |lag: f64, latency: f64| {
            first(|case| (case.observed.send_lag_p99_ms, case.observed.latency_p99_ms) = (Some(lag), Some(latency)))
        };
        assert_eq!((with(10.0, 20.0), with(9.0, 20.0)), (Bottleneck::GeneratorLag, Bottleneck::Unknown));
        assert_eq!(
            (with(25.0, 500.0), with(24.0, 500.0)),
            (Bottleneck::GeneratorLag, Bottleneck::Unknown),
            "as for a run"
        );
        assert_eq!(first(|case| case.observed.sent = 9_800), Bottleneck::GeneratorLag);
        assert_eq!(first(|case| case.observed.sent = 10_300), Bottleneck::Unknown, "a backlog from the warm-up");
    }

    #[test]
    fn busy_commits_refusals_for_overload_and_a_long_wait_are_the_commit_queues() {
        assert_eq!(first(|case| case.server.commit_busy = Some(0.97)), Bottleneck::CommitQueue);
        assert_eq!(first(|case| case.server.overload_refused = Some(7.0)), Bottleneck::CommitQueue);
        assert_eq!(first(|case| case.server.writes_delay_ms = Some(31.0)), Bottleneck::CommitQueue);
    }

    #[test]
    fn a_servers_cpu_elsewhere_is_judged_by_its_own_cores() {
        let with = |used: f64, cores: f64| {
            first(|case| {
                (case.observed.is_one_machine, case.observed.server_cores) = (false, Some(used));
                case.server.cores = Some(cores);
            })
        };
        assert_eq!((with(7.3, 8.0), with(7.1, 8.0)), (Bottleneck::ServerCpu, Bottleneck::Unknown));
    }

    #[test]
    fn a_servers_cpu_elsewhere_that_it_does_not_say_is_never_judged() {
        for cores in [None, Some(63.0)] {
            let (found, readings) = of_case(|case| {
                (case.observed.is_one_machine, case.observed.server_cores) = (false, cores);
            });
            assert_eq!(found, Bottleneck::Unknown);
            let cpu = readings.iter().find(|reading| reading.of == Bottleneck::ServerCpu).unwrap();
            assert_eq!((cpu.measured, cpu.reached), (cores, None));
            assert!(!cpu.note.is_empty());
        }
    }

    #[test]
    fn what_could_not_be_observed_accuses_nobody() {
        let (found, readings) = of_case(|case| {
            case.server = ServerLoad::default();
            (case.observed.latency_p99_ms, case.observed.send_lag_p99_ms, case.observed.server_cores) =
                (None, None, None);
            case.observed.offered = 0;
        });
        assert_eq!(found, Bottleneck::Unknown);
        assert!(readings.iter().filter(|reading| reading.of == Bottleneck::CommitQueue).all(|of| of.reached.is_none()));
    }
}
