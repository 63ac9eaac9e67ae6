//! `ks-fleet`: run, rehearse, check, report. Without arguments it runs the quickstart.

use std::{
    ffi::OsString,
    io::{ErrorKind, IsTerminal},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use ks_protocol::{number::within, text::printable, time::UnixMs};
use ks_reports::{
    Artifacts, Drawn,
    load_limit::{draw_load_limit, is_load_limit},
    run_folder::EventsKept,
};
use ks_server::clock::{Clock, SystemClock};

mod advise;
mod events;
mod execute;
mod explore;
mod find_limit;
mod interrupt;
mod limits;
mod live;
mod merge;
mod output;
mod target;
mod trials;
mod values;

use advise::AdviseOptions;
use execute::{read, red_without_verdict, run_one};
use explore::ExploreOptions;
use find_limit::FindLimitOptions;
use interrupt::interruptible;
use limits::LimitsCommand;
use merge::MergeOptions;
use output::{complain, complain_coloured, say, say_json};
use target::TargetOptions;
use trials::TrialOptions;

use crate::{
    drive::rehearse::Signatures,
    explain,
    failure::Failure,
    run::folder,
    scenario::{self, Mode, render_all},
    scenario_settings::ScenarioSettings,
    segment::{self, Segment},
    server_under_test::embedded::SUBCOMMAND,
};

/// The scenario of a run without arguments, for a program outside the project's folder.
const QUICKSTART: (&str, &str) = ("scenarios/quickstart.toml", include_str!("../../../scenarios/quickstart.toml"));

/// Simulate a fleet against the real backend: thousands of virtual devices, each with its own keys and faults.
#[derive(Debug, Parser)]
#[command(name = "ks-fleet", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario in its own mode: as a load run over sockets, or as a rehearsal
    Run {
        /// The scenario's TOML file
        scenario: PathBuf,
        #[command(flatten)]
        target: TargetOptions,
        #[command(flatten)]
        generator: GeneratorOptions,
        /// Simulate only this part of the fleet, such as 2/4 for the second of four, against the --target; `ks-fleet merge` makes one run
        /// of all parts. In an Indexed Job of Kubernetes: job/4
        #[arg(long, value_name = "I/N", value_parser = values::segment, requires = "target")]
        segment: Option<Segment>,
        /// Start at this time by the target's clock, the same for all segments: 2026-11-30T12:00:00Z, or seconds since 1970
        #[arg(long, value_name = "TIME", value_parser = segment::start::parse, requires = "segment")]
        start_at: Option<UnixMs>,
        #[command(flatten)]
        options: Options,
    },
    /// Merge the segments of a run: the same verdict, report and exit code as if one process had run the whole fleet
    Merge(MergeOptions),
    /// Rehearse a scenario: virtual time, the server in process, the same seed gives the same event log
    Rehearse {
        /// The scenario's TOML file
        #[arg(required_unless_present = "resume")]
        scenario: Option<PathBuf>,
        /// How documents are signed: `modelled` is a keyed hash, several times as fast, and noted in the report [default: real]
        #[arg(long, value_enum)]
        signatures: Option<Signatures>,
        /// Keep the server's database in the run folder: `ks.sqlite`, to look at with `ks-server`
        #[arg(long)]
        keep_database: bool,
        #[command(flatten)]
        trials: TrialOptions,
        #[command(flatten)]
        options: Options,
    },
    /// Rehearse random scenarios on all cores until an invariant is violated: lost heartbeats, tokens used twice, offers after
    /// an abort
    Explore(ExploreOptions),
    /// Find rollout policies that find a bug of a given size: by calculation, then by rehearsal
    Advise {
        /// The scenario's TOML file; its first rollout's firmware says how the bug shows
        scenario: PathBuf,
        #[command(flatten)]
        question: AdviseOptions,
        #[command(flatten)]
        options: Options,
    },
    /// Find the highest offered rate at which a scenario's expectations hold, over sockets, and who gave out first above it
    #[command(after_help = find_limit::EXAMPLES)]
    FindLimit(FindLimitOptions),
    /// Try rate limits before they are turned on
    Limits {
        #[command(subcommand)]
        command: LimitsCommand,
    },
    /// Print one device's timeline in a rehearsal: every message, decision and fault, in order
    Explain {
        /// The run folder
        folder: PathBuf,
        /// The device's name
        device: String,
        /// Write one JSON object per entry to standard output
        #[arg(long)]
        json: bool,
    },
    /// Print a run's event log, one JSON object a line, in order
    Events {
        /// The run folder
        folder: PathBuf,
        /// Only the events of this device
        #[arg(long, value_name = "DEVICE")]
        device: Option<String>,
    },
    /// Check scenarios without running them
    Check {
        /// The scenarios' TOML files
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        /// Write one JSON object per problem to standard output
        #[arg(long)]
        json: bool,
    },
    /// Redraw the report of a run folder, or the pages of a folder of scored trials, of advice or of a sweep
    Report {
        /// The run folder
        folder: PathBuf,
    },
}

#[derive(Debug, Default, Args)]
struct Options {
    /// Number of devices, replacing the scenario's
    #[arg(long, value_name = "N", value_parser = within(0..=u32::MAX))]
    devices: Option<u32>,
    /// Duration, replacing the scenario's: 30s, 5m, 48h
    #[arg(long, value_name = "D", value_parser = values::duration)]
    duration: Option<Duration>,
    /// Root seed, replacing the scenario's
    #[arg(long, value_name = "S", value_parser = within(0..=u64::MAX))]
    seed: Option<u64>,
    /// Prefix of every device ID, replacing the scenario's: for a second run against the same target
    #[arg(long, value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// Run folder [default: reports/runs/SCENARIO-TIME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Which events the event log has: `all`; `decisions`, without ordinary heartbeats; or `none`, for no log [default: all]
    #[arg(long, value_name = "WHICH", value_parser = values::events())]
    events: Option<EventsKept>,
    /// What is drawn: `full`; or `light`, the page with its plots inside, without a file for each plot [default: full]
    #[arg(long, value_name = "WHICH", value_parser = values::artifacts())]
    artifacts: Option<Artifacts>,
    /// Write the summary as JSON to standard output
    #[arg(long)]
    json: bool,
    /// Show no progress, and print nothing on standard error for a run that passes
    #[arg(long)]
    quiet: bool,
    /// Whether a rehearsal's database is kept.
    #[arg(skip)]
    keep_database: bool,
    /// Where a load run's metrics are served.
    #[arg(skip)]
    metrics_listen: Option<SocketAddr>,
    /// Of how many answers in a hundred a load run's devices verify the signature.
    #[arg(skip)]
    verify: Option<u8>,
    /// The part of the fleet that a load run simulates.
    #[arg(skip)]
    segment: Option<Segment>,
    /// When it starts, by the target's clock.
    #[arg(skip)]
    start_at: Option<UnixMs>,
}

/// How a load run's generator is watched, and what it leaves out.
#[derive(Debug, Default, Args)]
struct GeneratorOptions {
    /// While a load run goes on, serve its own metrics here for Prometheus: http://ADDRESS/metrics
    #[arg(long, value_name = "ADDRESS", value_parser = values::listen_address)]
    metrics_listen: Option<SocketAddr>,
    /// Verify the signatures of all answers, or of this share, drawn at random: `10%`. More load for the same CPU; refusals are
    /// always verified, and the report says how many answers were not [default: all]
    #[arg(long, value_name = "SHARE", value_parser = values::verified_share)]
    verify: Option<u8>,
}

impl GeneratorOptions {
    /// The options of all commands, with these.
    fn with(self, options: Options) -> Options {
        Options { metrics_listen: self.metrics_listen, verify: self.verify, ..options }
    }
}

impl Options {
    fn events(&self) -> EventsKept {
        self.events.unwrap_or_default()
    }

    fn artifacts(&self) -> Artifacts {
        self.artifacts.unwrap_or_default()
    }
}

/// Runs `ks-fleet` with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| first == SUBCOMMAND) {
        return ks_server::cli::run(arguments.into_iter().skip(1));
    }
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => {
            if error.use_stderr() {
                let why = error.render().to_string();
                for out in requested_out(&arguments) {
                    folder::leave_failure(out, "command line", SystemClock.now(), &why);
                }
            }
            return match error.print() {
                Err(cause) if !error.use_stderr() && cause.kind() != ErrorKind::BrokenPipe => {
                    exit_code(Err(Failure::Output { cause }))
                }
                _ => ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2)),
            };
        }
    };
    exit_code(dispatch(cli))
}

/// The run folders that a command line names, even if it is otherwise invalid.
fn requested_out(arguments: &[OsString]) -> Vec<&Path> {
    let Some((_, after)) = arguments.split_first().filter(|(_, after)| {
        after.first().is_some_and(|verb| {
            ["run", "merge", "rehearse", "advise", "limits", "find-limit"].iter().any(|it| verb == it)
        })
    }) else {
        return Vec::new();
    };
    let word = |argument: &'_ OsString| argument.to_str().map(str::to_owned).unwrap_or_default();
    let next = after.iter().skip(1).map(Some).chain([None]);
    let mut asked = Vec::new();
    for (argument, next) in after.iter().zip(next) {
        let value = if argument == "--out" {
            next.filter(|value| !word(value).starts_with('-')).map(Path::new)
        } else {
            argument.to_str().and_then(|argument| argument.strip_prefix("--out=")).map(Path::new)
        };
        asked.extend(value.filter(|value| !value.as_os_str().is_empty()));
    }
    asked
}

/// Prints why there is no verdict, if so, and returns the exit code.
fn exit_code(ended: Result<u8, Failure>) -> ExitCode {
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            let (why, help) = (failure.to_string(), failure.help());
            complain(&format!("error: {}\n  help: {}", printable(&why), printable(&help)));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<u8, Failure> {
    match cli.command {
        None => {
            let path = Path::new(QUICKSTART.0);
            let text = read(path).unwrap_or_else(|_| QUICKSTART.1.as_bytes().to_vec());
            run_one(path, &text, None, None, &Options::default(), None)
        }
        Some(Command::Run { scenario, target, generator, segment, start_at, options }) => {
            let options = Options { segment, start_at, ..generator.with(options) };
            red_without_verdict(&scenario, options.out.as_deref(), |folder| {
                let text = read(&scenario)?;
                let target = target.target()?;
                run_one(&scenario, &text, None, target, &options, folder)
            })
        }
        Some(Command::Merge(asked)) => {
            asked.check()?;
            red_without_verdict(Path::new("merge"), asked.out.as_deref(), |folder| merge::run(&asked, folder))
        }
        Some(Command::Rehearse { scenario, signatures, keep_database, trials, options }) => {
            let options = Options { keep_database, ..options };
            rehearse(scenario.as_deref(), signatures, &trials, options)
        }
        Some(Command::Advise { scenario, question, options }) => {
            let out = options.out.clone();
            red_without_verdict(&scenario, out.as_deref(), |folder| advise::run(&scenario, &question, options, folder))
        }
        Some(Command::FindLimit(asked)) => {
            let (scenario, out) = (asked.scenario.clone(), asked.options.out.clone());
            red_without_verdict(&scenario, out.as_deref(), |folder| find_limit::run(asked, folder))
        }
        Some(Command::Limits { command }) => limits::run(command),
        Some(Command::Explain { folder, device, json }) => {
            let history = explain::explain(&folder, &device)?;
            if json {
                for entry in &history.entries {
                    say_json(entry, false)?;
                }
            } else {
                say(explain::render(&history.entries).trim_end())?;
            }
            history.notes.iter().for_each(|note| complain(&format!("note: {note}")));
            Ok(0)
        }
        Some(Command::Events { folder, device }) => events::run(&folder, device.as_deref()),
        Some(Command::Explore(options)) => explore::run(&options, &interruptible()?),
        Some(Command::Check { scenarios, json }) => check(&scenarios, json),
        Some(Command::Report { folder }) => {
            for drawn in redraw(&folder)? {
                say(&drawn.report.display().to_string())?;
            }
            Ok(0)
        }
    }
}

/// Draws the pages of a folder again: of advice, of the score of trials, of both, of a search for the load limit, or else of a run.
fn redraw(folder: &Path) -> Result<Vec<Drawn>, Failure> {
    let has = |name: &str| folder.join(name).exists();
    let mut drawn = Vec::new();
    if has(ks_reports::score::SCORE) {
        drawn.push(ks_reports::score::draw_score(folder, Artifacts::Full)?);
    }
    if has(ks_reports::sweep::SWEEP) {
        drawn.push(ks_reports::sweep::draw_sweep(folder, Artifacts::Full)?);
    }
    if has(ks_reports::advice::ADVICE) {
        drawn.insert(0, ks_reports::advice::draw_advice(folder, Artifacts::Full)?);
    }
    if drawn.is_empty() && is_load_limit(folder) {
        drawn.push(draw_load_limit(folder, Artifacts::Full)?);
    }
    if drawn.is_empty() {
        drawn.push(ks_reports::draw(folder, Artifacts::Full)?);
    }
    Ok(drawn)
}

/// Rehearses a scenario once, or many times.
fn rehearse(
    scenario: Option<&Path>,
    signatures: Option<Signatures>,
    trials: &TrialOptions,
    options: Options,
) -> Result<u8, Failure> {
    let named = scenario.unwrap_or(Path::new("trials"));
    let out = options.out.clone();
    red_without_verdict(named, out.as_deref(), |folder| {
        trials.check()?;
        if trials.are_given() {
            if options.keep_database {
                return Err(Failure::BadRequest("trials keep no database; omit --keep-database".to_owned()));
            }
            return trials::check_and_run(trials.requested(scenario, signatures, options)?, folder);
        }
        signatures.unwrap_or(Signatures::Real).choose();
        run_one(named, &read(named)?, Some(Mode::Rehearse), None, &options, folder)
    })
}

fn check(scenarios: &[PathBuf], json: bool) -> Result<u8, Failure> {
    let mut code = 0;
    for path in scenarios {
        let text = read(path)?;
        match scenario::check(&path.display().to_string(), &text, &ScenarioSettings) {
            Ok(plan) if !json => say(&format!("{}: {} is sound", path.display(), plan.name))?,
            Ok(_) => {}
            Err(diagnostics) => {
                code = 2;
                if json {
                    for diagnostic in &diagnostics {
                        say_json(&diagnostic.to_json(), false)?;
                    }
                } else {
                    complain_coloured(render_all(&diagnostics, std::io::stderr().is_terminal()).trim_end());
                }
            }
        }
    }
    Ok(code)
}

const EXAMPLES: &str = "\
Examples:
  ks-fleet                                                  the quickstart: 1,000 devices for 30 s against the real server
  ks-fleet run scenarios/steady.toml --devices 2000 --out /tmp/run
  ADMIN_TOKEN=... ks-fleet run scenarios/steady.toml --target http://127.0.0.1:3000
  ADMIN_TOKEN=... ks-fleet run scenarios/steady.toml --target http://10.0.0.5:3000 --segment 1/2 --start-at 2026-11-30T12:00:00Z --out one
  ks-fleet merge one two --out merged                       the two segments of a run become one run
  ks-fleet rehearse scenarios/first-light.toml --seed 7     an hour in seconds; the same seed gives the same event log
  ks-fleet rehearse scenarios/score-policies.toml --signatures modelled --trials 20 --bug-rates 0,1,2
  ks-fleet rehearse s.toml --policy a.toml --policy b.toml --trials 500 --until distinguished --budget 20m
  ks-fleet rehearse --resume reports/runs/s-trials-20260101000000                                  the trials it lacks
  ks-fleet advise scenarios/twelve-thousand-terminals.toml --detect 1.5% --of-model KS-200 --with 95% --in 48h
  ks-fleet find-limit scenarios/steady.toml --slo 'heartbeat.p99_ms<=50'                           how much the server can take
  ks-fleet limits sweep scenarios/flooded-neighbor.toml --vary RATE_LIMIT_DEVICE_PER_MIN=6..240
  ks-fleet limits verify scenarios/flooded-neighbor.toml --env /etc/ks-server/env
  ks-fleet explore --minutes 5                              random scenarios until an invariant is violated
  ks-fleet explain reports/runs/canary-2pct-brick-20260101000000 BR-001473
  ks-fleet events reports/runs/first-light-20260101000000 | jq -r .code | sort | uniq -c
  ks-fleet check scenarios/*.toml
  ks-fleet report reports/runs/quickstart-20260101000000

Exit codes: 0 pass, 99 an expectation was not met or an invariant was violated, 2 the scenario or the command line is invalid,
3 the target or the machine refused or failed, 4 inconclusive (too little evidence, or the measurement was not valid),
130 ended immediately by a second Ctrl-C.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_valid() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_folder_is_read_from_an_invalid_command_line_too() {
        let asked = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            requested_out(&words).into_iter().map(Path::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(asked("ks-fleet run a.toml --out=x --bogus"), [Path::new("x")]);
        assert_eq!(asked("ks-fleet rehearse --sed 3 a.toml --out y"), [Path::new("y")]);
        for none in ["ks-fleet", "ks-fleet explore --out z", "ks-fleet run a.toml --out --seed 3", "ks-fleet run --out"]
        {
            assert!(asked(none).is_empty(), "{none}");
        }
    }
}
