//! `ks-fleet limits verify`: whether deployed limits meet the objectives of scenarios.

use std::{collections::BTreeMap, path::PathBuf};

use ks_protocol::number::within;
use ks_reports::{
    run_folder::{Summary, Verdict},
    sweep::Configuration,
};
use ks_server::clock::{Clock, SystemClock};
use serde::Serialize;

use crate::{
    cli::{
        Options,
        execute::{check_possible, plan, quoted, read},
        interrupt::interruptible,
        output::{complain, say, say_json},
    },
    drive::rehearse::Signatures,
    failure::Failure,
    folder::RunFolder,
    limits::{checked, limits_of_environment, with_settings},
    scenario::{Mode, Plan},
    trials::work::{SEED_MAX, rehearse_one},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  ks-fleet limits verify scenarios/flooded-neighbor.toml scenarios/reconnect-storm.toml --env /etc/ks-server/env
  ks-fleet limits verify scenarios/*.toml --env limits.env --trials 3 --signatures modelled --out limits-verified

Exit codes: 0 every objective was kept, 99 one was broken, 2 a scenario or the file is invalid, 4 inconclusive.";

/// Options of `limits verify`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct VerifyOptions {
    /// The scenarios' TOML files: their expectations are the objectives
    #[arg(required = true)]
    scenarios: Vec<PathBuf>,
    /// The deployed settings: a file of lines NAME=VALUE, of which those that begin with RATE_LIMIT count
    #[arg(long, value_name = "FILE")]
    env: PathBuf,
    /// Rehearse each scenario with this many seeds
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = within(1..=1_000_u32))]
    trials: u32,
    /// How documents are signed: `modelled` is a keyed hash, several times as fast
    #[arg(long, value_enum, default_value = "real")]
    signatures: Signatures,
    /// Folder of the results: junit.xml [default: none]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the results as JSON to standard output
    #[arg(long)]
    json: bool,
}

impl VerifyOptions {
    /// The file that the results are named after.
    pub(super) fn named(&self) -> PathBuf {
        self.scenarios.first().cloned().unwrap_or_default()
    }

    pub(super) fn out(&self) -> Option<PathBuf> {
        self.out.clone()
    }
}

/// One objective of a scenario with one seed.
#[derive(Debug, Serialize)]
struct Objective {
    scenario: String,
    seed: u64,
    objective: String,
    verdict: Verdict,
    /// Why it was not kept.
    why: String,
}

pub(super) fn run(options: &VerifyOptions, folder: Option<&RunFolder>) -> Result<u8, Failure> {
    let text = ks_reports::bounded::read(&options.env, ks_reports::bounded::FILE_BYTES_MAX)
        .map_err(|cause| Failure::File { what: "read", path: options.env.clone(), cause })?;
    let of_file = |why: String| Failure::BadRequest(format!("{}: {why}", options.env.display()));
    let (settings, others) = limits_of_environment(&String::from_utf8_lossy(&text)).map_err(of_file)?;
    options.signatures.choose();
    let mut plans = Vec::new();
    for path in &options.scenarios {
        let Some(plan) = plan(path, &read(path)?, Some(Mode::Rehearse), &Options::default())? else { return Ok(2) };
        let named = |failure: Failure| Failure::BadRequest(format!("{}: {failure}", path.display()));
        check_possible(&plan, None).map_err(named)?;
        refuse_unless_sound(&plan, &settings).map_err(of_file)?;
        plans.push((path, with_settings(&plan, &settings)));
    }
    let count = settings.len();
    complain(&format!("{count} limits of {} ({others} other settings do not matter)", options.env.display()));
    let stop = interruptible()?;
    let mut objectives = Vec::new();
    for (path, plan) in &plans {
        for round in 0..u64::from(options.trials) {
            let seed = plan.seed.wrapping_add(round) & SEED_MAX;
            let replay = format!("ks-fleet rehearse {} --seed {seed}", quoted(&path.display().to_string()));
            let plan = Plan { seed, ..plan.clone() };
            let Some(summary) = rehearse_one(&plan, replay, true, &stop)? else {
                return Err(Failure::Interrupted("the remaining scenarios were not verified"));
            };
            objectives.extend(objectives_of(&summary));
        }
    }
    conclude(&objectives, options, folder)
}

/// Refuses settings that the server would refuse.
fn refuse_unless_sound(plan: &Plan, settings: &BTreeMap<String, String>) -> Result<(), String> {
    let deployed =
        Configuration { name: String::new(), settings: settings.clone(), refused: None, warnings: Vec::new() };
    match checked(plan, vec![deployed]).into_iter().find_map(|of| of.refused) {
        Some(why) => Err(format!("the server refuses these settings: {why}")),
        None => Ok(()),
    }
}

/// Every expectation, and the run as a whole.
fn objectives_of(summary: &Summary) -> Vec<Objective> {
    let objective = |objective: String, verdict, why: String| Objective {
        scenario: summary.scenario.clone(),
        seed: summary.seed,
        objective,
        verdict,
        why,
    };
    let mut all: Vec<Objective> = summary
        .expectations
        .iter()
        .map(|of| {
            let found = of.actual.map_or_else(|| "nothing was measured".to_owned(), |actual| format!("it is {actual}"));
            let verdict = if of.pass { Verdict::Pass } else { Verdict::Fail };
            objective(format!("{} {}", of.name, of.bound), verdict, if of.pass { String::new() } else { found })
        })
        .collect();
    let others = summary.verdict != Verdict::Pass && all.iter().all(|of| of.verdict == Verdict::Pass);
    let verdict = if others { summary.verdict } else { Verdict::Pass };
    let why = if others { summary.reasons.join("; ") } else { String::new() };
    all.push(objective("the run as a whole".to_owned(), verdict, why));
    all
}

/// Prints and writes the results; returns the exit code.
fn conclude(objectives: &[Objective], options: &VerifyOptions, folder: Option<&RunFolder>) -> Result<u8, Failure> {
    let case =
        |of: &Objective| (format!("{}, seed {}: {}", of.scenario, of.seed, of.objective), of.verdict, of.why.clone());
    if let Some(folder) = folder {
        let cases: Vec<_> = objectives.iter().map(case).collect();
        ks_reports::write_trials(folder.path(), "limits", &SystemClock.now().to_string(), &cases)?;
    }
    if options.json {
        say_json(&objectives, true)?;
    } else {
        let word = |of: &Objective| match of.verdict {
            Verdict::Pass => "kept  ".to_owned(),
            Verdict::Fail => "BROKEN".to_owned(),
            Verdict::Inconclusive => "open  ".to_owned(),
        };
        let line = |of: &Objective| {
            let why = if of.why.is_empty() { String::new() } else { format!(": {}", of.why) };
            format!("{}  {}, seed {}: {}{why}", word(of), of.scenario, of.seed, of.objective)
        };
        say(&objectives.iter().map(line).collect::<Vec<_>>().join("\n"))?;
    }
    let has = |verdict: Verdict| objectives.iter().filter(|of| of.verdict == verdict).count();
    let (broken, open) = (has(Verdict::Fail), has(Verdict::Inconclusive));
    complain(&format!("{} of {} objectives kept, {broken} broken, {open} open", has(Verdict::Pass), objectives.len()));
    Ok(match (broken, open) {
        (0, 0) => 0,
        (0, _) => 4,
        _ => 99,
    })
}
