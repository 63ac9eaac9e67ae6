//! The status of a rollout.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The status of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Status {
    /// The release is offered and gates are judged.
    Running,
    /// A person must approve the next stage.
    Waiting,
    /// A person, a gate or an error paused it.
    Paused,
    /// It has ended early.
    Aborted,
    /// It has ended, and every stage passed.
    Completed,
}

impl Status {
    pub const ALL: [Self; 5] = [Self::Running, Self::Waiting, Self::Paused, Self::Aborted, Self::Completed];

    /// Its name in the store, the API and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Waiting => "WAITING",
            Self::Paused => "PAUSED",
            Self::Aborted => "ABORTED",
            Self::Completed => "COMPLETED",
        }
    }

    /// Whether the release is never offered again.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Aborted | Self::Completed)
    }
}
