//! Rollouts and their decisions with the numbers behind them.

use std::marker::PhantomData;

use ks_protocol::{
    id::{DeviceId, ReleaseId, RolloutId},
    time::UnixMs,
};

use super::{Actor, StoreError, devices::Selector, releases::ReleaseRecord};
use crate::{
    rollout::{
        policy::Policy,
        reading::GateReading,
        share::Place,
        step::{Decision, State},
    },
    store::audit::chain::Audited,
};

/// Outcomes other than CONFIRMED after which a device is left out of rollouts.
pub const QUARANTINE_FAILURES: u32 = 3;

/// A device that could join a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    pub row: i64,
    pub device_id: DeviceId,
    pub model: String,
    pub site: String,
    /// Counter of the firmware that it last reported.
    pub release_counter: u64,
    /// The open rollout that it is in; none if that one only watches it.
    pub open_rollout: Option<RolloutId>,
    /// Number of its failed updates.
    pub failures: u32,
    /// Whether an update to this release has failed before.
    pub has_failed_this: bool,
}

/// A device that is in a new rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    pub row: i64,
    /// The stage that includes it.
    pub stage: usize,
    pub place: Place,
    /// Its model when the rollout was created.
    pub model: String,
    pub site: String,
}

/// A rollout to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRollout {
    pub rollout_id: RolloutId,
    pub release_id: ReleaseId,
    pub policy: Policy,
    pub state: State,
    pub targets: Vec<Target>,
    /// The reason, for the trace.
    pub why: String,
}

/// Why a rollout can't be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RolloutRefused {
    /// The name is in use.
    #[error("there is a rollout {0} already")]
    NameTaken(RolloutId),
    /// The release may not be offered.
    #[error("release {0} is not ACTIVE")]
    NotActive(ReleaseId),
    /// Another rollout took a device in the meantime.
    #[error("a device has joined another open rollout meanwhile; plan again")]
    InAnother,
}

/// A rollout as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RolloutRecord {
    /// Row; rollouts are paged by it.
    pub row: i64,
    pub rollout_id: RolloutId,
    pub release: ReleaseRecord,
    pub policy: Policy,
    pub state: State,
    /// When it was created.
    pub created_at: UnixMs,
}

/// A state that a rollout may be given: its decisions are in the audit, or nothing was decided.
#[derive(Debug, Clone, Copy)]
pub struct NextState<'a> {
    state: &'a State,
    _of_this_thread: PhantomData<*const ()>,
}

impl<'a> NextState<'a> {
    /// The state after decisions, whose lines are in the audit.
    pub fn decided(state: &'a State, _: &'a Audited) -> Self {
        Self { state, _of_this_thread: PhantomData }
    }

    /// The state after an evaluation that decided nothing, as by far the most do. None if it is another one to operators: each
    /// decision has a revision of its own.
    pub fn undecided(before: &State, after: &'a State) -> Option<Self> {
        let seen = |state: &State| (state.revision, state.status, state.stage, state.approved);
        (seen(before) == seen(after)).then_some(Self { state: after, _of_this_thread: PhantomData })
    }

    pub fn state(self) -> &'a State {
        self.state
    }
}

/// A decision as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRecord {
    /// Row; decisions are paged by it.
    pub row: i64,
    pub at: UnixMs,
    /// Who: an operator or the engine.
    pub actor: String,
    pub what: String,
    /// The stage, from 0.
    pub stage: usize,
    /// The rollout's revision after it.
    pub revision: u64,
    /// The order that it carried out.
    pub ordered: Option<String>,
    pub why: String,
    /// Silent devices, in a promotion or completion: every gate passes even if all of them are lost.
    pub silent: u32,
    pub gates: Vec<GateReading>,
}

/// The rows of rollouts. The decisions are in [`crate::rules::rollouts`].
pub trait RolloutRows {
    /// A rollout by its name.
    fn rollout(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError>;
    /// Names of the open rollouts of a release, the oldest first.
    fn open_rollouts_of(&mut self, release_id: &ReleaseId) -> Result<Vec<RolloutId>, StoreError>;
    /// Devices that could join a rollout of a release.
    fn candidates(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError>;
    /// Adds a rollout, whose name must be unused; returns its row.
    fn insert_rollout(
        &mut self,
        new: &NewRollout,
        release: &ReleaseRecord,
        at: UnixMs,
        noted: &Audited,
    ) -> Result<i64, StoreError>;
    /// Stores the state of a rollout.
    fn save_rollout(&mut self, rollout: i64, next: NextState<'_>) -> Result<(), StoreError>;
    /// Marks a rollout and its updates closed; heartbeats no longer affect it.
    fn close_rollout(&mut self, rollout: i64, next: NextState<'_>) -> Result<(), StoreError>;
    /// Adds a decision to the trace.
    fn insert_decision(
        &mut self,
        rollout: i64,
        decision: &Decision,
        by: &Actor,
        noted: &Audited,
    ) -> Result<(), StoreError>;
    /// The decision that made this revision of a rollout.
    fn decision_of_revision(&mut self, rollout: i64, revision: u64) -> Result<Option<DecisionRecord>, StoreError>;
}

pub trait RolloutReads {
    /// Names of the open rollouts, the oldest first.
    fn open_rollout_ids(&mut self) -> Result<Vec<RolloutId>, StoreError>;
    /// A rollout by its name.
    fn rollout(&mut self, rollout_id: &RolloutId) -> Result<Option<RolloutRecord>, StoreError>;
    /// Rollouts with a row above `after`, at most `limit`, in the order of creation.
    fn rollouts(&mut self, after: i64, limit: usize) -> Result<Vec<RolloutRecord>, StoreError>;
    /// The last decision of a rollout.
    fn last_decision(&mut self, rollout: i64) -> Result<Option<DecisionRecord>, StoreError>;
    /// The trace of a rollout: decisions above `after`, at most `limit`, the oldest first.
    fn decisions(&mut self, rollout: i64, after: i64, limit: usize) -> Result<Vec<DecisionRecord>, StoreError>;
    /// Decisions of all rollouts above `after`, at most `limit`, the oldest first, each with the rollout's name.
    fn decided_after(&mut self, after: i64, limit: usize) -> Result<Vec<(RolloutId, DecisionRecord)>, StoreError>;
    /// Devices that could join a rollout of a release.
    fn candidates(&mut self, release: &ReleaseRecord, which: &Selector) -> Result<Vec<Candidate>, StoreError>;
    /// Number of failed updates of a device.
    fn failed_updates(&mut self, device_id: &DeviceId) -> Result<u32, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::status::Status;

    #[test]
    fn a_state_with_another_status_stage_approval_or_revision_was_decided() {
        let before = State::new(UnixMs(1));
        let evaluated = State { evaluated_at: UnixMs(2), starts: vec![(UnixMs(2), 3)], ..before.clone() };
        assert_eq!(NextState::undecided(&before, &evaluated).map(NextState::state), Some(&evaluated));
        for decided in [
            State { status: Status::Paused, ..before.clone() },
            State { stage: 1, ..before.clone() },
            State { approved: true, ..before.clone() },
            State { revision: 2, ..before.clone() },
        ] {
            assert!(NextState::undecided(&before, &decided).is_none(), "{decided:?}");
        }
    }
}
