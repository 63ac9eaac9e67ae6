//! Expectations: what must be true of a run.

use std::time::Duration;

use super::metric::Metric;
use ks_protocol::duration;

/// What must be true of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    pub metric: Metric,
    /// The bound of the metric.
    pub bound: Bound,
    pub during: During,
    /// It must hold in each full window of this length; none: over `during` as a whole.
    pub every: Option<Duration>,
    /// A missing sample is not a failure.
    pub allow_empty: bool,
    /// A miss ends the run.
    pub abort: bool,
}

/// The bound of a metric; not negative, in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    Max(f64),
    Min(f64),
    Equals(f64),
}

/// When an expectation counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum During {
    /// From start to end.
    WholeRun,
    /// In the phase of this name; `Plan::phases` has it.
    Phase(String),
}

impl Expectation {
    /// Whether its value goes on changing although nothing happens: windows of a run, and counts of what devices send. That
    /// there is none of something does not.
    pub fn depends_on_the_length(&self) -> bool {
        let counts_traffic = matches!(
            self.metric,
            Metric::HeartbeatSent
                | Metric::HeartbeatAcked
                | Metric::Codes(_)
                | Metric::Errors
                | Metric::PunchesMade
                | Metric::PunchesStored
        );
        let is_none = matches!(self.bound, Bound::Max(0.0) | Bound::Equals(0.0));
        self.every.is_some() || (counts_traffic && !is_none)
    }

    /// Whether its bound is a count over the whole run, so that it is right for a run of that length alone: not a rate, a share or a time, and
    /// not that there is none of something.
    pub fn is_of_the_whole_length(&self) -> bool {
        let is_count = self.metric.only_rises() && !self.metric.is_a_time();
        is_count && self.during == During::WholeRun && self.every.is_none() && self.bound.value() > 0.0
    }
}

impl Bound {
    /// Whether only a high value can miss it; for a count, which is never below 0, this includes `= 0`.
    pub fn is_upper(self) -> bool {
        matches!(self, Self::Max(_)) || self == Self::Equals(0.0)
    }

    /// Whether a number is within the bound. NaN never is.
    pub fn holds(self, actual: f64) -> bool {
        match self {
            Self::Max(max) => actual <= max,
            Self::Min(min) => actual >= min,
            Self::Equals(wanted) => (actual - wanted).abs() < f64::EPSILON,
        }
    }

    /// The number of the bound.
    pub fn value(self) -> f64 {
        match self {
            Self::Max(value) | Self::Min(value) | Self::Equals(value) => value,
        }
    }
}

/// `<= 50`
impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = match self {
            Self::Max(_) => "<=",
            Self::Min(_) => ">=",
            Self::Equals(_) => "=",
        };
        write!(f, "{sign} {}", self.value())
    }
}

/// `heartbeat.p99_ms <= 50 during steady, every 10s`: its name in a report.
impl std::fmt::Display for Expectation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.metric, self.bound)?;
        if let During::Phase(phase) = &self.during {
            write!(f, " during {phase}")?;
        }
        if let Some(every) = self.every {
            write!(f, ", every {}", duration::format(every))?;
        }
        Ok(())
    }
}
