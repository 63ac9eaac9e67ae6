//! Plans and creates rollouts: the request is resolved against the current fleet, outside any transaction.

use std::time::Duration;

use ks_protocol::{id::ReleaseId, manifest::Manifest, time::UnixMs};
use tokio::sync::Mutex;

use super::{
    background,
    rehearsal::{self, Rehearsed},
};

use crate::{
    keys::{KeyringError, KeysetState},
    rollout::{
        plan::{self, Plan, PlanError, RolloutRequest},
        power::powers,
        step::State,
    },
    rules,
    store::{
        Actor, Reader, StoreError, Writer,
        devices::Selector,
        releases::{ReleaseRecord, ReleaseState},
        rollouts::{Candidate, NewRollout, RolloutRefused},
    },
};

/// Past updates from which a plan takes how long one lasts.
const PAST_UPDATES: usize = 1_000;

/// Why a rollout can't be planned or created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    #[error("unknown release {0}")]
    UnknownRelease(ReleaseId),
    #[error(transparent)]
    InvalidRequest(#[from] PlanError),
    /// An abort could not roll back to the release that the policy names.
    #[error("policy.roll_back_to: {0}")]
    InvalidRollBack(String),
    /// Devices would not accept the release.
    #[error(
        "devices would not accept release {0}: the key that signed it may no longer sign firmware; create a new release"
    )]
    UntrustedRelease(ReleaseId),
    /// The keys can't be read.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// The store refused it.
    #[error(transparent)]
    Refused(#[from] RolloutRefused),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Plans a rollout. The release need not be ACTIVE yet. The `planning` mutex limits the server to one plan at a time.
///
/// # Errors
/// The request is invalid, or the release is unknown.
pub async fn plan(
    request: &RolloutRequest,
    release_id: &ReleaseId,
    selector: Selector,
    reader: &Reader,
    planning: &Mutex<()>,
    heartbeat_interval_ms: u64,
) -> Result<Plan, CreateError> {
    let _guard = planning.lock().await;
    let PlanInputs { release, candidates, past_updates_ms } = gather(request, release_id, selector, reader).await?;
    let interval_s = heartbeat_interval_ms.div_ceil(1_000);
    let (plan, _) = plan::plan(request, &release, candidates, interval_s, past_updates_ms)?;
    Ok(with_power(plan).await)
}

/// A plan as a scenario for `ks-fleet rehearse`. Background failures are measured from heartbeats, which takes time: `progress` is
/// called with how many were read, of how many.
///
/// # Errors
/// The release is unknown, or the store fails.
pub async fn rehearsal(
    request: &RolloutRequest,
    release_id: &ReleaseId,
    plan: &Plan,
    reader: &Reader,
    heartbeat_interval: Duration,
    now: UnixMs,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<String, CreateError> {
    let limits = background::Limits {
        interval: heartbeat_interval,
        lost_after: Duration::from_secs(request.policy.lost_after_s),
    };
    let background = background::measure(reader, limits, now, progress).await?;
    let (wanted, back) = (release_id.clone(), request.policy.roll_back_to.clone());
    let asked = reader.ask(move |store| {
        let back = back.map_or(Ok(None), |back| store.release(&back))?;
        Ok(store.release(&wanted)?.map(|release| (release, back)))
    });
    let (release, back) = asked.await?.ok_or_else(|| CreateError::UnknownRelease(release_id.clone()))?;
    Ok(rehearsal::scenario(Rehearsed {
        rollout_id: &request.rollout_id,
        plan,
        policy: &request.policy,
        release: &release,
        back: back.as_ref(),
        heartbeat_interval,
        background: &background,
    }))
}

/// Adds the statistical power of the gates to a plan.
async fn with_power(plan: Plan) -> Plan {
    let (power, together) = powers(&plan.policy, &plan.stages).await;
    Plan { power, together, ..plan }
}

/// What a plan is made from.
struct PlanInputs {
    release: ReleaseRecord,
    candidates: Vec<Candidate>,
    /// From offer to confirming, of the fleet's last updates.
    past_updates_ms: Vec<u64>,
}

/// Loads the release and the candidate devices, and checks `roll_back_to`.
async fn gather(
    request: &RolloutRequest,
    release_id: &ReleaseId,
    selector: Selector,
    reader: &Reader,
) -> Result<PlanInputs, CreateError> {
    let (wanted, back) = (release_id.clone(), request.policy.roll_back_to.clone());
    let asked = reader.ask(move |store| {
        let Some(release) = store.release(&wanted)? else { return Ok(None) };
        let back = back.map_or(Ok(None), |back| store.release(&back))?;
        let candidates = store.candidates(&release, &selector)?;
        let past_updates_ms = store.update_times_ms(PAST_UPDATES)?;
        Ok(Some((back, PlanInputs { release, candidates, past_updates_ms })))
    });
    let (back, gathered) = asked.await?.ok_or_else(|| CreateError::UnknownRelease(release_id.clone()))?;
    let release = &gathered.release;
    let Some(wanted) = &request.policy.roll_back_to else { return Ok(gathered) };
    let back = back.ok_or_else(|| CreateError::InvalidRollBack(format!("unknown release {wanted}")))?;
    let is_valid = back.state == ReleaseState::Active
        && back.product == release.product
        && back.release_counter > release.release_counter;
    if is_valid {
        return Ok(gathered);
    }
    Err(CreateError::InvalidRollBack(format!(
        "expected an ACTIVE release of the same product with a counter above {}; {wanted} is {} with counter {}",
        release.release_counter,
        back.state.as_str(),
        back.release_counter
    )))
}

/// Creates a rollout. It shares the `planning` mutex with [`plan`].
///
/// # Errors
/// The request is invalid, or the store refused the rollout.
#[expect(
    clippy::too_many_arguments,
    reason = "they are unrelated, and the API and the command line get them from different places"
)]
pub async fn create(
    request: RolloutRequest,
    release_id: &ReleaseId,
    selector: Selector,
    why: &str,
    writer: &Writer,
    reader: &Reader,
    by: &Actor,
    planning: &Mutex<()>,
    heartbeat_interval_ms: u64,
) -> Result<Plan, CreateError> {
    let guard = planning.lock().await;
    let PlanInputs { release, candidates, past_updates_ms } = gather(&request, release_id, selector, reader).await?;
    if release.state != ReleaseState::Active {
        return Err(RolloutRefused::NotActive(release.release_id).into());
    }
    let name = request.rollout_id.clone();
    if reader.ask(move |store| store.rollout(&name)).await?.is_some() {
        return Err(RolloutRefused::NameTaken(request.rollout_id).into());
    }
    let is_trusted = |state: &KeysetState| Manifest::open(&release.manifest, state.trust.firmware_signers()).is_ok();
    if !KeysetState::read(reader).await?.as_ref().is_some_and(is_trusted) {
        return Err(CreateError::UntrustedRelease(release.release_id));
    }
    let interval_s = heartbeat_interval_ms.div_ceil(1_000);
    let (plan, targets) = plan::plan(&request, &release, candidates, interval_s, past_updates_ms)?;
    let plan = with_power(plan).await;
    drop(guard);
    let (rollout_id, policy) = (request.rollout_id, plan.policy.clone());
    let state = State::new(by.at);
    let (release_id, why, by) = (release_id.clone(), why.to_owned(), by.clone());
    let new = NewRollout { rollout_id, release_id, policy, state, targets, why };
    writer.write(move |store| rules::rollouts::create(store, &new, &by)).await??;
    Ok(plan)
}
