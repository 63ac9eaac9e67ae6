//! Judges a rehearsal at its end: what the witness saw against what is stored and what was decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ks_protocol::{id::DeviceId, time::UnixMs};
use ks_reports::run_folder::Ledger;
use ks_server::rollout::policy::{Approval, Policy};

use super::{
    Invariant, Violation, Witness,
    witness::{ObservedDevice, Seen},
};
use crate::{
    device::{
        exchange::MessageType,
        pending::{self, PendingPeriod},
    },
    ledger::StoredCommand,
    measure::Score,
    operator::{ObservedDecision, ObservedRollout},
    rollout_monitor,
    scenario::{HeartbeatInterval, Otrt, Plan, release_id},
    timeline::{StartRollout, Step},
};

/// Intervals without an accepted request, in fair network_faults, after which a device is starved.
const STARVED_INTERVALS: u32 = 10;
/// The same as a time at least: back-off and retries have their limits, and these add up to less.
const STARVED_AFTER_MIN: Duration = pending::PERIOD_MIN;
/// An interval where the scenario leaves it to the server and does not say which: the server's default.
const INTERVAL_DEFAULT: Duration = Duration::from_mins(1);

/// What a process may hold before there is any device.
const MEMORY_BYTES: u64 = 256 << 20;
/// What it may hold for each device, over any length of time.
const MEMORY_BYTES_PER_DEVICE: u64 = 75 << 10;

/// What is known at the end of a run.
pub struct Ending<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// When the run began, on the wall.
    pub epoch: UnixMs,
    /// How long devices beat.
    pub lasted: Duration,
    /// Honest devices that are neither dead nor revoked.
    pub alive: &'a BTreeSet<DeviceId>,
    /// Where they waited long until something that they had to say was accepted.
    pub pending_periods: &'a [(DeviceId, PendingPeriod)],
    /// Every command that the server has.
    pub commands: &'a [StoredCommand],
    /// The reconciliation.
    pub ledger: &'a Ledger,
    /// The rollouts with their decisions.
    pub rollouts: &'a rollout_monitor::Seen,
    /// What adversaries came to, by kind.
    pub attacks: &'a BTreeMap<&'static str, Score>,
    /// What this process holds in memory, where the machine says so, and between how many rehearsals.
    pub memory_bytes: Option<(u64, u64)>,
}

/// Every violation, the earliest first.
pub fn judge(witness: &Witness, ending: &Ending<'_>) -> Vec<Violation> {
    let mut seen = witness.seen();
    stored_once(&mut seen, ending);
    for command in ending.commands {
        seen.command_is(ending.lasted, command.command_id.as_str(), &command.state);
    }
    for (rollout, decisions) in &ending.rollouts.rollouts {
        terminal_stays(&mut seen, ending, rollout, decisions);
        evidence_first(&mut seen, ending, rollout, decisions);
    }
    nothing_after_abort(&mut seen, ending);
    no_starvation(&mut seen, ending);
    all_is_accepted(&mut seen, ending);
    for (kind, score) in ending.attacks.iter().filter(|(_, score)| score.successes > 0) {
        let what = format!("{} of {} attacks by `{kind}` were accepted", score.successes, score.attempts);
        seen.violation(Invariant::NoAttackSucceeds, ending.lasted, what);
    }
    memory_bounded(&mut seen, ending);
    let mut violations = std::mem::take(&mut seen.violations);
    violations.sort_by_key(|violation| violation.at);
    violations
}

fn stored_once(seen: &mut Seen, ending: &Ending<'_>) {
    if !ending.ledger.reconciled {
        return; // nobody could ask what is stored, which fails the run by itself
    }
    let missing = |(name, device): (&String, &ObservedDevice)| {
        let missing = device.beats.missing_from(&device.stored);
        (missing > 0).then(|| format!("{name}: {missing} heartbeats were acknowledged and are not stored"))
    };
    let missing: Vec<String> = seen.devices.iter().filter_map(missing).collect();
    for what in missing {
        seen.violation(Invariant::StoredOnce, ending.lasted, what);
    }
    if !ending.ledger.balances() {
        let what = "the ledger does not balance: see `ledger` in the summary".to_owned();
        seen.violation(Invariant::StoredOnce, ending.lasted, what);
    }
}

fn terminal_stays(seen: &mut Seen, ending: &Ending<'_>, rollout: &ObservedRollout, decisions: &[ObservedDecision]) {
    let is_end = |decision: &&ObservedDecision| matches!(decision.decision.as_str(), "aborted" | "completed");
    let Some(end) = decisions.iter().position(|decision| is_end(&decision)) else { return };
    let Some((last, after)) = decisions.get(end..).and_then(<[_]>::split_first) else { return };
    let name = &rollout.rollout_id;
    let is_remark = |decision: &&ObservedDecision| matches!(decision.decision.as_str(), "gap" | "withdrawn" | "alert");
    if let Some(later) = after.iter().find(|later| !is_remark(later)) {
        let what = format!("the rollout {name} was {}, and then {}", last.decision, later.decision);
        seen.violation(Invariant::TerminalStays, since(ending.epoch, later.at), what);
    }
    if !rollout.status.eq_ignore_ascii_case(&last.decision) {
        let what = format!("the rollout {name} was {}, and is {}", last.decision, rollout.status);
        seen.violation(Invariant::TerminalStays, ending.lasted, what);
    }
}

fn nothing_after_abort(seen: &mut Seen, ending: &Ending<'_>) {
    let mut over: BTreeMap<String, Duration> = seen.releases_revoked.clone();
    let mut open = BTreeSet::new();
    for (rollout, decisions) in &ending.rollouts.rollouts {
        let release = release_id(&rollout.version);
        match decisions.iter().find(|decision| decision.decision == "aborted") {
            Some(aborted) => {
                let at = since(ending.epoch, aborted.at);
                over.entry(release).and_modify(|over_at| *over_at = at.max(*over_at)).or_insert(at);
            }
            None => drop(open.insert(release)),
        }
    }
    let late =
        over.into_iter().filter(|(release, _)| !open.contains(release) || seen.releases_revoked.contains_key(release));
    let late: Vec<(String, Duration)> = late.collect();
    for (release, over_at) in late {
        if let Some(offered_at) = seen.offered_last.get(&release).copied().filter(|offered_at| *offered_at > over_at) {
            let what = format!(
                "{release} was offered {:?} after it was aborted or revoked",
                offered_at.saturating_sub(over_at)
            );
            seen.violation(Invariant::NothingAfterAbort, offered_at, what);
        }
    }
}

/// Each promotion needs what its policy asks for, and no more is judged than must have been so: outcomes that devices of
/// earlier stages can have had by then, and the time and the approval after that.
fn evidence_first(seen: &mut Seen, ending: &Ending<'_>, rollout: &ObservedRollout, decisions: &[ObservedDecision]) {
    let Some(policy) = policy_of(ending.plan, rollout) else { return };
    for (number, decision) in decisions.iter().enumerate() {
        if !matches!(decision.decision.as_str(), "promoted" | "completed") {
            continue;
        }
        let Ok(stage_number) = usize::try_from(decision.stage) else { continue };
        let Some(stage) = policy.stages.get(stage_number) else { continue };
        let (at, name) = (since(ending.epoch, decision.at), &rollout.rollout_id);
        let baked_from = at.checked_sub(Duration::from_secs(stage.bake_s)).unwrap_or_default();
        let needed: u64 = policy.stages.iter().take(stage_number + 1).map(|stage| u64::from(stage.min_executed)).sum();
        let had = outcomes_by(seen, policy, &rollout.version, baked_from);
        if had < needed {
            let what = format!(
                "{name}: stage {} was {} when at most {had} devices can have had an outcome for the {} s that it bakes; the policy asks for {needed}",
                stage_number + 1,
                decision.decision,
                stage.bake_s
            );
            seen.violation(Invariant::EvidenceFirst, at, what);
        }
        let before = decisions.get(..number).unwrap_or_default();
        // Of this stage, and after it was said to wait for a person: what nobody could look at is not approved.
        let asked = ["waiting", "approved", "lapsed"];
        let of_stage = before.iter().filter(|before| before.stage == decision.stage);
        let mut newest_first =
            of_stage.map(|before| before.decision.as_str()).filter(|word| asked.contains(word)).rev();
        let is_approved = newest_first.next() == Some("approved") && newest_first.next() == Some("waiting");
        if stage.approval == Approval::Manual && !is_approved {
            let what =
                format!("{name}: stage {} was {} without a person's approval", stage_number + 1, decision.decision);
            seen.violation(Invariant::EvidenceFirst, at, what);
        }
    }
}

/// The policy that a rollout was started with; none if the engine made it, to roll devices back.
fn policy_of<'a>(plan: &'a Plan, rollout: &ObservedRollout) -> Option<&'a Policy> {
    plan.timeline.iter().find_map(|timed| match &timed.step {
        Step::StartRollout(StartRollout { policy, rollout_id, .. }) if *rollout_id == rollout.rollout_id => {
            plan.policies.get(policy)
        }
        _ => None,
    })
}

/// Devices whose update can have had an outcome by then, as far as anybody outside can know.
fn outcomes_by(seen: &Seen, policy: &Policy, version: &str, by: Duration) -> u64 {
    let confirm_window = Duration::from_secs(policy.confirm_window_s);
    let silence = Duration::from_secs(policy.lost_after_s.min(policy.progress_timeout_s));
    let release = release_id(version);
    let has_outcome = |device: &&ObservedDevice| {
        let runs_since = device.runs_since.get(version).copied();
        let Some(update) = device.updates.get(&release) else { return false };
        let confirmed_at = runs_since.map(|since| since + confirm_window);
        // Said to be done, and never seen to run it: caught in a lie, by its next heartbeat at the soonest.
        let lied_at = update.said_done_at.filter(|_| runs_since.is_none());
        let silent_at = update.offered_at.map(|offered_at| offered_at + silence);
        [confirmed_at, update.failed_at, lied_at, silent_at].into_iter().flatten().any(|at| at <= by)
    };
    u64::try_from(seen.devices.values().filter(has_outcome).count()).unwrap_or(u64::MAX)
}

fn no_starvation(seen: &mut Seen, ending: &Ending<'_>) {
    let patience = patience(ending.plan);
    let fair_since = fair_since(ending.plan) + interval(ending.plan);
    let Some(judged_from) = ending.lasted.checked_sub(patience).filter(|from| *from >= fair_since) else { return };
    // Of a fleet that shares one token all but one device stay outside.
    let may_be_outside = ending.plan.fleet.otrt == Otrt::Shared;
    let is_outside = |device_id: &DeviceId| may_be_outside && !seen.devices.contains_key(device_id.as_str());
    let alive: BTreeSet<&DeviceId> = ending.alive.iter().filter(|device_id| !is_outside(device_id)).collect();
    for device_id in &alive {
        let last_at = seen.devices.get(device_id.as_str()).map_or(Duration::ZERO, |device| device.last_at);
        if last_at < judged_from {
            let what = format!("{device_id}: nothing of it was accepted in the last {patience:?}");
            seen.violation(Invariant::NoStarvation, ending.lasted, what);
        }
    }
    for command in ending.commands.iter().filter(|command| matches!(command.state.as_str(), "QUEUED" | "DELIVERED")) {
        if since(ending.epoch, command.created_at) < judged_from && alive.contains(&command.device_id) {
            let StoredCommand { command_id, device_id, state, .. } = command;
            let what = format!("{device_id}: its command {command_id} is still {state} after {patience:?}");
            seen.violation(Invariant::NoStarvation, ending.lasted, what);
        }
    }
}

/// Whatever a device has to say, of each kind some is accepted in time while the weather is fair.
fn all_is_accepted(seen: &mut Seen, ending: &Ending<'_>) {
    let patience = patience(ending.plan);
    let fair = fair_stretches(ending.plan, ending.lasted);
    let may_be_outside = ending.plan.fleet.otrt == Otrt::Shared;
    let mut starved: BTreeMap<MessageType, Vec<(&DeviceId, Duration, Duration)>> = BTreeMap::new();
    for (device_id, wait) in ending.pending_periods {
        if may_be_outside && !seen.devices.contains_key(device_id.as_str()) {
            continue;
        }
        let in_fair_weather = |(from, to): &(Duration, Duration)| {
            let until = wait.until.min(*to);
            (until.saturating_sub(wait.since.max(*from)) >= patience).then_some(until)
        };
        if let Some(until) = fair.iter().find_map(in_fair_weather) {
            starved.entry(wait.kind).or_default().push((device_id, wait.since, until));
        }
    }
    for (kind, devices) in starved {
        let Some((device_id, since, until)) = devices.iter().min_by_key(|(_, since, _)| since) else { continue };
        let what = format!(
            "{} devices had something to say and none of it was accepted for {patience:?} of fair network_faults: {} of {device_id} waited from {:.0} s to {:.0} s",
            devices.len(),
            kind.as_str(),
            since.as_secs_f64(),
            until.as_secs_f64(),
        );
        seen.violation(Invariant::NoStarvation, *until, what);
    }
}

/// How long a device may wait.
fn patience(plan: &Plan) -> Duration {
    (interval(plan) * STARVED_INTERVALS).max(STARVED_AFTER_MIN)
}

/// How often a device of the plan beats.
fn interval(plan: &Plan) -> Duration {
    match plan.fleet.heartbeat_interval {
        HeartbeatInterval::Fixed(interval) => interval,
        HeartbeatInterval::Server => {
            let set = plan.server.get("HEARTBEAT_INTERVAL_MS").and_then(|ms| ms.parse().ok());
            set.map_or(INTERVAL_DEFAULT, Duration::from_millis)
        }
    }
}

/// When the last device is on, and the last fault over.
fn fair_since(plan: &Plan) -> Duration {
    faults(plan).map(|(_, to)| to).max().unwrap_or_default()
}

/// From when to when not all is well: devices are being switched on, or there is a fault.
fn faults(plan: &Plan) -> impl Iterator<Item = (Duration, Duration)> {
    let faults = plan.timeline.iter().filter_map(|timed| {
        let length = timed.step.fault(interval(plan))?;
        Some((timed.at, timed.at + length))
    });
    faults.chain([(Duration::ZERO, plan.ramp)])
}

/// The stretches of fair network_faults: each begins an interval after the fault before it, when everybody has spoken again.
fn fair_stretches(plan: &Plan, lasted: Duration) -> Vec<(Duration, Duration)> {
    let mut faults: Vec<(Duration, Duration)> = faults(plan).collect();
    faults.sort_unstable();
    let mut fair = Vec::new();
    let mut over_at = Duration::ZERO;
    for (from, to) in faults.into_iter().chain([(lasted, lasted)]) {
        if over_at < from.min(lasted) {
            fair.push((over_at, from.min(lasted)));
        }
        over_at = over_at.max(to + interval(plan));
    }
    fair
}

fn memory_bounded(seen: &mut Seen, ending: &Ending<'_>) {
    let Some((held, rehearsals)) = ending.memory_bytes else { return };
    let images: u64 = ending.plan.firmware.iter().map(|firmware| firmware.size_bytes).sum();
    let each = MEMORY_BYTES + u64::from(ending.plan.fleet.devices) * MEMORY_BYTES_PER_DEVICE + 3 * images; // the store's, the witness's, and what is on its way
    let most = each.saturating_mul(rehearsals);
    if held > most {
        let what = format!("the process holds {} MiB, expected at most {} MiB", held >> 20, most >> 20);
        seen.violation(Invariant::MemoryBounded, ending.lasted, what);
    }
}

fn since(epoch: UnixMs, at: UnixMs) -> Duration {
    Duration::from_millis(at.since_ms(epoch))
}
