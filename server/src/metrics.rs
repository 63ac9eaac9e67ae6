//! Every metric, declared once with its unit and help; GET /metrics sends them as OpenMetrics or as Prometheus's older text format.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::AtomicU64},
};

use ks_protocol::{
    message::{FirmwareArtifact, Request as _},
    refusal::RefusalCode,
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::{
    limit::{Class, Counters},
    process_metrics::ProcessMetrics,
};

/// Of the names of all metrics that are not common to every process.
const PREFIX: &str = "ks";

/// Every path of the data plane; `other` counts all other paths.
pub const PATHS: [&str; 10] = [
    "/register",
    "/heartbeat",
    "/commands/ack",
    "/logs",
    "/attendance",
    "/rotate-key",
    "/firmware/status",
    FirmwareArtifact::PATH,
    "/keys",
    "other",
];

/// Labels of an answered data-plane request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AnswerLabels {
    /// Path of the endpoint.
    pub path: &'static str,
    /// `OK` or the ERR1 code.
    pub code: &'static str,
}

/// Labels of a decision of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DecisionLabels {
    /// What was decided: `promoted`, `aborted`, ...
    pub what: &'static str,
}

/// The label of a class of requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ClassLabel {
    /// Who is served first: `logs` last.
    pub class: &'static str,
}

/// How a TLS handshake ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Handshake {
    /// `full`, `resumed`, `failed`, or `shed`: ended because the server had too many connections, or stopped.
    pub result: &'static str,
}

/// Every value of [`Handshake`].
const HANDSHAKES: [&str; 4] = ["full", "resumed", "failed", "shed"];

/// Every value of [`DecisionLabels`].
const DECISIONS: [&str; 14] = [
    "created",
    "promoted",
    "waiting",
    "approved",
    "paused",
    "resumed",
    "aborted",
    "completed",
    "gap",
    "alert",
    "withdrawn",
    "lapsed",
    "late",
    "watched",
];

/// The server's metrics. Each counter exists from the start, with 0: a series that begins with its first event hides that event
/// from `increase()`.
pub struct Metrics {
    /// Data-plane requests answered, by path and code.
    pub answers: Family<AnswerLabels, Counter>,
    /// Seconds from a data-plane request's head until its answer is ready, including the time that a slow peer needs for the body.
    pub answer_seconds: Histogram,
    /// Commits of the store.
    pub commits: Counter,
    pub commit_failures: Counter,
    /// Writes in one commit.
    pub commit_group_size: Histogram,
    /// Seconds that a commit took.
    pub commit_seconds: Histogram,
    /// Writes that were waiting when the last group was taken.
    pub writes_waiting: Gauge,
    /// 1 while the database's files are not where they were opened: nothing is stored meanwhile.
    pub store_misplaced: Gauge,
    /// 1 once the database was found damaged: nothing is stored from then on.
    pub store_damaged: Gauge,
    /// Free bytes on the disk of the database.
    pub disk_free_bytes: Gauge,
    /// Bytes of the write-ahead log.
    pub store_wal_bytes: Gauge,
    /// Punches with a number that identifies another punch.
    pub punch_conflicts: Counter,
    /// Decisions of rollouts, by what was decided.
    pub rollout_decisions: Family<DecisionLabels, Counter>,
    /// Open rollouts at the last evaluation.
    pub rollouts_open: Gauge,
    /// Bytes of firmware images sent.
    pub artifact_bytes: Counter,
    /// Downloads of firmware refused at the limit of concurrent downloads.
    pub artifact_refusals: Counter,
    /// Firmware images of ACTIVE releases that are broken.
    pub artifacts_broken: Gauge,
    /// Firmware images read to verify them.
    pub artifact_checks: Counter,
    /// Requests for which a trusted proxy did not name the client's address.
    pub forwarded_for_not_understood: Counter,
    /// Requests with an X-Forwarded-For that was ignored.
    pub forwarded_for_untrusted: Counter,
    /// What each limit has decided.
    pub limits: Arc<Counters>,
    /// Addresses, networks, names and tokens that the limits remember.
    pub limit_subjects: Gauge,
    /// Requests refused while the server was overloaded, by class.
    pub shed: Family<ClassLabel, Counter>,
    /// Heartbeats are refused while as many writes are in progress.
    pub writes_limit: Gauge,
    /// Most writes in progress since the start.
    pub writes_in_progress_max: Gauge,
    /// How long writes waited in the last tenth of a second.
    pub writes_delay_seconds: Gauge<f64, AtomicU64>,
    /// Bytes that the limits take.
    pub limit_memory_bytes: Gauge,
    pub connections: Gauge,
    pub connections_accepted: Counter,
    /// TLS handshakes of the server's own listener, by how they ended.
    pub tls_handshakes: Family<Handshake, Counter>,
    /// When the listener's certificate expires, in seconds since 1970; 0 without TLS.
    pub tls_certificate_expires: Gauge,
    /// Times that the certificate's files could not be used when they were read again.
    pub tls_reload_failures: Counter,
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
        let mut metrics = Self {
            answers: Family::default(),
            answer_seconds: Histogram::new(seconds),
            commits: Counter::default(),
            commit_failures: Counter::default(),
            commit_group_size: Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 1024.0, 4096.0]),
            commit_seconds: Histogram::new(seconds),
            writes_waiting: Gauge::default(),
            store_misplaced: Gauge::default(),
            store_damaged: Gauge::default(),
            disk_free_bytes: Gauge::default(),
            store_wal_bytes: Gauge::default(),
            punch_conflicts: Counter::default(),
            rollout_decisions: Family::default(),
            rollouts_open: Gauge::default(),
            artifact_bytes: Counter::default(),
            artifact_refusals: Counter::default(),
            shed: Family::default(),
            writes_limit: Gauge::default(),
            writes_in_progress_max: Gauge::default(),
            writes_delay_seconds: Gauge::default(),
            limit_memory_bytes: Gauge::default(),
            artifacts_broken: Gauge::default(),
            artifact_checks: Counter::default(),
            forwarded_for_not_understood: Counter::default(),
            forwarded_for_untrusted: Counter::default(),
            limits: Arc::default(),
            limit_subjects: Gauge::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            tls_handshakes: Family::default(),
            tls_certificate_expires: Gauge::default(),
            tls_reload_failures: Counter::default(),
            registry: Registry::default(),
        };
        for path in PATHS {
            let codes = RefusalCode::ALL.iter().map(|code| code.as_str()).chain(["OK"]);
            for code in codes {
                drop(metrics.answers.get_or_create(&AnswerLabels { path, code }));
            }
        }
        for class in Class::ALL {
            drop(metrics.shed.get_or_create(&ClassLabel { class: class.as_str() }));
        }
        for what in DECISIONS {
            drop(metrics.rollout_decisions.get_or_create(&DecisionLabels { what }));
        }
        metrics.registry.register_collector(Box::new(ProcessMetrics));
        let registry = metrics.registry.sub_registry_with_prefix(PREFIX);
        registry.register("answers", "Data-plane requests answered, by path and code", metrics.answers.clone());
        let help =
            "Seconds from a data-plane request's head until its answer is ready, including the arrival of its body";
        registry.register("answer_seconds", help, metrics.answer_seconds.clone());
        registry.register("store_commits", "Commits of the store", metrics.commits.clone());
        registry.register("store_commit_failures", "Commits that failed", metrics.commit_failures.clone());
        registry.register("store_commit_group_size", "Writes in one commit", metrics.commit_group_size.clone());
        registry.register("store_commit_seconds", "Seconds that a commit took", metrics.commit_seconds.clone());
        let help = "Writes that were waiting when the last group was taken";
        registry.register("store_writes_waiting", help, metrics.writes_waiting.clone());
        let help = "1 while the database is moved, deleted or replaced: nothing is stored meanwhile";
        registry.register("store_misplaced", help, metrics.store_misplaced.clone());
        let help = "1 once the database was found damaged: nothing is stored from then on";
        registry.register("store_damaged", help, metrics.store_damaged.clone());
        let help = "Free bytes on the disk of the database; below DISK_RESERVE_BYTES no data of devices is stored";
        registry.register("disk_free_bytes", help, metrics.disk_free_bytes.clone());
        let help = "Bytes of the write-ahead log";
        registry.register("store_wal_bytes", help, metrics.store_wal_bytes.clone());
        let help = "Punches with a number that identifies another punch";
        registry.register("punch_conflicts", help, metrics.punch_conflicts.clone());
        let help = "Decisions of rollouts, by what was decided";
        registry.register("rollout_decisions", help, metrics.rollout_decisions.clone());
        let help = "Open rollouts at the last evaluation";
        registry.register("rollouts_open", help, metrics.rollouts_open.clone());
        registry.register("artifact_bytes", "Bytes of firmware images sent", metrics.artifact_bytes.clone());
        let help = "Downloads of firmware refused at the limit of concurrent downloads";
        registry.register("artifact_refusals", help, metrics.artifact_refusals.clone());
        let help = "Firmware images of ACTIVE releases that are corrupt, truncated or missing; they are not offered";
        registry.register("artifacts_broken", help, metrics.artifacts_broken.clone());
        let help = "Firmware images read to verify them";
        registry.register("artifact_checks", help, metrics.artifact_checks.clone());
        let help = "Requests whose X-Forwarded-For by a trusted proxy is not an address";
        registry.register("forwarded_for_not_understood", help, metrics.forwarded_for_not_understood.clone());
        let help = "Requests with an X-Forwarded-For by a peer that TRUSTED_PROXIES does not name; it is ignored";
        registry.register("forwarded_for_untrusted", help, metrics.forwarded_for_untrusted.clone());
        let help = "Decisions of each limit: requests that it was asked about";
        registry.register("limit_checked", help, metrics.limits.checked.clone());
        let help = "Requests that each limit has refused";
        registry.register("limit_refused", help, metrics.limits.refused.clone());
        let help = "Requests that each limit in shadow has let through and would have refused";
        registry.register("limit_would_refuse", help, metrics.limits.would_refuse.clone());
        let help = "Addresses, networks, names and tokens that limits remember; at most 65,536 for each limit";
        registry.register("limit_subjects", help, metrics.limit_subjects.clone());
        let help = "Bytes that the limits take now, at most as docs/rate-limits.md says";
        registry.register("limit_memory_bytes", help, metrics.limit_memory_bytes.clone());
        metrics.register_overload();
        metrics.register_connections();
        metrics
    }
}

impl Metrics {
    fn register_overload(&mut self) {
        let registry = self.registry.sub_registry_with_prefix(PREFIX);
        let help =
            "Requests refused while too many writes were in progress, by class: unproven, logs, heartbeats, first";
        registry.register("overload_refused", help, self.shed.clone());
        let help = "Writes in progress at which heartbeats are refused, and devices that have not registered; log lines at half as many, everything at four times as many";
        registry.register("store_writes_limit", help, self.writes_limit.clone());
        let help = "Most writes in progress since the start: those that wait, and those in a commit";
        registry.register("store_writes_in_progress_max", help, self.writes_in_progress_max.clone());
        let help = "The least that a write waited lately beyond two commits";
        registry.register("store_writes_delay_seconds", help, self.writes_delay_seconds.clone());
    }

    fn register_connections(&mut self) {
        for result in HANDSHAKES {
            drop(self.tls_handshakes.get_or_create(&Handshake { result }));
        }
        let registry = self.registry.sub_registry_with_prefix(PREFIX);
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("connections_accepted", "Connections accepted", self.connections_accepted.clone());
        let help = "TLS handshakes of the server's own listener, by how they ended: full, resumed, failed, or shed for other connections";
        registry.register("tls_handshakes", help, self.tls_handshakes.clone());
        let help = "When the certificate of the server's own listener expires, in seconds since 1970; 0 without TLS";
        registry.register("tls_certificate_expires_timestamp_seconds", help, self.tls_certificate_expires.clone());
        let help = "Times that the certificate's files were read again and could not be used";
        registry.register("tls_certificate_reload_failures", help, self.tls_reload_failures.clone());
    }

    pub fn answered(&self, path: &'static str, code: &'static str) {
        debug_assert!(PATHS.contains(&path), "{path} is not counted from the start");
        self.answers.get_or_create(&AnswerLabels { path, code }).inc();
    }

    /// Counts a TLS handshake.
    pub fn handshake(&self, result: &'static str) {
        debug_assert!(HANDSHAKES.contains(&result), "{result} is not counted from the start");
        self.tls_handshakes.get_or_create(&Handshake { result }).inc();
    }

    /// Counts a request refused while the server was overloaded.
    pub fn shed(&self, class: Class) {
        self.shed.get_or_create(&ClassLabel { class: class.as_str() }).inc();
    }

    /// Requests of a class that were refused while the server was overloaded.
    pub fn shed_of(&self, class: Class) -> u64 {
        self.shed.get_or_create(&ClassLabel { class: class.as_str() }).get()
    }

    /// Counts a decision of a rollout.
    pub fn decided(&self, what: &str) {
        if let Some(what) = DECISIONS.into_iter().find(|known| *known == what) {
            self.rollout_decisions.get_or_create(&DecisionLabels { what }).inc();
        }
    }

    /// All metrics as OpenMetrics text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut rendered = String::new();
        text::encode(&mut rendered, &self.registry)?;
        Ok(rendered)
    }
}

/// Converts OpenMetrics text to Prometheus's older format, version 0.0.4: there, a counter's help and type are declared under the
/// name of its sample, with `_total`, and nothing marks the end.
pub fn as_version_0_0_4(openmetrics: &str) -> String {
    let of_counter = |line: &'_ str| line.strip_prefix("# TYPE ")?.strip_suffix(" counter").map(str::to_owned);
    let counters: BTreeSet<String> = openmetrics.lines().filter_map(of_counter).collect();
    let mut text = String::with_capacity(openmetrics.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF" && !line.starts_with("# UNIT ")) {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                text += &format!("# {what} {name}_total {rest}\n");
            }
            _ => text += &format!("{line}\n"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_exists_from_the_start() {
        let text = Metrics::default().render().unwrap();
        for series in [
            r#"ks_answers_total{path="/heartbeat",code="OK"} 0"#,
            r#"ks_answers_total{path="/firmware/artifacts/{sha256}",code="NOT_FOUND"} 0"#,
            r#"ks_answers_total{path="other",code="METHOD_NOT_ALLOWED"} 0"#,
            r#"ks_rollout_decisions_total{what="aborted"} 0"#,
            "ks_store_commit_failures_total 0",
            r#"ks_limit_refused_total{limit="address_failures"} 0"#,
        ] {
            assert!(text.lines().any(|line| line == series), "{series}: {text}");
        }
    }

    #[test]
    fn in_the_older_format_a_counter_is_declared_by_the_name_of_its_sample() {
        let metrics = Metrics::default();
        metrics.decided("paused");
        metrics.decided("something new");
        let text = as_version_0_0_4(&metrics.render().unwrap());
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            let declared = |name: &str| ["HELP", "TYPE"].iter().all(|what| text.contains(&format!("# {what} {name} ")));
            assert!(declared(family) || declared(name), "{line}");
        }
        assert!(text.contains("# TYPE ks_rollout_decisions_total counter\n") && !text.contains("# EOF"), "{text}");
        assert!(text.contains("ks_rollout_decisions_total{what=\"paused\"} 1\n"), "{text}");
        assert!(text.contains("ks_rollout_decisions_total{what=\"alert\"} 0\n"), "{text}");
    }
}
