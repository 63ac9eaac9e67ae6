//! The metrics that expectations can use: names, units, and when their values are known.

mod by_name;
mod table;

use std::str::FromStr;

pub use self::by_name::AnswerCode;
pub(in crate::scenario) use self::table::Availability;
use self::{
    by_name::{CODES_PREFIX, CountedLimit, RUNNING_PREFIX, UPDATED_PREFIX, Version},
    table::{NAMED, row},
};
use crate::scenario::churn::ChurnKind;
use crate::scenario::problem::closest;

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
    /// What one limit of the server refused, or would have refused.
    Limit(CountedLimit),
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
    /// Requests that a limit refused, and the last one of the same device too.
    RefusedAgain,
    /// Most requests of a second that were sent again after a refusal.
    SecondPeakPerS,
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
    /// TLS handshakes that succeeded.
    TlsHandshakes,
    /// Of these, those that resumed a session.
    TlsResumed,
    /// TLS handshakes that failed.
    TlsFailed,
    /// Time of those that succeeded, 99th percentile.
    TlsHandshakeP99Ms,
    /// Answers with an invalid SIG_SERV.
    BadServerSignatures,
}

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
            Self::Limit(limit) => &limit.metric,
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
        names.extend(["updated.<VERSION>", "running.<VERSION>", "limits.<NAME>.refused", "limits.<NAME>.would_refuse"]);
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
                | M::TlsHandshakeP99Ms
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
                | M::TlsHandshakeP99Ms
                | M::RecoveryP50S
                | M::RecoveryP99S
                | M::RecoveryMaxS
                | M::RolloutDetectionS
                | M::SecondPeakPerS
        )
    }

    pub(super) fn known(&self) -> Availability {
        match self {
            Self::Updated(_) | Self::Running(_) => Availability::OfWholeRun,
            Self::Limit(_) => Availability::AfterEnd,
            named => row(named).map_or(Availability::AnyTime, |row| row.known),
        }
    }
}

/// Every metric, as Markdown for docs/scenarios.md.
pub fn metrics_in_words() -> String {
    let of_a_kind = [
        (
            "codes.<CODE>",
            "requests",
            Availability::AnyTime,
            "requests of honest devices with this result: `codes.REVOKED`; the codes are below",
        ),
        (
            "updated.<VERSION>",
            "devices",
            Availability::OfWholeRun,
            "devices that really booted that version: the ground truth, whatever they report",
        ),
        ("running.<VERSION>", "devices", Availability::OfWholeRun, "living devices that really run it at the end"),
        (
            "limits.<NAME>.refused",
            "requests",
            Availability::AfterEnd,
            "requests that this limit of the server refused, by its name in `GET /api/limits`: `limits.address_failures.refused`; those of an external server since it started. No sample if they can't be read",
        ),
        (
            "limits.<NAME>.would_refuse",
            "requests",
            Availability::AfterEnd,
            "requests that it would have refused if it were not in shadow, likewise",
        ),
    ];
    let named = NAMED.iter().map(|row| (row.name, row.unit, row.known, row.meaning));
    let mut text = String::from("\n");
    for (name, unit, known, meaning) in named.chain(of_a_kind) {
        let known = match known {
            Availability::AnyTime => "any time",
            Availability::OfWholeRun => "whole run",
            Availability::AfterEnd => "after the end",
        };
        text += &format!("- `{name}` ({unit}, {known}): {meaning}\n");
    }
    text + "\n"
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
        if let Some(limit) = CountedLimit::of(name) {
            return Ok(Self::Limit(limit));
        }
        let named = NAMED.iter().find(|row| row.name == name);
        named.map(|row| row.metric.clone()).ok_or_else(|| {
            let of_limits: Vec<String> = CountedLimit::all().collect();
            let names = NAMED.iter().map(|row| row.name).chain(of_limits.iter().map(String::as_str));
            UnknownMetric { given: name.to_owned(), suggestion: closest(name, names).map(str::to_owned) }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_reads_back_as_its_metric_and_has_a_unit() {
        for name in Metric::names().into_iter().map(|name| {
            name.replace("<CODE>", "REVOKED").replace("<VERSION>", "1.1.0").replace("<NAME>", "user_logins")
        }) {
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
            ("limits.device_request.refused", Some("limits.device_requests.refused")),
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
