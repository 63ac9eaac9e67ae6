//! `ks-fleet limits sweep`: the flags, the trials, the results.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ks_protocol::{duration, number::within};
use ks_reports::{
    Artifacts,
    run_folder::Verdict,
    score::State,
    sweep::{SWEEP_PAGE, Sweep, SweepSetup, SweepTrial, VariedSetting, draw_sweep, made, table, write_sweep},
};
use ks_server::clock::{Clock, SystemClock, ms};

use super::confirm::confirm;
use crate::{
    cli::{
        Options,
        execute::{check_possible, plan, quoted, read, replay_command},
        interrupt::interruptible,
        live::{Live, LiveTrials},
        output::{complain, say, say_json},
        trials::BUDGET_MAX,
        values,
    },
    drive::rehearse::Signatures,
    failure::{Failure, LIMITS_SWEEP},
    limits::{LimitSweep, SweepRequest, checked, grid, known_cohorts, of_folder, varied},
    run::folder::RunFolder,
    scenario::{Mode, Plan},
    trials::{Record, Request, Source, TRIALS},
};

/// Trials of each configuration.
const TRIALS_DEFAULT: u32 = 3;
/// About how many configurations a grid has without `--steps`.
const GRID: f64 = 100.0;
/// Most values of a range without `--steps`.
const STEPS_DEFAULT: usize = 10;

pub(super) const EXAMPLES: &str = "\
Examples:
  ks-fleet limits sweep scenarios/flooded-neighbor.toml --vary RATE_LIMIT_DEVICE_PER_MIN=6..240
  ks-fleet limits sweep s.toml --vary RATE_LIMIT_DEVICE_PER_MIN=2..240 --vary RATE_LIMIT_DEVICE_BURST=5,20,60 --steps 6
  ks-fleet limits sweep scenarios/second-wave.toml --vary 'cohort.field.retry=jitter:1s..120s'   the smallest jitter that will do
  ks-fleet limits sweep s.toml --configs candidates/ --trials 10 --budget 20m    a file NAME.env for each configuration
  ks-fleet limits sweep s.toml --vary RATE_LIMIT_DEVICE_BURST=1..100 --confirm=2m  the winner under load, over sockets
  ks-fleet limits sweep --resume reports/runs/s-limits-20260101000000             the trials it lacks

Exit codes: 0 a configuration is recommended, 99 each missed what the scenario expects or an invariant was violated, 4 trials are missing, or
showed too little to recommend one, 2 something that was given is invalid; with --confirm, those of the confirmation.";

/// How long the recommended configuration runs under load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Confirmation {
    AsScenario,
    For(Duration),
}

fn confirmation(text: &str) -> Result<Confirmation, String> {
    if text == "scenario" { Ok(Confirmation::AsScenario) } else { values::duration(text).map(Confirmation::For) }
}

/// Options of `limits sweep`.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct SweepOptions {
    /// The scenario's TOML file: the traffic
    #[arg(required_unless_present = "resume")]
    scenario: Option<PathBuf>,
    /// Try these values of a setting: NAME=FROM..TO, whose values grow by the same factor, or NAME=A,B,C; several make a grid.
    /// Or how a cohort of the scenario reacts to refusals: cohort.NAME.retry=jitter:1s..120s
    #[arg(long, value_name = "NAME=VALUES", conflicts_with = "configs")]
    vary: Vec<String>,
    /// Values of each range [default: 10; fewer if three or more settings are varied]
    #[arg(long, value_name = "N", value_parser = within(2..=100_u32))]
    steps: Option<u32>,
    /// Try each .env file of this folder: lines NAME=VALUE, also cohort.NAME.retry=jitter:30s
    #[arg(long, value_name = "DIR")]
    configs: Option<PathBuf>,
    /// Trials of each configuration, each with its own seed; every configuration gets the same seeds [default: 3]
    #[arg(long, value_name = "N", value_parser = within(TRIALS))]
    trials: Option<u32>,
    /// Start no trial after this much real time: 20m
    #[arg(long, value_name = "D", value_parser = duration::within(Duration::from_secs(1)..=BUDGET_MAX))]
    budget: Option<Duration>,
    /// Make the trials that this folder of an interrupted sweep lacks; other flags may be omitted, or must be the same
    #[arg(long, value_name = "DIR", conflicts_with = "out")]
    resume: Option<PathBuf>,
    /// Run the recommended configuration under load, over sockets and in real time, for this long: --confirm=2m [default: as long
    /// as the scenario]
    #[arg(long, value_name = "D", num_args = 0..=1, require_equals = true, default_missing_value = "scenario", value_parser = confirmation)]
    confirm: Option<Confirmation>,
    /// How documents are signed: `modelled` is a keyed hash, several times as fast, and noted on the page [default: modelled]
    #[arg(long, value_enum)]
    signatures: Option<Signatures>,
    #[command(flatten)]
    options: Options,
}

impl SweepOptions {
    /// The file that the sweep is named after.
    pub(super) fn named(&self) -> PathBuf {
        self.scenario.clone().unwrap_or_else(|| "sweep".into())
    }

    pub(super) fn out(&self) -> Option<PathBuf> {
        self.options.out.clone()
    }

    /// What is varied, as given.
    fn varied(&self) -> Result<Vec<VariedSetting>, Failure> {
        let ranges = self.vary.iter().filter(|text| text.contains("..")).count().max(1);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 100")]
        let fitting = GRID.powf(1.0 / ranges as f64).floor() as usize;
        let steps = self.steps.map_or(fitting.clamp(2, STEPS_DEFAULT), |steps| steps as usize);
        let read = |text: &String| varied(text, steps).map_err(|why| Failure::BadRequest(format!("--vary {why}")));
        self.vary.iter().map(read).collect()
    }

    /// The request, completed by that of the folder that is continued.
    fn request(&self, scenario: &Path, text: &[u8], before: Option<&SweepRequest>) -> Result<SweepRequest, Failure> {
        let fresh = Request::of(Source::of(scenario, text))?;
        let of = before.map_or(&fresh, |before| &before.base);
        let default = if before.is_some() { of.signatures.clone() } else { Signatures::Modelled.as_str().to_owned() };
        let base = Request {
            trials: self.trials.unwrap_or(if before.is_some() { of.trials } else { TRIALS_DEFAULT }),
            seed: self.options.seed.or(of.seed),
            devices: self.options.devices.or(of.devices),
            duration_ms: self.options.duration.map(ms).or(of.duration_ms),
            id_prefix: self.options.id_prefix.clone().or_else(|| of.id_prefix.clone()),
            signatures: self.signatures.map_or(default, |given| given.as_str().to_owned()),
            ..fresh.clone()
        };
        let (varied, configurations) = match (&self.configs, self.vary.is_empty(), before) {
            (Some(folder), ..) => (Vec::new(), of_folder(folder)?),
            (None, true, Some(before)) => (before.varied.clone(), before.configurations.clone()),
            (None, true, None) => {
                return Err(Failure::BadRequest(
                    "nothing is varied: give --vary RATE_LIMIT_DEVICE_PER_MIN=2..240, --vary cohort.NAME.retry=jitter:1s..120s or --configs DIR".to_owned(),
                ));
            }
            (None, false, _) => {
                let varied = self.varied()?;
                let all = grid(&varied)?;
                (varied, all)
            }
        };
        Ok(SweepRequest { base, varied, configurations })
    }
}

pub(super) fn run(options: &SweepOptions, folder: Option<&RunFolder>) -> Result<u8, Failure> {
    if options.options.events.is_some() {
        return Err(Failure::BadRequest("a sweep keeps no event log; omit --events".to_owned()));
    }
    let before = options.resume.as_deref().map(SweepRequest::read).transpose()?;
    let path = options.scenario.clone().or_else(|| before.as_ref().map(|of| of.base.scenario.place()));
    let path = path.unwrap_or_default(); // the command line requires it, or a folder that has one
    let text = read(&path)?;
    let request = options.request(&path, &text, before.as_ref())?;
    let signatures =
        if request.base.signatures == Signatures::Real.as_str() { Signatures::Real } else { Signatures::Modelled };
    signatures.choose();
    let own = Options {
        seed: request.base.seed,
        devices: request.base.devices,
        duration: request.base.duration_ms.map(Duration::from_millis),
        id_prefix: request.base.id_prefix.clone(),
        json: options.options.json,
        quiet: options.options.quiet,
        ..Options::default()
    };
    let Some(plan) = plan(&path, &text, Some(Mode::Rehearse), &own)? else { return Ok(2) };
    check_possible(&plan, None)?;
    known_cohorts(&plan, &request.configurations)?;
    if let Some(confirmation) = options.confirm
        && let Some(code) = unconfirmable(confirmation, &plan, (&path, &text), &request.base)?
    {
        return Ok(code);
    }
    let request = SweepRequest { configurations: checked(&plan, request.configurations), ..request };
    if let (Some(folder), Some(before)) = (&options.resume, &before) {
        let differences = before.differences(&request);
        if !differences.is_empty() {
            return Err(Failure::NotResumable { by: LIMITS_SWEEP, path: folder.clone(), why: differences.join("; ") });
        }
    }
    let seedless = Options { seed: None, ..own };
    let replay = replay_command(&path, Mode::Rehearse, &seedless, None).replacen(" rehearse ", " limits sweep ", 1);
    let sweep = LimitSweep {
        plan: &plan,
        varied: request.varied.clone(),
        configurations: request.configurations.clone(),
        trials: request.base.trials,
        replay,
        budget: options.budget,
    };
    if sweep.total() == 0 {
        let why = sweep.configurations.iter().find_map(|of| Some(format!("{}: {}", of.name, of.refused.as_ref()?)));
        let why = why.unwrap_or_default();
        return Err(Failure::BadRequest(format!("the server refuses every configuration, such as {why}")));
    }
    make_and_conclude(&sweep, &request, &plan, (options, &path, &text), folder)
}

/// Checks before the first trial that the scenario can be confirmed under load; gives the exit code if it is no scenario for that.
///
/// # Errors
/// It is to last another time than the scenario, whose expectations have bounds for all of it.
fn unconfirmable(
    confirmation: Confirmation,
    rehearsed: &Plan,
    (path, text): (&Path, &[u8]),
    of: &Request,
) -> Result<Option<u8>, Failure> {
    let duration = match confirmation {
        Confirmation::For(lasts) => {
            let whole =
                rehearsed.expectations.iter().find(|of| lasts != rehearsed.duration && of.is_of_the_whole_length());
            if let Some(whole) = whole {
                let [lasts, duration] = [lasts, rehearsed.duration].map(duration::format);
                return Err(Failure::BadRequest(format!(
                    "--confirm={lasts}: the scenario lasts {duration}, and its expectation `{whole}` has a bound for all of it; give --confirm, or expect a rate or a share"
                )));
            }
            Some(lasts)
        }
        Confirmation::AsScenario => of.duration_ms.map(Duration::from_millis),
    };
    let under_load = Options { seed: of.seed, devices: of.devices, duration, ..Options::default() };
    Ok(plan(path, text, Some(Mode::Load), &under_load)?.is_none().then_some(2))
}

/// Makes the trials in their folder, and writes and prints the results.
fn make_and_conclude(
    sweep: &LimitSweep<'_>,
    request: &SweepRequest,
    plan: &Plan,
    (options, path, text): (&SweepOptions, &Path, &[u8]),
    folder: Option<&RunFolder>,
) -> Result<u8, Failure> {
    let mut new = None;
    let (folder, mut record) = if let Some(path) = &options.resume {
        let folder = new.insert(RunFolder::resume(path)?);
        let record = Record::resume(path, sweep.numbers())?;
        if record.end() > sweep.total() {
            let why = format!(
                "it has trials beyond the first {} seeds; omit --trials, or give a greater number",
                sweep.trials
            );
            return Err(Failure::NotResumable { by: LIMITS_SWEEP, path: path.clone(), why });
        }
        folder.fail_unless_finished(&plan.name, SystemClock.now());
        (&*folder, record)
    } else {
        let name = format!("{}-limits", plan.name);
        let folder = RunFolder::requested_or_new(folder, &mut new, &name, SystemClock.now())?;
        (folder, Record::begin(folder.path())?)
    };
    request.write(folder.path())?;
    let state = make(sweep, &mut record, folder, options);
    let state = state.inspect_err(|failure| folder.fail(&plan.name, SystemClock.now(), &failure.to_string()))?;
    record.put_in_order()?;
    let mut result = sweep_of(sweep, &record, state, folder.path());
    let confirmed = match options.confirm.filter(|_| state.is_final()) {
        Some(confirmation) => {
            let lasts = match confirmation {
                Confirmation::AsScenario => None,
                Confirmation::For(lasts) => Some(lasts),
            };
            confirm(&mut result, (path, text), lasts, (&request.base, options.options.quiet), folder.path())?
        }
        None => 0,
    };
    conclude(&result, folder, &plan.name, &options.options, confirmed)
}

/// The sweep of what is recorded, with how it ended or when it was drawn.
fn sweep_of(sweep: &LimitSweep<'_>, record: &Record<SweepTrial>, state: State, folder: &Path) -> Sweep {
    let resume = || format!("ks-fleet limits sweep --resume {}", quoted(&folder.display().to_string()));
    let asked = SweepSetup {
        state,
        drawn_at: (state == State::Running).then(|| SystemClock.now().to_string()),
        resume: (!state.is_final()).then(resume),
        ..sweep.setup()
    };
    Sweep::of(asked, &record.trials())
}

/// Makes the trials that are missing, shows progress, and keeps the page up to date.
fn make(
    sweep: &LimitSweep<'_>,
    record: &mut Record<SweepTrial>,
    folder: &RunFolder,
    options: &SweepOptions,
) -> Result<State, Failure> {
    let stop = interruptible()?;
    let draw = |record: &Record<SweepTrial>| -> Result<(), Failure> {
        write_sweep(folder.path(), &sweep_of(sweep, record, State::Running, folder.path()))?;
        draw_sweep(folder.path(), Artifacts::Light)?;
        Ok(())
    };
    let page = folder.path().join(SWEEP_PAGE);
    let following = LiveTrials { of: sweep.total(), budget: options.budget, quiet: options.options.quiet, draw };
    let mut live = Live::begin(record, &page, following)?;
    let state = sweep.run(record, &stop, |record, left| live.follow(record, left))?;
    live.end(state)
}

/// Writes the results and prints them; returns the exit code.
fn conclude(result: &Sweep, folder: &RunFolder, name: &str, options: &Options, confirmed: u8) -> Result<u8, Failure> {
    let shown = if options.json { say_json(result, false) } else { say(&table(result)) };
    write_sweep(folder.path(), result)?;
    let drawn = draw_sweep(folder.path(), options.artifacts())?;
    let (code, doubts) = verdict(result, confirmed);
    let verdict = match code {
        0 => Verdict::Pass,
        4 => Verdict::Inconclusive,
        _ => Verdict::Fail,
    };
    let case = ks_reports::JudgedCase::timeless("sweep of limits".to_owned(), verdict, doubts.join("; "));
    ks_reports::write_trials(folder.path(), name, &SystemClock.now().to_string(), &[case])?;
    shown?; // only now: a standard output that can't be written must not prevent the files
    let mut lines = vec![format!("\n{}", result.recommendation)];
    if !result.environment.is_empty() {
        lines.push(format!("\n{}", result.lines_to_paste().join("\n")));
    }
    lines.extend(result.confirmed.iter().map(|of| format!("\n{of}")));
    lines.push(format!("\nreport: {}", drawn.report.display()));
    lines.extend(doubts);
    if code != 0 || !options.quiet {
        complain(&lines.join("\n").replace('\u{a0}', " "));
    }
    Ok(code)
}

/// The exit code, and what is wrong: 99 if an invariant was violated or an attack accepted, 4 if trials are missing, or if none is
/// recommended and the trials of one were inconclusive, 99 if each missed the scenario's expectations, else that of the confirmation.
fn verdict(result: &Sweep, confirmed: u8) -> (u8, Vec<String>) {
    let mut lines: Vec<String> = result
        .tried
        .iter()
        .filter_map(|of| Some(format!("not tried: {}: {}", of.configuration.name, of.configuration.refused.as_ref()?)))
        .collect();
    let accepted: u64 = result.tried.iter().filter_map(|of| of.figures.as_ref()).map(|of| of.attacks_accepted).sum();
    if result.invariant_violations > 0 || accepted > 0 {
        lines.push(format!("INVARIANT VIOLATIONS: {}, ATTACKS ACCEPTED: {accepted}", result.invariant_violations));
        return (99, lines);
    }
    if let Some(resume) = &result.setup.resume {
        lines.push(format!("{}; to continue: {resume}", made(result)));
        return (4, lines);
    }
    if result.is_inconclusive() {
        let names: Vec<&str> = result.unproven().map(|of| of.configuration.name.as_str()).take(3).collect();
        let more = if result.unproven().count() > names.len() { ", and others" } else { "" };
        lines.push(format!(
            "INCONCLUSIVE: trials showed too little of {}{more}; more --trials may help",
            names.join(", ")
        ));
        return (4, lines);
    }
    if result.recommended.is_none() {
        lines.push("FAIL: no configuration met the scenario's expectations in each trial".to_owned());
        return (99, lines);
    }
    (confirmed, lines)
}
