//! Every metric, declared once with its unit and help; GET /metrics writes them as Prometheus text.

use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Labels of an answered data-plane request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Answered {
    /// Path of the endpoint.
    pub path: &'static str,
    /// `OK` or the ERR1 code.
    pub code: &'static str,
}

/// Labels of a decision of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Decided {
    /// What was decided: `promoted`, `aborted`, ...
    pub what: &'static str,
}

/// The server's metrics.
pub struct Metrics {
    /// Data-plane requests answered, by path and code.
    pub answers: Family<Answered, Counter>,
    /// Seconds from a data-plane request's head until its answer is ready; what a slow peer takes for the body is in it.
    pub answer_seconds: Histogram,
    /// Commits of the store.
    pub commits: Counter,
    /// Commits that failed.
    pub commit_failures: Counter,
    /// Writes in one commit.
    pub commit_group_size: Histogram,
    /// Seconds that a commit took.
    pub commit_seconds: Histogram,
    /// Writes that were waiting when the last group was taken.
    pub writes_waiting: Gauge,
    /// Punches that came under a number that stands for another one.
    pub punch_conflicts: Counter,
    /// Decisions of rollouts, by what was decided.
    pub rollout_decisions: Family<Decided, Counter>,
    /// Open rollouts, when they were looked at last.
    pub rollouts_open: Gauge,
    /// Bytes of firmware images sent.
    pub artifact_bytes: Counter,
    /// Downloads of firmware refused because as many as may be were under way.
    pub artifact_refusals: Counter,
    /// Open connections.
    pub connections: Gauge,
    /// Connections accepted.
    pub connections_accepted: Counter,
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
            punch_conflicts: Counter::default(),
            rollout_decisions: Family::default(),
            rollouts_open: Gauge::default(),
            artifact_bytes: Counter::default(),
            artifact_refusals: Counter::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            registry: Registry::with_prefix("ks"),
        };
        let registry = &mut metrics.registry;
        registry.register("answers", "Data-plane requests answered, by path and code", metrics.answers.clone());
        let help = "Seconds from a data-plane request's head until its answer is ready, its body's arrival included";
        registry.register("answer_seconds", help, metrics.answer_seconds.clone());
        registry.register("store_commits", "Commits of the store", metrics.commits.clone());
        registry.register("store_commit_failures", "Commits that failed", metrics.commit_failures.clone());
        registry.register("store_commit_group_size", "Writes in one commit", metrics.commit_group_size.clone());
        registry.register("store_commit_seconds", "Seconds that a commit took", metrics.commit_seconds.clone());
        let help = "Writes that were waiting when the last group was taken";
        registry.register("store_writes_waiting", help, metrics.writes_waiting.clone());
        let help = "Punches that came under a number that stands for another one";
        registry.register("punch_conflicts", help, metrics.punch_conflicts.clone());
        let help = "Decisions of rollouts, by what was decided";
        registry.register("rollout_decisions", help, metrics.rollout_decisions.clone());
        let help = "Open rollouts, when they were looked at last";
        registry.register("rollouts_open", help, metrics.rollouts_open.clone());
        registry.register("artifact_bytes", "Bytes of firmware images sent", metrics.artifact_bytes.clone());
        let help = "Downloads of firmware refused because as many as may be were under way";
        registry.register("artifact_refusals", help, metrics.artifact_refusals.clone());
        registry.register("connections", "Open connections", metrics.connections.clone());
        registry.register("connections_accepted", "Connections accepted", metrics.connections_accepted.clone());
        metrics
    }
}

impl Metrics {
    /// Counts what was decided of rollouts.
    pub fn decided(&self, decisions: &[&'static str]) {
        for what in decisions {
            self.rollout_decisions.get_or_create(&Decided { what }).inc();
        }
    }

    /// All metrics as Prometheus text.
    pub fn render(&self) -> Result<String, std::fmt::Error> {
        let mut rendered = String::new();
        text::encode(&mut rendered, &self.registry)?;
        Ok(rendered)
    }
}
