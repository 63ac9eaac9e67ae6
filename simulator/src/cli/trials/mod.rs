//! `ks-fleet rehearse --trials`: many seeds, several policies, several rates of bugs; the table, the page, the verdict.

mod request;
mod results;

use std::{
    io::IsTerminal,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use ks_reports::score::{Score, State};
use ks_server::clock::{Clock, SystemClock};

pub(super) use request::{Requested, TrialOptions, rate_bp};
use results::{LivePage, conclude, score_of};

use super::{
    Options, advise, complain,
    execute::{check_possible, plan, quoted, replay_command},
    interrupt::interruptible,
};
use crate::{
    console::{grouped, span},
    failure::Failure,
    folder::RunFolder,
    resources::Stopwatch,
    scenario::{Mode, Plan},
    trials::{Record, Trials, fail_only_on, use_policy},
};

/// Seconds between two lines of progress on a terminal, and elsewhere.
const SHOWN_EVERY_S: (u64, u64) = (1, 10);

/// Checks a scenario and runs its trials; returns the exit code.
pub(super) fn check_and_run(requested: Requested, folder: Option<&RunFolder>) -> Result<u8, Failure> {
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
        check_possible(&plan, None).map_err(|failure| Failure::BadRequest(format!("policy `{name}`: {failure}")))?;
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
    requested: Requested,
    folder: Option<&RunFolder>,
    stop: &Arc<AtomicBool>,
) -> Result<u8, Failure> {
    let Requested { request, policies, budget, resumed, options, is_printed, .. } = requested;
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
        let total = u64::from(count) * u64::try_from(trials.asked().cells).unwrap_or(u64::MAX);
        if record.end() > total {
            let why = format!("it has trials beyond the first {count} seeds; omit --trials, or give a greater number");
            return Err(Failure::NotResumable { path: path.clone(), why });
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
        Some(advice) => advise::complete(folder.path(), advice, options.quiet)?,
        None if resumed.is_some() => advise::remove_outdated(folder.path(), options.quiet)?,
        None => {}
    }
    Ok(code)
}

/// Makes the trials that are missing, shows progress, and keeps the page up to date.
fn make(
    trials: &Trials<'_>,
    record: &mut Record,
    folder: &RunFolder,
    options: &Options,
    stop: &Arc<AtomicBool>,
) -> Result<State, Failure> {
    let score = |record: &Record| -> Score { score_of(trials, record, State::Running, folder.path()) };
    let mut page = LivePage::begin(folder.path(), &score(record))?;
    if !options.quiet {
        let page = folder.path().join(ks_reports::score::SCORE_PAGE);
        complain(&format!("{} trials made; results so far: {}", grouped(record.count()), page.display()));
    }
    let (stopwatch, mut shown_s) = (Stopwatch::started(), 0);
    let every_s = if std::io::stderr().is_terminal() { SHOWN_EVERY_S.0 } else { SHOWN_EVERY_S.1 };
    let mut undrawn = None;
    let state = trials.run(record, stop, |record, left| {
        if page.is_due() {
            undrawn = page.draw(&score(record)).err();
        }
        let elapsed = stopwatch.elapsed();
        let is_last = left == Some(Duration::ZERO);
        if !options.quiet && (elapsed.as_secs() >= shown_s + every_s || is_last) {
            shown_s = elapsed.as_secs();
            complain(&progress(trials, record, elapsed, left));
        }
    })?;
    match undrawn {
        Some(error) => Err(error.into()),
        None => Ok(state),
    }
}

/// `12 min 5 s | 137 of 450 trials | about 26 min 10 s left`.
fn progress(trials: &Trials<'_>, record: &Record, elapsed: Duration, left: Option<Duration>) -> String {
    let asked = trials.asked();
    let of = u64::try_from(asked.cells.saturating_mul(asked.trials_per_cell)).unwrap_or(u64::MAX);
    let left = match (left, trials.budget.map(|budget| budget.saturating_sub(elapsed))) {
        (Some(left), Some(budget)) if left > budget => {
            format!(" | about {} needed, the budget ends in {}", span(left.as_secs_f64()), span(budget.as_secs_f64()))
        }
        (Some(left), _) => format!(" | about {} left", span(left.as_secs_f64())),
        (None, _) => String::new(),
    };
    format!("{} | {} of {} trials{left}", span(elapsed.as_secs_f64()), grouped(record.count()), grouped(of))
}
