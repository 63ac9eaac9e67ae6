//! An operator's orders for a rollout.

/// An operator's order for a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutOrder {
    /// Stop offering for now.
    Pause,
    Resume,
    /// Allow the stage to be promoted.
    Approve,
    Abort,
    /// End it, and roll devices that installed the release back to the policy's `roll_back_to`.
    AbortAndRollBack,
}

impl RolloutOrder {
    pub const ALL: [Self; 5] = [Self::Pause, Self::Resume, Self::Approve, Self::Abort, Self::AbortAndRollBack];

    /// The word in scenarios.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Approve => "approve",
            Self::Abort => "abort",
            Self::AbortAndRollBack => "abort_and_roll_back",
        }
    }
}
