//! The life cycle of a command as a pure state machine.
//!
//! | state | Sent | AckReceived | AckSucceeded | AckFailed | AckRejected | DeadlinePassed | Canceled |
//! | --- | --- | --- | --- | --- | --- | --- | --- |
//! | QUEUED | DELIVERED | RECEIVED | SUCCEEDED | FAILED | REJECTED | TIMED_OUT | CANCELED |
//! | DELIVERED | DELIVERED | RECEIVED | SUCCEEDED | FAILED | REJECTED | TIMED_OUT | CANCELED |
//! | RECEIVED | RECEIVED | RECEIVED | SUCCEEDED | FAILED | REJECTED | TIMED_OUT | CANCELED |
//! | any other | unchanged: terminal is terminal | | | | | | |
//!
//! An ACK of a QUEUED command is possible: after a restore from a backup, or a power cut with `STORE_SYNCHRONOUS` below full.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum CommandState {
    /// Waits for the device's next heartbeat.
    Queued,
    /// Sent at least once.
    Delivered,
    /// The device has received it.
    Received,
    /// Done.
    Succeeded,
    /// Tried, and failed.
    Failed,
    /// The device refuses it.
    Rejected,
    /// Its deadline passed first.
    TimedOut,
    /// It was canceled.
    Canceled,
}

impl CommandState {
    pub const ALL: [Self; 8] = [
        Self::Queued,
        Self::Delivered,
        Self::Received,
        Self::Succeeded,
        Self::Failed,
        Self::Rejected,
        Self::TimedOut,
        Self::Canceled,
    ];

    /// Its name in the store, the API and on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Delivered => "DELIVERED",
            Self::Received => "RECEIVED",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Rejected => "REJECTED",
            Self::TimedOut => "TIMED_OUT",
            Self::Canceled => "CANCELED",
        }
    }

    /// Parses [`Self::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == word)
    }

    /// Whether it can no longer change.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Queued | Self::Delivered | Self::Received)
    }
}

/// What can happen to a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandEvent {
    /// It was sent in an answer.
    Sent,
    /// The device has stored it.
    AckReceived,
    /// The device executed it.
    AckSucceeded,
    /// The device tried and failed.
    AckFailed,
    /// The device refuses it.
    AckRejected,
    /// Its deadline has passed.
    DeadlinePassed,
    /// An operator canceled it, or the device was revoked.
    Canceled,
}

/// One step of a command's life cycle. No clock, no store, no log: the caller acts on the result.
#[must_use]
pub fn step(state: CommandState, event: CommandEvent) -> CommandState {
    use {CommandEvent as E, CommandState as S};
    match (state, event) {
        (done, _) if done.is_terminal() => done, // a late ACK changes nothing
        (S::Received, E::Sent | E::AckReceived) | (_, E::AckReceived) => S::Received,
        (_, E::Sent) => S::Delivered, // delivery is at least once
        (_, E::AckSucceeded) => S::Succeeded,
        (_, E::AckFailed) => S::Failed,
        (_, E::AckRejected) => S::Rejected,
        (_, E::DeadlinePassed) => S::TimedOut,
        (_, E::Canceled) => S::Canceled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: [CommandEvent; 7] = [
        CommandEvent::Sent,
        CommandEvent::AckReceived,
        CommandEvent::AckSucceeded,
        CommandEvent::AckFailed,
        CommandEvent::AckRejected,
        CommandEvent::DeadlinePassed,
        CommandEvent::Canceled,
    ];

    #[test]
    fn terminal_states_are_final_and_no_state_goes_back() {
        let rank = |state: CommandState| match state {
            CommandState::Queued => 0,
            CommandState::Delivered => 1,
            CommandState::Received => 2,
            _ => 3,
        };
        for state in CommandState::ALL {
            assert_eq!(CommandState::from_word(state.as_str()), Some(state));
            for event in EVENTS {
                let next = step(state, event);
                assert!(rank(next) >= rank(state), "{state:?} {event:?} {next:?}");
                assert!(!state.is_terminal() || next == state, "{state:?} {event:?} {next:?}");
            }
        }
    }
}
