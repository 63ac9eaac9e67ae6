//! The table of metrics that have one name each: unit, when the value is known, and meaning.

use super::Metric;
use crate::scenario::churn::ChurnKind;

/// When a metric is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scenario) enum Availability {
    /// At any time: it can be evaluated over a phase or a window.
    AnyTime,
    /// At any time, for the whole run only.
    OfWholeRun,
    /// Only after the end, from what the server has stored.
    AfterEnd,
}

/// A metric with a fixed name.
pub(super) struct FixedName {
    pub(super) metric: Metric,
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) known: Availability,
    pub(super) meaning: &'static str,
}

const fn named(
    metric: Metric,
    name: &'static str,
    unit: &'static str,
    known: Availability,
    meaning: &'static str,
) -> FixedName {
    FixedName { metric, name, unit, known, meaning }
}

/// All of them, with unit, time and meaning.
pub(super) static NAMED: [FixedName; 57] = [
    named(
        Metric::Errors,
        "errors",
        "requests",
        Availability::AnyTime,
        "requests of honest devices that ended with anything but `OK`, for any reason",
    ),
    named(
        Metric::HeartbeatP50Ms,
        "heartbeat.p50_ms",
        "ms",
        Availability::AnyTime,
        "response time of heartbeats answered `OK`, from the time they were **due** to the verified answer: the median",
    ),
    named(Metric::HeartbeatP90Ms, "heartbeat.p90_ms", "ms", Availability::AnyTime, "the same, 90th percentile"),
    named(Metric::HeartbeatP99Ms, "heartbeat.p99_ms", "ms", Availability::AnyTime, "the same, 99th percentile"),
    named(Metric::HeartbeatP999Ms, "heartbeat.p999_ms", "ms", Availability::AnyTime, "the same, 99.9th percentile"),
    named(Metric::HeartbeatMaxMs, "heartbeat.max_ms", "ms", Availability::AnyTime, "the same, the longest"),
    named(Metric::HeartbeatSent, "heartbeat.sent", "heartbeats", Availability::AnyTime, "heartbeats sent"),
    named(Metric::HeartbeatAcked, "heartbeat.acked", "heartbeats", Availability::AnyTime, "heartbeats answered `OK`"),
    named(
        Metric::HeartbeatPerMin,
        "heartbeat.per_min",
        "heartbeats/min",
        Availability::AnyTime,
        "heartbeats answered `OK`, per minute of the time it covers",
    ),
    named(
        Metric::RegisterAcked,
        "register.acked",
        "registrations",
        Availability::AnyTime,
        "registrations answered `OK`",
    ),
    named(
        Metric::RegisterP99Ms,
        "register.p99_ms",
        "ms",
        Availability::AnyTime,
        "response time of registrations answered `OK`, 99th percentile",
    ),
    named(
        Metric::DevicesRegistered,
        "devices.registered",
        "devices",
        Availability::OfWholeRun,
        "devices that are registered at the end; one that knows it is revoked is not counted",
    ),
    named(
        Metric::RecoveryP50S,
        "fleet.recovery_p50_s",
        "s",
        Availability::AfterEnd,
        "from the end of an outage (an `outage` or a `restart_server` step) until a device's next heartbeat was accepted: the median over all affected devices of all outages. No sample if no outage ended, or if any affected device was never served again; the verdict says how many. It includes the wait until the next heartbeat is due, so an outage shorter than the interval shows that. A device that the next outage hits before it was served counts for the next one only",
    ),
    named(Metric::RecoveryP99S, "fleet.recovery_p99_s", "s", Availability::AfterEnd, "the same, 99th percentile"),
    named(Metric::RecoveryMaxS, "fleet.recovery_max_s", "s", Availability::AfterEnd, "the same, the longest"),
    named(
        Metric::NeverServed,
        "fleet.never_served",
        "devices",
        Availability::AfterEnd,
        "devices that an outage affected and that were not served again before the end, without having been revoked, broken or unplugged; no sample if no outage affected a device",
    ),
    named(
        Metric::RetryAfterHonest,
        "retry_after.honest",
        "share",
        Availability::OfWholeRun,
        "of the refused requests of honest devices whose device asked again no sooner than `retry_after_s`, and got an answer, the share (0 to 1) that was not refused with a `retry_after_s` again. With `retry = \"obey\"` they waited exactly that long; no sample if none asked again",
    ),
    named(
        Metric::RefusedAgain,
        "fleet.refused_again",
        "requests",
        Availability::OfWholeRun,
        "requests of honest devices that were refused with `RATE_LIMITED` or `OVERLOADED` although the last request of the same kind by the same device that was answered had been too: what a second wave after a refusal costs; 0 if nobody was refused at all, which `limits.<NAME>.refused` shows",
    ),
    named(
        Metric::SecondPeakPerS,
        "fleet.second_peak_per_s",
        "requests/s",
        Availability::OfWholeRun,
        "requests of honest devices that were sent after such a refusal, in the busiest second: how high the second wave is, or one after it; 0 if nobody was refused",
    ),
    named(
        Metric::Amplification,
        "fleet.amplification",
        "times",
        Availability::OfWholeRun,
        "heartbeats sent, repeated ones included, for each that was due by schedule; no sample if none was due",
    ),
    named(
        Metric::FairnessRefused,
        "fairness.refused",
        "requests",
        Availability::OfWholeRun,
        "requests of honest devices that share an address with an adversary that were refused with `RATE_LIMITED` or `OVERLOADED`; no sample if no device shares one",
    ),
    named(
        Metric::FairnessRefusedShare,
        "fairness.refused_share",
        "share",
        Availability::OfWholeRun,
        "the same as a share (0 to 1) of their answered requests",
    ),
    named(
        Metric::VictimsRefused,
        "victims.refused",
        "requests",
        Availability::OfWholeRun,
        "requests of honest devices in whose name a `forger`, a `cloned_key` or a `pair_guesser` sends that were refused with `RATE_LIMITED` or `OVERLOADED`; no sample if none of them was answered",
    ),
    named(
        Metric::LimitsFalselyRefused,
        "limits.falsely_refused",
        "requests",
        Availability::AfterEnd,
        "requests that a rate limit refused and had to let through, or refused with a wrong time to wait, by an independent model of the configured limits. No sample in a load run; in a rehearsal any fails the run in any case, as an invariant",
    ),
    named(
        Metric::LimitsFalselyAdmitted,
        "limits.falsely_admitted",
        "requests",
        Availability::AfterEnd,
        "requests that were let through and that a limit had to refuse, likewise",
    ),
    named(
        Metric::LimitsRightlyRefused,
        "limits.rightly_refused",
        "requests",
        Availability::AfterEnd,
        "requests that a limit refused as it had to; no sample in a load run",
    ),
    named(
        Metric::LimitsUndecidable,
        "limits.undecidable",
        "requests",
        Availability::AfterEnd,
        "requests of which the model can't know, because what a limit had been charged before was cut off by a fault, or an order got no answer; no sample in a load run. More than half of all make the run inconclusive, unless a bound is given here",
    ),
    named(
        Metric::AttacksAttempts,
        "attacks.attempts",
        "requests",
        Availability::OfWholeRun,
        "requests of adversaries with a conclusive result: accepted, or refused for what was wrong with them. No answer, `RATE_LIMITED`, `OVERLOADED` and the like are inconclusive and not counted",
    ),
    named(
        Metric::AttacksSuccesses,
        "attacks.successes",
        "requests",
        Availability::OfWholeRun,
        "those that were accepted; no sample while a kind of adversary that takes part and must be refused has no conclusive attempt",
    ),
    named(Metric::LedgerLost, "ledger.lost", "records", Availability::AfterEnd, "acknowledged, but not stored"),
    named(Metric::LedgerDuplicated, "ledger.duplicated", "records", Availability::AfterEnd, "stored more than once"),
    named(
        Metric::LedgerReordered,
        "ledger.reordered",
        "records",
        Availability::AfterEnd,
        "stored after a later one of the same device",
    ),
    named(
        Metric::LedgerMisattributed,
        "ledger.misattributed",
        "records",
        Availability::AfterEnd,
        "stored under a device that did not send it (of two devices with the same numbers: one lacks a record that the other has twice), under a name that an adversary uses, or (on the run's own server) under any name that is not the fleet's",
    ),
    named(
        Metric::CommandsSucceeded,
        "commands.succeeded",
        "commands",
        Availability::OfWholeRun,
        "commands that a device executed, counted per device; a `rotate_key` counts once it has started",
    ),
    named(
        Metric::CommandsAppliedTwice,
        "commands.applied_twice",
        "commands",
        Availability::OfWholeRun,
        "commands that a device executed again; no sample if none was executed",
    ),
    named(Metric::PunchesMade, "punches.made", "punches", Availability::OfWholeRun, "punches that employees made"),
    named(
        Metric::PunchesStored,
        "punches.stored",
        "punches",
        Availability::AfterEnd,
        "punches of the run that the server has stored",
    ),
    named(Metric::PunchesLost, "punches.lost", "punches", Availability::AfterEnd, "acknowledged, but not stored"),
    named(Metric::PunchesDuplicated, "punches.duplicated", "punches", Availability::AfterEnd, "stored more than once"),
    named(
        Metric::KeysRotated,
        "keys.rotated",
        "keys",
        Availability::OfWholeRun,
        "new keys of devices that the server has confirmed",
    ),
    named(
        Metric::RolloutBroken,
        "rollout.broken_devices",
        "devices",
        Availability::OfWholeRun,
        "devices that a release has really bricked or killed",
    ),
    named(
        Metric::RolloutAborted,
        "rollout.aborted",
        "rollouts",
        Availability::AfterEnd,
        "how often a rollout was aborted, by the engine or an operator; no sample without a rollout",
    ),
    named(
        Metric::RolloutPaused,
        "rollout.paused",
        "decisions",
        Availability::AfterEnd,
        "how often one was paused, likewise",
    ),
    named(
        Metric::RolloutPromoted,
        "rollout.promoted",
        "decisions",
        Availability::AfterEnd,
        "how often a stage of one was promoted, likewise",
    ),
    named(
        Metric::RolloutCompleted,
        "rollout.completed",
        "rollouts",
        Availability::AfterEnd,
        "how often one was completed, likewise",
    ),
    named(
        Metric::RolloutDetectionS,
        "rollout.detection_s",
        "s",
        Availability::AfterEnd,
        "from the first device that a release really broke until the engine stopped a rollout of it, for the release that took longest; below 0 if the engine was first; no sample if nothing broke or nothing was stopped",
    ),
    named(
        Metric::Churn(ChurnKind::Unplugged),
        "churn.unplugged",
        "times",
        Availability::OfWholeRun,
        "how often a device was unplugged: a background failure that began",
    ),
    named(
        Metric::Churn(ChurnKind::Removed),
        "churn.removed",
        "times",
        Availability::OfWholeRun,
        "how often one was removed, likewise",
    ),
    named(
        Metric::Churn(ChurnKind::Moved),
        "churn.moved",
        "times",
        Availability::OfWholeRun,
        "how often one was moved, likewise",
    ),
    named(
        Metric::Churn(ChurnKind::SiteCloses),
        "churn.site_closes",
        "times",
        Availability::OfWholeRun,
        "how often one lost power because its site closed, likewise",
    ),
    named(
        Metric::Churn(ChurnKind::FlakyLink),
        "churn.flaky_link",
        "times",
        Availability::OfWholeRun,
        "how often the link of one became flaky, likewise",
    ),
    named(
        Metric::Churn(ChurnKind::Swapped),
        "churn.swapped",
        "times",
        Availability::OfWholeRun,
        "how often one was removed to be replaced, likewise",
    ),
    named(
        Metric::TlsHandshakes,
        "tls.handshakes",
        "handshakes",
        Availability::AnyTime,
        "TLS handshakes that succeeded; 0 at a server without TLS",
    ),
    named(
        Metric::TlsResumed,
        "tls.resumed",
        "handshakes",
        Availability::AnyTime,
        "of these, those that resumed the device's last session",
    ),
    named(
        Metric::TlsFailed,
        "tls.failed",
        "handshakes",
        Availability::AnyTime,
        "TLS handshakes that failed; their requests have the code `TLS_FAILED`",
    ),
    named(
        Metric::TlsHandshakeP99Ms,
        "tls.handshake_p99_ms",
        "ms",
        Availability::AnyTime,
        "time of those that succeeded, from the accepted connection, 99th percentile; no sample at a server without TLS",
    ),
    named(
        Metric::BadServerSignatures,
        "bad_server_signatures",
        "answers",
        Availability::AnyTime,
        "answers with an invalid `SIG_SERV`",
    ),
];

/// The metric's row of the table; none for `codes.*`.
pub(super) fn row(metric: &Metric) -> Option<&'static FixedName> {
    NAMED.iter().find(|row| row.metric == *metric)
}
