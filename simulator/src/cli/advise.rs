//! `ks-fleet advise`: policies that find a bug, calculated and then rehearsed.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ks_protocol::{duration, number::within};
use ks_reports::{
    run_folder::Verdict,
    score::{State, read_score, read_trials},
};
use ks_server::{
    clock::{Clock, SystemClock},
    rollout::policy::WHOLE_BP,
};

use super::{
    Mode, Options,
    execute::{plan, read},
    say, say_json,
    trials::{TrialOptions, check_and_run, rate_bp},
};
use crate::{
    advise::{ADVICE, ADVICE_TEXT, Advice, Advised, Group, NoAdvice, Question, Rehearsed, advise},
    cli::complain,
    drive::rehearse::Signatures,
    failure::Failure,
    folder::RunFolder,
    scenario::{Fault, Plan},
    trials::{fail_only_on, first_rollout},
};

/// Longest time in which a bug is to be found, and longest budget.
const WITHIN_MAX: Duration = Duration::from_hours(90 * 24);
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
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = within(0..=100_000_u32))]
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
    fn question(&self, plan: &Plan) -> Result<Question, Failure> {
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
        Ok(Question {
            detect_bp: within("--detect", self.detect, 1, WHOLE_BP)?,
            group,
            with_bp: within("--with", self.with, 100, WHOLE_BP - 1)?,
            within: self.within,
            false_alarms_bp: within("--false-alarms", self.false_alarms, 1, 5_000)?,
        })
    }
}

/// The devices that the firmware of the scenario's first rollout breaks.
fn broken_by_scenario(plan: &Plan) -> Result<Group, Failure> {
    let refused =
        |why: String| Err(Failure::BadRequest(format!("{why}; name the devices with --of-model or --of-site")));
    let version = first_rollout(plan).map_or("", |(.., version)| version);
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
    let text = read(path)?;
    let Some(mut plan) = plan(path, &text, Some(Mode::Rehearse), &options)? else { return Ok(2) };
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
    let policies = write(folder.path(), &advice)?;
    let is_json = options.json;
    if asked.trials == 0 {
        conclude(folder, &name, Verdict::Pass, "")?;
        show(&advice, folder.path(), is_json)?;
        return Ok(0);
    }
    if !options.quiet {
        complain(&format!("{}\n\nrehearsing these policies:", advice.text()));
    }
    options.duration = Some(lasts_at_least(&plan, &advice));
    let rates = (vec![0, question.detect_bp], &question.group);
    let trials = TrialOptions::of(asked.trials, policies, rates, asked.budget);
    let mut requested = trials.requested(Some(path), Some(asked.signatures), options)?;
    requested.is_printed = false;
    let code = check_and_run(requested, Some(folder))?;
    let (score, trials) = (read_score(folder.path())?, read_trials(folder.path())?);
    advice.rehearsed = Some(Rehearsed::of(&advice, &score, &trials));
    write(folder.path(), &advice)?;
    show(&advice, folder.path(), is_json)?;
    // Fewer trials than wanted are an answer too, which says how many; those that a person ended are not.
    Ok(if code == 4 && score.state == State::OutOfTime { 0 } else { code })
}

fn show(advice: &Advice, folder: &Path, is_json: bool) -> Result<(), Failure> {
    if is_json {
        say_json(advice, true)?;
    } else {
        say(&advice.text())?;
    }
    complain(&format!("policies and advice: {}", folder.display()));
    Ok(())
}

/// Writes the verdict of advice without trials.
fn conclude(folder: &RunFolder, name: &str, verdict: Verdict, why: &str) -> Result<(), Failure> {
    let case = ("a policy finds the bug".to_owned(), verdict, why.to_owned());
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
    let needed = advice.starts_at + Duration::from_secs(longest) + SLACK;
    let hours = needed.as_secs().div_ceil(3_600);
    plan.duration.max(Duration::from_secs(hours * 3_600))
}

/// Writes the advice, and each policy into a file of its own; returns the policies' paths.
fn write(folder: &Path, advice: &Advice) -> Result<Vec<PathBuf>, Failure> {
    let put = |name: &str, text: String| {
        let path = folder.join(name);
        let cannot = |cause| Failure::File { what: "write", path: path.clone(), cause };
        std::fs::write(&path, text).map_err(cannot).map(|()| path)
    };
    put(ADVICE, serde_json::to_string_pretty(advice).unwrap_or_default())?; // text and numbers always serialize
    put(ADVICE_TEXT, advice.text() + "\n")?;
    let policy = |of: &Advised| {
        let table = toml::to_string(&of.policy).unwrap_or_default(); // it was made of numbers and names
        put(&format!("{}.toml", of.name), format!("# {}\n\n{table}", of.sentence()))
    };
    advice.policies.iter().map(policy).collect()
}
