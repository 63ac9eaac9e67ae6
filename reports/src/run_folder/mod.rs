//! The run folder: the one contract between the simulator, which writes it, and the report, which is drawn from it alone.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `summary.json` | [`Summary`]: verdict, expectations, totals |
//! | `ticks.ndjson` | one [`Tick`] a line: what happened in each interval of the run |
//! | `latency.hlog` | HdrHistogram interval log: heartbeat response times in microseconds, one interval a tick |
//! | `events.ndjson.zst` | the event log, compressed: what happened, in order; a rehearsal's is hashed. Absent with `--events none` |
//! | `segment.ndjson.zst` | what one segment of a fleet measured, exactly, for `ks-fleet merge`; only of a run with `--segment` |
//! | `rollouts.ndjson` | one [`RolloutSample`] a line; only of a run that rolls firmware out |
//! | `decisions.ndjson` | one [`RolloutDecision`] a line; only of a run that rolls firmware out |
//! | `review.json` | [`crate::review::Review`]; only of a run that rolls firmware out |
//! | `report.html`, `summary.md`, `junit.xml`, `*.svg`, `*.png` | drawn from those above |
//!
//! `summary.json` is written last and by rename: a folder without it is an unfinished run and is never reported as whole.

mod limit_verdicts;
mod rollout;
mod segment;
mod summary;
mod tick;

use serde::{Deserialize, Serialize};

pub use self::{
    limit_verdicts::{LimitVerdicts, VerdictCounts},
    rollout::{ActionTime, GateSample, RolloutDecision, RolloutSample, RolloutSummary},
    segment::{ClockOffset, Segment},
    summary::{
        AdversaryRequests, Attacks, Expectation, Generator, Heartbeats, InvariantResult, LateDevices, Ledger,
        LimitCount, LoadFigures, Percentiles, Phase, PhaseFigures, Summary, TlsHandshakes,
    },
    tick::Tick,
};

/// The code of a request that succeeded; every other one is a refusal or a failure.
pub const OK: &str = "OK";

/// Version of this contract that is written; readers refuse a greater one.
pub const FORMAT: u32 = 1;

/// File name of the [`Summary`].
pub const SUMMARY: &str = "summary.json";

/// File name of the ticks, one JSON object a line.
pub const TICKS: &str = "ticks.ndjson";

/// File name of the heartbeat latency histograms (HdrHistogram interval log).
pub const LATENCY: &str = "latency.hlog";

/// File name of the event log, one JSON object a line, compressed with zstd; may be absent.
pub const EVENTS: &str = "events.ndjson.zst";

/// File name of what one segment of a fleet measured, one JSON object a line, compressed with zstd; only of a run with `--segment`.
pub const SEGMENT: &str = "segment.ndjson.zst";

/// File name of the samples of rollouts, one JSON object a line; may be absent.
pub const ROLLOUTS: &str = "rollouts.ndjson";

/// File name of the decisions of rollouts, one JSON object a line; may be absent.
pub const DECISIONS: &str = "decisions.ndjson";

/// How a run ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every expectation held and the measurement was sound.
    Pass,
    /// An expectation was not met, or the ledger did not balance.
    Fail,
    /// Too little evidence, or the generator itself was the bottleneck.
    Inconclusive,
}

/// Which clock a run used, and how it reached the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Real time, over sockets.
    Load,
    /// Virtual time, in process.
    Rehearse,
}

/// Which events the event log of a run has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventsKept {
    #[default]
    All,
    /// All but ordinary heartbeats: those that succeeded, and whose answers had neither an offer nor a command.
    Decisions,
    /// None: there is no event log.
    None,
}

impl EventsKept {
    /// As in `--events`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Decisions => "decisions",
            Self::None => "none",
        }
    }

    /// What is not in the log, in words; none if everything is.
    pub fn left_out(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Decisions => Some("The event log has no ordinary heartbeats (--events decisions)."),
            Self::None => Some("There is no event log (--events none), and `ks-fleet explain` needs one."),
        }
    }
}
