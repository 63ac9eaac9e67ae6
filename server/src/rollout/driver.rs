//! Looks at every open rollout, and has each step stored with all that follows from it, in one transaction.
//!
//! A look is due when a device's update got anywhere, and every half minute. Everything that it needs is read inside the
//! transaction and everything that it decides is written there: a server that is killed at any moment leaves either the step
//! whole or nothing of it, and several servers on one database can't both take it.

use std::time::Duration;

use ks_protocol::{
    id::{CommandId, ReleaseId, RolloutId},
    manifest::Manifest,
    message::{CommandOrder, HaltUpdates},
    text::{Text, hex},
    time::UnixMs,
};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, Notify};

use super::{
    gate::Test,
    plan::{self, Nonsense, Plan, Wish},
    policy::{Action, Approval, Gate, Policy, Scope, Stage, WHOLE_BP},
    power::powers,
    step::{Effect, Event, GAP_MS, Order, PersonalOrder, State, Status, Step, Unfit, step},
    update::{self, Patience, UpdateEvent},
};
use crate::{
    app::App,
    clock::ms,
    keyring::{KeyringError, KeysetState},
    rules,
    store::{
        By, Reader, StoreError, Transaction, Writer,
        commands::NewOrder,
        devices::Selector,
        releases::{ReleaseRecord, ReleaseState},
        rollouts::{Candidate, DecisionRecord, NewRollout, Offering, RolloutRecord, RolloutRefused, UpdateRecord},
    },
};

/// How often a rollout is looked at when nothing happens.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How often it is looked at most when much happens.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// Devices heard within this time say whether their site is dark.
const BYSTANDER: Duration = Duration::from_hours(24);
/// Fewer bystanders than this say nothing about their site.
const BYSTANDERS_MIN: u32 = 3;
/// How long a device has to take HALT_UPDATES.
const HALT_TTL: Duration = Duration::from_hours(7 * 24);
/// Decisions read at a time to be counted.
const DECISIONS_AT_ONCE: usize = 1_000;
/// Who decides, for the trace and the audit.
const ENGINE: &str = "rollout-engine";

/// Has rollouts looked at before their time, and knows which decisions are counted.
#[derive(Debug)]
pub struct Rollouts {
    early: Notify,
    /// Row of the last decision that is counted.
    counted: Mutex<i64>,
    /// Held by the one plan that is made at a time.
    pub(crate) planning: Mutex<()>,
}

impl Rollouts {
    /// Counts decisions after this row: of a server that starts, those before were counted by the one before.
    pub fn after(decision: i64) -> Self {
        Self { early: Notify::new(), counted: Mutex::new(decision), planning: Mutex::default() }
    }

    /// Something happened that a rollout may decide on.
    pub fn wake(&self) {
        self.early.notify_one();
    }

    async fn due(&self) {
        let _ = tokio::time::timeout(LOOK_EVERY, self.early.notified()).await; // then it is time anyway
    }
}

/// What a look needs besides the store.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Now.
    pub at: UnixMs,
    /// What devices are told to keep, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// Randomness for names of commands.
    pub dice: [u8; 32],
}

/// Looks at rollouts until the store is shut down.
pub async fn run(app: &App) {
    loop {
        match look_at_all(app).await {
            Ok(()) => {}
            Err(StoreError::Closed) => return,
            Err(error) => tracing::error!(%error, "rollouts could not be looked at; it will be tried again"),
        }
        tokio::time::sleep(LOOK_AT_MOST_EVERY).await;
        app.rollouts.due().await;
    }
}

async fn look_at_all(app: &App) -> Result<(), StoreError> {
    let open = app.reader.ask(|store| store.open_rollout_ids()).await?;
    app.metrics.rollouts_open.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
    for rollout_id in open {
        let with = app.look();
        app.writer.write(move |store| look(store, &rollout_id, with)).await?;
    }
    Ok(())
}

impl App {
    /// Counts and logs the decisions up to this row: this server's, and those that another process ordered on the same
    /// database.
    pub async fn count_decisions(&self, newest: i64) -> Result<(), StoreError> {
        let mut counted = self.rollouts.counted.lock().await;
        while *counted < newest {
            let after = *counted;
            let decided = self.reader.ask(move |store| store.decided_after(after, DECISIONS_AT_ONCE)).await?;
            for (rollout_id, decision) in &decided {
                let DecisionRecord { what, actor, stage, why, .. } = decision;
                tracing::info!(%rollout_id, what, actor, stage, why, "rollout");
                self.metrics.decided(what);
            }
            *counted = decided.last().map_or(newest, |(_, last)| last.row);
        }
        Ok(())
    }

    /// What a look at a rollout needs, now.
    pub fn look(&self) -> Look {
        Look {
            at: self.clock.now(),
            heartbeat_interval_ms: ms(self.config.heartbeat_interval),
            dice: self.rng.bytes_32(),
        }
    }
}

/// One look at one rollout; gives what was decided.
pub fn look(store: &mut dyn Transaction, rollout_id: &RolloutId, with: Look) -> Result<Vec<&'static str>, StoreError> {
    let Some(mut rollout) = store.rollout_now(rollout_id)? else { return Ok(Vec::new()) };
    if rollout.state.is_closed {
        return Ok(Vec::new());
    }
    if matches!(rollout.state.status, Status::Running | Status::Waiting)
        && let Some(fault) = store.artifact_fault_now(rollout.release.sha256)?
    {
        return pause_for_image(store, &rollout, &fault, with);
    }
    let late_ms = 2 * with.heartbeat_interval_ms;
    let at = with.at;
    let is_new_minute = at.0 / 60_000 != rollout.state.looked_at.0 / 60_000;
    if is_new_minute {
        let silent_before = at.minus_ms(late_ms);
        let watched = store.watched(rollout.row, silent_before)?;
        let is_silent = |update: &UpdateRecord| update.last_seen_at.is_none_or(|heard| heard < silent_before);
        if watched.iter().any(is_silent) {
            // Dear, and only of interest when somebody's silence is to be judged.
            look_for_dark_sites(store, &mut rollout, at, silent_before)?;
        }
        let patience = Patience::of(&rollout.policy);
        // After a gap, silence counts from its end on.
        let is_gap = at.since_ms(rollout.state.looked_at) > GAP_MS;
        for watched in watched {
            let since = if is_gap { at } else { rollout.state.silence_counts_from(&watched.site) };
            let heard_at = watched.last_seen_at.unwrap_or_default();
            let next = update::step(&watched.update, UpdateEvent::Look { heard_at, since }, at, patience);
            if next != watched.update {
                store.save_update(rollout.row, watched.device_row, &next)?;
            }
        }
    }
    let tally = store.tally_now(rollout.row, at.minus_ms(late_ms + with.heartbeat_interval_ms))?;
    // An order only can be unfit; a look never is.
    let Ok(step) = step(&rollout.policy, &rollout.state, &Event::Look(&tally), at) else { return Ok(Vec::new()) };
    let by = By { name: ENGINE.to_owned(), address: None, at };
    carry_out(store, &rollout, step, &by, with)
}

/// Pauses a rollout whose image is broken: a person resumes it once the image is put back.
fn pause_for_image(
    store: &mut dyn Transaction,
    rollout: &RolloutRecord,
    fault: &str,
    with: Look,
) -> Result<Vec<&'static str>, StoreError> {
    let (release_id, sha256) = (&rollout.release.release_id, rollout.release.sha256);
    let why = format!("the image {sha256} of release {release_id} {fault}; upload it again, then resume");
    let mut state = rollout.state.clone();
    state.status = Status::Paused;
    let decision = state.decision("paused", why, Vec::new());
    let by = By { name: ENGINE.to_owned(), address: None, at: with.at };
    carry_out(store, rollout, Step { state, effects: Vec::new(), decisions: vec![decision] }, &by, with)
}

/// Excuses the silence of sites where most of those are silent too that have nothing to do with the rollout.
fn look_for_dark_sites(
    store: &mut dyn Transaction,
    rollout: &mut RolloutRecord,
    at: UnixMs,
    silent_before: UnixMs,
) -> Result<(), StoreError> {
    for site in store.silence(rollout.row, at.minus_ms(ms(BYSTANDER)), silent_before)? {
        if site.devices >= BYSTANDERS_MIN && 2 * site.silent > site.devices {
            rollout.state.dark_until.insert(site.site, at);
        }
    }
    let oldest = at.minus_ms(ms(BYSTANDER));
    rollout.state.dark_until.retain(|_, until| *until > oldest);
    Ok(())
}

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
    writer.write(move |store| store.create_rollout(&new, &by)).await??;
    Ok(plan)
}

/// Aborts every open rollout of a release.
pub fn abort_all_of(
    store: &mut dyn Transaction,
    release_id: &ReleaseId,
    why: &str,
    by: &By,
    with: Look,
) -> Result<(), StoreError> {
    for rollout_id in store.open_rollouts_of(release_id)? {
        // One that is over takes no order, and needs none.
        let abort = PersonalOrder { order: Order::Abort { roll_back: false }, seen: None, why: why.to_owned() };
        order(store, &rollout_id, &abort, by, with)?;
    }
    Ok(())
}

/// A person's order, carried out; gives what was decided: nothing if it is a retry of an order that was carried out. None:
/// there is no such rollout.
pub fn order(
    store: &mut dyn Transaction,
    rollout_id: &RolloutId,
    given: &PersonalOrder,
    by: &By,
    with: Look,
) -> Result<Option<Result<Vec<&'static str>, Unfit>>, StoreError> {
    let Some(rollout) = store.rollout_now(rollout_id)? else { return Ok(None) };
    if is_retry(store, &rollout, given, by)? {
        return Ok(Some(Ok(Vec::new())));
    }
    let step = match step(&rollout.policy, &rollout.state, &Event::Order(given), with.at) {
        Ok(step) => step,
        Err(unfit) => return Ok(Some(Err(unfit))),
    };
    carry_out(store, &rollout, step, by, with).map(|decided| Some(Ok(decided)))
}

/// Whether this very order, by the same person and about the same revision, has been carried out, and nothing was decided against
/// it since.
fn is_retry(
    store: &mut dyn Transaction,
    rollout: &RolloutRecord,
    given: &PersonalOrder,
    by: &By,
) -> Result<bool, StoreError> {
    let Some(seen) = given.seen else { return Ok(false) };
    let next = store.decision_of_revision(rollout.row, seen.revision.saturating_add(1))?;
    let is_same = next.is_some_and(|decision| {
        decision.ordered.as_deref() == Some(given.order.as_str())
            && decision.stage == seen.stage
            && decision.actor == by.name
    });
    // Who hears that a stop was carried out must not find the rollout going on.
    let still_holds = match given.order {
        Order::Pause => rollout.state.status == Status::Paused,
        Order::Resume => rollout.state.status != Status::Paused,
        Order::Approve => true,
        Order::Abort { .. } => rollout.state.status == Status::Aborted,
    };
    Ok(is_same && still_holds)
}

fn carry_out(
    store: &mut dyn Transaction,
    rollout: &RolloutRecord,
    step: Step,
    by: &By,
    with: Look,
) -> Result<Vec<&'static str>, StoreError> {
    let Step { mut state, effects, mut decisions } = step;
    for effect in effects {
        match effect {
            Effect::Offer(count) => {
                let offering = Offering {
                    count,
                    stage: state.stage,
                    site_unavailable_max: rollout.policy.site_unavailable_max,
                    heard_since: with.at.minus_ms(3 * with.heartbeat_interval_ms),
                    at: with.at,
                };
                let offered = store.offer(rollout.row, &offering)?;
                state.offered(offered);
            }
            Effect::Halt => halt(store, rollout, by, with)?,
            Effect::Close => store.close_rollout(rollout.row)?,
            Effect::RollBack(release_id) => {
                if let Err(why) = roll_back(store, rollout, &release_id, by, with)? {
                    let why = format!("the roll back to {release_id} could not begin: {why}");
                    tracing::error!(rollout_id = %rollout.rollout_id, %why, "a person must act");
                    decisions.push(state.decision("alert", why, Vec::new()));
                }
            }
        }
    }
    for decision in &decisions {
        store.decide(rollout.row, decision, by)?;
    }
    store.save_rollout(rollout.row, &state)?;
    Ok(decisions.iter().map(|decision| decision.what).collect())
}

/// Takes back offers, and tells devices that are downloading to stop.
fn halt(store: &mut dyn Transaction, rollout: &RolloutRecord, by: &By, with: Look) -> Result<(), StoreError> {
    let downloading = store.halt(rollout.row, with.at)?;
    if downloading.is_empty() {
        return Ok(());
    }
    let release_id = Text::truncated(rollout.release.release_id.as_str());
    let command = CommandOrder::HaltUpdates(HaltUpdates { release_id: Some(release_id) });
    let (kind, argument) = command.to_wire().map_err(|error| StoreError::Database(error.to_string()))?;
    let digest = Sha256::new().chain_update(with.dice).chain_update(rollout.rollout_id.as_str()).finalize();
    let digits = hex(&digest);
    let name = format!("o{}", digits.get(..24).unwrap_or(&digits));
    let order_id: CommandId = name.parse().map_err(|_| StoreError::Database("a hex name is none".to_owned()))?;
    let order = NewOrder {
        order_id,
        id_seed: digest.into(),
        client_token: None,
        request_sha256: digest.into(),
        which: Selector { device_ids: Some(downloading), ..Selector::default() },
        kind,
        argument,
        is_urgent: command.is_urgent(),
        deadline_at: with.at + HALT_TTL,
    };
    // Whole, since the look that halts is whole: only devices that download are named.
    rules::commands::order(store, &order, usize::MAX, by).map(|_| ())
}

/// Begins a rollout to those that took the release of the one that was aborted. Gives a sentence if it can't.
fn roll_back(
    store: &mut dyn Transaction,
    from: &RolloutRecord,
    release_id: &ReleaseId,
    by: &By,
    with: Look,
) -> Result<Result<(), String>, StoreError> {
    let Some(release) = store.release_now(release_id)? else { return Ok(Err("there is no such release".to_owned())) };
    let took = store.took(from.row)?;
    let took_it = took.len();
    let which = Selector { device_ids: Some(took), ..Selector::default() };
    if which.device_ids.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Ok(())); // nobody took it
    }
    let mut candidates = store.candidates_now(&release, &which)?;
    for candidate in &mut candidates {
        candidate.failures = 0; // whoever took the bad one needs this one, whatever else went wrong
    }
    let Ok(rollout_id) = format!("{}-back", from.rollout_id).parse() else {
        return Ok(Err("its name would be too long".to_owned()));
    };
    let devices = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
    let wish = Wish { rollout_id, policy: roll_back_policy(&from.policy, devices) };
    let planned = plan::plan(&wish, &release, candidates, 0);
    let targets = match planned {
        Ok((_, targets)) => targets,
        Err(why) => return Ok(Err(why.to_string())),
    };
    let Wish { rollout_id, policy } = wish;
    let mut why = format!("rolls back {}", from.rollout_id);
    let left_out = took_it.saturating_sub(targets.len());
    if left_out > 0 {
        let left_out = super::devices(left_out);
        why += &format!("; left out for they are not registered or past the counter: {left_out} that took its release");
    }
    let state = State::new(with.at);
    let new = NewRollout { rollout_id, release_id: release_id.clone(), state, policy, targets, why };
    Ok(store.create_rollout(&new, by)?.map_err(|refused| refused.to_string()))
}

/// Devices from whose outcomes on a roll back may be judged; of fewer, all of them.
const ROLL_BACK_EXECUTED_MIN: u32 = 10;

/// All at once, at the pace of the policy that was aborted; paused if it goes wrong for many. It must suit any number of
/// devices, also one: a test that proves nothing with so few would keep them on what was aborted.
fn roll_back_policy(of: &Policy, devices: u32) -> Policy {
    Policy {
        stages: vec![Stage { share_bp: WHOLE_BP, min_executed: 1, bake_s: 0, approval: Approval::Auto }],
        gates: vec![Gate {
            threshold_bp: 2_000,
            min_executed: devices.clamp(1, ROLL_BACK_EXECUTED_MIN),
            test: Test::Raw,
            scope: Scope::Cumulative,
            action: Action::Pause,
            outcomes: of.gates.first().map(|gate| gate.outcomes.clone()).unwrap_or_default(),
        }],
        roll_back_to: None,
        ..of.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::power::clean_needed;

    #[test]
    fn a_roll_back_begins_and_can_end_however_few_took_the_release() {
        let aborted: Policy = serde_json::from_value(serde_json::json!({
            "stages": [{ "share_bp": 10_000, "min_executed": 1, "bake_s": 0 }],
            "gates": [{ "threshold_bp": 50, "min_executed": 600, "test": { "kind": "raw" } }],
        }))
        .unwrap();
        for devices in 1..200 {
            let policy = roll_back_policy(&aborted, devices);
            assert_eq!(policy.nonsense(), Vec::<String>::new());
            let gate = &policy.gates[0];
            assert!(clean_needed(gate.test, gate.threshold_bp, gate.min_executed, devices).is_some(), "{devices}");
        }
    }
}
