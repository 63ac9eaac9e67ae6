//! The outcomes of an update.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The outcome of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// Signed heartbeats reported the new firmware after a new boot, for the whole window.
    Confirmed,
    /// The device reported that it failed.
    Failed,
    /// The device refused the manifest or the artifact.
    Rejected,
    /// No progress in time.
    TimedOut,
    /// No heartbeat after it began to install.
    Lost,
    /// The device came back with the old firmware.
    RolledBack,
    /// The device reported success, but its signed heartbeats contradict that.
    FalseSuccess,
}

impl Outcome {
    pub const ALL: [Self; 7] = [
        Self::Confirmed,
        Self::Failed,
        Self::Rejected,
        Self::TimedOut,
        Self::Lost,
        Self::RolledBack,
        Self::FalseSuccess,
    ];

    /// Whether it is anything but CONFIRMED.
    pub fn is_failure(self) -> bool {
        self != Self::Confirmed
    }
}
