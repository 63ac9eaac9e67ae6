//! `ks-fleet advise`: policies that find a bug, calculated and then rehearsed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ks_protocol::{duration, number::within};
use ks_reports::{
    Artifacts, ReportError,
    advice::{ADVICE, ADVICE_PAGE, Commands, Rehearsed, draw_advice, read_advice, write_advice},
    run_folder::Verdict,
    score::{State, read_score, read_trials},
};
use ks_server::{
    clock::{Clock, SystemClock},
    rollout::policy::{Policy, WHOLE_BP},
};

use super::{
    Mode, Options,
    execute::{plan, quoted, read, replay_command},
    say, say_json,
    trials::{TrialOptions, check_and_run, rate_bp},
};
use crate::{
    advise::{ADVICE_TEXT, Advice, AdvisedPolicy, BugToFind, Group, NoAdvice, advise, sentence, text},
    cli::complain,
    drive::rehearse::Signatures,
    failure::{Failure, REHEARSE},
    run::folder::RunFolder,
    scenario::{Fault, Plan},
    trials::{fail_only_on, first_rollout},
};

/// Longest time in which a bug is to be found, and longest budget.
const WITHIN_MAX: Duration = Duration::from_hours(90 * 24);
/// Seeds that each policy is rehearsed with.
const TRIALS_DEFAULT: u32 = 20;
/// Time of a rehearsal after the end of the slowest rollout.
const SLACK: Duration = Duration::from_hours(2);

/// Options of `advise`.
#[derive(Debug, clap::Args)]
pub(super) struct AdviseOptions {
    /// The bug to find: the percentage of the devices that it breaks
    #[arg(long, value_name = "RATE", value_parser = rate_bp)]
    detect: u16,
    /// Only devices of this model can have the bug
    #[arg(long, value_name = "MODEL", conflicts_with = "of_site")]
    of_model: Option<String>,
    /// Only devices at this site can have the bug
    #[arg(long, value_name = "SITE")]
    of_site: Option<String>,
    /// The chance to find it
    #[arg(long, value_name = "CHANCE", default_value = "95%", value_parser = rate_bp)]
    with: u16,
    /// How long after the rollout's start it must be found
    #[arg(long = "in", value_name = "D", default_value = "48h", value_parser = duration::within(Duration::from_mins(1)..=WITHIN_MAX))]
    within: Duration,
    /// The share of good releases that may be stopped by mistake
    #[arg(long, value_name = "SHARE", default_value = "5%", value_parser = rate_bp)]
    false_alarms: u16,
    /// Rehearse each policy with this many seeds, with the bug and without it; 0: calculate only
    #[arg(long, value_name = "N", default_value_t = TRIALS_DEFAULT, value_parser = within(0..=100_000_u32))]
    trials: u32,
    /// Start no rehearsal after this much real time
    #[arg(long, value_name = "D", default_value = "10m", value_parser = duration::within(Duration::from_secs(1)..=WITHIN_MAX))]
    budget: Duration,
    /// How documents are signed in rehearsals
    #[arg(long, value_enum, default_value = "modelled")]
    signatures: Signatures,
}

impl AdviseOptions {
    /// Without a model or site, the bug is on those devices that the scenario's firmware breaks.
    fn question(&self, plan: &Plan) -> Result<BugToFind, Failure> {
        let within = |flag: &str, value_bp: u16, least: u16, most: u16| match value_bp {
            _ if (least..=most).contains(&value_bp) => Ok(value_bp),
            _ => Err(Failure::BadRequest(format!(
                "{flag} is {} %: expected {} to {} %",
                f64::from(value_bp) / 100.0,
                f64::from(least) / 100.0,
                f64::from(most) / 100.0
            ))),
        };
        let group = match (&self.of_model, &self.of_site) {
            (Some(model), _) => Group::Model(model.clone()),
            (_, Some(site)) => Group::Site(site.clone()),
            _ => broken_by_scenario(plan)?,
        };
        Ok(BugToFind {
            detect_bp: within("--detect", self.detect, 1, WHOLE_BP)?,
            group,
            with_bp: within("--with", self.with, 100, WHOLE_BP - 1)?,
            within_s: self.within.as_secs(),
            false_alarms_bp: within("--false-alarms", self.false_alarms, 1, 5_000)?,
        })
    }

    /// The commands that repeat the advice, and that rehearse its policies with the bug in this group, for as long.
    fn commands(
        &self,
        path: &Path,
        options: &Options,
        (group, lasts): (&Group, Duration),
        folder: &Path,
        advice: &Advice,
    ) -> Commands {
        let percent = |bp: u16| format!("{}", f64::from(bp) / 100.0);
        let (model, site) = group.names();
        let of_group = |model_flag: &str, site_flag: &str| {
            let flag = |flag: &str, name: &str| format!(" {flag} {}", quoted(name));
            model.map(|name| flag(model_flag, name)).or_else(|| site.map(|name| flag(site_flag, name)))
        };
        let seed = options.seed.map(|seed| format!(" --seed {seed}")).unwrap_or_default();
        let advise = format!(
            "{}{seed}{} --detect {}% --with {}% --in {} --false-alarms {}% --trials {}",
            replay_command(path, Mode::Rehearse, options, None).replacen(" rehearse ", " advise ", 1),
            of_group("--of-model", "--of-site").unwrap_or_default(),
            percent(self.detect),
            percent(self.with),
            duration::format(self.within),
            percent(self.false_alarms),
            self.trials,
        );
        let long = Options { duration: Some(lasts), devices: options.devices, ..Options::default() };
        let long = Options { id_prefix: options.id_prefix.clone(), ..long };
        let bug = of_group("--bug-model", "--bug-site").unwrap_or_default();
        let signatures = format!(" --signatures {}", self.signatures.as_str());
        let rehearse = format!("{}{signatures}{seed}{bug}", replay_command(path, Mode::Rehearse, &long, None));
        let policy =
            |of: &AdvisedPolicy| format!(" --policy {}", quoted(&policy_path(folder, of).display().to_string()));
        let once =
            |of: &AdvisedPolicy| format!("{rehearse}{} --bug-rates {} --trials 1", policy(of), percent(self.detect));
        let all: String = advice.policies.iter().map(policy).collect();
        let trials = if self.trials == 0 { TRIALS_DEFAULT } else { self.trials };
        Commands {
            advise,
            rehearse: advice.policies.iter().map(once).collect(),
            score: format!("{rehearse}{all} --bug-rates 0,{} --trials {trials}", percent(self.detect)),
        }
    }
}

/// The devices that the firmware of the scenario's first rollout breaks.
fn broken_by_scenario(plan: &Plan) -> Result<Group, Failure> {
    let refused =
        |why: String| Err(Failure::BadRequest(format!("{why}; name the devices with --of-model or --of-site")));
    let version = first_rollout(plan).map_or("", |(_, start)| start.firmware.as_str());
    let firmware = plan.firmware.iter().find(|firmware| firmware.version == version);
    match firmware.map_or(&[] as &[Fault], |firmware| firmware.faults.as_slice()) {
        [] => Ok(Group::Fleet),
        [Fault { scope, .. }] => match (&scope.only_model, &scope.only_site) {
            (None, None) => Ok(Group::Fleet),
            (Some(model), None) => Ok(Group::Model(model.clone())),
            (None, Some(site)) => Ok(Group::Site(site.clone())),
            (Some(model), Some(site)) => refused(format!("firmware {version} breaks devices of {model} at {site}")),
        },
        faults => refused(format!("firmware {version} has {} faults", faults.len())),
    }
}

/// Advises and rehearses; returns the exit code: 4 if no policy finds the bug.
pub(super) fn run(
    path: &Path,
    asked: &AdviseOptions,
    mut options: Options,
    folder: Option<&RunFolder>,
) -> Result<u8, Failure> {
    if options.events.is_some() {
        return Err(Failure::BadRequest("trials keep no event log; omit --events".to_owned()));
    }
    let Some(mut plan) = plan(path, &read(path)?, Some(Mode::Rehearse), &options)? else { return Ok(2) };
    let question = asked.question(&plan)?;
    let (model, site) = question.group.names();
    fail_only_on(&mut plan, model, site)?;
    let name = format!("{}-advice", plan.name);
    let mut advice = match advise(&plan, &question) {
        Ok(advice) => advice,
        Err(NoAdvice::Impossible(why)) => return Err(Failure::BadRequest(why)),
        Err(NoAdvice::NoPolicy { why, help }) => {
            if let Some(folder) = folder {
                conclude(folder, &name, Verdict::Inconclusive, &why)?;
            }
            return no_policy(&why, &help, options.json).map(|()| 4);
        }
    };
    let mut new = None;
    let folder = RunFolder::requested_or_new(folder, &mut new, &name, SystemClock.now())?;
    let (is_json, artifacts) = (options.json, options.artifacts());
    let lasts = lasts_at_least(&plan, &advice);
    advice.commands = asked.commands(path, &options, (&question.group, lasts), folder.path(), &advice);
    let policies = write(folder.path(), &advice, artifacts)?;
    if asked.trials == 0 {
        conclude(folder, &name, Verdict::Pass, "")?;
        show(&advice, folder.path(), is_json)?;
        return Ok(0);
    }
    if !options.quiet {
        complain(&format!("{}\n\nrehearsing these policies:", text(&advice)));
    }
    options.duration = Some(lasts);
    let rates = (vec![0, question.detect_bp], &question.group);
    let trials = TrialOptions::of(asked.trials, policies, rates, asked.budget);
    let mut requested = trials.requested(Some(path), Some(asked.signatures), options)?;
    requested.is_printed = false;
    let code = check_and_run(requested, Some(folder))?;
    let state = add_trials(folder.path(), &mut advice, artifacts)?;
    show(&advice, folder.path(), is_json)?;
    // Fewer trials than wanted are an answer too, which says how many; those that a person ended are not.
    Ok(if code == 4 && state == State::OutOfTime { 0 } else { code })
}

fn show(advice: &Advice, folder: &Path, is_json: bool) -> Result<(), Failure> {
    if is_json {
        say_json(advice, true)?;
    } else {
        say(&text(advice))?;
    }
    complain(&format!("policies and advice: {}\nreport: {}", folder.display(), folder.join(ADVICE_PAGE).display()));
    Ok(())
}

/// Adds what the trials of a folder showed to its advice; returns how they ended.
fn add_trials(folder: &Path, advice: &mut Advice, artifacts: Artifacts) -> Result<State, Failure> {
    let (score, trials) = (read_score(folder)?, read_trials(folder)?);
    advice.rehearsed = Some(Rehearsed::of(advice, &score, &trials));
    write_answer(folder, advice, artifacts).map(|()| score.state)
}

/// The advice in the folder of trials that are continued; none if they are of no advice.
pub(super) fn of_folder(folder: &Path) -> Result<Option<Advice>, Failure> {
    if !folder.join(ADVICE).exists() {
        return Ok(None);
    }
    let damaged =
        |error: ReportError| Failure::NotResumable { by: REHEARSE, path: folder.to_owned(), why: error.to_string() };
    read_advice(folder).map(Some).map_err(damaged)
}

/// Removes the text and the page of advice whose numbers are gone: trials that were continued would not show in them.
pub(super) fn remove_outdated(folder: &Path, is_quiet: bool) -> Result<(), Failure> {
    for name in [ADVICE_TEXT, ADVICE_PAGE] {
        let path = folder.join(name);
        match std::fs::remove_file(&path) {
            Ok(()) if is_quiet => {}
            Ok(()) => complain(&format!(
                "{} was removed: without {ADVICE} the results of these trials can't be added to it",
                path.display()
            )),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => {}
            Err(cause) => return Err(Failure::File { what: "remove", path, cause }),
        }
    }
    Ok(())
}

/// Adds what the trials that were continued showed to the advice that they are of.
pub(super) fn complete(folder: &Path, mut advice: Advice, options: &Options) -> Result<(), Failure> {
    add_trials(folder, &mut advice, options.artifacts())?;
    if !options.quiet {
        complain(&format!("advice: {}", folder.join(ADVICE_PAGE).display()));
    }
    Ok(())
}

/// Writes the verdict of advice without trials.
fn conclude(folder: &RunFolder, name: &str, verdict: Verdict, why: &str) -> Result<(), Failure> {
    let case = ks_reports::JudgedCase::timeless("a policy finds the bug".to_owned(), verdict, why.to_owned());
    ks_reports::write_trials(folder.path(), name, &SystemClock.now().to_string(), &[case])?;
    Ok(())
}

/// Says why no policy finds the bug, and what would be possible.
fn no_policy(why: &str, help: &str, is_json: bool) -> Result<(), Failure> {
    if is_json {
        say_json(&serde_json::json!({ "policies": [], "why": why, "help": help }), true)?;
    }
    complain(&format!("no policy finds it: {why}\n  help: {help}"));
    Ok(())
}

/// The duration of a rehearsal that sees the slowest rollout end.
fn lasts_at_least(plan: &Plan, advice: &Advice) -> Duration {
    let longest = advice.policies.iter().map(|of| of.duration_s).max().unwrap_or(0);
    let starts_at = first_rollout(plan).map_or(Duration::ZERO, |(at, _)| at);
    let needed = starts_at + Duration::from_secs(longest) + SLACK;
    let hours = needed.as_secs().div_ceil(3_600);
    plan.duration.max(Duration::from_secs(hours * 3_600))
}

/// Writes the advice, and each policy into a file of its own; returns the policies' paths.
fn write(folder: &Path, advice: &Advice, artifacts: Artifacts) -> Result<Vec<PathBuf>, Failure> {
    write_answer(folder, advice, artifacts)?;
    let policy = |of: &AdvisedPolicy| {
        put(policy_path(folder, of), &format!("# {}\n\n{}", sentence(of), policy_text(&of.policy)))
    };
    advice.policies.iter().map(policy).collect()
}

/// A policy as a file, whose lines are also those of a `[[policy]]` in a scenario: no table of its own, stages and gates first.
fn policy_text(policy: &Policy) -> String {
    let Ok(table) = toml::Table::try_from(policy) else { return String::new() }; // it was made of numbers and names
    let line = |(key, value): (&String, &toml::Value)| match value {
        toml::Value::Array(items) => {
            let items = items.iter().map(|item| format!("    {item},\n")).collect::<Vec<_>>().concat();
            format!("{key} = [\n{items}]\n")
        }
        value => format!("{key} = {value}\n"),
    };
    let (lists, others): (Vec<_>, Vec<_>) = table.iter().partition(|(_, value)| value.is_array());
    lists.into_iter().rev().chain(others).map(line).collect()
}

/// Writes the advice as numbers, as text and as a page.
fn write_answer(folder: &Path, advice: &Advice, artifacts: Artifacts) -> Result<(), Failure> {
    write_advice(folder, advice)?;
    put(folder.join(ADVICE_TEXT), &(text(advice) + "\n"))?;
    draw_advice(folder, artifacts)?;
    Ok(())
}

fn policy_path(folder: &Path, of: &AdvisedPolicy) -> PathBuf {
    folder.join(format!("{}.toml", of.name))
}

fn put(path: PathBuf, text: &str) -> Result<PathBuf, Failure> {
    match std::fs::write(&path, text) {
        Ok(()) => Ok(path),
        Err(cause) => Err(Failure::File { what: "write", path, cause }),
    }
}
