//! Trials: one rehearsal with many seeds, on all cores, for each of several rollout policies and for each of several rates
//! at which the firmware really breaks devices.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ks_reports::{
    run_folder::{EventsKept, RolloutSummary, Summary, Verdict},
    score::{Asked, FailsOnlyOn, Trial, TrialOutcome},
};
use ks_server::rollout::policy::Policy;

use crate::{
    console::Console,
    drive::rehearse::{Rehearsal, rehearse},
    failure::Failure,
    parallel,
    scenario::{Firmware, Plan, Share},
    temporary::Temporary,
    timeline::{StartRollout, Step},
};

/// A policy by its name.
pub type NamedPolicy = (String, Policy);

#[derive(Debug)]
pub struct Trials<'a> {
    pub plan: &'a Plan,
    /// Trials of each policy and rate.
    pub count: u32,
    /// Policies that replace the scenario's; if empty, the scenario's own.
    pub policies: Vec<NamedPolicy>,
    /// Rates at which the firmware breaks devices, in basis points; if empty, the scenario's own.
    pub bug_rates_bp: Vec<u16>,
    /// The command that repeats a trial, without its seed.
    pub replay: String,
}

/// How one trial ended.
#[derive(Debug)]
pub struct TrialResult {
    /// For the score; none if the scenario rolls nothing out.
    pub trial: Option<Trial>,
    /// The verdict of the scenario's own expectations.
    pub verdict: Verdict,
    /// Why it did not pass.
    pub reasons: Vec<String>,
    pub seed: u64,
    /// A command that repeats it.
    pub replay: String,
}

/// One policy with one bug rate, to be tried with many seeds.
struct Case {
    policy: String,
    bug_rate_bp: u16,
    plan: Plan,
}

impl Trials<'_> {
    /// Runs every trial and returns them in the order of policy, rate and seed. `progress` receives how many have finished and
    /// how many there are; `stop` ends it early.
    ///
    /// # Errors
    /// A trial did not finish.
    pub fn run(&self, stop: &Arc<AtomicBool>, mut progress: impl FnMut(u64, u64)) -> Result<Vec<TrialResult>, Failure> {
        let cases = self.cases();
        let seeds = u64::from(self.count.max(1));
        let count = u64::try_from(cases.len()).unwrap_or(u64::MAX).saturating_mul(seeds);
        let mut results = BTreeMap::new();
        let mut failure = None;
        let work = |number| {
            let case = usize::try_from(number / seeds).ok().and_then(|nth| cases.get(nth))?;
            self.one(case, number % seeds, stop).transpose()
        };
        parallel::each(count, stop, work, |number, done| {
            match done {
                Some(Ok(done)) => drop(results.insert(number, done)),
                Some(Err(error)) => drop(failure.get_or_insert(error)),
                None => {}
            }
            progress(u64::try_from(results.len()).unwrap_or(u64::MAX), count);
            failure.is_none()
        });
        failure.map_or_else(|| Ok(results.into_values().collect()), Err)
    }

    /// The parameters of all trials, for their score.
    pub fn asked(&self, signatures: &str) -> Asked {
        Asked {
            scenario: self.plan.name.clone(),
            first_seed: self.plan.seed,
            signatures: signatures.to_owned(),
            cells: self.policies.len().max(1) * self.bug_rates_bp.len().max(1),
            trials_per_cell: usize::try_from(self.count).unwrap_or(usize::MAX),
            fails_only_on: fails_only_on(self.plan),
        }
    }

    fn cases(&self) -> Vec<Case> {
        let own = first_rollout(self.plan).map_or("none", |(_, policy, _)| policy);
        let own = (own.to_owned(), None);
        let named = self.policies.iter().map(|(name, policy)| (name.clone(), Some(policy)));
        let policies: Vec<_> = if self.policies.is_empty() { vec![own] } else { named.collect() };
        let rates: Vec<Option<u16>> = match self.bug_rates_bp.as_slice() {
            [] => vec![None],
            rates => rates.iter().copied().map(Some).collect(),
        };
        let mut cases = Vec::new();
        for (name, policy) in &policies {
            for rate in &rates {
                let mut plan = self.plan.clone();
                if let Some(policy) = policy {
                    plan.policies.values_mut().for_each(|own| own.clone_from(policy));
                }
                if let Some(rate) = rate {
                    break_devices(&mut plan, *rate);
                }
                let bug_rate_bp = rolled_out(&mut plan).map_or(0, |firmware| bug_rate_bp(firmware));
                cases.push(Case { policy: name.clone(), bug_rate_bp, plan });
            }
        }
        cases
    }

    /// One trial of a case; none if it was stopped.
    fn one(&self, case: &Case, number: u64, stop: &Arc<AtomicBool>) -> Result<Option<TrialResult>, Failure> {
        let folder = Temporary::make("trial");
        let folder = folder.map_err(|cause| Failure::File { what: "create", path: std::env::temp_dir(), cause })?;
        let mut plan = case.plan.clone();
        plan.seed = plan.seed.wrapping_add(number) & (u64::MAX >> 1);
        let replay = format!("{} --seed {}", self.replay, plan.seed);
        let rehearsal = Rehearsal {
            plan: &plan,
            out: folder.path(),
            replay: replay.clone(),
            concurrent: parallel::threads(),
            is_trial: true,
            ends_when_settled: true,
            events: EventsKept::None,
        };
        let summary = rehearse(rehearsal, Console::rehearsing(true, Arc::clone(stop)))?;
        if summary.interrupted {
            return Ok(None);
        }
        if plan.has_rollouts() && summary.rollout.is_none() {
            let why = summary.reasons.first().map_or("the rollout was not started", String::as_str);
            return Err(Failure::BadRequest(format!("policy `{}`: {why}", case.policy)));
        }
        let trial = summary.rollout.as_ref().map(|rollout| trial(case, &plan, &summary, rollout, &replay));
        Ok(Some(TrialResult { trial, verdict: summary.verdict, seed: plan.seed, replay, reasons: summary.reasons }))
    }
}

/// When the scenario starts its first rollout, with which policy, of which version.
fn first_rollout(plan: &Plan) -> Option<(Duration, &str, &str)> {
    plan.timeline.iter().find_map(|timed| match &timed.step {
        Step::StartRollout(StartRollout { policy, firmware, .. }) => {
            Some((timed.at, policy.as_str(), firmware.as_str()))
        }
        _ => None,
    })
}

/// The firmware of the first rollout.
fn rolled_out(plan: &mut Plan) -> Option<&mut Firmware> {
    let version = first_rollout(plan)?.2.to_owned();
    plan.firmware.iter_mut().find(|firmware| firmware.version == version)
}

/// The devices that the first rolled out release can fail on, if not all; by the weights of models and sites.
fn fails_only_on(plan: &Plan) -> Option<FailsOnlyOn> {
    let (.., version) = first_rollout(plan)?;
    let firmware = plan.firmware.iter().find(|firmware| firmware.version == version)?;
    let (mut names, mut share) = (Vec::new(), 1.0);
    for (kind, only, all) in
        [("model", &firmware.only_model, &plan.fleet.models), ("site", &firmware.only_site, &plan.fleet.sites)]
    {
        let Some(only) = only else { continue };
        let weight = |of: &Share| f64::from(of.share);
        let own: f64 = all.iter().filter(|of| of.name == *only).map(weight).sum();
        share *= own / all.iter().map(weight).sum::<f64>().max(1.0);
        names.push(format!("{kind} {only}"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share is from 0 to 1")]
    let share_of_fleet_bp = (share * 10_000.0).round() as u32;
    (!names.is_empty()).then(|| FailsOnlyOn { which: names.join(" and "), share_of_fleet_bp })
}

/// Devices that a release fails on, of those that it can fail on, in basis points.
fn bug_rate_bp(firmware: &Firmware) -> u16 {
    let Firmware { install_fails_bp, boot_fails_bp, bricks_bp, dies_bp, lies_bp, .. } = *firmware;
    install_fails_bp
        .saturating_add(boot_fails_bp)
        .saturating_add(bricks_bp)
        .saturating_add(dies_bp)
        .saturating_add(lies_bp)
}

/// Makes the first rolled out release fail on that share of devices, in the scenario's proportions, or else by bricking
/// them.
fn break_devices(plan: &mut Plan, rate_bp: u16) {
    let Some(firmware) = rolled_out(plan) else { return };
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

fn trial(case: &Case, plan: &Plan, summary: &Summary, rollout: &RolloutSummary, replay: &str) -> Trial {
    let invariant_violations = summary.invariants.iter().flatten().map(|judged| judged.violations.len()).sum::<usize>();
    Trial {
        policy: case.policy.clone(),
        bug_rate_bp: case.bug_rate_bp.into(),
        seed: plan.seed,
        outcome: match rollout.state.as_str() {
            "ABORTED" => TrialOutcome::Aborted,
            "PAUSED" => TrialOutcome::Paused,
            "COMPLETED" => TrialOutcome::Completed,
            _ => TrialOutcome::Running,
        },
        devices: summary.devices,
        broken_devices: rollout.broken_devices,
        installed_devices: rollout.installed_devices,
        started_at_s: rollout.started_at_s.unwrap_or_default(),
        first_broken_at_s: rollout.first_broken_at_s,
        detected_at_s: rollout.detected_at_s,
        completed_at_s: rollout.completed_at_s,
        invariant_violations: u64::try_from(invariant_violations).unwrap_or(u64::MAX),
        replay: replay.to_owned(),
    }
}
