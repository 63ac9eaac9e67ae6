//! What an operator can order of a rollout.

/// What an operator can order of a rollout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutOrder {
    /// Offer nothing more for now.
    Pause,
    /// Go on.
    Resume,
    /// Let the stage be promoted.
    Approve,
    /// End it.
    Abort,
    /// End it, and give those that took the release the policy's `roll_back_to`.
    AbortAndRollBack,
}

impl RolloutOrder {
    /// Every order.
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
