//! `ks-fleet`: run, rehearse, check, report. With no arguments it runs the quickstart.

use std::{
    ffi::OsString,
    io::{ErrorKind, IsTerminal, Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use ks_reports::run_folder::Summary;
use ks_server::clock::{Clock, SystemClock};

mod explore;
mod trials;

use explore::ExploreOptions;
use trials::TrialOptions;

use crate::{
    console::{self, Console},
    embedded::SUBCOMMAND,
    explain,
    failure::Failure,
    folder::RunFolder,
    known_settings::KnownSettings,
    rehearse::{Rehearsal, Signatures},
    run::Target,
    scenario::{self, Mode, Overrides, Plan, Step, parse_duration, render_all},
    self_watch::Stopwatch,
};

/// Signals within this time of the first are the same one.
const SAME_SIGNAL: Duration = Duration::from_millis(500);

/// The scenario of a run without arguments, for a program that was moved away from the project's folder.
const QUICKSTART: (&str, &str) = ("scenarios/quickstart.toml", include_str!("../../../scenarios/quickstart.toml"));

/// Rehearse everything against the real backend: thousands of virtual devices, each with keys and faults of its own.
#[derive(Debug, Parser)]
#[command(name = "ks-fleet", version, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario in its own mode: under load over sockets, or rehearsed
    Run {
        /// The scenario's TOML file
        scenario: PathBuf,
        /// Go against this server instead of starting one: http://HOST:PORT
        #[arg(long, value_name = "URL")]
        target: Option<String>,
        /// Admin token of the target [env: ADMIN_TOKEN]
        #[arg(long, value_name = "TOKEN", requires = "target")]
        admin_token: Option<String>,
        #[command(flatten)]
        options: Options,
    },
    /// Rehearse a scenario: virtual time, the server in process, the same seed gives the same event log
    Rehearse {
        /// The scenario's TOML file
        scenario: PathBuf,
        /// How documents are signed: `modelled` is a keyed hash, several times as fast, and said in the report
        #[arg(long, value_enum, default_value = "real")]
        signatures: Signatures,
        #[command(flatten)]
        trials: TrialOptions,
        #[command(flatten)]
        options: Options,
    },
    /// Rehearse random scenarios on every core until a promise is broken: lost heartbeats, tokens used twice, offers after
    /// an abort
    Explore(ExploreOptions),
    /// Tell one device's story in a rehearsal: every message, decision and fault, in order
    Explain {
        /// The run folder
        folder: PathBuf,
        /// The device's name
        device: String,
        /// Write one JSON object a moment to standard output
        #[arg(long)]
        json: bool,
    },
    /// Check scenarios without running them
    Check {
        /// The scenarios' TOML files
        #[arg(required = true)]
        scenarios: Vec<PathBuf>,
        /// Write one JSON object a mistake to standard output
        #[arg(long)]
        json: bool,
    },
    /// Draw the report of a run folder, or the page of a folder of scored trials, again
    Report {
        /// The run folder
        folder: PathBuf,
    },
}

#[derive(Debug, Default, Args)]
struct Options {
    /// Number of devices, instead of the scenario's
    #[arg(long, value_name = "N")]
    devices: Option<u32>,
    /// Duration, instead of the scenario's: 30s, 5m, 48h
    #[arg(long, value_name = "D", value_parser = duration)]
    duration: Option<Duration>,
    /// Root seed, instead of the scenario's
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Start of every device's id, instead of the scenario's: for a second run against the same target
    #[arg(long, value_name = "PREFIX")]
    id_prefix: Option<String>,
    /// Run folder [default: reports/runs/SCENARIO-TIME]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Write the summary as JSON to standard output
    #[arg(long)]
    json: bool,
    /// Show no progress
    #[arg(long)]
    quiet: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| format!("{error}; expected a duration such as 30s, 5m or 48h"))
}

/// Runs `ks-fleet` with these arguments, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if arguments.get(1).is_some_and(|first| first == SUBCOMMAND) {
        return ks_server::cli::run(arguments.into_iter().skip(1));
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print(); // a closed pipe is no error
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    match dispatch(cli) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            complain(&format!("error: {failure}\n  what to do: {}", failure.remedy()));
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(cli: Cli) -> Result<u8, Failure> {
    match cli.command {
        None => {
            let path = Path::new(QUICKSTART.0);
            let text = std::fs::read(path).unwrap_or_else(|_| QUICKSTART.1.as_bytes().to_vec());
            execute(path, &text, None, None, &Options::default())
        }
        Some(Command::Run { scenario, target, admin_token, options }) => {
            let text = read(&scenario)?;
            let target = target.map(|url| with_token(url, admin_token)).transpose()?;
            execute(&scenario, &text, None, target.as_ref(), &options)
        }
        Some(Command::Rehearse { scenario, signatures, trials, options }) => {
            signatures.choose();
            let text = read(&scenario)?;
            if trials.are_given() {
                try_out(&scenario, &text, &trials, &options)
            } else {
                execute(&scenario, &text, Some(Mode::Rehearse), None, &options)
            }
        }
        Some(Command::Explain { folder, device, json }) => {
            let story = explain::explain(&folder, &device)?;
            if json {
                for moment in &story {
                    say(&serde_json::to_string(moment).unwrap_or_default()); // text and numbers always make JSON
                }
            } else {
                say(explain::told(&story).trim_end());
            }
            Ok(0)
        }
        Some(Command::Explore(options)) => explore::run(&options, &interruptible()?),
        Some(Command::Check { scenarios, json }) => check(&scenarios, json),
        Some(Command::Report { folder }) => {
            let is_score = folder.join(ks_reports::score::SCORE).exists();
            let drawn = if is_score { ks_reports::score::draw_score(&folder) } else { ks_reports::draw(&folder) }?;
            say(&drawn.report.display().to_string());
            Ok(0)
        }
    }
}

fn with_token(url: String, admin_token: Option<String>) -> Result<Target, Failure> {
    let admin_token = admin_token.or_else(|| ks_server::edge::environment("ADMIN_TOKEN"));
    match admin_token.filter(|token| !token.is_empty()) {
        Some(admin_token) => Target::new(url, admin_token),
        None => Err(Failure::BadRequest(
            "--target needs the admin token of the server there (ADMIN_TOKEN or --admin-token): the factory whitelists devices through its admin API".to_owned(),
        )),
    }
}

/// Reads a scenario; of one that is too large only as much as the check needs to see that.
fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_start(path, scenario::FILE_BYTES_MAX + 1).map_err(|cause| Failure::Scenario { path: path.to_owned(), cause })
}

/// Reads a file, up to so many bytes.
fn read_start(path: &Path, bytes_max: usize) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    let most = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    std::fs::File::open(path)?.take(most).read_to_end(&mut start)?;
    Ok(start)
}

/// Checks a scenario and makes trials of it; gives the exit code.
fn try_out(path: &Path, text: &[u8], trials: &TrialOptions, options: &Options) -> Result<u8, Failure> {
    let Some(plan) = plan(path, text, Some(Mode::Rehearse), options)? else { return Ok(2) };
    check_possible(&plan, None)?;
    let replay = replay_command(path, Mode::Rehearse, options, None);
    trials::run(&plan, replay, trials, options, &interruptible()?)
}

/// The plan with what the command line changes; none if the scenario is wrong, which is told.
fn plan(path: &Path, text: &[u8], mode: Option<Mode>, options: &Options) -> Result<Option<Plan>, Failure> {
    let plan = match scenario::check(&path.display().to_string(), text, &KnownSettings) {
        Ok(plan) => plan,
        Err(diagnostics) => {
            complain(render_all(&diagnostics, std::io::stderr().is_terminal()).trim_end());
            return Ok(None);
        }
    };
    let overrides = Overrides {
        mode,
        id_prefix: options.id_prefix.clone(),
        devices: options.devices,
        duration: options.duration,
        seed: options.seed,
    };
    plan.with_overrides(overrides).map(Some).map_err(|wrong| Failure::BadRequest(wrong.join("; ")))
}

/// Checks and runs one scenario; gives the exit code of its verdict.
fn execute(
    path: &Path,
    text: &[u8],
    mode: Option<Mode>,
    target: Option<&Target>,
    options: &Options,
) -> Result<u8, Failure> {
    let Some(plan) = plan(path, text, mode, options)? else { return Ok(2) };
    let mode = plan.mode;
    check_possible(&plan, target)?;
    if let Some(target) = target {
        target.check_reachable()?; // before an earlier run's folder is emptied
    }
    let folder = RunFolder::make(options.out.as_deref(), &plan.name, SystemClock.now())?;
    let out = folder.path();
    let interrupted = interruptible()?;
    let replay = format!("{} --seed {}", replay_command(path, mode, options, target), plan.seed);
    let summary = match mode {
        Mode::Load => crate::run::run(&plan, target, out, replay, interrupted, options.quiet)?,
        Mode::Rehearse => {
            let rehearsal = Rehearsal { plan: &plan, out, replay, beside: 1, is_trial: false };
            crate::rehearse::rehearse(rehearsal, Console::rehearsing(options.quiet, interrupted))?
        }
    };
    show(&summary, options)?; // before anything is written: a full disk must not take the verdict along
    let report = folder.report(&summary)?;
    if !options.quiet {
        complain(&format!("  report: {}", report.display()));
    }
    Ok(summary.exit_code)
}

/// Refuses up front what this run could not do when its time comes.
fn check_possible(plan: &Plan, target: Option<&Target>) -> Result<(), Failure> {
    let bad = |why: &str| Err(Failure::BadRequest(why.to_owned()));
    let retention: Option<u64> = plan.server.get("HEARTBEAT_RETENTION_DAYS").and_then(|days| days.parse().ok());
    if retention.is_some_and(|days| days * 86_400 <= plan.duration.as_secs()) {
        return bad(
            "HEARTBEAT_RETENTION_DAYS is no longer than the run: the server would delete what the ledger has to find; raise it or shorten the run",
        );
    }
    let changes_keys = |step: &Step| matches!(step, Step::RotateServerKey { .. } | Step::RevokeServerKey);
    let changes_keys = plan.timeline.iter().any(|timed| changes_keys(&timed.step));
    let restarts = plan.timeline.iter().any(|timed| matches!(timed.step, Step::RestartServer { .. }));
    match (plan.mode, target) {
        (Mode::Rehearse, Some(_)) => bad("a rehearsal has its own server in process; leave --target out"),
        (Mode::Load, Some(_)) if changes_keys => bad(
            "the scenario changes the server's keys for good, which only the run's own may suffer; leave --target out",
        ),
        (Mode::Load, Some(_)) if restarts => {
            bad("the scenario restarts the server, which only the run's own can be; leave --target out")
        }
        _ => Ok(()),
    }
}

fn show(summary: &Summary, options: &Options) -> Result<(), Failure> {
    let stderr = std::io::stderr();
    let clear = if stderr.is_terminal() { "\r\x1b[2K" } else { "" };
    if !options.quiet {
        complain(&format!("{clear}{}", console::verdict(summary, stderr.is_terminal())));
    }
    if options.json {
        let written = serde_json::to_string_pretty(summary)
            .map_err(std::io::Error::from)
            .and_then(|json| writeln!(std::io::stdout(), "{json}"));
        let written = written.or_else(|error| if error.kind() == ErrorKind::BrokenPipe { Ok(()) } else { Err(error) });
        written.map_err(|cause| Failure::File { what: "write", path: "standard output".into(), cause })?;
    }
    Ok(())
}

/// A flag that the first Ctrl-C, SIGTERM or SIGHUP raises; one that comes later than a moment after it ends the process.
fn interruptible() -> Result<Arc<AtomicBool>, Failure> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let deaf = |error: std::io::Error| Failure::Machine { what: "listen to signals", cause: error };
    let interrupted = Arc::new(AtomicBool::new(false));
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(deaf)?;
    let flag = Arc::clone(&interrupted);
    let listening = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        let mut first: Option<Stopwatch> = None;
        for _ in signals.forever() {
            match &first {
                None => first = Some(Stopwatch::started()),
                // `timeout` and some shells send each signal twice.
                Some(first) if first.elapsed() < SAME_SIGNAL => {}
                Some(_) => {
                    complain("ended at once, without a report");
                    std::process::exit(130);
                }
            }
            flag.store(true, Ordering::Relaxed);
        }
    });
    listening.map(|_| interrupted).map_err(deaf)
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// The command that runs the same again, but for its seed.
fn replay_command(path: &Path, mode: Mode, options: &Options, target: Option<&Target>) -> String {
    let verb = match mode {
        Mode::Load => "run",
        Mode::Rehearse => "rehearse",
    };
    let mut command = format!("ks-fleet {verb} {}", quoted(&path.display().to_string()));
    if Signatures::chosen() == Signatures::Modelled {
        command += " --signatures modelled";
    }
    if let Some(devices) = options.devices {
        command += &format!(" --devices {devices}");
    }
    if let Some(duration) = options.duration {
        command += &format!(" --duration {}", scenario::format_duration(duration));
    }
    if let Some(prefix) = &options.id_prefix {
        command += &format!(" --id-prefix {prefix}");
    }
    if let Some(target) = target {
        command += &format!(" --target {}", quoted(&target.url));
    }
    command
}

fn check(scenarios: &[PathBuf], json: bool) -> Result<u8, Failure> {
    let mut code = 0;
    for path in scenarios {
        let text = read(path)?;
        match scenario::check(&path.display().to_string(), &text, &KnownSettings) {
            Ok(plan) if !json => say(&format!("{}: {} is sound", path.display(), plan.name)),
            Ok(_) => {}
            Err(diagnostics) => {
                code = 2;
                if json {
                    for diagnostic in &diagnostics {
                        say(&diagnostic.to_json());
                    }
                } else {
                    complain(render_all(&diagnostics, std::io::stderr().is_terminal()).trim_end());
                }
            }
        }
    }
    Ok(code)
}

/// A line on standard output; a closed pipe is no error.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// A line on standard error; a closed pipe is no error.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

const EXAMPLES: &str = "\
Examples:
  ks-fleet                                                  the quickstart: 1,000 devices for 30 s against the real server
  ks-fleet run scenarios/steady.toml --devices 2000 --out /tmp/run
  ADMIN_TOKEN=... ks-fleet run scenarios/steady.toml --target http://127.0.0.1:3000
  ks-fleet rehearse scenarios/first-light.toml --seed 7     an hour in seconds; the same seed gives the same event log
  ks-fleet rehearse scenarios/score-policies.toml --signatures modelled --trials 20 --bug-rates 0,1,2
  ks-fleet explore --minutes 5                              random scenarios until a promise is broken
  ks-fleet explain reports/runs/canary-2pct-brick-20260101000000 BR-001473
  ks-fleet check scenarios/*.toml
  ks-fleet report reports/runs/quickstart-20260101000000

Exit codes: 0 pass, 99 an expectation was not met or a promise was broken, 2 the scenario or the command line is wrong,
3 the target or the machine refuses, 4 inconclusive (too little evidence, or the measurement itself was not sound),
130 ended at once by a second Ctrl-C.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
