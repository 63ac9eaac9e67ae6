//! What a plan says must be true of a run.

use std::time::Duration;

use super::metric::Metric;
use ks_protocol::duration;

/// What must be true of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Expectation {
    /// Of which number.
    pub metric: Metric,
    /// What it is compared with.
    pub bound: Bound,
    /// When.
    pub during: During,
    /// It must hold in each full window of this length; none: over all of `during` at once.
    pub every: Option<Duration>,
    /// To have no sample is no failure.
    pub allow_empty: bool,
    /// A violation ends the run.
    pub abort: bool,
}

/// What a number is compared with; not negative, in the metric's unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bound {
    /// At most this.
    Max(f64),
    /// At least this.
    Min(f64),
    /// Exactly this.
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

impl Bound {
    /// Whether only too much can violation it; of a count, which is never below 0, `= 0` says so too.
    pub fn is_upper(self) -> bool {
        matches!(self, Self::Max(_)) || self == Self::Equals(0.0)
    }

    /// The number keeps to the bound. A number that is none (NaN) keeps to nothing.
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

/// `heartbeat.p99_ms <= 50 during steady, every 10s`: what a report calls it.
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
