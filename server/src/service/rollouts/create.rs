//! A rollout planned or made: what is asked for is settled against the fleet as it is, outside any transaction.

use ks_protocol::{id::ReleaseId, manifest::Manifest};
use tokio::sync::Mutex;

use crate::{
    keys::{KeyringError, KeysetState},
    rollout::{
        plan::{self, Nonsense, Plan, Wish},
        policy::Policy,
        power::powers,
        step::State,
    },
    rules,
    store::{
        By, Reader, StoreError, Writer,
        devices::Selector,
        releases::{ReleaseRecord, ReleaseState},
        rollouts::{Candidate, NewRollout, RolloutRefused},
    },
};

/// Why there is no such rollout.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// There is no such release.
    #[error("there is no release {0}")]
    UnknownRelease(ReleaseId),
    /// It makes no sense.
    #[error(transparent)]
    Nonsense(#[from] Nonsense),
    /// What an abort would roll back to does not do.
    #[error("policy.roll_back_to: {0}")]
    RollBackTo(String),
    /// Devices would not believe it.
    #[error(
        "devices would not believe release {0}: the key that signed it may not sign firmware any more; release it again"
    )]
    Unbelievable(ReleaseId),
    /// The keys can't be read.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// The store would not.
    #[error(transparent)]
    Refused(#[from] RolloutRefused),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What would happen. The release need not be ACTIVE yet. One plan is made at a time of those that share `planning`.
///
/// # Errors
/// It makes no sense, or there is no such release.
pub async fn plan(
    wish: &Wish,
    release_id: &ReleaseId,
    which: Selector,
    reader: &Reader,
    planning: &Mutex<()>,
    heartbeat_interval_ms: u64,
) -> Result<Plan, CreateError> {
    let _turn = planning.lock().await;
    let (release, candidates) = gather(wish, release_id, which, reader).await?;
    let (plan, _) = plan::plan(wish, &release, candidates, heartbeat_interval_ms.div_ceil(1_000))?;
    Ok(with_power(plan, &wish.policy).await)
}

/// The plan, with what gates can prove.
async fn with_power(plan: Plan, policy: &Policy) -> Plan {
    let (power, together) = powers(policy, &plan.stages).await;
    Plan { power, together, ..plan }
}

/// The release, and the devices that it could be for.
async fn gather(
    wish: &Wish,
    release_id: &ReleaseId,
    which: Selector,
    reader: &Reader,
) -> Result<(ReleaseRecord, Vec<Candidate>), CreateError> {
    let (wanted, back) = (release_id.clone(), wish.policy.roll_back_to.clone());
    let asked = reader.ask(move |store| {
        let Some(release) = store.release(&wanted)? else { return Ok(None) };
        let back = back.map_or(Ok(None), |back| store.release(&back))?;
        let candidates = store.candidates(&release, &which)?;
        Ok(Some((release, back, candidates)))
    });
    let (release, back, candidates) = asked.await?.ok_or_else(|| CreateError::UnknownRelease(release_id.clone()))?;
    let Some(wanted) = &wish.policy.roll_back_to else { return Ok((release, candidates)) };
    let back = back.ok_or_else(|| CreateError::RollBackTo(format!("there is no release {wanted}")))?;
    let does = back.state == ReleaseState::Active
        && back.product == release.product
        && back.release_counter > release.release_counter;
    if does {
        return Ok((release, candidates));
    }
    Err(CreateError::RollBackTo(format!(
        "expected an ACTIVE release of the same product with a counter above {}; {wanted} is {} with counter {}",
        release.release_counter,
        back.state.as_str(),
        back.release_counter
    )))
}

/// Makes a rollout; in its turn, as a plan is.
///
/// # Errors
/// It makes no sense, or somebody was quicker.
#[expect(
    clippy::too_many_arguments,
    reason = "each is a thing of its own, and the API and the command line hold them apart"
)]
pub async fn create(
    wish: Wish,
    release_id: &ReleaseId,
    which: Selector,
    why: &str,
    writer: &Writer,
    reader: &Reader,
    by: &By,
    planning: &Mutex<()>,
    heartbeat_interval_ms: u64,
) -> Result<Plan, CreateError> {
    let turn = planning.lock().await;
    let (release, candidates) = gather(&wish, release_id, which, reader).await?;
    if release.state != ReleaseState::Active {
        return Err(RolloutRefused::NotActive(release.release_id).into());
    }
    let name = wish.rollout_id.clone();
    if reader.ask(move |store| store.rollout(&name)).await?.is_some() {
        return Err(RolloutRefused::NameTaken(wish.rollout_id).into());
    }
    let is_believed = |state: &KeysetState| Manifest::open(&release.manifest, state.trust.firmware_signers()).is_ok();
    if !KeysetState::read(reader).await?.as_ref().is_some_and(is_believed) {
        return Err(CreateError::Unbelievable(release.release_id));
    }
    let (plan, targets) = plan::plan(&wish, &release, candidates, heartbeat_interval_ms.div_ceil(1_000))?;
    let plan = with_power(plan, &wish.policy).await;
    drop(turn);
    let Wish { rollout_id, policy } = wish;
    let state = State::new(by.at);
    let (release_id, why, by) = (release_id.clone(), why.to_owned(), by.clone());
    let new = NewRollout { rollout_id, release_id, policy, state, targets, why };
    writer.write(move |store| rules::rollouts::create(store, &new, &by)).await??;
    Ok(plan)
}
