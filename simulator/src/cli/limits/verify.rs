//! `ks-fleet limits verify`: whether deployed limits meet the objectives of scenarios.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use ks_protocol::number::within;
use ks_reports::{
    run_folder::{Summary, Verdict},
    sweep::Configuration,
};
use ks_server::{
    clock::{Clock, SystemClock},
    config::SETTINGS,
    limit::{Spec, TABLE},
};
use serde::Serialize;

use crate::{
    cli::{
        Options,
        execute::{check_possible, plan, quoted, read},
        interrupt::interruptible,
        output::{complain, say, say_json},
        target::TargetOptions,
    },
    drive::{load::limits_at, rehearse::Signatures, target::Target},
    failure::Failure,
    limits::{checked, decides_refusals, limits_of_environment, with_settings, without_own_limits},
    number::counted,
    run::folder::RunFolder,
    scenario::{Mode, Plan},
    trials::work::{SEED_MAX, rehearse_one},
};

pub(super) const EXAMPLES: &str = "\
Examples:
  ks-fleet limits verify scenarios/flooded-neighbor.toml scenarios/reconnect-storm.toml --env /etc/ks-server/env
  ks-fleet limits verify scenarios/*.toml --env limits.env --trials 3 --signatures modelled --out limits-verified
  ADMIN_TOKEN=... ks-fleet limits verify scenarios/flooded-neighbor.toml --target http://127.0.0.1:3000

Exit codes: 0 every objective was met and every limit of the file fired, 99 one was missed or one never fired, 2 a scenario or the file is invalid, 4 inconclusive.
Settings that contradict each other, of which the server warns, leave the code as it is; with --deny-warnings each is a broken objective (99).";

/// Options of `limits verify`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct VerifyOptions {
    /// The scenarios' TOML files: their expectations are the objectives
    #[arg(required = true)]
    scenarios: Vec<PathBuf>,
    /// The deployed settings: a file of lines NAME=VALUE, of which those that begin with RATE_LIMIT count, and the file that
    /// RATE_LIMITS_FILE names, relative to this one
    #[arg(long, value_name = "FILE", required_unless_present = "target", conflicts_with = "target")]
    env: Option<PathBuf>,
    #[command(flatten)]
    target: TargetOptions,
    /// Settings of which the server would warn are broken objectives
    #[arg(long)]
    deny_warnings: bool,
    /// This limit need not fire: its name as in `GET /api/limits`; may be repeated
    #[arg(long, value_name = "LIMIT")]
    may_stay_silent: Vec<String>,
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

/// The limits that are deployed.
struct DeployedLimits {
    /// Where they were read.
    place: String,
    settings: BTreeMap<String, String>,
}

impl DeployedLimits {
    fn of_file(path: &Path) -> Result<Self, Failure> {
        let text = ks_reports::bounded::read(path, ks_reports::bounded::FILE_BYTES_MAX)
            .map_err(|cause| Failure::File { what: "read", path: path.to_owned(), cause })?;
        let place = path.display().to_string();
        let wrong = |why: String| Failure::BadRequest(format!("{place}: {why}"));
        // A path in the file is relative to the file, wherever this command runs.
        let beside = |named: &str| {
            let named = path.parent().unwrap_or(Path::new("")).join(named);
            let text = ks_reports::bounded::read(&named, ks_reports::bounded::FILE_BYTES_MAX);
            let text = text.map_err(|cause| format!("cannot read {}: {cause}", named.display()))?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        };
        let (settings, others) = limits_of_environment(&String::from_utf8_lossy(&text), beside).map_err(wrong)?;
        let limits = counted(settings.len(), "limit");
        complain(&format!("{limits} of {place} ({others} other settings do not matter)"));
        Ok(Self { place, settings })
    }

    fn of_target(target: Target) -> Result<Self, Failure> {
        let settings = settings_of_target(&target.reached()?)?;
        let place = "the target".to_owned();
        complain(&format!("{} settings of limits that {place} has changed", settings.len()));
        Ok(Self { place, settings })
    }

    /// The limits that these settings name.
    fn limits(&self) -> impl Iterator<Item = &'static Spec> {
        let is_named = |spec: &&Spec| {
            let own = spec.numbers().map(|number| number.setting).chain([spec.mode_setting]);
            own.into_iter().any(|name| self.settings.contains_key(name))
        };
        TABLE.iter().filter(is_named)
    }
}

pub(super) fn run(options: &VerifyOptions, folder: Option<&RunFolder>) -> Result<u8, Failure> {
    let names: Vec<&str> = TABLE.iter().map(|spec| spec.name).collect();
    if let Some(unknown) = options.may_stay_silent.iter().find(|name| !names.contains(&name.as_str())) {
        let why = format!("--may-stay-silent: the server has no limit `{unknown}`; it has {}", names.join(", "));
        return Err(Failure::BadRequest(why));
    }
    let deployed = match (&options.env, options.target.clone().target()?) {
        (Some(path), _) => DeployedLimits::of_file(path)?,
        (None, Some(target)) => DeployedLimits::of_target(target)?,
        (None, None) => return Err(Failure::BadRequest("give --env FILE or --target URL".to_owned())),
    };
    let of_file = |why: String| Failure::BadRequest(format!("{}: {why}", deployed.place));
    options.signatures.choose();
    let (mut plans, mut warned) = (Vec::new(), Vec::new());
    for path in &options.scenarios {
        let Some(plan) = plan(path, &read(path)?, Some(Mode::Rehearse), &Options::default())? else { return Ok(2) };
        let named = |failure: Failure| failure.of_the_request(path.display());
        check_possible(&plan, None).map_err(named)?;
        let (plan, own) = without_own_limits(&plan);
        let left_out: Vec<&str> =
            own.iter().map(String::as_str).filter(|name| !deployed.settings.contains_key(*name)).collect();
        if !left_out.is_empty() {
            let (name, left_out) = (&plan.name, left_out.join(", "));
            complain(&format!(
                "{name} sets {left_out} for its own server; {} does not, so that is left out",
                deployed.place
            ));
        }
        for warning in warnings_unless_refused(&plan, &deployed.settings).map_err(of_file)? {
            complain(&format!("the server warns of these settings, here in {}: {warning}", plan.name));
            warned.push(denied(&plan, warning));
        }
        plans.push((path, with_settings(&plan, &deployed.settings)));
    }
    let stop = interruptible()?;
    let mut objectives = if options.deny_warnings { warned } else { Vec::new() };
    let mut fired = BTreeMap::new();
    for (path, plan) in &plans {
        for round in 0..u64::from(options.trials) {
            let seed = plan.seed.wrapping_add(round) & SEED_MAX;
            let replay = format!("ks-fleet rehearse {} --seed {seed}", quoted(&path.display().to_string()));
            let plan = Plan { seed, ..plan.clone() };
            let Some(summary) = rehearse_one(&plan, replay, true, &stop)? else {
                return Err(Failure::Interrupted("the remaining scenarios were not verified"));
            };
            objectives.extend(objectives_of(&summary));
            for of in &summary.limits {
                *fired.entry(of.name.clone()).or_insert(0_u64) += of.refused + of.would_refuse;
            }
        }
    }
    objectives.extend(silent(&deployed, &fired, &options.may_stay_silent));
    conclude(&objectives, options, folder)
}

/// What the server warns of, as an objective that is missed.
fn denied(plan: &Plan, warning: String) -> Objective {
    Objective {
        scenario: plan.name.clone(),
        seed: 0,
        objective: "the server warns of nothing".to_owned(),
        verdict: Verdict::Fail,
        why: warning,
    }
}

/// Every limit that is deployed must fire in one of the scenarios: one that never does was never tried.
fn silent(deployed: &DeployedLimits, fired: &BTreeMap<String, u64>, may_stay: &[String]) -> Vec<Objective> {
    let is_off = |spec: &Spec| deployed.settings.get(spec.mode_setting).is_some_and(|mode| mode == "off");
    let wanted = deployed.limits().filter(|spec| !is_off(spec) && !may_stay.iter().any(|name| name == spec.name));
    let objective = |spec: &Spec| {
        let count = fired.get(spec.name).copied().unwrap_or(0);
        let why = format!("no scenario reaches it: add one that does, or --may-stay-silent {}", spec.name);
        Objective {
            scenario: "all scenarios".to_owned(),
            seed: 0,
            objective: format!("the limit {} fires", spec.name),
            verdict: if count > 0 { Verdict::Pass } else { Verdict::Fail },
            why: if count > 0 { String::new() } else { why },
        }
    };
    wanted.map(objective).collect()
}

/// The settings that are in force at a server, without those that nobody has changed.
fn settings_of_target(target: &Target) -> Result<BTreeMap<String, String>, Failure> {
    let url = target.url.clone();
    let observed = actix::System::new()
        .block_on(limits_at(target))
        .map_err(|error| Failure::Target { target: url.clone(), why: format!("its limits can't be read: {error}") })?;
    let mut settings = BTreeMap::new();
    for (name, value) in observed.settings {
        // What nobody has changed leaves a scenario the store that it models.
        let is_changed = SETTINGS.iter().any(|of| of.name == name && of.default != value.to_string());
        if is_changed && decides_refusals(&name) {
            settings.insert(name, value.to_string());
        }
    }
    for of in observed.limits {
        let Some(spec) = TABLE.iter().find(|spec| spec.name == of.name) else {
            let why = format!("it has a limit {} that this program does not know", of.name);
            return Err(Failure::NotOurs { target: url, why });
        };
        if of.source == "default" {
            continue; // nobody has chosen it, so no scenario has to reach it
        }
        let rate = of.per_min.or(of.per_day);
        let numbers = [(Some(spec.rate.setting), rate), (spec.burst.map(|burst| burst.setting), of.burst)];
        for (name, value) in numbers {
            if let (Some(name), Some(value)) = (name, value) {
                settings.insert(name.to_owned(), value.to_string());
            }
        }
        settings.insert(spec.mode_setting.to_owned(), of.mode);
    }
    Ok(settings)
}

/// What the server would warn of; the settings of the scenario alone it would not warn of.
///
/// # Errors
/// It would refuse the settings.
fn warnings_unless_refused(plan: &Plan, settings: &BTreeMap<String, String>) -> Result<Vec<String>, String> {
    let deployed =
        Configuration { name: String::new(), settings: settings.clone(), refused: None, warnings: Vec::new() };
    let of_server = checked(plan, vec![deployed]);
    match of_server.iter().find_map(|of| of.refused.clone()) {
        Some(why) => Err(format!("the server refuses these settings: {why}")),
        None => Ok(of_server.into_iter().flat_map(|of| of.warnings).collect()),
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
    let case = |of: &Objective| {
        let name = format!("{}, seed {}: {}", of.scenario, of.seed, of.objective);
        ks_reports::JudgedCase::timeless(name, of.verdict, of.why.clone())
    };
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
            let seed = if of.seed == 0 { String::new() } else { format!(", seed {}", of.seed) };
            format!("{}  {}{seed}: {}{why}", word(of), of.scenario, of.objective)
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
