//! What operators order of a rollout, and why an order is invalid.

use super::status::Status;

/// An order, and the state of the rollout that the operator saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorOrder {
    pub order: Order,
    /// The rollout as the operator saw it. Required for orders that advance the release; optional for orders to stop, so that they
    /// do not fail because the engine made a decision in between.
    pub seen: Option<Observed>,
    pub why: String,
}

/// The stage and revision of a rollout that an operator saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observed {
    /// The stage, from 0.
    pub stage: usize,
    pub revision: u64,
}

/// The orders of operators.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Offer nothing more for now.
    Pause,
    Resume,
    /// The stage may be promoted.
    Approve,
    /// End it.
    Abort {
        /// Whether devices that took the release get the policy's `roll_back_to`.
        roll_back: bool,
    },
}

impl Order {
    /// The words in errors and in the store.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Approve => "approve",
            Self::Abort { roll_back: false } => "abort",
            Self::Abort { roll_back: true } => "abort and roll back",
        }
    }

    /// Whether it advances the release.
    pub fn lets_go_on(&self) -> bool {
        matches!(self, Self::Resume | Self::Approve)
    }
}

/// Why an order is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTransition {
    /// The rollout's status does not allow it.
    #[error("the rollout is {}: order to {order} refused{}", status.as_str(), expected_instead(order, *status))]
    Status { status: Status, order: &'static str },
    /// It does not name the stage and revision.
    #[error("an order to {order} must name the stage and revision of the rollout that it is for")]
    RevisionMissing { order: &'static str },
    /// The rollout has changed since the operator saw it.
    #[error(
        "the order to {order} is for stage {} at revision {}, but the rollout is in stage {} at revision {}: check it again",
        seen.stage + 1, seen.revision, now.stage + 1, now.revision
    )]
    Changed {
        order: &'static str,
        /// What the operator saw.
        seen: Observed,
        /// What it is now.
        now: Observed,
    },
    /// The policy names no release to roll back to.
    #[error(
        "the policy names no `roll_back_to`: abort without rolling back, and roll out a release with a higher counter"
    )]
    NoRollBackRelease,
}

fn expected_instead(order: &str, status: Status) -> &'static str {
    match (order, status) {
        ("approve", _) => "; expected WAITING: a stage can be approved once its gates pass and its bake time is over",
        ("abort" | "abort and roll back", Status::Completed) => {
            "; its devices are no longer watched: roll out a release with a higher counter instead"
        }
        _ => "",
    }
}
