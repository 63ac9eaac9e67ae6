//! `ks-fleet find-limit`: the highest offered rate at which a scenario's expectations hold, and who gave out first above it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use ks_protocol::{duration, number::within};
use ks_reports::{
    Artifacts,
    load_limit::{LoadLimit, answer, draw_load_limit, step_line, write_load_limit},
};
use ks_server::clock::{Clock, SystemClock};

use super::{
    GeneratorOptions, Options,
    execute::{plan, quoted, read, replay_command},
    interrupt::{ConcludedRun, interruptible_until},
    output::{complain, say_json},
    target::TargetOptions,
};
use crate::{
    drive::target::Target,
    failure::Failure,
    find_limit::{FindLimit, id_prefix, step::Lengths},
    run::folder::RunFolder,
    scenario::{self, Expectation, Mode, Overrides, Plan, Timing},
    scenario_settings::ScenarioSettings,
};

/// Range of the time for a search.
const BUDGET: std::ops::RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(24);
/// Range of the time that is measured in a step.
const STEP: std::ops::RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_hours(1);

pub(super) const EXAMPLES: &str = "\
Examples:
  ks-fleet find-limit scenarios/steady.toml                        an embedded server on this machine, ten minutes at most
  ks-fleet find-limit scenarios/steady.toml --slo 'heartbeat.p99_ms<=50' --slo 'errors=0' --budget 20m
  ks-fleet find-limit scenarios/steady.toml --devices 500          begins at 500 devices
  ADMIN_TOKEN=... ks-fleet find-limit scenarios/steady.toml --target http://10.0.0.5:3000   use a test database: devices stay in it

Each step is a load run with another number of devices. The answer is an interval in heartbeats a minute, confirmed by repeated runs,
with who gave out first above it. Where the load generator or the machine gave out, it is \"at least N\", and inconclusive.

Exit codes: 0 found, 99 no offered rate met the expectations (or the ledger of a step did not balance), 2 the scenario or the command
line is invalid, 3 the target died or could not be reached (what was known by then is in the report), 4 inconclusive: only a lower
bound, or ended by the budget or by Ctrl-C before it was confirmed.";

/// Options of `find-limit`.
#[derive(Debug, clap::Args)]
#[command(mut_arg("duration", |unused| unused.hide(true)), mut_arg("events", |unused| unused.hide(true)))]
pub(super) struct FindLimitOptions {
    /// The scenario's TOML file: its fleet, its server's settings, and its expectations with an upper bound
    pub(super) scenario: PathBuf,
    /// What must hold: METRIC<=NUMBER or METRIC=0, such as heartbeat.p99_ms<=50; may be repeated. Replaces the scenario's expectation
    /// of the same metric
    #[arg(long, value_name = "SLO")]
    slo: Vec<String>,
    /// The longest time for the whole search; a step that would not fit is not begun [default: 10m]
    #[arg(long, value_name = "D", value_parser = duration::within(BUDGET))]
    budget: Option<Duration>,
    /// Measure each step for this long, after its warm-up [default: as long as its percentile needs, within the budget]
    #[arg(long, value_name = "D", value_parser = duration::within(STEP))]
    step: Option<Duration>,
    /// Runs that confirm each end of the interval: 1, 3, 5, 7 or 9 [default: 3]
    #[arg(long, value_name = "N", value_parser = repeats)]
    repeats: Option<u32>,
    #[command(flatten)]
    target: TargetOptions,
    #[command(flatten)]
    generator: GeneratorOptions,
    #[command(flatten)]
    pub(super) options: Options,
}

/// An odd number, so that most of the runs agree.
fn repeats(text: &str) -> Result<u32, String> {
    let count = within(1..=9_u32)(text)?;
    if count % 2 == 1 { Ok(count) } else { Err("expected an odd number, so that most of the runs agree".to_owned()) }
}

pub(super) fn run(asked: FindLimitOptions, folder: Option<&RunFolder>) -> Result<u8, Failure> {
    let FindLimitOptions { scenario: path, slo, budget, step, repeats, target, generator, options } = asked;
    let options = generator.with(options);
    let unused = [("--duration", options.duration.is_some()), ("--events", options.events.is_some())];
    if let Some((flag, _)) = unused.into_iter().find(|(_, is_given)| *is_given) {
        let instead =
            if flag == "--duration" { "--step sets how long each step measures" } else { "steps keep no event log" };
        return Err(Failure::BadRequest(format!("{flag} does not apply to find-limit: {instead}")));
    }
    let slos = slo.iter().map(|text| read_slo(text, Timing::Measured)).collect::<Result<Vec<_>, _>>()?;
    let text = read(&path)?;
    let Some(plan) = plan(&path, &text, Some(Mode::Load), &options)? else { return Ok(2) };
    if plan.timing == Timing::Ignored {
        slo.iter().try_for_each(|text| read_slo(text, plan.timing).map(drop))?;
    }
    let (expectations, left_out) = expectations(&plan, slos)?;
    let began = SystemClock.now();
    let target = target.target()?;
    if target.is_some() {
        let prefix = id_prefix(&plan.fleet.id_prefix, began, 99);
        let checked = plan.with_overrides(Overrides { id_prefix: Some(prefix), ..Overrides::default() });
        let why = "with what makes it unique for each step; give a shorter --id-prefix";
        checked.map_err(|wrong| Failure::BadRequest(format!("{}, {why}", wrong.join("; "))))?;
    }
    let target = target.map(Target::reached).transpose()?;
    let mut new = None;
    let folder = RunFolder::requested_or_new(folder, &mut new, &format!("{}-limit", plan.name), began)?;
    let concluded = ConcludedRun::default();
    let budget = budget.unwrap_or(Duration::from_mins(10));
    let search = FindLimit {
        target: target.as_ref(),
        out: folder.path(),
        lengths: Lengths::of(plan.interval(), &expectations, budget, step),
        expectations,
        left_out,
        budget,
        repeats: repeats.unwrap_or(3),
        started_at: began,
        replay: replay(&path, &slo, (budget, step, repeats), &options, target.as_ref()),
        replay_run: format!("{} --seed {}", run_of_step(&path, &options, target.as_ref()), plan.seed),
        quiet: options.quiet,
        metrics_listen: options.metrics_listen,
        interrupted: interruptible_until(&concluded)?,
        plan: &plan,
    };
    if !options.quiet {
        let asked = search.expectations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        complain(&format!("{}: searches the highest rate at which {asked}", plan.name));
    }
    let found = search.run(|so_far| show_step(so_far, folder, options.quiet));
    let found = found.inspect_err(|failure| folder.fail(&plan.name, began, &failure.to_string()))?;
    conclude(&found, folder, &concluded, &options)
}

fn read_slo(text: &str, timing: Timing) -> Result<Expectation, Failure> {
    scenario::slo(text, timing, &ScenarioSettings)
        .map_err(|why| Failure::BadRequest(format!("--slo {}: {why}", quoted(text))))
}

/// What must hold: those given, and of the scenario those of other metrics that can be asked of any load.
fn expectations(plan: &Plan, slos: Vec<Expectation>) -> Result<(Vec<Expectation>, Vec<String>), Failure> {
    let (of_scenario, left_out) = scenario::upper_bounds(plan);
    let is_replaced = |of: &Expectation| slos.iter().any(|slo| slo.metric == of.metric);
    let mut all: Vec<Expectation> = of_scenario.into_iter().filter(|of| !is_replaced(of)).collect();
    all.splice(0..0, slos);
    if all.is_empty() {
        return Err(Failure::Impossible {
            why: "the scenario has no expectation with an upper bound that can be tested at any load".to_owned(),
            help: "give one, such as --slo 'heartbeat.p99_ms<=50' or --slo 'errors=0'",
        });
    }
    Ok((all, left_out))
}

/// The command that repeats the search.
fn replay(
    path: &Path,
    slos: &[String],
    (budget, step, repeats): (Duration, Option<Duration>, Option<u32>),
    options: &Options,
    target: Option<&Target>,
) -> String {
    let mut command = replay_command(path, Mode::Load, options, target).replacen(" run ", " find-limit ", 1);
    for slo in slos {
        command += &format!(" --slo {}", quoted(slo));
    }
    command += &format!(" --budget {}", duration::format(budget));
    if let Some(step) = step {
        command += &format!(" --step {}", duration::format(step));
    }
    if let Some(repeats) = repeats {
        command += &format!(" --repeats {repeats}");
    }
    if let Some(seed) = options.seed {
        command += &format!(" --seed {seed}");
    }
    command
}

/// The command that runs the scenario once, without the number of devices.
fn run_of_step(path: &Path, options: &Options, target: Option<&Target>) -> String {
    let of_run = Options { id_prefix: options.id_prefix.clone(), verify: options.verify, ..Options::default() };
    replay_command(path, Mode::Load, &of_run, target)
}

/// Prints the step that was made, and keeps the folder up to date: whatever happens next, it is not lost.
fn show_step(so_far: &LoadLimit, folder: &RunFolder, quiet: bool) -> Result<(), Failure> {
    write_load_limit(folder.path(), so_far)?;
    draw_load_limit(folder.path(), Artifacts::Light)?;
    if let Some(step) = so_far.steps.last().filter(|_| !quiet) {
        clear_line();
        complain(&step_line(step));
    }
    Ok(())
}

/// Clears a line of progress on a terminal.
fn clear_line() {
    use std::io::{IsTerminal, Write};
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\x1b[2K"); // a closed standard error is no reason to end
    }
}

/// Writes the result and prints it; returns its exit code.
fn conclude(found: &LoadLimit, folder: &RunFolder, concluded: &ConcludedRun, options: &Options) -> Result<u8, Failure> {
    let shown = concluded.by(folder.path(), || {
        let shown = if options.json { say_json(found, true) } else { Ok(()) };
        write_load_limit(folder.path(), found)?;
        Ok(shown)
    })?;
    let drawn = draw_load_limit(folder.path(), options.artifacts())?;
    if !options.quiet || found.exit_code != 0 {
        let word = match found.exit_code {
            0 => "FOUND",
            4 => "INCONCLUSIVE",
            _ => "FAIL",
        };
        clear_line();
        let lines: Vec<String> =
            answer(found).into_iter().chain(found.reasons.clone()).map(|line| format!("  {line}")).collect();
        complain(&format!("{word}  {}\n{}", found.scenario, lines.join("\n")).replace('\u{a0}', " "));
    }
    if !options.quiet {
        complain(&format!("  report: {}", drawn.report.display()));
    }
    shown.map(|()| found.exit_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_odd() {
        assert_eq!(repeats("5"), Ok(5));
        assert!(repeats("2").unwrap_err().contains("odd") && repeats("11").is_err());
    }

    #[test]
    fn an_slo_replaces_the_scenarios_expectation_of_the_same_metric() {
        let text = include_bytes!("../../../scenarios/steady.toml");
        let plan = scenario::check("steady.toml", text, &ScenarioSettings).unwrap();
        let slo = read_slo("heartbeat.p99_ms<=500", Timing::Measured).unwrap();
        let (all, left_out) = expectations(&plan, vec![slo]).unwrap();
        let all: Vec<String> = all.iter().map(ToString::to_string).collect();
        assert_eq!(all[..2], ["heartbeat.p99_ms <= 500", "errors = 0"], "{all:?}");
        assert!(!all.contains(&"heartbeat.p99_ms <= 250".to_owned()));
        assert_eq!(left_out, ["heartbeat.per_min >= 295000 during steady"]);
    }

    #[test]
    fn the_search_is_repeated_by_its_own_command() {
        let options = Options { devices: Some(500), ..Options::default() };
        let slos = ["heartbeat.p99_ms<=50".to_owned()];
        let times = (Duration::from_mins(10), Some(Duration::from_secs(5)), Some(5));
        let command = replay(Path::new("s.toml"), &slos, times, &options, None);
        assert_eq!(
            command,
            "ks-fleet find-limit s.toml --devices 500 --slo 'heartbeat.p99_ms<=50' --budget 10m --step 5s --repeats 5"
        );
    }
}
