//! How an update ends.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How an update ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Outcome {
    /// Signed heartbeats show the new firmware after a new boot, for the whole window.
    Confirmed,
    /// The device says that it failed.
    Failed,
    /// The device refused the manifest or the artifact.
    Rejected,
    /// No progress in time.
    TimedOut,
    /// Silent after it began to install.
    Lost,
    /// Came back with the old firmware.
    RolledBack,
    /// Said that it succeeded; its signed heartbeats say otherwise.
    FalseSuccess,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Confirmed,
        Self::Failed,
        Self::Rejected,
        Self::TimedOut,
        Self::Lost,
        Self::RolledBack,
        Self::FalseSuccess,
    ];

    /// Whether it is any but CONFIRMED.
    pub fn is_failure(self) -> bool {
        self != Self::Confirmed
    }
}
