//! The states of an update, their names, and what is true of a device in each.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::rollout::outcome::Outcome;

/// The state of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpdateState {
    /// Its turn has not come.
    Pending,
    /// Its heartbeats are answered with the offer.
    Offered,
    /// It downloads the artifact.
    Downloading,
    /// It installs, or boots into what it installed.
    Installing,
    /// It reports the new firmware, not yet for the whole window.
    Confirming,
    Confirmed,
    Failed,
    Rejected,
    TimedOut,
    Lost,
    RolledBack,
    FalseSuccess,
    /// Stopped before it installed anything, because the rollout was aborted. Not executed.
    Halted,
    /// A person revoked or re-provisioned the device before a failure was known. Not executed: no evidence about the release.
    Withdrawn,
}

impl UpdateState {
    pub const ALL: [Self; 14] = [
        Self::Pending,
        Self::Offered,
        Self::Downloading,
        Self::Installing,
        Self::Confirming,
        Self::Confirmed,
        Self::Failed,
        Self::Rejected,
        Self::TimedOut,
        Self::Lost,
        Self::RolledBack,
        Self::FalseSuccess,
        Self::Halted,
        Self::Withdrawn,
    ];

    /// Its name in the store, the API and reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Offered => "OFFERED",
            Self::Downloading => "DOWNLOADING",
            Self::Installing => "INSTALLING",
            Self::Confirming => "CONFIRMING",
            Self::Confirmed => "CONFIRMED",
            Self::Failed => "FAILED",
            Self::Rejected => "REJECTED",
            Self::TimedOut => "TIMED_OUT",
            Self::Lost => "LOST",
            Self::RolledBack => "ROLLED_BACK",
            Self::FalseSuccess => "FALSE_SUCCESS",
            Self::Halted => "HALTED",
            Self::Withdrawn => "WITHDRAWN",
        }
    }

    /// Parses [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// The outcome, if the state is one.
    pub fn outcome(self) -> Option<Outcome> {
        Some(match self {
            Self::Confirmed => Outcome::Confirmed,
            Self::Failed => Outcome::Failed,
            Self::Rejected => Outcome::Rejected,
            Self::TimedOut => Outcome::TimedOut,
            Self::Lost => Outcome::Lost,
            Self::RolledBack => Outcome::RolledBack,
            Self::FalseSuccess => Outcome::FalseSuccess,
            _ => return None,
        })
    }

    /// Whether the update is in flight: offered, and without an outcome.
    pub fn is_in_flight(self) -> bool {
        matches!(self, Self::Offered | Self::Downloading | Self::Installing | Self::Confirming)
    }

    /// Whether a device that stays silent in it is lost: the release is in a slot, and may be why.
    pub fn may_be_lost(self) -> bool {
        matches!(self, Self::Installing | Self::Confirming | Self::Confirmed)
    }

    /// Every matching state.
    pub fn all_that(matches: impl Fn(Self) -> bool) -> Vec<Self> {
        Self::ALL.into_iter().filter(|state| matches(*state)).collect()
    }

    /// Whether it is an outcome other than CONFIRMED.
    pub fn is_failure(self) -> bool {
        self.outcome().is_some_and(Outcome::is_failure)
    }

    /// Whether the device has started its update: until then, its silence has nothing to do with the release.
    pub fn has_begun(self) -> bool {
        !matches!(self, Self::Pending | Self::Offered | Self::Halted)
    }

    /// Whether the device's heartbeats can advance its update, or are answered with the offer.
    pub fn follows_beats(self) -> bool {
        !matches!(self, Self::Pending | Self::Halted | Self::Withdrawn)
    }

    /// Whether an abort of the rollout ends the update: nothing of it has begun.
    pub fn ends_with_its_rollout(self) -> bool {
        matches!(self, Self::Pending | Self::Offered)
    }

    /// Whether the device has nothing of the release in a slot yet, and can still be stopped.
    pub fn may_be_halted(self) -> bool {
        matches!(self, Self::Offered | Self::Downloading)
    }
}
