//! Judges a rehearsal at its end: compares what the witness observed with what is stored and what was decided.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use ks_protocol::{duration, id::DeviceId, time::UnixMs};
use ks_reports::run_folder::Ledger;
use ks_server::{
    clock::micros,
    rollout::policy::{Approval, Policy},
};

use super::{
    Invariant, Violation, Witness,
    witness::{Observations, ObservedDevice},
};
use crate::{
    device::{
        actor::BOOT_TIME,
        exchange::MessageType,
        pending::{self, PendingPeriod},
    },
    fleet::{self, DeviceSpec, churn::Schedule},
    limits::oracle::Oracle,
    number::counted,
    operator::{ObservedDecision, ObservedRollout, rollout_monitor},
    run::{ledger::StoredCommand, measure::Score},
    scenario::{Otrt, Plan, release_id},
    timeline::{StartRollout, Step},
};

/// Intervals without an accepted request, in a time without faults, after which a device counts as starved.
const STARVED_INTERVALS: u32 = 10;
/// Lower limit of the same as a time: back-off and retries are limited, and add up to less.
const STARVED_AFTER_MIN: Duration = pending::PERIOD_MIN;

/// Commands are kept at least that long.
const RETENTION_MIN: Duration = Duration::from_hours(24);

/// Memory that a process may use without any device.
const MEMORY_BYTES: u64 = 256 << 20;
/// Memory that it may use for each device, over any length of time.
const MEMORY_BYTES_PER_DEVICE: u64 = 75 << 10;

/// The state at the end of a run.
pub struct RunEnd<'a> {
    pub plan: &'a Plan,
    /// Wall-clock time of the start of the run.
    pub epoch: UnixMs,
    /// How long the run lasted.
    pub lasted: Duration,
    /// Honest devices that are neither dead nor know that they are revoked.
    pub alive: &'a BTreeSet<DeviceId>,
    /// Where they waited long until something that they had to say was accepted.
    pub pending_periods: &'a [(DeviceId, PendingPeriod)],
    /// Every command that the server has.
    pub commands: &'a [StoredCommand],
    pub ledger: &'a Ledger,
    /// The rollouts with their decisions.
    pub rollouts: &'a rollout_monitor::ObservedRollouts,
    /// Results of adversaries, by kind.
    pub attacks: &'a BTreeMap<&'static str, Score>,
    /// Peak memory of this process, if the machine reports it, and the number of rehearsals that share it.
    pub memory_bytes: Option<(u64, u64)>,
}

/// Every violation, the earliest first.
pub fn judge(witness: &Witness, ending: &RunEnd<'_>) -> Vec<Violation> {
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
    let churn = churn(ending);
    no_starvation(&mut seen, ending, &churn);
    all_is_accepted(&mut seen, ending, &churn);
    for (kind, score) in ending.attacks.iter().filter(|(_, score)| score.successes > 0) {
        let what = format!("accepted {} of {} by `{kind}`", score.successes, counted(score.attempts, "attack"));
        seen.violation(Invariant::NoAttackSucceeds, ending.lasted, what);
    }
    memory_bounded(&mut seen, ending);
    limits_as_documented(&mut seen, ending, &mut witness.oracle());
    let mut violations = std::mem::take(&mut seen.violations);
    violations.sort_by_key(|violation| violation.at);
    violations
}

fn stored_once(seen: &mut Observations, ending: &RunEnd<'_>) {
    if !ending.ledger.reconciled {
        return; // the stored rows could not be read, which fails the run by itself
    }
    let missing = |(name, device): (&str, &ObservedDevice)| {
        let missing = device.beats.missing_from(&device.stored);
        (missing > 0).then(|| format!("{name}: {} acknowledged and not stored", counted(missing, "heartbeat")))
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

fn terminal_stays(
    seen: &mut Observations,
    ending: &RunEnd<'_>,
    rollout: &ObservedRollout,
    decisions: &[ObservedDecision],
) {
    let is = |decision: &ObservedDecision, words: &[&str]| words.contains(&decision.decision.as_str());
    let Some(mut end) = decisions.iter().position(|decision| is(decision, &["aborted", "completed"])) else { return };
    // As long as its devices are watched, a completed rollout can be aborted.
    let watched = decisions.iter().position(|decision| is(decision, &["watched"])).unwrap_or(decisions.len());
    if let Some(aborted) = decisions.iter().take(watched).position(|decision| is(decision, &["aborted"])) {
        end = end.max(aborted);
    }
    let Some((last, after)) = decisions.get(end..).and_then(<[_]>::split_first) else { return };
    let name = &rollout.rollout_id;
    let is_remark = |decision: &&ObservedDecision| is(decision, &["gap", "withdrawn", "alert", "late", "watched"]);
    if let Some(later) = after.iter().find(|later| !is_remark(later)) {
        let what = format!("the rollout {name} was {} and then {}", last.decision, later.decision);
        seen.violation(Invariant::TerminalStays, since(ending.epoch, later.at), what);
    }
    if !rollout.status.eq_ignore_ascii_case(&last.decision) {
        let what = format!("the rollout {name} was {} and is now {}", last.decision, rollout.status);
        seen.violation(Invariant::TerminalStays, ending.lasted, what);
    }
}

fn nothing_after_abort(seen: &mut Observations, ending: &RunEnd<'_>) {
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
        // A request that arrived before may have been in the queue before the abort; the abort's time is in milliseconds.
        let asked_last = seen.offered_last.get(&release).map(|at| Duration::from_millis(micros(*at) / 1_000));
        if let Some(asked_at) = asked_last.filter(|asked_at| *asked_at > over_at) {
            let what = format!(
                "{release} was offered {} after it was aborted or revoked",
                duration::format(asked_at.saturating_sub(over_at))
            );
            seen.violation(Invariant::NothingAfterAbort, asked_at, what);
        }
    }
}

/// Each promotion needs the evidence that its policy requires. Only necessary conditions are judged: outcomes that devices of
/// earlier stages can have had by then, then the bake time and the approval.
fn evidence_first(
    seen: &mut Observations,
    ending: &RunEnd<'_>,
    rollout: &ObservedRollout,
    decisions: &[ObservedDecision],
) {
    let Some(policy) = policy_of(ending.plan, rollout) else { return };
    for (number, decision) in decisions.iter().enumerate() {
        if !matches!(decision.decision.as_str(), "promoted" | "completed") {
            continue;
        }
        let Ok(stage_number) = usize::try_from(decision.stage) else { continue };
        let Some(stage) = policy.stages.get(stage_number) else { continue };
        let (at, name) = (since(ending.epoch, decision.at), &rollout.rollout_id);
        let baked_from = at.checked_sub(Duration::from_secs(stage.bake_s)).unwrap_or_default();
        // A share is a count once the rollout is planned.
        let planned = |number: usize| rollout.policy.stages.get(number).map_or(1, |stage| stage.min_executed);
        let stages = policy.stages.iter().enumerate().take(stage_number + 1);
        let least = stages.map(|(number, own)| own.min_executed_bp.map_or(own.min_executed, |_| planned(number)));
        let needed: u64 = least.map(u64::from).sum();
        let had = outcomes_by(seen, policy, &rollout.version, baked_from);
        if had < needed {
            let what = format!(
                "{name}: stage {} was {} when at most {} can have had an outcome for its bake time of {} s; the policy requires {needed}",
                stage_number + 1,
                decision.decision,
                counted(had, "device"),
                stage.bake_s
            );
            seen.violation(Invariant::EvidenceFirst, at, what);
        }
        let before = decisions.get(..number).unwrap_or_default();
        // Only an approval of this stage after it began to wait for one counts: an earlier one was given without the evidence.
        let asked = ["waiting", "approved", "lapsed"];
        let of_stage = before.iter().filter(|before| before.stage == decision.stage);
        let mut newest_first =
            of_stage.map(|before| before.decision.as_str()).filter(|word| asked.contains(word)).rev();
        let is_approved = newest_first.next() == Some("approved") && newest_first.next() == Some("waiting");
        if stage.approval == Approval::Manual && !is_approved {
            let what =
                format!("{name}: stage {} was {} without an operator's approval", stage_number + 1, decision.decision);
            seen.violation(Invariant::EvidenceFirst, at, what);
        }
    }
}

/// The policy of a rollout; none if the engine created it to roll devices back.
fn policy_of<'a>(plan: &'a Plan, rollout: &ObservedRollout) -> Option<&'a Policy> {
    plan.timeline.iter().find_map(|timed| match &timed.step {
        Step::StartRollout(StartRollout { policy, rollout_id, .. }) if *rollout_id == rollout.rollout_id => {
            plan.policies.get(policy)
        }
        _ => None,
    })
}

/// Devices whose update can have had an outcome by then, as far as an outside observer can know.
fn outcomes_by(seen: &Observations, policy: &Policy, version: &str, by: Duration) -> u64 {
    let confirm_window = Duration::from_secs(policy.confirm_window_s);
    let silence = Duration::from_secs(policy.lost_after_s.min(policy.progress_timeout_s));
    let release = release_id(version);
    let has_outcome = |device: &&ObservedDevice| {
        let runs_since = device.runs_since.get(version).copied();
        let Some(update) = device.updates.get(&release) else { return false };
        let confirmed_at = runs_since.map(|since| since + confirm_window);
        // Reported success and never ran the release: its next heartbeat, at the earliest, exposes that.
        let exposed_at = update.success_reported_at.filter(|_| runs_since.is_none());
        let silent_at = update.offered_at.map(|offered_at| offered_at + silence);
        [confirmed_at, update.failed_at, exposed_at, silent_at].into_iter().flatten().any(|at| at <= by)
    };
    u64::try_from(seen.devices.iter().map(|(_, device)| device).filter(has_outcome).count()).unwrap_or(u64::MAX)
}

/// When the background failures of each device begin and are over; of a device without any there is no entry.
type ChurnByDevice = BTreeMap<DeviceId, Vec<(Duration, Duration)>>;

/// The background failures that the scenario planned, up to the first heartbeat after each.
fn churn(ending: &RunEnd<'_>) -> ChurnByDevice {
    let schedule = Schedule::of(ending.plan, ending.epoch);
    let devices = if schedule.is_empty() { Ok(Vec::new()) } else { fleet::with_replacements(ending.plan) };
    let of_device = |device: DeviceSpec| {
        let episodes = schedule.episodes(&device);
        let times: Vec<_> = episodes.iter().map(|episode| (episode.from, episode.to + BOOT_TIME)).collect();
        (!times.is_empty()).then_some((device.device_id, times))
    };
    devices.unwrap_or_default().into_iter().filter_map(of_device).collect() // the run has reported what is wrong with an ID
}

fn no_starvation(seen: &mut Observations, ending: &RunEnd<'_>, churn: &ChurnByDevice) {
    let wait_limit = wait_limit(ending.plan);
    let fault_free_since = fault_free_since(ending.plan) + ending.plan.interval();
    let Some(judged_from) = ending.lasted.checked_sub(wait_limit).filter(|from| *from >= fault_free_since) else {
        return;
    };
    let has_churn = |device_id: &DeviceId| {
        let too_late =
            |(from, to): &(Duration, Duration)| *from < ending.lasted && *to + ending.plan.interval() > judged_from;
        churn.get(device_id).is_some_and(|times| times.iter().any(too_late))
    };
    let alive = ending
        .alive
        .iter()
        .filter(|device_id| in_service_until(seen, ending, device_id) == Some(ending.lasted) && !has_churn(device_id));
    let alive: BTreeSet<&DeviceId> = alive.collect();
    for device_id in &alive {
        let last_at = seen.devices.get(device_id.as_str()).map_or(Duration::ZERO, |device| device.last_at);
        if last_at < judged_from {
            let what =
                format!("{device_id}: none of its requests was accepted in the last {}", duration::format(wait_limit));
            seen.violation(Invariant::NoStarvation, ending.lasted, what);
        }
    }
    for command in ending.commands.iter().filter(|command| matches!(command.state.as_str(), "QUEUED" | "DELIVERED")) {
        if since(ending.epoch, command.created_at) < judged_from && alive.contains(&command.device_id) {
            let StoredCommand { command_id, device_id, state, .. } = command;
            let what = format!(
                "{device_id}: its command {command_id} is still {state} after {}",
                duration::format(wait_limit)
            );
            seen.violation(Invariant::NoStarvation, ending.lasted, what);
        }
    }
}

/// Of each kind of message that a device has to send, one is accepted in time while there is no fault.
fn all_is_accepted(seen: &mut Observations, ending: &RunEnd<'_>, churn: &ChurnByDevice) {
    let wait_limit = wait_limit(ending.plan);
    let of_fleet = fair_stretches(ending.plan, &[], ending.lasted);
    let mut starved: BTreeMap<MessageType, Vec<(&DeviceId, Duration, Duration)>> = BTreeMap::new();
    for (device_id, wait) in ending.pending_periods {
        let Some(in_service_until) = in_service_until(seen, ending, device_id) else { continue };
        let in_fault_free = |(from, to): &(Duration, Duration)| {
            let until = wait.until.min(*to).min(in_service_until);
            (until.saturating_sub(wait.since.max(*from)) >= wait_limit).then_some(until)
        };
        let own = churn.get(device_id).map(|own| fair_stretches(ending.plan, own, ending.lasted));
        if let Some(until) = own.as_ref().unwrap_or(&of_fleet).iter().find_map(in_fault_free) {
            starved.entry(wait.kind).or_default().push((device_id, wait.since, until));
        }
    }
    for (kind, devices) in starved {
        let Some((device_id, since, until)) = devices.iter().min_by_key(|(_, since, _)| since) else { continue };
        let what = format!(
            "{} had pending messages and none was accepted for {} without faults: {} of {device_id} waited from {:.0} s to {:.0} s",
            counted(devices.len(), "device"),
            duration::format(wait_limit),
            kind.as_str(),
            since.as_secs_f64(),
            until.as_secs_f64(),
        );
        seen.violation(Invariant::NoStarvation, *until, what);
    }
}

/// Until when the server owes a device answers; `None` if it never did.
///
/// A revoked device is owed none, even if it was not informed: RATE_LIMITED may be all that it hears behind an address where
/// somebody else spends the budget of failures.
fn in_service_until(seen: &Observations, ending: &RunEnd<'_>, device_id: &DeviceId) -> Option<Duration> {
    let device = seen.devices.get(device_id.as_str());
    // If the fleet shares one token, all devices but one can't register.
    if device.is_none() && ending.plan.fleet.otrt == Otrt::Shared {
        return None;
    }
    let revoked_at = device.and_then(|device| device.revoked_at);
    Some(revoked_at.map_or(ending.lasted, |revoked_at| revoked_at.min(ending.lasted)))
}

/// How long a device may wait, in a time without faults, before it counts as starved.
pub fn wait_limit(plan: &Plan) -> Duration {
    (plan.interval() * STARVED_INTERVALS).max(STARVED_AFTER_MIN)
}

/// When the last device is switched on and the last fault is over.
fn fault_free_since(plan: &Plan) -> Duration {
    faults(plan).map(|(_, to)| to).max().unwrap_or_default()
}

/// The times with faults, and while devices are being switched on.
fn faults(plan: &Plan) -> impl Iterator<Item = (Duration, Duration)> {
    let faults = plan.timeline.iter().filter_map(|timed| {
        let length = timed.step.fault(plan.interval())?;
        Some((timed.at, timed.at + length))
    });
    faults.chain([(Duration::ZERO, plan.ramp)])
}

/// The times without faults, nor a device's `own` failures: each begins an interval after the fault before it, when every device
/// has sent a heartbeat again.
fn fair_stretches(plan: &Plan, own: &[(Duration, Duration)], lasted: Duration) -> Vec<(Duration, Duration)> {
    let mut faults: Vec<(Duration, Duration)> = faults(plan).chain(own.iter().copied()).collect();
    faults.sort_unstable();
    let mut fair = Vec::new();
    let mut over_at = Duration::ZERO;
    for (from, to) in faults.into_iter().chain([(lasted, lasted)]) {
        if over_at < from.min(lasted) {
            fair.push((over_at, from.min(lasted)));
        }
        over_at = over_at.max(to + plan.interval());
    }
    fair
}

fn memory_bounded(seen: &mut Observations, ending: &RunEnd<'_>) {
    let Some((held, rehearsals)) = ending.memory_bytes else { return };
    let images: u64 = ending.plan.firmware.iter().map(|firmware| firmware.size_bytes).sum();
    let each = MEMORY_BYTES + u64::from(ending.plan.fleet.devices) * MEMORY_BYTES_PER_DEVICE + 3 * images; // copies in the store, in the witness and in flight
    let most = each.saturating_mul(rehearsals);
    if held > most {
        let what = format!("the process uses {} MiB, expected at most {} MiB", held >> 20, most >> 20);
        seen.violation(Invariant::MemoryBounded, ending.lasted, what);
    }
}

fn limits_as_documented(seen: &mut Observations, ending: &RunEnd<'_>, oracle: &mut Oracle) {
    // Within the shortest retention the list has every command that there ever was.
    if ending.ledger.reconciled && ending.lasted < RETENTION_MIN {
        let mut ordered_us: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
        for command in ending.commands {
            let of_device = ordered_us.entry(command.device_id.as_str()).or_default();
            of_device.push(micros(since(ending.epoch, command.created_at)));
        }
        oracle.decide_doubts(&ordered_us);
    }
    for wrong in oracle.wrong() {
        seen.violation(Invariant::LimitsAsDocumented, Duration::from_micros(wrong.at_us), wrong.what.clone());
    }
}

fn since(epoch: UnixMs, at: UnixMs) -> Duration {
    Duration::from_millis(at.since_ms(epoch))
}
