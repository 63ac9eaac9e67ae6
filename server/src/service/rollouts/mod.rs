//! Rollouts: planning, creation, evaluation, and rollouts as the API and the command line show them.

pub mod background;
pub mod create;
pub mod driver;
pub mod rehearsal;
pub mod status;

use std::{collections::BTreeMap, time::Duration};

use ks_protocol::{
    id::{ReleaseId, RolloutId},
    time::UnixMs,
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    clock::ms,
    pace,
    rollout::{
        offline::OfflineSite,
        policy::Policy,
        reading::{GateReading, read_gates},
        status::Status,
        tally::{Tally, failed},
        update::UpdateState,
    },
    store::{
        Reader, StoreError, StoreReader,
        rollouts::{DecisionRecord, RolloutRecord},
    },
};

/// A rollout's current state.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rollout {
    pub(crate) rollout_id: RolloutId,
    pub(crate) release_id: ReleaseId,
    pub(crate) version: String,
    pub(crate) status: Status,
    /// Incremented by each decision. Orders state the revision that they refer to.
    pub(crate) revision: u64,
    /// Current stage, from 0.
    pub(crate) stage: usize,
    pub(crate) stages: usize,
    /// Share of the targets to which the release is offered, in basis points.
    pub(crate) share_bp: u16,
    pub(crate) targets: u32,
    /// Number of devices by update state.
    pub(crate) updates: BTreeMap<UpdateState, u32>,
    /// `updates` for each stage.
    pub(crate) updates_by_stage: Vec<BTreeMap<UpdateState, u32>>,
    /// Number of devices by reported firmware version.
    pub(crate) versions: BTreeMap<String, u64>,
    /// Current reading of each gate.
    pub(crate) gates: Vec<GateReading>,
    /// Confirmed devices that are silent: no stage is promoted until they are seen again or count as lost.
    pub(crate) silent_confirmed: u32,
    /// Whether its devices are still monitored.
    pub(crate) open: bool,
    pub(crate) created_at: UnixMs,
    pub(crate) stage_began_at: UnixMs,
    /// When enough devices of the stage had an outcome: the bake time starts here.
    pub(crate) evidence_at: Option<UnixMs>,
    /// Once it is COMPLETED: until when its devices are watched. None if they are not, or no longer.
    pub(crate) watched_until: Option<UnixMs>,
    /// Devices whose update failed after the rollout was COMPLETED.
    pub(crate) late_failures: u32,
    /// Sites that are entirely offline, and until when their devices' silence is not counted as failure.
    pub(crate) dark_sites: BTreeMap<String, UnixMs>,
    /// Of these, the sites that are offline now: since when, until when at the most, and how many devices are not judged there.
    pub(crate) offline_sites: Vec<OfflineSite>,
    pub(crate) policy: Policy,
}

impl Rollout {
    fn of(record: RolloutRecord, tally: &Tally, versions: Vec<(String, u64)>, now: UnixMs) -> Self {
        let RolloutRecord { rollout_id, release, policy, state, created_at, .. } = record;
        let counts = |stage: Option<usize>| {
            let mut counts = BTreeMap::new();
            for cell in tally.cells.iter().filter(|cell| stage.is_none_or(|stage| cell.stage == stage)) {
                *counts.entry(cell.state).or_default() += cell.count;
            }
            counts
        };
        Self {
            rollout_id,
            release_id: release.release_id,
            version: release.version,
            status: state.status,
            revision: state.revision,
            stage: state.stage,
            stages: policy.stages.len(),
            share_bp: state.share_bp(&policy),
            targets: tally.count(|_| true),
            updates: counts(None),
            updates_by_stage: (0..policy.stages.len()).map(|stage| counts(Some(stage))).collect(),
            versions: versions.into_iter().collect(),
            gates: read_gates(&policy, state.stage, tally).unwrap_or_default(),
            silent_confirmed: tally.silent(),
            open: !state.is_closed,
            created_at,
            stage_began_at: state.stage_began_at,
            evidence_at: state.evidence_at,
            watched_until: state.watch_ends_at(&policy),
            late_failures: state.watch.as_ref().map_or(0, |watch| watch.late(failed(tally))),
            offline_sites: if state.is_closed { Vec::new() } else { state.offline_sites(tally, now) },
            dark_sites: state.dark_until,
            policy,
        }
    }
}

/// A decision, with the gate readings that it was based on.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Decision {
    pub(crate) at: UnixMs,
    /// An operator or `rollout-engine`.
    pub(crate) actor: String,
    /// `created`, `promoted`, `waiting`, `approved`, `paused`, `resumed`, `aborted`, `completed`, `withdrawn`, `lapsed`, `gap`,
    /// `alert`, `late`, `watched`.
    pub(crate) decision: String,
    /// Stage of the decision, from 0.
    pub(crate) stage: usize,
    /// The rollout's revision after the decision.
    pub(crate) revision: u64,
    pub(crate) why: String,
    /// Silent devices, in a promotion or completion: every gate passes even if all of them are lost.
    pub(crate) silent: u32,
    /// Reading of each gate at the decision.
    pub(crate) gates: Vec<GateReading>,
}

impl From<DecisionRecord> for Decision {
    fn from(record: DecisionRecord) -> Self {
        let DecisionRecord { at, actor, what, stage, revision, why, silent, gates, .. } = record;
        Self { at, actor, decision: what, stage, revision, why, silent, gates }
    }
}

/// Loads a rollout; none if it is unknown.
///
/// # Errors
/// The store fails.
pub async fn find(
    reader: &Reader,
    rollout_id: &RolloutId,
    now: UnixMs,
    heartbeat_interval: Duration,
) -> Result<Option<Rollout>, StoreError> {
    let wanted = rollout_id.clone();
    let asked = reader.ask(move |store| {
        let Some(record) = store.rollout(&wanted)? else { return Ok(None) };
        show(store, record, now, heartbeat_interval).map(Some)
    });
    asked.await
}

/// Adds the current counts to a rollout's record.
///
/// # Errors
/// The store fails.
pub fn show(
    store: &mut dyn StoreReader,
    record: RolloutRecord,
    now: UnixMs,
    heartbeat_interval: Duration,
) -> Result<Rollout, StoreError> {
    let silent_before = pace::suspect_before(now, ms(heartbeat_interval));
    let (tally, versions) = (store.tally(record.row, silent_before)?, store.versions(record.row)?);
    Ok(Rollout::of(record, &tally, versions, now))
}

/// The decisions of a rollout after a row, oldest first; none if the rollout is unknown.
///
/// # Errors
/// The store fails.
pub async fn decisions(
    reader: &Reader,
    rollout_id: &RolloutId,
    after: i64,
    limit: usize,
) -> Result<Option<Vec<DecisionRecord>>, StoreError> {
    let wanted = rollout_id.clone();
    let asked = reader.ask(move |store| match store.rollout(&wanted)? {
        Some(rollout) => store.decisions(rollout.row, after, limit).map(Some),
        None => Ok(None),
    });
    asked.await
}
