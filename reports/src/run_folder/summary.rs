//! The summary of a run: its verdict, its expectations, its totals.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EventsKept, LimitVerdicts, Mode, RolloutSummary, Segment, Verdict};
use crate::reactions::Reactions;
use crate::recovery::Recovery;

/// The whole run in numbers; `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this contract; readers refuse a greater one.
    pub format: u32,
    /// Name of the scenario, as its file says.
    pub scenario: String,
    /// The scenario's purpose, one or two sentences.
    pub goal: String,
    pub mode: Mode,
    /// Root seed of every random draw.
    pub seed: u64,
    pub verdict: Verdict,
    /// Why it is not a pass, one sentence each; empty on a pass.
    pub reasons: Vec<String>,
    /// Those reasons that concern the run as a whole, not an expectation, invariant, the ledger or an attack.
    #[serde(default)]
    pub reasons_of_run: Vec<String>,
    /// Process exit code that goes with the verdict.
    pub exit_code: u8,
    /// The target of the run: `embedded server`, a URL, or `in process`.
    pub target: String,
    /// Start of the run, RFC 3339 in UTC; a rehearsal gives its virtual epoch.
    pub started_at: String,
    /// Real time of the run, RFC 3339 in UTC; not repeated by a rehearsal. Empty if unknown.
    #[serde(default)]
    pub made_at: String,
    /// Real seconds the run took.
    pub wall_s: f64,
    /// Seconds on the run's own clock; equals `wall_s` in load mode but for start-up.
    pub simulated_s: f64,
    /// True if a user or a signal ended the run early.
    pub interrupted: bool,
    /// Number of honest virtual devices.
    pub devices: u64,
    pub heartbeats: Heartbeats,
    /// Answers by message type, then by code (`OK`, an ERR1 code, or a transport failure such as `TIMEOUT`); honest devices only.
    pub requests_by_code: BTreeMap<String, BTreeMap<String, u64>>,
    /// Response time (intended send to verified answer) of answered requests by message type, in milliseconds.
    pub latency_ms: BTreeMap<String, Percentiles>,
    /// Service time (actual send to verified answer) of answered requests by message type, in milliseconds.
    pub service_ms: BTreeMap<String, Percentiles>,
    /// Response time of requests that ended otherwise, by message type and code, in milliseconds; for requests that never ended,
    /// the time waited.
    #[serde(default)]
    pub other_latency_ms: BTreeMap<String, BTreeMap<String, Percentiles>>,
    /// Whether anything takes time that says something: not in a rehearsal without faults and adversaries, whose latencies are
    /// therefore not drawn.
    #[serde(default = "yes")]
    pub has_latency: bool,
    /// Answers whose SIG_SERV did not verify.
    pub bad_server_signatures: u64,
    /// Answers whose SIG_SERV was not verified, because the run verified a sample.
    #[serde(default)]
    pub unverified_answers: u64,
    /// Health of the load generator.
    pub generator: Generator,
    /// TLS handshakes with the target; none if it has no TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsHandshakes>,
    /// Reconciliation of acknowledged with stored data.
    pub ledger: Ledger,
    /// Each adversary's attempts and successes, by kind, of those whose requests must all be refused.
    pub adversaries: BTreeMap<String, Attacks>,
    /// What each limit of the server has decided, since the server last started; empty if it can't be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<LimitCount>,
    /// Predictions of the limits' oracle against the server's answers; rehearsals only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_verdicts: Option<LimitVerdicts>,
    /// Most writes in progress at the server, those that wait and those in a commit; none if it can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_in_progress_max: Option<u64>,
    /// Bytes that the server's limits took at the end, or before it was stopped; none if it can't be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_memory_bytes: Option<u64>,
    /// Devices that were silent for longer than the server's presence allows; none if nothing of it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub late_devices: Option<LateDevices>,
    /// Requests a second that no limit refused, honest ones and adversaries', in the busiest tick; none if nothing was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub let_through_per_s_max: Option<f64>,
    /// What adversaries sent, by kind; all kinds.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub adversary_requests: BTreeMap<String, AdversaryRequests>,
    /// Every expectation and whether it was met.
    pub expectations: Vec<Expectation>,
    /// Named spans of the run, for marking plots.
    pub phases: Vec<Phase>,
    /// Invariants that the server must hold whatever the scenario expects, with their results; rehearsals only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invariants: Option<Vec<InvariantResult>>,
    /// Which events the event log has.
    #[serde(default)]
    pub events_kept: EventsKept,
    /// SHA-256 of the event log's lines, uncompressed, lower-case hex; only of rehearsals that keep one.
    pub event_log_sha256: Option<String>,
    /// A command that repeats the run; if `interrupted`, the complete run that this is the beginning of.
    pub replay: String,
    /// Notes needed to judge the numbers (for example what a rehearsal leaves out).
    pub notes: Vec<String>,
    /// Why a rehearsal ended before its time by itself; none if it lasted as planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_early: Option<String>,
    /// How devices reacted to refusals; none in older summaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reactions: Option<Reactions>,
    /// How devices recovered from outages; none when no outage ended within the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Recovery>,
    /// How the run's rollout of firmware ended, of several the worst; none when the run had no rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutSummary>,
    /// How its other rollouts ended, in the order of their start; none in older summaries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub other_rollouts: Vec<RolloutSummary>,
    /// The segment that this run is, if it is a part of one: it judges no expectation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<Segment>,
    /// The segments that this run was merged from, in order; empty if one process made it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub segments: Vec<Segment>,
}

impl Summary {
    /// How each rollout ended: the worst first, then the others in the order of their start.
    pub fn rollouts(&self) -> impl Iterator<Item = &RolloutSummary> {
        self.rollout.iter().chain(&self.other_rollouts)
    }
}

/// Summaries from before `has_latency` existed.
fn yes() -> bool {
    true
}

impl Summary {
    /// What the command in `replay` does: no command repeats an interruption.
    pub fn replay_label(&self) -> &'static str {
        if self.interrupted { "the complete run (no command repeats it up to the interruption)" } else { "replay" }
    }
}

/// An invariant, and whether it held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InvariantResult {
    /// The invariant in words.
    pub invariant: String,
    /// Its violations, a sentence each; empty if it held.
    pub violations: Vec<String>,
}

/// Totals of heartbeats over a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Heartbeats {
    /// Handed to the link.
    pub sent: u64,
    /// Answered with a verified success.
    pub acked: u64,
    /// Neither answered nor failed when the drain ended.
    pub in_flight_at_end: u64,
    /// Acknowledged a minute, over the steady part of the run (after the ramp).
    pub per_min: f64,
    /// Scheduled a minute over the same part: what was offered.
    pub offered_per_min: f64,
}

/// Points of a latency distribution, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

/// TLS handshakes of devices, adversaries and operators.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct TlsHandshakes {
    /// With a certificate and its check.
    pub full: u64,
    /// That continued the client's last session.
    pub resumed: u64,
    pub failed: u64,
    /// Why the first of these failed, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_failure: Option<String>,
    /// Times of those that succeeded, in milliseconds, from the accepted connection; none if none did.
    pub handshake_ms: Option<Percentiles>,
}

/// The load generator's view of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Generator {
    /// CPU seconds of the simulator's process.
    pub cpu_s: f64,
    /// CPU seconds of the embedded server's process; none for an external target or in process.
    pub server_cpu_s: Option<f64>,
    /// Resident memory of that process at its peak, in bytes; none as above, or where the system can't say.
    #[serde(default)]
    pub server_rss_bytes: Option<u64>,
    /// Sends that left more than the tolerated lag after their intended time.
    pub late_sends: u64,
    /// Median send lag, milliseconds.
    pub send_lag_p50_ms: f64,
    /// 99th percentile of send lag, milliseconds.
    pub send_lag_p99_ms: f64,
    /// Heartbeats sent of those that were due, over the steady part of the run, in basis points (10 000 is all of them).
    pub achieved_bp: u32,
    /// Resident memory of the simulator at its peak, bytes.
    pub rss_bytes: u64,
    /// Open sockets at the peak.
    pub sockets_max: u64,
}

/// The reconciliation at the end of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    /// Whether stored rows could be read and were compared.
    pub reconciled: bool,
    /// Acknowledgements compared.
    pub checked: u64,
    /// Acknowledged, not stored.
    pub lost: u64,
    /// Stored more than once.
    pub duplicated: u64,
    /// Stored out of order for its device.
    pub reordered: u64,
    /// Stored under a device that did not send it.
    pub misattributed: u64,
    /// Stored, but its acknowledgement never reached the device (allowed: an answer can be lost).
    pub unacknowledged: u64,
    /// ACKs of commands compared: those that the server confirmed.
    #[serde(default)]
    pub acks_checked: u64,
    /// ACKs confirmed, and the command is in another state.
    #[serde(default)]
    pub acks_lost: u64,
    /// Commands recorded as answered by a device that never answered them.
    #[serde(default)]
    pub acks_misattributed: u64,
    #[serde(default)]
    pub punches_stored: u64,
    /// Punches that the server confirmed but did not store.
    #[serde(default)]
    pub punches_lost: u64,
    /// Punches stored more than once.
    #[serde(default)]
    pub punches_duplicated: u64,
    /// Punches stored that were not made at that device.
    #[serde(default)]
    pub punches_misattributed: u64,
}

impl Ledger {
    /// Whether nothing was lost, duplicated, reordered or misattributed.
    pub fn balances(&self) -> bool {
        let heartbeats = self.lost + self.duplicated + self.reordered + self.misattributed;
        let punches = self.punches_lost + self.punches_duplicated + self.punches_misattributed;
        heartbeats + self.acks_lost + self.acks_misattributed + punches == 0
    }
}

/// One kind of adversary's score.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attacks {
    /// Requests that the server judged: accepted, or refused for what was wrong with them.
    pub attempts: u64,
    /// Requests that the server accepted: must be 0.
    pub successes: u64,
    /// Requests that prove nothing: not answered, or refused by a rate limit.
    #[serde(default)]
    pub unjudged: u64,
}

/// A limit of the server, and what it has decided.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LimitCount {
    pub name: String,
    /// `enforce`, `shadow` or `off`.
    pub mode: String,
    /// Requests that it was asked about.
    pub checked: u64,
    pub refused: u64,
    /// Requests that it let through in shadow, and would have refused.
    pub would_refuse: u64,
    /// The addresses and the devices that it refused most, or would have, with how often at least; a few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub most_refused: Vec<(String, u64)>,
}

impl LimitCount {
    /// Adds what another server of the run has decided.
    pub fn add(&mut self, other: &Self) {
        self.checked += other.checked;
        self.refused += other.refused;
        self.would_refuse += other.would_refuse;
        for (who, count) in &other.most_refused {
            match self.most_refused.iter_mut().find(|(known, _)| known == who) {
                Some((_, known)) => *known += count,
                None => self.most_refused.push((who.clone(), *count)),
            }
        }
        self.most_refused.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        self.most_refused.truncate(Self::MOST_REFUSED);
    }

    /// So many are kept.
    pub const MOST_REFUSED: usize = 4;

    /// The callers that it refused most, in words; empty if nobody is known.
    pub fn most_in_words(&self) -> String {
        let each = self.most_refused.iter().map(|(who, count)| format!("{who} {}", crate::number::grouped(*count)));
        each.collect::<Vec<_>>().join(", ")
    }
}

/// Honest devices that missed the deadline of the server's presence, for whatever reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LateDevices {
    pub devices: u64,
    /// Longest silence between two stored heartbeats in time, in seconds; counted from the end of the ramp to the end of the run.
    pub deadline_s: f64,
}

/// What adversaries of one kind sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdversaryRequests {
    /// Requests that were really sent, or connections made.
    pub sent: u64,
    /// Requests that ended, by code.
    pub by_code: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Expectation {
    /// Metric by name, with its span: `heartbeat.p99_ms`, `errors during storm`.
    pub name: String,
    /// Measured value; none if there was no sample.
    pub actual: Option<f64>,
    /// The bound in words: `<= 50`, `>= 1000`, `= 0`.
    pub bound: String,
    pub pass: bool,
    /// Unit of `actual` (`ms`, `/min`, `bp`), or empty.
    pub unit: String,
}

/// A named span of the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Name: `ramp`, `steady`, `storm`, `drain`.
    pub name: String,
    /// Start, seconds into the run.
    pub from_s: f64,
    /// End, seconds into the run.
    pub to_s: f64,
    /// Figures of the phase; none if phases were not measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub figures: Option<PhaseFigures>,
}

/// Measurements of one phase.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PhaseFigures {
    /// Requests of honest devices that came to an end.
    pub requests: u64,
    /// Those of them that ended `OK`.
    pub ok: u64,
    /// Response time of heartbeats that ended `OK`, in milliseconds; none without one.
    pub heartbeat_ms: Option<Percentiles>,
    /// What adversaries sent, by kind.
    pub adversary_requests: BTreeMap<String, AdversaryRequests>,
    /// CPU seconds of the simulator's process, adversaries included.
    pub generator_cpu_s: f64,
    /// CPU seconds of the thread that adversaries have to themselves, what the system does for their sockets included.
    pub adversaries_cpu_s: f64,
    /// CPU seconds of the embedded server's process; none for an external target or in process.
    pub server_cpu_s: Option<f64>,
    /// Resident memory of the embedded server at its peak within the phase, in bytes; none as above, or where the system can't
    /// say.
    pub server_rss_bytes: Option<u64>,
    /// What was offered, and when it was really sent; none in older summaries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<LoadFigures>,
}

/// Heartbeats of a phase, as offered, sent and answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadFigures {
    /// Heartbeats that were due.
    pub offered: u64,
    /// Heartbeats handed to the link.
    pub sent: u64,
    /// Heartbeats answered `OK`.
    pub acked: u64,
    /// Requests of honest devices of every type that ended, by code.
    pub by_code: BTreeMap<String, u64>,
    /// From the actual send of a heartbeat to its answer, in milliseconds; none without one.
    pub service_ms: Option<Percentiles>,
    /// From the moment a heartbeat was due until its timer was served, in milliseconds; none without one.
    pub send_lag_ms: Option<Percentiles>,
}
