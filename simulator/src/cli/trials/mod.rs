//! `ks-fleet rehearse --trials`: many seeds, several policies, several rates of bugs; the table, the page, the verdict.

mod request;
mod results;

use std::sync::{Arc, atomic::AtomicBool};

use ks_reports::score::{State, Trial};
use ks_server::clock::{Clock, SystemClock};

pub(super) use request::{BUDGET_MAX, RequestedTrials, TrialOptions, rate_bp};
use results::{conclude, draw_page, score_of};

use super::{
    Options, advise,
    execute::{check_possible, plan, quoted, replay_command},
    interrupt::interruptible,
    live::{Live, LiveTrials},
};
use crate::{
    failure::{Failure, REHEARSE},
    run::folder::RunFolder,
    scenario::{Mode, Plan},
    trials::{Record, Trials, fail_only_on, use_policy},
};

/// Checks a scenario and runs its trials; returns the exit code.
pub(super) fn check_and_run(requested: RequestedTrials, folder: Option<&RunFolder>) -> Result<u8, Failure> {
    let (path, options) = (&requested.scenario, &requested.options);
    let Some(mut plan) = plan(path, &requested.text, Some(Mode::Rehearse), options)? else { return Ok(2) };
    let (model, site) = (requested.request.bug_model.as_deref(), requested.request.bug_site.as_deref());
    fail_only_on(&mut plan, model, site)?;
    if requested.policies.is_empty() {
        check_possible(&plan, None)?;
    }
    for (name, policy) in &requested.policies {
        let mut plan = plan.clone();
        use_policy(&mut plan, policy);
        check_possible(&plan, None).map_err(|failure| failure.of_the_request(format!("policy `{name}`")))?;
    }
    if options.events.is_some() {
        return Err(Failure::BadRequest("trials keep no event log; omit --events".to_owned()));
    }
    let mut replay = replay_command(path, Mode::Rehearse, options, None);
    for (flag, name) in [("--bug-model", model), ("--bug-site", site)] {
        if let Some(name) = name {
            replay += &format!(" {flag} {}", quoted(name));
        }
    }
    run(&plan, replay, requested, folder, &interruptible()?)
}

/// Runs the trials and returns the exit code.
fn run(
    plan: &Plan,
    replay: String,
    requested: RequestedTrials,
    folder: Option<&RunFolder>,
    stop: &Arc<AtomicBool>,
) -> Result<u8, Failure> {
    let RequestedTrials { request, policies, budget, resumed, options, is_printed, .. } = requested;
    let (count, until) = (request.trials, request.until);
    let policy_files = request.policies.iter().map(|of| quoted(&of.path)).collect();
    let bug_rates_bp = request.bug_rates_bp.clone();
    let trials = Trials { plan, count, policies, policy_files, bug_rates_bp, replay, until, budget };
    if !trials.are_judged() && !plan.has_rollouts() {
        return Err(Failure::BadRequest("the scenario rolls nothing out, so no policy can be scored by it".to_owned()));
    }
    if !trials.are_judged() && plan.rollouts() > 1 {
        let why = format!(
            "the scenario starts {} rollouts, and a score is about one: remove the others, or omit --policy and --bug-rates",
            plan.rollouts()
        );
        return Err(Failure::BadRequest(why));
    }
    let numbers = trials.numbers()?;
    let advice = resumed.as_deref().map(advise::of_folder).transpose()?.flatten();
    let mut new = None;
    let (folder, mut record) = if let Some(path) = &resumed {
        let folder = new.insert(RunFolder::resume(path)?);
        let record = Record::resume(path, numbers)?;
        let total = u64::from(count) * u64::try_from(trials.setup().cells).unwrap_or(u64::MAX);
        if record.end() > total {
            let why = format!("it has trials beyond the first {count} seeds; omit --trials, or give a greater number");
            return Err(Failure::NotResumable { by: REHEARSE, path: path.clone(), why });
        }
        folder.fail_unless_finished(&plan.name, SystemClock.now());
        (&*folder, record)
    } else {
        let name = format!("{}-trials", plan.name);
        let folder = RunFolder::requested_or_new(folder, &mut new, &name, SystemClock.now())?;
        (folder, Record::begin(folder.path())?)
    };
    request.write(folder.path())?;
    let made = make(&trials, &mut record, folder, &options, stop);
    let state = made.inspect_err(|failure| folder.fail(&plan.name, SystemClock.now(), &failure.to_string()))?;
    let score = score_of(&trials, &record, state, folder.path());
    let code = conclude(&score, &record, (folder, &plan.name), (&options, budget, is_printed))?;
    match advice {
        Some(advice) => advise::complete(folder.path(), advice, &options)?,
        None if resumed.is_some() => advise::remove_outdated(folder.path(), options.quiet)?,
        None => {}
    }
    Ok(code)
}

/// Makes the trials that are missing, shows progress, and keeps the page up to date.
fn make(
    trials: &Trials<'_>,
    record: &mut Record<Trial>,
    folder: &RunFolder,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Result<State, Failure> {
    let asked = trials.setup();
    let of = u64::try_from(asked.cells.saturating_mul(asked.trials_per_cell)).unwrap_or(u64::MAX);
    let draw =
        |record: &Record<Trial>| draw_page(folder.path(), &score_of(trials, record, State::Running, folder.path()));
    let page = folder.path().join(ks_reports::score::SCORE_PAGE);
    let mut live = Live::begin(record, &page, LiveTrials { of, budget: trials.budget, quiet: options.quiet, draw })?;
    let state = trials.run(record, stop, |record, left| live.follow(record, left))?;
    live.end(state)
}
