//! The metrics that expectations can use: names, units, and when their values are known.

use std::str::FromStr;

use super::churn::ChurnKind;
use super::problem::closest;

/// The start of the name of a metric that counts answers by code.
const CODES_PREFIX: &str = "codes.";
/// The starts of the names of metrics that count devices by version.
const UPDATED_PREFIX: &str = "updated.";
const RUNNING_PREFIX: &str = "running.";
/// Characters of an answer's code.
const CODE_CHARS_MAX: usize = 40;

/// A number that a run yields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Honest requests that were not answered `OK`, transport failures included.
    Errors,
    /// Honest requests by result code.
    Codes(AnswerCode),
    /// Median response time of heartbeats.
    HeartbeatP50Ms,
    /// 90th percentile of the response time of heartbeats.
    HeartbeatP90Ms,
    /// 99th percentile of the response time of heartbeats.
    HeartbeatP99Ms,
    /// 99.9th percentile of the response time of heartbeats.
    HeartbeatP999Ms,
    /// The longest response time of a heartbeat.
    HeartbeatMaxMs,
    HeartbeatSent,
    HeartbeatAcked,
    /// Heartbeats answered `OK`, per minute.
    HeartbeatPerMin,
    RegisterAcked,
    /// 99th percentile of the response time of registrations.
    RegisterP99Ms,
    /// Devices that are registered at the end.
    DevicesRegistered,
    /// Requests that a limit refused and had to let through.
    LimitsFalselyRefused,
    /// Requests that limits let through and one had to refuse.
    LimitsFalselyAdmitted,
    /// Requests that a limit refused and had to refuse.
    LimitsRightlyRefused,
    /// Requests of which the model of the limits can't know.
    LimitsUndecidable,
    /// Requests of adversaries with a conclusive result; not those that met a rate limit or got no answer.
    AttacksAttempts,
    /// Requests of adversaries that were accepted.
    AttacksSuccesses,
    /// Acknowledged, but not stored.
    LedgerLost,
    /// Stored more than once.
    LedgerDuplicated,
    /// Stored in another order than sent.
    LedgerReordered,
    /// Stored under another device.
    LedgerMisattributed,
    /// Commands that a device reported as done.
    CommandsSucceeded,
    /// Commands that a device executed more than once.
    CommandsAppliedTwice,
    /// Punches that employees made.
    PunchesMade,
    /// Punches that the server has at the end.
    PunchesStored,
    /// Acknowledged punches that it has not stored.
    PunchesLost,
    /// Punches that it has stored more than once.
    PunchesDuplicated,
    /// Devices' keys that were rotated.
    KeysRotated,
    /// Devices that really booted a version: ground truth.
    Updated(Version),
    /// Living devices that really run a version: ground truth.
    Running(Version),
    /// Devices that a release has really broken: ground truth.
    RolloutBroken,
    /// Rollouts that were aborted.
    RolloutAborted,
    /// How often a rollout was paused.
    RolloutPaused,
    /// Stages that were promoted.
    RolloutPromoted,
    /// Rollouts that were completed.
    RolloutCompleted,
    /// Seconds from the first device that was really broken until the engine stopped a rollout.
    RolloutDetectionS,
    /// Share of waits that the server asked for after which a device was admitted.
    RetryAfterHonest,
    /// Heartbeats sent for each that was due.
    Amplification,
    /// Refusals by limits of honest devices that share an address with an adversary.
    FairnessRefused,
    /// The same as a share of their answered requests.
    FairnessRefusedShare,
    /// Refusals by limits of honest devices in whose name adversaries send requests.
    VictimsRefused,
    /// Seconds from the end of an outage until half of the affected devices were served again.
    RecoveryP50S,
    /// The same for 99 % of them.
    RecoveryP99S,
    /// The same for all of them.
    RecoveryMaxS,
    /// Devices that an outage affected and that were never served again.
    NeverServed,
    /// Background failures of a kind that began.
    Churn(ChurnKind),
    /// Answers with an invalid SIG_SERV.
    BadServerSignatures,
}

/// A firmware version that a metric counts devices of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// With the prefix, so that the metric's name can be a slice of this.
    metric: String,
    prefix: &'static str,
}

impl Version {
    /// The version of a metric `<prefix><version>`; none if the name is not such a metric.
    fn of(name: &str, prefix: &'static str) -> Option<Self> {
        let version = name.strip_prefix(prefix)?;
        let is_version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = (1..=64).contains(&version.len()) && version.chars().all(is_version);
        fits.then(|| Self { metric: name.to_owned(), prefix })
    }

    pub fn as_str(&self) -> &str {
        self.metric.strip_prefix(self.prefix).unwrap_or_default()
    }
}

/// The result of a request: `OK`, an ERR1 code, or one of `AnswerCode::LOCAL`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AnswerCode {
    /// With the prefix, so that the metric's name can be a slice of this.
    metric: String,
}

impl AnswerCode {
    /// The code of an accepted request.
    pub const OK: &'static str = "OK";
    /// Codes of the simulator itself, for requests without a valid answer.
    pub const LOCAL: [&'static str; 9] = [
        "TIMEOUT",
        "CONNECT_FAILED",
        "CONNECTION_LOST",
        "BAD_ANSWER",
        "UNKNOWN_KEY",
        "UNRECOGNISED",
        "NO_SOCKET",
        "UNSENT",
        "UNANSWERED",
    ];

    /// Parses a code: 1 to 40 of A-Z, 0-9 and `_`.
    pub fn new(code: &str) -> Option<Self> {
        let fits = (1..=CODE_CHARS_MAX).contains(&code.len());
        let is_code = fits && code.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_');
        is_code.then(|| Self { metric: format!("{CODES_PREFIX}{code}") })
    }

    pub fn as_str(&self) -> &str {
        self.metric.strip_prefix(CODES_PREFIX).unwrap_or_default()
    }
}

/// When a metric is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// At any time: it can be evaluated over a phase or a window.
    AnyTime,
    /// At any time, for the whole run only.
    OfWholeRun,
    /// Only after the end, from what the server has stored.
    AfterEnd,
}

/// A metric with a fixed name.
struct Named {
    metric: Metric,
    name: &'static str,
    unit: &'static str,
    known: Known,
    meaning: &'static str,
}

const fn named(metric: Metric, name: &'static str, unit: &'static str, known: Known, meaning: &'static str) -> Named {
    Named { metric, name, unit, known, meaning }
}

/// All of them, with unit, time and meaning.
static NAMED: [Named; 50] = [
    named(
        Metric::Errors,
        "errors",
        "requests",
        Known::AnyTime,
        "requests of honest devices that ended with anything but `OK`, for any reason",
    ),
    named(
        Metric::HeartbeatP50Ms,
        "heartbeat.p50_ms",
        "ms",
        Known::AnyTime,
        "response time of heartbeats answered `OK`, from the time they were **due** to the verified answer: the median",
    ),
    named(Metric::HeartbeatP90Ms, "heartbeat.p90_ms", "ms", Known::AnyTime, "the same, 90th percentile"),
    named(Metric::HeartbeatP99Ms, "heartbeat.p99_ms", "ms", Known::AnyTime, "the same, 99th percentile"),
    named(Metric::HeartbeatP999Ms, "heartbeat.p999_ms", "ms", Known::AnyTime, "the same, 99.9th percentile"),
    named(Metric::HeartbeatMaxMs, "heartbeat.max_ms", "ms", Known::AnyTime, "the same, the longest"),
    named(Metric::HeartbeatSent, "heartbeat.sent", "heartbeats", Known::AnyTime, "heartbeats sent"),
    named(Metric::HeartbeatAcked, "heartbeat.acked", "heartbeats", Known::AnyTime, "heartbeats answered `OK`"),
    named(
        Metric::HeartbeatPerMin,
        "heartbeat.per_min",
        "heartbeats/min",
        Known::AnyTime,
        "heartbeats answered `OK`, per minute of the time it covers",
    ),
    named(Metric::RegisterAcked, "register.acked", "registrations", Known::AnyTime, "registrations answered `OK`"),
    named(
        Metric::RegisterP99Ms,
        "register.p99_ms",
        "ms",
        Known::AnyTime,
        "response time of registrations answered `OK`, 99th percentile",
    ),
    named(
        Metric::DevicesRegistered,
        "devices.registered",
        "devices",
        Known::OfWholeRun,
        "devices that are registered at the end; one that knows it is revoked is not counted",
    ),
    named(
        Metric::RecoveryP50S,
        "fleet.recovery_p50_s",
        "s",
        Known::AfterEnd,
        "from the end of an outage (an `outage` or a `restart_server` step) until a device's next heartbeat was accepted: the median over all affected devices of all outages. No sample if no outage ended, or if any affected device was never served again; the verdict says how many. It includes the wait until the next heartbeat is due, so an outage shorter than the interval shows that. A device that the next outage hits before it was served counts for the next one only",
    ),
    named(Metric::RecoveryP99S, "fleet.recovery_p99_s", "s", Known::AfterEnd, "the same, 99th percentile"),
    named(Metric::RecoveryMaxS, "fleet.recovery_max_s", "s", Known::AfterEnd, "the same, the longest"),
    named(
        Metric::NeverServed,
        "fleet.never_served",
        "devices",
        Known::AfterEnd,
        "devices that an outage affected and that were not served again before the end, without having been revoked, broken or unplugged; no sample if no outage affected a device",
    ),
    named(
        Metric::RetryAfterHonest,
        "retry_after.honest",
        "share",
        Known::OfWholeRun,
        "of the refused requests of honest devices whose device asked again no sooner than `retry_after_s`, and got an answer, the share (0 to 1) that was not refused with a `retry_after_s` again. With `retry = \"obey\"` they waited exactly that long; no sample if none asked again",
    ),
    named(
        Metric::Amplification,
        "fleet.amplification",
        "times",
        Known::OfWholeRun,
        "heartbeats sent, repeated ones included, for each that was due by schedule; no sample if none was due",
    ),
    named(
        Metric::FairnessRefused,
        "fairness.refused",
        "requests",
        Known::OfWholeRun,
        "requests of honest devices that share an address with an adversary that were refused with `RATE_LIMITED` or `OVERLOADED`; no sample if no device shares one",
    ),
    named(
        Metric::FairnessRefusedShare,
        "fairness.refused_share",
        "share",
        Known::OfWholeRun,
        "the same as a share (0 to 1) of their answered requests",
    ),
    named(
        Metric::VictimsRefused,
        "victims.refused",
        "requests",
        Known::OfWholeRun,
        "requests of honest devices in whose name a `forger` or a `cloned_key` sends that were refused with `RATE_LIMITED` or `OVERLOADED`; no sample if none of them was answered",
    ),
    named(
        Metric::LimitsFalselyRefused,
        "limits.falsely_refused",
        "requests",
        Known::AfterEnd,
        "requests that a rate limit refused and had to let through, or refused with a wrong time to wait, by an independent model of the configured limits. No sample in a load run; in a rehearsal any fails the run in any case, as an invariant",
    ),
    named(
        Metric::LimitsFalselyAdmitted,
        "limits.falsely_admitted",
        "requests",
        Known::AfterEnd,
        "requests that were let through and that a limit had to refuse, likewise",
    ),
    named(
        Metric::LimitsRightlyRefused,
        "limits.rightly_refused",
        "requests",
        Known::AfterEnd,
        "requests that a limit refused as it had to; no sample in a load run",
    ),
    named(
        Metric::LimitsUndecidable,
        "limits.undecidable",
        "requests",
        Known::AfterEnd,
        "requests of which the model can't know, because what a limit had been charged before was cut off by a fault; no sample in a load run",
    ),
    named(
        Metric::AttacksAttempts,
        "attacks.attempts",
        "requests",
        Known::OfWholeRun,
        "requests of adversaries with a conclusive result: accepted, or refused for what was wrong with them. No answer, `RATE_LIMITED`, `OVERLOADED` and the like are inconclusive and not counted",
    ),
    named(
        Metric::AttacksSuccesses,
        "attacks.successes",
        "requests",
        Known::OfWholeRun,
        "those that were accepted; no sample while a kind of adversary that takes part and must be refused has no conclusive attempt",
    ),
    named(Metric::LedgerLost, "ledger.lost", "records", Known::AfterEnd, "acknowledged, but not stored"),
    named(Metric::LedgerDuplicated, "ledger.duplicated", "records", Known::AfterEnd, "stored more than once"),
    named(
        Metric::LedgerReordered,
        "ledger.reordered",
        "records",
        Known::AfterEnd,
        "stored after a later one of the same device",
    ),
    named(
        Metric::LedgerMisattributed,
        "ledger.misattributed",
        "records",
        Known::AfterEnd,
        "stored under a device that did not send it (of two devices with the same numbers: one lacks a record that the other has twice), under a name that an adversary uses, or (on the run's own server) under any name that is not the fleet's",
    ),
    named(
        Metric::CommandsSucceeded,
        "commands.succeeded",
        "commands",
        Known::OfWholeRun,
        "commands that a device executed, counted per device; a `rotate_key` counts once it has started",
    ),
    named(
        Metric::CommandsAppliedTwice,
        "commands.applied_twice",
        "commands",
        Known::OfWholeRun,
        "commands that a device executed again; no sample if none was executed",
    ),
    named(Metric::PunchesMade, "punches.made", "punches", Known::OfWholeRun, "punches that employees made"),
    named(
        Metric::PunchesStored,
        "punches.stored",
        "punches",
        Known::AfterEnd,
        "punches of the run that the server has stored",
    ),
    named(Metric::PunchesLost, "punches.lost", "punches", Known::AfterEnd, "acknowledged, but not stored"),
    named(Metric::PunchesDuplicated, "punches.duplicated", "punches", Known::AfterEnd, "stored more than once"),
    named(
        Metric::KeysRotated,
        "keys.rotated",
        "keys",
        Known::OfWholeRun,
        "new keys of devices that the server has confirmed",
    ),
    named(
        Metric::RolloutBroken,
        "rollout.broken_devices",
        "devices",
        Known::OfWholeRun,
        "devices that a release has really bricked or killed",
    ),
    named(
        Metric::RolloutAborted,
        "rollout.aborted",
        "rollouts",
        Known::AfterEnd,
        "how often a rollout was aborted, by the engine or an operator; no sample without a rollout",
    ),
    named(Metric::RolloutPaused, "rollout.paused", "decisions", Known::AfterEnd, "how often one was paused, likewise"),
    named(
        Metric::RolloutPromoted,
        "rollout.promoted",
        "decisions",
        Known::AfterEnd,
        "how often a stage of one was promoted, likewise",
    ),
    named(
        Metric::RolloutCompleted,
        "rollout.completed",
        "rollouts",
        Known::AfterEnd,
        "how often one was completed, likewise",
    ),
    named(
        Metric::RolloutDetectionS,
        "rollout.detection_s",
        "s",
        Known::AfterEnd,
        "from the first device that a release really broke until the engine stopped a rollout of it, for the release that took longest; below 0 if the engine was first; no sample if nothing broke or nothing was stopped",
    ),
    named(
        Metric::Churn(ChurnKind::Unplugged),
        "churn.unplugged",
        "times",
        Known::OfWholeRun,
        "how often a device was unplugged: a background failure that began",
    ),
    named(
        Metric::Churn(ChurnKind::Removed),
        "churn.removed",
        "times",
        Known::OfWholeRun,
        "how often one was removed, likewise",
    ),
    named(
        Metric::Churn(ChurnKind::Moved),
        "churn.moved",
        "times",
        Known::OfWholeRun,
        "how often one was moved, likewise",
    ),
    named(
        Metric::Churn(ChurnKind::SiteCloses),
        "churn.site_closes",
        "times",
        Known::OfWholeRun,
        "how often one lost power because its site closed, likewise",
    ),
    named(
        Metric::Churn(ChurnKind::FlakyLink),
        "churn.flaky_link",
        "times",
        Known::OfWholeRun,
        "how often the link of one became flaky, likewise",
    ),
    named(
        Metric::BadServerSignatures,
        "bad_server_signatures",
        "answers",
        Known::AnyTime,
        "answers with an invalid `SIG_SERV`",
    ),
];

/// No metric has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown metric `{given}`")]
pub struct UnknownMetric {
    pub given: String,
    /// The closest known name.
    pub suggestion: Option<String>,
}

impl Metric {
    /// The name, as in a scenario: `heartbeat.p99_ms`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Codes(code) => &code.metric,
            Self::Updated(version) | Self::Running(version) => &version.metric,
            named => row(named).map_or("", |row| row.name),
        }
    }

    /// The unit of the number: `ms`, `heartbeats/min`, `requests` ...
    pub fn unit(&self) -> &'static str {
        match self {
            Self::Updated(_) | Self::Running(_) => "devices",
            named => row(named).map_or("requests", |row| row.unit),
        }
    }

    /// Every name that a scenario can use; `codes.<CODE>` represents all of its kind.
    pub fn names() -> Vec<&'static str> {
        let mut names: Vec<_> = NAMED.iter().map(|row| row.name).collect();
        names.insert(1, "codes.<CODE>");
        names.extend(["updated.<VERSION>", "running.<VERSION>"]);
        names
    }

    /// Whether it never falls during a run: once above a bound it stays above it.
    pub(super) fn only_rises(&self) -> bool {
        use Metric as M;
        let falls_too = matches!(
            self,
            M::HeartbeatP50Ms
                | M::HeartbeatP90Ms
                | M::HeartbeatP99Ms
                | M::HeartbeatP999Ms
                | M::RegisterP99Ms
                | M::HeartbeatPerMin
                | M::RecoveryP50S
                | M::RecoveryP99S
                | M::RetryAfterHonest
                | M::Amplification
                | M::FairnessRefusedShare
                | M::DevicesRegistered
                | M::Running(_)
        );
        !falls_too
    }

    /// Whether it is a time or a rate, which depends on the machine's speed.
    pub(super) fn is_a_time(&self) -> bool {
        use Metric as M;
        matches!(
            self,
            M::HeartbeatP50Ms
                | M::HeartbeatP90Ms
                | M::HeartbeatP99Ms
                | M::HeartbeatP999Ms
                | M::HeartbeatMaxMs
                | M::HeartbeatPerMin
                | M::RegisterP99Ms
                | M::RecoveryP50S
                | M::RecoveryP99S
                | M::RecoveryMaxS
                | M::RolloutDetectionS
        )
    }

    pub(super) fn known(&self) -> Known {
        match self {
            Self::Updated(_) | Self::Running(_) => Known::OfWholeRun,
            named => row(named).map_or(Known::AnyTime, |row| row.known),
        }
    }
}

/// Every metric, as Markdown for docs/scenarios.md.
pub fn metrics_in_words() -> String {
    let of_a_kind = [
        (
            "codes.<CODE>",
            "requests",
            Known::AnyTime,
            "requests of honest devices with this result: `codes.REVOKED`; the codes are below",
        ),
        (
            "updated.<VERSION>",
            "devices",
            Known::OfWholeRun,
            "devices that really booted that version: the ground truth, whatever they report",
        ),
        ("running.<VERSION>", "devices", Known::OfWholeRun, "living devices that really run it at the end"),
    ];
    let named = NAMED.iter().map(|row| (row.name, row.unit, row.known, row.meaning));
    let mut text = String::from("\n");
    for (name, unit, known, meaning) in named.chain(of_a_kind) {
        let known = match known {
            Known::AnyTime => "any time",
            Known::OfWholeRun => "whole run",
            Known::AfterEnd => "after the end",
        };
        text += &format!("- `{name}` ({unit}, {known}): {meaning}\n");
    }
    text + "\n"
}

/// The metric's row of the table; none for `codes.*`.
fn row(metric: &Metric) -> Option<&'static Named> {
    NAMED.iter().find(|row| row.metric == *metric)
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Metric {
    type Err = UnknownMetric;

    fn from_str(name: &str) -> Result<Self, UnknownMetric> {
        if let Some(code) = name.strip_prefix(CODES_PREFIX) {
            let near = || AnswerCode::new(&code.to_uppercase().replace('-', "_")).map(|code| code.metric);
            let unknown = || UnknownMetric { given: name.to_owned(), suggestion: near() };
            return AnswerCode::new(code).map(Self::Codes).ok_or_else(unknown);
        }
        for (prefix, of) in [(UPDATED_PREFIX, Self::Updated as fn(Version) -> Self), (RUNNING_PREFIX, Self::Running)] {
            if let Some(version) = Version::of(name, prefix) {
                return Ok(of(version));
            }
        }
        let named = NAMED.iter().find(|row| row.name == name);
        named.map(|row| row.metric.clone()).ok_or_else(|| UnknownMetric {
            given: name.to_owned(),
            suggestion: closest(name, NAMED.iter().map(|row| row.name)).map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_metric_and_has_a_unit() {
        for name in
            Metric::names().into_iter().map(|name| name.replace("<CODE>", "REVOKED").replace("<VERSION>", "1.1.0"))
        {
            let metric: Metric = name.parse().expect(&name);
            assert_eq!(metric.as_str(), name);
            assert!(!metric.unit().is_empty());
        }
    }

    #[test]
    fn an_unknown_name_suggests_the_closest() {
        for (given, meant) in [
            ("heartbeat.p99", Some("heartbeat.p99_ms")),
            ("error", Some("errors")),
            ("ledger.loss", Some("ledger.lost")),
            ("misattributed", Some("ledger.misattributed")),
            ("codes.revoked", Some("codes.REVOKED")),
            ("codes.", None),
            ("speed", None),
        ] {
            let error = given.parse::<Metric>().expect_err(given);
            assert_eq!(error.suggestion.as_deref(), meant, "{given}");
        }
    }

    #[test]
    fn a_code_has_no_prefix() {
        let code = AnswerCode::new("CONNECT_FAILED").expect("a code");
        assert_eq!(code.as_str(), "CONNECT_FAILED");
        assert_eq!(Metric::Codes(code).to_string(), "codes.CONNECT_FAILED");
        assert_eq!(AnswerCode::new("Ok"), None);
    }
}
