//! A rollout: created, evaluated and controlled by operators, each step with all its effects in one transaction.
//!
//! [`crate::rollout::step`] decides what happens next; this module reads its input from rows and stores its result. A server
//! killed at any moment leaves a step complete or not taken at all, and two servers on one database can't both take it.

use std::time::Duration;

use ks_protocol::{
    id::{CommandId, ReleaseId, RolloutId},
    message::{CommandOrder, HaltUpdates},
    text::{Text, counted, hex},
    time::UnixMs,
};
use sha2::{Digest, Sha256};

use super::updates;
use crate::{
    clock::ms,
    pace,
    rollout::{
        gate::Test,
        offline::OFFLINE_MAX,
        order::{InvalidTransition, OperatorOrder, Order},
        plan::{self, RolloutRequest},
        policy::{Action, Approval, Gate, Policy, Scope, Stage, WHOLE_BP},
        status::Status,
        step::{Decision, Effect, Event, GAP_MS, State, Step, step, suspects_matter},
    },
    store::{
        Actor, StoreError, Transaction,
        audit::chain::{Audited, note},
        commands::NewOrder,
        devices::Selector,
        releases::ReleaseState,
        rollouts::{NewRollout, NextState, RolloutRecord, RolloutRefused},
        updates::{Offering, Silence, SilenceTimes, SiteSilence, UpdateRecord},
    },
};

/// Devices seen within this time show whether their site is offline.
const BYSTANDER: Duration = Duration::from_hours(24);
/// With fewer bystanders than this, a site is never judged offline.
const BYSTANDERS_MIN: u32 = 3;
/// Where hardly a bystander is left, a site is offline only if at most one in this many of its devices is heard.
const HEARD_OF_ALL: u32 = 10;
/// Lifetime of a HALT_UPDATES command.
const HALT_TTL: Duration = Duration::from_hours(7 * 24);
/// The engine's actor name in the trace and the audit.
const ENGINE: &str = "rollout-engine";

/// The inputs of an evaluation in addition to the store.
#[derive(Debug, Clone, Copy)]
pub struct Evaluation {
    pub at: UnixMs,
    /// The heartbeat interval sent to devices, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// Random bytes for the names of commands.
    pub seed: [u8; 32],
}

/// Creates a rollout with its devices.
pub fn create(
    store: &mut dyn Transaction,
    new: &NewRollout,
    by: &Actor,
) -> Result<Result<(), RolloutRefused>, StoreError> {
    let release = store.release(&new.release_id)?;
    let Some(release) = release.filter(|release| release.state == ReleaseState::Active) else {
        return Ok(Err(RolloutRefused::NotActive(new.release_id.clone())));
    };
    if store.rollout(&new.rollout_id)?.is_some() {
        return Ok(Err(RolloutRefused::NameTaken(new.rollout_id.clone())));
    }
    let rows: Vec<i64> = new.targets.iter().map(|target| target.row).collect();
    let members = store.devices_in_rollouts(&rows)?;
    if members.iter().any(|member| member.status != Status::Completed) {
        return Ok(Err(RolloutRefused::InAnother));
    }
    // A completed rollout only watches its devices, and lets them go to the next one.
    let watched: Vec<(i64, i64)> = members.iter().map(|member| (member.rollout, member.device)).collect();
    if !watched.is_empty() {
        store.follow_beats(&members.iter().map(|member| member.device).collect::<Vec<_>>(), None)?;
        store.free_devices(&watched)?;
    }
    let why = format!("{} to {}: {}", new.release_id, counted(new.targets.len(), "device"), new.why);
    let State { stage, revision, .. } = new.state;
    let decision = Decision { what: "created", stage, revision, ordered: None, why, silent: 0, gates: Vec::new() };
    let noted = note_decision(store, &new.rollout_id, &decision, by)?;
    let row = store.insert_rollout(new, &release, by.at, &noted)?;
    store.insert_updates(row, &new.targets, &noted)?;
    store.insert_decision(row, &decision, by, &noted)?;
    Ok(Ok(()))
}

/// Adds a decision to the audit; the caller also adds it to the trace.
pub(crate) fn note_decision(
    store: &mut dyn Transaction,
    rollout_id: &RolloutId,
    decision: &Decision,
    by: &Actor,
) -> Result<Audited, StoreError> {
    note(store, &format!("rollout.{}", decision.what), rollout_id.as_str(), &decision.why, by)
}

/// Evaluates a rollout; returns the decisions made.
pub fn evaluate(
    store: &mut dyn Transaction,
    rollout_id: &RolloutId,
    with: Evaluation,
) -> Result<Vec<&'static str>, StoreError> {
    let Some(mut rollout) = store.rollout(rollout_id)? else { return Ok(Vec::new()) };
    if rollout.state.is_closed {
        return Ok(Vec::new());
    }
    if matches!(rollout.state.status, Status::Running | Status::Waiting)
        && let Some(fault) = store.artifact(rollout.release.sha256)?.and_then(|artifact| artifact.fault)
    {
        return pause_for_image(store, &rollout, &fault, with);
    }
    let at = with.at;
    let is_new_minute = at.0 / 60_000 != rollout.state.evaluated_at.0 / 60_000;
    if is_new_minute {
        let silent_before = pace::late_before(at, with.heartbeat_interval_ms);
        let watched = updates::watched(store, rollout.row, silent_before)?;
        let is_silent =
            |update: &UpdateRecord| update.last_seen_at.is_none_or(|last_seen_at| last_seen_at < silent_before);
        if watched.iter().any(is_silent) {
            // Expensive, and only needed when a silent device is to be judged.
            excuse_offline_sites(store, &mut rollout, at, silent_before)?;
        }
        // After a gap, silence counts from the end of the gap.
        let is_gap = at.since_ms(rollout.state.evaluated_at) > GAP_MS;
        let listening_since = |update: &UpdateRecord| {
            if is_gap { at } else { rollout.state.silence_counts_from(&update.site) }
        };
        updates::on_timer(store, &rollout, &watched, listening_since, at)?;
    }
    let silent_before = suspects_matter(&rollout.policy, &rollout.state, at)
        .then(|| pace::suspect_before(at, with.heartbeat_interval_ms));
    let tally = store.tally(rollout.row, silent_before)?;
    // Only an order can be invalid, an evaluation never.
    let Ok(step) = step(&rollout.policy, &rollout.state, &Event::Evaluation(&tally), at) else { return Ok(Vec::new()) };
    let by = Actor { name: ENGINE.to_owned(), address: None, at };
    carry_out(store, &rollout, step, &by, with)
}

/// Pauses a rollout whose image is damaged: an operator resumes it after uploading the image again.
fn pause_for_image(
    store: &mut dyn Transaction,
    rollout: &RolloutRecord,
    fault: &str,
    with: Evaluation,
) -> Result<Vec<&'static str>, StoreError> {
    let (release_id, sha256) = (&rollout.release.release_id, rollout.release.sha256);
    let why = format!("the image {sha256} of release {release_id} {fault}; upload it again, then resume");
    let mut state = rollout.state.clone();
    state.status = Status::Paused;
    let decision = state.decision("paused", why, Vec::new());
    let by = Actor { name: ENGINE.to_owned(), address: None, at: with.at };
    carry_out(store, rollout, Step { state, effects: Vec::new(), decisions: vec![decision] }, &by, with)
}

/// Excuses the silence of offline sites: those where most devices that have nothing of the release are silent too. Where too few
/// such devices are left, as in the last stage, the confirmed ones show it as well, unless most sites look offline: that would be the
/// release. A site stays offline until more than a tenth of its devices is heard.
fn excuse_offline_sites(
    store: &mut dyn Transaction,
    rollout: &mut RolloutRecord,
    at: UnixMs,
    silent_before: UnixMs,
) -> Result<(), StoreError> {
    let since = at.minus_ms(ms(BYSTANDER));
    // Devices seen within the longest time show whether a site that is offline is back: as long as it is not, nearly all are silent.
    let times = SilenceTimes { since, known_since: at.minus_ms(ms(OFFLINE_MAX)), silent_before };
    let sites = store.silence(rollout.row, times)?;
    let is_judged = |silence: Silence| silence.devices >= BYSTANDERS_MIN;
    // A power cut silences them all; a release that breaks some does not.
    let is_cut_off = |site: &&SiteSilence| {
        let Silence { devices, silent } = site.with_confirmed;
        is_judged(site.with_confirmed) && HEARD_OF_ALL * (devices - silent) <= devices
    };
    let judged = sites.iter().filter(|site| is_judged(site.with_confirmed)).count();
    let cut_off = sites.iter().filter(is_cut_off).count();
    let (can_judge, unheard): (Vec<_>, Vec<_>) = sites.into_iter().partition(|site| is_judged(site.unaffected));
    let mut dark: Vec<String> = can_judge
        .into_iter()
        .filter(|site| 2 * site.unaffected.silent > site.unaffected.devices)
        .map(|site| site.site)
        .collect();
    if 2 * cut_off <= judged {
        dark.extend(unheard.iter().filter(is_cut_off).map(|site| site.site.clone()));
    }
    let was_dark = |site: &SiteSilence| rollout.state.is_offline(&site.site, at);
    let is_silent = |site: &SiteSilence| site.known > 0 && HEARD_OF_ALL * site.heard <= site.known;
    let still_dark = unheard.iter().filter(|site| was_dark(site) && is_silent(site));
    dark.extend(still_dark.map(|site| site.site.clone()));
    rollout.state.mark_offline(dark, at);
    rollout.state.forget_offline(since);
    Ok(())
}

/// Aborts every open rollout of a release.
pub fn abort_all_of(
    store: &mut dyn Transaction,
    release_id: &ReleaseId,
    why: &str,
    by: &Actor,
    with: Evaluation,
) -> Result<(), StoreError> {
    for rollout_id in store.open_rollouts_of(release_id)? {
        // A finished rollout accepts no order, and needs none.
        let abort = OperatorOrder { order: Order::Abort { roll_back: false }, seen: None, why: why.to_owned() };
        order(store, &rollout_id, &abort, by, with)?;
    }
    Ok(())
}

/// Carries out an operator's order; returns the decisions made: none if it is a retry of an order carried out before. `None`:
/// there is no such rollout.
pub fn order(
    store: &mut dyn Transaction,
    rollout_id: &RolloutId,
    given: &OperatorOrder,
    by: &Actor,
    with: Evaluation,
) -> Result<Option<Result<Vec<&'static str>, InvalidTransition>>, StoreError> {
    let Some(rollout) = store.rollout(rollout_id)? else { return Ok(None) };
    if is_retry(store, &rollout, given, by)? {
        return Ok(Some(Ok(Vec::new())));
    }
    let step = match step(&rollout.policy, &rollout.state, &Event::Order(given), with.at) {
        Ok(step) => step,
        Err(invalid) => return Ok(Some(Err(invalid))),
    };
    carry_out(store, &rollout, step, by, with).map(|decided| Some(Ok(decided)))
}

/// Whether the same order, by the same operator and for the same revision, has been carried out, and no later decision reversed
/// it.
fn is_retry(
    store: &mut dyn Transaction,
    rollout: &RolloutRecord,
    given: &OperatorOrder,
    by: &Actor,
) -> Result<bool, StoreError> {
    let Some(seen) = given.seen else { return Ok(false) };
    let next = store.decision_of_revision(rollout.row, seen.revision.saturating_add(1))?;
    let is_same = next.is_some_and(|decision| {
        decision.ordered.as_deref() == Some(given.order.as_str())
            && decision.stage == seen.stage
            && decision.actor == by.name
    });
    // An operator who reads that a stop was carried out must not find the rollout running.
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
    by: &Actor,
    with: Evaluation,
) -> Result<Vec<&'static str>, StoreError> {
    let Step { mut state, effects, mut decisions } = step;
    let rollout_id = &rollout.rollout_id;
    let noted = decisions.iter().map(|decision| note_decision(store, rollout_id, decision, by));
    let mut noted = noted.collect::<Result<Vec<Audited>, StoreError>>()?;
    for effect in effects {
        match effect {
            Effect::Offer(count) => {
                let offering = Offering {
                    count,
                    stage: state.stage,
                    site_unavailable_max: rollout.policy.site_unavailable_max,
                    site_unavailable_max_bp: rollout.policy.site_unavailable_max_bp,
                    heard_since: pace::suspect_before(with.at, with.heartbeat_interval_ms),
                    at: with.at,
                };
                let offered = updates::offer(store, rollout.row, &offering)?;
                state.offered(offered);
            }
            Effect::Halt => halt(store, rollout, by, with, noted.last().ok_or_else(undecided)?)?,
            Effect::Close => store.close_rollout(rollout.row, next_state(rollout, &state, &noted)?)?,
            Effect::RollBack(release_id) => {
                if let Err(why) = roll_back(store, rollout, &release_id, by, with)? {
                    let why = format!("the rollback to {release_id} could not begin: {why}");
                    tracing::error!(%rollout_id, %why, "operator action required");
                    let alert = state.decision("alert", why, Vec::new());
                    noted.push(note_decision(store, rollout_id, &alert, by)?);
                    decisions.push(alert);
                }
            }
        }
    }
    for (decision, noted) in decisions.iter().zip(&noted) {
        store.insert_decision(rollout.row, decision, by, noted)?;
    }
    store.save_rollout(rollout.row, next_state(rollout, &state, &noted)?)?;
    Ok(decisions.iter().map(|decision| decision.what).collect())
}

/// The state that a step leads to, with the lines of its decisions.
fn next_state<'a>(
    rollout: &RolloutRecord,
    state: &'a State,
    noted: &'a [Audited],
) -> Result<NextState<'a>, StoreError> {
    match noted.last() {
        Some(noted) => Ok(NextState::decided(state, noted)),
        None => NextState::undecided(&rollout.state, state).ok_or_else(undecided),
    }
}

/// The error of a step whose effects have no decision, which the state machine never makes.
fn undecided() -> StoreError {
    StoreError::Database("a step of a rollout has effects, but decides nothing".to_owned())
}

/// Withdraws offers, and sends devices that are downloading the command to stop.
fn halt(
    store: &mut dyn Transaction,
    rollout: &RolloutRecord,
    by: &Actor,
    with: Evaluation,
    noted: &Audited,
) -> Result<(), StoreError> {
    let downloading = updates::abort(store, rollout.row, with.at, noted)?;
    if downloading.is_empty() {
        return Ok(());
    }
    let release_id = Text::truncated(rollout.release.release_id.as_str());
    let command = CommandOrder::HaltUpdates(HaltUpdates { release_id: Some(release_id) });
    let (kind, argument) = command.to_wire().map_err(|error| StoreError::Database(error.to_string()))?;
    let digest = Sha256::new().chain_update(with.seed).chain_update(rollout.rollout_id.as_str()).finalize();
    let digits = hex(&digest);
    let name = format!("o{}", digits.get(..24).unwrap_or(&digits));
    let order_id: CommandId =
        name.parse().map_err(|_| StoreError::Database("a hex name is not a valid id".to_owned()))?;
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
    // Not split into pieces, since the halt is one transaction; only devices that download are selected.
    super::commands::order(store, &order, usize::MAX, by).map(|_| ())
}

/// Begins a rollout to the devices that took the aborted rollout's release. Returns the reason if it can't.
fn roll_back(
    store: &mut dyn Transaction,
    from: &RolloutRecord,
    release_id: &ReleaseId,
    by: &Actor,
    with: Evaluation,
) -> Result<Result<(), String>, StoreError> {
    let Some(release) = store.release(release_id)? else { return Ok(Err("there is no such release".to_owned())) };
    let took = updates::took(store, from.row)?;
    let took_it = took.len();
    let which = Selector { device_ids: Some(took), ..Selector::default() };
    if which.device_ids.as_ref().is_some_and(Vec::is_empty) {
        return Ok(Ok(())); // no device took it
    }
    let mut candidates = store.candidates(&release, &which)?;
    for candidate in &mut candidates {
        candidate.failures = 0; // a device that took the bad release needs this one, whatever failed before
    }
    let Ok(rollout_id) = format!("{}-back", from.rollout_id).parse() else {
        return Ok(Err("its id would be too long".to_owned()));
    };
    let count = u32::try_from(candidates.len()).unwrap_or(u32::MAX);
    let request = RolloutRequest { rollout_id, policy: roll_back_policy(&from.policy, count) };
    let planned = plan::plan(&request, &release, candidates, 0, Vec::new());
    let (policy, targets) = match planned {
        Ok((plan, targets)) => (plan.policy, targets),
        Err(why) => return Ok(Err(why.to_string())),
    };
    let rollout_id = request.rollout_id;
    let mut why = format!("rolls back {}", from.rollout_id);
    let left_out = took_it.saturating_sub(targets.len());
    if left_out > 0 {
        let left_out = counted(left_out, "device");
        why += &format!("; skipped {left_out} that took its release, as not registered or past the counter");
    }
    let state = State::new(with.at);
    let new = NewRollout { rollout_id, release_id: release_id.clone(), state, policy, targets, why };
    Ok(create(store, &new, by)?.map_err(|refused| refused.to_string()))
}

/// Outcomes needed to judge a rollback; with fewer devices, all of them.
const ROLL_BACK_EXECUTED_MIN: u32 = 10;

/// One stage, at the pace of the aborted policy, paused if it fails for many. It must work for any number of devices, even one: a
/// test that needs more devices would keep them on the aborted release.
fn roll_back_policy(of: &Policy, devices: u32) -> Policy {
    Policy {
        stages: vec![Stage {
            share_bp: WHOLE_BP,
            min_executed: 1,
            min_executed_bp: None,
            bake_s: 0,
            approval: Approval::Auto,
        }],
        gates: vec![Gate {
            threshold_bp: 2_000,
            min_executed: devices.clamp(1, ROLL_BACK_EXECUTED_MIN),
            min_executed_bp: None,
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
    fn a_rollback_completes_for_any_number_of_devices() {
        let aborted: Policy = serde_json::from_value(serde_json::json!({
            "stages": [{ "share_bp": 10_000, "min_executed": 1, "bake_s": 0 }],
            "gates": [{ "threshold_bp": 50, "min_executed": 600, "test": { "kind": "raw" } }],
        }))
        .unwrap();
        for devices in 1..200 {
            let policy = roll_back_policy(&aborted, devices);
            assert_eq!(policy.validate(), Vec::<String>::new());
            let gate = &policy.gates[0];
            assert!(clean_needed(gate.test, gate.threshold_bp, gate.min_executed, devices).is_some(), "{devices}");
        }
    }
}
