//! Trials: one rehearsal with many seeds, over every core; for each of several rollout policies, and for each of several rates
//! at which the firmware really breaks devices.

use std::{
    num::NonZero,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
};

use ks_reports::{
    run_folder::{RolloutSummary, Summary, Verdict},
    score::{Trial, TrialOutcome},
};
use ks_server::rollout::policy::Policy;

use crate::{
    console::Console,
    failure::Failure,
    rehearse::{Rehearsal, rehearse},
    scenario::{Firmware, Plan, Step},
};

/// A policy by its name.
pub type NamedPolicy = (String, Policy);

/// What to try.
#[derive(Debug)]
pub struct Trials<'a> {
    /// What is rehearsed.
    pub plan: &'a Plan,
    /// Trials of each policy and rate.
    pub count: u32,
    /// Policies in the place of the scenario's; none: the scenario's own.
    pub policies: Vec<NamedPolicy>,
    /// Rates at which the firmware breaks devices, in basis points, in the place of the scenario's; none: the scenario's own.
    pub bug_rates_bp: Vec<u16>,
    /// The command that repeats a trial, but for its seed.
    pub replay: String,
}

/// How one trial ended.
#[derive(Debug)]
pub struct Tried {
    /// For the score; none if the scenario rolls nothing out.
    pub trial: Option<Trial>,
    /// The verdict of the scenario's own expectations.
    pub verdict: Verdict,
    /// Why it is not a pass.
    pub reasons: Vec<String>,
    /// The seed.
    pub seed: u64,
    /// A command that runs it again.
    pub replay: String,
}

/// One trial to be made.
struct Case {
    policy: String,
    bug_rate_bp: u16,
    plan: Plan,
    replay: String,
}

impl Trials<'_> {
    /// Makes every trial, and gives them in the order of policy, rate and seed. `tell` hears of each that has ended, and how
    /// many there are; `stop` ends it sooner.
    ///
    /// # Errors
    /// A trial did not come to its end.
    pub fn run(&self, stop: &AtomicBool, mut tell: impl FnMut(usize, usize)) -> Result<Vec<Tried>, Failure> {
        let cases = self.cases();
        let threads = std::thread::available_parallelism().map_or(1, NonZero::get).min(cases.len().max(1));
        let next = AtomicUsize::new(0);
        let tried: Mutex<Vec<(usize, Tried)>> = Mutex::default();
        let mut failure = None;
        std::thread::scope(|scope| {
            let (said, heard) = mpsc::channel();
            for _ in 0..threads {
                let (said, next, cases, tried) = (said.clone(), &next, &cases, &tried);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        let Some(case) = cases.get(number) else { break };
                        let done = one(case, threads);
                        let done = done.map(|done| {
                            tried.lock().unwrap_or_else(PoisonError::into_inner).push((number, done));
                        });
                        if said.send(done).is_err() {
                            break;
                        }
                    }
                });
            }
            drop(said);
            let mut ended = 0;
            while let Ok(done) = heard.recv() {
                ended += 1;
                if let Err(error) = done {
                    next.store(cases.len(), Ordering::Relaxed); // no more begin
                    failure.get_or_insert(error);
                }
                tell(ended, cases.len());
            }
        });
        if let Some(failure) = failure {
            return Err(failure);
        }
        let mut tried = tried.into_inner().unwrap_or_else(PoisonError::into_inner);
        tried.sort_by_key(|(number, _)| *number);
        Ok(tried.into_iter().map(|(_, tried)| tried).collect())
    }

    fn cases(&self) -> Vec<Case> {
        let own = (own_policy(self.plan), None);
        let named = self.policies.iter().map(|(name, policy)| (name.clone(), Some(policy)));
        let policies: Vec<_> = if self.policies.is_empty() { vec![own] } else { named.collect() };
        let rates: Vec<Option<u16>> = match self.bug_rates_bp.as_slice() {
            [] => vec![None],
            rates => rates.iter().copied().map(Some).collect(),
        };
        let mut cases = Vec::new();
        for (name, policy) in &policies {
            for rate in &rates {
                for number in 0..self.count {
                    let mut plan = self.plan.clone();
                    plan.seed = plan.seed.wrapping_add(number.into()) & (u64::MAX >> 1);
                    if let Some(policy) = policy {
                        plan.policies.values_mut().for_each(|own| own.clone_from(policy));
                    }
                    if let Some(rate) = rate {
                        break_devices(&mut plan, *rate);
                    }
                    let bug_rate_bp = rolled_out(&plan).map_or(0, bug_rate_bp);
                    let replay = format!("{} --seed {}", self.replay, plan.seed);
                    cases.push(Case { policy: name.clone(), bug_rate_bp, plan, replay });
                }
            }
        }
        cases
    }
}

/// The policy that the scenario starts its first rollout with.
fn own_policy(plan: &Plan) -> String {
    let started = plan.timeline.iter().find_map(|timed| match &timed.step {
        Step::StartRollout { policy, .. } => Some(policy.clone()),
        _ => None,
    });
    started.unwrap_or_else(|| "none".to_owned())
}

/// Version of what the scenario rolls out first.
fn first_version(plan: &Plan) -> Option<String> {
    plan.timeline.iter().find_map(|timed| match &timed.step {
        Step::StartRollout { firmware, .. } => Some(firmware.clone()),
        _ => None,
    })
}

fn rolled_out(plan: &Plan) -> Option<&Firmware> {
    let version = first_version(plan)?;
    plan.firmware.iter().find(|firmware| firmware.version == version)
}

/// Devices that a release fails on, in basis points.
fn bug_rate_bp(firmware: &Firmware) -> u16 {
    let Firmware { install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp, .. } = *firmware;
    install_fails_bp
        .saturating_add(boot_fails_bp)
        .saturating_add(bricks_bp)
        .saturating_add(dies_bp)
        .saturating_add(lies_bp)
}

/// Has the release that is rolled out first fail on that many devices, in the way that the scenario says, or else by bricking
/// them.
fn break_devices(plan: &mut Plan, rate_bp: u16) {
    let Some(version) = first_version(plan) else { return };
    let Some(firmware) = plan.firmware.iter_mut().find(|firmware| firmware.version == version) else { return };
    let before = u64::from(bug_rate_bp(firmware));
    if before == 0 {
        firmware.bricks_bp = rate_bp;
        return;
    }
    let Firmware { install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp, .. } = firmware;
    for share_bp in [install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp] {
        *share_bp = u16::try_from(u64::from(*share_bp) * u64::from(rate_bp) / before).unwrap_or(u16::MAX);
    }
}

fn one(case: &Case, threads: usize) -> Result<Tried, Failure> {
    let folder = tempfile::Builder::new().prefix("ks-trial-").tempdir();
    let folder = folder.map_err(|cause| Failure::File { what: "create", path: std::env::temp_dir(), cause })?;
    let out: &Path = folder.path();
    let beside = u64::try_from(threads).unwrap_or(1);
    let rehearsal = Rehearsal { plan: &case.plan, out, replay: case.replay.clone(), beside, is_trial: true };
    let summary = rehearse(rehearsal, Console::rehearsing(true, Arc::default()))?;
    if case.plan.has_rollouts() && summary.rollout.is_none() {
        let why = summary.reasons.first().map_or("the rollout was not started", String::as_str);
        return Err(Failure::BadRequest(format!("policy `{}`: {why}", case.policy)));
    }
    Ok(Tried {
        trial: summary.rollout.as_ref().map(|rollout| trial(case, &summary, rollout)),
        verdict: summary.verdict,
        seed: case.plan.seed,
        replay: case.replay.clone(),
        reasons: summary.reasons,
    })
}

fn trial(case: &Case, summary: &Summary, rollout: &RolloutSummary) -> Trial {
    let started = case.plan.timeline.iter().find(|timed| matches!(timed.step, Step::StartRollout { .. }));
    let started_at_s = started.map_or(0.0, |timed| timed.at.as_secs_f64());
    let since_start = |at_s: Option<f64>| at_s.map(|at_s| at_s - started_at_s);
    let broken_promises = summary.promises.iter().flatten().map(|judged| judged.breaches.len()).sum::<usize>();
    Trial {
        policy: case.policy.clone(),
        bug_rate_bp: case.bug_rate_bp.into(),
        seed: case.plan.seed,
        outcome: match rollout.state.as_str() {
            "ABORTED" => TrialOutcome::Aborted,
            "PAUSED" => TrialOutcome::Paused,
            "COMPLETED" => TrialOutcome::Completed,
            _ => TrialOutcome::Running,
        },
        devices: summary.devices,
        broken_devices: rollout.broken_devices,
        updated_devices: rollout.updated_devices,
        first_broken_at_s: since_start(rollout.first_broken_at_s),
        detected_at_s: since_start(rollout.detected_at_s),
        completed_at_s: since_start(rollout.completed_at_s),
        broken_promises: u64::try_from(broken_promises).unwrap_or(u64::MAX),
        replay: case.replay.clone(),
    }
}
