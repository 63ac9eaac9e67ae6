//! Trials: one rehearsal with many seeds, on all cores, for each of several rollout policies and for each of several rates
//! at which the firmware really breaks devices.

mod bug_rate;
mod progress;
mod record;
mod request;
pub mod work;

use std::{
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ks_reports::{
    run_folder::{RolloutSummary, Summary},
    score::{FailsOnlyOn, Goal, Score, ScoreSetup, State, Trial, TrialOutcome, TrialRollout},
};
use ks_server::rollout::policy::Policy;

use bug_rate::hit_bp_of_fleet;
pub use record::{Record, Recorded};
pub use request::{Request, Source, TRIALS, WIDTH_BP};
use work::{SEED_MAX, Work, nth_case, of_round, rehearse_one};

use crate::{
    drive::rehearse::Signatures,
    failure::Failure,
    scenario::{Fault, Firmware, Fleet, Plan, Scope, Share},
    timeline::{StartRollout, Step},
};

/// Most names that an error lists.
const NAMED_MAX: usize = 20;

/// A policy by its name.
pub type NamedPolicy = (String, Policy);

#[derive(Debug)]
pub struct Trials<'a> {
    pub plan: &'a Plan,
    /// Trials of each policy and rate.
    pub count: u32,
    /// Policies that replace the scenario's; if empty, the scenario's own.
    pub policies: Vec<NamedPolicy>,
    /// Their files, quoted for a shell.
    pub policy_files: Vec<String>,
    /// Rates at which the firmware breaks devices, in basis points; if empty, the scenario's own.
    pub bug_rates_bp: Vec<u16>,
    /// The command that repeats a trial, without its seed.
    pub replay: String,
    /// When they end before all are made.
    pub until: Option<Goal>,
    /// Real time after which no further trial starts.
    pub budget: Option<Duration>,
}

/// One policy with one bug rate, to be tried with many seeds.
struct Case {
    policy: String,
    bug_rate_bp: u16,
    plan: Plan,
    /// The command that repeats a trial of it, without its seed.
    replay: String,
}

impl Trials<'_> {
    /// Makes the trials that the record lacks: every case with the first seed, then every case with the next, so that whenever
    /// they end, all cases were tried equally often. Each is recorded once it has ended. `progress` receives the record and
    /// the estimated time that is left. Ends early for `stop`, for the budget, and when the goal is reached.
    ///
    /// The goal is considered at the end of each round of cases, in order; trials of later rounds are then removed. So
    /// which trials remain depends neither on the number of cores nor on interruptions.
    ///
    /// # Errors
    /// A trial did not finish, or can't be recorded.
    pub fn run(
        &self,
        record: &mut Record<Trial>,
        stop: &Arc<AtomicBool>,
        progress: impl FnMut(&Record<Trial>, Option<Duration>),
    ) -> Result<State, Failure> {
        let cases = self.cases()?;
        let mut rounds = Rounds { trials: self, cases: cases.len(), complete: 0 };
        let work = Work { cases: cases.len(), total: self.total(cases.len()), budget: self.budget, stop };
        work.run(record, |number| one(&cases, number, stop), |record| rounds.reach_goal(record), progress)
    }

    /// Trials of all cases.
    fn total(&self, cases: usize) -> u64 {
        u64::from(self.count.max(1)).saturating_mul(u64::try_from(cases).unwrap_or(u64::MAX))
    }

    /// The parameters of all trials, for their score.
    pub fn setup(&self) -> ScoreSetup {
        let policies = self.policies.len().max(1);
        ScoreSetup {
            scenario: self.plan.name.clone(),
            first_seed: self.plan.seed,
            signatures: Signatures::chosen().as_str().to_owned(),
            policies,
            cells: policies * self.bug_rates_bp.len().max(1),
            trials_per_cell: usize::try_from(self.count).unwrap_or(usize::MAX),
            fails_only_on: fails_only_on(self.plan),
            is_judged: self.are_judged(),
            until: self.until,
            ..ScoreSetup::default()
        }
    }

    /// Whether the scenario's own expectations are judged: a score compares policies instead.
    pub fn are_judged(&self) -> bool {
        self.policies.is_empty() && self.bug_rates_bp.is_empty()
    }

    /// The number of a trial in the order in which they are made; none if it is not one of these.
    ///
    /// # Errors
    /// Two cases can't be distinguished.
    pub fn numbers(&self) -> Result<impl Fn(&Trial) -> Option<u64>, Failure> {
        let cases = self.cases()?;
        let (first, has_rollouts) = (self.plan.seed, self.plan.has_rollouts());
        Ok(move |trial: &Trial| {
            let is_of = |case: &Case| case.policy == trial.policy && u32::from(case.bug_rate_bp) == trial.bug_rate_bp;
            let case = u64::try_from(cases.iter().position(is_of)?).ok()?;
            let round = trial.seed.wrapping_sub(first) & SEED_MAX;
            let number = round.checked_mul(u64::try_from(cases.len()).ok()?)?.checked_add(case)?;
            (trial.rollout.is_some() == has_rollouts).then_some(number)
        })
    }

    fn cases(&self) -> Result<Vec<Case>, Failure> {
        let own = first_rollout(self.plan).map_or("none", |(_, start)| start.policy.as_str());
        let own = (own.to_owned(), None);
        let named = self.policies.iter().map(|(name, policy)| (name.clone(), Some(policy)));
        let policies: Vec<_> = if self.policies.is_empty() { vec![own] } else { named.collect() };
        let rates: Vec<Option<u16>> = match self.bug_rates_bp.as_slice() {
            [] => vec![None],
            rates => rates.iter().copied().map(Some).collect(),
        };
        let mut cases: Vec<Case> = Vec::new();
        for (name, policy) in &policies {
            for rate in &rates {
                let mut plan = self.plan.clone();
                if let Some(policy) = policy {
                    use_policy(&mut plan, policy);
                }
                if let Some(rate) = rate {
                    break_devices(&mut plan, *rate)?;
                }
                let fleet = plan.fleet.clone();
                let bug_rate_bp = rolled_out(&mut plan).map_or(0, |firmware| bug_rate_bp(firmware, &fleet));
                if cases.iter().any(|case| case.policy == *name && case.bug_rate_bp == bug_rate_bp) {
                    return Err(Failure::BadRequest(format!(
                        "--bug-rates: two rates become {} % when they are split among the ways in which the scenario's \
                         firmware fails; give rates that are further apart",
                        f64::from(bug_rate_bp) / 100.0
                    )));
                }
                cases.push(Case { policy: name.clone(), bug_rate_bp, plan, replay: self.replay_of(name, *rate) });
            }
        }
        Ok(cases)
    }

    /// The command that repeats a trial of a policy and rate, without its seed.
    fn replay_of(&self, policy: &str, rate_bp: Option<u16>) -> String {
        let mut command = self.replay.clone();
        if !self.are_judged() {
            command += " --trials 1";
        }
        let files = self.policies.iter().zip(&self.policy_files);
        for (_, file) in files.filter(|((name, _), _)| name == policy) {
            command += &format!(" --policy {file}");
        }
        if let Some(rate_bp) = rate_bp {
            command += &format!(" --bug-rates {}", f64::from(rate_bp) / 100.0);
        }
        command
    }
}

/// One trial; none if it was stopped.
fn one(cases: &[Case], number: u64, stop: &Arc<AtomicBool>) -> Result<Option<Trial>, Failure> {
    let Some(case) = cases.get(nth_case(number, cases.len())) else { return Ok(None) };
    let plan = of_round(&case.plan, number, cases.len());
    let replay = format!("{} --seed {}", case.replay, plan.seed);
    let Some(summary) = rehearse_one(&plan, replay.clone(), true, stop)? else { return Ok(None) };
    if plan.has_rollouts() && summary.rollout.is_none() {
        let why = summary.reasons.first().map_or("the rollout was not started", String::as_str);
        return Err(Failure::BadRequest(format!("policy `{}`: {why}", case.policy)));
    }
    Ok(Some(trial(case, plan.seed, summary, replay)))
}

/// The rounds that are complete: each case was tried with their seeds.
struct Rounds<'a> {
    trials: &'a Trials<'a>,
    cases: usize,
    complete: u64,
}

impl Rounds<'_> {
    /// Whether the goal is reached at the end of a round that is complete now; if so, only trials up to there remain recorded.
    fn reach_goal(&mut self, record: &mut Record<Trial>) -> bool {
        let cases = u64::try_from(self.cases).unwrap_or(u64::MAX);
        loop {
            let end = (self.complete + 1).saturating_mul(cases);
            if self.complete >= u64::from(self.trials.count) || !(end - cases..end).all(|number| record.has(number)) {
                return false;
            }
            self.complete += 1;
            let is_due = self.trials.until.is_some() && progress::is_look(self.complete);
            if is_due && Score::of(self.trials.setup(), &record.trials_below(end)).is_goal_reached() {
                record.keep_below(end);
                return true;
            }
        }
    }
}

/// The scenario's first rollout, and when it starts.
pub fn first_rollout(plan: &Plan) -> Option<(Duration, &StartRollout)> {
    plan.timeline.iter().find_map(|timed| match &timed.step {
        Step::StartRollout(start) => Some((timed.at, start)),
        _ => None,
    })
}

/// Replaces the scenario's policies.
pub fn use_policy(plan: &mut Plan, policy: &Policy) {
    plan.policies.values_mut().for_each(|own| own.clone_from(policy));
}

/// Makes the firmware of the first rollout fail on one model or at one site only: by its fault of that model or site, or else by
/// its only one.
///
/// # Errors
/// The fleet has none of that name, or several faults could be meant.
pub fn fail_only_on(plan: &mut Plan, model: Option<&str>, site: Option<&str>) -> Result<(), Failure> {
    if model.is_none() && site.is_none() {
        return Ok(());
    }
    for (what, name, all) in [("model", model, &plan.fleet.models), ("site", site, &plan.fleet.sites)] {
        if let Some(name) = name.filter(|name| all.iter().all(|of| of.name != **name)) {
            let names: Vec<&str> = all.iter().map(|of| of.name.as_str()).take(NAMED_MAX).collect();
            let more = if all.len() > NAMED_MAX { " and others" } else { "" };
            let why = format!("the fleet has no {what} {name}; it has {}{more}", names.join(", "));
            return Err(Failure::BadRequest(why));
        }
    }
    let Some(firmware) = rolled_out(plan) else { return Ok(()) }; // trials without a rollout are refused
    let scope = Scope { only_model: model.map(str::to_owned), only_site: site.map(str::to_owned), ..Scope::default() };
    let is_of = |fault: &&Fault| fault.scope.only_model == scope.only_model && fault.scope.only_site == scope.only_site;
    let fault = match (firmware.faults.iter().find(is_of), firmware.faults.as_slice()) {
        (Some(fault), _) | (None, [fault]) => Fault { scope, ..fault.clone() },
        (None, []) => Fault::none(scope),
        (None, faults) => {
            let (count, version) = (faults.len(), &firmware.version);
            let why = format!("none of the {count} faults of firmware {version} is of that model or site alone");
            return Err(Failure::BadRequest(why));
        }
    };
    firmware.faults = vec![fault];
    Ok(())
}

/// The firmware of the first rollout.
fn rolled_out(plan: &mut Plan) -> Option<&mut Firmware> {
    let version = first_rollout(plan)?.1.firmware.clone();
    plan.firmware.iter_mut().find(|firmware| firmware.version == version)
}

/// The devices that the first rolled out release can fail on, if not all; by the weights of models and sites.
fn fails_only_on(plan: &Plan) -> Option<FailsOnlyOn> {
    let (_, start) = first_rollout(plan)?;
    let firmware = plan.firmware.iter().find(|firmware| firmware.version == start.firmware)?;
    // Several faults have no part of the fleet in common.
    let [Fault { scope, .. }] = firmware.faults.as_slice() else { return None };
    let (mut names, mut share) = (Vec::new(), 1.0);
    for (kind, only, all) in
        [("model", &scope.only_model, &plan.fleet.models), ("site", &scope.only_site, &plan.fleet.sites)]
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

/// Devices that a release fails on, in basis points: with one fault of those that it can fail on, with several of the fleet.
fn bug_rate_bp(firmware: &Firmware, fleet: &Fleet) -> u16 {
    match firmware.faults.as_slice() {
        [] => 0,
        [fault] => u16::try_from(fault.hits_bp()).unwrap_or(u16::MAX),
        faults => hit_bp_of_fleet(faults, fleet),
    }
}

/// Makes the first rolled out release fail on that share of devices, in the scenario's proportions, or else by bricking
/// them.
///
/// # Errors
/// The release has several faults, which one rate does not describe.
fn break_devices(plan: &mut Plan, rate_bp: u16) -> Result<(), Failure> {
    let Some(firmware) = rolled_out(plan) else { return Ok(()) };
    match firmware.faults.as_mut_slice() {
        [] => firmware.faults.push(Fault { bricks_bp: rate_bp, ..Fault::none(Scope::default()) }),
        [fault] => match fault.hits_bp() {
            0 => fault.bricks_bp = rate_bp,
            before => fault.scale(rate_bp.into(), before.into()),
        },
        faults => {
            let (version, count) = (&firmware.version, faults.len());
            return Err(Failure::BadRequest(format!(
                "--bug-rates: the release {version} has {count} faults, which one rate does not describe; leave --bug-rates \
                 out, or rehearse a scenario whose release has one fault"
            )));
        }
    }
    Ok(())
}

fn trial(case: &Case, seed: u64, summary: Summary, replay: String) -> Trial {
    let invariant_violations = summary.invariants.iter().flatten().map(|judged| judged.violations.len()).sum::<usize>();
    Trial {
        policy: case.policy.clone(),
        bug_rate_bp: case.bug_rate_bp.into(),
        seed,
        verdict: summary.verdict,
        reasons: summary.reasons,
        devices: summary.devices,
        rollout: summary.rollout.as_ref().map(rollout),
        invariant_violations: u64::try_from(invariant_violations).unwrap_or(u64::MAX),
        wall_s: (summary.wall_s * 1_000.0).round() / 1_000.0,
        replay,
    }
}

fn rollout(rollout: &RolloutSummary) -> TrialRollout {
    TrialRollout {
        outcome: match rollout.state.as_str() {
            "ABORTED" => TrialOutcome::Aborted,
            "PAUSED" => TrialOutcome::Paused,
            "COMPLETED" => TrialOutcome::Completed,
            _ => TrialOutcome::Running,
        },
        broken_devices: rollout.broken_devices,
        installed_devices: rollout.installed_devices,
        started_at_s: rollout.started_at_s.unwrap_or_default(),
        first_broken_at_s: rollout.first_broken_at_s,
        detected_at_s: rollout.detected_at_s,
        completed_at_s: rollout.completed_at_s,
    }
}
